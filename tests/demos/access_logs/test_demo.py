"""The declaration of the access logs' demo: what it delivers, where the Variable is, and what runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import boto3
import pytest

from console.follow import Goal
from console.platform import LocalPlatform, Platform
from demos.access_logs import DEMO, ETL, VARIABLE, first_of_last_block
from local_aws.pytest_plugin import LocalAws

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def line(day: int) -> bytes:
    return f'10.0.0.1 - - [{day:02d}/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 12\n'.encode()


class Variables:
    """Airflow, as far as the demo uses it."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set_variable(self, key: str, value: str, description: str) -> None:
        assert description
        self.values[key] = value

    def variable(self, key: str) -> str | None:
        return self.values.get(key)


class Place:
    """A platform with a lake on a local AWS."""

    lake = "s3://lake"

    def __init__(self, url: str) -> None:
        self.airflow = Variables()
        self._url = url

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        return boto3.client(service, endpoint_url=self._url, region_name="us-east-1", **keys)


def keys(s3: Any) -> list[str]:
    return [found["Key"] for found in s3.list_objects_v2(Bucket="lake").get("Contents", [])]


@pytest.fixture
def place(local_aws: LocalAws) -> Place:
    found = Place(local_aws.url)
    found.client("s3").create_bucket(Bucket="lake")
    return found


def test_a_day_is_delivered_as_a_whole_with_its_marker(place: Place, tmp_path: Path) -> None:
    s3, file = place.client("s3"), tmp_path / "a.log"
    file.write_bytes(line(17) + line(18))
    told = DEMO.load(cast("Platform", place), DEMO.read_input(str(file), str))
    folder = "raw/access_logs/year=2015/month=05/day="
    assert keys(s3) == [f"{folder}{each}" for each in ("17/_SUCCESS", "17/a.log", "18/_SUCCESS", "18/a.log")]
    assert s3.get_object(Bucket="lake", Key=f"{folder}17/a.log")["Body"].read() == line(17)
    assert place.airflow.values == {VARIABLE: f"s3://lake/{folder}17"}
    assert told.startswith("a.log has 2 days, 2015-05-17 to 2015-05-18, delivered in 2 files")

    # Other logs of a day replace it; other days stay.
    (tmp_path / "b.log").write_bytes(line(18) * 2)
    DEMO.load(cast("Platform", place), DEMO.read_input(str(tmp_path / "b.log"), str))
    assert keys(s3) == [f"{folder}{each}" for each in ("17/_SUCCESS", "17/a.log", "18/_SUCCESS", "18/b.log")]


def test_each_day_runs_in_order_and_has_to_succeed(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(line(19) + line(17) + line(18))
    plan = DEMO.plan(DEMO.read_input(str(tmp_path / "a.log"), str), BEGAN)
    days = ["2015-05-17", "2015-05-18", "2015-05-19"]
    assert [run.conf for run in plan.runs] == [{"day": day} for day in days]
    assert [run.run_id for run in plan.runs] == [f"demo__{day}__20260102T030405" for day in days]
    assert plan.goals == {Goal(ETL, "advance", day) for day in days}


@pytest.mark.parametrize(
    ("days", "first"),
    [
        (["2015-05-17"], "2015-05-17"),
        (["2015-04-30", "2015-05-01"], "2015-04-30"),
        (["1970-01-01", "2015-05-17", "2015-05-18"], "2015-05-17"),
        (["2015-05-17", "2015-05-19"], "2015-05-19"),
    ],
)
def test_the_variable_follows_the_last_days_without_a_gap(days: list[str], first: str) -> None:
    assert first_of_last_block(days) == first


def test_the_sample_is_loaded_where_nothing_was_delivered(place: Place) -> None:
    platform = cast("LocalPlatform", place)
    found = DEMO.initial_input(platform)
    assert found
    assert list(found.files) == ["2015-05-17", "2015-05-18", "2015-05-19", "2015-05-20"]
    place.airflow.values[VARIABLE] = "s3://lake/anything"
    assert DEMO.initial_input(platform) is None
