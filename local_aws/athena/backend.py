"""S3 and Glue as Athena uses them: inside this process, without HTTP."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local_aws.athena.processes import ServeError
from local_aws.moto_backend.s3_store import S3Store
from local_aws.protocols.wsgi import Application, call


class Backend:
    """Reads and writes the objects and the catalogue."""

    def __init__(self, s3: S3Store, moto: Application) -> None:
        self._s3 = s3
        self._moto = moto

    def glue(self, region: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call Glue of a region as an SDK does.

        Raises:
            ServeError: Glue answered with an error.
        """
        body = json.dumps(request).encode()
        scope = f"Credential=local/20240101/{region}/glue/aws4_request"
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "REQUEST_URI": "/",
            "RAW_URI": "/",
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_TYPE": "application/x-amz-json-1.1",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_HOST": f"glue.{region}.amazonaws.com",
            "HTTP_X_AMZ_TARGET": f"AWSGlue.{operation}",
            "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        response = call(self._moto, environ)
        answer: dict[str, Any] = json.loads(response.body or b"{}")
        if not response.ok:
            code = str(answer.get("__type", "InternalError")).rpartition("#")[2]
            raise ServeError(code, answer.get("message") or answer.get("Message") or code)
        return answer

    def has_bucket(self, uri: str) -> bool:
        """Return whether the bucket of an address exists."""
        return self._s3.files(split(uri)[0], "\0") is not None

    def objects(self, locations: Sequence[str]) -> list[list[tuple[str, int, str]]]:
        """Return (address, size, file) of the objects below each s3:// folder.

        Raises:
            ServeError: a bucket does not exist.
        """
        found = []
        for location in locations:
            bucket, prefix = split(location)
            files = self._s3.files(bucket, f"{prefix.rstrip('/')}/" if prefix.strip("/") else "")
            if files is None:
                raise ServeError("NoSuchBucket", f"The specified bucket does not exist: {bucket}")
            found.append([(f"s3://{bucket}/{key}", size, str(path)) for key, size, path in files])
        return found

    def put(self, objects: Sequence[tuple[str, Path]]) -> None:
        """Put files as objects, all or none.

        Raises:
            ServeError: a bucket does not exist.
        """
        places = [(*split(uri), path) for uri, path in objects]
        for bucket in {bucket for bucket, _, _ in places}:
            if self._s3.files(bucket, "\0") is None:
                raise ServeError("NoSuchBucket", f"The specified bucket does not exist: {bucket}")
        self._s3.put_files(places)

    def delete(self, uris: Sequence[str]) -> None:
        """Delete objects, all or none."""
        self._s3.delete_files([split(uri) for uri in uris])

    def file(self, uri: str) -> Path | None:
        """Return the file of an object, None if there is none."""
        bucket, key = split(uri)
        return next((path for name, _, path in self._s3.files(bucket, key) or () if name == key), None)


def split(uri: str) -> tuple[str, str]:
    """Return bucket and key of an s3:// address."""
    address = urlsplit(
        uri.replace("s3a://", "s3://").replace("s3n://", "s3://").replace("#", "%23").replace("?", "%3F")
    )
    return address.netloc, address.path.lstrip("/").replace("%23", "#").replace("%3F", "?")
