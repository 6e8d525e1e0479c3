"""Supervision of the processes of one program: their end and their memory."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import psutil

from local_aws.execution import subreaper
from local_aws.execution.launch import Launch

_MEMORY_CHECK_S = 0.25  # between two measurements of a program's memory
_KILL_S = 10.0  # within which killed processes must be gone


class Cancellation:
    """A request to end a program, which may be made from any thread."""

    def __init__(self, grace_s: float) -> None:
        """Prepare for a request.

        Args:
            grace_s: seconds from SIGTERM to SIGKILL, unless the request says otherwise.
        """
        self._event = threading.Event()
        self.grace_s = grace_s

    def request(self, grace_s: float | None = None) -> None:
        """Ask for the end; a further request can only shorten the grace.

        Args:
            grace_s: seconds from SIGTERM to SIGKILL, 0 for SIGKILL at once.
        """
        if grace_s is not None:
            self.grace_s = min(grace_s, self.grace_s) if self.requested else grace_s
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether the program is to end."""
        return self._event.is_set()


class Cause(Enum):
    """Why a program ended."""

    EXIT = "by itself"
    CANCELLED = "cancelled"
    MEMORY = "out of memory"


@dataclass(frozen=True)
class Exit:
    """The end of a program: why, and its exit status (128 + n if signal n ended it)."""

    cause: Cause
    status: int


def run(launch: Launch, *, stdout: Path, stderr: Path, memory: int, cancellation: Cancellation) -> Exit:
    """Run a program to its end, and leave no process behind that it has started.

    Args:
        launch: its process.
        stdout: file to which its output is appended.
        stderr: file to which its errors are appended.
        memory: bytes of resident memory that the program and all that it starts may use together.
        cancellation: ends the program when requested.
    """
    with stdout.open("ab") as out, stderr.open("ab") as err:
        parent = subprocess.Popen(
            [sys.executable, "-I", subreaper.__file__, *launch.argv],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            env=launch.env,
            cwd=launch.cwd,
            start_new_session=True,
        )
    cause = Cause.EXIT
    try:
        next_check = time.monotonic()
        while parent.poll() is None:
            if cancellation.requested:
                cause = Cause.CANCELLED
                break
            if time.monotonic() >= next_check:
                if _resident(parent.pid) > memory:
                    cause = Cause.MEMORY
                    break
                next_check = time.monotonic() + _MEMORY_CHECK_S
            with suppress(subprocess.TimeoutExpired):
                parent.wait(timeout=0.05)
        if cause is Cause.CANCELLED and cancellation.grace_s > 0:
            signal_time = time.monotonic()
            told = False
            while parent.poll() is None and time.monotonic() < signal_time + cancellation.grace_s:
                # Again where the subreaper has yet to start the program.
                told = told or subreaper.signal_members(parent.pid, signal.SIGTERM)
                time.sleep(0.02)
    finally:
        status = _kill(parent)
    return Exit(cause, status if status >= 0 else 128 - status)


def _kill(parent: subprocess.Popen[bytes]) -> int:
    """Kill what is left, and return the subreaper's exit status."""
    deadline = time.monotonic() + _KILL_S
    while parent.poll() is None:
        subreaper.signal_members(parent.pid, signal.SIGKILL)  # the subreaper itself stays, to reap them
        if time.monotonic() > deadline:
            parent.kill()
        with suppress(subprocess.TimeoutExpired):
            parent.wait(timeout=0.05)
    subreaper.signal_members(parent.pid, signal.SIGKILL)  # where orphans are not given to the subreaper
    if parent.stdin is not None:
        parent.stdin.close()
    return parent.returncode


def _resident(parent: int) -> int:
    total = 0
    for pid in subreaper.members(parent):
        with suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total
