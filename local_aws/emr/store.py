"""The history of clusters and steps, as JSON documents in the endpoint's database."""

import json
from dataclasses import asdict

from local_aws.database import Database
from local_aws.emr.model import Cluster, Step


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
