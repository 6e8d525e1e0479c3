"""Arguments of programs; an invalid one exits with status 2 and one sentence. Does not import Spark."""

import argparse
import re
from collections.abc import Callable
from datetime import date
from typing import NoReturn

from taxiway.core.month import Month


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose errors exit with status 2 and one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit."""
        self.exit(2, f"{self.prog}: {message}; see --help.\n")


def month(text: str) -> Month:
    """Read an argument ``YYYY-MM``."""
    try:
        return Month.parse(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def day(text: str) -> date:
    """Read an argument ``YYYY-MM-DD``."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a day; write it as YYYY-MM-DD, for example 2023-01-31")


def version(text: str) -> str:
    """Read an argument that names the version folder of a partition."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version; use letters, digits, '.', '_' and '-'")
    return text


def partition_parser(
    description: str | None, period: Callable[[str], object] = month, shown_as: str = "YYYY-MM"
) -> ArgumentParser:
    """Return a parser of the arguments that identify a partition to write: its period, lake, version.

    Args:
        description: of the program.
        period: :func:`month` or :func:`day`, after which the argument is named.
        shown_as: how the period is written.
    """
    parser = table_parser(description)
    name = period.__name__
    parser.add_argument(f"--{name}", type=period, required=True, help=f"{name} of the partition, {shown_as}")
    return parser


def table_parser(description: str | None) -> ArgumentParser:
    """Return a parser of the arguments that identify a version of a whole table to write: its lake, version."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--lake", required=True, help="root of the lake: s3://bucket[/prefix] or a local folder")
    parser.add_argument("--version", type=version, required=True, help="version folder to write")
    return parser
