"""A journal of requests: moto keeps these services in memory, and at the next start the requests are repeated.

A request is written to the journal when moto has carried it out and before it is answered; at the next start the
requests are replayed in the same order. moto's random numbers are seeded for each, so that ARNs and the like are the
same.
"""

import io
import json
import logging
import os
import threading
import time
from collections.abc import Iterable

from moto.moto_api._internal import mock_random

from local_aws.database import Database
from local_aws.moto_backend.glue_catalogue import GlueCatalogue
from local_aws.moto_backend.requests import members_of, operation_of
from local_aws.protocols.wsgi import Application, Environ, Response, StartResponse, call, signing_scope

log = logging.getLogger(__name__)

_SERVICES = ("glue", "secretsmanager", "sns", "sqs", "ssm")
_VERBS = (
    *("Add", "Cancel", "Confirm", "Create", "Delete", "Label", "Put", "Remove", "Restore", "Rotate", "Set"),
    *("Subscribe", "Tag", "Unlabel", "Unsubscribe", "Untag", "Update"),
)


class Journal:
    """The requests to repeat at the next start."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS journal (place INTEGER PRIMARY KEY, service TEXT, subject TEXT, "
                "operation TEXT, time REAL, seed INTEGER, environ TEXT, body BLOB)"
            )

    def write(
        self, service: str, subject: str, operation: str, environ: Environ, body: bytes, *, seed: int = 0
    ) -> None:
        """Add a request that was carried out.

        Args:
            service: its service.
            subject: what it changes, e.g. a bucket; "" where nothing looks for it.
            operation: its operation.
            environ: its WSGI environment.
            body: its body.
            seed: of moto's random numbers while it was carried out.
        """
        if self._is_repeated(service, subject, operation, body):
            return
        strings = json.dumps({name: value for name, value in environ.items() if isinstance(value, str)})
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO journal (service, subject, operation, time, seed, environ, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (service, subject, operation, time.time(), seed, strings, body),
            )

    def first_time(self, service: str, subject: str) -> float:
        """Return when a subject was first changed, in epoch seconds; the journal must have a request for it."""
        with self._database.transaction() as connection:
            query = "SELECT min(time) FROM journal WHERE service = ? AND subject = ?"
            return float(connection.execute(query, (service, subject)).fetchone()[0])

    def _is_repeated(self, service: str, subject: str, operation: str, body: bytes) -> bool:
        """Return whether it creates again what exists, as start-up scripts do: the journal has it already."""
        if not operation.startswith("Create"):
            return False
        with self._database.transaction() as connection:
            (created,) = connection.execute(
                "SELECT max(place) FROM journal WHERE service = ? AND subject = ? AND operation = ? AND body = ?",
                (service, subject, operation, body),
            ).fetchone()
            (deleted,) = connection.execute(
                "SELECT max(place) FROM journal WHERE service = ? AND operation LIKE 'Delete%'", (service,)
            ).fetchone()
        return created is not None and created > (deleted or 0)

    def forget(self, service: str, subject: str, operation: str | None = None) -> None:
        """Delete the requests for a subject, or those of one operation on it."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM journal WHERE service = ? AND subject = ? AND operation = coalesce(?, operation)",
                (service, subject, operation),
            )

    def replay(self, application: Application) -> list[tuple[str, str, float]]:
        """Repeat all requests; return (service, subject, time) of each."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT * FROM journal ORDER BY place").fetchall()
        for _, service, subject, operation, _, seed, strings, body in rows:
            mock_random.seed(seed)
            response = call(
                application, json.loads(strings) | {"wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO()}
            )
            if not response.ok:
                log.warning("%s %s %s could not be replayed: %s", service, operation, subject, response.body[:300])
        mock_random.seed()
        return [(service, subject, timestamp) for _, service, subject, _, timestamp, *_ in rows]


class JournaledServices:
    """The WSGI application in front of moto's services other than S3."""

    def __init__(self, application: Application, journal: Journal, glue: GlueCatalogue) -> None:
        self._moto = application
        self._journal = journal
        self._glue = glue
        self._lock = threading.Lock()  # the state of moto's random numbers is global

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        service, region = signing_scope(environ)
        if service not in _SERVICES:
            return self._moto(environ, start_response)
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        operation = operation_of(environ, service, body)
        if not operation.startswith(_VERBS) or (service == "sqs" and "Message" in operation):
            return self._moto(environ, start_response)
        with self._lock:
            return self._change(service, region, operation, environ, body).send(start_response)

    def _change(self, service: str, region: str, operation: str, environ: Environ, body: bytes) -> Response:
        seed = int.from_bytes(os.urandom(7))
        mock_random.seed(seed)
        try:
            response = call(self._moto, environ)
        finally:
            mock_random.seed()
        members = members_of(environ, body)
        if response.ok and not (service == "glue" and self._glue.save(region, operation, members)):
            self._journal.write(service, "", operation, environ, body, seed=seed)
        return response
