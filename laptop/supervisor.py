"""The platform's supervisor: starts local AWS and Airflow's four components, and ends all of them together.

Airflow is imported once and each component is a fork of this process. On two cores that halves the time to a healthy
platform against four separate starts, and the tasks, which the executor forks from the scheduler, find the Amazon
provider already imported. It is what a pre-forking web server does; nothing of Airflow is changed.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

from console.errors import UserError
from console.processes import end_with_parent, signals_held, start_program
from laptop import guardian
from laptop.config import Config

API_SERVER = ["api-server"]
# Logs are read from the disk by the API server; serving them as well would listen on all addresses.
COMPONENTS = {
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
PRELOADED = (
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "airflow.dag_processing.manager",
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.amazon.aws.operators.emr",
)
GRACE_S = 8


class Stopped(BaseException):
    """A signal asked the platform to end."""


def main() -> int:
    """Run the platform until a signal, the end of one of its parts, or the end of the process that started it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step-memory", default="6g")
    parser.add_argument("--parent", type=int, help="process to end with, unless SIGUSR1 has come before")
    options = parser.parse_args()
    config = Config.from_environment()
    guardian.guard(options.parent, config.ended_file)
    signal.signal(signal.SIGTERM, _on_signal)
    parent = os.getppid()

    children: dict[int, str] = {}
    reason = ""
    try:
        aws = _start_aws(config, options.step_memory)
        children[aws.pid] = "local-aws"
        importlib.import_module("airflow.cli.cli_parser")
        _migrate_database(config)
        # The API server takes longest and needs other modules, so it starts while the rest is imported.
        children[_fork(API_SERVER, config.logs / "api-server.log")] = "api-server"
        for module in PRELOADED:
            importlib.import_module(module)
        for name, arguments in COMPONENTS.items():
            children[_fork(arguments, config.logs / f"{name}.log")] = name
        reason = _watch(children, parent, config.logs)
    except Stopped:
        reason = "its guardian was killed" if os.getppid() != parent else "a signal asked it to end"
    except UserError as error:
        reason = str(error)
    except BaseException as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error} (see {config.logs / 'supervisor.log'})"
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        guardian.write_reason(config.ended_file, reason)
        _end(children, parent)
    return 0


def _on_signal(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped


def _start_aws(config: Config, step_memory: str) -> "subprocess.Popen[bytes]":
    command = [
        str(config.python("local-aws")), "-m", "local_aws",
        "--port", str(config.aws_port),
        "--data", str(config.state / "aws"),
        "--engine", config.engine,
        "--step-memory", step_memory,
    ]  # fmt: skip
    if config.engine == "spark":
        command += ["--spark-python", str(config.python("spark"))]
    with (config.logs / "local-aws.log").open("ab") as log:
        return start_program(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _migrate_database(config: Config) -> None:
    from airflow import __version__

    done = config.airflow_home / f"migrated-to-{__version__}"
    if done.exists():
        return
    log = config.logs / "database.log"
    # In a fork, because a parent that has opened a database must not fork its children any more.
    _, status = os.waitpid(_fork(["db", "migrate"], log), 0)
    if status:
        raise UserError(f"Airflow's database could not be brought up to date; the reason is at the end of {log}.")
    with contextlib.closing(sqlite3.connect(config.metadata_file)) as database:
        database.execute(
            "PRAGMA journal_mode=WAL"
        )  # kept in the file: readers and the writer do not lock each other out
    done.touch()


def _fork(arguments: list[str], log: Path) -> int:
    """Run ``airflow ARGUMENTS`` in a child process and return its pid."""
    supervisor = os.getpid()
    with signals_held():
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end_with_parent(supervisor)
        with log.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        from airflow import settings
        from airflow.__main__ import main as airflow

        settings.reconfigure_orm()  # type: ignore[no-untyped-call]
        sys.argv = ["airflow", *arguments]
        airflow()  # type: ignore[no-untyped-call]
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _watch(children: dict[int, str], parent: int, logs: Path) -> str:
    """Return why the platform must end, once one of its parts has ended or its guardian is gone."""
    while os.getppid() == parent:
        for pid, status in guardian.reap().items():
            if name := children.pop(pid, ""):
                log = logs / f"{name}.log"
                lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
                said = f": {lines[-1]}" if lines and os.WIFEXITED(status) else ""
                return f"{guardian.how_it_ended(name, status)}{said} (see {log})"
        time.sleep(0.2)
    return "its guardian was killed"


def _end(children: dict[int, str], parent: int) -> None:
    """End every child in order, at most a few seconds later with SIGKILL, and whatever it has started."""
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while children and time.monotonic() < deadline:
        for pid in guardian.reap():
            children.pop(pid, None)
        time.sleep(0.05)
    guardian.end_members(parent)


if __name__ == "__main__":
    sys.exit(main())
