"""Numbers as Java prints them, by both ways: in DuckDB for plain results, in Python for those with nested values."""

import random

import duckdb
import pytest

from local_aws.athena.sql.rendering import MACROS, double, real


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (9999999.0, "9999999.0"), (1e7, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (0.001, "0.001"),
        (0.00099, "9.9E-4"), (1e21, "1.0E21"), (5e-324, "5.0E-324"), (-1.5e-7, "-1.5E-7"),
        (float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
    ],
)  # fmt: skip
def test_double(value: float, text: str) -> None:
    assert double(value) == text


def test_duckdb_prints_the_same() -> None:
    connection = duckdb.connect()
    connection.execute(MACROS)
    generator = random.Random(7)
    values = [
        0.0,
        -0.0,
        1e7,
        1e-3,
        9.99e-4,
        1e15,
        1e16,
        1e21,
        1e22,
        5e-324,
        float("nan"),
        float("inf"),
        -1e8,
        100000000.5,
    ]
    values += [generator.uniform(-1, 1) * 10 ** generator.randint(-20, 25) for _ in range(2000)]
    numbered = "SELECT unnest($1::DOUBLE[]) AS v, unnest(range(len($1))) AS place"
    rows = connection.execute(f"SELECT java_number(v) FROM ({numbered}) ORDER BY place", [values]).fetchall()
    assert [row[0] for row in rows] == [double(value) for value in values]


def test_real() -> None:
    printed = [real(value) for value in (0.10000000149011612, 3196477.75, 16777216.0, 1.5)]
    assert printed == ["0.1", "3196477.8", "1.6777216E7", "1.5"]
