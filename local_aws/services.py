"""The services that this package implements; moto answers for all others."""

from collections.abc import Callable, Iterable
from typing import Protocol

from local_aws import emr, emr_serverless
from local_aws.context import Context
from local_aws.protocols.wsgi import Environ, StartResponse


class Service(Protocol):
    """A WSGI application that answers for one AWS service."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        ...

    def close(self) -> None:
        """End what the service has started."""
        ...


# By the name in the credential scope of a request's signature (Credential=…/<region>/<name>/aws4_request).
# A further service is a package with such a function, and a line here.
SERVICES: dict[str, Callable[[Context], Service]] = {
    "elasticmapreduce": emr.open_service,
    "emr-serverless": emr_serverless.open_service,
}
