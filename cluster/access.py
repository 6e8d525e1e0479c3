"""The way to Airflow's REST API in the cluster: a port-forward, and the user of the secret ``airflow-admin``."""

import base64
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from cluster.kubectl import Forward, Kubectl
from console.airflow import Airflow
from console.errors import UserError
from console.patience import Say, say_on_stderr

ADMIN_SECRET = "airflow-admin"  # noqa: S105 - the name of a secret
API_SERVER = ("service/airflow-api-server", 8080)


@dataclass(frozen=True)
class ForwardAccess:
    """A port-forward to an API server, opened again where the pod behind it was replaced, and who asks there."""

    forward: Forward
    username: str
    password: str
    origin: str = f"the secret {ADMIN_SECRET}"
    hint: str = "make status shows what runs."

    @property
    def url(self) -> str:
        """Address of the forward, which is opened if it has ended."""
        return self.forward.url

    def credentials(self) -> tuple[str, str]:
        """Return user and password."""
        return self.username, self.password

    def recover(self) -> None:
        """Close the forward, so that the next try opens another."""
        self.forward.close()


@contextmanager
def open_airflow(kubectl: Kubectl, login: tuple[str, str] | None = None, say: Say = say_on_stderr) -> Iterator[Airflow]:
    """Reach Airflow's REST API for the length of a ``with`` block, logged in.

    Args:
        kubectl: of its namespace.
        login: user and password, by default those of the first administrator.
        say: prints a line while Airflow does not answer.

    Raises:
        UserError: there is no such user, or Airflow does not answer.
    """
    username, password = login or admin(kubectl)
    with closing(Forward(kubectl, *API_SERVER)) as forward:
        airflow = Airflow(ForwardAccess(forward, username, password), say)
        airflow.login()
        yield airflow


def admin(kubectl: Kubectl) -> tuple[str, str]:
    """Return name and password of the first administrator; UserError if there is no such secret."""
    data = secret(kubectl, ADMIN_SECRET)
    if not {"username", "password"} <= data.keys():
        raise UserError(f"The secret {ADMIN_SECRET} is missing or lacks username and password: make secrets makes it.")
    return data["username"], data["password"]


def secret(kubectl: Kubectl, name: str) -> dict[str, str]:
    """Return the values of a secret, none if it is not there."""
    found = kubectl.find("secret", name) or {}
    return {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}
