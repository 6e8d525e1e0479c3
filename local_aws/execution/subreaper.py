"""Run a program that must not outlive the endpoint: `python subreaper.py PROGRAM ARGUMENTS`, standard input held open.

The endpoint holds the other end of this process's standard input. When it is closed, because the endpoint ended or was
killed, everything that the program has started is ended: a parent-death signal would reach the program alone. What the
program leaves running in the background is ended after it. Exit status: the program's; 128 + n if signal n ended it.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

GRACE_S = 2.0  # from SIGTERM to SIGKILL once the endpoint has ended
_PR_SET_CHILD_SUBREAPER = 36


def members(subreaper: int) -> list[int]:
    """Return the processes below a subreaper: its descendants, and where those are lost, those of its session."""
    import psutil  # here, since it costs more than the rest of the start

    found = set()
    with suppress(psutil.NoSuchProcess):
        found = {process.pid for process in psutil.Process(subreaper).children(recursive=True)}
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == subreaper:
                found.add(pid)
    return sorted(found - {subreaper})


def signal_members(subreaper: int, number: signal.Signals) -> bool:
    """Send a signal to all processes below a subreaper; return whether there were any."""
    pids = members(subreaper)
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return bool(pids)


def _end_with_endpoint() -> None:
    while os.read(0, 1024):
        pass
    signal_members(os.getpid(), signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while members(os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.05)
    while signal_members(os.getpid(), signal.SIGKILL):
        time.sleep(0.02)


def main() -> None:
    """Run the program to its end."""
    if sys.platform == "linux":  # orphans become our children, so that they can be found and leave no zombie
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Handled and not ignored: the program would inherit that a signal is ignored.
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_end_with_endpoint, daemon=True).start()
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    status = 0
    while True:
        try:
            pid, wait_status = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if pid == program.pid:
            status = os.waitstatus_to_exitcode(wait_status)
            with suppress(ChildProcessError):
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    signal_members(os.getpid(), signal.SIGKILL)
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
