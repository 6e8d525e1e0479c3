"""One synthetic month by DuckDB: the outputs of the Spark programs under the same rules, as fast as DuckDB does it.

python -m benchmarks.duckdb_month --month 2023-10 --input month.parquet --lake folder --version V
"""

import argparse
import os
from pathlib import Path

import duckdb

from tests.oracle.oracle import PATHS
from tests.oracle.programs import ZONE_LOOKUP, partition

HERE = Path(__file__).parent
MEMORY = "4GB"
"""Of the 6 GB that each contestant may use: DuckDB does not count all that it allocates."""


def build(month: str, file: Path, lake: Path, version: str) -> None:
    """Write all tables of ``month`` ("2023-10") from one raw ``file`` to ``lake``, where the Spark programs would."""
    threads = os.cpu_count() or 1
    with duckdb.connect(config={"threads": threads, "memory_limit": MEMORY}) as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"SET VARIABLE month = DATE '{month}-01'")
        for name, path in {"file": file, "lookup": ZONE_LOOKUP}.items():
            connection.execute(f"SET VARIABLE {name} = ?", [str(path)])

        def write(table: str) -> Path:
            folder = partition(lake, PATHS[table], month, version)
            folder.mkdir(parents=True)
            options = "FORMAT parquet, COMPRESSION zstd, PER_THREAD_OUTPUT, OVERWRITE_OR_IGNORE"
            connection.execute(f"COPY {table} TO '{folder}' ({options})")
            return folder

        connection.execute((HERE / "duckdb_month.sql").read_text())
        write("quarantine")
        curated = write("curated")
        connection.execute(f"CREATE VIEW trips AS FROM read_parquet('{curated}/*.parquet')")
        connection.execute((HERE / "duckdb_marts.sql").read_text())
        for mart in PATHS:
            if mart not in ("curated", "quarantine"):
                write(mart)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--month", required=True)
    parser.add_argument("--input", required=True, type=Path)
    parser.add_argument("--lake", required=True, type=Path)
    parser.add_argument("--version", required=True)
    arguments = parser.parse_args()
    build(arguments.month, arguments.input, arguments.lake, arguments.version)
