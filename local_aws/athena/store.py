"""What Athena keeps in the endpoint's database: queries, workgroups, named queries, prepared statements."""

import json
from typing import Any

from local_aws.database import Database

Document = dict[str, Any]


class Store:
    """JSON documents by kind and key; what is saved survives the process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS athena (place INTEGER PRIMARY KEY, kind TEXT, key TEXT, document TEXT, "
                "UNIQUE (kind, key))"
            )

    def load(self, kind: str) -> dict[str, Document]:
        """Return the documents of a kind by key, oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT key, document FROM athena WHERE kind = ? ORDER BY place", (kind,))
            return {key: json.loads(document) for key, document in rows.fetchall()}

    def save(self, kind: str, key: str, document: Document) -> None:
        """Save a document in place of the one before it."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO athena (kind, key, document) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET document = excluded.document",
                (kind, key, json.dumps(document)),
            )

    def delete(self, kind: str, key: str) -> None:
        """Delete a document."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM athena WHERE kind = ? AND key = ?", (kind, key))
