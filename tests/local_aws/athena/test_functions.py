"""Functions and operators by the table of cases: every function that is offered is in it, with Trino's value."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from local_aws.athena.sql import functions, special
from local_aws.athena.sql.errors import QueryError, from_duckdb
from local_aws.athena.sql.execution import Execution
from local_aws.athena.sql.request import Request

_ROWS = "(values (1, 1.10, 'a'), (2, 2.25, 'b'), (2, null, null)) as t(x, d, s)"


def cases() -> list[tuple[str, str, str, str]]:
    """Return (section, function, expression, expected value)."""
    found, section = [], ""
    for line in (Path(__file__).parent / "functions.tsv").read_text().splitlines():
        if line.startswith("#"):
            section = line.strip("# ").split(",")[0]
        elif line:
            name, expression, expected = line.split("\t")
            found.append((section, name, expression, expected))
    return found


@pytest.fixture(scope="module")
def execution(tmp_path_factory: pytest.TempPathFactory) -> Execution:
    folder = str(tmp_path_factory.mktemp("query"))
    at = 1709210096.789  # 2024-02-29 12:34:56.789 UTC
    return Execution(Request("id", "", "default", [], folder, 10**9, 1, None, "s3://x/", at), None)  # type: ignore[arg-type]


def value_of(execution: Execution, sql: str) -> Any:
    query, _ = execution.translate(sql)
    return list(execution.rows(query))[-1][0]


@pytest.mark.parametrize(
    ("section", "name", "expression", "expected"), cases(), ids=[f"{c[1]}: {c[2]}" for c in cases()]
)
def test_case(execution: Execution, section: str, name: str, expression: str, expected: str) -> None:
    sql = f"SELECT {expression}"
    if section == "Aggregates" and " from (" not in expression:
        sql += f" FROM {_ROWS}"
    elif section == "Window functions":
        sql += f" FROM {_ROWS} ORDER BY x, s"
    if expected.startswith("!"):
        with pytest.raises((QueryError, duckdb.Error)) as raised:
            value_of(execution, sql)
        error = raised.value if isinstance(raised.value, QueryError) else from_duckdb(raised.value)
        assert error.name == expected[1:], error
    else:
        assert value_of(execution, sql) == (None if expected == r"\N" else expected)


def test_every_function_has_a_case() -> None:
    offered = {*functions.scalar(), *functions.aggregate(), *functions.window(), *special.SCALARS, *special.AGGREGATES}
    assert offered - {name for _, name, _, _ in cases()} == set()
    assert len(cases()) >= 150


@pytest.mark.parametrize("name", ["soundex", "nvl", "ifnull", "array_sum", "read_csv", "getenv", "typeof", "list_sum"])
def test_a_function_that_is_not_in_the_table_is_refused(execution: Execution, name: str) -> None:
    with pytest.raises(QueryError) as raised:
        value_of(execution, f"SELECT {name}('x')")
    assert str(raised.value) == f"NOT_SUPPORTED: not supported by the local Athena: function {name}"
