import json
import stat
from pathlib import Path

import pytest

from console.errors import UserError
from laptop.config import Config


def config(tmp_path: Path, **environment: str) -> Config:
    return Config.from_environment({"STATE": str(tmp_path), **environment})


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ENGINE": "flink"}, ["ENGINE=flink", "sail", "spark"]),
        ({"UI_PORT": "http"}, ["UI_PORT=http", "8080"]),
        ({"AWS_PORT": "80"}, ["AWS_PORT=80", "1024"]),
    ],
)
def test_wrong_values_get_one_sentence(tmp_path: Path, environment: dict[str, str], words: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        config(tmp_path, **environment)
    assert all(word in str(raised.value) for word in words)
    assert "\n" not in str(raised.value)


def test_everything_listens_on_loopback_only(tmp_path: Path) -> None:
    environment = config(tmp_path).environment({})
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")


def test_no_default_password_and_keys_of_its_own(tmp_path: Path) -> None:
    first, second = config(tmp_path / "a"), config(tmp_path / "b")
    names = ["AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET"]
    keys = [[c.environment({})[name] for name in names] for c in (first, second, first)]
    assert keys[0] == keys[2], "keys stay, or stored connections could not be read again"
    assert not set(keys[0]) & set(keys[1])
    assert stat.S_IMODE((tmp_path / "a" / "keys.json").stat().st_mode) == 0o600
    assert len(set(json.loads((tmp_path / "a" / "keys.json").read_text()).values())) == 3


def test_a_persons_own_aws_account_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.com")
    environment = config(tmp_path).environment({})
    assert "AWS_PROFILE" not in environment
    assert "AWS_ENDPOINT_URL_S3" not in environment
    assert environment["AWS_ACCESS_KEY_ID"] == "local"


def test_of_a_persons_own_airflow_only_the_way_to_slack_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", "slack://:xoxb@")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://key:secret@")
    environment = config(tmp_path).environment({})
    assert environment["AIRFLOW_CONN_SLACK_API_DEFAULT"] == "slack://:xoxb@"
    assert environment["AIRFLOW_CONN_AWS_DEFAULT"] == "aws://"


def test_settings_of_the_person_win_over_those_of_the_laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_POLL_S", "7")
    assert config(tmp_path).environment({"TAXIWAY_POLL_S": "9"})["TAXIWAY_POLL_S"] == "7"
