"""The HTTP server of the endpoint, and the choice of the service that answers a request."""

import json
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import waitress.server
import waitress.utilities
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask

from local_aws.protocols.rest_xml import insufficient_storage
from local_aws.protocols.wsgi import Application, Environ, Response, StartResponse, response, signing_scope

HEALTH_PATH = "/_local_aws/health"
RESET_PATH = "/_local_aws/reset"
_THREADS = 16
_AMZ_HEADER = re.compile(rb"(?m)^X-Amz-[^:]*")


class Router:
    """The WSGI application of the endpoint: hands each request to the service that its signature names."""

    def __init__(
        self,
        services: Mapping[str, Application],
        default: Application,
        health: Mapping[str, Any],
        reset: Callable[[], None] | None = None,
    ) -> None:
        """Route requests.

        Args:
            services: applications by the service name in a request's signature.
            default: answers the requests for all other services, and those that are not signed.
            health: the document that the health URL returns.
            reset: ends all that runs and forgets all that is stored; None if that is not allowed.
        """
        self._services = services
        self._default = default
        self._health = json.dumps(health).encode()
        self._reset = reset

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if path == HEALTH_PATH:
            return response("200 OK", "application/json", self._health).send(start_response)
        if path == RESET_PATH:
            return self._answer_reset(environ).send(start_response)
        if path.startswith("/moto-api"):  # moto's own controls, one of which deletes everything
            return response("404 Not Found", "text/plain", b"not offered").send(start_response)
        environ["RAW_URI"] = environ["REQUEST_URI"]  # where moto looks for the path as it was sent
        service, _ = signing_scope(environ)
        if path.startswith("/_local_aws/"):  # a service's own pages, which a browser asks for without a signature
            service = path.split("/")[2]
        return self._services.get(service, self._default)(environ, start_response)

    def _answer_reset(self, environ: Environ) -> Response:
        if self._reset is None:
            return response("404 Not Found", "text/plain", b"not offered: the endpoint runs without --allow-reset\n")
        if environ["REQUEST_METHOD"] != "POST" or "HTTP_ORIGIN" in environ:  # a browser sends a page's requests with it
            return response("403 Forbidden", "text/plain", b"a reset is a POST, and not that of a web page\n")
        self._reset()
        return response("200 OK", "text/plain", b"")


class _Task(WSGITask):  # type: ignore[misc]
    """Keeps the case of AWS's headers: SDKs take the spelling of x-amz-meta-… for that of the metadata key."""

    def build_response_header(self) -> bytes:
        header: bytes = super().build_response_header()
        return _AMZ_HEADER.sub(lambda match: match[0].lower(), header)


class _DiscardBuffer:
    """Discards the rest of a request body for which there is no disk space."""

    def append(self, data: bytes) -> None:
        """Discard it."""

    def __len__(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing to close."""


class _InsufficientStorage(waitress.utilities.Error):  # type: ignore[misc]
    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:  # noqa: ARG002
        full = insufficient_storage(self.body, Path(tempfile.gettempdir()))  # the body is the OSError
        return full.status, full.headers, full.body


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Answers where the disk is full."""

    _disk_error: OSError | None = None

    def received(self, data: bytes) -> int:
        try:
            consumed: int = super().received(data)
        except OSError as error:
            self._disk_error = error
            with suppress(OSError):  # it flushes what it has
                self.body_rcv.buf.close()
            self.body_rcv.buf = _DiscardBuffer()  # a client reads the response only when it has sent everything
            consumed = super().received(data)
        if self.completed and self._disk_error:
            self.error = _InsufficientStorage(self._disk_error)
        if self.error:
            self.expect_continue = False
        return consumed


class _Channel(HTTPChannel):  # type: ignore[misc]
    task_class = _Task
    parser_class = _Parser

    def send_continue(self) -> None:
        """Answer `Expect: 100-continue`, as S3 does whatever the length of the body.

        waitress would then wait for a body also where there is none; and if no such answer precedes the response, older
        versions of botocore cannot use the connection any more.
        """
        completed = self.request.completed
        super().send_continue()
        self.request.completed = completed


class Server:
    """The HTTP server, in a thread of its own."""

    def __init__(self, listener: socket.socket, application: Application) -> None:
        self._server = waitress.server.create_server(
            application,
            sockets=[listener],
            threads=_THREADS,
            connection_limit=1000,
            asyncore_use_poll=True,  # select() is limited to 1024 files
            max_request_body_size=5 * 1024**4,  # S3's own limits are lower
            recv_bytes=256 * 1024,
            channel_timeout=300,
            outbuf_high_watermark=2 * 1024**2,  # bytes that a response may hold until its client reads them
            ident="local_aws",
        )
        self._server.channel_class = _Channel
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering; requests that are being answered get 0.3 s."""
        self._server.task_dispatcher.shutdown(cancel_pending=True, timeout=0.3)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        OSError: the port is in use, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)
