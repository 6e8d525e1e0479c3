"""Runs of the analysis, from the log of what was collected to the published tables, with EMR's steps on Sail."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session

from spark_jobs import publish
from taxiway import catalogue
from taxiway.aws import programs
from taxiway.core.settings import settings
from taxiway.hvfhv import collection
from taxiway.hvfhv.settings import hvfhv_settings
from taxiway.hvfhv.tables import RISING_ZONES, TABLES, TRIPS
from taxiway.lake import Lake, Table
from taxiway.operations import incidents, quality
from tests.dags.runs import empty_lake, prepared_aws, run_once

pytestmark = pytest.mark.timeout(600)  # a minute on a quiet machine

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "demos" / "hvfhv" / "sample"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, airflow_db: None) -> Iterator[None]:
    """Point AWS clients at a local AWS of the module's own, and the settings at the Spark programs there."""
    with prepared_aws(tmp_path_factory.mktemp("aws"), hvfhv_settings, TAXIWAY_SPARK_JOBS="s3://taxiway-artifacts/test"):
        publish.publish("s3://taxiway-artifacts", "test")
        yield


@pytest.fixture
def lake(platform: None) -> Lake:
    """Return the lake, with nothing in it."""
    empty_lake()
    return Lake(settings(), boto3.Session(), TABLES)


def collect(engine: sa.Engine, name: str, month: str, file: Path) -> None:
    """Collect a file as the data set of a month."""
    known = {dataset.name: dataset for dataset, _ in catalogue.latest_attempts(engine)}
    if name not in known:
        with engine.begin() as connection:
            connection.execute(catalogue.datasets.insert().values(name=name, month=month, url=file.as_uri()))
    collection.collect(
        engine, boto3.client("s3"), settings().lake, hvfhv_settings(), catalogue.find_dataset(engine, name), "test"
    )


def run(*months: str) -> tuple[str, dict[str, list[str]]]:
    """Run the analysis; return the state of the run, and the states of each task by index."""
    return run_once("hvfhv_analysis", {"months": list(months)})


COMMIT = "c0ffee" * 6 + "abcd"


