"""The history of clusters and steps, and security configurations, as JSON in the endpoint's database."""

import json
from collections.abc import Iterator, MutableMapping
from dataclasses import asdict

from local_aws.database import Database
from local_aws.emr.model import Cluster, Document, Step


class History:
    """Stores the current state of each cluster and step; what is saved survives the process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as connection:
            for table in ("emr_clusters", "emr_steps"):
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} (place INTEGER PRIMARY KEY, id TEXT UNIQUE, document TEXT)"
                )

    def load(self) -> tuple[list[Cluster], list[Step]]:
        """Return all that was saved, oldest first."""
        with self._database.transaction() as connection:
            clusters = connection.execute("SELECT document FROM emr_clusters ORDER BY place").fetchall()
            steps = connection.execute("SELECT document FROM emr_steps ORDER BY place").fetchall()
        return [Cluster(**json.loads(row[0])) for row in clusters], [Step(**json.loads(row[0])) for row in steps]

    def save(self, *changed: Cluster | Step) -> None:
        """Save the current state of these, all or none."""
        if not changed:
            return
        with self._database.transaction() as connection:
            for record in changed:
                table = "emr_clusters" if isinstance(record, Cluster) else "emr_steps"
                connection.execute(
                    f"INSERT INTO {table} (id, document) VALUES (?, ?) "  # noqa: S608
                    "ON CONFLICT (id) DO UPDATE SET document = excluded.document",
                    (record.id, json.dumps(asdict(record))),
                )


class SecurityConfigurations(MutableMapping[str, Document]):
    """Stores security configurations by their names."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS emr_security_configurations (name TEXT PRIMARY KEY, document TEXT)"
            )
            rows = connection.execute("SELECT name, document FROM emr_security_configurations").fetchall()
        self._documents: dict[str, Document] = {name: json.loads(text) for name, text in rows}

    def __getitem__(self, name: str) -> Document:
        return self._documents[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents)

    def __len__(self) -> int:
        return len(self._documents)

    def __setitem__(self, name: str, document: Document) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO emr_security_configurations VALUES (?, ?)", (name, json.dumps(document))
            )
        self._documents[name] = document

    def __delitem__(self, name: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM emr_security_configurations WHERE name = ?", (name,))
        del self._documents[name]
