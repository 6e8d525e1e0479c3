"""Clients of others: each runs in its own locked environment, against one endpoint that this folder shares."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.local_aws.endpoint import Endpoint
from tests.tools import ROOT, absent

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint whose clusters are RUNNING long enough for waiters that ask every second, on a busy machine too."""
    options = ("--max-steps", "4", "--step-memory", "3g", "--running-seconds", "6")
    shared = Endpoint(tmp_path_factory.mktemp("aws"), *options).start()
    shared.client("s3").create_bucket(Bucket="shared")
    yield shared
    shared.close()


@dataclass
class Client:
    """An environment with clients, and the variables by which they find the endpoint."""

    folder: Path
    environment: dict[str, str]
    home: Path

    def run(self, *command: str | Path, stdin: str = "", status: int = 0) -> str:
        """Run one of its commands to its end; return its standard output, and its standard error if it fails."""
        words = [str(self.folder / "bin" / command[0]), *map(str, command[1:])]
        done = subprocess.run(
            words, env=self.environment, cwd=self.home, input=stdin, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == status, f"{words}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done.stderr if status else done.stdout

    def program(self, name: str, *arguments: str | Path) -> Any:
        """Run one of `programs/`; return the JSON that is the last line of its output."""
        return json.loads(self.run("python", PROGRAMS / f"{name}.py", *arguments).splitlines()[-1])


@pytest.fixture(scope="session")
def client(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Client]:
    """Return the environment of a lock file, requirements/<name>.txt."""

    def make(name: str) -> Client:
        folder = ROOT / ".local/venvs" / name
        if not (folder / "bin/python").exists():
            absent("tool", f"{folder} is not installed: make test installs it")
        home = tmp_path_factory.mktemp(name)
        variables = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_PAGER": "",
        }
        return Client(folder, variables, home)

    return make


@pytest.fixture(scope="session")
def clients(client: Callable[[str], Client]) -> Client:
    """The environment of all clients but boto3 by itself."""
    return client("clients")


@pytest.fixture(scope="session")
def job(endpoint: Endpoint) -> str:
    """The address of a program that counts the rows of CSV files by zone, and of its input, s3://shared/trips/."""
    s3 = endpoint.client("s3")
    s3.put_object(Bucket="shared", Key="trips/a.csv", Body=b"zone,miles\n1,2.5\n1,3\n2,4\n")
    s3.upload_file(str(PROGRAMS / "count_job.py"), "shared", "jobs/count.py")
    return "s3://shared/jobs/count.py"
