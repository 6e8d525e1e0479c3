"""A day of access logs by DuckDB: the tables of spark_jobs/access_logs under the same rules, as fast as DuckDB does it.

python -m benchmarks.access_logs_duckdb --day 2026-01-31 --input web-1.log … --lake folder --version V
"""

import argparse
import os
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import duckdb

from spark_jobs.access_logs.contracts import contract, folder
from spark_jobs.common.program import timed

HERE = Path(__file__).parent
MEMORY = "4GB"
"""Of the 6 GB that each contestant may use: DuckDB does not count all that it allocates."""


def build(day: date, files: Sequence[Path], lake: Path, version: str) -> None:
    """Write all tables of ``day`` from its log ``files`` to ``lake``, where the Spark program would."""
    with duckdb.connect(config={"threads": os.cpu_count() or 1, "memory_limit": MEMORY}) as connection:
        connection.execute("SET preserve_insertion_order = false")
        suspicious, sessions = (contract(table).properties for table in ("suspicious_clients", "sessions"))
        for name, value in {
            "files": [str(file) for file in files],
            "day": day,
            "many": int(suspicious["manyRequests"]),
            "pause_us": int(sessions["pauseMinutes"]) * 60_000_000,
        }.items():
            connection.execute(f"SET VARIABLE {name} = ?", [value])
        text = "text"
        for escape, character in suspicious["unescaped"]:
            text = f"replace({text}, '{escape}', {_quoted(character)})"
        connection.execute(f"CREATE MACRO unescaped(text) AS {text}")
        rules = ", ".join(
            f"if(regexp_matches(text, {_quoted('|'.join(map(re.escape, texts)))}), '{rule}', NULL)"
            for rule, texts in suspicious["patterns"].items()
        )
        connection.execute(f"CREATE MACRO rules(text) AS list_filter([{rules}], lambda rule: rule IS NOT NULL)")

        def write(table: str) -> Path:
            place = Path(folder(str(lake), table, day, version))
            place.mkdir(parents=True)
            options = "FORMAT parquet, COMPRESSION zstd, PER_THREAD_OUTPUT, OVERWRITE_OR_IGNORE"
            with timed(table):
                connection.execute(f"COPY (FROM {table}) TO '{place}' ({options})")
            return place

        connection.execute((HERE / "access_logs_duckdb.sql").read_text())
        # A filter moved before the projection that computes its columns would have most of the work done twice.
        connection.execute("SET disabled_optimizers = 'filter_pushdown'")
        requests = write("access_requests")
        write("access_requests_quarantine")
        connection.execute("SET disabled_optimizers = ''")
        connection.execute(f"CREATE VIEW requests AS FROM read_parquet('{requests}/*.parquet')")
        with timed("marts"):
            connection.execute((HERE / "access_logs_duckdb_marts.sql").read_text())
        for mart in ("hourly_traffic", "status_by_path", "top_resources", "suspicious_clients", "sessions"):
            write(mart)


def _quoted(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--day", required=True, type=date.fromisoformat)
    parser.add_argument("--input", required=True, type=Path, nargs="+")
    parser.add_argument("--lake", required=True, type=Path)
    parser.add_argument("--version", required=True)
    arguments = parser.parse_args()
    build(arguments.day, arguments.input, arguments.lake, arguments.version)
