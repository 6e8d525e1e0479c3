"""The few words of WSGI that the parts of the endpoint speak with each other."""

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_SCOPE = re.compile(r"Credential=[^/]+/[^/]+/([^/]+)/([^/]+)/aws4_request")


def signed_for(environ: Environ) -> tuple[str, str]:
    """Return the service and the region that a request is signed for, two empty texts if it is not signed."""
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    return (scope[2], scope[1]) if scope else ("", "")


@dataclass(frozen=True)
class Answer:
    """The whole answer of an application."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def good(self) -> bool:
        """Whether the request was carried out."""
        return self.status.startswith("2")

    def send(self, start_response: StartResponse) -> Iterable[bytes]:
        """Hand it on."""
        start_response(self.status, self.headers)
        return [self.body]


def answer(status: str, content_type: str, body: bytes) -> Answer:
    """Return an answer with this body."""
    return Answer(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))], body)


def call(application: Application, environ: Environ) -> Answer:
    """Let an application answer, to the end."""
    started: list[Any] = []
    pieces = application(environ, lambda *arguments: started.extend(arguments))
    try:
        body = b"".join(pieces)
    finally:
        if close := getattr(pieces, "close", None):
            close()
    return Answer(started[0], started[1], body)


def s3_error(code: str, message: str) -> bytes:
    """Return the XML document by which S3 says an error."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    ).encode()


def disk_message(error: Exception, folder: Path) -> str:
    """Say that the disk of a folder did not take what it should keep."""
    free = shutil.disk_usage(folder).free / 1024**2
    return f"The disk of {folder} did not take this ({error}; {free:.0f} MiB free); what was stored before is unharmed."
