"""Connection, configuration and migration of the catalogue's database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from taxiway.core import databases
from taxiway.core.dataset_list import CatalogueError
from taxiway.core.errors import RetryableError

CONNECTION = "tlc_catalog"
MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "catalogue_version"


class NotMigratedError(CatalogueError, RetryableError):
    """The tables are missing or older than the code: a deployment migrates them at its end."""


def open_catalogue(revision: str = "0001") -> sa.Engine:
    """Return an engine for the catalogue in Airflow's connection ``tlc_catalog``.

    Args:
        revision: the migration that the caller needs at least; by default that of data sets and log, so that code which
            arrives before a later migration keeps working.

    Raises:
        NotMigratedError: its tables are missing or older than that.
        CatalogueError: Airflow has no such connection, or its type is neither sqlite nor mysql.
    """
    engine = connect()
    with engine.connect() as connection:
        version = None
        if sa.inspect(connection).has_table(VERSION_TABLE):
            version = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE)))
    if version is None or version < revision:
        raise NotMigratedError(
            f"The tables of the catalogue (connection {CONNECTION!r}) are {'outdated' if version else 'missing'}: "
            "run python -m taxiway.catalogue migrate."
        )
    return engine


def connect() -> sa.Engine:
    """Return an engine for the database of Airflow's connection, without checking its tables.

    Raises:
        CatalogueError: Airflow has no such connection, or its type is neither sqlite nor mysql.
    """
    try:
        return databases.connect(CONNECTION)
    except databases.DatabaseError as error:
        raise CatalogueError(str(error)) from None


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
