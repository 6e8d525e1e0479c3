"""What a service needs of an engine: how to start one Spark program, and no more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from local_aws.execution import Launch


class Engine(Protocol):
    """Prepares what `spark-submit` is given."""

    name: str

    def command(self, submit_args: list[str], folder: Path, environment: Mapping[str, str]) -> Launch:
        """Fetch the program and its files into `folder` and return the process that runs it.

        Args:
            submit_args: the arguments after "spark-submit".
            folder: an empty working folder for this run alone.
            environment: all variables of the program; AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
                AWS_DEFAULT_REGION say where s3:// is, STEP_MEMORY_BYTES how much memory its processes may use
                together (6 GiB by default).

        Raises:
            LaunchError: the arguments are wrong, or a file that they name does not exist.
        """
        ...

    def warm(self) -> None:
        """Do once what makes each start faster; may be called from a thread while the first commands come in."""
        ...

    def close(self) -> None:
        """End what `warm` has started."""
        ...


def step_memory(environment: Mapping[str, str]) -> int:
    """Return the bytes that all processes of a program may use together."""
    return int(environment.get("STEP_MEMORY_BYTES", 6 * 1024**3))
