"""Files that come from elsewhere: on the web, on S3, or of this machine."""

import hashlib
import http.client
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from botocore.exceptions import BotoCoreError, ClientError

from taxiway.core.dataset_list import public_url
from taxiway.core.errors import RetryableError
from taxiway.core.s3 import split
from taxiway.lake.store import LakeError

_SCHEMES = ("https", "http", "file", "s3")
_TIMEOUT_S = 60
_BYTES_AT_ONCE = 1 << 20


class SourceError(LakeError):
    """A source cannot be used; the text is one sentence that names it, the fault and the remedy."""

    kind = "unreadable"


class UnavailableError(SourceError, RetryableError):
    """The source cannot be read now."""


def fetch(address: str, target: Path, session: Any) -> str:
    """Write a source to a file; return its SHA-256 in hexadecimal.

    Args:
        address: ``https``, ``http``, ``file`` or ``s3``.
        target: to write.
        session: a ``boto3.Session``.

    Raises:
        SourceError: it cannot be read.
        UnavailableError: it cannot be read now, or is cut short.
    """
    scheme = urlsplit(address).scheme
    if scheme not in _SCHEMES:
        raise SourceError(
            f"{public_url(address)} is no address of a file: write https://…, http://…, s3://… or file:///…."
        )
    (_from_s3 if scheme == "s3" else _from_url)(address, target, session)
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_s3(address: str, target: Path, session: Any) -> None:
    try:
        session.client("s3").download_file(*split(address), str(target))
    except ClientError as error:
        code = error.response["Error"]["Code"]
        fault = "is not there" if code in ("404", "NoSuchKey", "NoSuchBucket") else f"cannot be read ({code})"
        raise SourceError(f"{address} {fault}: put the file there, or name another source.") from None
    except BotoCoreError as error:
        raise UnavailableError(f"{address} cannot be read: {str(error).rstrip('.')}.") from None


def _from_url(address: str, target: Path, _session: Any) -> None:
    name, size = public_url(address), 0
    try:
        request = Request(  # noqa: S310 - the scheme was checked
            address, headers={"User-Agent": "taxiway", "Accept-Encoding": "identity"}
        )
        with urlopen(request, timeout=_TIMEOUT_S) as source, target.open("wb") as file:  # noqa: S310
            while part := source.read(_BYTES_AT_ONCE):
                file.write(part)
                size += len(part)
            promised = source.headers.get("Content-Length")
    except HTTPError as error:
        kind = UnavailableError if error.code >= 500 or error.code in (408, 429) else SourceError
        raise kind(f"{name} was answered by {error.code} {error.reason}: check the address.") from None
    except URLError as error:
        kind = SourceError if isinstance(error.reason, FileNotFoundError | IsADirectoryError) else UnavailableError
        raise kind(f"{name} cannot be read: {error.reason}.") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnavailableError(f"{name} cannot be read: {error or type(error).__name__}.") from None
    if promised and promised.isdecimal() and size != int(promised):
        raise UnavailableError(f"{name} is cut short: {size:,} of {int(promised):,} bytes came.")
