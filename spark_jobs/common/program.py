"""What a program says: its exit status, 0, or 1 with one sentence on stderr; how long its parts took, on stdout."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from pyspark.errors import PySparkException

try:
    from py4j.protocol import Py4JError
except ImportError:  # a Spark Connect client does not use a JVM
    ENGINE_ERRORS: tuple[type[Exception], ...] = (PySparkException,)
else:
    ENGINE_ERRORS = (PySparkException, Py4JError)


class ProgramError(Exception):
    """The program cannot produce its output; the text is one sentence that names the cause and the remedy."""


def first_line(error: Exception) -> str:
    """Return the first line of an engine's error message, without class names and stack trace."""
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage()) if java is not None else str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__).rstrip(".")


@contextmanager
def timed(part: str) -> Iterator[None]:
    """Print how long a part of the program took, for the step's log: ``trips: 12.3 s``."""
    started = time.monotonic()
    yield
    sys.stdout.write(f"{part}: {time.monotonic() - started:.1f} s\n")
    sys.stdout.flush()


def run(main: Callable[[], None]) -> NoReturn:
    """Run a program and exit with its status."""
    try:
        main()
    except ProgramError as fault:
        sys.exit(f"{fault}")
    except ENGINE_ERRORS as fault:
        sys.exit(f"The engine could not finish the program: {first_line(fault)}.")
    sys.exit(0)
