"""Run a program that must not outlive the endpoint: `python leash.py PROGRAM ARGUMENTS`, standard input held open.

The endpoint holds the other end of this process's standard input. When it is closed, because the endpoint ended or was
killed, every process of this session is ended. That works on every Unix, and also for what the program has started
itself, which a parent-death signal does not reach. Exit status: the program's; 128 + n if signal n ended it.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 2.0  # from SIGTERM to SIGKILL once the endpoint is gone


def _end_session_with_endpoint() -> None:
    while os.read(0, 1024):
        pass
    import psutil  # here, since it costs more than the rest of the start

    for end in (signal.SIGTERM, signal.SIGKILL):
        for pid in psutil.pids():
            try:
                if pid != os.getpid() and os.getsid(pid) == os.getsid(0):
                    os.kill(pid, end)
            except (ProcessLookupError, PermissionError):
                continue
        if end == signal.SIGTERM:
            time.sleep(GRACE_S)
    os._exit(128 + signal.SIGKILL)


def main() -> None:
    """Run the program to its end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # Handled and not ignored: what is ignored here would be ignored by the program too.
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_end_session_with_endpoint, daemon=True).start()
    status = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL).wait()
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
