"""A real endpoint process on a free port, and boto3 clients for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config

ROOT = Path(__file__).parents[2]


class Endpoint:
    """One `python -m local_aws` with its data folder; it can be ended and started again."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.options = options
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self, port: int = 0, environment: dict[str, str] | None = None) -> "Endpoint":
        words = ["--port", str(port), "--data", str(self.data), "--state-seconds", "0.1", "--grace-seconds", "2"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local_aws", *words, *self.options],
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
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
            config=Config(retries={"max_attempts": 1}, read_timeout=30),
        )

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def eventually(said: Callable[[], Any], within: float = 15) -> Any:
    """Return what `said` returns as soon as it is true; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not (answer := said()):
        assert time.monotonic() < deadline, f"still {answer!r} after {within} s"
        time.sleep(0.05)
    return answer
