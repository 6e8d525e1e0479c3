"""Tables of a service's database that the warehouse fills: a whole table by an atomic swap, a large one by key.

A table ``t`` is staged as ``t__next``, read back, and swapped in by one renaming: readers see the old table or the new
one, and wait for neither. The table before it stays as ``t__previous``. A roll-back makes that the live one, and keeps
the table that it took away as ``t__rolled_back``, so that the next run does not serve the same rows again.
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite

from taxiway.core.errors import RetryableError
from taxiway.lake import Table

Row = tuple[Any, ...]
NEXT, PREVIOUS, ROLLED_BACK, DROPPED = "__next", "__previous", "__rolled_back", "__dropped"
MARKS = "taxiway_served"
BATCH = 5_000  # rows of a transaction
TRIES, PAUSE_S = 10, 1.0  # of a swap that somebody's long transaction keeps waiting
LEAST_SHARE = 0.5  # of the rows that are live: fewer are taken for a fault
WAIT_S = 5.0  # for another run that serves the table
_TYPES: dict[str, Any] = {
    "string": sa.String(255),
    "int": sa.Integer(),
    "bigint": sa.BigInteger(),
    "double": sa.Double(),
    "timestamp": sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"),
    "date": sa.Date(),
}
_FULL = (1021, 1114)  # MySQL: the disk, the table
_LOCKED = (1205, 3572)  # it waited too long for a lock
_REFUSED = (1044, 1045, 1142, 1227)  # no such right


class ServingError(RuntimeError):
    """Rows cannot be served; the text is one sentence that names the table, the fault and the remedy."""


class UnavailableError(ServingError, RetryableError):
    """The database is locked, full or away."""


@dataclass(frozen=True)
class Checked:
    """What a table holds: its number of rows, and the SHA-256 of its columns' names and its rows by key."""

    rows: int
    checksum: str


