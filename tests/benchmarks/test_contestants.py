"""The benchmark's reference is right: DuckDB's outputs equal the oracle's, and a difference is noticed."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from benchmarks import duckdb_month
from benchmarks.contestants import disagreements, totals
from benchmarks.synthetic import MONTH, write_month
from tests.oracle import programs
from tests.oracle.comparison import difference
from tests.oracle.oracle import KEYS, PATHS, compute, month_of

pytestmark = pytest.mark.slow  # makes a month and analyses it

VERSION = "bench"
ROWS = 120_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("raw") / "synthetic.parquet"
    write_month(ROWS, MONTH, file)
    return file


@pytest.fixture(scope="module")
def oracle(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with compute({MONTH: [file]}, programs.ZONE_LOOKUP) as connection:
        yield connection


@pytest.fixture(scope="module")
def duckdb_lake(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake: Path = tmp_path_factory.mktemp("lake")
    duckdb_month.build(MONTH, file, lake, VERSION)
    return lake


def differences(oracle: duckdb.DuckDBPyConnection, lake: Path) -> dict[str, str]:
    found = {}
    for table, keys in KEYS.items():
        files = programs.partition(lake, PATHS[table], MONTH, VERSION) / "*.parquet"
        actual = f"FROM read_parquet('{files}', hive_partitioning := false)"
        found[table] = difference(oracle, month_of(table, MONTH), actual, keys)
    return {table: difference for table, difference in found.items() if difference}


def test_duckdb_program_equals_oracle(oracle: duckdb.DuckDBPyConnection, duckdb_lake: Path) -> None:
    assert differences(oracle, duckdb_lake) == {}


def test_synthetic_month_is_the_same_every_time_and_needs_every_rule(
    oracle: duckdb.DuckDBPyConnection, file: Path, tmp_path: Path
) -> None:
    write_month(ROWS, MONTH, tmp_path / "again.parquet")
    both = f"FROM '{file}'", f"FROM '{tmp_path / 'again.parquet'}'"
    assert not difference(oracle, *both)
    rows = oracle.execute("SELECT count(*) FROM source").fetchall()
    assert rows == [(ROWS,)]
    reasons = oracle.execute("SELECT count(DISTINCT reject_reason) FROM quarantine").fetchall()
    assert reasons == [(7,)]
    boroughs = oracle.execute("SELECT count(DISTINCT pickup_borough) FROM market_share").fetchall()
    assert boroughs == [(5,)]


@pytest.mark.parametrize("table", ["curated", "service_quality"])
def test_one_changed_value_is_a_disagreement(duckdb_lake: Path, tmp_path: Path, table: str) -> None:
    expected = totals(duckdb_lake, MONTH)
    assert disagreements(expected, expected) == []
    for each in KEYS:
        source, target = (programs.partition(root, PATHS[each], MONTH, VERSION) for root in (duckdb_lake, tmp_path))
        target.mkdir(parents=True)
        change = "* REPLACE (wait_s_p50 + (row_number() OVER () = 1)::INTEGER AS wait_s_p50)"
        if each == "curated":
            change = "* REPLACE (tips + (row_number() OVER () = 1)::INTEGER * 0.01 AS tips)"
        columns = change if each == table else "*"
        duckdb.execute(f"COPY (SELECT {columns} FROM '{source}/*.parquet') TO '{target}/data.parquet'")
    assert disagreements(expected, totals(tmp_path, MONTH)) == [table]
