"""The endpoint: one HTTP server, and who answers a request."""

import json
import re
import socket
import tempfile
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import waitress.server
import waitress.utilities
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask

from local_aws.wsgi import Application, Environ, StartResponse, answer, disk_message, s3_error, signed_for

HEALTH_PATH = "/_local_aws/health"
_THREADS = 16
_AMZ_HEADER = re.compile(rb"(?m)^X-Amz-[^:]*")


class Router:
    """The WSGI application of the endpoint: hands each request to the service that its signature names."""

    def __init__(self, services: Mapping[str, Application], others: Application, health: Mapping[str, Any]) -> None:
        """Route requests.

        Args:
            services: applications by the name that stands in a request's signature; "" answers unsigned requests.
            others: answers what none of them does.
            health: what the health URL says.
        """
        self._services = services
        self._others = others
        self._health = json.dumps(health).encode()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if path == HEALTH_PATH:
            return answer("200 OK", "application/json", self._health).send(start_response)
        if path.startswith("/moto-api"):  # moto's own controls, one of which forgets everything
            return answer("404 Not Found", "text/plain", b"not offered").send(start_response)
        environ["RAW_URI"] = environ["REQUEST_URI"]  # where moto looks for the path as it was sent
        service, _ = signed_for(environ)
        return self._services.get(service, self._others)(environ, start_response)


class _Task(WSGITask):
    """Leaves the names of AWS's headers as they are: SDKs take x-amz-meta-… for the spelling of a metadata key."""

    def build_response_header(self) -> bytes:
        header: bytes = super().build_response_header()
        return _AMZ_HEADER.sub(lambda match: match[0].lower(), header)


class _Nowhere:
    """Takes the rest of a body for which there is no room."""

    def append(self, data: bytes) -> None:
        """Forget it."""

    def __len__(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing to close."""


class _NoRoom(waitress.utilities.Error):
    code = 507
    reason = "Insufficient Storage"

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:  # noqa: ARG002
        body = s3_error("InternalError", self.body)
        return f"{self.code} {self.reason}", [("Content-Type", "application/xml")], body


class _Parser(HTTPRequestParser):
    """Answers where waitress would not: when the disk does not take a body, and when `Expect` comes without a body."""

    _refused: OSError | None = None

    def received(self, data: bytes) -> int:
        try:
            taken: int = super().received(data)
        except OSError as error:
            self._refused = error
            with suppress(OSError):  # it still wants to write
                self.body_rcv.buf.close()
            self.body_rcv.buf = _Nowhere()  # a client listens when it has said everything
            taken = super().received(data)
        if self.completed:
            self.expect_continue = False  # waitress would ask for the body of a request that has none, and wait for it
            if self._refused:
                self.error = _NoRoom(disk_message(self._refused, Path(tempfile.gettempdir())))
        return taken


class _Channel(HTTPChannel):
    task_class = _Task
    parser_class = _Parser


class Server:
    """The HTTP server, in a thread of its own."""

    def __init__(self, listener: socket.socket, application: Application) -> None:
        self._server = waitress.server.create_server(
            application,
            sockets=[listener],
            threads=_THREADS,
            connection_limit=1000,
            asyncore_use_poll=True,  # select() ends at 1024 files
            max_request_body_size=5 * 1024**4,  # S3's own limits are lower
            recv_bytes=256 * 1024,
            channel_timeout=300,
            outbuf_high_watermark=2 * 1024**2,  # an answer waits for its reader; each connection may hold that much
            ident="local_aws",
        )
        self._server.channel_class = _Channel
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering; requests that are being answered are given a moment."""
        self._server.task_dispatcher.shutdown(cancel_pending=True, timeout=0.3)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        OSError: the port is taken, or the host is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)
