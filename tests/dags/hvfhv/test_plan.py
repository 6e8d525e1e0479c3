"""What a run of the analysis does: which months, whether it waits, which Spark steps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from taxiway.aws.emr import Step
from taxiway.catalogue import Attempt, Dataset, Input, Status
from taxiway.core.month import shift
from taxiway.core.settings import Settings
from taxiway.hvfhv.plan import (
    InputFile,
    Job,
    PlanError,
    choose_jobs,
    dependants,
    forced_months,
    month_steps,
    reasons_to_wait,
    rising_zones_steps,
)
from taxiway.hvfhv.tables import POPULAR_ZONES, TABLES, TREND, TRIPS
from taxiway.lake import Lake, Partition, Publication, Table

NOW = datetime(2026, 11, 21, 10, 11, 12, 123456, UTC)
VERSION = "20261121T101112123456Z"


def tried(month: str, status: Status | None, name: str = "trips", **values: Any) -> tuple[Dataset, Attempt | None]:
    dataset = Dataset(f"{name}-{month}", month, f"https://example.com/{name}-{month}.parquet")
    if status is None:
        return dataset, None
    unknown = dict.fromkeys(("dag_run_id", "finished", "bytes", "sha256", "rows", "s3_bucket", "s3_key", "error"))
    attempt = {**unknown, "source_version": None, "again": False, "id": 1, "started": NOW, "status": status, **values}
    return dataset, Attempt(dataset=dataset.name, month=month, url=dataset.url, **attempt)


def collected(month: str, *sha256s: str) -> list[Input]:
    return [Input(f"trips-{n}", f"s3://lake/raw/{month}-{n}.parquet", sha, 10, 99) for n, sha in enumerate(sha256s)]


def partition(month: str, version: str = "20200101T000000000000Z", **parameters: str) -> Partition:
    return Partition(TRIPS, month, f"s3://lake/curated/{month}/version={version}.1", parameters)


# ── Which months ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_to_be_analysed_again_stands_in_the_log() -> None:
    later = NOW + timedelta(minutes=1)
    latest = [
        tried("2023-01", Status.COMPLETE, finished=NOW),
        tried("2023-02", Status.COMPLETE, name="a", finished=NOW, again=True),
        tried("2023-02", Status.COMPLETE, name="b", finished=later, again=True),
        tried("2023-03", Status.RUNNING, again=True),
        tried("2023-04", None),
    ]

    assert forced_months(latest) == {"2023-02": later}


def test_months_that_are_not_published_are_analysed() -> None:
    complete = {"2023-02": collected("2023-02", "b"), "2023-01": collected("2023-01", "a2", "a1")}

    assert choose_jobs(complete, {}, {}, NOW) == [
        {
            "month": "2023-01",
            "version": VERSION,
            "inputs": [
                {
                    "dataset": "trips-0",
                    "uri": "s3://lake/raw/2023-01-0.parquet",
                    "sha256": "a2",
                    "rows": 10,
                    "bytes": 99,
                },
                {
                    "dataset": "trips-1",
                    "uri": "s3://lake/raw/2023-01-1.parquet",
                    "sha256": "a1",
                    "rows": 10,
                    "bytes": 99,
                },
            ],
        },
        {
            "month": "2023-02",
            "version": VERSION,
            "inputs": [
                {"dataset": "trips-0", "uri": "s3://lake/raw/2023-02-0.parquet", "sha256": "b", "rows": 10, "bytes": 99}
            ],
        },
    ]


@pytest.mark.parametrize(
    ("published", "asked", "expected"),
    [
        ({}, {}, ["2023-01"]),
        ({"inputs": "a1,a2"}, {}, []),
        ({"inputs": "a1,a2"}, {"2023-01": NOW}, ["2023-01"]),
        ({"inputs": "a1"}, {}, ["2023-01"]),
        ({"inputs": "a1", "previous_inputs": "a1,a2"}, {}, ["2023-01"]),
        ({"inputs": "a1", "previous_inputs": "a1,a2", "rolled_back": "true"}, {}, []),
        ({"inputs": "a1", "previous_inputs": "a2", "rolled_back": "true"}, {}, ["2023-01"]),
    ],
    ids=["new", "same files", "asked for", "a file came", "went back to old files", "rolled back", "newer still"],
)
def test_a_month_is_analysed_when_its_files_are_not_those_published(
    published: dict[str, str], asked: dict[str, datetime], expected: list[str]
) -> None:
    complete = {"2023-01": collected("2023-01", "a2", "a1")}
    known = {"2023-01": partition("2023-01", **published)} if published else {}

    assert [job["month"] for job in choose_jobs(complete, asked, known, NOW)] == expected


@pytest.mark.parametrize(("after", "expected"), [(-1, []), (1, ["2023-01"])], ids=["before it", "after it"])
def test_what_was_asked_for_before_the_last_plan_is_done(after: int, expected: list[str]) -> None:
    asked = {"2023-01": NOW + timedelta(seconds=after)}
    published = partition("2023-01", VERSION, inputs="a1")
    complete = {"2023-01": collected("2023-01", "a1")}

    assert [job["month"] for job in choose_jobs(complete, asked, {"2023-01": published}, NOW)] == expected


# ── Waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("attempt", "asked", "joins", "expected"),
    [
        (tried("2023-01", Status.COMPLETE), "2023-01", True, []),
        (tried("2023-01", None), "2023-01", False, ["Data set trips-2023-01 of 2023-01 is not collected yet."]),
        (tried("2023-01", Status.RUNNING), "2023-01", False, ["Data set trips-2023-01 of 2023-01 is running."]),
        (
            tried("2023-01", Status.FAILED, error="The server says 404."),
            "2023-01",
            False,
            ["Data set trips-2023-01 of 2023-01 is failed (The server says 404.)."],
        ),
        (tried("2023-02", Status.RUNNING), "2023-01", True, ["Data set trips-2023-02 of 2023-02 is running."]),
        (tried("2023-02", Status.RUNNING), "2023-01", False, []),
        (tried("2023-02", Status.FAILED), "2023-01", True, []),
        (tried("2023-02", Status.ABANDONED), "2023-01", True, []),
        (tried("2023-02", None), "2023-01", True, []),
    ],
)
def test_a_run_waits_for_its_months_and_joins_downloads_under_way(
    attempt: tuple[Dataset, Attempt | None], asked: str, joins: bool, expected: list[str]
) -> None:
    latest = [tried("2023-01", Status.COMPLETE, "other"), attempt]

    assert reasons_to_wait([asked], latest, joins=joins) == expected


def test_every_data_set_of_a_month_must_be_there() -> None:
    latest = [tried("2023-01", Status.COMPLETE, "one"), tried("2023-01", None, "two")]

    assert reasons_to_wait(["2023-01"], latest, joins=False) == [
        "Data set two-2023-01 of 2023-01 is not collected yet."
    ]


def test_a_month_without_data_sets_is_refused() -> None:
    with pytest.raises(PlanError, match=r"The catalogue has no data set of 2031-01, 2031-02: load one"):
        reasons_to_wait(["2031-02", "2031-01", "2023-01"], [tried("2023-01", None)], joins=True)


# ── Months that depend on one another ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("month", "by", "expected"),
    [("2023-01", -1, "2022-12"), ("2022-12", 1, "2023-01"), ("2023-02", -3, "2022-11"), ("2023-05", 0, "2023-05")],
)
def test_months_are_shifted_over_the_turn_of_a_year(month: str, by: int, expected: str) -> None:
    assert shift(month, by) == expected


@pytest.mark.parametrize(
    ("analysed", "published", "expected"),
    [
        (["2023-01"], [], {"2023-01": []}),
        (["2023-01"], ["2022-12", "2023-01"], {"2023-01": []}),
        (
            ["2022-11"],
            ["2022-10", "2022-12", "2023-01", "2023-02", "2023-03"],
            {"2022-11": ["2022-12", "2023-01", "2023-02"]},
        ),
        (["2023-01", "2023-02"], ["2023-03", "2023-05"], {"2023-01": [], "2023-02": ["2023-03", "2023-05"]}),
        (["2023-01", "2023-03"], ["2023-02", "2023-03", "2023-04"], {"2023-01": ["2023-02"], "2023-03": ["2023-04"]}),
    ],
    ids=["nothing later", "earlier", "three months", "the last one before it", "between"],
)
def test_later_months_depend_on_an_analysed_month(
    analysed: list[str], published: list[str], expected: dict[str, list[str]]
) -> None:
    assert dependants(analysed, published) == expected


# ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lake(aws: str) -> Lake:
    lake = Lake(Settings(lake="s3://lake", spark_jobs="s3://jobs"), boto3.Session(), TABLES)
    lake._s3.create_bucket(Bucket="lake")
    return lake


def job(month: str) -> Job:
    file = InputFile(dataset="trips", uri=f"s3://lake/raw/{month}.parquet", sha256="a", rows=10, bytes=99)
    return {"month": month, "version": VERSION, "inputs": [file]}


def write(lake: Lake, table: Table, month: str, version: str) -> str:
    location = lake.location(table, month, version)
    lake._s3.put_object(Bucket="lake", Key=f"{location.removeprefix('s3://lake/')}/part.parquet", Body=b"PAR1")
    return location


def publish(lake: Lake, month: str, version: str) -> None:
    locations = {table.name: write(lake, table, month, version) for table in TABLES}
    lake.publish(Publication(period=month, inputs="a", locations=locations, rows=dict.fromkeys(locations, 1)), "run")


def arguments(step: Step) -> list[str]:
    """Return the program and its arguments."""
    return step["HadoopJarStep"]["Args"][5:]


def version_of_step(lake: Lake, attempt: int) -> str:
    (step,) = month_steps(lake, job("2023-01"), attempt)
    words = arguments(step)
    return words[words.index("--version") + 1]


def test_every_try_builds_a_version_of_its_own(lake: Lake) -> None:
    write(lake, TRIPS, "2023-01", f"{VERSION}.1")  # the step of the first try may still write to it
    (step,) = month_steps(lake, job("2023-01"), 2)

    assert step["Name"] == "build_month 2023-01"
    assert " ".join(arguments(step)) == (
        f"s3://jobs/hvfhv/build_month.py --month 2023-01 --lake s3://lake --version {VERSION}.2 "
        "--input s3://lake/raw/2023-01.parquet"
    )


def test_a_try_goes_on_where_the_one_before_had_come_to_the_marts(lake: Lake) -> None:
    for table in (TRIPS, TREND):
        write(lake, table, "2023-01", f"{VERSION}.1")
    assert version_of_step(lake, 2) == f"{VERSION}.1"

    write(lake, TRIPS, "2023-01", f"{VERSION}.2")
    assert version_of_step(lake, 3) == f"{VERSION}.3", "the last try has not come to the marts"


def test_no_try_writes_where_readers_look(lake: Lake) -> None:
    for table in (TRIPS, TREND):
        write(lake, table, "2023-01", f"{VERSION}.1")
    publish(lake, "2023-01", f"{VERSION}.1")

    assert version_of_step(lake, 2) == f"{VERSION}.2"


def test_rising_zones_are_ranked_for_the_run_and_the_later_months_that_it_changes(lake: Lake) -> None:
    for month in ("2022-09", "2022-11", "2023-01", "2023-02"):
        publish(lake, month, "20250101T000000000000Z.1")
    new = {month: write(lake, POPULAR_ZONES, month, f"{VERSION}.1") for month in ("2022-12", "2023-01")}

    (step,) = rising_zones_steps(lake, [job("2022-12"), job("2023-01")], 3)

    old = "version=20250101T000000000000Z.1"
    popular = "s3://lake/marts/hvfhv/popular_zones"
    assert step["Name"] == "rising_zones 2022-12 to 2023-02"
    assert " ".join(arguments(step)) == (
        f"s3://jobs/hvfhv/rank_rising_zones.py --lake s3://lake "
        f"--target 2022-12={VERSION}.3 --target 2023-01={VERSION}.3 --target 2023-02={VERSION}.3 "
        f"--popular 2022-09={popular}/year=2022/month=09/{old} --popular 2022-11={popular}/year=2022/month=11/{old} "
        f"--popular 2022-12={new['2022-12']} --popular 2023-01={new['2023-01']} "
        f"--popular 2023-02={popular}/year=2023/month=02/{old}"
    )


def test_many_months_do_not_exceed_what_emr_takes_of_a_step(lake: Lake) -> None:
    months = [shift("2019-02", by) for by in range(90)]
    for month in months:
        write(lake, POPULAR_ZONES, month, f"{VERSION}.1")
    steps = rising_zones_steps(lake, [job(month) for month in months], 1)

    targets = [
        word for step in steps for word in arguments(step) if word.endswith(f"={VERSION}.1") and "s3:" not in word
    ]
    assert [target[:7] for target in targets] == months
    assert max(len(" ".join(step["HadoopJarStep"]["Args"])) for step in steps) < 10_000
    assert len(steps) <= 10, "the operator's waiter asks for at most ten steps at once"
