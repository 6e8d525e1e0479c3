"""A real endpoint process on a free port, and boto3 clients for it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ROOT = Path(__file__).parents[2]


class Endpoint:
    """One `python -m local_aws` with its data folder; it can be stopped and started again."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.options = options
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the endpoint was not started"
        return self._process

    def start(self, port: int = 0, environment: dict[str, str] | None = None) -> "Endpoint":
        words = ["--port", str(port), "--data", str(self.data), "--state-seconds", "0.1", "--grace-seconds", "2"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local_aws", *words, *self.options],
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line.startswith("AWS on this machine: http://127.0.0.1:"), line
        self.url = line.split()[4]
        return self

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"max_attempts": 1}, read_timeout=120),
        )

    def children(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


def error_of(operation: Callable[..., Any], **arguments: Any) -> Any:
    """Call an operation that must fail; return the response, which has Error and ResponseMetadata."""
    with pytest.raises(ClientError) as raised:
        operation(**arguments)
    return raised.value.response
