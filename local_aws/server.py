"""The endpoint: one HTTP server, and who answers a request."""

import json
import socket
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import waitress.server

from local_aws.wsgi import Application, Environ, StartResponse, answer, signed_for

HEALTH_PATH = "/_local_aws/health"
_THREADS = 16


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
