"""The platform of this machine: brought up with all it needs, found running, or ended."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import sqlalchemy as sa

from laptop.airflow_api import Airflow
from laptop.config import POOL, Config, LaptopError
from laptop.processes import Supervisor, wait_until
from spark_jobs import publish
from taxiway import catalogue
from taxiway.settings import SettingsError, read_settings

DAGS = ("hvfhv_collection", "hvfhv_analysis")
ARTIFACTS = "s3://taxiway-artifacts/spark_jobs"
START_S = 180


class Platform:
    """Local AWS, Airflow and the dataset catalogue of one state folder."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.supervisor = Supervisor(config)
        self.airflow = Airflow(config)

    @property
    def running(self) -> bool:
        """Whether the platform's processes run now."""
        return self.supervisor.process() is not None

    @contextmanager
    def held_up(self) -> Iterator[bool]:
        """Bring the platform up for the length of a ``with`` block, unless it runs already; then it stays.

        Yields:
            whether it ran before.
        """
        if self.running:
            self.attach()
            yield True
            return
        try:
            self.start(with_parent=True)
            yield False
        finally:
            self.supervisor.stop()

    def attach(self) -> None:
        """Use the platform that runs.

        Raises:
            LaptopError: it runs another engine than the one that is asked for.
        """
        engine = self.supervisor.engine()
        if engine != self.config.engine:
            raise LaptopError(
                f"The platform runs already, with ENGINE={engine}: say make down before ENGINE={self.config.engine}."
            )
        self.config.apply_aws_environment()
        self._wait_for_airflow()

    def start(self, *, with_parent: bool) -> None:
        """Start everything and wait until it can be used.

        Args:
            with_parent: end it when this process is gone.

        Raises:
            LaptopError: it could not be started; nothing is left running.
        """
        jobs = f"{ARTIFACTS}/{publish.default_version(publish.archive())}"
        environment = self.config.environment(jobs)
        _check_settings(environment)
        self.supervisor.start(environment, with_parent=with_parent, step_memory=os.environ.get("STEP_MEMORY") or "6g")
        try:
            self.config.apply_aws_environment()
            wait_until(
                self.config.aws_is_healthy,
                self.supervisor,
                what="The local AWS endpoint",
                seconds=START_S,
                log=self.config.logs / "local-aws.log",
            )
            settings = read_settings()
            self._make_buckets({settings.lake, settings.emr_logs, ARTIFACTS})
            publish.publish(ARTIFACTS, None)
            catalogue.migrate(self.catalogue())
            self._wait_for_airflow()
        except BaseException:
            self.supervisor.stop()
            raise

    def catalogue(self) -> sa.Engine:
        """Return an engine for the dataset catalogue and the ingestion log."""
        return catalogue.open_engine(sa.URL.create("sqlite", database=str(self.config.catalogue_file)))

    def load_catalogue(self, file: Path) -> list[str]:
        """Take over a list of data sets; a month that it names consists of the files that it names.

        Returns:
            its months, earliest first.

        Raises:
            LaptopError: the list cannot be used.
        """
        try:
            catalogue.load(self.catalogue(), file, whole_months=True)
            return sorted({dataset.month for _, dataset in catalogue.read_list(file)})
        except catalogue.CatalogueError as error:
            raise LaptopError(str(error)) from None

    def _wait_for_airflow(self) -> None:
        log = self.config.logs / "scheduler.log"
        wait_until(self.airflow.healthy, self.supervisor, what="Airflow", seconds=START_S, log=log)
        self.airflow.login()
        self.airflow.ensure_pool(POOL, slots=16)  # local AWS itself limits what runs at once
        for dag in DAGS:
            wait_until(
                lambda dag=dag: self.airflow.has_dag(dag),  # type: ignore[misc]
                self.supervisor,
                what=f"The DAG {dag}",
                seconds=START_S,
                log=self.config.logs / "dag-processor.log",
            )
            self.airflow.unpause(dag)

    @staticmethod
    def _make_buckets(uris: set[str]) -> None:
        s3: Any = boto3.client("s3")
        for bucket in {uri.removeprefix("s3://").split("/")[0] for uri in uris}:
            try:
                s3.head_bucket(Bucket=bucket)
            except botocore.exceptions.ClientError:
                s3.create_bucket(Bucket=bucket)


def check_list(file: Path) -> None:
    """Refuse a list of data sets that cannot be used, before anything is started.

    Raises:
        LaptopError: what is wrong with it.
    """
    try:
        catalogue.read_list(file)
    except catalogue.CatalogueError as error:
        raise LaptopError(str(error)) from None


def _check_settings(environment: dict[str, str]) -> None:
    """Refuse a wrong TAXIWAY_… variable before anything is started."""
    os.environ.update({key: value for key, value in environment.items() if key.startswith("TAXIWAY_")})
    try:
        read_settings()
    except SettingsError as error:
        raise LaptopError(str(error)) from None
