"""Plans of backfills: intervals of the real DAGs, what is published, the order, the cost, the commands."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Variable

from local_aws.pytest_plugin import LocalAws
from taxiway.access_logs import backfill as access_logs
from taxiway.access_logs.plan import files_of, inputs_of
from taxiway.api_logs import backfill as api_logs
from taxiway.api_logs.plan import inputs_of as arrival_inputs
from taxiway.api_logs.plan import list_objects
from taxiway.aws.prices import most_per_hour
from taxiway.core.settings import Settings, settings
from taxiway.lake import LakeError, Partition, TableSet
from taxiway.operations import backfill
from taxiway.operations.backfill import CHANGED, MISSING, SAME, BackfillError, plan, text

pytestmark = pytest.mark.slow  # parses the DAGs

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture(scope="module")
def bag() -> DagBag:
    settings.cache_clear()
    return DagBag(ROOT / "dags")


def published(tables: TableSet, **inputs: str) -> dict[str, Partition]:
    """Return published periods with their inputs, each of which took 90 minutes."""
    version = {"version": "20260101T000000000000Z.1", "published_at": "2026-01-01T01:30:00+00:00", "rows": "7"}
    found = {}
    for name, value in inputs.items():
        period = name.removeprefix("p").replace("_", "-")
        folder = f"s3://lake/{period}/version={version['version']}"
        found[period] = Partition(tables.anchor, period, folder, version | {"inputs": value})
    return found


def lake(pipeline: str, partitions: Mapping[str, Partition]) -> Any:
    tables = TableSet(pipeline)
    shared = Settings(lake="s3://taxiway-lake")
    return SimpleNamespace(tables=tables, settings=shared, partitions=lambda table: partitions, session=boto3.Session())


def day(text: str) -> datetime:
    return backfill.parse_bound(text)


def test_the_last_month_or_day_is_planned_to_its_end(bag: DagBag) -> None:
    for dag_id, pipeline, begin, end, count in (
        ("access_logs_etl", "access_logs", "2026-01", "2026-02", 31 + 28),
        ("access_logs_etl", "access_logs", "2025-12-31", "2026", 1 + 329),  # until now
        ("api_logs_etl", "api_logs", "2026-01-31-07", "2026-01-31", 17),
        ("hvfhv_collection", "hvfhv", "2023-01", "2023-12", 12),
    ):
        last = backfill.parse_bound(end, last=True)
        planned = plan(bag.dags[dag_id], day(begin), last, lake(pipeline, {}), NOW)
        assert len(planned.intervals) == count, (dag_id, planned.intervals[0], planned.intervals[-1])


def test_months_that_are_missing_or_differ_are_run_oldest_first(bag: DagBag, monkeypatch: pytest.MonkeyPatch) -> None:
    known = published(TableSet("hvfhv"), p2023_01="a", p2023_02="b", p2023_04="c")
    asked = []

    def changed(_found: Any, _published: Any, periods: Any) -> dict[str, str]:
        asked.extend(periods)
        return {"2023-02": "its files were collected anew since"}

    monkeypatch.setattr(backfill, "_comparison", lambda pipeline: changed)
    dag = bag.dags["hvfhv_collection"]
    planned = plan(dag, day("2023-01"), day("2023-05"), lake("hvfhv", known), NOW)

    assert [(each.period, each.state) for each in planned.intervals] == [
        *(("2023-01", SAME), ("2023-02", CHANGED), ("2023-03", MISSING), ("2023-04", SAME), ("2023-05", MISSING))
    ]
    assert asked == ["2023-01", "2023-02", "2023-04"]
    assert planned.intervals[0].logical == datetime(2023, 1, 1, tzinfo=UTC)
    said = text(planned, everything=False).splitlines()
    assert said[0] == "hvfhv_collection: 5 intervals, 3 to run, oldest first"
    assert said[1:4] == [
        "   -  2023-01          as published   since 2026-01-01T01:30:00+00:00",
        "   1  2023-02          differs        its files were collected anew since",
        "   2  2023-03          not published",
    ]
    assert said[6].startswith("A run took 90 minutes (median of what is published); 4 at once; it starts no EMR")
    commands = [line.split() for line in said if "airflow backfill create" in line]
    assert [(each[6], each[8]) for each in commands] == [
        ("2023-02-01T00:00:00+00:00", "2023-03-01T00:00:00+00:00"),
        ("2023-05-01T00:00:00+00:00", "2023-05-01T00:00:00+00:00"),
    ]
    assert commands[0][4:9:2] == ["hvfhv_collection", *commands[0][6:9:2]]
    everything = text(planned, everything=True)
    assert "5 to run" in everything
    assert everything.count("airflow backfill create") == 1


def test_airflow_takes_the_command(bag: DagBag, airflow_db: None) -> None:
    """The options exist, and Airflow's own choice of runs is the plan's."""
    from airflow.cli.cli_parser import get_parser
    from airflow.models.backfill import _get_info_list
    from airflow.serialization.serialized_objects import DagSerialization

    dag = bag.dags["access_logs_etl"]
    planned = plan(dag, day("2015-05-17"), day("2015-05-20"), lake("access_logs", {}), NOW)
    (command,) = [line for line in text(planned, everything=False).splitlines() if "airflow backfill" in line]
    given = get_parser().parse_args(command.split()[1:])
    theirs = _get_info_list(
        from_date=given.from_date,
        to_date=given.to_date,
        reverse=given.run_backwards,
        dag=DagSerialization.from_dict(DagSerialization.to_dict(dag)),
    )
    assert [info.logical_date for info in theirs] == [each.logical for each in planned.intervals]
    assert [each.period for each in planned.intervals] == ["2015-05-17", "2015-05-18", "2015-05-19", "2015-05-20"]


def test_cost_is_runs_by_time_by_the_ceiling(bag: DagBag) -> None:
    known = published(TableSet("access_logs"), p2015_05_17="a")
    found = lake("access_logs", known)
    planned = plan(bag.dags["access_logs_etl"], day("2015-05-17"), day("2015-05-19"), found, NOW)
    hourly = planned.usd_per_hour
    vcpu, memory, storage = found.settings.serverless_prices.X86_64

    assert hourly is not None
    assert hourly == pytest.approx(16 * vcpu + 128 * memory + 500 * storage)
    assert f"at most {hourly * 1.5 * 2:,.2f} USD in all" in text(planned, everything=False)
    assert backfill.usd_per_hour(bag.dags["hvfhv_analysis"], Settings()) == most_per_hour(Settings())
    unknown = Settings(emr_worker_types=("m99.xlarge",))
    assert backfill.usd_per_hour(bag.dags["hvfhv_analysis"], unknown) is None
    nothing = plan(bag.dags["access_logs_etl"], day("2015-05-17"), day("2015-05-19"), lake("access_logs", {}), NOW)
    assert f"an hour of one costs at most {hourly:.2f} USD" in text(nothing, everything=False)


def test_hours_and_what_has_not_ended(bag: DagBag) -> None:
    now = datetime(2026, 2, 1, 3, 30, tzinfo=UTC)
    planned = plan(bag.dags["api_logs_etl"], day("2026-02-01-00"), day("2026-02-01-09"), lake("api_logs", {}), now)
    assert [each.period for each in planned.intervals] == [f"2026-02-01-{hour:02d}" for hour in range(3)]


@pytest.mark.parametrize(
    ("dag_id", "begin", "end", "sentence"),
    [
        ("hvfhv_analysis", "2023-01", "2023-02", "hvfhv_analysis has no intervals: events or people start it"),
        ("hvfhv_collection", "2023-02", "2023-01", "--from 2023-02-01 is after --to 2023-01-01: exchange them."),
        (
            "hvfhv_collection",
            "2031-01",
            "2031-02",
            "hvfhv_collection has no interval that has ended between 2031-01-01",
        ),
    ],
)
def test_what_cannot_be_planned(bag: DagBag, dag_id: str, begin: str, end: str, sentence: str) -> None:
    with pytest.raises(BackfillError) as error:
        plan(bag.dags[dag_id], day(begin), day(end), lake("hvfhv", {}), NOW)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("end", ["2026-02-10", "2026-03-20"])
def test_runs_that_are_no_periods_of_a_table_are_no_plan(bag: DagBag, end: str) -> None:
    with pytest.raises(
        BackfillError, match=r"warehouse_loads runs more often than its tables have periods, such as 2026-"
    ):
        plan(bag.dags["warehouse_loads"], day("2026-02-10"), day(end), lake("warehouse", {}), NOW)


@pytest.mark.parametrize("end", ["9999", "9999-12", "9999-12-31"])
def test_a_time_after_which_there_is_none(end: str) -> None:
    with pytest.raises(BackfillError, match=f"'{end}' is no time"):
        backfill.parse_bound(end, last=True)


def test_an_aws_that_is_away_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], airflow_db: None
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_GLUE"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert backfill.main(["plan", "access_logs_etl", "--from", "2023-01", "--to", "2023-01"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("AWS did not answer as it should: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["hvfhv_colection", "--from", "2023-01", "--to", "2023-02"],
            "There is no DAG 'hvfhv_colection': it is one of a",
        ),
        (
            ["hvfhv_collection", "--from", "January", "--to", "2023-02"],
            "'January' is no time: write a month 2023-01, a",
        ),
        (
            ["cost_guard", "--from", "2023-01", "--to", "2023-02"],
            "cost_guard publishes no table (its domain is platform)",
        ),
    ],
)
def test_one_sentence_for_a_wrong_word(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill.main(["plan", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1


def test_the_command_reads_the_lake_and_the_catalogue(
    local_aws: LocalAws, airflow_db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backfill.main(["plan", "hvfhv_collection", "--from", "2023-01", "--to", "2023-02"]) == 0, capsys.readouterr()
    assert "hvfhv_collection: 2 intervals, 2 to run, oldest first\n   1  2023-01 " in capsys.readouterr().out


def test_days_whose_files_changed(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="taxiway-lake")
    folder = "raw/access_logs/year=2015/month=05/day=17"
    s3.put_object(Bucket="taxiway-lake", Key=f"{folder}/a.log", Body=b"line\n")
    known = published(
        TableSet("access_logs"),
        p2015_05_17=inputs_of(list(files_of(s3, f"s3://taxiway-lake/{folder}"))),
        p2015_05_18="a",
    )
    found = lake("access_logs", known)
    monkeypatch.setattr(Variable, "get", lambda key, default: f"s3://taxiway-lake/{folder}")

    assert access_logs.changed(found, known, list(known)) == {}, "the same, and nothing to build from"
    s3.put_object(Bucket="taxiway-lake", Key=f"{folder}/a.log", Body=b"another line\n")
    assert list(access_logs.changed(found, known, list(known)) or ()) == ["2015-05-17"]

    monkeypatch.setattr(Variable, "get", lambda key, default: None)
    assert access_logs.changed(found, known, list(known)) is None
    monkeypatch.setattr(Variable, "get", lambda key, default: "s3://logs/today")
    with pytest.raises(LakeError, match="s3://logs/today"):
        access_logs.changed(found, known, list(known))


def test_hours_whose_objects_changed(local_aws: LocalAws) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="taxiway-lake")
    key = "raw/api_logs/year=2026/month=02/day=01/hour=03/a.jsonl.gz.enc"
    s3.put_object(Bucket="taxiway-lake", Key=key, Body=b"one")
    listing, _ = list_objects(s3, "s3://taxiway-lake", "2026-02-01-03")
    assert listing.uris
    known = published(TableSet("api_logs"), p2026_02_01_03=arrival_inputs(listing.digest, ""))
    found = lake("api_logs", known)

    assert api_logs.changed(found, known, list(known)) == {}
    s3.put_object(Bucket="taxiway-lake", Key=key, Body=b"another")
    assert list(api_logs.changed(found, known, list(known))) == ["2026-02-01-03"]
