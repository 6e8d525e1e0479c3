"""The command line: ``python -m taxiway.lake``; see the package."""

import argparse
import sys
from collections.abc import Sequence

from taxiway.core import contracts
from taxiway.core.contracts import ContractError
from taxiway.core.pipelines import MAIN
from taxiway.core.settings import SettingsError, settings
from taxiway.lake.store import LakeError, open_lake
from taxiway.lake.tables import TableSet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    pipelines = contracts.pipelines()
    parser = argparse.ArgumentParser(prog="python -m taxiway.lake", description="Published versions of the lake.")
    parser.add_argument("--pipeline", choices=pipelines, help=f"owner of the tables; default {MAIN}, or all for show")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="list published periods")
    back = commands.add_parser("roll-back", help="publish the previous version of a period again")
    back.add_argument("period", metavar="PERIOD", nargs="?", default="", help="none for a table without partitions")
    back.add_argument("--table", help="the one to roll back, of a pipeline that publishes each table by itself")
    options = parser.parse_args(arguments)
    try:
        if options.command == "roll-back":
            pipelines = [options.pipeline or MAIN]
            open_lake(settings(), _tables(pipelines[0], options.table)).roll_back(options.period)
        elif options.pipeline:
            pipelines = [options.pipeline]
        for pipeline in pipelines:
            _show(pipeline)
    except (LakeError, ContractError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _tables(pipeline: str, table: str | None) -> TableSet:
    sets = TableSet(pipeline).sets
    if len(sets) == 1 and not table:
        return sets[0]
    for each in sets:
        if each.only and each.only.name == table:
            return each
    names = ", ".join(each.only.name for each in sets if each.only)
    remedy = f"each table by itself: name one by --table, of {names}" if names else "its tables together: omit --table"
    raise LakeError(f"{pipeline} publishes {remedy}.")


def _show(pipeline: str) -> None:
    for tables in TableSet(pipeline).sets:
        table = tables.anchor
        for period, partition in open_lake(settings(), tables).partitions(table).items():
            if "rows" not in partition.parameters:  # published by something else, such as dbt
                continue
            rolled_back = " (rolled back)" if partition.parameters.get("rolled_back") else ""
            rows = f"{int(partition.parameters['rows']):>12,} rows"
            sys.stdout.write(f"{period or '-'}  {rows} of {table.name}  {partition.location}{rolled_back}\n")


if __name__ == "__main__":
    sys.exit(main())
