"""The API logs' tables of the shipped events, and of the same with faults, computed a second time in DuckDB SQL."""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from services.log_generator import deliver, open_events, target_of
from tests.dags.api_logs.world import DAYS, PSEUDONYM_KEY, SAMPLE, World
from tests.oracle.comparison import difference

SQL = Path(__file__).with_name("events.sql")
LINES = "delim = '\\x01', quote = '', escape = '', header = false, columns = {'line': 'VARCHAR'}, strict_mode = false"


def _sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _hmac(key: bytes, text: bytes) -> bytes:
    """Return the HMAC of FIPS 198-1 with SHA-256."""
    block = key.ljust(64, b"\0")
    inner = _sha256(bytes(byte ^ 0x36 for byte in block), text)
    return _sha256(bytes(byte ^ 0x5C for byte in block), inner)


def _pseudonym(text: str, time: datetime) -> str:
    days = (time.date() - date(1970, 1, 1)).days // DAYS * DAYS
    label = f"{date(1970, 1, 1) + timedelta(days=days):%Y%m%d}"
    key = _hmac(PSEUDONYM_KEY, f"pseudonyms of {label}".encode())
    return f"{label}-{_hmac(key, text.encode()).hex()[:32]}"


def _dirty(folder: Path) -> Path:
    """Write the shipped events with ids that come again, times and numbers that cannot be used, and unknown members."""
    lines = []
    for number, line in enumerate(gzip.decompress(SAMPLE.read_bytes()).splitlines()):
        event: dict[str, Any] = json.loads(line)
        if number % 7 == 0:
            event["id"] = f"twin-{number % 203}"
        if number % 31 == 1:
            event["time"] = [None, "soon", ""][number % 3]
        if number % 41 == 2:
            event["added"] = ["many", 1.5, True][number % 3]
        if number % 3 == 0:
            event["client"] = {"address": f"/u/{event['user']}/x", "retries": number % 5}
        lines.append(json.dumps(event, ensure_ascii=number % 2 == 0))
    file = folder / "dirty.json"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture(scope="module", params=["shipped", "dirty"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path, Counter[str]]:
    """Return a lake with the tables that the pipeline makes, the events, and what it quarantined."""
    folder = tmp_path_factory.mktemp(request.param)
    file = SAMPLE if request.param == "shipped" else _dirty(folder)
    world = World(folder / "lake")
    put = target_of(str(world.lake / "raw/api_logs"), None)
    deliver(open_events(file), put, world.server, faults=True, records_per_object=400)  # type: ignore[arg-type]
    return world, file, world.run()


@pytest.fixture(scope="module")
def oracle(made: tuple[World, Path, Counter[str]]) -> Iterator[duckdb.DuckDBPyConnection]:
    world, file, _ = made
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.create_function("pseudonym", _pseudonym, ["VARCHAR", "TIMESTAMP"], "VARCHAR")
        connection.execute(
            f"CREATE TABLE given AS SELECT ? AS file, row_number() OVER () AS number, line FROM read_csv(?, {LINES})",
            [file.name, str(file)],
        )
        connection.execute(
            f"""
            CREATE TABLE raw AS
            SELECT source_object, number, line,
                (coalesce(sum(strlen(line) + 1) OVER (PARTITION BY source_object ORDER BY number
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0))::BIGINT AS "offset"
            FROM (
                SELECT filename[{len(str(world.lake)) + 2}:] AS source_object, line,
                    row_number() OVER (PARTITION BY filename ORDER BY place) AS number
                FROM (SELECT *, row_number() OVER () AS place FROM read_csv(?, filename = true, {LINES}))
            )
            """,
            [f"{world.lake}/raw/**/*.jsonl"],
        )
        connection.execute(SQL.read_text())
        yield connection


@pytest.mark.parametrize(
    ("table", "path", "keys"),
    [
        ("api_events", "curated/api_events", ("source_object", "offset")),
        ("api_events_quarantine", "quarantine/api_events", ("source_object", "offset")),
    ],
)
def test_table_equals_oracle(
    made: tuple[World, Path, Counter[str]],
    oracle: duckdb.DuckDBPyConnection,
    table: str,
    path: str,
    keys: tuple[str, ...],
) -> None:
    files = f"{made[0].lake}/{path}/**/part-*.parquet"
    found = difference(
        oracle,
        f"FROM {table}",
        f"FROM read_parquet('{files}', hive_partitioning := false)",
        tuple(f'"{key}"' for key in keys),
    )
    assert not found, found


def test_every_record_is_in_one_of_the_tables(
    made: tuple[World, Path, Counter[str]], oracle: duckdb.DuckDBPyConnection
) -> None:
    world, _, quarantined = made
    ((records,),) = oracle.execute("SELECT count(*) FROM raw").fetchall()
    ((events,),) = oracle.execute(
        f"SELECT count(*) FROM read_parquet('{world.lake}/curated/api_events/**/part-*.parquet')"
    ).fetchall()
    assert events + quarantined.total() == records
    assert set(quarantined) == {
        *("tampered", "truncated", "unknown_key", "wrong_schema", "in_future", "late", "duplicate")
    }


def test_each_event_lies_in_the_hour_in_which_it_occurred(made: tuple[World, Path, Counter[str]]) -> None:
    wrong = duckdb.execute(
        f"""SELECT count(*) FROM read_parquet('{made[0].lake}/curated/api_events/**/part-*.parquet',
            hive_types_autocast = false)
        WHERE strftime(occurred_at, '%Y-%m-%d-%H') <> concat_ws('-', year, month, day, hour)"""
    ).fetchall()
    assert wrong == [(0,)]
