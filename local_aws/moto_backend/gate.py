"""The WSGI application in front of moto: it lets through what is offered, and refuses everything else."""

import io
import logging
from collections.abc import Iterable
from functools import partial
from urllib.parse import parse_qs

from local_aws.moto_backend.offered import OFFERED
from local_aws.moto_backend.requests import members_of, operation_of
from local_aws.protocols.error_response import error_response, not_offered
from local_aws.protocols.errors import AwsError
from local_aws.protocols.wsgi import Application, Environ, Response, StartResponse, signing_scope

log = logging.getLogger(__name__)

_README = "local_aws/README.md lists what is executed, what is kept and what is refused."
_UNSIGNED = ("AssumeRoleWithSAML", "AssumeRoleWithWebIdentity")  # operations of STS


class Gate:
    """Lets through what `OFFERED` lists."""

    def __init__(self, s3: Application, others: Application) -> None:
        """Guard moto.

        Args:
            s3: answers for S3.
            others: answers for all other services that are offered.
        """
        self._s3 = s3
        self._others = others

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        service, region = signing_scope(environ)
        body = b""
        if service not in ("", "s3"):
            body = environ["wsgi.input"].read()
            environ["wsgi.input"] = io.BytesIO(body)
        try:
            service = service or _unsigned_service(environ)
            if refused := _refusal(environ, service, body):
                return _send(refused, environ, start_response)
            if service == "s3":
                return self._s3(environ, start_response)
            # moto looks for the service in this header alone
            environ.setdefault("HTTP_AUTHORIZATION", f"AWS4-HMAC-SHA256 Credential=x/x/{region}/{service}/aws4_request")
            return self._others(environ, start_response)
        except AwsError as error:
            answer = error_response(environ, service, error)
        except NotImplementedError as error:
            operation = operation_of(environ, service, body)
            log.info("%s of %s: %s", operation, service, error)
            answer = not_offered(
                environ, service, f"{operation} of {service} is not implemented by this local endpoint: {error}."
            )
        except Exception as error:
            operation = operation_of(environ, service, body)
            log.exception("%s of %s failed", operation, service)
            message = f"{operation} of {service} failed in the local endpoint: {error!r}"
            answer = error_response(environ, service, AwsError("InternalFailure", message, 500))
        return _send(answer, environ, start_response)


def _send(answer: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    content = answer.send(start_response)
    return () if environ["REQUEST_METHOD"] == "HEAD" else content


def _unsigned_service(environ: Environ) -> str:
    """Return the service of a request without a signature: S3, but for the operations that only others have.

    Raises:
        AwsError: the operation needs a signature.
    """
    if "HTTP_X_AMZ_TARGET" not in environ and environ["PATH_INFO"] != "/":
        return "s3"
    body = environ["wsgi.input"].read()
    environ["wsgi.input"] = io.BytesIO(body)
    operation = operation_of(environ, "s3" if environ["REQUEST_METHOD"] in ("GET", "HEAD") else "", body)
    if operation in _UNSIGNED:
        return "sts"
    if operation == "ListBuckets" or environ["REQUEST_METHOD"] not in ("GET", "POST"):
        return "s3"
    raise AwsError("MissingAuthenticationToken", f"The request for {operation} must be signed.", 403)


def _refusal(environ: Environ, service: str, body: bytes) -> Response | None:
    """Return the response to a request that is refused, None if it may go to moto."""
    if service == "s3":
        reason = _s3_refusal(environ)
    elif service in OFFERED:
        members = partial(members_of, environ, body)
        reason = OFFERED[service].refusal(operation_of(environ, service, body), members)
    else:
        reason = f"the local endpoint does not execute {service}"
    if reason is None:
        return None
    message = f"{operation_of(environ, service, body)} of {service} is refused: {reason}. {_README}"
    return not_offered(environ, service, message)


# moto takes the requests for these settings for requests for the bucket or the object itself: it would list, replace or
# delete that. S3 Select, which AWS no longer offers to new customers, it answers by another SQL.
_BUCKETS_LACK = {
    *("abac", "analytics", "intelligent-tiering", "metadataConfiguration", "metadataTable", "metrics"),
    *("metadataAnnotationTable", "metadataInventoryTable", "metadataJournalTable", "requestPayment", "session"),
}
_OBJECTS_LACK = {"annotation", "encryption", "renameObject", "select", "torrent"}


def _s3_refusal(environ: Environ) -> str | None:
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    if path.startswith("/v20180820/"):
        return "S3 Control is not executed by the local endpoint"
    if path == "/WriteGetObjectResponse":
        return "Object Lambda is not executed by the local endpoint"
    if not environ["QUERY_STRING"]:
        return None
    settings = parse_qs(environ["QUERY_STRING"], keep_blank_values=True).keys()
    if path.strip("/").partition("/")[2]:
        lacking = _OBJECTS_LACK | ({"retention"} if method == "GET" else set())
    else:
        lacking = _BUCKETS_LACK | ({"inventory"} if method == "DELETE" else set())
    if found := lacking & settings:
        return f"?{min(found)} is not implemented here"
    if "notification" in settings and method == "PUT":
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        if any(name in body for name in (b"CloudFunction", b"LambdaFunction", b"EventBridge")):
            return "events are delivered to SQS and SNS only, not to Lambda or EventBridge"
    return None
