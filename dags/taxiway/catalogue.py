"""The dataset catalogue and the ingestion log: what there is to collect, and what became of every attempt.

Two tables in the database of Airflow's connection ``tlc_catalog`` (SQLite or MySQL): ``datasets``, filled from a CSV,
and ``ingestion_log``, one row an attempt to collect a data set. An attempt counts for a data set as the catalogue has
it now: of the same month and the same URL. All times are UTC.

The connection is best given by the variable ``AIRFLOW_CONN_TLC_CATALOG``; what its URI has of special characters is
percent-encoded, and parameters that begin with ``ssl_`` are those of PyMySQL:

    sqlite:////folder/catalogue.db
    mysql://user:password@mysql:3306/tlc
    mysql://user:password@host.rds.amazonaws.com:3306/tlc?ssl_ca=/etc/ssl/rds/global-bundle.pem

With ``ssl_ca`` the connection is encrypted, and refused if the server's certificate is not signed by it for that host.

    python -m taxiway.catalogue migrate      create or upgrade the tables
    python -m taxiway.catalogue load FILE    take over a CSV with the columns name, month, url
    python -m taxiway.catalogue show         list the data sets and their last attempts
"""

import argparse
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from taxiway.dataset_list import CatalogueError, Dataset, check_unique, read_list

CONNECTION = "tlc_catalog"
MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "catalogue_version"


class Status(StrEnum):
    """What became of an attempt. Abandoned: it was still running when the next attempt of its data set began."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to collect a data set: a row of ``ingestion_log``.

    ``again`` asks for the month to be analysed once it is complete, even if nothing changed.
    ``finished``, ``bytes``, ``sha256``, ``rows``, ``s3_bucket`` and ``s3_key`` are set when it is complete, ``error``
    (one sentence) when it failed. ``source_version`` is what the source said of the file's version (entity tag or time
    of change, with the size), so that an unchanged file need not be downloaded again; None if it said nothing of use.
    """

    id: int
    dataset: str
    month: str
    url: str
    dag_run_id: str | None
    again: bool
    started: datetime
    finished: datetime | None
    status: Status
    bytes: int | None
    sha256: str | None
    rows: int | None
    s3_bucket: str | None
    s3_key: str | None
    source_version: str | None
    error: str | None

    def as_input(self) -> "Input":
        """Return the file of this attempt, which must be complete."""
        assert self.bytes is not None
        assert self.sha256 is not None
        assert self.rows is not None
        return Input(self.dataset, f"s3://{self.s3_bucket}/{self.s3_key}", self.sha256, self.rows, self.bytes)


@dataclass(frozen=True, slots=True)
class Input:
    """A collected file of a complete month: ``uri`` is ``s3://bucket/key``."""

    dataset: str
    uri: str
    sha256: str
    rows: int
    bytes: int


