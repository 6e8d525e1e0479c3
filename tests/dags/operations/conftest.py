"""Fixtures of the tests of operations: a local AWS endpoint."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the local AWS endpoint; return its address."""
    folder = tmp_path_factory.mktemp("aws")
    command = [sys.executable, "-m", "local_aws", "--port", "0", "--data", str(folder), "--state-seconds", "0"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        yield server.stdout.readline().removeprefix("AWS on this machine: ").split()[0]
    finally:
        server.terminate()
        server.wait(60)
