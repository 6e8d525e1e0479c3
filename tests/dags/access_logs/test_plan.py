"""Which day a run processes, what becomes of the Variable, and which days got files late."""

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from taxiway.access_logs.plan import (
    Folder,
    Job,
    PlanError,
    choose,
    files_of,
    inputs_of,
    is_complete,
    late_days,
    next_folder,
)
from taxiway.access_logs.tables import REQUESTS
from taxiway.lake import Partition

ROOT = "s3://logs/raw/access_logs"
NOW = datetime(2015, 6, 1, 4, 5, 6, tzinfo=UTC)


def folder(day: str) -> str:
    year, month, number = day.split("-")
    return f"{ROOT}/year={year}/month={month}/day={number}"


VARIABLE = folder("2015-05-17")


def at(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00")


def test_the_run_of_the_variables_day_advances_it() -> None:
    for job in (
        choose(VARIABLE, None, at("2015-05-17"), NOW),
        choose(VARIABLE, None, None, NOW),
        choose(f"{VARIABLE}/", "2015-05-17", at("2015-05-30"), NOW),
    ):
        assert job == Job(day="2015-05-17", folder=VARIABLE, version="20150601T040506000000Z", advances=True)
        assert next_folder(job, VARIABLE) == folder("2015-05-18")


def test_the_next_day_may_be_in_another_month() -> None:
    assert next_folder(choose(folder("2015-05-31"), None, None, NOW), folder("2015-05-31")) == folder("2015-06-01")


def test_a_run_of_an_earlier_day_takes_its_own_day_and_leaves_the_variable() -> None:
    for job in (choose(VARIABLE, None, at("2015-05-03"), NOW), choose(VARIABLE, "2015-05-03", None, NOW)):
        assert (job["day"], job["folder"], job["advances"]) == ("2015-05-03", folder("2015-05-03"), False)
        assert next_folder(job, VARIABLE) is None


def test_the_variable_moves_once() -> None:
    """A task that is run again, after it has moved the Variable or somebody else has, leaves it."""
    job = choose(VARIABLE, None, None, NOW)
    assert next_folder(job, folder("2015-05-18")) is None
    assert next_folder(job, VARIABLE.replace("logs/raw", "elsewhere/raw")) is None
    assert next_folder(job, None) is None


def test_a_run_of_a_later_day_says_that_an_earlier_one_is_unfinished() -> None:
    with pytest.raises(PlanError, match=r"2015-05-18 has to wait: .* names 2015-05-17, .*nothing was started"):
        choose(VARIABLE, None, at("2015-05-18"), NOW)


@pytest.mark.parametrize(
    ("variable", "part"),
    [
        (None, "There is no Airflow Variable access_logs_folder: set it to the folder of the first day"),
        ("", "There is no Airflow Variable"),
        ("2015-05-17", "is '2015-05-17', not the folder of a day"),
        (ROOT, "not the folder of a day"),
        (f"{ROOT}/year=2015/month=05", "not the folder of a day"),
        (f"{ROOT}/year=2015/month=02/day=30", "not the folder of a day"),
        (VARIABLE.replace("s3://", "file:///"), "not the folder of a day"),
        (VARIABLE.replace("day=17", "day=17/more"), "not the folder of a day"),
        (folder("2015-06-02"), "names 2015-06-02, a day that has not begun"),
    ],
)
def test_a_variable_that_cannot_be_used_is_one_sentence(variable: str | None, part: str) -> None:
    with pytest.raises(PlanError) as caught:
        choose(variable, None, None, NOW)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_variable_may_name_tomorrow_for_a_rerun_only() -> None:
    assert not choose(folder("2015-06-02"), "2015-06-01", None, NOW)["advances"]
    with pytest.raises(PlanError, match="a day that has not begun"):
        choose(folder("2015-06-03"), "2015-06-01", None, NOW)


def test_a_parameter_that_is_no_day_is_one_sentence() -> None:
    with pytest.raises(PlanError, match=r"The parameter day is '2015-02-30', which is no day: write YYYY-MM-DD\."):
        choose(VARIABLE, "2015-02-30", None, NOW)


# ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def s3(aws: str) -> Any:
    client = boto3.client("s3", endpoint_url=aws)
    client.create_bucket(Bucket="logs")
    return client


def put(s3: Any, day: str, **files: bytes) -> None:
    for name, content in files.items():
        s3.put_object(Bucket="logs", Key=f"{folder(day)[10:]}/{name}", Body=content)


def test_markers_and_empty_objects_are_no_files(s3: Any) -> None:
    put(s3, "2015-05-17", a=b"1\n", b=b"", _temporary=b"x")
    assert not is_complete(s3, VARIABLE)
    put(s3, "2015-05-17", _SUCCESS=b"")
    assert is_complete(s3, VARIABLE)
    (file,) = files_of(s3, VARIABLE)
    assert (file["name"], file["uri"], file["bytes"]) == ("a", f"{VARIABLE}/a", 2)
    assert len(file["etag"]) == 32


def test_days_that_got_files_late_are_found_within_the_bound(s3: Any) -> None:
    days = ["2015-05-13", "2015-05-14", "2015-05-15", "2015-05-16"]
    for day in days:
        put(s3, day, a=b"1\n", _SUCCESS=b"")
    published = {}
    for day in days:
        inputs = inputs_of(list(files_of(s3, folder(day))))
        published[day] = Partition(REQUESTS, day, "s3://lake/version=1", {"inputs": inputs})
    job = choose(VARIABLE, None, None, NOW)
    assert late_days(s3, job, published, 3) == []

    put(s3, "2015-05-13", b=b"before the bound\n")
    put(s3, "2015-05-14", b=b"another file\n")
    put(s3, "2015-05-15", a=b"2\n")  # of the same size
    put(s3, "2015-05-12", a=b"never published\n", _SUCCESS=b"")
    assert late_days(s3, job, published, 3) == ["2015-05-14", "2015-05-15"]

    s3.delete_object(Bucket="logs", Key=f"{folder('2015-05-14')[10:]}/_SUCCESS")
    assert late_days(s3, job, published, 3) == ["2015-05-15"], "one that is not complete waits"


def test_a_folder_knows_its_neighbours() -> None:
    read = Folder.parse(VARIABLE)
    assert read.of(at("2016-02-29").date()).uri == folder("2016-02-29")
