"""Compare two tables row by row and say in plain words where they differ."""

from collections.abc import Sequence

import duckdb

RELATIVE = 1e-9
"""Doubles agree within this share of the larger one: engines may add up in any order."""
EXAMPLES = 3


def difference(
    connection: duckdb.DuckDBPyConnection, expected: str, actual: str, keys: Sequence[str] = ()
) -> str | None:
    """Compare the results of two queries.

    Columns must have the same names, order and types. With ``keys``, rows are matched by them and each further column
    is compared: doubles within :data:`RELATIVE`, everything else exactly. Without ``keys`` the tables are bags of rows,
    equal if each row occurs equally often in both.

    Returns:
        None if the tables agree, else a text of one line a finding with up to three examples each.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE expected AS {expected}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE actual AS {actual}")
    wanted, found = _columns(connection, "expected"), _columns(connection, "actual")
    if wanted != found:
        return f"columns differ:\n  expected {_listing(wanted)}\n  actual   {_listing(found)}"
    findings = _keyed(connection, wanted, keys) if keys else _bags(connection)
    return "\n".join(findings) or None


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, *_ in connection.execute(f"DESCRIBE {table}").fetchall()]


def _listing(columns: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns)


def _bags(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [
        finding
        for side, other in (("expected", "actual"), ("actual", "expected"))
        if (finding := _rows(connection, f"only in {side}", f"FROM {side} EXCEPT ALL FROM {other}"))
    ]


def _keyed(connection: duckdb.DuckDBPyConnection, columns: list[tuple[str, str]], keys: Sequence[str]) -> list[str]:
    on = " AND ".join(f"expected.{key} IS NOT DISTINCT FROM actual.{key}" for key in keys)
    key_list = ", ".join(keys)
    queries = {
        f"{side} has a key more than once": f"SELECT {key_list}, count(*) FROM {side} GROUP BY ALL HAVING count(*) > 1"
        for side in ("expected", "actual")
    }
    queries["only in expected"] = f"FROM expected ANTI JOIN actual ON {on}"
    queries["only in actual"] = f"FROM actual ANTI JOIN expected ON {on}"
    shown_keys = ", ".join(f"expected.{key}" for key in keys)
    for name, kind in columns:
        if name not in keys:
            queries[f"{name} differs (keys, expected, actual)"] = (
                f"SELECT {shown_keys}, expected.{name}, actual.{name} FROM expected JOIN actual ON {on} "
                f"WHERE {_unequal(name, kind)} ORDER BY ALL"
            )
    return [finding for what, query in queries.items() if (finding := _rows(connection, what, query))]


def _unequal(name: str, kind: str) -> str:
    one, other = f"expected.{name}", f"actual.{name}"
    exactly = f"{one} IS DISTINCT FROM {other}"
    if kind != "DOUBLE":
        return exactly
    # 1e-15: a sum that cancels out to nothing in one order may leave a last bit in another.
    close = f"abs({one} - {other}) <= greatest({RELATIVE} * greatest(abs({one}), abs({other})), 1e-15)"
    return f"{exactly} AND ({close}) IS NOT TRUE"


def _rows(connection: duckdb.DuckDBPyConnection, what: str, query: str) -> str | None:
    rows = connection.execute(query).fetchall()
    if not rows:
        return None
    examples = "".join(f"\n    {', '.join(str(value) for value in row)}" for row in rows[:EXAMPLES])
    return f"  {len(rows)} row(s): {what}{examples}"
