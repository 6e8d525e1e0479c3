"""Runs one Spark program on a Sail server in this process: `sail_program.py JOB`.

It is started by its path, so that the program sees nothing of this repository but what it brings itself.
"""

import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from types import TracebackType

from pysail.spark import SparkConnectServer


def run(job_file: Path) -> int:
    """Run a job's program as __main__ and return its exit status.

    The job is JSON: program (path), arguments, path (goes before sys.path), conf (Spark properties).
    """
    job = json.loads(job_file.read_text(encoding="utf-8"))
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
    return frame  # none for a program that does not compile


if __name__ == "__main__":
    status = run(Path(sys.argv[1]))
    # The server's threads and gRPC take 0.2 s to end in order, and no data hangs on them.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
