"""Settings: their defaults, where they come from, and what is said of a value that cannot be used."""

import pytest

from taxiway.core.settings import Settings, SettingsError, settings


def test_the_defaults_are_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TAXIWAY_{name.upper()}", raising=False)
    read = Settings.read()
    assert read.lake == "s3://taxiway-lake"
    assert read.emr_release == "emr-spark-8.0.0"
    assert read.cost_tags == {"project": "taxiway"}


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_LAKE", "s3://my-lake/some/prefix")
    monkeypatch.setenv("TAXIWAY_EMR_WORKER_TYPES", "r7g.xlarge, m6gd.2xlarge,")
    monkeypatch.setenv("TAXIWAY_COST_TAGS", "team=data, cost-centre=a=b")
    read = Settings.read()
    assert read.lake == "s3://my-lake/some/prefix"
    assert read.emr_worker_types == ("r7g.xlarge", "m6gd.2xlarge")
    assert read.cost_tags == {"team": "data", "cost-centre": "a=b"}


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.cache_clear()
    first = settings()
    monkeypatch.setenv("TAXIWAY_LAKE", "s3://another")
    assert settings() is first
    settings.cache_clear()


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("TAXIWAY_LAKE", "taxiway-lake", "String should match pattern"),
        ("TAXIWAY_LAKE", "s3://lake/", "String should match pattern"),
        ("TAXIWAY_POLL_S", "0", "greater than or equal to 1"),
        ("TAXIWAY_EMR_RELEASE", "emr-7.13.0", "the Spark programs need Spark 4"),
        ("TAXIWAY_EMR_RELEASE", "latest", "emr-spark-8.0.0 and later"),
        ("TAXIWAY_EMR_PRIMARY_TYPE", "big", "String should match pattern"),
        ("TAXIWAY_EMR_WORKER_TYPES", "r7g.xlarge,big", "String should match pattern"),
        ("TAXIWAY_COST_TAGS", "team", "'team' is not key=value"),
        ("TAXIWAY_SERVERLESS_RELEASE", "emr-7.13.0", "the Spark programs need Spark 4"),
        ("TAXIWAY_SERVERLESS_DRIVER", "3x16", "workers have 1, 2, 4, 8, 16 vCPU, not 3"),
        ("TAXIWAY_SERVERLESS_EXECUTOR", "4x64", "a worker of 4 vCPU has one of 8, 9, "),
        ("TAXIWAY_SERVERLESS_ROLE", "taxiway-emr-serverless", "String should match pattern"),
        ("TAXIWAY_SERVERLESS_IDLE_MINUTES", "15", "less than or equal to 5"),
        ("TAXIWAY_SLACK_CHANNEL", "", "at least 2 characters"),
        ("TAXIWAY_SERVERLESS_PRICES", "0.05", "valid dictionary"),
        ("TAXIWAY_SERVERLESS_PRICES", "0.05 USD", "Extra data"),
        ("TAXIWAY_SERVERLESS_PRICES", '{"X86_64": [1, 1, 1], "ARM64": [1, 1, 1]}', "Field required"),
        ("TAXIWAY_SERVERLESS_PRICES", '{"as_of": "2027-01", "X86_64": [1, 1], "ARM64": [1, 1, 1]}', "Field required"),
    ],
)
def test_a_wrong_value_is_told_in_a_sentence(
    variable: str, value: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    sentence = str(caught.value)
    assert sentence.startswith(f"{variable}=")
    assert "cannot be used: " in sentence
    assert part in sentence
    assert "the default is" in sentence
    assert "\n" not in sentence


def test_prices_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_SERVERLESS_PRICES", '{"as_of": "2027-01", "X86_64": [3, 2, 1], "ARM64": [6, 5, 4]}')
    assert Settings.read().serverless_prices.ARM64 == (6, 5, 4)


def test_a_setting_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    Settings.read()
    assert caplog.text == ""
    monkeypatch.setenv("TAXIWAY_NOTIFIER", '{"class": "a.b.Notifier"}')
    Settings.read()
    assert "TAXIWAY_NOTIFIER is not read any more: warnings go to Slack, see TAXIWAY_SLACK_CONN_ID." in caplog.text


def test_values_that_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_EMR_MAX_UNITS", "4")
    with pytest.raises(SettingsError, match="TAXIWAY_EMR_MAX_UNITS is 4, below the 8 units"):
        Settings.read()
    monkeypatch.setenv("TAXIWAY_EMR_ON_DEMAND_UNITS", "0")
    monkeypatch.setenv("TAXIWAY_EMR_SPOT_UNITS", "0")
    with pytest.raises(SettingsError, match="are both 0: the cluster needs a worker"):
        Settings.read()


def test_each_wrong_value_has_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_LAKE", "x")
    monkeypatch.setenv("TAXIWAY_POLL_S", "x")
    with pytest.raises(SettingsError, match=r"TAXIWAY_LAKE='x' .*\. TAXIWAY_POLL_S='x' "):
        Settings.read()


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("MAX_VCPU", "5", "TAXIWAY_SERVERLESS_MAX_VCPU is 5, below the 10 of a driver and 2 executors: raise it"),
        ("MAX_GB", "39", "TAXIWAY_SERVERLESS_MAX_GB is 39, below the 40 of a driver and 2 executors"),
        ("MAX_DISK_GB", "40", "TAXIWAY_SERVERLESS_MAX_DISK_GB is 40, below the 60 of a driver and 2 executors"),
    ],
)
def test_a_capacity_below_its_workers_is_a_sentence(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TAXIWAY_SERVERLESS_{variable}", value)
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert str(caught.value).startswith(sentence)


def test_a_capacity_below_one_worker_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_SERVERLESS_PREINITIALISED", "false")
    monkeypatch.setenv("TAXIWAY_SERVERLESS_MAX_VCPU", "5")
    with pytest.raises(SettingsError, match=r"is 5, below the 6 of a driver and 1 executor: raise it"):
        Settings.read()
