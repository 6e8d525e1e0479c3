"""Rows of the tables that the dbt project reads, small enough to be counted by hand."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import duckdb
from pyarrow import parquet

from taxiway.core.settings import settings
from taxiway.lake import Lake, Table, TableSet
from taxiway.warehouse import dbt_sources

_TYPES = {"string": "VARCHAR"}
_SERVICE = "timestamp '2023-02-11 10:00:00' AS created_at, timestamp '2023-02-11 10:00:00' AS modified_at"
_MONTH = {
    "hvfhv.trend": "SELECT company, 10 AS trips, 200.0 AS wait_s_mean, 180 AS wait_s_p50, 300 AS wait_s_p90, "
    "1.0 AS fare_revenue, 1.0 AS driver_pay, 0.5 AS trip_share FROM (VALUES ('uber'), ('lyft')) AS t (company)",
    "hvfhv.popular_zones": "SELECT date '2023-01-05' AS pickup_date, zone_id, 10 AS trips, 1 AS rank, "
    "'a' AS zone_name, 'b' AS borough FROM (VALUES (4), (7)) AS t (zone_id)",
    "hvfhv.service_quality": "SELECT 'uber' AS company, zone AS pickup_zone_id, 3 AS request_hour, 9 AS trips, "
    "200.0 AS wait_s_mean, 180 AS wait_s_p50, 300 AS wait_s_p90, 400 AS wait_s_p95, 2 AS late_trips, "
    "NULL AS arrival_s_mean, NULL AS arrival_s_p50, NULL AS arrival_s_p90 FROM (VALUES (4), (7)) AS t (zone)",
}
# 36 of 40 ratings are not deleted; rides are in January, but the last 10 in February.
RATINGS = (
    "SELECT i AS rating_id, i AS rider_id, CASE WHEN i % 2 = 0 THEN 'uber' ELSE 'lyft' END AS company, "
    "CASE WHEN i % 3 = 0 THEN 4 ELSE 7 END AS pickup_zone_id, "
    "CASE WHEN i < 30 THEN timestamp '2023-01-10 10:00:00' ELSE timestamp '2023-02-10 10:00:00' END AS requested_at, "
    f"1 + i % 5 AS stars, {_SERVICE}, "
    "CASE WHEN i % 10 = 0 THEN timestamp '2023-03-01' END AS deleted_at FROM range(40) AS t (i)"
)
ROWS = {
    **{(name, f"2023-{month}"): sql for name, sql in _MONTH.items() for month in ("01", "02")},
    ("warehouse.taxi_zones", ""): "SELECT zone_id, 'Zone ' || zone_id AS zone_name, 'Queens' AS borough, "
    "'Boro Zone' AS service_zone FROM (VALUES (4), (7)) AS t (zone_id)",
    ("warehouse.name_gender", ""): "SELECT * FROM (VALUES ('Ann', 'F', 0.9), ('Bob', 'M', NULL), "
    "('Kim', 'Unisex', NULL)) AS t (name, gender, probability)",
    ("warehouse.ride_ratings", "2023-02"): RATINGS,
    ("warehouse.experiment_assignments", "2023-02"): "SELECT i AS rider_id, 'tips' AS experiment, "
    "CASE WHEN i % 2 = 0 THEN 'control' ELSE 'treatment' END AS variant, timestamp '2023-01-01' AS assigned_at, "
    f"{_SERVICE}, NULL AS deleted_at FROM range(40) AS t (i)",
    ("warehouse.experiment_exposures", "2023-02"): "SELECT i AS exposure_id, i AS rider_id, 'tips' AS experiment, "
    f"timestamp '2023-01-02' AS exposed_at, {_SERVICE}, NULL AS deleted_at FROM range(30) AS t (i)",
}


def table(name: str) -> Table:
    """Return a source of the project, such as ``hvfhv.trend``."""
    return dbt_sources.tables()[name]


def rows(name: str, sql: str) -> duckdb.DuckDBPyRelation:
    """Return rows in the types of a table's contract."""
    columns = (
        f'CAST("{column}" AS {_TYPES.get(type_, type_)}) AS "{column}"' for column, type_ in table(name).columns.items()
    )
    return duckdb.connect().query(f"SELECT {', '.join(columns)} FROM ({sql})")


def write(folder: Path) -> Iterator[str]:
    """Write the rows as Parquet files below a folder, as ``make dbt`` copies them; yield the tables' names."""
    for (name, period), sql in ROWS.items():
        place = Path(table(name).contract.partition_folder(str(folder), period))
        place.mkdir(parents=True)
        rows(name, sql).write_parquet(str(place / "a.parquet"))
        yield name


def publish(name: str, period: str, sql: str, version: str) -> None:
    """Publish rows of a table, or of one of its periods."""
    found = table(name)
    alone = found.contract.properties.get("publishAlone")
    lake = Lake(settings(), boto3.Session(), TableSet(found.pipeline, found) if alone else TableSet(found.pipeline))
    location = lake.location(found, period, version)
    with lake.files.open_output_stream(f"{location.removeprefix('s3://')}/a.parquet") as file:
        parquet.write_table(rows(name, sql).to_arrow_table(), file)
    locations, counts = {found.name: location}, {found.name: 1}
    lake.publish({"period": period, "locations": locations, "inputs": version, "rows": counts}, "test")
