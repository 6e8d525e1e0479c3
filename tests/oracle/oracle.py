"""Every output of the HVFHV pipeline, computed from the raw files by DuckDB SQL written from the definitions alone.

The SQL shares nothing with the Spark programs, and prefers the plain reading of a definition to speed: percentiles, for
example, are counted out by row numbers instead of asking the engine for them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

SQL = Path(__file__).with_name("sql")
REAL = ("FLOAT", "DOUBLE")

KEYS: dict[str, tuple[str, ...]] = {
    "curated": (),
    "quarantine": (),
    "service_quality": ("company", "pickup_zone_id", "request_hour"),
    "market_share": ("company", "pickup_borough", "pickup_date"),
    "popular_zones": ("pickup_date", "zone_id"),
    "rising_zones": ("zone_id",),
    "eta_training": (),
    "trend": ("company",),
}
"""The output tables, each with the columns that tell its rows apart (none: whole rows may repeat)."""

PATHS = {table: f"marts/hvfhv/{table}" for table in KEYS} | {
    "curated": "curated/hvfhv_trips",
    "quarantine": "quarantine/hvfhv_trips",
}
"""Where each table lies below the lake's root."""


def compute(files: Mapping[str, Sequence[Path]], zone_lookup: Path) -> duckdb.DuckDBPyConnection:
    """Compute all tables of :data:`KEYS` for some months.

    Args:
        files: raw Parquet files by month ("2023-01"), of any HVFHV schema version.
        zone_lookup: TLC's taxi zone lookup (CSV).

    Returns:
        A connection in which each table has, beside its own columns, the column ``month`` (first day, DATE);
        :func:`month_of` selects one month without it.
    """
    connection = duckdb.connect()
    _run(connection, "source")
    connection.execute("INSERT INTO zones FROM read_csv(?, header := true, nullstr := '')", [str(zone_lookup)])
    for month, paths in files.items():
        for path in paths:
            file = f"read_parquet('{path}', hive_partitioning := false)"
            numbers = [
                name for name, type_, *_ in connection.execute(f"DESCRIBE FROM {file}").fetchall() if type_ in REAL
            ]
            # What is no number is missing; infinite miles are judged first.
            finite = ", ".join(
                f"CASE WHEN {'NOT isnan' if name == 'trip_miles' else 'isfinite'}({name}) THEN {name} END AS {name}"
                for name in numbers
            )
            connection.execute(
                f"INSERT INTO source BY NAME SELECT ?::DATE AS month, * REPLACE ({finite}) FROM {file}", [f"{month}-01"]
            )
    _run(connection, "trips")
    for mart in list(KEYS)[2:]:
        _run(connection, mart)
    return connection


def month_of(table: str, month: str) -> str:
    """Return a query for the rows of ``table`` that belong to ``month`` ("2023-01")."""
    return f"SELECT * EXCLUDE (month) FROM {table} WHERE month = DATE '{month}-01'"


def _run(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    connection.execute((SQL / f"{name}.sql").read_text())
