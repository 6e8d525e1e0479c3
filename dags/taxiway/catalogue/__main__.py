"""The command line: ``python -m taxiway.catalogue``; see the package."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import sqlalchemy as sa

from taxiway.catalogue.database import CONNECTION, connect, migrate, open_catalogue
from taxiway.catalogue.loading import load
from taxiway.catalogue.queries import latest_attempts
from taxiway.core.dataset_list import CatalogueError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m taxiway.catalogue", description="The dataset catalogue.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="create or upgrade the tables")
    loader = commands.add_parser("load", help="load a CSV with the columns name, month, url")
    loader.add_argument("file", type=Path)
    loader.add_argument(
        "--whole-months", action="store_true", help="remove other data sets of the file's months from the catalogue"
    )
    commands.add_parser("show", help="list the data sets and their last attempts")
    options = parser.parse_args(arguments)
    try:
        if options.command == "migrate":
            migrate(connect())
        elif options.command == "load":
            report = load(open_catalogue(), options.file, whole_months=options.whole_months)
            sys.stdout.write(", ".join(f"{count} {what}" for what, count in asdict(report).items()) + ".\n")
        else:
            _show(open_catalogue())
    except CatalogueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except sa.exc.DBAPIError as error:
        sys.stderr.write(f"The database of the connection {CONNECTION!r} cannot be used: {error.orig}.\n")
        return 1
    return 0


def _show(engine: sa.Engine) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("month", box=None)
    for heading in ("data set", "status", "rows", "bytes", "finished (UTC)", "error or URL"):
        table.add_column(heading, overflow="fold")
    for dataset, attempt in latest_attempts(engine):
        cells = ["not collected", "", "", "", dataset.source]
        if attempt:
            finished = f"{attempt.finished:%Y-%m-%d %H:%M:%S}" if attempt.finished else ""
            counts = ["" if count is None else f"{count:,}" for count in (attempt.rows, attempt.bytes)]
            cells = [attempt.status, *counts, finished, attempt.error or dataset.source]
        table.add_row(dataset.month, dataset.name, *cells)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
