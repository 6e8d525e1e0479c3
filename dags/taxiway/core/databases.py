"""Databases of SQLite or MySQL, by Airflow's connections."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa


class DatabaseError(ValueError):
    """A connection cannot be used; the text is one sentence that names it, the fault and the remedy."""


def connect(name: str, *, begin: str = "IMMEDIATE") -> sa.Engine:
    """Return an engine for the database of an Airflow connection.

    Args:
        name: of the connection.
        begin: see :func:`open_engine`.

    Raises:
        DatabaseError: Airflow has no such connection, or its type is neither sqlite nor mysql.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = BaseHook.get_connection(name)
    except AirflowNotFoundException:
        raise DatabaseError(
            f"Airflow has no connection {name!r}: add one of type mysql or sqlite, for example by the variable "
            f"AIRFLOW_CONN_{name.upper()}."
        ) from None
    if connection.conn_type == "sqlite":
        # As in the SQLite provider the path may be the host; in a URI with four slashes it is parsed as the schema.
        path = connection.host or connection.schema
        if not path or not Path(path).is_absolute():
            raise DatabaseError(f"The connection {name!r} needs an absolute path for SQLite, not {path!r}.")
        return open_engine(sa.URL.create("sqlite", database=path), begin=begin)
    if connection.conn_type in ("mysql", "mysql+pymysql"):  # the latter is how SQLAlchemy writes it
        options = {key: value for key, value in connection.extra_dejson.items() if isinstance(value, str)}
        for option in ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key"):
            if option in options and not Path(options[option]).exists():
                raise DatabaseError(
                    f"The connection {name!r} sets {option}={options[option]}, which does not exist: mount that "
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
    raise DatabaseError(f"The connection {name!r} is of type {connection.conn_type!r}; it must be mysql or sqlite.")


def open_engine(url: sa.URL | str, *, begin: str = "IMMEDIATE") -> sa.Engine:
    """Return an engine for a database that parallel tasks share.

    It keeps no connection open between transactions, because a task downloads for minutes or hours between them.

    Args:
        url: an SQLAlchemy URL of SQLite (a file) or of MySQL.
        begin: how SQLite begins a transaction. ``IMMEDIATE`` waits for the lock that writers need: a transaction that
            upgrades from reading to writing fails if another writes. ``DEFERRED`` is for those that only read, so that
            no writer waits for them.
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
        connection.exec_driver_sql(f"BEGIN {begin}")

    return engine
