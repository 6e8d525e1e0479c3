"""Runs programs: from a description to processes, their end, and their logs on S3."""

import logging
import os
import shlex
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local_aws.execution import process
from local_aws.execution.launch import Launch, LaunchError
from local_aws.execution.logs import Logs
from local_aws.execution.storage import s3_client

log = logging.getLogger(__name__)

_GIB = 1024**3
_WORK = "work"


@dataclass(frozen=True)
class Limits:
    """What programs may use of this machine.

    Attributes:
        programs: how many run at once, over all services.
        memory: bytes of resident memory of one program with all that it starts.
        grace_s: seconds from SIGTERM to SIGKILL for a program that is cancelled.
    """

    programs: int
    memory: int
    grace_s: float


@dataclass(frozen=True)
class Program:
    """A program to run.

    Attributes:
        id: its name for the endpoint's own log, e.g. "s-2AXXXXXXGAPLF".
        kind: what its service calls it in messages, e.g. "step".
        folder: a new folder for its logs, with the working folder while it runs.
        prepare: fetches its files into the working folder and returns its process; gets that folder and the whole
            environment, and may raise LaunchError.
        environment: its own variables, besides those that every program gets.
        log_uri: the S3 folder for its logs, without a slash at the end; None leaves them in `folder`.
        log_names: which logs belong there, of "controller", "stdout" and "stderr".
    """

    id: str
    kind: str
    folder: Path
    prepare: Callable[[Path, Mapping[str, str]], Launch]
    environment: Mapping[str, str] = field(default_factory=dict)
    log_uri: str | None = None
    log_names: Sequence[str] = ("stdout", "stderr")