@dataclass(frozen=True)
class Target:
    """A table in a service's database, whose columns and key are those of its contract.

    Attributes:
        engine: of SQLite or MySQL, see :func:`taxiway.core.databases.open_engine`.
        table: the mart, whose name the served table has.
        batch: rows of a transaction.
    """

    engine: sa.Engine
    table: Table
    batch: int = BATCH
    _metadata: sa.MetaData = field(default_factory=sa.MetaData, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the live table."""
        return self.table.name

    @cached_property
    def _columns(self) -> list[str]:
        return list(self.table.columns)

    def _definition(self, suffix: str = "") -> sa.Table:
        name = f"{self.name}{suffix}"
        if name in self._metadata.tables:
            return self._metadata.tables[name]
        columns = [
            sa.Column(
                column.name,
                _TYPES[column.type],
                primary_key=column.name in self.table.key,
                autoincrement=False,
                nullable=not column.required and column.name not in self.table.key,
            )
            for column in self.table.contract.columns.values()
        ]
        # By bytes: keys that differ in case or accent are different ones, in the lake's order.
        return sa.Table(name, self._metadata, *columns, mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")

    # A whole table --------------------------------------------------------------------------------------------------

    def stage(self, rows: Sequence[Row], *, allow: bool = False) -> Checked | None:
        """Write rows beside the live table, and read them back.

        Args:
            rows: values in the order of the contract's columns.
            allow: serve them though they are under half of what is live, or columns that readers may know are gone.

        Returns:
            what was staged; None if there is nothing to swap, because these rows are live already.

        Raises:
            ServingError: the rows may not be served, or were rolled back; the live table is as it was.
        """
        wanted = checked(self._columns, rows, self._key)
        with self._faults(), self._lock():
            self._forget_rolled_back()
            live = self._read("")
            self._refuse(live, wanted, allow=allow)
            self._drop(NEXT)
            if live == wanted:
                return None
            if self._read(ROLLED_BACK) == wanted:
                raise ServingError(
                    f"These rows of {self.name} were rolled back: build the mart anew from corrected data, or serve "
                    "them after all by python -m taxiway.warehouse roll-back, which undoes a roll-back."
                )
            staged = self._definition(NEXT)
            with self.engine.begin() as connection:
                staged.create(connection)
            for part in _batched(rows, self.batch):
                with self.engine.begin() as connection:
                    connection.execute(staged.insert(), [self._named(row) for row in part])
            self._compare(self._read(NEXT), wanted)
        return wanted

    def swap(self, staged: Checked) -> float:
        """Make the staged table the live one, and return the seconds that the renaming took; 0.0 if it was done before.

        Args:
            staged: what :meth:`stage` returned.

        Raises:
            ServingError: what is staged is something else; the live table is as it was.
            UnavailableError: somebody holds the table for longer than we wait.
        """
        with self._faults(), self._lock():
            self._forget_rolled_back()
            if not self._has(NEXT) and self._read("") == staged:
                return 0.0  # a try of this task that was killed after the swap
            self._compare(self._read(NEXT), staged)
            moves = [(PREVIOUS, DROPPED)] if self._has(PREVIOUS) else []
            moves += [("", PREVIOUS)] if self._has("") else []
            self._drop(DROPPED)
            seconds = self._rename([*moves, (NEXT, "")])
            self._drop(DROPPED)
            self._drop(ROLLED_BACK)
        return seconds

    def _forget_rolled_back(self) -> None:
        """Drop what was rolled back before a swap that was killed at its end: only then is there one before it too."""
        if self._has(PREVIOUS):
            self._drop(ROLLED_BACK)

    def roll_back(self) -> Checked:
        """Make the table before the live one live again, or undo the last roll-back; return what is live now.

        Raises:
            ServingError: there is no such table.
        """
        with self._faults(), self._lock():
            if not self._has(""):
                raise ServingError(f"{self.name} is not served: run the DAG warehouse_serving.")
            self._forget_rolled_back()
            if self._has(ROLLED_BACK):
                self._rename([("", PREVIOUS), (ROLLED_BACK, "")])
            elif self._has(PREVIOUS):
                self._rename([("", ROLLED_BACK), (PREVIOUS, "")])
            else:
                raise ServingError(f"{self.name} has no previous version: nothing was changed.")
            live = self._read("")
        assert live
        return live

    def states(self) -> dict[str, Checked]:
        """Return what each of the tables holds that exist, by what they are: live, staged, previous, rolled back."""
        names = {"live": "", "staged": NEXT, "previous": PREVIOUS, "rolled back": ROLLED_BACK}
        with self._faults():
            found = {name: self._read(suffix) for name, suffix in names.items()}
        return {name: each for name, each in found.items() if each}

    def _refuse(self, live: Checked | None, wanted: Checked, *, allow: bool) -> None:
        self._refuse_loss(live.rows if live else 0, wanted.rows, allow=allow)
        if live is None or allow:
            return
        kinds = {column["name"]: column["type"] for column in sa.inspect(self.engine).get_columns(self.name)}
        new = self._definition().columns
        for name, kind in kinds.items():
            if name not in new:
                fault = f"a column {name} that the mart's contract lacks"
            elif _family(kind) is not _family(new[name].type):
                fault = f"{name} as {kind}, which the contract has as {self.table.columns[name]}"
            else:
                continue
            raise ServingError(
                f"The table {self.name} of the service has {fault}: nothing was changed, as readers may rely on it; if "
                "they do not, run warehouse_serving with the parameter allow_loss."
            )

    def _refuse_loss(self, live: int, wanted: int, *, allow: bool) -> None:
        if wanted == 0:
            raise ServingError(f"The mart {self.name} has no rows: nothing was served; run warehouse_summaries again.")
        if wanted < LEAST_SHARE * live and not allow:
            raise ServingError(
                f"The mart {self.name} has {wanted:,} rows, under half of the {live:,} that are served: "
                "nothing was changed; if that is right, run warehouse_serving with the parameter allow_loss."
            )

    def _compare(self, found: Checked | None, wanted: Checked) -> None:
        if found == wanted:
            return
        what = "is not staged" if found is None else f"is staged with {found.rows:,} rows of another checksum"
        raise ServingError(
            f"{self.name} {what}, not with the {wanted.rows:,} rows of this run: another run staged it meanwhile, or "
            "the database changed values; nothing was swapped; clear the task stage."
        )

    # A large table --------------------------------------------------------------------------------------------------

    def upsert(self, rows: Iterable[Row], count: int, version: str, *, allow: bool = False) -> dict[str, int]:
        """Make a live table equal to rows, in transactions of bounded size, each a range of keys.

        Readers see a mixture of old and new rows while it runs, but each row whole. A try that is killed is continued
        after its last range by the next one of the same version.

        Args:
            rows: values in the order of the contract's columns, in ascending order of the key.
            count: their number.
            version: of the rows; another one begins anew.
            allow: serve them though they are under half of what is live.

        Returns:
            rows that were written, removed, and skipped because an earlier try had written them.

        Raises:
            ServingError: the rows may not be served, their keys do not ascend, or the table has other columns.
        """
        live, marks = self._definition(), _marks(self._metadata)
        done = {"written": 0, "removed": 0, "skipped": 0}
        with self._faults(), self._lock():
            is_new = not self._has("")
            with self.engine.connect() as connection:
                served = 0 if is_new else connection.scalar(sa.select(sa.func.count()).select_from(live))
            self._refuse_loss(served or 0, count, allow=allow)
            self._metadata.create_all(self.engine, [live, marks])
            self._same_columns()
            with self.engine.begin() as connection:
                if is_new:  # the mark is of a table that somebody dropped
                    connection.execute(marks.delete().where(marks.c.name == self.name))
                mark = connection.execute(marks.select().where(marks.c.name == self.name)).one_or_none()
            last = tuple(json.loads(mark.last_key)) if mark and mark.version == version else None
            for part in _batched(self._ascending(rows), self.batch):
                left = [row for row in part if last is None or self._key(row) > last]
                done["skipped"] += len(part) - len(left)
                if not left:
                    continue
                with self.engine.begin() as connection:
                    done["removed"] += self._delete_others(connection, last, left)
                    connection.execute(self._upsert_statement(), [self._named(row) for row in left])
                    last = self._key(left[-1])
                    self._set_mark(connection, marks, version, last)
                done["written"] += len(left)
            while removed := self._delete_after(last):
                done["removed"] += removed
        return done

    def _ascending(self, rows: Iterable[Row]) -> Iterator[Row]:
        before: Row | None = None
        for row in rows:
            key = self._key(row)
            if before is not None and key <= before:
                raise ServingError(f"Keys of {self.name} do not ascend at {key}: they are not unique, or not in order.")
            before = key
            yield row

    def _delete_others(self, connection: sa.Connection, last: Row | None, rows: Sequence[Row]) -> int:
        """Delete the live rows between two keys that are not among some; return how many."""
        within = [self._beyond(last, "gt")] if last is not None else []
        keys = connection.execute(sa.select(*self._key_columns).where(*within, self._beyond(self._key(rows[-1]), "le")))
        gone = {tuple(key) for key in keys} - {self._key(row) for row in rows}
        return self._delete(connection, sorted(gone))

    def _delete_after(self, last: Row | None) -> int:
        with self.engine.begin() as connection:
            query = sa.select(*self._key_columns).limit(self.batch)
            keys = connection.execute(query.where(self._beyond(last, "gt")) if last is not None else query)
            return self._delete(connection, [tuple(key) for key in keys])

    def _delete(self, connection: sa.Connection, keys: Sequence[Row]) -> int:
        where = sa.and_(*(column == sa.bindparam(f"key_{column.name}") for column in self._key_columns))
        if keys:
            names = [f"key_{name}" for name in self.table.key]
            values = [dict(zip(names, key, strict=True)) for key in keys]
            connection.execute(self._definition().delete().where(where), values)
        return len(keys)

    @property
    def _key_columns(self) -> list[sa.Column[Any]]:
        return [self._definition().c[name] for name in self.table.key]

    def _beyond(self, key: Row, how: str) -> sa.ColumnElement[bool]:
        """Return the condition that a row's key is above another, or not; its first part alone can use the index."""
        first, condition = self._key_columns[0], sa.tuple_(*self._key_columns)
        if how == "gt":
            return sa.and_(first >= key[0], condition > sa.tuple_(*key))
        return sa.and_(first <= key[0], condition <= sa.tuple_(*key))

    def _upsert_statement(self) -> Any:
        table, others = self._definition(), [name for name in self._columns if name not in self.table.key]
        if self.engine.dialect.name == "sqlite":
            insert = sqlite.insert(table)
            return insert.on_conflict_do_update(set_={name: insert.excluded[name] for name in others})
        into = mysql.insert(table)
        return into.on_duplicate_key_update({name: into.inserted[name] for name in others})

    def _set_mark(self, connection: sa.Connection, marks: sa.Table, version: str, last: Row) -> None:
        connection.execute(marks.delete().where(marks.c.name == self.name))
        values = {"name": self.name, "version": version, "last_key": json.dumps(last)}
        connection.execute(marks.insert(), {**values, "at": datetime.now(UTC).replace(tzinfo=None)})

    def _same_columns(self) -> None:
        found = [column["name"] for column in sa.inspect(self.engine).get_columns(self.name)]
        if sorted(found) != sorted(self._columns):
            raise ServingError(
                f"The table {self.name} of the service has the columns {', '.join(found)}, and its contract has "
                f"{', '.join(self._columns)}: alter the table, or drop it, and clear this task."
            )

    # Both -----------------------------------------------------------------------------------------------------------

    def _key(self, row: Row) -> Row:
        return tuple(row[self._columns.index(name)] for name in self.table.key)

    def _named(self, row: Row) -> dict[str, Any]:
        return dict(zip(self._columns, row, strict=True))

    def _has(self, suffix: str) -> bool:
        return sa.inspect(self.engine).has_table(f"{self.name}{suffix}")

    def _read(self, suffix: str) -> Checked | None:
        """Return what one of the tables holds; None if it does not exist. Columns are those that it has."""
        inspector = sa.inspect(self.engine)
        if not inspector.has_table(name := f"{self.name}{suffix}"):
            return None
        columns = [column["name"] for column in inspector.get_columns(name)]
        if sorted(columns) == sorted(self._columns):
            query: Any = sa.select(*(self._definition(suffix).c[column] for column in self._columns))
            columns = self._columns
        else:
            query = sa.select(*map(sa.column, columns)).select_from(sa.table(name))
        with self.engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        return checked(columns, rows, self._key if columns is self._columns else str)

    def _drop(self, suffix: str) -> None:
        if self._has(suffix):
            with self.engine.begin() as connection:
                self._quoted(connection, "DROP TABLE {}", f"{self.name}{suffix}")

    def _rename(self, moves: Sequence[tuple[str, str]]) -> float:
        """Rename tables in one atomic step; return the seconds that it took."""
        names = [(f"{self.name}{old}", f"{self.name}{new}") for old, new in moves]
        if self.engine.dialect.name != "sqlite":
            return self._rename_waiting(names)
        with self.engine.connect() as connection:
            # A view of the application stays one of the live table: SQLite would have it follow the old one. Outside
            # of a transaction, in which it would have no effect.
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA legacy_alter_table=ON")
            began = time.perf_counter()
            with connection.begin():
                for old, new in names:
                    self._quoted(connection, "ALTER TABLE {} RENAME TO {}", old, new)
            return time.perf_counter() - began

    def _rename_waiting(self, names: Sequence[tuple[str, str]]) -> float:
        """Rename on MySQL: readers queue behind a renaming that waits for a long transaction, so each wait is short."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("SET SESSION lock_wait_timeout = 1")  # seconds, the least
            for attempt in range(1, TRIES + 1):
                began = time.perf_counter()
                try:
                    renamed = ", ".join(["{} TO {}"] * len(names))
                    self._quoted(connection, f"RENAME TABLE {renamed}", *chain.from_iterable(names))
                    return time.perf_counter() - began
                except sa.exc.OperationalError as error:
                    if _code(error) not in _LOCKED or attempt == TRIES:
                        raise
                time.sleep(PAUSE_S)
        raise AssertionError("unreachable")

    def _quoted(self, connection: sa.Connection, statement: str, *names: str) -> None:
        quote = self.engine.dialect.identifier_preparer.quote
        connection.exec_driver_sql(statement.format(*map(quote, names)))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time write or swap the table; the lock of one that is killed is free again."""
        if self.engine.dialect.name == "sqlite":
            with Path(f"{self.engine.url.database}.{self.name}.lock").open("w") as file:
                self._wait(lambda: _locks(file))
                yield
            return
        with self.engine.connect() as connection:
            name = f"taxiway_{self.name}"[:64]
            self._wait(lambda: bool(connection.scalar(sa.select(sa.func.get_lock(name, 0)))))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.release_lock(name)))

    def _wait(self, taken: Callable[[], bool]) -> None:
        until = time.monotonic() + WAIT_S
        while not taken():
            if time.monotonic() > until:
                raise UnavailableError(
                    f"Another run is serving {self.name}: nothing was changed; this task tries again when it has ended."
                )
            time.sleep(0.1)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Tell a fault of the database in one sentence."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            code, text = _code(error), " ".join(str(error.orig).split())
            if code in _FULL or "disk is full" in text:
                what = "is full: make room in it"
            elif code in _LOCKED or "locked" in text:
                what = "is locked by another session: let its long transaction end"
            elif code in _REFUSED or "readonly" in text:
                what = "does not let us write: grant its user SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER and DROP"
            elif isinstance(error, sa.exc.OperationalError):
                what = "does not answer as it should: look whether it runs and is reachable"
            else:
                raise ServingError(
                    f"The rows of {self.name} do not fit into the service's database ({text})."
                ) from None
            raise UnavailableError(
                f"The service's database {what}, and clear this task; readers of {self.name} still have a whole table "
                f"({text})."
            ) from None


