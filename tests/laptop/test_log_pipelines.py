"""The log pipelines through the commands that a person types, on one platform that make up keeps."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.options import ROOT
from tests.contracts.command import contracts
from tests.laptop.person import Person
from tests.oracle.log_pipelines import LOGS, require_access_logs, require_api_events

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


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
    require_access_logs(results)


def test_every_event_is_published_in_its_hour_and_no_name_is(results: Path) -> None:
    require_api_events(results)


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
