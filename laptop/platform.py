"""The platform of this machine: started with all it needs, found running, or ended."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from console.airflow import Airflow, TaskInstance
from console.aws import ARTIFACTS, local_client, make_buckets
from console.demo import discover
from console.errors import UserError
from console.options import ROOT
from console.patience import PATIENCE_S, Say, say_on_stderr
from console.processes import run_program
from laptop.access import LocalAccess
from laptop.config import Config
from laptop.processes import Supervisor, wait_until
from spark_jobs import publish
from taxiway import catalogue
from taxiway.core.pipelines import check_settings, settings_classes
from taxiway.core.s3 import split
from taxiway.core.settings import Settings, SettingsError

START_TIMEOUT_S = PATIENCE_S  # on a busy machine; what has ended is not waited for


class Platform:
    """Local AWS, Airflow and the dataset catalogue of one state folder; see :class:`console.platform.LocalPlatform`."""

    poll_s = 0.7

    def __init__(self, config: Config, say: Say = say_on_stderr) -> None:
        self.config = config
        self.supervisor = Supervisor(config)
        self.access = LocalAccess(config, self.supervisor)
        self.airflow = Airflow(self.access, say)
        self._client = cache(lambda service: local_client(service, config.aws_url))

    @property
    def running(self) -> bool:
        """Whether the platform's processes run now."""
        return self.supervisor.process() is not None

    @contextmanager
    def held_up(self) -> Iterator[bool]:
        """Start the platform for the length of a ``with`` block, unless it runs already; then it stays.

        Yields:
            whether it ran before.
        """
        if self.running:
            self.attach()
            yield True
            return
        try:
            self.start()
            yield False
        finally:
            self.supervisor.stop()

    def attach(self) -> None:
        """Use the platform that runs.

        Raises:
            UserError: it was started by another version, or runs another engine than the one that is asked for.
        """
        self.supervisor.require_same_version()
        engine = self.supervisor.engine()
        if engine != self.config.engine:
            raise UserError(
                f"The platform runs already, with ENGINE={engine}: run make down before ENGINE={self.config.engine}."
            )
        self.config.apply_aws_environment()
        self._wait_for_airflow()

    def start(self) -> None:
        """Start everything and wait until it can be used; it ends with this process, unless the supervisor keeps it.

        Raises:
            UserError: it could not be started; nothing is left running.
        """
        _check_settings(self.environment)
        memory = os.environ.get("STEP_MEMORY") or "6g"
        try:
            self.supervisor.start(self.environment, step_memory=memory)
            self.config.apply_aws_environment()
            wait_until(
                self.config.aws_is_healthy,
                self.supervisor,
                what="The local AWS endpoint",
                seconds=START_TIMEOUT_S,
                log=self.config.logs / "local-aws.log",
            )
            uris = (self.lake, Settings.read().emr_logs, ARTIFACTS)
            make_buckets(self.client("s3"), [split(uri)[0] for uri in uris])
            publish.publish(ARTIFACTS, None)
            catalogue.migrate(self.catalogue())
            self._wait_for_airflow()
        except BaseException:
            self.supervisor.stop()
            raise

    @cached_property
    def environment(self) -> dict[str, str]:
        """The environment of Airflow's processes, with the settings of all pipelines."""
        settings = {"TAXIWAY_SPARK_JOBS": f"{ARTIFACTS}/{publish.default_version(publish.archive())}"}
        for demo in discover().values():
            settings |= demo.settings
        # A person's value under a setting's former name counts as well.
        former = (
            (each.variable(field), old) for each in settings_classes() for field, old in each.former_names.items()
        )
        for variable, old in former:
            if old in os.environ:
                settings.pop(variable, None)
        return self.config.environment(settings)

    def _wait_for_airflow(self) -> None:
        log = self.config.logs / "scheduler.log"
        wait_until(self.airflow.healthy, self.supervisor, what="Airflow", seconds=START_TIMEOUT_S, log=log)
        self.airflow.login()

    # What demos see --------------------------------------------------------------------------------------------------

    @property
    def lake(self) -> str:
        """``s3://`` address of the lake."""
        return Settings.read().lake

    @property
    def parsing_hint(self) -> str:
        """What shows why a DAG is not listed."""
        return f"see {self.config.logs / 'dag-processor.log'}."

    @property
    def scheduling_hint(self) -> str:
        """What shows why a run does not start."""
        return f"see {self.config.logs / 'scheduler.log'}."

    def client(self, service: str) -> Any:
        """Return a boto3 client of local AWS."""
        return self._client(service)

    def catalogue(self) -> sa.Engine:
        """Return an engine for the dataset catalogue and the ingestion log."""
        return catalogue.open_engine(sa.URL.create("sqlite", database=str(self.config.catalogue_file)))

    def run(self, module: str, *arguments: str, file: tuple[str, str] | None = None) -> str:
        """Run ``python -m module``; see :meth:`console.platform.Platform.run`."""
        command = [str(self.config.python("airflow")), "-m", module, *arguments]
        environment = self.environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}"}
        with tempfile.TemporaryDirectory(prefix="taxiway-") as folder:
            if file:
                path = Path(folder) / file[0]
                path.write_text(file[1])
                command.append(str(path))
            try:
                result = run_program(
                    command,
                    env=environment,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    timeout=PATIENCE_S,
                )
            except subprocess.TimeoutExpired:
                raise UserError(f"{module} {' '.join(arguments)} did not end within {PATIENCE_S} s.") from None
        if result.returncode:
            lines = (result.stderr or result.stdout).strip().splitlines()
            raise UserError(f"{module} {' '.join(arguments)} failed: {lines[-1] if lines else 'it gave no reason'}")
        return str(result.stdout)

    def log_path(self, task: TaskInstance) -> Path:
        """Return the file of a task's log."""
        folder = self.config.airflow_home / "logs" / f"dag_id={task['dag_id']}" / f"run_id={task['dag_run_id']}"
        folder /= f"task_id={task['task_id']}"
        if task["map_index"] >= 0:
            folder /= f"map_index={task['map_index']}"
        return folder / f"attempt={task['try_number']}.log"

    def require_alive(self) -> None:
        """Raise UserError, with the reason that the logs give, if the platform has ended."""
        self.supervisor.require_alive()


def _check_settings(environment: dict[str, str]) -> None:
    """Refuse a wrong TAXIWAY_… variable before anything is started."""
    os.environ.update({key: value for key, value in environment.items() if key.startswith("TAXIWAY_")})
    try:
        check_settings()
    except SettingsError as error:
        raise UserError(str(error)) from None
