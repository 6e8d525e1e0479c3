"""How a program reads its arguments and ends: status 0, or one sentence on stderr and status 1 or 2."""

import argparse
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from pyspark.errors import PySparkException

from spark_jobs.common.month import Month

try:
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
except ImportError:  # a Spark Connect client has no JVM to speak to
    ENGINE_ERRORS: tuple[type[Exception], ...] = (PySparkException,)
else:
    ENGINE_ERRORS = (PySparkException, Py4JError)


class JobError(Exception):
    """The program cannot do its work; the text is one sentence that names the thing, the fault and the remedy."""


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser that ends with status 2 and one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the fault and end the program."""
        self.exit(2, f"{self.prog}: {message}; see --help.\n")


def month(text: str) -> Month:
    """Read an argument ``YYYY-MM``."""
    try:
        return Month.parse(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def version(text: str) -> str:
    """Read an argument that names the version folder of a partition."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no version; use letters, digits, '.', '_' and '-'")
    return text


def partition_parser(description: str | None) -> ArgumentParser:
    """Return a parser of the arguments that name a partition to be written: month, lake, version."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--month", type=month, required=True, help="month of the partition, YYYY-MM")
    parser.add_argument("--lake", required=True, help="root of the lake: s3://bucket[/prefix] or a local folder")
    parser.add_argument("--version", type=version, required=True, help="version folder to write inside the partition")
    return parser


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
