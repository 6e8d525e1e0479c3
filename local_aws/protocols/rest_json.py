"""The AWS REST-JSON protocol: routes, parsing and serialisation by moto, from botocore's service model.

moto is imported with the first request: it reads its settings from the environment when it is imported.
"""

import json
import logging
import re
import uuid
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any

from botocore import xform_name
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from botocore.utils import parse_timestamp
from botocore.validate import ParamValidator

from local_aws.protocols.errors import AwsError
from local_aws.protocols.wsgi import Environ, Response, StartResponse, response

log = logging.getLogger(__name__)

_BAD_TYPES = (ValueError, TypeError, AttributeError)  # what moto's parser raises for a value of another type


class RestJsonService:
    """A WSGI application whose methods are a service's operations: `StartJobRun` is answered by `start_job_run`.

    An operation takes the parsed request and returns the response, both as in the service's API; times are epoch
    seconds. Members of a response that are `None` are left out.
    """

    service: str  # its name in botocore

    @cached_property
    def _router(self) -> Any:
        from moto.core.routing import RestRouter
        from moto.core.utils import get_service_model

        return RestRouter(get_service_model(self.service))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        try:
            answer = self._answer(environ)
        except AwsError as error:
            answer = _error(error)
        except Exception as error:
            log.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            answer = _error(AwsError("InternalServerException", f"The local endpoint failed: {error!r}", 500))
        answer.headers.append(("x-amzn-RequestId", str(uuid.uuid4())))
        return answer.send(start_response)

    def _answer(self, environ: Environ) -> Response:
        from moto.core.request import Request
        from moto.core.serialize import RestJSONSerializer
        from werkzeug.exceptions import NotFound

        http = Request(environ)
        try:
            operation, path = self._router.match(http)
        except NotFound:
            raise AwsError(
                "UnknownOperationException", f"{self.service} has no operation {http.method} {http.path}.", 404
            ) from None
        method = getattr(self, xform_name(operation.name), None)
        if method is None:
            raise AwsError(
                "UnknownOperationException",
                f"{operation.name} is not offered by this local endpoint of {self.service}.",
                501,
            )
        result = method(_parsed(operation, http, path)) or {}
        body = RestJSONSerializer(operation).serialize(result)["body"]
        return response("200 OK", "application/json", str(body).encode())


def _error(error: AwsError) -> Response:
    answer = response(f"{error.status} Error", "application/json", json.dumps({"message": error.message}).encode())
    answer.headers.append(("X-Amzn-ErrorType", error.code))
    return answer


def _parsed(operation: Any, http: Any, path: dict[str, Any]) -> dict[str, Any]:
    """Return the request's parameters, checked against the model."""
    from moto.core.parse import RestJSONParser

    body = http.get_data()
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise AwsError("SerializationException", "The body of the request is not a JSON object.")
    parts: Any = {
        "body": body,
        "headers": http.headers,
        "method": http.method,
        "url_params": path,
        "url_path": http.path,
        "values": http.args,
    }
    parser = RestJSONParser(operation, timestamp_parser=lambda value: parse_timestamp(value).timestamp())
    shape = operation.input_shape
    try:
        request: dict[str, Any] = parser.parse(parts)
    except _BAD_TYPES as error:
        raise AwsError("SerializationException", f"The request has a value of the wrong type: {error}.") from None
    for name, member in shape.members.items():  # moto gives a list of the query that is not there as an empty one
        if member.serialization.get("location") == "querystring" and request.get(name) == []:
            del request[name]
    request |= {name: path[name] for name in path if name in shape.members}  # the body cannot name another resource
    if (report := ParamValidator().validate(request, shape)).has_errors():
        raise AwsError("ValidationException", " ".join(report.generate_report().split("\n")))
    faults = list(_violations(shape, request, ""))
    if faults:
        count = f"{len(faults)} validation error{'s' if len(faults) > 1 else ''} detected: "
        raise AwsError("ValidationException", count + "; ".join(faults))
    return request


def _violations(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Yield what botocore, which leaves it to the service, does not check: patterns, enumerations, upper bounds."""
    failed = f"Value at '{path}' failed to satisfy constraint: Member must"
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _violations(member, value[name], f"{path}.{name}".lstrip("."))
    elif isinstance(shape, ListShape):
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{failed} have length less than or equal to {shape.metadata['max']}"
        for place, member in enumerate(value, 1):
            yield from _violations(shape.member, member, f"{path}.{place}.member")
    elif isinstance(shape, MapShape):
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{failed} have length less than or equal to {shape.metadata['max']}"
        for key, member in value.items():
            yield from _violations(shape.key, key, f"{path}.key")
            yield from _violations(shape.value, member, f"{path}.{key}")
    elif isinstance(shape, StringShape):
        pattern = shape.metadata.get("pattern")
        if shape.enum and value not in shape.enum:
            yield f"{failed} satisfy enum value set: [{', '.join(shape.enum)}]"
        elif len(value) > shape.metadata.get("max", len(value)):
            yield f"{failed} have length less than or equal to {shape.metadata['max']}"
        elif pattern and not _compiled(pattern).fullmatch(value):
            yield f"{failed} satisfy regular expression pattern: {pattern}"
    elif shape.type_name in ("integer", "long") and value > shape.metadata.get("max", value):
        yield f"{failed} have value less than or equal to {shape.metadata['max']}"


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:  # the models' patterns are Java's
        return re.compile(".*", re.DOTALL)
