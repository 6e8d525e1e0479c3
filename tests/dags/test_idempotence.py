"""The policy that every task can be run again: each DAG is run twice, and what it publishes is the same.

A new DAG is in one of three places: it is run here, another test runs it twice, or it publishes no table.
"""

import ast
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlalchemy as sa

from services.ride_ratings.__main__ import main as ride_ratings
from taxiway import catalogue
from taxiway.core import contracts
from taxiway.core.settings import settings
from taxiway.lake import Lake, TableSet
from taxiway.warehouse.settings import warehouse_settings
from tests.dags.runs import empty_lake, prepared_aws, run_once
from tests.dags.warehouse.test_serving import build
from tests.dags.warehouse.test_target import MONTHS, SUMMARY, keys, rows

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
DAG_IDS = sorted(file.stem for file in (ROOT / "dags").glob("*.py"))
TRIPS = ROOT / "demos/hvfhv/sample/fhvhv_tripdata_sample_2023-01.parquet"
REFERENCE = ROOT / "demos/warehouse/sample"
PUBLISHED = {contracts.read(each, name).table for each in contracts.pipelines() for name in contracts.names(each)}
# DAG → the test that runs it twice, or has each of its tasks die once, and compares what is published.
ELSEWHERE = {
    "api_logs_etl": (
        "tests/dags/api_logs/test_run.py",
        "test_a_run_that_is_killed_at_each_task_and_goes_on_publishes_the_same",
    ),
    "hvfhv_analysis": (
        "tests/dags/hvfhv/test_analysis_run.py",
        "test_months_share_a_cluster_and_one_that_fails_holds_up_no_other",
    ),
    "warehouse_summaries": (
        "tests/dags/warehouse/test_dbt.py",
        "test_the_dag_builds_every_layer_and_a_retry_only_what_failed",
    ),
    "access_logs_etl": (
        "tests/dags/access_logs/test_run.py",
        "test_a_run_whose_every_task_dies_once_gives_the_same_tables",
    ),
    "eta_model_training": (
        "tests/dags/eta/test_run.py",
        "test_a_model_goes_live_though_every_task_dies_once_and_a_worse_one_does_not",
    ),
}
PUBLISH_NOTHING = {
    "cost_guard": "ends what costs money and no run needs",
    "data_docs": "writes one page anew",
    "eta_stream": "keeps a stream running",
    "platform_metrics": "sends gauges",
    "quality_report": "writes one page a month anew",
    "retention": "deletes what is too old; what is gone is not listed again",
}


def collection(folder: Path) -> dict[str, Any]:
    """A month's file, which the catalogue names."""
    catalogue.migrate(engine := catalogue.open_engine(f"sqlite:///{folder}/catalogue.db"))
    with engine.begin() as connection:
        found = connection.scalar(sa.select(sa.func.count()).select_from(catalogue.datasets))
        if not found:
            values = {"name": "trips", "month": "2023-01", "url": TRIPS.as_uri()}
            connection.execute(catalogue.datasets.insert().values(values))
    return {"month": "2023-01", "again": True}


def sources(_folder: Path) -> dict[str, Any]:
    """A service's database, and the reference files."""
    assert ride_ratings(["create", "--rows", "400"]) == 0
    return {"tables": ["name_gender", "ride_ratings"], "rebuild": True, "force": True}


def marts(_folder: Path) -> dict[str, Any]:
    """Two marts as dbt builds them."""
    build(SUMMARY, rows(SUMMARY, range(1, 101)))
    build(MONTHS, rows(MONTHS, keys(2, 30)))
    return {}


HERE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "hvfhv_collection": collection,
    "warehouse_loads": sources,
    "warehouse_serving": marts,
}


@pytest.fixture(scope="module")
def aws_of_all(tmp_path_factory: pytest.TempPathFactory, airflow_db: None) -> Iterator[None]:
    """Point AWS clients at a local AWS, and the loads at the samples."""
    addresses = {
        f"TAXIWAY_WAREHOUSE_{name}": (REFERENCE / file).as_uri()
        for name, file in (("NAMES", "name_gender.csv"), ("ZONES", "taxi_zone_lookup.csv"), ("BASES", "fhv_bases.csv"))
    }
    with prepared_aws(tmp_path_factory.mktemp("aws"), warehouse_settings, **addresses):
        yield


@pytest.fixture
def folder(aws_of_all: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for databases, beside an empty lake."""
    empty_lake()
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", f"sqlite:///{tmp_path}/catalogue.db")
    service = {"conn_type": "sqlite", "host": f"{tmp_path}/service.db"}
    monkeypatch.setenv("AIRFLOW_CONN_RIDE_SERVICE", json.dumps(service))
    return tmp_path


def published(folder: Path) -> dict[str, str]:
    """Return what readers find, by name: rows of each partition of the lake and of the served tables, collected files.

    As a digest of the rows in whatever order.
    """
    lake, found = Lake(settings(), boto3.Session(), TableSet("hvfhv")), {}
    glue = lake.session.client("glue")
    for database in glue.get_databases()["DatabaseList"]:
        tables = glue.get_tables(DatabaseName=database["Name"])["TableList"]
        for table in (each for each in tables if each["Name"] in PUBLISHED):
            where = {"DatabaseName": database["Name"], "TableName": table["Name"]}
            parts = [
                part for page in glue.get_paginator("get_partitions").paginate(**where) for part in page["Partitions"]
            ]
            for part in parts if table.get("PartitionKeys") else [table]:
                location = part["StorageDescriptor"]["Location"]
                if lake.data_files(location) and lake.data_files(location)[0].endswith(".parquet"):
                    name = "/".join([table["Name"], *part.get("Values", [])])
                    found[name] = digest(map(str, lake.read(location).to_pylist()))
    for each in boto3.resource("s3").Bucket("taxiway-lake").objects.filter(Prefix="raw/hvfhv/"):
        found[each.key] = str(each.e_tag)
    if (service := folder / "service.db").exists():
        with sqlite3.connect(service) as connection:
            names = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
            for name in set(names) - {"taxiway_served"}:
                found[f"service.{name}"] = digest(map(str, connection.execute(f'select * from "{name}"')))
    return found


def digest(values: Any) -> str:
    lines = sorted(values)
    return f"{len(lines)} {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


def test_every_dag_is_held_to_it() -> None:
    places = [*HERE, *ELSEWHERE, *PUBLISH_NOTHING]
    assert sorted(places) == DAG_IDS, "add the new DAG to HERE, so that it is run twice"
    for file, name in ELSEWHERE.values():
        tests = [node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)]
        assert name in tests, f"{file} has no {name}"


@pytest.mark.parametrize("dag_id", HERE)
def test_a_second_run_publishes_the_same(dag_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = HERE[dag_id](folder)
    state, tasks = run_once(dag_id, conf)
    assert state == "success", tasks
    first = published(folder)
    assert any(int(value.split()[0]) > 0 for value in first.values() if " " in value) or "raw/hvfhv" in str(first)

    state, tasks = run_once(dag_id, conf)
    assert state == "success", tasks
    assert published(folder) == first
