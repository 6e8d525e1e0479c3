"""The endpoint: one HTTP server, and who answers a request."""

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import waitress.server

from local_aws.services import Service

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

HEALTH_PATH = "/_local_aws/health"
_THREADS = 16
_SCOPE = re.compile(r"Credential=[^/]+/[^/]+/[^/]+/([^/]+)/aws4_request")


def moto_application() -> Application:
    """Return moto's WSGI application, for every service that is not ours."""
    # A web page must not read what is here; and a name in front of the host is not a bucket but, in a cluster, us.
    os.environ.update(MOTO_DISABLE_GLOBAL_CORS="true", S3_IGNORE_SUBDOMAIN_BUCKETNAME="true")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


class Router:
    """The WSGI application of the endpoint: hands each request to the service that its signature names."""

    def __init__(self, services: Mapping[str, Service], others: Application, health: Mapping[str, Any]) -> None:
        self._services = services
        self._others = others
        self._health = json.dumps(health).encode()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if path == HEALTH_PATH:
            return _answer(start_response, "200 OK", "application/json", self._health)
        if path.startswith("/moto-api"):  # moto's own controls, one of which forgets everything
            return _answer(start_response, "404 Not Found", "text/plain", b"not offered")
        environ["RAW_URI"] = environ["REQUEST_URI"]  # where moto looks for the path as it was sent
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        service = self._services.get(scope[1]) if scope else None
        return (service or self._others)(environ, start_response)


def _answer(start_response: StartResponse, status: str, content_type: str, body: bytes) -> Iterable[bytes]:
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


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
            channel_timeout=300,
            ident="local_aws",
        )
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
