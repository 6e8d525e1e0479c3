"""Every table of the access logs, computed from the raw files by DuckDB SQL written from the definitions alone."""

import gzip
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import duckdb

from taxiway.core import contracts

SQL = Path(__file__).with_name("sql") / "access_logs"

KEYS: dict[str, tuple[str, ...]] = {
    "access_requests": (),
    "access_requests_quarantine": (),
    "hourly_traffic": ("hour",),
    "top_resources": ("rank",),
    "status_by_path": ("path", "status"),
    "suspicious_clients": ("host", "rule"),
    "sessions": ("session_id",),
}
"""The tables, each with the columns that tell the rows of a day apart (none: whole rows may repeat)."""


def compute(files: Mapping[date, Sequence[Path]]) -> duckdb.DuckDBPyConnection:
    """Compute all tables of :data:`KEYS`.

    Args:
        files: of each day, plain or gzip, in UTF-8.

    Returns:
        A connection in which each table has, beside its own columns, the column ``day``; :func:`day_of` selects one.
    """
    connection = duckdb.connect()
    connection.execute("CREATE TABLE lines (source_file TEXT, folder DATE, line TEXT)")
    for day, paths in files.items():
        for path in paths:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            rows = [path.name, day, content.decode().splitlines()]
            connection.execute("INSERT INTO lines SELECT ?, ?, unnest(?::TEXT[])", rows)
    connection.execute((SQL / "requests.sql").read_text())
    suspicious = contracts.read("access_logs", "suspicious_clients").properties
    connection.execute("CREATE TABLE patterns (rule TEXT, text TEXT)")
    patterns = [(rule, text) for rule, texts in suspicious["patterns"].items() for text in texts]
    connection.executemany("INSERT INTO patterns VALUES (?, ?)", patterns)
    text = "t"
    for escape, character in suspicious["unescaped"]:
        text = "replace({}, '{}', '{}')".format(text, escape.replace("'", "''"), character.replace("'", "''"))
    connection.execute(f"CREATE MACRO unescaped(t) AS {text}")
    connection.execute((SQL / "marts.sql").read_text())
    return connection


def day_of(table: str, day: date) -> str:
    """Return a query for the rows of a table that belong to a day."""
    return f"SELECT * EXCLUDE (day) FROM {table} WHERE day = DATE '{day}'"
