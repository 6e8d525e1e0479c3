"""Processes that must not outlive the command that started them."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Loaded here: a child that is about to run a program should not load anything.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """Have Linux send SIGTERM to this process when its parent is gone, even by SIGKILL; elsewhere do nothing.

    To be called in a child before its program runs (``preexec_fn``).
    """
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def adopt_orphans() -> None:
    """Become the parent of processes below this one whose own parent is gone; on Linux, elsewhere do nothing."""
    if _LIBC:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
