"""What loads of the warehouse cost: ``python -m benchmarks.warehouse_loads [--write]``.

A full refresh of a CSV beside the textbook's ``INSERT`` row by row in one transaction and beside DuckDB's own ``COPY``;
an incremental load of 1 % changed rows beside the load of everything. Needs a MariaDB or MySQL server for the textbook.
"""

import argparse
import csv
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
import sqlalchemy as sa

from benchmarks.api_logs import heading, say
from benchmarks.measure import goal, keep
from benchmarks.synthetic import BENCH
from services.ride_ratings.schema import metadata
from taxiway.core.databases import open_engine
from taxiway.core.settings import Settings
from taxiway.lake import Lake, Publication
from taxiway.warehouse import full, incremental
from taxiway.warehouse.loads import Loaded
from taxiway.warehouse.settings import WarehouseSettings
from taxiway.warehouse.tables import REJECTED, alone, part_of, raw_tables
from tests.dags.catalogue.databases import mariadb
from tests.dags.runs import local_aws

NAMES, RATINGS = raw_tables()["name_gender"], raw_tables()["ride_ratings"]
NEWEST = datetime(2023, 12, 31)  # noqa: DTZ001 - UTC, as in the lake


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warehouse_loads", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the CSV (%(default)s)")
    parser.add_argument("--inserted", type=int, default=50_000, help="rows that are inserted one by one (%(default)s)")
    parser.add_argument("--service-rows", type=int, default=2_000_000, help="of the service's table (%(default)s)")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    options = parser.parse_args()
    folder = BENCH / "warehouse_loads"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with local_aws(folder / "aws") as endpoint, pytest.MonkeyPatch.context() as patch:
            for name, value in {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}.items():
                patch.setenv(name, value)
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, "test")
            boto3.client("s3").create_bucket(Bucket="taxiway-lake")
            lake = Lake(Settings(), boto3.Session(), alone(NAMES))
            lines = [
                f"{heading('duckdb', 'pyarrow', 'sqlalchemy')}.",
                "",
                *_full(lake, folder, options.rows, options.inserted),
                *_incremental(replace(lake, tables=alone(RATINGS)), folder, options.service_rows),
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = "\n".join(lines)
    print(text)
    if options.write:
        keep("python -m benchmarks.warehouse_loads --write", text)


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _full(lake: Lake, folder: Path, count: int, inserted: int) -> list[str]:
    file = folder / "names.csv"
    say(f"{count:,} rows of CSV")
    duckdb.execute(
        f"copy (select 'Name' || range as name, ['F', 'M', 'Unisex'][1 + range % 3] as gender, "
        f"round(0.5 + random() / 2, 4) as probability from range({count})) to '{file}' (header)"
    )
    version = "20261121T101112000000Z.1"

    def load() -> None:
        loaded = full.load(lake, NAMES, file.as_uri(), version, shrink_below=0.5, scratch_dir=str(folder))
        assert [part["accepted"] for part in loaded["parts"]] == [count]
        _publish(lake, NAMES, loaded)

    say("our full refresh")
    ours = _timed(load)
    say("DuckDB's COPY")
    copied = _timed(
        lambda: duckdb.execute(
            f"copy (from read_csv('{file}')) to '{folder}/copy.parquet' (format parquet, compression zstd)"
        )
    )
    say(f"INSERT of {inserted:,} rows, one by one")
    with mariadb() as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("create database names")
            connection.exec_driver_sql(
                "create table names.name_gender (name varchar(64) primary key, gender varchar(8), probability double)"
            )
        one_by_one = _timed(lambda: _insert(engine, file, inserted))
    rates = {"ours": count / ours, "copied": count / copied, "INSERT": inserted / one_by_one}
    return [
        "| full refresh | rows | seconds | rows/s |",
        "|---|---:|---:|---:|",
        (
            f"| ours: read, judged by the contract, keys unique, written, uploaded, published | {count:,} | {ours:.1f} "
            f"| {rates['ours']:,.0f} |"
        ),
        (
            f"| DuckDB's `COPY` of the CSV to a local Parquet file, no checks | {count:,} | {copied:.1f} "
            f"| {rates['copied']:,.0f} |"
        ),
        (
            f"| the textbook: `INSERT` row by row in one transaction, MariaDB on this machine | {inserted:,} "
            f"| {one_by_one:.1f} | {rates['INSERT']:,.0f} |"
        ),
        "",
        goal("rows/s over the textbook's, at least 100", rates["ours"] / rates["INSERT"], 100, at_least=True),
        "",
    ]


def _insert(engine: sa.Engine, file: Path, count: int) -> None:
    with engine.begin() as connection, file.open(encoding="utf-8") as stream:
        lines = csv.reader(stream)
        next(lines)
        for _, (name, gender, probability) in zip(range(count), lines, strict=False):
            connection.exec_driver_sql("insert into names.name_gender values (%s, %s, %s)", (name, gender, probability))


def _incremental(lake: Lake, folder: Path, count: int) -> list[str]:
    database = folder / "rides.db"
    say(f"a service with {count:,} rows")
    engine = open_engine(f"sqlite:///{database}")
    metadata.create_all(engine)
    with sqlite3.connect(database) as connection:
        connection.execute(
            f"""
            insert into ride_ratings with recursive n(i) as (select 1 union all select i + 1 from n where i < {count})
            select i, i % 200000 + 1, iif(i % 4, 'uber', 'lyft'), i % 263 + 1, t, i % 5 + 1, t, t, null
            from (
                select i, strftime('%Y-%m-%d %H:%M:%S.000000', 1672531200 + i * 31449600.0 / {count}, 'unixepoch') as t
                from n
            )
            """
        )
    everything = WarehouseSettings(scratch_dir=str(folder))
    marks = WarehouseSettings(scratch_dir=str(folder), compare_keys_days=366)
    times = {}

    def load(version: int, config: WarehouseSettings) -> Loaded:
        loaded = incremental.load(lake, RATINGS, engine, f"20261121T10{version:02d}00000000Z.1", config=config)
        _publish(lake, RATINGS, loaded)
        return loaded

    say("everything")
    times["everything, as if nothing were published"] = _timed(lambda: load(1, everything))
    say("nothing changed")
    times["nothing changed; one in 20 keys compared"] = _timed(lambda: load(2, marks))
    one = count // 100
    for number, (name, where) in enumerate(
        (
            ("1 % changed, all in the newest month; one in 20 keys compared", f"rating_id > {count - one}"),
            ("1 % changed, in all twelve months; one in 20 keys compared", "rating_id % 100 = 7"),
        ),
        3,
    ):
        with sqlite3.connect(database) as connection:
            at = f"{NEWEST:%Y-%m-%d} {number:02d}:00:00.000000"
            connection.execute(f"update ride_ratings set stars = 6 - stars, modified_at = '{at}' where {where}")
        say(name)
        times[name] = _timed(lambda number=number: load(number, marks))  # type: ignore[misc]
    whole = times["everything, as if nothing were published"]
    constant = times["nothing changed; one in 20 keys compared"]
    lines = [f"| a service's table of {count:,} rows (SQLite) | seconds | of the whole |", "|---|---:|---:|"]
    lines += [f"| {name} | {seconds:.1f} | {seconds / whole:.1%} |" for name, seconds in times.items()]
    newest = times["1 % changed, all in the newest month; one in 20 keys compared"]
    claim = "1 % changed, less what a load without changes takes, over the whole, at most 0.05"
    return [*lines, "", goal(claim, max(newest - constant, 0) / whole, 0.05)]


def _publish(lake: Lake, table: Any, loaded: Loaded) -> None:
    lakes = {each: replace(lake, tables=alone(each)) for each in (REJECTED, table)}
    for part in loaded["parts"]:
        for each, period, location, count in (
            (REJECTED, f"{table.name}-{part_of(part['period'])}", part["rejected_location"], part["rejected"]),
            (table, part["period"], part["location"], part["accepted"]),
        ):
            publication = Publication(
                period=period, inputs=part["inputs"], locations={each.name: location}, rows={each.name: count}
            )
            lakes[each].publish(publication, "benchmark")
    lake.annotate(table, **loaded["annotations"])


if __name__ == "__main__":
    main()
