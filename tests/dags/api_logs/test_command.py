"""The command line, and the settings, of the API logs."""

from typing import Any

import pytest

from taxiway.api_logs import __main__ as command
from taxiway.core.pipelines import check_settings
from taxiway.core.settings import SettingsError


def test_a_replay_starts_one_run_with_the_key_or_the_hours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[dict[str, Any]] = []

    class Client:
        def trigger_dag(self, **arguments: Any) -> None:
            started.append(arguments)

    monkeypatch.setattr("airflow.api.client.get_current_api_client", Client)
    assert command.main(["replay", "--key", "server-01234567"]) == 0
    assert command.main(["replay", "--hour", "2026-01-31-07", "--hour", "2026-01-31-09/2026-01-31-11"]) == 0
    assert [each["conf"] for each in started] == [
        {"hours": [], "key": "server-01234567", "again": True},
        {"hours": ["2026-01-31-07", "2026-01-31-09/2026-01-31-11"], "key": None, "again": True},
    ]
    first, second = started
    assert first["dag_id"] == "api_logs_etl"
    assert first["run_id"] != second["run_id"]
    said = capsys.readouterr().out
    assert f"Started the run {first['run_id']} of api_logs_etl" in said
    assert "that wait for the key server-01234567" in said


def test_what_cannot_be_replayed_is_one_sentence(
    airflow_db: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["replay", "--hour", "2026-01-31"]) == 1
    assert capsys.readouterr().err == (
        "'2026-01-31' is not an hour: write it as YYYY-MM-DD-HH, for example 2026-01-31-07.\n"
    )
    monkeypatch.setattr(command, "DAG", "not_listed")
    assert command.main(["replay", "--key", "a"]) == 1
    assert capsys.readouterr().err.startswith("The run could not be started: ")
    with pytest.raises(SystemExit):
        command.main(["replay"])


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TAXIWAY_API_LOGS_FIRST_HOUR", "2026-01-31"),
        ("TAXIWAY_API_LOGS_SCAN_LIMIT_MB", "5"),
        ("TAXIWAY_API_LOGS_WORKGROUP", "my group"),
        ("TAXIWAY_API_LOGS_PSEUDONYM_DAYS", "0"),
    ],
)
def test_a_wrong_setting_is_one_sentence(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        check_settings()
    assert str(caught.value).startswith(f"{variable}={value!r} cannot be used: ")
