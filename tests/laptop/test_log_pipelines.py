"""The log pipelines through the commands that a person types, on one platform that make up keeps."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest

from console.options import ROOT
from demos.access_logs.splitting import split_logs
from tests.contracts.command import contracts
from tests.laptop.person import Person
from tests.oracle import access_logs
from tests.oracle.comparison import difference

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

LOGS = ROOT / "demos/access_logs/sample/apache_access_2015-05.log.gz"
EVENTS = ROOT / "demos/api_logs/sample/wikiticker-2015-09-12-sampled.json.gz"


@pytest.fixture(scope="module")
def demos(person: Person) -> Iterator[dict[str, tuple[int, str]]]:
    """Run both demos on a platform that has just got every pipeline's sample."""
    status, output = person.type("up")
    assert status == 0, output
    yield {name: person.type("demo", PIPELINE=name) for name in ("access_logs", "api_logs")}
    person.type("down")
    assert not person.left_after(10)


@pytest.fixture(scope="module")
def results(person: Person, demos: dict[str, tuple[int, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    status, output = person.type("results", "--to", str(folder))
    assert status == 0, output
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("access_logs", ("2015-05-20", "requests", "sessions", "quarantine")),
        ("api_logs", ("Events of 2015-09-12 by hour", "tampered", "Athena read")),
    ],
)
def test_a_demo_ends_well_and_shows_what_it_found(
    demos: dict[str, tuple[int, str]], name: str, words: tuple[str, ...]
) -> None:
    status, output = demos[name]
    assert status == 0, output
    for word in words:
        assert word in output


def test_every_table_of_access_logs_equals_the_oracle(results: Path) -> None:
    days = {date.fromisoformat(day): files for day, files in split_logs(LOGS).files.items()}
    with access_logs.compute(days) as oracle:
        for table, keys in access_logs.KEYS.items():
            place = {
                "access_requests": "curated/access_requests",
                "access_requests_quarantine": "quarantine/access_requests",
            }.get(table, f"marts/access_logs/{table}")
            for day in days:
                folder = results / place / f"year={day:%Y}" / f"month={day:%m}" / f"day={day:%d}"
                actual = f"FROM read_parquet('{folder}/*.parquet', hive_partitioning := false)"
                found = difference(oracle, access_logs.day_of(table, day), actual, keys)
                assert not found, f"{table} of {day}: {found}"


def test_every_event_is_published_in_its_hour_and_no_name_is(results: Path) -> None:
    """What each table has to hold is held against a second computation in tests/oracle/api_logs."""
    events = [json.loads(line) for line in gzip.decompress(EVENTS.read_bytes()).splitlines()]
    files = f"read_parquet('{results}/curated/api_events/**/*.parquet', hive_partitioning := false)"
    found = duckdb.execute(
        f"SELECT strftime(occurred_at, '%Y-%m-%dT%H'), count(*) FROM {files} GROUP BY ALL"
    ).fetchall()
    assert dict(found) == Counter(event["time"][:13] for event in events)
    names = {event["user"].encode() for event in events if len(event["user"]) > 8}
    texts = "\n".join(str(row) for row in duckdb.execute(f"FROM {files}").fetchall()).encode()
    assert len(names) > 500
    assert [name for name in names if name in texts] == []


@pytest.mark.parametrize("pipeline", ["access_logs", "api_logs"])
def test_published_tables_keep_their_contracts(results: Path, pipeline: str) -> None:
    assert contracts("test", pipeline, results) == (0, "")


def test_the_published_tables_are_asked_by_athena(person: Person, demos: dict[str, tuple[int, str]]) -> None:
    sql = "SELECT sum(requests) AS requests FROM hourly_traffic"
    status, output = person.type("query", SQL=sql, FORMAT="csv")
    assert status == 0, output
    with gzip.open(LOGS) as lines:
        assert int(output.split()[-1]) == sum(1 for _ in lines) - 1  # one is cut off in the middle


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PIPELINE": "access_logs", "LOGS": "/nowhere"}, "/nowhere"),
        ({"PIPELINE": "access_logs", "LOGS": str(ROOT / "Makefile")}, "Makefile"),
        ({"PIPELINE": "api_logs", "EVENTS": "/nowhere"}, "/nowhere"),
        ({"PIPELINE": "api_logs", "EVENTS": str(ROOT / "Makefile")}, "Makefile"),
        ({"PIPELINE": "no_such"}, "no_such"),
    ],
)
def test_input_that_cannot_be_used_is_one_sentence(
    person: Person, demos: dict[str, tuple[int, str]], variables: dict[str, str], words: str
) -> None:
    status, output = person.type("demo", **variables)
    assert (status, len(output.strip().splitlines())) == (1, 1)
    assert words in output
