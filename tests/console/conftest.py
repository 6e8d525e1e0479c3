"""An Airflow API, AWS on loopback, and a platform made of both."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from moto.server import ThreadedMotoServer
from rich.console import Console

from console.airflow import Airflow, TaskInstance
from console.aws import local_client
from console.errors import UserError
from console.output import Reporter
from tests.console.airflow_server import AirflowServer, serve


@dataclass
class ServerAccess:
    """The way to :class:`AirflowServer`; counts what the client asks of it."""

    server: AirflowServer
    recoveries: int = 0
    origin: str = "the test"
    hint: str = "look at the test."

    @property
    def url(self) -> str:
        return self.server.url

    def credentials(self) -> tuple[str, str]:
        return "admin", "right"

    def recover(self) -> None:
        self.recoveries += 1


@dataclass
class TestPlatform:
    """A platform on which modules do nothing but leave a record."""

    __test__ = False

    airflow: Airflow
    aws: str
    poll_s: float = 0.01
    lake: str = "s3://taxiway-lake"
    parsing_hint: str = "see the parser."
    scheduling_hint: str = "see the scheduler."
    ended: str = ""
    log: Path | None = None
    ran: list[tuple[Any, ...]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        return local_client(service, self.aws)

    def run(self, module: str, *arguments: str, file: tuple[str, str] | None = None) -> str:
        self.ran.append((module, *arguments, file))
        return "2 added.\n"

    def log_path(self, task: TaskInstance) -> Path | None:
        return self.log

    def require_alive(self) -> None:
        if self.ended:
            raise UserError(self.ended)


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.patience.PATIENCE_S", 30)
    monkeypatch.setattr("console.patience.LONGEST_PAUSE_S", 0.05)


@pytest.fixture
def server() -> Iterator[AirflowServer]:
    airflow = AirflowServer()
    with serve(airflow):
        yield airflow


@pytest.fixture
def access(server: AirflowServer) -> ServerAccess:
    return ServerAccess(server)


@pytest.fixture
def airflow(access: ServerAccess) -> Airflow:
    client = Airflow(access, print)
    client.login()
    return client


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    aws = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    aws.start()
    host, port = aws.get_host_and_port()
    yield f"http://{host}:{port}"
    aws.stop()


@pytest.fixture
def aws(moto_url: str) -> Iterator[str]:
    """Return the address of an empty AWS; all servers of a process have one state, those of other tests too."""

    def reset() -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.post(f"{moto_url}/moto-api/reset", timeout=60)

    reset()
    yield moto_url
    reset()


@pytest.fixture
def platform(airflow: Airflow, aws: str) -> TestPlatform:
    return TestPlatform(airflow, aws)


@pytest.fixture
def report() -> Reporter:
    """Print to where ``capsys`` reads it."""
    return Reporter(Console(width=200, color_system=None))
