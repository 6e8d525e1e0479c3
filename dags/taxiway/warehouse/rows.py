"""Rows of a source, judged by the contract of their raw table, in DuckDB: accepted, or rejected for the first reason.

``incoming`` has the rows in their order: ``_line`` (of the file, of a malformed line only), the columns of the contract
with their types, ``_wrong`` (``malformed``, ``header_again``, or the column whose value is not of its type; else null)
and ``_raw`` (the row as JSON, if its typed columns do not hold all of it). :func:`judge` makes ``judged`` of it: the
same with ``_reason`` and ``_column``, null for accepted rows.
"""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from taxiway.core.csv_text import DATE, HEADER_AGAIN, MALFORMED, NOT_FINITE, TIMESTAMP, WHOLE_NUMBER
from taxiway.core.sql import literal
from taxiway.lake import Lake, csv_file
from taxiway.lake.csv_file import CsvFile
from taxiway.lake.tables import Table
from taxiway.warehouse.loads import PART, Part
from taxiway.warehouse.tables import REJECTED, part_of

_TYPES = {"string": "varchar", "int": "integer", "bigint": "bigint", "double": "double"}
_PARQUET = "(format parquet, compression zstd)"


def duckdb_type(table: Table, column: str) -> str:
    """Return DuckDB's name of a column's type."""
    type_ = table.columns[column]
    return _TYPES.get(type_, type_)


def create_incoming(database: duckdb.DuckDBPyConnection, table: Table, name: str = "incoming") -> None:
    """Create the empty table of rows as they came."""
    columns = ", ".join(f'"{column}" {duckdb_type(table, column)}' for column in table.columns)
    database.execute(f"create or replace table {name} (_line bigint, {columns}, _wrong varchar, _raw varchar)")


def read(database: duckdb.DuckDBPyConnection, table: Table, csv: CsvFile) -> None:
    """Read the rows of a CSV file into ``incoming``, whose NaN and infinities are null.

    Raises:
        SourceError: nobody can say where its rows end.
    """
    create_incoming(database, table)
    typed = {column: _typed(duckdb_type(table, column), f'"{column}"') for column in table.columns}
    values = ", ".join(f'{value} as "{column}"' for column, value in typed.items())
    wrong = [f"when {csv_file.FAULT} is not null then {csv_file.FAULT}"]
    for column, value in typed.items():
        if (type_ := duckdb_type(table, column)) != "varchar":
            finite = f""" and not regexp_full_match("{column}", '{NOT_FINITE}')""" if type_ == "double" else ""
            wrong.append(f"""when "{column}" is not null and {value} is null{finite} then {literal(column)}""")
    csv_file.read(
        database,
        csv,
        f"""
        insert into incoming select null, {values}, _wrong, if(_wrong is null, null, {csv.raw})
        from (select *, case {" ".join(wrong)} end as _wrong from ({csv.rows}))
        """,
        f"insert into incoming (_line, _wrong, _raw) {csv.malformed}",
    )


def _typed(type_: str, text: str) -> str:
    """Return the SQL of a text as a value of a type; null if it is none."""
    if type_ == "varchar":
        return text
    if type_ == "double":  # faster than its expression; of what that refuses, the cast takes 1_000
        return (
            f"if(isfinite(try_cast({text} as double)) and not contains({text}, '_'), try_cast({text} as double), null)"
        )
    pattern = {"integer": WHOLE_NUMBER, "bigint": WHOLE_NUMBER, "date": DATE, "timestamp": TIMESTAMP}.get(type_)
    cast = f"try_cast({text} as {type_})"
    return f"if(regexp_full_match({text}, '{pattern}'), {cast}, null)" if pattern else cast


def insert(database: duckdb.DuckDBPyConnection, batch: pa.Table | pa.RecordBatch, statement: str) -> None:
    """Run a statement that reads rows from ``batch``."""
    database.register("batch", batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch]))
    database.execute(statement)
    database.unregister("batch")


