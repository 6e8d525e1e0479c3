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

# What a task's process imports before it reports that it runs.
AIRFLOW = (
    "airflow.executors.base_executor",
    "airflow.executors.workloads",
    "airflow.sdk.execution_time.supervisor",
)
REPORT_AFTER_S = 10


def main() -> int:
    """Wait for the DAGs and run the task; return an exit status if it cannot be run."""
    if len(sys.argv) < 4:
        log("usage: start_task.py FOLDER SECONDS python -m MODULE ARGUMENT…")
        return 2
    folder, seconds, *command = sys.argv[1:]
    began = time.monotonic()
    os.umask(0o002)  # as the image's entry point sets it
    gc.disable()  # it would scan objects that stay, again and again
    for name in AIRFLOW:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    reported = False
    while not Path(folder).exists():
        waited = time.monotonic() - began
        if waited > float(seconds):
            log(f"The DAGs are not in {folder} after {seconds} s: the log of the container git-sync says why.")
            return 1
        if waited > REPORT_AFTER_S and not reported:
            log(f"Waiting for the DAGs in {folder}, which the container git-sync fetches.")
            reported = True
        time.sleep(0.02)
    if command[:2] != ["python", "-m"]:
        os.execvp(command[0], command)  # noqa: S606
    sys.path[0] = str(Path.cwd())  # as python -m has it
    sys.argv = command[2:]
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    return 0


def log(text: str) -> None:
    """Write a line to the pod's log."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
