"""Asks the lake a question by Athena, and prints the answer as a table."""

import csv
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError
from pyathena import connect
from pyathena.converter import Converter
from pyathena.error import Error
from rich.table import Table
from rich.text import Text

from console.errors import UserError
from console.options import number
from console.output import Reporter
from taxiway.core.s3 import split
from taxiway.core.settings import Settings

_ROWS = 100  # printed unless a person asks for others
_NUMBERS = ("tinyint", "smallint", "integer", "bigint", "float", "double", "decimal")


@dataclass(frozen=True)
class Query:
    """What a person asks.

    Attributes:
        sql: one statement in Athena's SQL.
        database: of tables that the statement names without one.
        rows: how many to print at most.
        as_csv: print comma-separated values, all of them, and nothing else.
    """

    sql: str
    database: str
    rows: int = _ROWS
    as_csv: bool = False

    @classmethod
    def from_environment(cls, given: Mapping[str, str]) -> "Query":
        """Read ``SQL``, ``DATABASE``, ``ROWS`` and ``FORMAT``.

        Raises:
            UserError: there is no SQL, or a value cannot be used.
        """
        sql = given.get("SQL", "").strip().rstrip(";").rstrip()
        if not sql:
            raise UserError('SQL is not given: say make query SQL="select * from hvfhv_trend".')
        form = given.get("FORMAT") or "table"
        if form not in ("table", "csv"):
            raise UserError(f"FORMAT={form} is not known: use FORMAT=table (default) or FORMAT=csv.")
        database = given.get("DATABASE") or Settings.read().glue_database
        return cls(sql, database, number(given, "ROWS", _ROWS, 1, 1_000_000), form == "csv")


class _AsText(Converter):
    """Leaves values as Athena prints them."""

    def __init__(self) -> None:
        super().__init__({})

    def convert(self, type_: str, value: str | None, type_hint: Any = None) -> str | None:  # noqa: ARG002
        return value


def ask(query: Query, report: Reporter) -> None:
    """Run a query at the endpoint of ``AWS_ENDPOINT_URL``, and print its rows, their number, its time and bytes read.

    Raises:
        UserError: Athena refuses the statement, or it failed; the text has Athena's reason.
    """
    logging.getLogger("pyathena").setLevel(logging.CRITICAL)  # it logs the traceback of what it raises
    bucket, _ = split(Settings.read().emr_logs)
    connection = connect(
        s3_staging_dir=f"s3://{bucket}/athena/",
        schema_name=query.database,
        converter=_AsText(),
        poll_interval=0.05,
        kill_on_interrupt=True,
    )
    cursor = connection.cursor()
    try:
        cursor.execute(query.sql)
    except (Error, ClientError) as error:
        reason = error.__cause__ or error
        if isinstance(reason, ClientError):
            reason = Exception(reason.response["Error"]["Message"])
        raise UserError(f"Athena did not answer: {reason}") from None
    columns = [(name, type_) for name, type_, *_ in cursor.description or []]
    rows: Iterator[Any] = iter(cursor)
    if query.as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([name for name, _ in columns])
        writer.writerows(rows)
        return
    table = Table(show_edge=False, pad_edge=False)
    for name, type_ in columns:
        table.add_column(name, justify="right" if type_ in _NUMBERS else "left")
    for row in islice(rows, query.rows):
        table.add_row(*(Text("NULL", style="dim") if value is None else Text(value) for value in row))
    if columns:
        report.console.print(table)
    hidden = sum(1 for _ in rows)
    count = table.row_count + hidden
    left_out = f", {hidden:,} of them not shown (ROWS={count} shows all)" if hidden else ""
    report.plain(
        f"{count:,} row{'s' * (count != 1)}{left_out}; "
        f"{(cursor.total_execution_time_in_millis or 0) / 1000:.2f} s, {_size(cursor.data_scanned_in_bytes or 0)} read."
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
