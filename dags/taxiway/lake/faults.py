"""What the rows of a table may not have, by its contract: other columns, keys twice, values that are not allowed."""

from typing import Any

import duckdb
import pyarrow as pa
from pyarrow import types

from taxiway.core.contracts import Column
from taxiway.core.sql import identifier
from taxiway.lake.tables import Table

NULL = "null"
NOT_FINITE = "NaN or infinite"
TOLERANCE = 1e-9  # of a sum of shares, which are doubles


def schema_faults(table: Table, schema: pa.Schema) -> list[str]:
    """Return a sentence if the columns differ from the contract in name, type or order; else empty."""
    columns = {field.name: _glue_type(field.type) for field in schema}
    faults = [f"{name} is missing" for name in table.columns if name not in columns]
    faults += [f"{name} is unknown" for name in columns if name not in table.columns]
    faults += [
        f"{name} is {columns[name]} instead of {type_}"
        for name, type_ in table.columns.items()
        if columns.get(name, type_) != type_
    ]
    if not faults and list(columns) != list(table.columns):
        faults = [f"their order is {', '.join(columns)}"]
    return [f"The columns of {table.name} differ from its contract: {', '.join(faults)}."] if faults else []


def _glue_type(type_: pa.DataType) -> str:
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return "string"
    if type_ == pa.timestamp("us"):  # without a zone
        return "timestamp"
    known = {pa.int32(): "int", pa.int64(): "bigint", pa.float64(): "double", pa.date32(): "date"}
    return known.get(type_, str(type_))


def key_faults(database: duckdb.DuckDBPyConnection, table: Table) -> list[str]:
    """Return a sentence if keys are null or not unique; the rows are registered under the table's name."""
    names = [identifier(name) for name in table.key]
    key, nulls = ", ".join(names), " or ".join(f"{name} is null" for name in names)
    rows = rows_of(
        database,
        f"select {key}, count(*) from {identifier(table.name)} group by {key} "  # noqa: S608
        f"having count(*) > 1 or {nulls} order by count(*) desc, {key}",
    )
    if not rows:
        return []
    *example, count = rows[0]
    fault = f"Keys of {table.name} ({', '.join(table.key)}) that are null or not unique: {len(rows):,}"
    return [f"{fault}, such as ({', '.join(map(str, example))}) in {count:,} rows."]


def value_faults(database: duckdb.DuckDBPyConnection, table: Table) -> list[str]:
    """Return the columns with values that they may not have: nulls, no numbers, numbers outside their bounds."""
    found = []
    for column in table.contract.columns.values():
        faults = wrong_values(column)
        if column.name in table.key:  # keys are checked by key_faults
            faults.pop(NULL, None)
        for fault, condition in faults.items():
            (rows,) = rows_of(database, f"select count(*) from {identifier(table.name)} where {condition}")[0]  # noqa: S608
            if rows:
                found.append(wrong_value(table, column.name, fault, rows))
    return found


def wrong_values(column: Column) -> dict[str, str]:
    """Return what a column's values may not be, such as ``below 1``, each with its condition in SQL."""
    faults, name = {}, identifier(column.name)
    if column.required:
        faults[NULL] = f"{name} is null"
    if column.type == "double":
        faults[NOT_FINITE] = f"not isfinite({name})"
    if column.minimum is not None:
        faults[f"below {column.minimum:g}"] = f"{name} < {column.minimum}"
    if column.maximum is not None:
        # A share is a quotient of floating-point sums: it may exceed 1 by a rounding error.
        faults[f"above {column.maximum:g}"] = f"{name} > {column.maximum} + {TOLERANCE}"
    return faults


def wrong_value(table: Table, column: str, fault: str, rows: int) -> str:
    """Return the sentence on a column with values that it may not have."""
    return f"{column} of {table.name} is {fault} in {rows:,} row{'s' * (rows != 1)}."


def rows_of(database: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    return database.execute(query).fetchall()
