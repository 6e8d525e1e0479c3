"""The services that this package implements; moto answers for those that it may keep, and all others are refused.

`python -m local_aws.services` writes the list of all of them into README.md.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from local_aws import athena, emr, emr_serverless
from local_aws.context import Context
from local_aws.moto_backend.offered import OFFERED
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
    "athena": athena.open_service,
    "elasticmapreduce": emr.open_service,
    "emr-serverless": emr_serverless.open_service,
}


def open_services(context: Context) -> dict[str, Service]:
    """Open all of them, with what they have stored."""
    return {name: open_service(context) for name, open_service in SERVICES.items()}


README = Path(__file__).with_name("README.md")
_LIST = re.compile(r"(?s)(?<=<!-- services -->\n).*(?=<!-- /services -->)")


def with_list(readme: str) -> str:
    """Return the text of README.md with the list of the services as it is in the code."""
    lines = ["| service | | what is refused |", "|---|---|---|"]
    for name, open_service in SERVICES.items():
        about = (inspect.getdoc(inspect.getmodule(open_service)) or "").partition("\n")[0]
        lines.append(f"| `{name}` | **executed**: {about} | |")
    lines += [
        f"| `{name}` | kept: {offer.kept} | {offer.refused} |"
        for name, offer in sorted(OFFERED.items())
        if name not in SERVICES
    ]
    return _LIST.sub("\n".join([*lines, "| every other | | all |", ""]), readme)


if __name__ == "__main__":
    README.write_text(with_list(README.read_text(encoding="utf-8")), encoding="utf-8")
