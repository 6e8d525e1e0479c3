"""The SQLite file in which the endpoint stores what must survive a restart, except the content of objects."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Database:
    """A SQLite file that several threads write to, one transaction at a time.

    Write-ahead logging without a sync for each commit: what is committed survives the end of the process, `kill -9`
    included; after a power cut the last seconds may be missing, but never half a transaction.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._lock = threading.RLock()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside a transaction: committed at the end, rolled back if the block raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def clear(self) -> None:
        """Remove the content of all tables."""
        with self.transaction() as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608

    def close(self) -> None:
        """Close the file; a later use raises."""
        with self._lock:
            self._connection.close()
