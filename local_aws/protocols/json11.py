"""The AWS JSON 1.1 protocol: requests are checked against botocore's service model."""

import json
import logging
import uuid
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import botocore.loaders
from botocore import xform_name
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from local_aws.protocols.errors import AwsError
from local_aws.protocols.wsgi import Environ, StartResponse, response

log = logging.getLogger(__name__)


class JsonService:
    """A WSGI application whose methods are a service's operations: `RunJobFlow` is answered by `run_job_flow`.

    An operation takes the parsed request and returns the response, both as in the service's API; times are epoch
    seconds, as this protocol sends them. Members of a response that are `None` are left out.
    """

    service: str  # its name in botocore

    @cached_property
    def _model(self) -> ServiceModel:
        return ServiceModel(botocore.loaders.Loader().load_service_model(self.service, "service-2"), self.service)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        try:
            status, document = 200, _without_none(self._call_operation(environ))
        except AwsError as error:
            status, document = error.status, {"__type": error.code, "message": error.message, **error.extra}
        except Exception as error:
            log.exception("%s failed", environ.get("HTTP_X_AMZ_TARGET"))
            status, document = 500, {"__type": "InternalFailure", "message": f"The local endpoint failed: {error!r}"}
        answer = response(
            f"{status} {'OK' if status == 200 else 'Error'}",
            "application/x-amz-json-1.1",
            json.dumps(document).encode(),
        )
        answer.headers.append(("x-amzn-RequestId", str(uuid.uuid4())))
        return answer.send(start_response)

    def _call_operation(self, environ: Environ) -> dict[str, Any]:
        name = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if name not in self._model.operation_names:
            raise AwsError("UnknownOperationException", f"{self.service} has no operation {name!r}.")
        operation = getattr(self, xform_name(name), None)
        if operation is None:
            raise AwsError(
                "UnknownOperationException", f"{name} is not offered by this local endpoint of {self.service}.", 501
            )
        try:
            request = json.loads(environ["wsgi.input"].read() or b"{}")
        except ValueError:
            raise AwsError("SerializationException", "The body of the request is not JSON.") from None
        shape = self._model.operation_model(name).input_shape
        if shape is not None and (report := ParamValidator().validate(request, shape)).has_errors():
            raise AwsError("ValidationException", " ".join(report.generate_report().split("\n")))
        return operation(request) or {}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_none(member) for member in value]
    return value
