"""What a request of any protocol asks for."""

import json
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import botocore.parsers
from botocore.exceptions import UnknownServiceError
from moto.core.request import Request
from moto.core.routing import get_service_router
from werkzeug.exceptions import NotFound

from local_aws.protocols.wsgi import Environ

# Names of services in botocore, where they differ from the name that signs.
_MODELS = {
    "airflow": "mwaa",
    "aps": "amp",
    "bedrock": "bedrock-runtime",
    "elasticfilesystem": "efs",
    "es": "opensearch",
    "ses": "sesv2",
}


def operation_of(environ: Environ, service: str, body: bytes) -> str:
    """Return the name of the operation that a request asks for; its method and path if that is not known."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    path = str(environ["PATH_INFO"])
    if "HTTP_SMITHY_PROTOCOL" in environ:
        return path.rpartition("/")[2]
    if action := parse_qs(environ.get("QUERY_STRING", "")).get("Action"):
        return str(action[0])
    if "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", "") and service != "s3":
        return parse_qs(body.decode("latin-1")).get("Action", [f"{environ['REQUEST_METHOD']} {path}"])[0]
    try:
        return str(get_service_router(_MODELS.get(service, service)).match(Request(dict(environ)))[0].name)
    except (NotFound, NotImplementedError, UnknownServiceError):
        return f"{environ['REQUEST_METHOD']} {path}"


def members_of(environ: Environ, body: bytes) -> dict[str, Any]:
    """Return the members of a request; with the query protocol, those of structures have names such as `A.member.1`."""
    if "HTTP_SMITHY_PROTOCOL" in environ:
        parser = botocore.parsers.RpcV2CBORParser()
        document = parser.parse_data_item(parser.get_peekable_stream_from_bytes(body)) if body else {}
    elif "HTTP_X_AMZ_TARGET" in environ:
        try:
            document = json.loads(body or b"{}")
        except ValueError:
            document = {}
    else:
        document = dict(parse_qsl(environ.get("QUERY_STRING", "")) + parse_qsl(body.decode("latin-1")))
    return document if isinstance(document, dict) else {}
