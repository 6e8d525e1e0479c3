"""A person at a terminal, for the tests of this folder."""

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

import psutil

from console.options import ROOT
from laptop.config import Config
from tests.processes import command


class Person:
    """Types commands, as ``make`` does, for a platform of the test's own."""

    def __init__(self, state: Path, ui_port: int, aws_port: int) -> None:
        self.state = state
        self.sessions = set[int]()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS_"))},
            "STATE": str(state),
            "UI_PORT": str(ui_port),
            "AWS_PORT": str(aws_port),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}",
            "COLUMNS": "200",
            # A newcomer's proxy, which must not be asked for loopback, in either spelling: this one answers nobody.
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://127.0.0.1:1"),
        }
        self.python = Config.from_environment({}).python("airflow")
        self.spark = Config.from_environment({}).python("spark")

    def start(self, *words: str, **variables: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(self.python), "-m", "laptop", *words],
            env=self.environment | variables,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def type(self, *words: str, **variables: str) -> tuple[int, str]:
        process = self.start(*words, **variables)
        output, _ = process.communicate(timeout=1200)
        print(output)  # pytest shows it when a test fails
        return process.returncode, output

    def processes(self) -> list[psutil.Process]:
        """Return every live process that belongs to the platform, however it was started and whoever its parent is.

        Those of Airflow overwrite their environment by their title; they are known by their session.
        """
        with contextlib.suppress(FileNotFoundError):
            self.sessions.add(json.loads((self.state / "supervisor.json").read_text())["pid"])
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                ours = os.getsid(process.pid) in self.sessions or process.environ().get("STATE") == str(self.state)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def left_after(self, seconds: float) -> list[str]:
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [command(process) for process in left]
