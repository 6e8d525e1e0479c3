"""What a command prints, and how it ends."""

import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from types import FrameType
from typing import NoReturn

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from console.errors import UserError
from console.proxies import without_loopback


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


def summary_table(title: str, *columns: str, texts: Collection[str], whole: Collection[str] = ()) -> Table:
    """Return an empty table of a demo's summary.

    Args:
        title: above it.
        columns: their headings; numbers, aligned to the right, unless they are among ``texts``.
        texts: columns that are aligned to the left.
        whole: columns that are never broken over lines.
    """
    shown = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        justify = "left" if column in texts else "right"
        shown.add_column(column, justify=justify, overflow="fold", no_wrap=column in whole)  # type: ignore[arg-type]
    return shown


def run_command(command: Callable[[Console], int], interrupted: str) -> int:
    """Run a command to its end or to Ctrl-C; the signals TERM and HUP count as Ctrl-C.

    A proxy of the user's is not used for loopback, here and in all that the command starts.

    Args:
        command: returns the exit status.
        interrupted: what to say after Ctrl-C.

    Returns:
        the exit status: 1 after a :class:`UserError` or a request that failed for good, 130 after Ctrl-C.
    """
    os.environ.update(without_loopback(os.environ))
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
    except Exception as error:
        if not isinstance(error, _request_errors()):
            raise
        errors.print(f"A request failed ({error}): make status shows what runs.", style="red", markup=False)
        return 1


def _request_errors() -> tuple[type[BaseException], ...]:
    """Return what the HTTP and AWS clients raise that are in use; importing the others would take long."""
    names = (
        ("requests", "RequestException"),
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("boto3.exceptions", "Boto3Error"),
    )
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
