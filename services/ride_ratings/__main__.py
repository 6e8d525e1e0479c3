"""The command line: ``python -m services.ride_ratings create`` and ``play``; see services/README.md."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from console.errors import UserError
from console.output import run_command
from services.ride_ratings.history import HistoryError, create, play
from taxiway.core.databases import open_engine

VARIABLE = "AIRFLOW_CONN_RIDE_SERVICE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _options(arguments)
    return run_command(lambda _: _run(options), "Interrupted: what was not complete is undone.")


def _run(options: argparse.Namespace) -> int:
    try:
        engine = open_engine(options.url or _url_of_variable())
        if options.command == "create":
            done = create(engine, seed=options.seed, rows=options.rows, first=options.first, last=options.last)
        else:
            done = play(engine, seed=options.seed, changes=options.changes, until=options.until)
    except (HistoryError, sa.exc.ArgumentError) as error:
        raise UserError(str(error)) from None
    except sa.exc.DBAPIError as error:
        raise UserError(f"The database refuses: {error.orig}. Check --url, or {VARIABLE}.") from None
    sys.stdout.write(f"{', '.join(f'{number:,} {name}' for name, number in done.items())}\n")
    return 0


def _url_of_variable() -> sa.URL:
    """Return the URL of Airflow's connection in the environment, which is JSON or a URI."""
    given = os.environ.get(VARIABLE)
    if not given:
        raise UserError(f"Name the database by --url, such as sqlite:////folder/rides.db, or set {VARIABLE}.")
    if not given.lstrip().startswith("{"):
        url = sa.make_url(given)
        return url.set(drivername="mysql+pymysql") if url.get_backend_name() == "mysql" else url
    found = json.loads(given)
    if found["conn_type"] == "sqlite":
        return sa.URL.create("sqlite", database=found.get("host") or found.get("schema"))
    login = {"username": found.get("login"), "password": found.get("password"), "port": found.get("port")}
    return sa.URL.create("mysql+pymysql", **login, host=found["host"], database=found.get("schema"))


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo:
        raise argparse.ArgumentTypeError("it must be without a zone: it is UTC")
    return time


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.ride_ratings", description="The ride service's database.")
    parser.add_argument("command", choices=("create", "play"), help="make it anew with a history, or go on with it")
    parser.add_argument("--url", help=f"SQLAlchemy URL of SQLite or MySQL; by default that of {VARIABLE}")
    parser.add_argument("--seed", type=int, default=1, help="the same makes the same rows (%(default)s)")
    parser.add_argument("--rows", type=_number, default=20_000, help="ratings that create makes (%(default)s)")
    parser.add_argument("--first", type=_time, default=datetime(2023, 1, 1), help="start of the rides (%(default)s)")  # noqa: DTZ001
    parser.add_argument("--last", type=_time, default=datetime(2023, 7, 1), help="end of the rides (%(default)s)")  # noqa: DTZ001
    parser.add_argument("--changes", type=_number, default=500, help="of rows that play makes (%(default)s)")
    parser.add_argument("--until", type=_time, help="end of the changes; by default a day after the last one")
    options = parser.parse_args(arguments)
    if options.first >= options.last:
        parser.error("--first must be before --last")
    return options


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
