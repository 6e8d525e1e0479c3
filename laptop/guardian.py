"""The platform's outermost process: however the platform ends, no process of it is left, and a file says why it ended.

It does as little as can be, so that it is there when something else fails. The supervisor is its child; on Linux all
processes below it stay below it when their parents end. If the guardian itself is killed, the supervisor ends the rest.
On macOS, which gives orphans to another process, they are found by their session instead.
"""

import contextlib
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from console.processes import adopt_orphans, end_with_parent

POLL_S = 0.2
# Longer than the supervisor takes to end the platform in order.
GRACE_S = 10
KILL_S = 5


def guard(parent: int | None, ended: Path) -> None:
    """Fork: return in the child, which becomes the supervisor, and stay behind as its guardian.

    SIGTERM asks the supervisor to end; SIGUSR1 says that the platform shall outlive the process that started it.

    Args:
        parent: process to end with.
        ended: file for the sentence on why the platform ended, unless the supervisor has written it.
    """
    adopt_orphans()
    guardian = os.getpid()
    child = os.fork()
    if not child:
        adopt_orphans()
        end_with_parent(guardian)
        return
    os._exit(_stay(child, parent, ended))


def _stay(child: int, parent: int | None, ended: Path) -> int:
    asked = kept = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    def keep(*_: object) -> None:
        nonlocal kept
        kept = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGUSR1, keep)
    status: int | None = None
    while status is None:
        if parent and not kept and os.getppid() != parent:
            write_reason(ended, "the command that had started it is gone")
            asked = True
        if asked:
            asked, parent = False, None
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        time.sleep(POLL_S)
        status = reap().get(child)
    if not ended.exists():
        write_reason(ended, how_it_ended("its supervisor", status))
    if os.WIFSIGNALED(status):
        # What it had started has been asked to end by Linux.
        deadline = time.monotonic() + GRACE_S
        while members(os.getpid()) and time.monotonic() < deadline:
            reap()
            time.sleep(POLL_S)
    end_members(os.getpid())
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1


def members(guardian: int) -> list[psutil.Process]:
    """Return all processes below this one, and those of the guardian's session, which may be below it no more."""
    found = {process.pid: process for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == guardian and process.pid not in (guardian, os.getpid()):
                found.setdefault(process.pid, process)
    return list(found.values())


def end_members(guardian: int) -> None:
    """Kill all those processes until none is left."""
    deadline = time.monotonic() + KILL_S
    while (left := members(guardian)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        reap()
        time.sleep(0.02)


def reap() -> dict[int, int]:
    """Take note of all children that have ended, adopted ones too; return pid → wait status."""
    found = {}
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found[ended[0]] = ended[1]
    return found


def how_it_ended(name: str, status: int) -> str:
    """Return a clause on the end of a process: its exit status, or the signal that killed it."""
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        return f"{name} was killed by SIGKILL, as the kernel does where memory is short"
    return f"{name} was killed by {signal.Signals(-code).name}" if code < 0 else f"{name} ended with exit status {code}"


def write_reason(file: Path, reason: str) -> None:
    """Write why and when the platform ended; the first reason that is written stays."""
    text = f"{reason}; this was at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    print(text, flush=True)
    with contextlib.suppress(OSError), file.open("x") as target:
        target.write(text)
