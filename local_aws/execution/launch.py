"""What is needed to start the process of a program."""

from dataclasses import dataclass
from pathlib import Path


class LaunchError(Exception):
    """A program cannot be started; the text is one clear sentence for its user."""


@dataclass(frozen=True)
class Launch:
    """A process to start: it runs one program to its end, and its exit status is the program's.

    All that the program starts is in the session of this process: measure and end that as a whole.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: Path
