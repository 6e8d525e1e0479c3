"""Runs one Spark program on a Sail server in this process: `sail_program.py SPECIFICATION`, a JSON file.

It is started by its path, so that the program can import nothing of this repository but what it brings itself.
"""

import atexit
import importlib.util
import json
import os
import runpy
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import pyspark  # noqa: F401 (before the program's own path: an environment that it brings may have another version)
from pysail.spark import SparkConnectServer


def run(file: Path) -> int:
    """Run the program as __main__ and return its exit status.

    Args:
        file: JSON with program (path), arguments, path (put before sys.path) and conf (Spark properties).
    """
    specification = json.loads(file.read_text(encoding="utf-8"))
    tables = _load("sail_tables")
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        os.environ.update(tables.settings(endpoint, os.environ.get("AWS_DEFAULT_REGION", "us-east-1")))
    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    os.environ["SPARK_REMOTE"] = f"sc://127.0.0.1:{server.listening_address[1]}"
    # PySpark applies these when it makes the session, before the settings of the program itself.
    os.environ["PYSPARK_REMOTE_INIT_CONF_LEN"] = "1"
    os.environ["PYSPARK_REMOTE_INIT_CONF_0"] = json.dumps(specification["conf"])
    _load("sail_session").install(specification["conf"])
    tables.install(specification["conf"], catalogue=bool(endpoint))
    sys.argv = [specification["program"], *specification["arguments"]]
    sys.path[:0] = specification["path"]
    _exit_on_sigterm()
    try:
        runpy.run_path(specification["program"], run_name="__main__")
    except SystemExit as end:
        return _status(end.code)
    except BaseException as error:  # as Python does at the end of a program
        traceback.print_exception(error.with_traceback(_of_program(error.__traceback__, specification["program"])))
        return 1
    return 0


def _exit_on_sigterm() -> None:
    """Exit by SystemExit: what cancels a program gives it time for `finally` and `atexit`, as AWS documents it."""
    exiting, main = threading.Event(), threading.get_ident()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def handle(*_: object) -> None:
        if not exiting.is_set():
            exiting.set()
            sys.exit(128 + signal.SIGTERM)

    def repeat() -> None:
        # A signal that comes just before a wait, or to another thread, does not end the wait: it is sent again.
        while signal.SIGTERM not in os.read(reader, 1):
            pass
        while not exiting.wait(0.1):
            signal.pthread_kill(main, signal.SIGTERM)

    signal.signal(signal.SIGTERM, handle)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=repeat, name="sigterm", daemon=True).start()


def _load(name: str) -> Any:
    """Import a file beside this one; not by its name, by which the program would find it too."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_local_aws_{name}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    return frame  # None for a program that does not compile


if __name__ == "__main__":
    status = run(Path(sys.argv[1]))
    atexit._run_exitfuncs()
    # The server's threads and gRPC take 0.2 s to end in order, and no data depends on them.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
