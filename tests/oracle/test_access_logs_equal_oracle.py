"""The program of access logs against the definitions: every table of the sample's days, row by row.

The days are built one after the other, as the pipeline does, and one in the middle again with lines that came late;
the oracle knows all lines at once, so that sessions over midnight are compared too.
"""

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import duckdb
import pytest

from taxiway.access_logs.sessions_plan import plan
from taxiway.core import contracts
from tests.oracle.comparison import difference
from tests.oracle.programs import ROOT

SAMPLE = ROOT / "demos/access_logs/sample/apache_access_2015-05.log.gz"
SQL = ROOT / "tests/oracle/sql/access_logs"
DAYS = [date(2015, 5, day) for day in (17, 18, 19, 20)]
AGAIN = date(2015, 5, 18)
KEYS = {
    "access_requests": (),
    "access_requests_quarantine": (),
    "hourly_traffic": ("hour",),
    "top_resources": ("rank",),
    "status_by_path": ("path", "status"),
    "suspicious_clients": ("host", "rule"),
    "sessions": ("session_id",),
}
# Attacks, other zones, a session over two midnights, an unknown agent: what the sample lacks.
MORE = {
    "18": [
        *(
            f'192.0.2.9 - - [18/May/2015:{hour:02d}:{minute:02d}:00 +0000] "GET /up HTTP/1.1" 200 -'
            for hour in range(24)
            for minute in (1, 30, 59)
        ),
        '192.0.2.1 - - [18/May/2015:10:00:00 +0000] "GET /a?id=1%27%20OR%201=1-- HTTP/1.1" 403 9 "-" "sqlmap"',
        '192.0.2.1 - - [18/May/2015:10:00:01 +0000] "GET /..%2f..%252f/etc/passwd?x=%3Cscript%3E HTTP/1.1" 404 9',
        '192.0.2.1 - - [18/May/2015:10:00:02 +0000] "GET /?x=;wget+http://a HTTP/1.1" 500 9 "-" "-"',
        *(
            f'192.0.2.2 - - [18/May/2015:11:00:{second:02d} +0000] "GET /wp-login.php?{second} HTTP/1.1" 404 - "-" "x"'
            for second in range(10)
        ),
        '192.0.2.3 - - [19/May/2015:01:00:00 +0200] "\\x16\\x03" 400 0 "-" "-"',
        '192.0.2.3 - - [18/May/2015:01:00:00 +0200] "GET /of-the-17th HTTP/1.1" 400 0 "-" "-"',
    ],
    "17": ['192.0.2.9 - - [17/May/2015:23:45:00 +0000] "GET /up HTTP/1.1" 200 -'],
    "19": ['192.0.2.9 - - [19/May/2015:00:20:00 +0000] "GET /up HTTP/1.1" 200 -'],
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[date, list[Path]]:
    """Return the files of each day; the last of :data:`AGAIN` comes late."""
    folder = tmp_path_factory.mktemp("raw")
    lines: dict[str, list[str]] = {f"{day:%d}": list(MORE.get(f"{day:%d}", ())) for day in DAYS}
    for line in gzip.decompress(SAMPLE.read_bytes()).decode().splitlines():
        lines[line.partition("[")[2][:2]].append(line)
    files: dict[date, list[Path]] = {}
    for day in DAYS:
        early, late = lines[f"{day:%d}"][::2], lines[f"{day:%d}"][1::2]
        files[day] = [folder / f"{day}-early.log", folder / f"{day}-late.log.gz"]
        files[day][0].write_text("\n".join(early))
        files[day][1].write_bytes(gzip.compress("\r\n".join(late).encode()))
    return files


@pytest.fixture(scope="module")
def oracle(raw: dict[date, list[Path]]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE lines (source_file TEXT, folder DATE, line TEXT)")
        for day, files in raw.items():
            for file in files:
                content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
                rows = [file.name, day, content.decode().splitlines()]
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
        yield connection


@pytest.fixture(scope="module")
def folders(
    raw: dict[date, list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, date], Path]]:
    """Return the folder of each table's day, as published after all runs."""
    from pysail.spark import SparkConnectServer

    lake = tmp_path_factory.mktemp("lake")
    published: dict[tuple[str, date], Path] = {}
    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    environment |= {
        "SPARK_REMOTE": f"sc://127.0.0.1:{server.listening_address[1]}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "dags")]),
    }
    try:
        for number, day in enumerate([*DAYS, AGAIN]):
            files = raw[day] if number == len(DAYS) or day != AGAIN else raw[day][:1]
            ends = {each: _last_end(folder) for (table, each), folder in published.items() if table == "sessions"}
            others = plan(day, ends)
            version = f"v{number}"
            words = ["--day", str(day), "--lake", str(lake), "--version", version]
            words += [word for file in files for word in ("--input", str(file))]
            words += [
                word for each in others.read for word in ("--neighbour", f"{each}={published['access_requests', each]}")
            ]
            words += [word for each in others.rebuilt for word in ("--rebuild", str(each))]
            argv = [sys.executable, str(ROOT / "spark_jobs/access_logs/build_day.py"), *words]
            done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            written = [(table, day) for table in KEYS] + [("sessions", each) for each in others.rebuilt]
            for table, each in written:
                folder = contracts.read("access_logs", table).version_folder(str(lake), str(each), version)
                published[table, each] = Path(folder)
        yield published
    finally:
        server.stop()


def _last_end(folder: Path) -> datetime | None:
    (end,) = duckdb.execute(f"SELECT max(ended_at) FROM read_parquet('{folder}/*.parquet')").fetchall()[0]
    return end if isinstance(end, datetime) else None


@pytest.mark.parametrize("table", KEYS)
@pytest.mark.parametrize("day", DAYS, ids=str)
def test_table_equals_oracle(
    folders: dict[tuple[str, date], Path], oracle: duckdb.DuckDBPyConnection, day: date, table: str
) -> None:
    actual = f"FROM read_parquet('{folders[table, day]}/*.parquet', hive_partitioning := false)"
    found = difference(oracle, f"SELECT * EXCLUDE (day) FROM {table} WHERE day = DATE '{day}'", actual, KEYS[table])
    assert not found, found


def test_the_oracle_has_what_is_to_be_compared(oracle: duckdb.DuckDBPyConnection) -> None:
    rules = oracle.execute("SELECT DISTINCT rule FROM suspicious_clients").fetchall()
    assert {rule for (rule,) in rules} == set(
        contracts.read("access_logs", "suspicious_clients").columns["rule"].valid_values
    )
    reasons = oracle.execute("SELECT reject_reason, count(*) FROM access_requests_quarantine GROUP BY ALL").fetchall()
    assert dict(reasons) == {"unparsed": 1, "outside_day": 1}
    longest = oracle.execute("SELECT max(ended_at::DATE - started_at::DATE) FROM sessions").fetchall()
    assert longest == [(2,)]
