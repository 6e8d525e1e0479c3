"""The process that queries come from: `python -m local_aws.athena.worker FD`.

It has loaded all that a query needs, an empty database too, and forks once a query: a query starts within milliseconds,
in a process of its own, which can be limited and killed. The endpoint asks for a process before there is a query for
it. FD is a socket to the endpoint; each message on it carries another socket, over which the endpoint and the new
process talk in JSON. A process whose endpoint has ended ends too.
"""

import gc
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from local_aws.athena.sql import commands  # noqa: F401 (so that no query has to load it)
from local_aws.athena.sql.errors import SYSTEM, QueryError
from local_aws.athena.sql.execution import CutoffError, connect, run
from local_aws.athena.sql.parsing import InvalidSqlError
from local_aws.athena.sql.request import Request
from local_aws.athena.sql.tables import GlueError, Object
from local_aws.athena.wire import receive, send


class _Endpoint:
    """What the query asks the endpoint for, over its socket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self._answers.put(receive(self._connection))
            except (EOFError, OSError):
                os._exit(1)  # the endpoint has ended, or wants no answer any more

    def next(self) -> Any:
        """Return the next message."""
        return self._answers.get()

    def call(self, name: str, *arguments: Any) -> Any:
        send(self._connection, {"call": name, "arguments": arguments})
        answer = self.next()
        if "error" in answer:
            raise GlueError(*answer["error"])
        return answer["result"]

    def glue(self, operation: str, **request: Any) -> dict[str, Any]:
        """Call Glue."""
        answer: dict[str, Any] = self.call("glue", operation, request)
        return answer

    def objects(self, locations: Sequence[str]) -> list[list[Object]]:
        """Return the objects below each folder."""
        return [[Object(*found) for found in objects] for objects in self.call("objects", list(locations))]


def _query(connection: Connection, database: Any) -> None:
    """Run the one query of this process."""
    endpoint = _Endpoint(connection)
    send(connection, {"pid": os.getpid()})
    request = Request(**endpoint.next())
    answer: dict[str, Any]
    try:
        answer = {"outcome": asdict(run(request, endpoint, database))}
    except CutoffError:
        answer = {"cutoff": True}
    except QueryError as error:
        answer = {"failure": [str(error), error.document()]}
    except InvalidSqlError as error:
        failure = QueryError("SYNTAX_ERROR", str(error))
        answer = {"failure": [str(failure), failure.document()]}
    except GlueError as error:
        failure = QueryError(error.code, str(error))
        answer = {"failure": [str(failure), failure.document()]}
    except RecursionError:
        failure = QueryError("SYNTAX_ERROR", "line 1:1: statement is too large (stack overflow during analysis)")
        answer = {"failure": [str(failure), failure.document()]}
    except Exception as error:
        failure = QueryError("GENERIC_INTERNAL_ERROR", f"{type(error).__name__}: {error}", category=SYSTEM)
        answer = {"failure": [str(failure), failure.document()]}
    send(connection, answer)


def main(descriptor: int) -> None:
    """Fork once a query until the endpoint ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    control = socket.socket(fileno=descriptor)
    database = connect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            os._exit(0)  # no clean-up of what the queries' processes have never used
        if os.fork() == 0:
            control.close()
            try:
                _query(Connection(descriptors[0]), database)
            finally:
                os._exit(0)
        os.close(descriptors[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))
