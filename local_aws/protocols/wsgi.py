"""WSGI types, and the few functions that all parts of the endpoint need to handle requests and responses."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_SCOPE = re.compile(r"Credential=[^/]+/[^/]+/([^/]+)/([^/]+)/aws4_request")


def signing_scope(environ: Environ) -> tuple[str, str]:
    """Return the service and the region that a request is signed for, two empty strings if it is not signed.

    The signature is in a header, or in the query of a presigned URL.
    """
    given = environ.get("HTTP_AUTHORIZATION") or unquote(environ.get("QUERY_STRING", ""))
    scope = _SCOPE.search(given)
    return (scope[2], scope[1]) if scope else ("", "")


@dataclass(frozen=True)
class Response:
    """A complete HTTP response."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the request was successful."""
        return self.status.startswith("2")

    def send(self, start_response: StartResponse) -> Iterable[bytes]:
        """Return it from a WSGI application."""
        start_response(self.status, self.headers)
        return [self.body]


def response(status: str, content_type: str, body: bytes) -> Response:
    """Return a response with this body."""
    return Response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))], body)


def call(application: Application, environ: Environ) -> Response:
    """Call the WSGI application and collect the full response."""
    started: list[Any] = []
    chunks = application(environ, lambda *arguments: started.extend(arguments))
    try:
        body = b"".join(chunks)
    finally:
        if close := getattr(chunks, "close", None):
            close()
    return Response(started[0], started[1], body)
