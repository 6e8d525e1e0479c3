"""The platform's outermost process seen from outside: started once, found again, ended with everything under it."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from console.errors import UserError
from console.options import ROOT
from console.ports import require_free
from laptop.config import Config

END_TIMEOUT_S = 15
# Raised when the code asks for something of a running platform that one started by the version before has not.
VERSION = 2


class Supervisor:
    """The running platform of one state folder, known by pid and start time, so that a reused pid is never touched."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._record = config.state / "supervisor.json"

    def process(self) -> psutil.Process | None:
        """Return the running process, or None."""
        try:
            record = json.loads(self._record.read_text())
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["created"]) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
            return None

    def engine(self) -> str | None:
        """Return the engine that the running platform was started with."""
        return json.loads(self._record.read_text())["engine"] if self.process() else None

    def require_same_version(self) -> None:
        """Raise UserError where the running platform was started by a version of the code that it does not fit."""
        if self.process() and json.loads(self._record.read_text()).get("version") != VERSION:
            raise UserError(
                "The platform that runs was started by another version of this checkout: run make down, then repeat "
                "the command; what is stored stays."
            )

    def start(self, environment: Mapping[str, str], *, step_memory: str) -> None:
        """Start the platform's processes in the background; they end with this process, unless :meth:`keep` is called.

        Args:
            environment: environment of Airflow's processes.
            step_memory: memory that one Spark step may use, such as ``6g``.

        Raises:
            UserError: a port is taken or the state folder cannot be written.
        """
        self._end_leftovers()
        require_free(self._config.aws_port, "AWS_PORT", "the local AWS endpoint")
        require_free(self._config.ui_port, "UI_PORT", "Airflow's web page")
        for folder in (self._config.logs, self._config.airflow_home):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = f"The folder {folder} cannot be made ({error.strerror})"
                raise UserError(f"{reason}: name another place with STATE=…") from None
        for log in self._config.logs.glob("*.log"):
            log.unlink()
        self._forget()
        command = [str(self._config.python("airflow")), "-m", "laptop.supervisor"]
        command += ["--step-memory", step_memory, "--parent", str(os.getpid())]
        ours = {
            "STATE": str(self._config.state),
            "VENVS": str(self._config.venvs),
            "UI_PORT": str(self._config.ui_port),
            "AWS_PORT": str(self._config.aws_port),
            "ENGINE": self._config.engine,
            # dags/: the scheduler tells lineage by a module there.
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}",
            "PYTHONUNBUFFERED": "1",
        }
        with (self._config.logs / "supervisor.log").open("ab") as log_file:
            child = subprocess.Popen(
                command,
                env=dict(environment) | ours,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        created = psutil.Process(child.pid).create_time()
        record = {"pid": child.pid, "created": created, "engine": self._config.engine, "version": VERSION}
        self._record.write_text(json.dumps(record))

    def keep(self) -> None:
        """Let the platform go on when this process has ended."""
        if process := self.process():
            process.send_signal(signal.SIGUSR1)

    def require_alive(self) -> None:
        """Raise UserError, with the reason, where the platform has ended."""
        if not self.process():
            raise UserError(f"The platform has ended: {self.end_reason() or 'make down was run.'}")

    def end_reason(self) -> str:
        """Return why the platform ended that was started last; empty if it was asked to, or none was started."""
        with contextlib.suppress(FileNotFoundError):
            return f"{self._config.ended_file.read_text()}."
        if not self._record.exists():
            return ""
        return f"all its processes were killed, or the machine was switched off; its logs are in {self._config.logs}."

    def stop(self) -> bool:
        """End the platform and all processes under it; return False where none ran."""
        process = self.process()
        if process:
            family = process.children(recursive=True)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
            psutil.wait_procs([process], timeout=END_TIMEOUT_S)
            with contextlib.suppress(psutil.NoSuchProcess):
                family += process.children(recursive=True)
            for left in [*family, process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
            psutil.wait_procs([*family, process], timeout=5)
        self._end_leftovers()
        self._forget()
        return process is not None

    def _end_leftovers(self) -> None:
        """Kill what a platform has left whose outermost processes were all killed at once: it has their session."""
        try:
            record = json.loads(self._record.read_text())
            if abs(psutil.Process(record["pid"]).create_time() - record["created"]) >= 1:
                return  # another process by now, and so is the session
        except (FileNotFoundError, ValueError, KeyError):
            return
        except psutil.NoSuchProcess:
            pass
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
                # The folder too: after a while the session may be another program's.
                if os.getsid(process.pid) == record["pid"] and process.cwd() == str(ROOT):
                    process.kill()

    def _forget(self) -> None:
        for file in (self._record, self._config.ended_file):
            file.unlink(missing_ok=True)


def wait_until(ready: Callable[[], bool], supervisor: Supervisor, *, what: str, seconds: float, log: Path) -> None:
    """Wait until ``ready()`` is true while the platform lives.

    Raises:
        UserError: the platform ended, or it took longer than the seconds given.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        supervisor.require_alive()
        if time.monotonic() > deadline:
            raise UserError(f"{what} did not become ready within {seconds:.0f} s; see {log}.")
        time.sleep(0.2)
