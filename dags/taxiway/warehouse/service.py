"""A table of a service's database, as an incremental load reads it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from taxiway.lake.source import SourceError
from taxiway.lake.tables import Table
from taxiway.warehouse.rows import create_incoming, duckdb_type, insert

_BATCH = 50_000
_ARROW = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "timestamp": pa.timestamp("us"),
    "date": pa.date32(),
}
_NOW = {"mysql": "select utc_timestamp(6)", "sqlite": "select strftime('%Y-%m-%d %H:%M:%f', 'now')"}


class ConditionError(SourceError):
    """A source does not meet what loading it incrementally relies on."""

    kind = "conditions"


class ServiceTable:
    """A table of a service's database that a raw table is loaded from.

    Attributes:
        table: the raw table.
        columns: of the source: the contract's name → the column.
    """

    def __init__(self, engine: sa.Engine, table: Table) -> None:
        """Look at the table of the database.

        Raises:
            SourceError: the database cannot be reached, or lacks the table or columns of it.
        """
        self.table, self._engine = table, engine
        self._properties = table.contract.properties
        name = str(self._properties["sourceTable"])
        with self._faults():
            try:
                found = sa.Table(name, sa.MetaData(), autoload_with=engine)
            except sa.exc.NoSuchTableError:
                raise SourceError(
                    f"The database of the connection {self._properties['source']!r} has no table {name!r}: create it, "
                    f"or correct sourceTable in the contract of {table.name}."
                ) from None
        of_contract = {column.name: column.source for column in table.contract.columns.values()}
        if missing := [source for source in of_contract.values() if source not in found.c]:
            raise SourceError(
                f"The table {name!r} of the connection {self._properties['source']!r} has no column "
                f"{', '.join(map(repr, missing))}, which the contract of {table.name} asks for: bring it back, or "
                "change the contract. The published table stays."
            )
        self.columns: dict[str, sa.Column[Any]] = {column: found.c[source] for column, source in of_contract.items()}

    @property
    def created(self) -> "sa.Column[Any]":
        """The column that says when a row was created; it decides the month."""
        return self.columns[str(self._properties["created"])]

    @property
    def mark(self) -> "sa.Column[Any]":
        """The column that says when a row last changed."""
        return self.columns[str(self._properties["mark"])]

    @property
    def key(self) -> "list[sa.Column[Any]]":
        """The columns of the key."""
        return [self.columns[name] for name in self.table.key]

    @cached_property
    def now(self) -> datetime:
        """The time of the database, UTC, without a zone."""
        with self._connection() as connection:
            found = connection.exec_driver_sql(_NOW[connection.dialect.name]).scalar()
        return found if isinstance(found, datetime) else datetime.fromisoformat(str(found))

    def check(self, skew_s: float) -> None:
        """Check what an incremental load relies on: times that are never null and move, and a clock that is right.

        Args:
            skew_s: seconds that the clock may differ from ours.

        Raises:
            ConditionError: one of them is not so.
        """
        name = self.table.name
        behind = (datetime.now(UTC).replace(tzinfo=None) - self.now).total_seconds()
        if abs(behind) > skew_s:
            raise ConditionError(
                f"The clock of the source of {name} is {abs(behind):,.0f} s {'behind' if behind > 0 else 'ahead of'} "
                "ours, so that a load would miss rows: set it right, or raise TAXIWAY_WAREHOUSE_CLOCK_SKEW_S."
            )
        for column in (self.created, self.mark):
            nulls = self._scalar(sa.select(sa.func.count()).where(column.is_(None))) if column.nullable else 0
            if nulls:
                raise ConditionError(
                    f"{column.name} is null in {nulls:,} rows of the source of {name}, which an incremental load would "
                    "never see: fill it there, or declare load: full in the contract."
                )
        marked, created = (self._scalar(sa.select(sa.func.max(column))) for column in (self.mark, self.created))
        if created is not None and marked < created:
            raise ConditionError(
                f"{self.mark.name} of the source of {name} does not move: its newest value is {marked}, but a row was "
                f"created at {created}. Have the service set it, or declare load: full in the contract."
            )

    def months(self) -> list[str]:
        """Return the months in which rows were created, ``YYYY-MM``, in order; those between them too."""
        created = self.created
        with self._connection() as connection:
            first, last = connection.execute(sa.select(sa.func.min(created), sa.func.max(created))).one()
        if first is None:
            return []
        count = (last.year - first.year) * 12 + last.month - first.month
        return [month_of(first, later) for later in range(count + 1)]

    def in_month(self, month: str) -> "sa.ColumnElement[bool]":
        """Return the condition of the rows that were created in a month."""
        year, number = map(int, month.split("-"))
        return self.within(
            self.created,
            datetime(year, number, 1),  # noqa: DTZ001 - UTC without a zone, as in the lake
            datetime(year + number // 12, number % 12 + 1, 1),  # noqa: DTZ001
        )

    def within(self, column: "sa.Column[Any]", start: datetime, end: datetime) -> "sa.ColumnElement[bool]":
        """Return the condition of the rows with a time from start until before end, which are whole seconds."""
        if self._engine.dialect.name != "sqlite":
            return sa.and_(column >= start, column < end)
        # SQLite compares texts, of which some have a fraction of the second: without one they begin the others.
        text = sa.type_coerce(column, sa.String)
        return sa.and_(text >= start.isoformat(" ", "seconds"), text < end.isoformat(" ", "seconds"))

    def in_slice(self, number: int, of: int) -> "sa.ColumnElement[bool]":
        """Return the condition of the rows of a slice of the keys, by the first column of the key, an integer."""
        return self.key[0] % of == number

    def read(
        self,
        database: duckdb.DuckDBPyConnection,
        name: str,
        where: "sa.ColumnElement[bool]",
    ) -> int:
        """Read rows into a table like ``incoming``; of rows with the same key, the newest comes first.

        Returns:
            their number.
        """
        create_incoming(database, self.table, name)
        query = sa.select(*self.columns.values()).where(where).order_by(*self.key, self.mark.desc())
        count = 0
        for rows in self._batches(query):
            batch = self._typed(rows)
            insert(database, batch, f"insert into {name} by name from batch")
            count += len(rows)
        return count

    def read_keys(self, database: duckdb.DuckDBPyConnection, name: str) -> None:
        """Read the keys of all rows, and the month of each, into a table."""
        columns = ", ".join(f'"{key}" {duckdb_type(self.table, key)}' for key in self.table.key)
        database.execute(f"create or replace table {name} ({columns}, _month varchar)")
        for rows in self._batches(sa.select(*self.key, self.created)):
            *keys, created = zip(*rows, strict=True)
            arrays = [pa.array(key) for key in keys]
            months = pa.array([f"{at:%Y-%m}" for at in created])
            batch = pa.table([*arrays, months], names=[*self.table.key, "_month"])
            insert(database, batch, f"insert into {name} from batch")

    def _typed(self, rows: Sequence[Sequence[Any]]) -> pa.Table:
        types = [_ARROW[type_] for type_ in self.table.columns.values()]
        wrong: list[str | None] = [None] * len(rows)
        raw: list[str | None] = [None] * len(rows)
        arrays = []
        for name, type_, values in zip(self.columns, types, zip(*rows, strict=True), strict=True):
            try:
                arrays.append(pa.array(values, type_))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # SQLite takes any value in any column
                taken = []
                for number, value in enumerate(values):
                    try:
                        taken.append(pa.scalar(value, type_).as_py())
                    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                        taken.append(None)
                        wrong[number] = wrong[number] or name
                        raw[number] = json.dumps(dict(zip(self.columns, rows[number], strict=True)), default=str)
                arrays.append(pa.array(taken, type_))
        return pa.table(
            [*arrays, pa.array(wrong, pa.string()), pa.array(raw, pa.string())],
            names=[*self.columns, "_wrong", "_raw"],
        )

    def _batches(self, query: "sa.Select[Any]") -> Iterator[Sequence[Sequence[Any]]]:
        with self._connection() as connection:
            result = connection.execution_options(stream_results=True, yield_per=_BATCH).execute(query)
            yield from result.partitions()

    def _scalar(self, query: "sa.Select[Any]") -> Any:
        with self._connection() as connection:
            return connection.scalar(query)

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        with self._faults(), self._engine.connect() as connection:
            if connection.dialect.name == "mysql":  # of its TIMESTAMP columns
                connection.exec_driver_sql("set time_zone = '+00:00'")
            yield connection

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise SourceError(
                f"The database of the connection {self._properties['source']!r} cannot be read ({error.orig}): see "
                "that it runs, and that its user may read the table."
            ) from None
        except (ValueError, TypeError) as error:
            raise SourceError(
                f"The source of {self.table.name} has a value that cannot be read ({error}): correct it there."
            ) from None


def month_of(first: datetime, later: int = 0) -> str:
    """Return the month of a time, or one so many months later, ``YYYY-MM``."""
    number = first.year * 12 + first.month - 1 + later
    return f"{number // 12:04d}-{number % 12 + 1:02d}"
