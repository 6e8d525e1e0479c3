"""The history of applications, job runs and client tokens, as JSON documents in the endpoint's database."""

import json
from dataclasses import asdict

from local_aws.database import Database
from local_aws.emr_serverless.model import Application, Attempt, JobRun

_TABLES = {Application: "emr_serverless_applications", JobRun: "emr_serverless_job_runs"}


class History:
    """Stores the current state of each application and job run; what is saved survives the process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as connection:
            for table in _TABLES.values():
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} (place INTEGER PRIMARY KEY, id TEXT UNIQUE, document TEXT)"
                )
            connection.execute(
                "CREATE TABLE IF NOT EXISTS emr_serverless_tokens (scope TEXT, token TEXT, digest TEXT, id TEXT,"
                " PRIMARY KEY (scope, token))"
            )

    def load(self) -> tuple[list[Application], list[JobRun]]:
        """Return all that was saved, oldest first."""
        with self._database.transaction() as connection:
            applications, runs = (
                [json.loads(row[0]) for row in connection.execute(f"SELECT document FROM {table} ORDER BY place")]  # noqa: S608
                for table in _TABLES.values()
            )
        return [Application(**document) for document in applications], [
            JobRun(**document | {"attempts": [Attempt(**attempt) for attempt in document["attempts"]]})
            for document in runs
        ]

    def save(self, *changed: Application | JobRun, token: tuple[str, str, str] | None = None) -> None:
        """Save the current state of these, all or none.

        Args:
            changed: the applications and job runs.
            token: scope, client token and the digest of the input that made the first of them.
        """
        with self._database.transaction() as connection:
            for record in changed:
                connection.execute(
                    f"INSERT INTO {_TABLES[type(record)]} (id, document) VALUES (?, ?) "  # noqa: S608
                    "ON CONFLICT (id) DO UPDATE SET document = excluded.document",
                    (record.id, json.dumps(asdict(record))),
                )
            if token:
                connection.execute("INSERT INTO emr_serverless_tokens VALUES (?, ?, ?, ?)", (*token, changed[0].id))

    def made(self, scope: str, token: str) -> tuple[str, str] | None:
        """Return the digest of the input and the id that a client token has made, None if it is new."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT digest, id FROM emr_serverless_tokens WHERE scope = ? AND token = ?", (scope, token)
            ).fetchone()
        return row and (row[0], row[1])