def checked(columns: Sequence[str], rows: Iterable[Row], key: Any) -> Checked:
    """Return what rows are, in whatever order they come.

    Args:
        columns: their names, in order.
        rows: their values.
        key: what rows are ordered by, a function of a row.
    """
    digest, count = hashlib.sha256(json.dumps(list(columns)).encode()), 0
    for row in sorted(rows, key=key):
        digest.update(json.dumps(row, default=_text).encode())
        count += 1
    return Checked(count, digest.hexdigest())


def _batched(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Return rows in lists of a size, as itertools.batched of Python 3.12."""
    left = iter(rows)
    while part := list(islice(left, size)):
        yield part


def _locks(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _text(value: Any) -> str:
    return str(value.isoformat())


def _family(kind: Any) -> type:
    """Return the kind of values of a column's type."""
    families: Mapping[type, Any] = {
        int: sa.Integer,
        float: (sa.Numeric, sa.Float),
        str: sa.String,
        datetime: (sa.Date, sa.DateTime),
    }
    return next((family for family, types in families.items() if isinstance(kind, types)), object)


def _marks(metadata: sa.MetaData) -> sa.Table:
    """Return the table that keeps how far each upsert has come."""
    if MARKS in metadata.tables:
        return metadata.tables[MARKS]
    return sa.Table(
        MARKS,
        metadata,
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("last_key", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )


def _code(error: sa.exc.DBAPIError) -> int | None:
    """Return MySQL's number of an error."""
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None
