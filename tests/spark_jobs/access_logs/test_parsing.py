"""Lines become what a second parser, written by hand, makes of them: on both engines."""

import gzip
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from tests.spark_jobs.access_logs.nasty import BLANK, DAY, PARSED, REJECTED, line
from tests.spark_jobs.access_logs.reference import Tables, tables
from tests.spark_jobs.conftest import Programs

pytestmark = pytest.mark.slow  # runs programs on Sail and on Spark

BUILD = "access_logs/build_day.py"
LOG = b"\n".join([*PARSED, *BLANK, *REJECTED])


def build(programs: Programs, lake: Path, *inputs: Path, status: int = 0) -> str:
    """Run the program for the day and return its stderr."""
    words = [word for path in inputs for word in ("--input", path)]
    return programs(BUILD, "--day", DAY, "--lake", lake, "--version", "v1", *words, status=status)


def rows(lake: Path, path: str, columns: str = "*") -> list[tuple[Any, ...]]:
    """Return the rows of a table's day."""
    files = f"{lake}/{path}/year=2015/month=05/day=17/version=v1/*.parquet"
    return duckdb.execute(f"SELECT {columns} FROM read_parquet('{files}', hive_partitioning = false)").fetchall()


def _difference(found: Iterable[tuple[Any, ...]], expected: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return what is only in one of two lists, cut, for lines may be long."""
    one, other = Counter(found), Counter(expected)
    return [
        *(f"{number} more than expected: {row!s:.300}" for row, number in (one - other).items()),
        *(f"{number} missing: {row!s:.300}" for row, number in (other - one).items()),
    ]


def _assert_equal(lake: Path, expected: Tables) -> None:
    found = rows(lake, "curated/access_requests", "* EXCLUDE (source_file)")
    assert _difference(found, expected.requests) == []
    assert _difference(rows(lake, "quarantine/access_requests", "raw, reject_reason"), expected.quarantine) == []


def test_the_lists_of_lines_are_as_they_say() -> None:
    expected = tables(LOG, DAY)
    assert len(expected.requests) == len(PARSED)
    assert len(expected.quarantine) == len(REJECTED)
    reasons = Counter(reason for _, reason in expected.quarantine)
    assert reasons["too_long"] == 4
    assert reasons["outside_day"] == 5


@pytest.mark.parametrize("engine", ["on_sail", "on_spark"])
def test_nasty_lines(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.log", tmp_path / "packed.log.gz"
    plain.write_bytes(LOG)
    half = len(LOG) // 2
    packed.write_bytes(gzip.compress(LOG[:half]) + gzip.compress(LOG[half:] + b"\r\n"))  # of two members
    build(request.getfixturevalue(engine), tmp_path / "lake", plain, packed)
    once = tables(LOG, DAY)
    _assert_equal(tmp_path / "lake", Tables(once.requests * 2, once.quarantine * 2))
    assert not list(tmp_path.glob("lake/**/*.lines"))


def test_nasty_lines_of_utf8(on_sail: Programs, tmp_path: Path) -> None:
    """A file that Sail reads as text itself, without its being rewritten."""
    content = b"\n".join(each for each in LOG.split(b"\n") if each.decode(errors="ignore").encode() == each)
    (tmp_path / "a.log").write_bytes(content)
    build(on_sail, tmp_path / "lake", tmp_path / "a.log")
    _assert_equal(tmp_path / "lake", tables(content, DAY))


# Pieces that matter to the parser, so that random lines come near to parsing.
_PIECES = [
    *(
        b'"',
        b"\\",
        b'\\"',
        b"\\\\",
        b" ",
        b"[",
        b"]",
        b"-",
        b"/",
        b":",
        b"+0000",
        b"\xff",
        b"\xef\xbf\xbd",
        b"\r",
        b"q",
    ),
    *("é".encode(), b"17/May/2015:10:05:03 +0000", b"[17/May/2015:10:05:03 +0000] ", b"GET / HTTP/1.1", b"200", b"\t"),
]


def _random_line(random: Random) -> bytes:
    """Return a good line with some bytes inserted, removed or replaced; or nothing but pieces."""

    def piece() -> bytes:
        return random.choice(_PIECES) if random.random() < 0.8 else random.randbytes(3).replace(b"\n", b"")

    def field() -> bytes:
        return b"".join(piece() for _ in range(random.randint(0, 5)))

    if random.random() < 0.2:
        return field()
    agent = b' "' + field() + b'" "' + field() + b'"' if random.random() < 0.5 else b""
    whole = line(host=b"h", user=field() or b"-", request=field(), agent=agent)
    for _ in range(random.randint(0, 2)):
        start = random.randint(0, len(whole))
        whole = whole[:start] + piece() + whole[start + random.randint(0, 2) :]
    return whole


# Many lines for each example, as each costs the engine a query; a difference names the lines.
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_lines(seed: int, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> None:
    from spark_jobs.access_logs import lines, parsing

    folder = tmp_path_factory.mktemp("random")
    random = Random(seed)
    content = b"\n".join(_random_line(random) for _ in range(3000))
    (folder / "a.log").write_bytes(content)
    lines.rewrite(str(folder / "a.log"), str(folder / "lines"))
    read = lines.read(spark, {"a.log": str(folder / "a.log")}, {"a.log": str(folder / "lines")})
    checked = parsing.with_reject_reason(read, DAY)
    expected = tables(content, DAY)
    assert len(expected.requests) > 100
    assert len(expected.quarantine) > 100
    assert _difference((tuple(row)[1:] for row in parsing.accepted(checked).collect()), expected.requests) == []
    assert _difference((tuple(row)[1:] for row in parsing.quarantined(checked).collect()), expected.quarantine) == []


def test_names_of_files(on_sail: Programs, tmp_path: Path) -> None:
    folder = tmp_path / "lake/raw/access_logs/year=2015/month=05/day=17"
    (folder / "web-1").mkdir(parents=True)
    for path in (folder / "a.log", folder / "web-1/a.log"):
        path.write_bytes(line() + b"\nx\n")
    build(on_sail, tmp_path / "lake", folder / "a.log", folder / "web-1/a.log")
    names = [("a.log",), ("web-1/a.log",)]
    assert sorted(rows(tmp_path / "lake", "curated/access_requests", "source_file")) == names
    assert sorted(rows(tmp_path / "lake", "quarantine/access_requests", "source_file")) == names


def test_files_without_lines(on_sail: Programs, tmp_path: Path) -> None:
    for name, content in {"a.log": b"", "b.log": b"\n \n\r\n", "c.log.gz": b"", "d.log.gz": gzip.compress(b"")}.items():
        (tmp_path / name).write_bytes(content)
    build(on_sail, tmp_path / "lake", *sorted(tmp_path.glob("*.log*")))
    for path in ("curated/access_requests", "quarantine/access_requests", "marts/access_logs/sessions"):
        assert rows(tmp_path / "lake", path) == []


FAULTS = {
    "cut.log.gz": (gzip.compress(b"\n".join([line()] * 9000))[:-9], "gzip data is cut short or damaged"),
    "cut-bytes.log.gz": (gzip.compress(line() + b"\n\xff" + bytes(range(256)) * 99)[:-9], "gzip data is cut short"),
    "plain.log.gz": (b"\n".join([line()] * 99), "gzip data is cut short or damaged"),
    "other.log": (b'{"a": 1}\n' * 9, "is not an access log in the common or combined format"),
    "packed.log": (gzip.compress(line()), "is not an access log in the common or combined format"),
    "missing.log": (None, "cannot be read"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_files_that_are_refused(on_sail: Programs, tmp_path: Path, name: str) -> None:
    _assert_refused(on_sail, tmp_path, name)


@pytest.mark.parametrize("name", ["cut.log.gz", "other.log"])
def test_files_that_are_refused_on_spark(on_spark: Programs, tmp_path: Path, name: str) -> None:
    _assert_refused(on_spark, tmp_path, name)


def _assert_refused(programs: Programs, folder: Path, name: str) -> None:
    content, sentence = FAULTS[name]
    if content is not None:
        (folder / name).write_bytes(content)
    (folder / "good.log").write_bytes(line())
    error = build(programs, folder / "lake", folder / "good.log", folder / name, status=1)
    said = error.strip().splitlines()[-1]
    assert name in said
    assert sentence in said
    assert "Traceback" not in error


def test_arguments(on_sail: Programs, tmp_path: Path) -> None:
    words = ["--lake", tmp_path, "--version", "v1", "--input", "a"]
    assert "is not a day" in on_sail(BUILD, "--day", "2015-02-30", *words, status=2)
    assert "no --neighbour" in on_sail(BUILD, "--day", DAY, *words, "--rebuild", "2015-05-16", status=2)
    assert "not DAY=FOLDER" in on_sail(BUILD, "--day", DAY, *words, "--neighbour", "2015-05-16", status=2)
    assert "same name" in on_sail(BUILD, "--day", DAY, *words, "--input", "b/a", status=2)
