"""The contestants of the access logs' benchmark make the same tables: those of the oracle; a difference is an error."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import access_logs
from benchmarks.access_logs_lines import DAY, log_files
from benchmarks.contestants import VERSION, Totals
from benchmarks.measure import Cost
from spark_jobs.access_logs.contracts import folder
from tests.oracle.access_logs import KEYS, compute, day_of
from tests.oracle.comparison import difference

pytestmark = pytest.mark.slow  # starts engines

LINES = 5_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return log_files(LINES, tmp_path_factory.mktemp("bench"))


def test_lines_are_a_day_of_all_hours_with_sessions_of_several_requests(files: list[Path]) -> None:
    assert log_files(LINES, files[0].parents[1]) == files
    assert sum(len(file.read_text().splitlines()) for file in files) == LINES
    with compute({DAY: files}) as oracle:
        assert oracle.execute("SELECT count(*) FROM hourly_traffic").fetchall() == [(24,)]
        ((requests,),) = oracle.execute("SELECT avg(requests) FROM sessions").fetchall()
    assert requests > 3


def test_lines_are_the_same_every_time(files: list[Path], tmp_path: Path) -> None:
    assert [file.read_bytes() for file in log_files(LINES, tmp_path)] == [file.read_bytes() for file in files]


def test_duckdb_equals_oracle(files: list[Path], tmp_path: Path) -> None:
    access_logs.CONTESTANTS["duckdb"](files, tmp_path)
    with compute({DAY: files}) as oracle:
        for table, keys in KEYS.items():
            place = folder(str(tmp_path), table, DAY, VERSION)
            actual = f"FROM read_parquet('{place}/*.parquet', hive_partitioning := false)"
            assert not difference(oracle, day_of(table, DAY), actual, keys), table


def test_contestants_make_the_same(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_logs, "BENCH", files[0].parents[1])
    text = "\n".join(access_logs.report(["duckdb", "sail", "sail-udf"], LINES, 1))
    assert "Ours on Sail takes at most 1.5 × DuckDB's time" in text
    assert "Ours is at least 5 × as fast as with a Python UDF on Sail" in text


def test_a_difference_ends_the_benchmark(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, _: Sequence[Path]) -> tuple[Cost, Totals]:
        return Cost(1, 1), {"access_requests": [3.0], "sessions": [2.0 if name == "sail" else 1.0]}

    monkeypatch.setattr(access_logs, "BENCH", files[0].parents[1])
    monkeypatch.setattr(access_logs, "compete", made)
    with pytest.raises(RuntimeError, match="what ours on Sail made is not what another made: sessions"):
        list(access_logs.report(["duckdb", "sail"], LINES, 1))
