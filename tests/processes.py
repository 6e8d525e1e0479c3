"""Looks at processes of this machine, which may end while they are looked at."""

import os
from collections.abc import Iterable
from contextlib import suppress

import psutil


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
