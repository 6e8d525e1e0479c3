"""The DAG hvfhv_collection, run in this process against SQLite and a real S3 API."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlalchemy as sa

from taxiway import catalogue
from taxiway.catalogue import Status
from taxiway.catalogue.__main__ import main
from taxiway.core.settings import settings
from tests.dags.catalogue.databases import migrate_after_the_first_try
from tests.dags.runs import retry_at_once
from tests.dags.web import Web, web_server

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "demos/hvfhv/sample"
MONTHS = ["2023-01", "2023-02", "2023-03"]

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TAXIWAY_POLL_S", "1")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def s3(aws: str) -> Any:
    client = boto3.client("s3")
    client.create_bucket(Bucket="taxiway-lake")
    return client


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", f"sqlite:///{tmp_path}/catalogue.db")
    assert main(["migrate"]) == 0
    engine = catalogue.open_catalogue()
    catalogue.load(engine, SAMPLE / "catalogue.csv")
    return engine


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


def find_dag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags/hvfhv_collection.py")
    assert bag.import_errors == {}
    return bag.dags["hvfhv_collection"]


def run(date: datetime | None = None, **conf: Any) -> Any:
    """Run the DAG for a logical date, by default now."""
    return retry_at_once(find_dag()).test(logical_date=date, run_conf=conf)


def states(dag_run: Any) -> dict[tuple[str, int], tuple[str, int]]:
    return {(ti.task_id, ti.map_index): (ti.state, ti.try_number) for ti in dag_run.get_task_instances()}


def events(dag_run: Any) -> list[dict[str, Any]]:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.scalars(sa.select(AssetEvent).where(AssetEvent.source_run_id == dag_run.run_id))
        return [{"name": event.name, "uri": event.uri, **event.extra} for event in found]


def test_the_sample_months_come_into_the_lake(engine: sa.Engine, s3: Any) -> None:
    for month in MONTHS:
        dag_run = run(month=month)
        assert dag_run.state == "success"
        asset = {"name": "hvfhv_raw", "uri": "s3://taxiway-lake/raw/hvfhv"}
        assert events(dag_run) == [{**asset, "month": month}]
    months = catalogue.complete_months(engine)
    assert {month: [file.rows for file in files] for month, files in months.items()} == {
        "2023-01": [14977],
        "2023-02": [27308],
        "2023-03": [27506],
    }
    for month in MONTHS:
        name = f"fhvhv_tripdata_sample_{month}.parquet"
        stored = s3.get_object(Bucket="taxiway-lake", Key=f"raw/hvfhv/year=2023/month={month[5:]}/{name}")
        assert stored["Body"].read() == (SAMPLE / name).read_bytes()


def test_the_month_is_that_of_the_logical_date(engine: sa.Engine, s3: Any) -> None:
    dag_run = run(datetime(2023, 2, 1, tzinfo=UTC), again=True)
    assert [event["month"] for event in events(dag_run)] == ["2023-02"]
    assert list(catalogue.complete_months(engine)) == ["2023-02"]
    assert [attempt.again for _, attempt in catalogue.latest_attempts(engine) if attempt] == [True]


def test_a_scheduled_run_covers_the_month_of_its_logical_date() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.from_dict(DagSerialization.to_dict(find_dag()))
    january, march = datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 3, 1, tzinfo=UTC)
    first, second = itertools.islice(dag.iter_dagrun_infos_between(january, march), 2)
    assert first.data_interval
    assert (first.logical_date, first.data_interval.end) == (
        datetime(2023, 1, 1, tzinfo=UTC),
        datetime(2023, 2, 1, tzinfo=UTC),
    )
    assert second.logical_date == datetime(2023, 2, 1, tzinfo=UTC)
    assert first.run_after == first.data_interval.end


def test_a_month_without_data_sets_is_skipped(engine: sa.Engine, s3: Any) -> None:
    dag_run = run(month="2023-04")
    assert {state for state, _ in states(dag_run).values()} == {"skipped"}
    assert events(dag_run) == []


def test_a_wrong_file_fails_at_once_and_the_month_is_not_announced(
    engine: sa.Engine, s3: Any, web: Web, tmp_path: Path
) -> None:
    page = web.serve("/trips.parquet", b"<html>")
    (tmp_path / "list.csv").write_text(f"name,month,url\nwrong,2023-01,{page}\n")
    catalogue.load(engine, tmp_path / "list.csv")
    dag_run = run(month="2023-01")
    assert dag_run.state == "failed"
    assert states(dag_run) == {
        ("list_data_sets", -1): ("success", 1),
        ("collect", 0): ("success", 1),
        ("collect", 1): ("failed", 1),
        ("announce_month", -1): ("upstream_failed", 0),
    }
    assert events(dag_run) == []
    (wrong,) = [attempt for dataset, attempt in catalogue.latest_attempts(engine) if dataset.name == "wrong"]
    assert wrong
    assert (wrong.status, wrong.dag_run_id) == (Status.FAILED, dag_run.run_id)
    assert wrong.error
    assert "an HTML or XML page" in wrong.error


def test_what_may_pass_is_tried_again(engine: sa.Engine, s3: Any, web: Web, tmp_path: Path) -> None:
    def unavailable_once(request: BaseHTTPRequestHandler) -> None:
        content = (SAMPLE / "fhvhv_tripdata_sample_2023-02.parquet").read_bytes()
        request.send_response(503 if len(web.requests) == 1 else 200)
        request.end_headers()
        request.wfile.write(b"" if len(web.requests) == 1 else content)

    url = web.answer("/trips.parquet", unavailable_once)
    (tmp_path / "list.csv").write_text(f"name,month,url\nfhvhv_tripdata_sample_2023-02,2023-02,{url}\n")
    catalogue.load(engine, tmp_path / "list.csv")
    dag_run = run(month="2023-02")
    assert dag_run.state == "success"
    assert states(dag_run)["collect", 0] == ("success", 2)
    columns = catalogue.ingestion_log.c
    with engine.connect() as connection:
        log = connection.execute(sa.select(columns.status, columns.error).order_by(columns.id)).all()
    assert log[0].status == "failed"
    assert "returned 503 Service Unavailable; try again later." in log[0].error
    assert log[1].status == "complete"


def test_a_catalogue_that_cannot_be_used_fails_at_once(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", "postgresql://nowhere/tlc")
    assert states(run(month="2023-01"))["list_data_sets", -1] == ("failed", 1)


def test_a_catalogue_that_is_migrated_later_is_waited_for(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate_after_the_first_try(tmp_path, monkeypatch)
    dag_run = run(month="2023-01")
    assert states(dag_run)["list_data_sets", -1] == ("skipped", 2), "it has no data sets yet"


def test_a_month_that_is_none_is_refused() -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match="2023-13"):
        run(month="2023-13")
