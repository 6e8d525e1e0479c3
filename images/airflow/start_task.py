"""Starts a task in a pod of its own: Airflow is imported while git-sync, beside it, fetches the DAGs.

``start_task.py FOLDER SECONDS python -m MODULE ARGUMENT…`` runs what the Kubernetes executor asks for once FOLDER is
there, and ends with status 1 if that takes longer than SECONDS.
"""

import gc
import importlib
import os
import runpy
import sys
import time
from pathlib import Path

# What a task's process imports before it tells that it runs, most of it only when it gets there.
AIRFLOW = (
    "airflow.executors.base_executor",
    "airflow.executors.workloads",
    "airflow.sdk.execution_time.supervisor",
)


def main() -> int:
    """Wait for the DAGs and run the task; return the exit status if it cannot be run."""
    if len(sys.argv) < 4:
        print("usage: start_task.py FOLDER SECONDS python -m MODULE ARGUMENT…", file=sys.stderr)  # noqa: T201
        return 2
    folder, seconds, *command = sys.argv[1:]
    deadline = time.monotonic() + float(seconds)
    os.umask(0o002)  # as the image's entry point sets it
    gc.disable()  # it would look at what stays, again and again
    for name in AIRFLOW:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    while not Path(folder).exists():
        if time.monotonic() > deadline:
            print(  # noqa: T201
                f"The DAGs are not in {folder} after {seconds} s: the log of the container git-sync says why.",
                file=sys.stderr,
            )
            return 1
        time.sleep(0.02)
    if command[:2] != ["python", "-m"]:
        os.execvp(command[0], command)  # noqa: S606
    sys.path[0] = str(Path.cwd())  # as python -m has it
    sys.argv = command[2:]
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
