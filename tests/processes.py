"""Looks at processes of this machine, which may end while they are looked at."""

import os
from collections.abc import Iterable
from contextlib import suppress

import psutil

from tests.waiting import eventually


def of_session(leader: int, among: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return the processes of a session, whoever their parent is."""
    found = []
    for process in among:
        with suppress(ProcessLookupError):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found


def command(process: psutil.Process) -> str:
    """Return the words that started a process; nothing of one that has ended."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def name_of(process: psutil.Process) -> str:
    """Return the name of a process's program; nothing of one that has ended."""
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def alive(process: psutil.Process) -> bool:
    """Return whether a process runs: one that has ended stays as a zombie where nobody waits for orphans."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_for_end(processes: Iterable[psutil.Process]) -> None:
    """Wait until none of the processes runs."""
    left = list(processes)
    eventually(lambda: not any(map(alive, left)))
