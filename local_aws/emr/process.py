"""Supervision of one step's processes: their end, their memory, their logs' last word."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import psutil

from local_aws.emr.leash import members, signal_members

_LEASH = Path(__file__).with_name("leash.py")
_LOOK_S = 0.25  # between two looks at the memory of a step
_END_S = 2.0  # within which what was killed must be gone
_TAIL_BYTES = 64 * 1024


class Stop:
    """Asks a run to end: with SIGTERM first, or at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.at_once = False

    def ask(self, *, at_once: bool = False) -> None:
        """Ask; a second time to hurry."""
        self.at_once = self.at_once or at_once
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether somebody asked."""
        return self._asked.is_set()


class End(Enum):
    """Why a run ended."""

    ITSELF = "itself"
    STOPPED = "stopped"
    MEMORY = "memory"


@dataclass(frozen=True)
class Ended:
    """The end of a run: why, and its exit status (128 + n if signal n ended it)."""

    why: End
    status: int


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdout: Path,
    stderr: Path,
    memory: int,
    stop: Stop,
    grace_s: float,
) -> Ended:
    """Run a program to its end, and leave no process behind that it has started.

    Args:
        argv: the program and its arguments.
        env: its whole environment.
        cwd: its working folder.
        stdout: file that takes its output.
        stderr: file that takes its errors.
        memory: bytes of resident memory that the program and all that it starts may use together.
        stop: ends the run when asked.
        grace_s: seconds from SIGTERM to SIGKILL.
    """
    with stdout.open("ab") as out, stderr.open("ab") as err:
        leash = subprocess.Popen(
            [sys.executable, "-I", str(_LEASH), *argv],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    why = End.ITSELF
    try:
        next_look = time.monotonic()
        while leash.poll() is None:
            if stop.asked:
                why = End.STOPPED
                break
            if time.monotonic() >= next_look:
                if _resident(leash.pid) > memory:
                    why = End.MEMORY
                    break
                next_look = time.monotonic() + _LOOK_S
            with suppress(subprocess.TimeoutExpired):
                leash.wait(timeout=0.05)
        if why is End.STOPPED and not stop.at_once:
            signal_members(leash.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace_s
            while leash.poll() is None and time.monotonic() < deadline and not stop.at_once:
                time.sleep(0.02)
    finally:
        status = _finish(leash)
    return Ended(why, status if status >= 0 else 128 - status)


def _finish(leash: subprocess.Popen[bytes]) -> int:
    """End what is left, and return the leash's exit status."""
    deadline = time.monotonic() + _END_S
    while leash.poll() is None:
        signal_members(leash.pid, signal.SIGKILL)  # the leash itself stays, to reap them
        if time.monotonic() > deadline:
            leash.kill()
        with suppress(subprocess.TimeoutExpired):
            leash.wait(timeout=0.05)
    signal_members(leash.pid, signal.SIGKILL)  # where orphans do not come to the leash
    if leash.stdin is not None:
        leash.stdin.close()
    return leash.returncode


def _resident(leash: int) -> int:
    total = 0
    for pid in members(leash):
        with suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


_LOG_LINE = re.compile(r"^(\d\d(\d\d)?[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d\S* )?(TRACE|DEBUG|INFO|WARN|WARNING)\b")
_TRACEBACK = "Traceback (most recent call last):"


def last_word(output: Path) -> str:
    """Return the line of a program's output that says most about its failure, or "" if there is none.

    That is the line of the exception that ended it, else its last line that is not a log's chatter.
    """
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    spoken = [line for line in lines if line.strip() and not _LOG_LINE.match(line)]
    if _TRACEBACK in spoken:
        start = len(spoken) - 1 - spoken[::-1].index(_TRACEBACK)
        for line in spoken[start + 1 :]:
            if not line[0].isspace():
                return line.strip()
    for line in reversed(spoken):
        if not line[0].isspace():
            return line.strip()
    return spoken[-1].strip() if spoken else ""
