"""Arguments of programs; an invalid one exits with status 2 and one sentence. Does not import Spark."""

import argparse
import re
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


def version(text: str) -> str:
    """Read an argument that names the version folder of a partition."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version; use letters, digits, '.', '_' and '-'")
    return text


def partition_parser(description: str | None) -> ArgumentParser:
    """Return a parser of the arguments that identify a partition to write: month, lake, version."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--month", type=month, required=True, help="month of the partition, YYYY-MM")
    parser.add_argument("--lake", required=True, help="root of the lake: s3://bucket[/prefix] or a local folder")
    parser.add_argument("--version", type=version, required=True, help="version folder to write inside the partition")
    return parser
