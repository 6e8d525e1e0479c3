"""The processes of queries, seen from the endpoint: started, measured, cancelled."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import psutil

from local_aws.athena.wire import receive, send

log = logging.getLogger(__name__)

_CHECK_S = 0.1  # between two looks at a query's memory and cancellation


@dataclass(frozen=True)
class Ended:
    """How a query's process ended: with its answer, or because it was ended."""

    answer: dict[str, Any] | None = None
    cancelled: bool = False
    too_large: bool = False
    pid: int = 0  # of a process that has answered, and may not be gone yet

    def wait(self) -> None:
        """Return when the process is gone: its files may then be removed."""
        deadline = time.monotonic() + 2
        while self.pid and time.monotonic() < deadline and psutil.pid_exists(self.pid):
            time.sleep(0.002)


class Workers:
    """Starts a process for each query, by a process that has loaded all that queries need.

    All of them end when the endpoint does, because their connections to it do.
    """

    def __init__(self, memory: int) -> None:
        """Prepare; nothing is started before the first query.

        Args:
            memory: bytes of resident memory of one query.
        """
        self._memory = memory
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._spare: Connection | None = None  # to a process that waits for a query

    def run(self, request: Any, serve: Callable[[str, list[Any]], Any], cancelled: threading.Event) -> Ended:
        """Run one query to its end.

        Args:
            request: an `execution.Request`.
            serve: answers what the query asks for: (name, arguments); a ServeError is passed on.
            cancelled: ends the query when set.
        """
        with self._take() as connection:
            pid, answered = 0, False
            try:
                send(connection, asdict(request))
                checked = time.monotonic()
                while True:
                    if cancelled.is_set():
                        return Ended(cancelled=True)
                    if time.monotonic() - checked >= _CHECK_S and pid:
                        checked = time.monotonic()
                        if _resident(pid) > self._memory:
                            return Ended(too_large=True)
                    if not connection.poll(_CHECK_S):
                        continue
                    message = receive(connection)
                    if "pid" in message:
                        pid = message["pid"]
                    elif "call" in message:
                        send(connection, _served(serve, message))
                    else:
                        answered = True
                        return Ended(message, pid=pid)
            except (EOFError, OSError):
                return Ended()
            finally:
                if pid and not answered:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    Ended(pid=pid).wait()

    def _take(self) -> Connection:
        """Return the connection to a process without a query, and have the next one started."""
        with self._lock:
            if self._server is None or self._server.poll() is not None:  # not yet started, or killed
                self._stop()
                self._start()
            taken = self._spare or self._fork()
            self._spare = self._fork()
            return taken

    def _fork(self) -> Connection:
        assert self._control is not None
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"q"], [theirs.fileno()])
        return Connection(ours.detach())

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "local_aws.athena.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._control = ours

    def _stop(self) -> None:
        if self._spare is not None:
            self._spare.close()
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(timeout=1)
            self._server.kill()
            self._server.wait()
        self._server = self._control = self._spare = None


class ServeError(Exception):
    """What a query asked for failed: a code and a message of AWS."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _served(serve: Callable[[str, list[Any]], Any], message: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": serve(message["call"], message["arguments"])}
    except ServeError as error:
        return {"error": [error.code, str(error)]}
    except Exception as error:
        log.exception("a query's %s failed", message["call"])
        return {"error": ["InternalError", repr(error)]}


def _resident(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
