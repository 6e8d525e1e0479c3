"""The process that stands for a program which the Sail engine's warm process has forked.

It hands over its own working folder, environment, process group and standard streams, and ends with the program's
status. Without a warm process it becomes the process that runs the program. It is started without site-packages,
which makes it cheap: standard library only.
"""

import json
import os
import socket
import sys


def main(address: str, program: str, job: str) -> None:
    """Run `job` in a process forked at `address`, or else in this one, by the file `program`."""
    request = {"job": job, "cwd": os.getcwd(), "environment": dict(os.environ), "group": os.getpgrp()}  # noqa: PTH109
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(address)
            socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
            started = connection.recv(1)
        except OSError:
            started = b""
        if started:
            status = connection.recv(1)
            # Nothing comes from a program that was killed; 137 is what a shell says of one.
            os._exit(status[0] if status else 137)
    os.execv(sys.executable, [sys.executable, "-Iu", program, job])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