def judge(database: duckdb.DuckDBPyConnection, table: Table, *, judged: str = "judged", as_view: bool = False) -> None:
    """Make ``judged`` of ``incoming``.

    Of rows with the same key the first is accepted.

    Args:
        database: with the rows.
        table: the raw table.
        judged: what is made.
        as_view: make a view, for one that is read once or twice while ``incoming`` stays: no row is copied.
    """
    cases = [f"when _wrong = '{name}' then '{name}'" for name in (MALFORMED, HEADER_AGAIN)]
    cases.append("when _wrong is not null then 'wrong_type:' || _wrong")
    for key in (True, False):
        for column in table.contract.columns.values():
            name, is_key = f'"{column.name}"', column.name in table.key
            if is_key == key and (column.required or is_key):
                reason = "missing_key" if is_key else "missing_value"
                cases.append(f"when {name} is null then '{reason}:{column.name}'")
    for column in table.contract.columns.values():
        name = f'"{column.name}"'
        if column.valid_values:
            allowed = ", ".join(map(literal, column.valid_values))
            cases.append(f"when {name}::varchar not in ({allowed}) then 'not_allowed:{column.name}'")
    for column in table.contract.columns.values():
        name = f'"{column.name}"'
        for bound, sign in ((column.minimum, "<"), (column.maximum, ">")):
            if bound is not None:
                cases.append(f"when {name} {sign} {bound} then 'out_of_bounds:{column.name}'")
    keys = ", ".join(f'"{name}"' for name in table.key)
    place = csv_file.place_in(table.columns)
    reasons = f"select *, {place} as _place, case {' '.join(cases)} end as _why from incoming"
    later = f"""
        with accepted as (select _place, {keys} from ({reasons}) where _why is null),
        twice as (select {keys} from accepted group by all having count(*) > 1)
        select _place from accepted semi join twice using ({keys})
        qualify row_number() over (partition by {keys} order by _place) > 1
        """
    # Without a key no row is that of another.
    database.execute(f"create or replace table later as {later if keys else 'select 0::bigint as _place limit 0'}")
    database.execute(
        f"""
        create or replace {"view" if as_view else "table"} {judged} as
        select reasons.* exclude (_why, _place),
            coalesce(split_part(_why, ':', 1), if(later._place is null, null, 'duplicate_key')) as _reason,
            nullif(split_part(_why, ':', 2), '') as _column
        from ({reasons}) as reasons left join later on reasons._place = later._place
        """
    )


def rejected_of(table: Table, judged: str = "judged") -> str:
    """Return the query of the rejected rows, as the table of rejected rows has them."""
    row = ", ".join(f"{literal(name)}: " + f'"{name}"' for name in table.columns)
    return f"""
        select if(_reason = '{MALFORMED}', _line, null)::bigint as source_line,
            if(_reason in ('{MALFORMED}', '{HEADER_AGAIN}'), null, {row_key(table)}) as row_key,
            coalesce(_raw, to_json({{{row}}})::varchar) as source_row,
            _column as reject_column,
            _reason as reject_reason
        from {judged} where _reason is not null
        """


def row_key(table: Table) -> str:
    """Return the SQL of a row's key as JSON."""
    keys = ", ".join(f'"{name}"::varchar' for name in table.key)
    return f"to_json([{keys}])::varchar"


def write(database: duckdb.DuckDBPyConnection, query: str, file: Path) -> int:
    """Write the rows of a query to a Parquet file; return their number."""
    database.execute(f"copy ({query}) to {literal(str(file))} {_PARQUET}")
    count: Any = database.execute(f"select count(*) from read_parquet({literal(str(file))})").fetchone()
    return int(count[0])


def write_part(
    lake: Lake,
    database: duckdb.DuckDBPyConnection,
    table: Table,
    *,
    period: str,
    version: str,
    inputs: str,
    source: int,
    accepted: str,
    rejected: str,
    scratch: Path,
) -> Part:
    """Write a new version of a raw table, or of a month of it, and of the rejected rows that belong to it.

    Args:
        lake: to write to.
        database: with the rows.
        table: the raw table.
        period: of it.
        version: of what is written.
        inputs: what it is made from.
        source: number of rows that are to be found in the files.
        accepted: query of the accepted rows, with the columns of the contract.
        rejected: query of the rejected rows, with the columns of that table.
        scratch: folder for temporary files.
    """
    rejected_period = f"{table.name}-{part_of(period)}"
    locations = (lake.location(table, period, version), lake.location(REJECTED, rejected_period, version))
    counts = []
    file = scratch / PART
    for location, query in zip(locations, (accepted, rejected), strict=True):
        counts.append(write(database, query, file))
        with (
            file.open("rb") as written,
            lake.files.open_output_stream(f"{location.removeprefix('s3://')}/{PART}") as stored,
        ):
            shutil.copyfileobj(written, stored, 1 << 20)
        file.unlink()
    return Part(
        period=period,
        location=locations[0],
        rejected_location=locations[1],
        inputs=inputs,
        source=source,
        accepted=counts[0],
        rejected=counts[1],
    )


def reasons(database: duckdb.DuckDBPyConnection, relation: str) -> dict[str, int]:
    """Return the numbers of rejected rows by reason; all reasons, those without a row too."""
    found = dict(database.execute(f"select reject_reason, count(*) from ({relation}) group by 1").fetchall())
    return {reason: found.get(reason, 0) for reason in REJECTED.contract.columns["reject_reason"].valid_values}
