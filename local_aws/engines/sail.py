"""Sail: a Rust engine that speaks Spark Connect. PySpark programs run on it unchanged, without Java."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from local_aws.engines.environment import program_environment, step_memory
from local_aws.engines.interface import Launch, SubmitError
from local_aws.engines.submit import Storage, parse, stage

_PROGRAM = Path(__file__).with_name("sail_program.py")
_CLIENT = Path(__file__).with_name("sail_client.py")


class SailEngine:
    """Runs each program in a process with a Sail server of its own."""

    name = "sail"

    def __init__(self) -> None:
        self._warm: subprocess.Popen[bytes] | None = None
        self._socket_folder: tempfile.TemporaryDirectory[str] | None = None

    def command(self, submit_args: list[str], folder: Path, environment: Mapping[str, str]) -> Launch:
        """As :meth:`Engine.command`; Sail runs no Java, so jars are refused."""
        storage = Storage(environment, folder)
        submission = parse(submit_args, storage)
        if submission.jars or "spark.jars.packages" in submission.conf:
            raise SubmitError("--jars and --packages need Java, which Sail does without: choose the engine spark.")
        staged = stage(submission, storage)
        path = [str(folder), *(str(file.parent if file.suffix == ".py" else file) for file in staged.py_files)]
        job = folder / "job.json"
        job.write_text(
            json.dumps(
                {
                    "program": str(staged.program),
                    "arguments": submission.arguments,
                    "path": path,
                    "conf": {"spark.sql.session.timeZone": "UTC", **submission.conf},
                }
            ),
            encoding="utf-8",
        )
        # Isolated: neither the caller's folder nor PYTHONPATH may lend a program what it should bring itself.
        argv = [sys.executable, "-Iu", str(_PROGRAM), str(job)]
        if self._socket_folder:
            argv = [sys.executable, "-IS", str(_CLIENT), self._address, str(_PROGRAM), str(job)]
        return Launch(argv, program_environment(environment) | _settings(environment, folder), folder)

    def warm(self) -> None:
        """Start the process that imports PySpark once and forks the programs; on Linux only, elsewhere forks crash."""
        if self._warm or sys.platform != "linux":
            return
        self._socket_folder = tempfile.TemporaryDirectory(prefix="sail-")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self._address)
            listener.listen(16)
            self._warm = subprocess.Popen(
                [sys.executable, "-Iu", str(_PROGRAM), "--fork", str(listener.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                process_group=0,  # Ctrl-C is for the process that owns the engine, which then closes it
                env=program_environment({}) | {"OPENBLAS_NUM_THREADS": "1"},  # no thread before the fork
            )

    def close(self) -> None:
        """End the warm process; programs that run go on."""
        if self._warm and self._warm.stdin:
            self._warm.stdin.close()
            self._warm.wait()
        if self._socket_folder:
            self._socket_folder.cleanup()
        self._warm = self._socket_folder = None

    @property
    def _address(self) -> str:
        assert self._socket_folder
        return os.path.join(self._socket_folder.name, "fork")  # noqa: PTH118


def _settings(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables that Sail reads, and its object store."""
    spill = folder / "spill"
    spill.mkdir()
    settings = {
        "RUST_LOG": "error",
        # Operators that can spill do so before the step's limit is reached; the rest is for Python and buffers
        # that Sail does not count.
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": "greedy",
        "SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE": str(int(step_memory(environment) * 0.7)),
        "SAIL_RUNTIME__TEMPORARY_FILES__PATHS": json.dumps([str(spill)]),
    }
    if endpoint := environment.get("AWS_ENDPOINT_URL"):
        settings |= {
            "AWS_ENDPOINT": endpoint,
            "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower(),
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        }
    return settings
