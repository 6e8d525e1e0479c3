"""Waiting for a service that does not answer for a while: its pod is replaced, its database restarts, all is busy."""

import time
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console

from console.errors import UserError

# Outlasts a killed API server, database or worker on a machine with two cores, where each may take minutes to start.
PATIENCE_S = 600
LONGEST_PAUSE_S = 10

Result = TypeVar("Result")
Say = Callable[[str], None]


class NotNowError(Exception):
    """A try failed in a way that may pass.

    Args:
        reason: a clause.
        after_s: what the service asks to wait before the next try.
    """

    def __init__(self, reason: str, after_s: float = 0) -> None:
        super().__init__(reason)
        self.after_s = after_s


def say_on_stderr(text: str) -> None:
    """Print a line where it does not mix with results."""
    Console(stderr=True, soft_wrap=True).print(text, highlight=False, markup=False)


def patiently(
    attempt: Callable[[], Result], *, of: str, hint: str, say: Say = say_on_stderr, patience_s: float | None = None
) -> Result:
    """Return what ``attempt`` returns, trying again with growing pauses what may pass.

    Says so twice: when it begins to wait, and when that is over.

    Args:
        attempt: raises :class:`NotNowError` where another try may succeed; every other exception ends the waiting.
        of: the service, such as ``Airflow's API server``; begins sentences.
        hint: a sentence on what to look at if it never answers.
        say: prints a line.
        patience_s: seconds from the first failure to the last try, by default ``PATIENCE_S``.

    Raises:
        UserError: it did not succeed in time; the text has the reason of the last try.
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    began, pause = 0.0, 0.5
    while True:
        try:
            result = attempt()
        except NotNowError as error:
            if not began:
                began = time.monotonic()
                say(f"{of} does not answer ({error}): waits for it, at most {patience_s:.0f} s")
            left = began + patience_s - time.monotonic()
            if left <= 0:
                raise UserError(f"{of} has not answered for {patience_s:.0f} s ({error}): {hint}") from None
            pause = min(2 * pause, LONGEST_PAUSE_S)
            time.sleep(min(max(pause, error.after_s), left))
        else:
            if began:
                say(f"{of} answers again after {time.monotonic() - began:.0f} s")
            return result
