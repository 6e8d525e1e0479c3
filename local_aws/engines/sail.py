"""Sail: a Rust engine that speaks Spark Connect. PySpark programs run on it unchanged, without Java."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from local_aws.engines.interface import step_memory
from local_aws.engines.submit import parse, stage
from local_aws.execution import Launch, LaunchError
from local_aws.execution.storage import Storage

_PROGRAM = Path(__file__).with_name("sail_program.py")
_YEAR_S = 365 * 24 * 3600


class SailEngine:
    """Runs each program in a process of its own with a Sail server."""

    name = "sail"

    def __init__(self) -> None:
        self._warming: subprocess.Popen[bytes] | None = None

    def command(self, submit_args: list[str], folder: Path, environment: Mapping[str, str]) -> Launch:
        """As :meth:`Engine.command`; Sail runs no Java, so jars are refused."""
        storage = Storage(environment, folder)
        submission = parse(submit_args, storage)
        if submission.jars or "spark.jars.packages" in submission.conf:
            raise LaunchError("--jars and --packages need Java, which Sail does not use: choose the engine spark.")
        staged = stage(submission, storage)
        path = [str(folder), *(str(file.parent if file.suffix == ".py" else file) for file in staged.py_files)]
        path += map(str, staged.packages)
        specification = folder / "specification.json"
        specification.write_text(
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
        # Isolated: a program must not find modules in the caller's folder or PYTHONPATH that it should bring itself.
        argv = [sys.executable, "-Iu", str(_PROGRAM), str(specification)]
        return Launch(argv, dict(environment) | submission.variables | _settings(environment, folder), folder)

    def warm(self) -> None:
        """Import once what programs import, so that it is compiled and in the disk cache."""
        self._warming = subprocess.Popen([sys.executable, "-Ic", "import pysail.spark, pyspark.sql.connect.session"])
        self._warming.wait()

    def close(self) -> None:
        """End the import of :meth:`warm`, if it still runs."""
        if self._warming:
            self._warming.kill()
            self._warming.wait()


def _settings(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables that Sail reads, and its object store."""
    spill = folder / "spill"
    spill.mkdir()
    settings = {
        "RUST_LOG": "error",
        # Operators that can spill do so before the program's limit is reached; the rest is for Python and buffers
        # that Sail does not count. Fair: first come, first served makes the sorts of two partitions fail each other.
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": "fair",
        "SAIL_RUNTIME__MEMORY_POOL__FAIR__MAX_SIZE": str(int(step_memory(environment) * 0.7)),
        "SAIL_RUNTIME__TEMPORARY_FILES__PATHS": json.dumps([str(spill)]),
        # Sail ends a session that is idle for minutes, Spark does not: a program may train a model between queries.
        "SAIL_SPARK__SESSION_TIMEOUT_SECS": str(_YEAR_S),
    }
    if endpoint := environment.get("AWS_ENDPOINT_URL"):
        settings |= {
            "AWS_ENDPOINT": endpoint,
            "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower(),
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        }
    return settings
