"""The command line of the served tables, where Airflow's connections are known.

python -m taxiway.warehouse show                     what is served, staged, and kept for a roll-back
python -m taxiway.warehouse roll-back [TABLE]        serve the table before; a second time undoes it
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import chain

from taxiway.core.contracts import ContractError
from taxiway.core.databases import DatabaseError
from taxiway.core.settings import SettingsError
from taxiway.warehouse import serving
from taxiway.warehouse.target import ServingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m taxiway.warehouse", description="Tables that the service reads.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="list what is served, staged, and kept for a roll-back")
    back = commands.add_parser("roll-back", help="serve the table before; a second time undoes it")
    back.add_argument("table", metavar="TABLE", nargs="?", default="zone_summary", help="default zone_summary")
    options = parser.parse_args(arguments)
    try:
        if options.command == "roll-back":
            live = serving.target(options.table).roll_back()
            sys.stdout.write(f"{options.table} is served as before, with {live.rows:,} rows.\n")
            return 0
        for name in chain.from_iterable(serving.served().values()):
            for state, found in serving.target(name).states().items():
                sys.stdout.write(f"{name:20} {state:12} {found.rows:>12,} rows  {found.checksum[:12]}\n")
    except (ServingError, DatabaseError, ContractError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
