"""What make query prints, asked of a real local Athena."""

import io
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from console.errors import UserError
from console.options import ROOT
from console.output import Reporter
from laptop.query import Query, ask
from tests.local_aws.athena.lake import Lake
from tests.local_aws.endpoint import Endpoint


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint whose lake has a table `waits` of 250 rows."""
    made = Endpoint(tmp_path_factory.mktemp("aws")).start()
    lake = Lake(made, "asked", tmp_path_factory.mktemp("lake"))
    made.client("s3").create_bucket(Bucket="taxiway-logs")
    lake.parquet("waits/a.parquet", "SELECT i::BIGINT AS zone, nullif('z' || i, 'z1') AS name FROM range(250) AS t(i)")
    lake.table("waits", {"zone": "bigint", "name": "string"}, "waits/")
    yield made
    made.close()


@pytest.fixture
def clients(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point AWS clients at the endpoint."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


def printed(**given: str) -> list[str]:
    text = io.StringIO()
    ask(Query.from_environment({"DATABASE": "asked", **given}), Reporter(Console(file=text, width=200)))
    return [line.rstrip() for line in text.getvalue().splitlines()]


@pytest.mark.usefixtures("clients")
def test_rows_are_a_table_with_what_they_cost() -> None:
    lines = printed(SQL="SELECT zone, name FROM waits WHERE zone < 2 ORDER BY zone;")
    assert [line.split(" │ ") for line in lines[2:4]] == [["   0", "z0"], ["   1", "NULL"]]
    assert lines[0].split(" ┃ ") == ["zone", "name"]
    assert re.fullmatch(r"2 rows; \d+\.\d\d s, [\d.]+ kB read\.", lines[-1])


@pytest.mark.usefixtures("clients")
def test_no_more_rows_are_shown_than_asked_for() -> None:
    lines = printed(SQL="SELECT zone FROM waits", ROWS="3")
    assert len(lines) == 2 + 3 + 1
    assert lines[-1].startswith("250 rows, 247 of them not shown (ROWS=250 shows all); ")


@pytest.mark.usefixtures("clients")
def test_all_rows_are_printed_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(SQL="SELECT zone, name FROM waits ORDER BY zone", FORMAT="csv") == []
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[:3]) == (251, ["zone,name", "0,z0", "1,"])


@pytest.mark.usefixtures("clients")
def test_statements_without_rows_say_so() -> None:
    assert printed(SQL="DROP TABLE IF EXISTS nothing")[-1].startswith("0 rows; ")


@pytest.mark.usefixtures("clients")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"SQL": " ; "}, 'SQL is not given: say make query SQL="select'),
        ({"SQL": "SELECT 1", "FORMAT": "xml"}, "FORMAT=xml is not known"),
        ({"SQL": "SELECT 1", "ROWS": "many"}, "ROWS=many cannot be used"),
        ({"SQL": "SELEKT 1"}, "Athena did not answer: line 1:1: mismatched input 'SELEKT'"),
        ({"SQL": "SELECT nope FROM waits"}, "Athena did not answer: COLUMN_NOT_FOUND: .*nope"),
        ({"SQL": "SELECT 1 FROM nowhere"}, "Athena did not answer: TABLE_NOT_FOUND: .*nowhere"),
        ({"SQL": "SELECT 1 / (zone - zone) FROM waits"}, "Athena did not answer: DIVISION_BY_ZERO"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(given: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}") as raised:
        printed(**given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["SQL", "ARGS", "CATALOG", "CSV", "EVENTS", "LOGS", "NAME", "NAMES"])
def test_make_hands_over_what_was_typed(name: str, tmp_path: Path) -> None:
    """Make would take a dollar sign for a variable."""
    makefile = (ROOT / "Makefile").read_text()
    definition = next(line for line in makefile.splitlines() if line.startswith(f"override export {name} "))
    (tmp_path / "Makefile").write_text(f"{definition}\nshow:\n\t@printenv {name}\n")
    sql = "SELECT \"$path\", '$$', '#', 'it''s' FROM t"
    shown = subprocess.run(
        ["make", "-s", "-C", str(tmp_path), "show", f"{name}={sql}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert shown.stdout.rstrip("\n") == sql
