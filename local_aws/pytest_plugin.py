"""A pytest plugin: the fixture `local_aws` is an AWS on this machine, empty at the start of every test.

One endpoint serves the whole session (each worker of pytest-xdist has its own), and is reset after every test that uses
it. The ini option `local_aws_options` has further options of the endpoint, such as `--engine spark`; on the command
line: `pytest -o local_aws_options="--engine spark"`.
"""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy of the user's leads to it
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class LocalAws:
    """An AWS on this machine.

    Attributes:
        url: the address of the endpoint.
    """

    url: str

    def client(self, service: str, **options: Any) -> Any:
        """Return a boto3 client for a service; options as for `boto3.client`."""
        import boto3

        return boto3.session.Session().client(service, endpoint_url=self.url, **options)

    def reset(self) -> None:
        """End all that runs and delete all that is stored."""
        request = urllib.request.Request(f"{self.url}/_local_aws/reset", method="POST")  # noqa: S310
        _DIRECT.open(request).close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's option."""
    parser.addini("local_aws_options", "options of the endpoint of the fixture local_aws", type="args", default=[])


@pytest.fixture(scope="session")
def local_aws_endpoint(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[LocalAws]:
    """Run the endpoint of the session, for fixtures of a wider scope than a test; it is not reset."""
    command = [sys.executable, "-m", "local_aws", "--port", "0", "--data", str(tmp_path_factory.mktemp("aws"))]
    command += ["--allow-reset", "--state-seconds", "0", *pytestconfig.getini("local_aws_options")]
    # In a group of its own, so that Ctrl-C does not end it before the tests.
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    try:
        assert server.stdout
        line = server.stdout.readline()
        assert line, "the endpoint of local_aws did not start: its message is on stderr"
        yield LocalAws(line.removeprefix("AWS on this machine: ").split()[0])
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def local_aws(local_aws_endpoint: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """Point all AWS clients of a test at an empty AWS."""
    for name, value in {**_CREDENTIALS, "AWS_ENDPOINT_URL": local_aws_endpoint.url}.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL_")] + ["AWS_PROFILE"]:
        monkeypatch.delenv(name, raising=False)
    yield local_aws_endpoint
    local_aws_endpoint.reset()
