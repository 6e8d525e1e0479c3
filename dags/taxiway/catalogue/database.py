"""Connection, configuration and migration of the catalogue's database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from taxiway.core.dataset_list import CatalogueError

CONNECTION = "tlc_catalog"
MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "catalogue_version"


def open_catalogue(revision: str = "0001") -> sa.Engine:
    """Return an engine for the catalogue in Airflow's connection ``tlc_catalog``.

    Args:
        revision: the migration that the caller needs at least; by default that of data sets and log, so that code which
            arrives before a later migration keeps working.

    Raises:
        CatalogueError: Airflow has no such connection, its type is neither sqlite nor mysql, or its tables are missing
            or older than that.
    """
    engine = connect()
    with engine.connect() as connection:
        version = None
        if sa.inspect(connection).has_table(VERSION_TABLE):
            version = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE)))
    if version is None or version < revision:
        raise CatalogueError(
            f"The tables of the catalogue (connection {CONNECTION!r}) are {'outdated' if version else 'missing'}: "
            "run python -m taxiway.catalogue migrate."
        )
    return engine


def connect() -> sa.Engine:
    """Return an engine for the database of Airflow's connection, without checking its tables.

    Raises:
        CatalogueError: Airflow has no such connection, or its type is neither sqlite nor mysql.
    """
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
        # As in the SQLite provider the path may be the host; in a URI with four slashes it is parsed as the schema.
        path = connection.host or connection.schema
        if not path or not Path(path).is_absolute():
            raise CatalogueError(f"The connection {CONNECTION!r} needs an absolute path for SQLite, not {path!r}.")
        return open_engine(sa.URL.create("sqlite", database=path))
    if connection.conn_type in ("mysql", "mysql+pymysql"):  # the latter is how SQLAlchemy writes it
        options = {key: value for key, value in connection.extra_dejson.items() if isinstance(value, str)}
        for name in ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key"):
            if name in options and not Path(options[name]).exists():
                raise CatalogueError(
                    f"The connection {CONNECTION!r} sets {name}={options[name]}, which does not exist: mount that "
                    "file, or set another."
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
    """Return an engine for a database that parallel tasks share.

    It keeps no connection open between transactions, because a task downloads for minutes or hours between them.

    Args:
        url: an SQLAlchemy URL of SQLite (a file) or of MySQL.
    """
    url = sa.make_url(url)
    if url.get_backend_name() != "sqlite":
        # READ COMMITTED: a read after acquiring a lock sees what the lock's previous holder wrote.
        return sa.create_engine(url, poolclass=sa.NullPool, isolation_level="READ COMMITTED")
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": 60})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own: _begin does
        connection.execute("PRAGMA journal_mode=WAL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A transaction that upgrades from reading to writing fails if another writes; this one waits for the lock.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def migrate(engine: sa.Engine) -> None:
    """Create the tables, or upgrade them to the newest version, if they are not.

    Concurrent migrations are safe: the second waits for the first.
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
    """Hold a lock across statements: MySQL commits at each DDL statement. On SQLite the transaction is the lock."""
    if connection.dialect.name != "mysql":
        yield
        return
    if not connection.scalar(sa.select(sa.func.get_lock("taxiway_migrate", 300))):
        raise CatalogueError("Another migration of the catalogue has been running for five minutes: try again later.")
    try:
        yield
    finally:
        connection.execute(sa.select(sa.func.release_lock("taxiway_migrate")))
