"""What a command prints, and how it ends."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from rich.console import Console

from console.errors import UserError


class Reporter:
    """Prints one line an event, with the time since the command began, so that a log reads as well as a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._began

    def __call__(self, text: str, mark: str = "") -> None:
        """Print a line with the time; ``mark``, which may have rich's markup, comes before the text."""
        self.console.print(f"[dim]{self.seconds:7.1f} s[/dim]  {mark}", end="", highlight=False)
        self.plain(text)

    def plain(self, text: str = "") -> None:
        """Print text as it is, without the time."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def run_command(command: Callable[[Console], int], interrupted: str) -> int:
    """Run a command to its end or to Ctrl-C; the signals TERM and HUP count as Ctrl-C.

    Args:
        command: returns the exit status.
        interrupted: what to say after Ctrl-C.

    Returns:
        the exit status: 1 after a :class:`UserError`, 130 after Ctrl-C.
    """
    errors = Console(stderr=True, soft_wrap=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return command(Console(soft_wrap=True))
    except UserError as error:
        errors.print(str(error), style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        errors.print(interrupted, highlight=False, markup=False)
        return 130


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