# ── The database ────────────────────────────────────────────────────────────────────────────────────────────────────


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A time in UTC to the microsecond: neither SQLite nor MySQL keeps a zone."""

    impl = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002, D102
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002, D102
        return value and value.replace(tzinfo=UTC)


metadata = sa.MetaData()

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("expected_bytes", sa.BigInteger),
    sa.Column("expected_sha256", sa.String(64)),
)

ingestion_log = sa.Table(
    "ingestion_log",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("dataset", sa.String(200), nullable=False, index=True),  # no foreign key: the log outlives its data set
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("dag_run_id", sa.String(250)),
    sa.Column("again", sa.Boolean, nullable=False),
    sa.Column("started", UtcDateTime, nullable=False),
    sa.Column("finished", UtcDateTime),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("sha256", sa.String(64)),
    sa.Column("rows", sa.BigInteger),
    sa.Column("s3_bucket", sa.String(63)),
    sa.Column("s3_key", sa.String(1024)),
    sa.Column("source_version", sa.Text),
    sa.Column("error", sa.Text),
)


def open_catalogue() -> sa.Engine:
    """Return an engine for the catalogue, which must have been migrated, in Airflow's connection ``tlc_catalog``.

    Raises:
        CatalogueError: Airflow has no such connection, it is neither of SQLite nor of MySQL, or its tables are missing
            or older than this code.
    """
    engine = _connect()
    with engine.connect() as connection:
        version = None
        if sa.inspect(connection).has_table(VERSION_TABLE):
            version = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE)))
    # Revisions are numbers, and their files begin with them: to ask Alembic would cost each task half a second.
    newest = max(file.name.partition("_")[0] for file in MIGRATIONS.glob("versions/*.py"))
    if version is None or version < newest:
        raise CatalogueError(
            f"The tables of the catalogue (connection {CONNECTION!r}) are {'outdated' if version else 'missing'}: "
            "run python -m taxiway.catalogue migrate."
        )
    return engine


def _connect() -> sa.Engine:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        raise CatalogueError(
            f"Airflow has no connection {CONNECTION!r}: add one of type mysql or sqlite, for example by the variable "
            f"AIRFLOW_CONN_{CONNECTION.upper()}."
        ) from None
    if connection.conn_type == "sqlite":
        # As in the SQLite provider a path may stand as the host; in a URI of four slashes it arrives as the schema.
        path = connection.host or connection.schema
        if not path or not Path(path).is_absolute():
            raise CatalogueError(f"The connection {CONNECTION!r} must give SQLite an absolute path, not {path!r}.")
        return open_engine(sa.URL.create("sqlite", database=path))
    if connection.conn_type in ("mysql", "mysql+pymysql"):  # the latter is how SQLAlchemy writes it
        options = {key: value for key, value in connection.extra_dejson.items() if isinstance(value, str)}
        for name in ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key"):
            if name in options and not Path(options[name]).exists():
                raise CatalogueError(
                    f"The connection {CONNECTION!r} says {name}={options[name]}, which is not there: mount that file, "
                    "or name another."
                )
        return open_engine(
            sa.URL.create(
                "mysql+pymysql",
                username=connection.login,
                password=connection.password,
                host=connection.host,
                port=connection.port,
                database=connection.schema,
                query={"charset": "utf8mb4", **options},  # such as ssl_ca
            )
        )
    raise CatalogueError(
        f"The connection {CONNECTION!r} is of type {connection.conn_type!r}; it must be mysql or sqlite."
    )


def open_engine(url: sa.URL | str) -> sa.Engine:
    """Return an engine that parallel tasks can share one database with.

    It keeps no connection open between two transactions: a task downloads for minutes or hours between them.

    Args:
        url: an SQLAlchemy URL of SQLite (a file) or of MySQL.
    """
    url = sa.make_url(url)
    if url.get_backend_name() != "sqlite":
        # READ COMMITTED: what is read after a lock was taken is what the lock's last holder wrote.
        return sa.create_engine(url, poolclass=sa.NullPool, isolation_level="READ COMMITTED")
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": 60})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own: _begin does
        connection.execute("PRAGMA journal_mode=WAL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A transaction that turns from reading to writing fails at once if another writes; this one waits its turn.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def migrate(engine: sa.Engine) -> None:
    """Create the tables, or upgrade them to the newest version; nothing happens if they are.

    Two that run at once do no harm: the second waits for the first.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection, _migration_lock(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _migration_lock(connection: sa.Connection) -> Iterator[None]:
    """Hold a lock that outlives a statement: MySQL commits at each change of a table. SQLite's transaction is one."""
    if connection.dialect.name != "mysql":
        yield
        return
    if not connection.scalar(sa.select(sa.func.get_lock("taxiway_migrate", 300))):
        raise CatalogueError("Another migration of the catalogue has been running for five minutes: try again later.")
    try:
        yield
    finally:
        connection.execute(sa.select(sa.func.release_lock("taxiway_migrate")))


# ── Questions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def complete_months(engine: sa.Engine) -> dict[str, list[Input]]:
    """Return the months all of whose data sets are collected, with their files.

    A month is complete when the latest attempt of each of its data sets is complete.

    Returns:
        month ``YYYY-MM`` → its files ordered by data set; in the order of months.
    """
    months: dict[str, list[Input]] = {}
    incomplete = set()
    for dataset, attempt in latest_attempts(engine):
        if attempt is None or attempt.status is not Status.COMPLETE:
            incomplete.add(dataset.month)
            continue
        months.setdefault(dataset.month, []).append(attempt.as_input())
    return {month: inputs for month, inputs in months.items() if month not in incomplete}


def latest_attempts(engine: sa.Engine, months: Collection[str] | None = None) -> list[tuple[Dataset, Attempt | None]]:
    """Return every data set with its latest attempt, None if there was none, ordered by month and name.

    Args:
        engine: of the catalogue.
        months: only the data sets of these months (``YYYY-MM``).
    """
    with engine.connect() as connection:
        return _latest_attempts(connection, months)


def running_attempts(engine: sa.Engine) -> list[Attempt]:
    """Return the attempts now marked as running, oldest first.

    One whose process died stays marked until the next attempt of its data set: tell it by the age of ``started``.
    """
    query = ingestion_log.select().where(ingestion_log.c.status == Status.RUNNING).order_by(ingestion_log.c.id)
    with engine.connect() as connection:
        return [_attempt(row) for row in connection.execute(query)]


def find_dataset(engine: sa.Engine, name: str) -> Dataset:
    """Return a data set of the catalogue.

    Raises:
        CatalogueError: there is none of that name.
    """
    with engine.connect() as connection:
        row = connection.execute(datasets.select().where(datasets.c.name == name)).one_or_none()
    if row is None:
        raise CatalogueError(f"The catalogue has no data set {name!r}.")
    return Dataset(**row._mapping)


def last_complete(engine: sa.Engine, dataset: Dataset) -> Attempt | None:
    """Return the last complete attempt of a data set, whatever came after it; None if there is none."""
    query = (
        ingestion_log.select()
        .where(
            ingestion_log.c.dataset == dataset.name,
            ingestion_log.c.month == dataset.month,
            ingestion_log.c.url == dataset.url,
            ingestion_log.c.status == Status.COMPLETE,
        )
        .order_by(ingestion_log.c.id.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _attempt(row)


def _latest_attempts(
    connection: sa.Connection, months: Collection[str] | None = None
) -> list[tuple[Dataset, Attempt | None]]:
    log = ingestion_log.alias().c
    latest = (
        sa.select(sa.func.max(log.id))
        .where(log.dataset == datasets.c.name, log.month == datasets.c.month, log.url == datasets.c.url)
        .correlate(datasets)
        .scalar_subquery()
    )
    query = (
        sa.select(datasets, ingestion_log)
        .select_from(datasets.outerjoin(ingestion_log, ingestion_log.c.id == latest))
        .order_by(datasets.c.month, datasets.c.name)
    )
    if months is not None:
        query = query.where(datasets.c.month.in_(months))
    width = len(datasets.c)
    return [
        (Dataset(*row[:width]), None if row[width] is None else _attempt(row[width:]))
        for row in connection.execute(query)
    ]


def _attempt(row: Sequence[Any]) -> Attempt:
    attempt = dict(zip(ingestion_log.c.keys(), row, strict=True))
    return Attempt(**{**attempt, "status": Status(attempt["status"])})


# ── The log of an attempt ───────────────────────────────────────────────────────────────────────────────────────────


def begin_attempt(engine: sa.Engine, dataset: Dataset, dag_run_id: str | None = None, *, again: bool = False) -> int:
    """Log that an attempt begins, and return its id; one that still counts as running is abandoned first."""
    now = datetime.now(UTC)
    log = ingestion_log.c
    with engine.begin() as connection:
        connection.execute(
            ingestion_log.update()
            .where(log.dataset == dataset.name, log.status == Status.RUNNING)
            .values(
                status=Status.ABANDONED, finished=now, error="It ended without a word, or another attempt overtook it."
            )
        )
        inserted = connection.execute(
            ingestion_log.insert().values(
                dataset=dataset.name,
                month=dataset.month,
                url=dataset.url,
                dag_run_id=dag_run_id,
                again=again,
                started=now,
                status=Status.RUNNING,
            )
        )
        assert inserted.inserted_primary_key is not None
        return int(inserted.inserted_primary_key[0])


def claim_content(engine: sa.Engine, attempt_id: int, sha256: str) -> str | None:
    """Log the checksum of an attempt's file, unless another data set has that file.

    Returns:
        the name of the data set whose latest attempt, complete or running, has the same file; None if there is none.
    """
    with engine.begin() as connection:
        # One at a time, or two that arrive together would not see each other. SQLite's transaction does that by itself.
        connection.execute(sa.select(datasets.c.name).with_for_update()).all()
        for dataset, other in _latest_attempts(connection):
            if other is None or other.id == attempt_id or other.status not in (Status.COMPLETE, Status.RUNNING):
                continue
            if other.sha256 == sha256:
                return dataset.name
        _update_running(connection, attempt_id, sha256=sha256)
    return None


def complete_attempt(
    engine: sa.Engine,
    attempt_id: int,
    *,
    bytes: int,  # noqa: A002 - the column's name
    sha256: str,
    rows: int,
    s3_bucket: str,
    s3_key: str,
    source_version: str | None,
) -> None:
    """Log that an attempt is complete; arguments as in :class:`Attempt`.

    Raises:
        CatalogueError: another attempt of the data set overtook it.
    """
    values = {"bytes": bytes, "sha256": sha256, "rows": rows, "s3_bucket": s3_bucket, "s3_key": s3_key}
    with engine.begin() as connection:
        _update_running(
            connection,
            attempt_id,
            status=Status.COMPLETE,
            finished=datetime.now(UTC),
            source_version=source_version,
            **values,
        )


def fail_attempt(engine: sa.Engine, attempt_id: int, error: str) -> None:
    """Log that an attempt failed, and why, unless another attempt of the data set overtook it."""
    with engine.begin() as connection:
        connection.execute(
            ingestion_log.update()
            .where(ingestion_log.c.id == attempt_id, ingestion_log.c.status == Status.RUNNING)
            .values(status=Status.FAILED, finished=datetime.now(UTC), error=error)
        )


def _update_running(connection: sa.Connection, attempt_id: int, **values: object) -> None:
    updated = connection.execute(
        ingestion_log.update()
        .where(ingestion_log.c.id == attempt_id, ingestion_log.c.status == Status.RUNNING)
        .values(**values)
    )
    if not updated.rowcount:
        raise CatalogueError(f"Another attempt of the same data set overtook attempt {attempt_id}: its outcome counts.")


# ── Loading a list ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How many data sets a list added, changed, left as they were, and removed."""

    added: int
    changed: int
    unchanged: int
    removed: int


def load(engine: sa.Engine, file: Path, *, whole_months: bool = False) -> LoadReport:
    """Take a CSV's data sets over into the catalogue: all of them, or none if one is wrong.

    A data set of the same name is replaced; those that the CSV does not name stay.

    Args:
        engine: of the catalogue.
        file: see :func:`taxiway.dataset_list.read_list`.
        whole_months: the CSV has all data sets of its months: others of them leave the catalogue. Their log stays.

    Raises:
        CatalogueError: the file cannot be used.
    """
    listed = read_list(file)
    with engine.begin() as connection:
        known = {row.name: Dataset(**row._mapping) for row in connection.execute(datasets.select().with_for_update())}
        replaced = {dataset.name for _, dataset in listed}
        months = {dataset.month for _, dataset in listed} if whole_months else set()
        removed = [name for name, dataset in known.items() if dataset.month in months and name not in replaced]
        if removed:
            connection.execute(datasets.delete().where(datasets.c.name.in_(removed)))
        replaced.update(removed)
        check_unique([*((None, dataset) for name, dataset in known.items() if name not in replaced), *listed], file)
        added = [asdict(d) for _, d in listed if d.name not in known]
        changed = [d for _, d in listed if d.name in known and d != known[d.name]]
        if added:
            connection.execute(datasets.insert(), added)
        for dataset in changed:
            connection.execute(datasets.update().where(datasets.c.name == dataset.name).values(**asdict(dataset)))
    return LoadReport(len(added), len(changed), len(listed) - len(added) - len(changed), len(removed))


# ── The command line ────────────────────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m taxiway.catalogue", description="The dataset catalogue.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="create or upgrade the tables")
    loader = commands.add_parser("load", help="take over a CSV with the columns name, month, url")
    loader.add_argument("file", type=Path)
    loader.add_argument(
        "--whole-months", action="store_true", help="other data sets of the file's months leave the catalogue"
    )
    commands.add_parser("show", help="list the data sets and their last attempts")
    options = parser.parse_args(arguments)
    try:
        if options.command == "migrate":
            migrate(_connect())
        elif options.command == "load":
            report = load(open_catalogue(), options.file, whole_months=options.whole_months)
            sys.stdout.write(", ".join(f"{count} {what}" for what, count in asdict(report).items()) + ".\n")
        else:
            _show(open_catalogue())
    except CatalogueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except sa.exc.DBAPIError as error:
        sys.stderr.write(f"The database of the connection {CONNECTION!r} cannot be used: {error.orig}.\n")
        return 1
    return 0


def _show(engine: sa.Engine) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("month", box=None)
    for heading in ("data set", "status", "rows", "bytes", "finished (UTC)", "error or URL"):
        table.add_column(heading, overflow="fold")
    for dataset, attempt in latest_attempts(engine):
        cells = ["not collected", "", "", "", dataset.url]
        if attempt:
            finished = f"{attempt.finished:%Y-%m-%d %H:%M:%S}" if attempt.finished else ""
            counts = ["" if count is None else f"{count:,}" for count in (attempt.rows, attempt.bytes)]
            cells = [attempt.status, *counts, finished, attempt.error or dataset.url]
        table.add_row(dataset.month, dataset.name, *cells)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
