"""Databases of the tests' own: a MySQL-compatible server, and a catalogue whose tables are made late."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest
import sqlalchemy as sa

from taxiway import catalogue
from taxiway.catalogue.database import connect
from tests.tools import tool


@contextmanager
def mariadb(*more: str) -> Iterator[str]:
    """Run a MariaDB in a temporary folder, on a free port of loopback; yield the SQLAlchemy URL without a database.

    Skips the test where no server is installed.

    Args:
        more: options of the server.
    """
    server = tool("mariadbd", "mysqld")
    # A short path: a socket's name is limited to about 100 characters.
    with tempfile.TemporaryDirectory(prefix="taxiway-db-", dir="/tmp") as folder:
        # The server refuses to run as root unless it is told to.
        options = [f"--datadir={folder}/data", *(["--user=root"] if os.geteuid() == 0 else [])]
        install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([*install, *options], check=True, stdout=subprocess.DEVNULL)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    server,
                    "--no-defaults",
                    *options,
                    f"--socket={folder}/sock",
                    f"--pid-file={folder}/pid",
                    "--bind-address=127.0.0.1",
                    "--skip-name-resolve",
                    f"--port={port}",
                    "--innodb-flush-log-at-trx-commit=0",
                    *more,
                ],
                stdout=log,
                stderr=log,
            )
        try:
            _wait_for(port, process, Path(folder, "log"))
            yield f"mysql+pymysql://root@127.0.0.1:{port}"
            if (status := process.poll()) is not None:
                raise AssertionError(f"the server ended with {status}: {Path(folder, 'log').read_text()[-2000:]}")
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            pymysql.connect(host="127.0.0.1", port=port, user="root").close()
            return
        except pymysql.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the database server did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)


def migrate_after_the_first_try(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the catalogue's tables made when they were missed once, as a deployment makes them at its end."""
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", f"sqlite:///{folder}/new.db")
    open_catalogue = catalogue.open_catalogue

    def open_and_migrate(*revision: str) -> sa.Engine:
        try:
            return open_catalogue(*revision)
        except catalogue.NotMigratedError:
            catalogue.migrate(connect())
            raise

    monkeypatch.setattr(catalogue, "open_catalogue", open_and_migrate)
