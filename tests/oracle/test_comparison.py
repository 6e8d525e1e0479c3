"""The comparison must find what differs, else the tests that rest on it prove nothing."""

from collections.abc import Iterator

import duckdb
import pytest

from tests.oracle.comparison import difference

ROWS = "SELECT * FROM (VALUES (1, 10::BIGINT, 0.5::DOUBLE), (2, NULL, NULL), (3, 30, 1e6)) AS v (k, n, x)"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("SELECT k, n FROM t", "columns differ"),
        ("SELECT k, n::INTEGER AS n, x FROM t", "columns differ"),
        ("SELECT n, k, x FROM t", "columns differ"),
        ("FROM t WHERE k <> 2", "1 row(s): only in expected"),
        ("SELECT k + (k = 3)::INTEGER AS k, n, x FROM t", "1 row(s): only in actual\n    4, 30, 1000000.0"),
        ("SELECT k, n + 1 AS n, x FROM t", "2 row(s): n differs (keys, expected, actual)\n    1, 10, 11"),
        ("SELECT k, coalesce(n, 0)::BIGINT AS n, x FROM t", "n differs (keys, expected, actual)\n    2, None, 0"),
        ("SELECT k, n, nullif(x, 0.5) AS x FROM t", "x differs (keys, expected, actual)\n    1, 0.5, None"),
        ("SELECT k, n, x * (1 + 2e-9) AS x FROM t", "2 row(s): x differs"),
        ("FROM t UNION ALL FROM t WHERE k = 1", "1 row(s): actual has a key more than once"),
    ],
)
def test_each_kind_of_difference_is_said(connection: duckdb.DuckDBPyConnection, change: str, said: str) -> None:
    assert said in (difference(connection, ROWS, f"WITH t AS ({ROWS}) {change}", keys=["k"]) or "")


def test_doubles_may_differ_in_the_last_digits(connection: duckdb.DuckDBPyConnection) -> None:
    changed = f"SELECT k, n, x * (1 + 5e-10) AS x FROM ({ROWS})"
    assert difference(connection, ROWS, changed, keys=["k"]) is None
    assert difference(connection, ROWS, changed) is not None


def test_without_keys_a_row_must_occur_equally_often(connection: duckdb.DuckDBPyConnection) -> None:
    twice = f"{ROWS} UNION ALL {ROWS}"
    assert difference(connection, twice, twice) is None
    assert "3 row(s): only in expected" in (difference(connection, twice, ROWS) or "")
    assert "3 row(s): only in actual" in (difference(connection, ROWS, twice) or "")
