"""Processes that must not outlive the command that started them."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # signals that ask a process to end
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Loaded here: a child that is about to run a program should not load anything.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent(parent: int) -> None:
    """Have Linux send SIGTERM to this process when its parent is gone, even by SIGKILL; elsewhere do nothing.

    To be called in a child before its program runs (``preexec_fn``); where the parent is gone already, the child ends.

    Args:
        parent: its process id.
    """
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of processes below this one whose own parent is gone; on Linux, elsewhere do nothing."""
    if _LIBC:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start_program(command: Sequence[str | Path], **options: Any) -> "subprocess.Popen[Any]":
    """Start a program that ends with this process; options as of ``subprocess.Popen``."""
    process = None
    try:
        with signals_held():
            process = subprocess.Popen(command, preexec_fn=partial(end_with_parent, os.getpid()), **options)
    except BaseException:
        if process:
            process.kill()
            process.wait()
        raise
    return process


def run_program(
    command: Sequence[str | Path], timeout: float | None = None, **options: Any
) -> "subprocess.CompletedProcess[Any]":
    """Run a program that ends with this process; options as of ``subprocess.run``."""
    with start_program(command, **options) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@contextmanager
def signals_held() -> Iterator[None]:
    """Handle a signal that ends this process only after the block, which forks.

    A handler may run in a function that the standard library registers with ``os.register_at_fork``; what it raises
    there, such as KeyboardInterrupt, is ignored.
    """
    if threading.current_thread() is not threading.main_thread():  # no handler runs in this thread
        yield
        return
    came, parent = list[int](), os.getpid()
    endings = {number: signal.getsignal(number) for number in ENDING}
    handlers = {number: handler for number, handler in endings.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came and os.getpid() == parent:
        handlers[signal.Signals(came[0])](came[0], None)
