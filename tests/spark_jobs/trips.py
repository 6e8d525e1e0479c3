"""Small files of trips in TLC's schema, and how tests read what the programs write."""

from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from taxiway.core.month import Month

MONTH = Month(2023, 3)

TIMES = ("request_datetime", "on_scene_datetime", "pickup_datetime", "dropoff_datetime")


def at(text: str) -> datetime:
    """Return a wall-clock time, ``YYYY-MM-DD hh:mm:ss``."""
    return datetime.fromisoformat(text)


SCHEMA = pa.schema(
    [
        ("hvfhs_license_num", pa.string()),
        ("dispatching_base_num", pa.string()),
        ("originating_base_num", pa.string()),
        *((name, pa.timestamp("us")) for name in TIMES),
        ("PULocationID", pa.int64()),
        ("DOLocationID", pa.int64()),
        ("trip_miles", pa.float64()),
        ("trip_time", pa.int64()),
        *(
            (name, pa.float64())
            for name in ("base_passenger_fare", "tolls", "bcf", "sales_tax", "congestion_surcharge", "airport_fee")
        ),
        ("tips", pa.float64()),
        ("driver_pay", pa.float64()),
        *(
            (name, pa.string())
            for name in (
                "shared_request_flag",
                "shared_match_flag",
                "access_a_ride_flag",
                "wav_request_flag",
                "wav_match_flag",
            )
        ),
    ]
)

TRIP: dict[str, Any] = {
    "hvfhs_license_num": "HV0003",
    "dispatching_base_num": "B03404",
    "originating_base_num": "B03404",
    "request_datetime": at("2023-03-08 09:55"),
    "on_scene_datetime": at("2023-03-08 09:58"),
    "pickup_datetime": at("2023-03-08 10:00"),
    "dropoff_datetime": at("2023-03-08 10:20"),
    "PULocationID": 132,
    "DOLocationID": 230,
    "trip_miles": 4.5,
    "trip_time": 1200,
    "base_passenger_fare": 20.0,
    "tolls": 0.0,
    "bcf": 0.6,
    "sales_tax": 1.8,
    "congestion_surcharge": 2.75,
    "airport_fee": 0.0,
    "tips": 0.0,
    "driver_pay": 15.0,
    "shared_request_flag": "N",
    "shared_match_flag": "N",
    "access_a_ride_flag": " ",
    "wav_request_flag": "N",
    "wav_match_flag": "N",
}
"""A trip of March 2023 that every rule accepts: 300 s of waiting, 180 s until the car was there."""


def table(*changes: dict[str, Any]) -> pa.Table:
    """Return a row per argument: :data:`TRIP` with those columns changed."""
    return pa.Table.from_pylist([{**TRIP, **change} for change in changes], SCHEMA)


def retyped(trips: pa.Table, types: dict[str, pa.DataType]) -> pa.Table:
    """Return the trips with some columns of other types; of the null type they have no values."""
    for name, type_ in types.items():
        column = pa.nulls(len(trips)) if pa.types.is_null(type_) else trips[name].cast(type_)
        trips = trips.set_column(trips.column_names.index(name), name, column)
    return trips


def write(trips: pa.Table, path: Path, **options: Any) -> str:
    """Write a Parquet file and return its path."""
    pq.write_table(trips, path, **options)
    return str(path)


def folder(lake: Path, table: str, month: Month = MONTH, version: str = "v1") -> Path:
    """Return the folder of a version of a partition, spelt out as readers find it."""
    return lake / table / f"year={month.year}" / f"month={month.month:02d}" / f"version={version}"


def rows(path: Path, columns: str = "*", order: str = "ALL") -> list[tuple[Any, ...]]:
    """Return the rows of a partition that a program wrote."""
    files = f"read_parquet('{path}/*.parquet', hive_partitioning := false)"
    return duckdb.execute(f"SELECT {columns} FROM {files} ORDER BY {order}").fetchall()
