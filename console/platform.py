"""What a demo and its follower may ask of a platform, on a laptop and on a cluster alike."""

from pathlib import Path
from typing import Any, Protocol

from console.airflow import Airflow, TaskInstance


class Platform(Protocol):
    """A platform that runs: Airflow, AWS, and what ``python -m taxiway.…`` reaches there."""

    @property
    def airflow(self) -> Airflow:
        """Airflow's API, logged in."""

    @property
    def poll_s(self) -> float:
        """Seconds between two looks at what happens."""

    @property
    def lake(self) -> str:
        """``s3://`` address of the lake."""

    @property
    def parsing_hint(self) -> str:
        """What shows why a DAG is not listed; the end of a sentence."""

    @property
    def scheduling_hint(self) -> str:
        """What shows why a run does not start; the end of a sentence."""

    def client(self, service: str) -> Any:
        """Return a boto3 client of the platform's AWS."""

    def run(self, module: str, *arguments: str, file: tuple[str, str] | None = None) -> str:
        """Run ``python -m module`` where Airflow's connections are known.

        Args:
            module: such as ``taxiway.catalogue``.
            arguments: of the module.
            file: name and text of a file, whose path becomes the last argument.

        Returns:
            its standard output.

        Raises:
            UserError: it failed; the text has its last lines.
        """

    def log_path(self, task: TaskInstance) -> Path | None:
        """Return the file of a task's log on this machine; None if it is elsewhere."""

    def require_alive(self) -> None:
        """Raise UserError, with the reason, if the platform has ended."""


class LocalPlatform(Platform, Protocol):
    """A platform on this machine, whose environment has SQLAlchemy, pyarrow and all else that the DAGs have."""

    def catalogue(self) -> Any:
        """Return a SQLAlchemy engine for the dataset catalogue."""