class State(Enum):
    """How a program ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Failure:
    """Why a program failed.

    Attributes:
        reason: the kind of failure in a few words.
        message: the program's own error line, or one sentence of the runner.
        log: where the standard error is: an s3:// address or a path; "" if there is none.
    """

    reason: str
    message: str
    log: str = ""


@dataclass(frozen=True)
class Result:
    """The end of a program: its exit status is None if it did not run, `failure` is set if it failed."""

    state: State
    exit_status: int | None = None
    failure: Failure | None = None


class Run:
    """A program that was started."""

    def __init__(self, cancellation: process.Cancellation, thread: threading.Thread) -> None:
        self._cancellation = cancellation
        self._thread = thread

    def cancel(self, grace_s: float | None = None) -> None:
        """Ask for its end; returns at once.

        Args:
            grace_s: seconds from SIGTERM to SIGKILL, 0 for SIGKILL at once; by default those of the limits. A further
                call can only shorten them.
        """
        self._cancellation.request(grace_s)

    def wait(self) -> None:
        """Return when it has ended and its result was handed on."""
        self._thread.join()


class Runner:
    """Runs the programs of all services, each supervised by a thread."""

    def __init__(self, endpoint: str, region: str, limits: Limits) -> None:
        """Prepare to run programs.

        Args:
            endpoint: the URL that programs use as AWS.
            region: their AWS region.
            limits: what they may use.
        """
        self.endpoint = endpoint
        self._limits = limits
        self._environment = _environment(endpoint, region, limits.memory)
        self._free = threading.Semaphore(limits.programs)

    def s3(self) -> Any:
        """Return the boto3 client for the S3 of the programs."""
        return s3_client(self._environment)

    def start(self, program: Program, on_end: Callable[[Result], None]) -> Run | None:
        """Start a program, unless as many are running as may.

        Args:
            program: what to run.
            on_end: is called with the result, from the program's thread.

        Returns:
            The run, or None if the program was not started: try again later.
        """
        if not self._free.acquire(blocking=False):
            return None
        cancellation = process.Cancellation(self._limits.grace_s)
        thread = threading.Thread(target=self._run, args=(program, cancellation, on_end), name=program.id)
        thread.start()
        return Run(cancellation, thread)

    def _run(self, program: Program, cancellation: process.Cancellation, on_end: Callable[[Result], None]) -> None:
        try:
            result = self._run_with_logs(program, cancellation)
        except Exception as error:
            log.exception("%s %s failed in the endpoint itself", program.kind, program.id)
            result = _failed("Internal error.", repr(error))
        finally:
            self._free.release()
        on_end(result)

    def _run_with_logs(self, program: Program, cancellation: process.Cancellation) -> Result:
        work = program.folder / _WORK
        work.mkdir(parents=True)
        logs = Logs(program.folder)
        try:
            result = self._run_process(program, cancellation, work, logs)
        except Exception as error:
            if not isinstance(error, LaunchError):
                log.exception("%s %s could not be run", program.kind, program.id)
            message = str(error) if isinstance(error, LaunchError) else f"{type(error).__name__}: {error}"
            result = _failed(f"The {program.kind} could not be started.", message)
        failure = result.failure
        if failure:
            logs.note(f"{failure.reason} {failure.message}")
            if logs.stderr.stat().st_size == 0:  # users look there first, also if nothing ran
                logs.stderr.write_text(f"{failure.message}\n")
        logs.note(f"{program.kind} {program.id} ended: {result.state.value}")
        uploaded = self._upload(program, logs)
        shutil.rmtree(program.folder if uploaded else work, ignore_errors=True)
        if failure:
            place = f"{program.log_uri}/stderr.gz" if uploaded else str(logs.stderr)
            failure = Failure(failure.reason, failure.message, place)
        return Result(result.state, result.exit_status, failure)

    def _run_process(self, program: Program, cancellation: process.Cancellation, work: Path, logs: Logs) -> Result:
        launch = program.prepare(work, {**self._environment, **program.environment})
        if cancellation.requested:
            return Result(State.CANCELLED)
        logs.note(f"running {shlex.join(launch.argv)} in {launch.cwd}")
        memory = self._limits.memory
        end = process.run(launch, stdout=logs.stdout, stderr=logs.stderr, memory=memory, cancellation=cancellation)
        logs.note(f"ended with exit status {end.status} ({end.cause.value})")
        if end.cause is process.Cause.CANCELLED:
            return Result(State.CANCELLED, end.status)
        if end.cause is process.Cause.MEMORY:
            return _failed(
                "Out of memory.",
                f"The {program.kind} used more than {memory / _GIB:.1f} GiB of memory (--step-memory) and was killed.",
                end.status,
            )
        if end.status == 0:
            return Result(State.SUCCEEDED, 0)
        line = logs.failure_line()
        if end.status == 137:  # 128 + SIGKILL, which the endpoint did not send
            killed = f"The {program.kind} was killed (signal 9), most likely by the kernel because the machine ran out"
            return _failed("Killed.", f"{killed} of memory. {line}".strip(), end.status)
        return _failed(f"Exit status {end.status}.", line or "The program printed no message.", end.status)

    def _upload(self, program: Program, logs: Logs) -> bool:
        """Put the logs on S3; return False if they stay where they are."""
        if program.log_uri is None:
            return False
        try:
            logs.upload(self.s3(), program.log_uri, program.log_names)
        except Exception as error:  # AWS too runs a program whose logs cannot be written
            log.warning("%s cannot be written: %s; the logs stay in %s", program.log_uri, error, program.folder)
            return False
        return True


def remove_leftovers(folder: Path) -> None:
    """Remove the working folders that a killed process left in the folders of its programs, which are in `folder`."""
    for work in folder.glob(f"*/{_WORK}"):
        shutil.rmtree(work, ignore_errors=True)


def _failed(reason: str, message: str, exit_status: int | None = None) -> Result:
    return Result(State.FAILED, exit_status, Failure(reason, message))


def _environment(endpoint: str, region: str, memory: int) -> dict[str, str]:
    """Return the environment of all programs: this process's, with AWS's variables replaced by the endpoint's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SPARK_", "PYTHON"))}
    # No proxy of the user's leads to the endpoint.
    named = ",".join(own.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = [*(host.strip() for host in named.split(",")), urlsplit(endpoint).hostname or ""]
    direct = "*" if "*" in hosts else ",".join(dict.fromkeys(host for host in hosts if host))
    return own | {
        "NO_PROXY": direct,
        "no_proxy": direct,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "STEP_MEMORY_BYTES": str(memory),
    }