@pytest.fixture
def of_commit(platform: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the code come from a commit, as git-sync delivers it, and ask for that commit's programs."""
    monkeypatch.setattr(programs, "CODE", Path(f"/opt/airflow/dags/.worktrees/{COMMIT}/dags/taxiway/core/code.py"))
    monkeypatch.setenv("TAXIWAY_SPARK_JOBS", "s3://taxiway-artifacts/spark_jobs/{commit}")
    monkeypatch.setenv("TAXIWAY_JOBS_WAIT_MINUTES", "0")
    settings.cache_clear()
    yield
    settings.cache_clear()


def clusters() -> list[str]:
    """Return the states of all clusters."""
    return [cluster["Status"]["State"] for cluster in boto3.client("emr").list_clusters()["Clusters"]]


def announced() -> list[dict[str, list[str]]]:
    """Return what the events of the asset say, newest first."""
    with create_session() as session:
        events = session.scalars(sa.select(AssetEvent).order_by(AssetEvent.id.desc())).all()
        return [event.extra for event in events if event.asset.name == "hvfhv_eta_training"]


def versions(lake: Lake, month: str) -> dict[str, str]:
    partitions = {table.name: lake.partition(table, month) for table in TABLES}
    return {name: partition.version for name, partition in partitions.items() if partition}


def sorted_rows(lake: Lake, table: Table, month: str) -> list[str]:
    """Return a month's rows in order; sums of doubles depend on the order of their terms, in their last digits."""
    partition = lake.partition(table, month)
    assert partition
    rows = lake.read(partition.location).to_pylist()
    return sorted(
        str([f"{value:.9g}" if isinstance(value, float) else value for value in row.values()]) for row in rows
    )


def sample(month: str) -> Path:
    return SAMPLE / f"fhvhv_tripdata_sample_{month}.parquet"


def test_months_share_a_cluster_and_one_that_fails_holds_up_no_other(
    lake: Lake, engine: sa.Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    before = len(clusters())
    for month in ("2023-01", "2023-02"):
        collect(engine, month, month, sample(month))
    raw = {"Bucket": "taxiway-lake", "Key": f"raw/hvfhv/year=2023/month=02/{sample('2023-02').name}"}
    boto3.client("s3").put_object(**raw, Body=b"PAR1 but no Parquet file PAR1")

    state, tasks = run()

    assert state == "failed"
    assert tasks["analyse.build_month"] == ["success", "failed"]
    assert tasks["release.publish"] == ["success", "upstream_failed"]
    assert tasks["report"] == ["success", "failed"]
    assert tasks["terminate_cluster"] == ["success"]
    assert tasks["announce"] == ["success"]
    assert announced()[0] == {"months": ["2023-01"]}, "once a run, and what was published"
    assert clusters()[: len(clusters()) - before] == ["TERMINATED"]
    assert set(versions(lake, "2023-01")) == {table.name for table in TABLES}
    assert versions(lake, "2023-02") == {}
    trips = lake.partition(TRIPS, "2023-01")
    assert trips
    assert lake.count(trips.location) == int(trips.parameters["rows"]) > 14_000
    page = boto3.client("s3").get_object(Bucket="taxiway-lake", Key="reports/hvfhv/2023-01.html")["Body"].read()
    assert b"2023" in page
    log = capfd.readouterr()
    said = log.out + log.err
    assert "cannot be read as Parquet" in said, "EMR's message of a failed step must be in the task's log"
    assert "2023-02 was not analysed because its Spark step failed" in said
    assert "Failed to run task callback" not in said
    assert "Metrics could not be sent" not in said
    (incident,) = incidents.listed(engine)
    assert (incident.check, incident.state, incident.owner) == ("tasks", "open", "data-platform")
    assert "analyse.build_month" in incident.what, "what failed because of it is the same incident"
    checked = {(each.table, each.check, each.period): each.passed for each in quality.recent(engine)}
    assert checked == {(TRIPS.name, "every row accounted for", "2023-01"): True}

    # The file is fixed: the next run analyses that month only.
    boto3.client("s3").put_object(**raw, Body=sample("2023-02").read_bytes())
    state, tasks = run()

    assert state == "success"
    assert [each.state for each in incidents.listed(engine)] == ["closed"]
    assert tasks["analyse.build_month"] == ["success"]
    assert len(set(versions(lake, "2023-02").values())) == 1
    january, february = versions(lake, "2023-01"), versions(lake, "2023-02")

    # Nothing is left to do: no cluster.
    before = len(clusters())
    state, tasks = run()

    assert state == "success"
    assert {task for states in tasks.values() for task in states} == {"skipped"}
    assert len(clusters()) == before

    # An earlier month again: its own version is new, with the same rows, and of the later month what depends on it.
    rows = {table.name: sorted_rows(lake, table, "2023-01") for table in TABLES}
    state, tasks = run("2023-01")

    assert state == "success"
    assert {table.name: sorted_rows(lake, table, "2023-01") for table in TABLES} == rows
    assert set(versions(lake, "2023-01").values()).isdisjoint(january.values())
    changed = {name for name, version in versions(lake, "2023-02").items() if version != february[name]}
    assert changed == {RISING_ZONES.name}


def test_a_month_of_rows_that_are_all_wrong_is_not_published(
    lake: Lake, engine: sa.Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trips = pq.read_table(sample("2023-01")).slice(0, 500)
    nowhere = pa.array([999] * trips.num_rows, trips.schema.field("PULocationID").type)
    wrong = trips.set_column(trips.schema.get_field_index("PULocationID"), "PULocationID", nowhere)
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    collect(engine, "wrong", "2023-01", tmp_path / "wrong.parquet")

    state, tasks = run()

    assert state == "failed"
    assert tasks["release.check"] == ["failed"]
    assert versions(lake, "2023-01") == {}
    log = capfd.readouterr()
    assert "All 500 rows of 2023-01 were quarantined (unknown_zone 500): check its source" in log.out + log.err


def test_a_month_that_the_catalogue_does_not_know_is_refused_without_a_cluster(
    lake: Lake, engine: sa.Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    before = len(clusters())

    state, tasks = run("2031-01")

    assert state == "failed"
    assert tasks["plan"] == ["failed"]
    assert len(clusters()) == before
    log = capfd.readouterr()
    assert "The catalogue has no data set of 2031-01" in log.out + log.err


def test_programs_that_are_not_published_fail_before_there_is_a_cluster(
    lake: Lake, engine: sa.Engine, of_commit: None, capfd: pytest.CaptureFixture[str]
) -> None:
    collect(engine, "2023-01", "2023-01", sample("2023-01"))
    before = len(clusters())

    state, tasks = run()

    assert state == "failed"
    assert tasks["plan"] == ["failed"]
    assert len(clusters()) == before
    log = capfd.readouterr()
    assert f"The Spark programs of commit {COMMIT}, the commit of this DAG, are not published" in log.out + log.err


def test_steps_run_the_programs_of_the_commit_or_none(
    lake: Lake, engine: sa.Engine, of_commit: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Once build_month runs its programs are gone, as if the next commit had come, which is not published yet."""
    collect(engine, "2023-01", "2023-01", sample("2023-01"))
    publish.publish("s3://taxiway-artifacts/spark_jobs", COMMIT)
    bucket = boto3.resource("s3").Bucket("taxiway-lake")
    archive = boto3.resource("s3").Object("taxiway-artifacts", f"spark_jobs/{COMMIT}/{programs.ARCHIVE}")

    def unpublish() -> None:
        while not list(bucket.objects.filter(Prefix="curated/").limit(1)):
            time.sleep(0.05)
        archive.delete()

    thread = threading.Thread(target=unpublish, daemon=True)
    thread.start()
    state, tasks = run()
    thread.join(10)

    assert not thread.is_alive()
    assert state == "failed"
    assert tasks["analyse.build_month"] == ["success"], "its step is ordered: when it returns, it needs no programs"
    assert tasks["rising_zones"] == ["failed"]
    assert tasks["terminate_cluster"] == ["success"]
    log = capfd.readouterr()
    assert f"The Spark programs of commit {COMMIT}, the commit of this DAG, are not published" in log.out + log.err
