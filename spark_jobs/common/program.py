"""How a program ends: with status 0, or with status 1 and one sentence on stderr."""

import sys
from collections.abc import Callable
from typing import NoReturn

from pyspark.errors import PySparkException

try:
    from py4j.protocol import Py4JError
except ImportError:  # a Spark Connect client has no JVM to speak to
    ENGINE_ERRORS: tuple[type[Exception], ...] = (PySparkException,)
else:
    ENGINE_ERRORS = (PySparkException, Py4JError)


class JobError(Exception):
    """The program cannot do its work; the text is one sentence that names the thing, the fault and the remedy."""


def first_line(error: Exception) -> str:
    """Return what an engine says first, without its class names and stack trace."""
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage()) if java is not None else str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__).rstrip(".")


def run(main: Callable[[], None]) -> NoReturn:
    """Run a program and end the process with its status."""
    try:
        main()
    except JobError as fault:
        sys.exit(f"{fault}")
    except ENGINE_ERRORS as fault:
        sys.exit(f"The engine could not finish the program: {first_line(fault)}.")
    sys.exit(0)
