"""Runs Spark programs on Sail, each in a process of its own.

`sail_program.py JOB` runs one here. `sail_program.py --fork FD` is the engine's warm process: it imports PySpark once
(2.5 s of a core) and forks a process for every connection to the socket it inherits. The file is
started by its path, so that programs see nothing of this repository but what they bring.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any


def run(job_file: str) -> int:
    """Run the program of a job as __main__ on a Sail server in this process and return its exit status.

    The job is JSON: program (path), arguments, path (what goes before sys.path), conf (Spark properties).
    """
    from pysail.spark import SparkConnectServer

    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    os.environ["SPARK_REMOTE"] = f"sc://127.0.0.1:{server.listening_address[1]}"
    # PySpark sets these when it makes the session, before what the program itself sets.
    os.environ["PYSPARK_REMOTE_INIT_CONF_LEN"] = "1"
    os.environ["PYSPARK_REMOTE_INIT_CONF_0"] = json.dumps(job["conf"])
    sys.argv = [job["program"], *job["arguments"]]
    sys.path[:0] = job["path"]
    try:
        runpy.run_path(job["program"], run_name="__main__")
    except SystemExit as end:
        return _status(end.code)
    except BaseException as error:  # as Python does at the end of a program
        traceback.print_exception(error.with_traceback(_of_program(error.__traceback__, job["program"])))
        return 1
    return 0


def _status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)  # noqa: T201 (as sys.exit does with a text)
    return 1


def _of_program(trace: TracebackType | None, program: str) -> TracebackType | None:
    """Leave out the frames above the program: they are ours and runpy's."""
    frame = trace
    while frame and frame.tb_frame.f_code.co_filename != program:
        frame = frame.tb_next
    return frame or trace  # a program that does not compile has no frame


def _end(status: int, client: socket.socket | None = None) -> None:
    # The server's threads and gRPC take 0.2 s to end in order, and no data hangs on them.
    sys.stdout.flush()
    sys.stderr.flush()
    if client:
        client.send(bytes([status]))
    os._exit(status)


def serve(listener: socket.socket) -> None:
    """Fork a process for each connection, until the engine's process closes the pipe that is standard input."""
    import pyspark.sql.connect.session
    import pyspark.sql.functions
    import pyspark.sql.types  # noqa: F401
    from pysail.spark import SparkConnectServer  # noqa: F401 (no thread of Sail's or gRPC's runs before its start)

    gc.freeze()  # keeps the collector of every child from copying what it shares with this process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _serve_one(connection)
        connection.close()


def _serve_one(connection: socket.socket) -> None:
    try:
        message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        request: dict[str, Any] = json.loads(message)
        # In the client's process group, so whoever watches or ends that group watches and ends the program.
        os.setpgid(0, request["group"])
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        connection.send(b"\0")
    except (OSError, ValueError):
        os._exit(1)  # the client hears nothing and runs the program itself
    threading.Thread(target=_end_with, args=[connection], daemon=True).start()
    _end(run(request["job"]), connection)


def _end_with(client: socket.socket) -> None:
    client.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1] == "--fork":
        serve(socket.socket(fileno=int(sys.argv[2])))
    else:
        _end(run(sys.argv[1]))
