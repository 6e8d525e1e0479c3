"""Runs of ``warehouse_serving`` from marts in a local AWS to SQLite; the database's faults are in test_target.py."""

import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowFailException

from taxiway.core.settings import settings
from taxiway.lake import Table
from taxiway.lake.glue import _storage
from taxiway.operations import metrics
from taxiway.warehouse import __main__ as command
from taxiway.warehouse import serving
from tests.dags.runs import empty_lake, prepared_aws, run_once
from tests.dags.warehouse.test_target import MONTHS, SUMMARY, keys, rows

pytestmark = pytest.mark.timeout(600)

DAG_ID = "warehouse_serving"
ARROW = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64(), "double": pa.float64()}


@pytest.fixture(scope="module")
def aws_of_all(tmp_path_factory: pytest.TempPathFactory, airflow_db: None) -> Iterator[None]:
    with prepared_aws(tmp_path_factory.mktemp("aws"), settings):
        yield


@pytest.fixture
def service(aws_of_all: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a service's database that is not there yet, beside a lake with two marts."""
    empty_lake()
    file = tmp_path / "service.db"
    monkeypatch.setenv("AIRFLOW_CONN_RIDE_SERVICE", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    build(SUMMARY, rows(SUMMARY, range(1, 101)))
    build(MONTHS, rows(MONTHS, keys(3, 50)))
    return file


def build(table: Table, values: list[tuple[Any, ...]], columns: dict[str, str] | None = None) -> None:
    """Build a mart as dbt does: files without an ending in a folder of their own, to which Glue then points."""
    types = columns or dict(table.columns)
    schema = pa.schema([(name, ARROW[type_]) for name, type_ in types.items()])
    parts = [values[0::2], values[1::2]]  # in no order
    folder = f"{table.path}/{abs(hash(str(values)))}"
    for number, part in enumerate(parts):
        lists = zip(*part, strict=True)
        body = io.BytesIO()
        pq.write_table(pa.table(list(map(list, lists)), schema=schema), body)
        boto3.client("s3").put_object(Bucket="taxiway-lake", Key=f"{folder}/part_{number}", Body=body.getvalue())
    glue, where = boto3.client("glue"), {"DatabaseName": settings().glue_database}
    if not glue.get_databases()["DatabaseList"]:
        glue.create_database(DatabaseInput={"Name": settings().glue_database})
    definition = {"Name": table.name, "StorageDescriptor": _storage(table, f"s3://taxiway-lake/{folder}")}
    known = {each["Name"] for each in glue.get_tables(**where)["TableList"]}
    (glue.update_table if table.name in known else glue.create_table)(**where, TableInput=definition)


def live(file: Path, name: str = "zone_summary") -> list[tuple[Any, ...]]:
    with sqlite3.connect(file) as connection:
        return sorted(connection.execute(f"select * from {name}"))


def test_marts_are_served_and_again_nothing_changes(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[tuple[str, ...], float] = {}
    monkeypatch.setattr(metrics, "gauge", lambda *name, value: sent.update({name: value}))
    state, tasks = run_once(DAG_ID, {})
    assert state == "success", tasks
    assert live(service) == rows(SUMMARY, range(1, 101))
    assert live(service, "zone_month") == sorted(rows(MONTHS, keys(3, 50)))
    assert sent["warehouse", "served", "rows", "zone_summary"] == 100
    assert sent["warehouse", "served", "rows", "zone_month"] == 150
    assert 0 < sent["warehouse", "served", "swap_s", "zone_summary"] < 60

    assert run_once(DAG_ID, {})[0] == "success"
    with sqlite3.connect(service) as connection:
        names = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    assert names == {"zone_summary", "zone_month", "taxiway_served"}, "no version more"


def test_a_roll_back_holds_until_the_mart_is_another_one(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context: Any = {"params": {"allow_loss": False}}
    serving.swap(serving.stage("zone_summary", context), context)
    build(SUMMARY, rows(SUMMARY, range(1, 102)))
    serving.swap(serving.stage("zone_summary", context), context)
    assert len(live(service)) == 101

    capsys.readouterr()
    assert command.main(["roll-back"]) == 0
    assert capsys.readouterr().out.splitlines(keepends=True)[-1] == "zone_summary is served as before, with 100 rows.\n"
    tasks = run_once(DAG_ID, {})[1]
    assert (tasks["stage"], tasks["upsert"]) == (["failed"], ["success"]), "the other table goes on"
    assert len(live(service)) == 100
    capsys.readouterr()
    assert command.main(["show"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in shown if line.startswith("zone_summary")][:1] == [["zone_summary", "live"]]
    assert any("rolled back" in line and "101 rows" in line for line in shown)
    build(SUMMARY, rows(SUMMARY, range(1, 103)))
    assert run_once(DAG_ID, {})[0] == "success"
    assert len(live(service)) == 102


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("gone", "The mart zone_summary is not built: run the DAG warehouse_summaries."),
        ("column", "The columns of zone_summary differ from its contract: previous_trips is missing."),
        ("twice", "The check unique_key of zone_summary failed: 1 rows too many"),
        ("fewer", "The mart zone_summary has 10 rows, under half of the 100 that are served"),
    ],
)
def test_a_mart_that_is_wrong_leaves_what_is_served(service: Path, fault: str, sentence: str) -> None:
    context: Any = {"params": {"allow_loss": False}}
    serving.swap(serving.stage("zone_summary", context), context)
    before, whole = live(service), rows(SUMMARY, range(1, 101))
    if fault == "gone":
        boto3.client("glue").delete_table(DatabaseName=settings().glue_database, Name="zone_summary")
    elif fault == "column":
        types = dict(list(SUMMARY.columns.items())[:-1])
        build(SUMMARY, [row[:-1] for row in whole], types)
    elif fault == "twice":
        build(SUMMARY, [*whole, whole[0]])
    else:
        build(SUMMARY, whole[:10])

    with pytest.raises(AirflowFailException) as error:
        serving.stage("zone_summary", context)
    assert str(error.value).startswith(sentence)
    assert live(service) == before
    if fault == "fewer":
        context["params"]["allow_loss"] = True
        serving.swap(serving.stage("zone_summary", context), context)
        assert live(service) == whole[:10]


def test_the_command_says_what_is_wrong(
    service: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["roll-back"]) == 1
    assert capsys.readouterr().err == "zone_summary is not served: run the DAG warehouse_serving.\n"
    assert command.main(["roll-back", "trips"]) == 1
    assert capsys.readouterr().err == "trips is not served: the contracts name zone_month, zone_summary.\n"
    monkeypatch.delenv("AIRFLOW_CONN_RIDE_SERVICE")
    assert command.main(["show"]) == 1
    assert "Airflow has no connection 'ride_service': add one" in capsys.readouterr().err
