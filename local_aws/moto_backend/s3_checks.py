"""What S3 checks before it carries out a request, and moto does not: conditions, expiry, the length of keys, parts."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode

from local_aws.moto_backend.s3_classes import Key
from local_aws.protocols.errors import AwsError
from local_aws.protocols.wsgi import Environ

Find = Callable[[str, str, str | None], Any]  # (bucket, key, version) → the object; None if there is none

_MAX_KEY_BYTES = 1024
_POLICY = re.compile(rb'name="policy"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]+)')


def check_key(key: str) -> None:
    """Refuse a key, as it is in PATH_INFO, that is too long."""
    if len(key.encode("latin-1")) > _MAX_KEY_BYTES:
        raise AwsError("KeyTooLongError", f"Your key is too long: the maximum is {_MAX_KEY_BYTES} bytes in UTF-8.")


def check_expiry(environ: Environ, now: datetime) -> None:
    """Refuse a presigned URL that has expired."""
    if "Expires=" not in environ["QUERY_STRING"]:
        return
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    try:
        if "X-Amz-Expires" in query:
            seconds = int(query["X-Amz-Expires"])
            if not 1 <= seconds <= 604800:
                raise AwsError(
                    "AuthorizationQueryParametersError", "X-Amz-Expires must be between 1 and 604800 seconds (a week)."
                )
            signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            expiry = signed + timedelta(seconds=seconds)
        elif "Signature" in query and "Expires" in query:  # signature version 2
            expiry = datetime.fromtimestamp(int(query["Expires"]), UTC)
        else:
            return
    except (KeyError, ValueError, OverflowError):
        raise AwsError("AccessDenied", "The presigned URL has no valid date of its expiry.", 403) from None
    if now > expiry:
        raise AwsError("AccessDenied", f"Request has expired: it was valid until {expiry:%Y-%m-%dT%H:%M:%SZ}.", 403)


def check_form(body: bytes, now: datetime) -> None:
    """Refuse a presigned form whose policy has expired."""
    found = _POLICY.search(body)
    if not found:
        return
    try:
        expiry = datetime.fromisoformat(json.loads(base64.b64decode(found[1]))["expiration"])
    except (ValueError, KeyError, TypeError):
        raise AwsError("InvalidPolicyDocument", "The policy of the form has no valid expiration.") from None
    if now > expiry:
        raise AwsError("AccessDenied", "Invalid according to Policy: Policy expired.", 403)


def is_conditional(environ: Environ) -> bool:
    """Return whether a write depends on what exists."""
    return any(f"HTTP_{name}" in environ for name in ("IF_MATCH", "IF_NONE_MATCH"))


def check_conditions(environ: Environ, bucket: str, key: str, find: Find) -> None:
    """Refuse a write whose conditions, of the object or of the source of a copy, do not hold."""
    if environ["REQUEST_METHOD"] in ("PUT", "POST"):  # moto checks those of a DELETE
        _check_target(environ, find(bucket, key, None))
    if "HTTP_X_AMZ_COPY_SOURCE" not in environ:
        return
    source, _, version = environ["HTTP_X_AMZ_COPY_SOURCE"].partition("?versionId=")
    from_bucket, _, from_key = unquote(source).lstrip("/").partition("/")
    found = find(from_bucket, from_key, version or None)
    if found is not None:  # else moto says so
        _check_source(environ, found)


def _check_target(environ: Environ, found: Any) -> None:
    unless, wanted = environ.get("HTTP_IF_NONE_MATCH"), environ.get("HTTP_IF_MATCH")
    if unless is not None and unless != "*":
        raise AwsError(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented: "
            "If-None-Match of a write can only be *.",
            501,
        )
    if unless and found is not None:
        raise _precondition("If-None-Match")
    if wanted is not None and found is None:
        raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
    if wanted is not None and not _same(wanted, found):
        raise _precondition("If-Match")


def _check_source(environ: Environ, found: Any) -> None:
    def given(name: str) -> str | None:
        return environ.get(f"HTTP_X_AMZ_COPY_SOURCE_IF_{name}")

    # Of two conditions that contradict each other the one on the ETag counts.
    match, unless = given("MATCH"), given("NONE_MATCH")
    if match is not None and not _same(match, found):
        raise _precondition("x-amz-copy-source-If-Match")
    if unless is not None and _same(unless, found):
        raise _precondition("x-amz-copy-source-If-None-Match")
    modified = found.last_modified.replace(microsecond=0, tzinfo=found.last_modified.tzinfo or UTC)
    before, after = _date(given("UNMODIFIED_SINCE")), _date(given("MODIFIED_SINCE"))
    if match is None and before is not None and modified > before:
        raise _precondition("x-amz-copy-source-If-Unmodified-Since")
    if unless is None and after is not None and modified <= after:
        raise _precondition("x-amz-copy-source-If-Modified-Since")


def _same(etag: str, found: Any) -> bool:
    return etag == "*" or etag.strip('"') == found.etag.strip('"')


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise AwsError("InvalidArgument", f"{text!r} is not a date.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _precondition(condition: str) -> AwsError:
    message = f"At least one of the pre-conditions you specified did not hold: {condition}."
    return AwsError("PreconditionFailed", message, 412)


@dataclass(frozen=True)
class Part:
    """A part that a request asks for.

    Attributes:
        count: how many parts the object has; None if it was not uploaded in parts.
    """

    count: int | None


def take_part(environ: Environ, bucket: str, key: str, find: Find) -> Part | None:
    """Return the part of an object that a GET or HEAD asks for, and make that a request for a range.

    Raises:
        AwsError: there is no such part.
    """
    if "partNumber=" not in environ["QUERY_STRING"]:
        return None
    query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    if "partNumber" not in query or "uploadId" in query:
        return None
    if "HTTP_RANGE" in environ:
        raise AwsError("InvalidRequest", "Cannot specify both Range header and partNumber query parameter.")
    (number, *_) = query.pop("partNumber")
    found = find(bucket, key, query.get("versionId", [None])[0])
    if not isinstance(found, Key):
        return None
    sizes = dict(found.part_sizes or [(1, found.size)])
    if not number.isdecimal() or int(number) not in sizes:
        raise AwsError("InvalidPartNumber", "The requested partnumber is not satisfiable.", 416)
    first = sum(size for other, size in sizes.items() if other < int(number))
    environ["QUERY_STRING"] = urlencode(query, doseq=True)
    environ["RAW_URI"] = environ["RAW_URI"].partition("?")[0] + "?" + environ["QUERY_STRING"]
    if found.size:
        environ["HTTP_RANGE"] = f"bytes={first}-{first + sizes[int(number)] - 1}"
    return Part(len(sizes) if found.part_sizes else None)
