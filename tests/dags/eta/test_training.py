"""One real run of the training DAG: published tables, Apache Spark by EMR Serverless, a version that can be checked."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from airflow.dag_processing.dagbag import DagBag

from console.options import ROOT
from demos.eta import DEMO
from spark_jobs import publish
from taxiway.core.settings import settings
from taxiway.eta.plan import TRAINING_TABLE
from taxiway.eta.registry import Registry
from taxiway.eta.settings import eta_settings
from taxiway.lake import Lake, Publication, TableSet
from tests.dags.runs import prepared_aws, retry_at_once

# Minutes, and the training itself is tested by tests/spark_jobs/eta.
pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

ROWS = 2000
COMPANIES = {"HV0003": "uber", "HV0005": "lyft"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, airflow_db: None) -> Iterator[None]:
    """Point AWS clients at a local AWS with four published months, and the settings at the Spark programs there."""
    if not (ROOT / ".local/venvs/spark/bin/python").exists():
        pytest.skip("the environment of Apache Spark is not installed: make setup ENGINE=spark")
    variables = {"TAXIWAY_SPARK_JOBS": "s3://taxiway-artifacts/test", **DEMO.settings}
    with prepared_aws(tmp_path_factory.mktemp("aws"), eta_settings, **variables):
        publish.publish("s3://taxiway-artifacts", "test")
        lake = Lake(settings(), boto3.Session(), TableSet("hvfhv"))
        for dataset in DEMO.read_input(None, str).datasets[-4:]:
            publish_month(lake, dataset.month, Path(dataset.url.removeprefix("file://")))
        yield


def publish_month(lake: Lake, month: str, file: Path) -> None:
    """Publish the first timed trips of a month's file, as HVFHV's analysis does."""
    trips = pq.read_table(file)
    requested, picked_up = trips["request_datetime"], trips["pickup_datetime"]
    table = pa.table(
        {
            "company": pa.array([COMPANIES.get(each) for each in trips["hvfhs_license_num"].to_pylist()]),
            "pickup_zone_id": trips["PULocationID"].cast(pa.int32()),
            "dropoff_zone_id": trips["DOLocationID"].cast(pa.int32()),
            "request_datetime": requested.cast(pa.timestamp("us")),
            "request_hour": pc.hour(requested).cast(pa.int32()),
            "request_weekday": pc.add(pc.day_of_week(requested), 1).cast(pa.int32()),
            "trip_miles": trips["trip_miles"].cast(pa.float64()),
            "wait_s": pc.seconds_between(requested, picked_up).cast(pa.int32()),
            "trip_time": trips["trip_time"].cast(pa.int64()),
        }
    )
    timed = pc.and_(pc.greater_equal(table["wait_s"], 0), pc.less_equal(table["wait_s"], 3600))
    table = table.filter(pc.and_(timed, pc.is_valid(table["company"]))).sort_by("request_datetime").slice(0, ROWS)
    folder = lake.location(TRAINING_TABLE, month, "20260101T000000000000Z.1")
    with lake.files.open_output_stream(f"{folder.removeprefix('s3://')}/part-0.parquet") as stream:
        pq.write_table(table, stream)
    name = TRAINING_TABLE.name
    lake.publish(Publication(period=month, locations={name: folder}, rows={name: len(table)}, inputs="a"), "test")


def test_published_months_become_a_version_whose_figures_can_be_computed_again(platform: None) -> None:
    dag = DagBag(ROOT / "dags" / "eta_model_training.py").dags["eta_model_training"]
    done = retry_at_once(dag, retries=0).test()

    states = {instance.task_id: str(instance.state) for instance in done.get_task_instances()}
    assert (states["train"], states["gate"], states["delete_application"]) == ("success",) * 3, states
    s3 = boto3.client("s3")
    registry = Registry(s3, "s3://taxiway-lake")
    (version,) = registry.versions()
    metrics = registry.metrics(version)
    assert (metrics["test_month"], metrics["version"], metrics["code"]) == ("2023-06", version, "test")
    assert set(metrics["candidates"]) == {"spark-ml", "lightgbm"}
    assert (states["promote"] == "success") is (registry.live() is not None)

    def read(name: str) -> bytes:
        body: Any = s3.get_object(Bucket="taxiway-lake", Key=f"models/eta/{version}/{name}")["Body"]
        return bytes(body.read())

    predictions = pq.read_table(io.BytesIO(read("predictions.parquet")))
    assert len(predictions) == metrics["rows"] == ROWS
    errors = {
        "mae_s": pc.abs(pc.subtract(predictions["wait_s"], predictions["p50_s"])),
        "baseline_mae_s": pc.abs(pc.subtract(predictions["wait_s"], predictions["baseline_s"])),
        "p90_coverage": pc.less_equal(predictions["wait_s"], predictions["p90_s"]).cast(pa.float64()),
    }
    for name, values in errors.items():
        assert pc.mean(values).as_py() == pytest.approx(metrics[name]), name
    assert b"<html" in read("card.html")
