"""What a step runner needs of an engine: how to start one program, and no more."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class SubmitError(Exception):
    """The arguments of spark-submit cannot be carried out here; the text is one clear sentence."""


@dataclass(frozen=True)
class Launch:
    """A process to start: it runs one program to its end, and its exit status is the program's.

    All that the program starts is in the session of this process: measure and end that as a whole.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: Path


class Engine(Protocol):
    """Runs what `spark-submit` is given."""

    name: str

    def command(self, submit_args: list[str], folder: Path, environment: Mapping[str, str]) -> Launch:
        """Fetch the program and its files into `folder` and return the process that runs it.

        Args:
            submit_args: the words after "spark-submit".
            folder: an empty working folder of this one run.
            environment: all variables of the program; AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
                AWS_DEFAULT_REGION say where s3:// is, STEP_MEMORY_BYTES what its processes may use together (6 GiB
                by default).

        Raises:
            SubmitError: the arguments are wrong, or a file that they name is not there.
        """
        ...

    def warm(self) -> None:
        """Do once what makes each start quicker; may be called from a thread while the first commands come in."""
        ...

    def close(self) -> None:
        """End what `warm` has started."""
        ...


def step_memory(environment: Mapping[str, str]) -> int:
    """Return the bytes that all processes of a program may use together."""
    return int(environment.get("STEP_MEMORY_BYTES", 6 * 1024**3))
