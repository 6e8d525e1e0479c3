"""The services that are ours. Everything else is moto's."""

from collections.abc import Callable, Iterable
from typing import Protocol

from local_aws import emr
from local_aws.machine import Machine
from local_aws.wsgi import Environ, StartResponse


class Service(Protocol):
    """A WSGI application that answers for one AWS service."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        ...

    def close(self) -> None:
        """End what the service has started."""
        ...


# By the name in the credential scope of a request's signature (Credential=…/<region>/<name>/aws4_request).
# A further service is a module with such a function, and a line here.
SERVICES: dict[str, Callable[[Machine], Service]] = {
    "elasticmapreduce": emr.open_service,
}
