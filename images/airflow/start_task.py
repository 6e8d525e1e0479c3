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
TELL_AFTER_S = 10


def main() -> int:
    """Wait for the DAGs and run the task; return the exit status if it cannot be run."""
    if len(sys.argv) < 4:
        say("usage: start_task.py FOLDER SECONDS python -m MODULE ARGUMENT…")
        return 2
    folder, seconds, *command = sys.argv[1:]
    began = time.monotonic()
    os.umask(0o002)  # as the image's entry point sets it
    gc.disable()  # it would look at what stays, again and again
    for name in AIRFLOW:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    told = False
    while not Path(folder).exists():
        waited = time.monotonic() - began
        if waited > float(seconds):
            say(f"The DAGs are not in {folder} after {seconds} s: the log of the container git-sync says why.")
            return 1
        if waited > TELL_AFTER_S and not told:
            say(f"Waits for the DAGs in {folder}, which the container git-sync fetches.")
            told = True
        time.sleep(0.02)
    if command[:2] != ["python", "-m"]:
        os.execvp(command[0], command)  # noqa: S606
    sys.path[0] = str(Path.cwd())  # as python -m has it
    sys.argv = command[2:]
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    return 0


def say(text: str) -> None:
    """Put a line into the pod's log."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
