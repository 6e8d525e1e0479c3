"""The report from a published month to the page on S3."""

from typing import Any

import boto3
import pyarrow as pa
import pytest
from pyarrow import parquet

from taxiway import lake
from taxiway.aws.usage import Usage
from taxiway.catalogue import Input
from taxiway.core.settings import Settings
from taxiway.hvfhv import tables
from taxiway.hvfhv.report import gather, write_report

ARROW = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
INPUTS = (Input("january", "s3://lake/raw/january.parquet", "ab" * 32, 105, 1),)
USED = Usage(100, "1 × m7g.xlarge", 0, 0.1, 0.4, 1.5, ())


@pytest.fixture
def store(aws: str) -> lake.Lake:
    session = boto3.Session()
    session.client("s3").create_bucket(Bucket="lake")
    return lake.Lake(Settings(lake="s3://lake"), session, tables.TABLES)


def publish(store: lake.Lake, month: str, trips: int, *, plan: str = "20230302T010203000000Z") -> None:
    """Publish a month of one company and one zone, with five rows in quarantine."""
    rows: dict[lake.Table, list[dict[str, Any]]] = {
        tables.SERVICE_QUALITY: [{"company": "uber", "pickup_zone_id": 132, "request_hour": 8, "trips": trips,
                                "wait_s_mean": 100.0, "late_trips": 0}],
        tables.TREND: [{"company": "uber", "trips": trips, "trip_share": 1.0, "wait_s_p50": 90, "wait_s_p90": 100}],
        tables.QUARANTINE: [{"reject_reason": reason} for reason in ["duplicate"] * 3 + ["unknown_zone"] * 2],
    }  # fmt: skip
    new = lake.Publication(period=month, inputs=INPUTS[0].sha256, locations={}, rows={})
    for table in tables.TABLES:
        schema = pa.schema([(name, ARROW[kind]) for name, kind in table.columns.items()])
        folder = store.location(table, month, f"{plan}.1")
        file = pa.BufferOutputStream()
        parquet.write_table(pa.Table.from_pylist(rows.get(table, []), schema=schema), file)
        key = folder.removeprefix("s3://lake/") + "/part-0.parquet"
        store.session.client("s3").put_object(Bucket="lake", Key=key, Body=file.getvalue().to_pybytes())
        new["locations"][table.name] = folder
        new["rows"][table.name] = trips if table == tables.TRIPS else len(rows.get(table, []))
    store.publish(new, "asset__1")


def test_figures_are_those_of_the_published_version_and_the_months_before(store: lake.Lake) -> None:
    publish(store, "2023-01", 7, plan="20230201T010203000000Z")
    publish(store, "2022-12", 50)
    publish(store, "2023-02", 9)
    publish(store, "2023-01", 100)
    figures = gather(store, "2023-01", INPUTS, USED)
    assert (figures.rows_in, figures.accepted) == (105, 100)
    assert figures.quarantined == {"duplicate": 3, "unknown_zone": 2}
    assert figures.trend.select(["month", "trips"]).to_pylist() == [
        {"month": "2022-12", "trips": 50},
        {"month": "2023-01", "trips": 100},
    ]
    assert figures.service_quality["trips"].to_pylist() == [100]
    assert figures.popular_zones.num_rows == 0
    read = {(part.table, part.period) for part in figures.partitions}
    assert read == {
        *((table, "2023-01") for table in tables.TABLES if table != tables.ETA_TRAINING),
        (tables.TREND, "2022-12"),
    }
    assert {part.version for part in figures.partitions} == {"20230302T010203000000Z.1"}


def test_the_page_is_put_to_s3_and_replaced(store: lake.Lake) -> None:
    publish(store, "2023-01", 100)
    s3 = store.session.client("s3")
    s3.put_object(Bucket="lake", Key="reports/hvfhv/2023-01.html", Body=b"an older page")
    assert write_report(store, "2023-01", INPUTS, USED) == "s3://lake/reports/hvfhv/2023-01.html"
    found = s3.get_object(Bucket="lake", Key="reports/hvfhv/2023-01.html")
    assert found["ContentType"] == "text/html; charset=utf-8"
    page = found["Body"].read().decode()
    assert page.startswith("<!doctype html>")
    assert "Uber carried 100.0% of 100 trips" in page


def test_a_month_that_is_not_published_has_no_report(store: lake.Lake) -> None:
    with pytest.raises(lake.LakeError, match=r"^hvfhv_\w+ of 2023-01 is not published, so there is no report: analyse"):
        write_report(store, "2023-01", INPUTS, USED)
