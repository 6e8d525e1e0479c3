"""An error in the protocol of the request, for requests of which no more is known than their headers."""

import json
import uuid
from xml.sax.saxutils import escape

from local_aws.protocols.errors import AwsError
from local_aws.protocols.wsgi import Environ, Response, response

_REST_XML = ("s3", "s3express", "cloudfront", "route53")  # by the name that signs
_UNKNOWN_OPERATION = {"ec2": "InvalidAction", "query": "InvalidAction", "rest-xml": "NotImplemented"}


def protocol(environ: Environ, service: str) -> str:
    """Return the protocol of a request: cbor, json, ec2, query, rest-xml or rest-json."""
    if "HTTP_SMITHY_PROTOCOL" in environ:
        return "cbor"
    if "HTTP_X_AMZ_TARGET" in environ:
        return "json"
    if service in _REST_XML:
        return "rest-xml"
    if "Action=" in environ.get("QUERY_STRING", "") or "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", ""):
        return "ec2" if service == "ec2" else "query"
    return "rest-json"


def not_offered(environ: Environ, service: str, message: str) -> Response:
    """Return AWS's error for an operation that does not exist; its status is 501, which SDKs do not repeat."""
    code = _UNKNOWN_OPERATION.get(protocol(environ, service), "UnknownOperationException")
    return error_response(environ, service, AwsError(code, message, 501))


def error_response(environ: Environ, service: str, error: AwsError) -> Response:
    """Return the response that tells a client of the service this error."""
    kind, request = protocol(environ, service), str(uuid.uuid4())
    if kind == "cbor":
        content_type, body = "application/cbor", _cbor({"__type": error.code, "message": error.message})
    elif kind in ("json", "rest-json"):
        content_type = "application/json"
        if kind == "json":
            content_type = "application/x-amz-json-" + ("1.0" if "1.0" in environ.get("CONTENT_TYPE", "") else "1.1")
        body = json.dumps({"__type": error.code, "message": error.message}).encode()
    else:
        content_type, body = "text/xml", _xml(kind, service, request, error).encode()
    answer = response(f"{error.status} Error", content_type, body)
    answer.headers.append(("x-amzn-RequestId", request))
    if kind == "rest-json":
        answer.headers.append(("x-amzn-ErrorType", error.code))
    if kind == "cbor":
        answer.headers.append(("smithy-protocol", "rpc-v2-cbor"))
    return answer


def _xml(kind: str, service: str, request: str, error: AwsError) -> str:
    inner = f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
    header = '<?xml version="1.0" encoding="UTF-8"?>\n'
    if service in ("s3", "s3express"):
        return f"{header}<Error>{inner}<RequestId>{request}</RequestId></Error>"
    if kind == "ec2":
        return f"{header}<Response><Errors><Error>{inner}</Error></Errors><RequestID>{request}</RequestID></Response>"
    fault = "Sender" if error.status < 500 else "Receiver"
    return (
        f"{header}<ErrorResponse><Error><Type>{fault}</Type>{inner}</Error>"
        f"<RequestId>{request}</RequestId></ErrorResponse>"
    )


def _cbor(document: dict[str, str]) -> bytes:
    def text(value: str) -> bytes:
        data = value.encode()
        return b"\x79" + len(data).to_bytes(2, "big") + data

    return bytes([0xA0 + len(document)]) + b"".join(text(name) + text(value) for name, value in document.items())
