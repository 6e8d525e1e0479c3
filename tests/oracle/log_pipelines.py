"""What the demos of the log pipelines publish, as make results copies it, held against the sample."""

import gzip
import json
from collections import Counter
from datetime import date
from pathlib import Path

import duckdb

from console.options import ROOT
from demos.access_logs.splitting import split_logs
from taxiway.core import contracts
from tests.oracle import access_logs
from tests.oracle.comparison import difference

LOGS = ROOT / "demos/access_logs/sample/apache_access_2015-05.log.gz"
EVENTS = ROOT / "demos/api_logs/sample/wikiticker-2015-09-12-sampled.json.gz"


def require_access_logs(results: Path) -> None:
    """Compare every table of every day of the sample with the oracle's."""
    split = split_logs(LOGS)  # its files last as long as it does
    days = {date.fromisoformat(day): files for day, files in split.files.items()}
    with access_logs.compute(days) as oracle:
        for table, keys in access_logs.KEYS.items():
            path = contracts.read("access_logs", table).path
            for day in days:
                folder = results / path / f"year={day:%Y}" / f"month={day:%m}" / f"day={day:%d}"
                actual = f"FROM read_parquet('{folder}/*.parquet', hive_partitioning := false)"
                found = difference(oracle, access_logs.day_of(table, day), actual, keys)
                assert not found, f"{table} of {day}: {found}"


def require_api_events(results: Path) -> None:
    """Count the events of each hour, and look for the names of users in all that is published.

    What each row has to hold is held against a second computation in ``tests/oracle/api_logs``.
    """
    events = [json.loads(line) for line in gzip.decompress(EVENTS.read_bytes()).splitlines()]
    files = f"read_parquet('{results}/curated/api_events/**/*.parquet', hive_partitioning := false)"
    hours = duckdb.execute(f"SELECT strftime(occurred_at, '%Y-%m-%dT%H'), count(*) FROM {files} GROUP BY ALL")
    assert dict(hours.fetchall()) == Counter(event["time"][:13] for event in events)
    names = {event["user"] for event in events if len(event["user"]) > 8}
    texts = "\n".join(str(row) for row in duckdb.execute(f"FROM {files}").fetchall())
    assert len(names) > 500
    assert [name for name in names if name in texts] == []
