"""Access-log lines of a day in any number, drawn from the demo's real ones; see access_logs_lines.sql."""

import shutil
from datetime import date
from pathlib import Path

import duckdb

from benchmarks.synthetic import BENCH, HERE, ROOT

LINES = 20_000_000
DAY = date(2026, 1, 31)
SERVERS = 4
SAMPLE = ROOT / "demos/access_logs/sample/apache_access_2015-05.log.gz"


def log_files(lines: int = LINES, folder: Path = BENCH) -> list[Path]:
    """Return the log files of a day, one a server; write them below ``folder`` first if they are missing."""
    ready = folder / f"access_logs_{lines}"
    if not ready.exists():
        part = ready.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _write(lines, part)
        part.rename(ready)
    return sorted(ready.glob("*.log"))


def _write(lines: int, folder: Path) -> None:
    with duckdb.connect(config={"memory_limit": "6GB", "temp_directory": str(folder / "spill")}) as connection:
        for name, value in {"lines": lines, "sample": str(SAMPLE), "day": DAY}.items():
            connection.execute(f"SET VARIABLE {name} = ?", [value])
        connection.execute((HERE / "access_logs_lines.sql").read_text())
        # Joins keep the order of the requests, which are their left side.
        connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        for server in range(SERVERS):
            connection.execute(
                f"COPY (SELECT line FROM lines WHERE server = {server}) TO '{folder}/web-{server + 1}.log' "
                "(FORMAT csv, HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '')"
            )
    shutil.rmtree(folder / "spill", ignore_errors=True)
