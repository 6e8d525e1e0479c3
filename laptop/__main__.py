"""The commands behind ``make demo``, ``up``, ``down``, ``status`` and ``results``."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from laptop.config import Config, LaptopError


def main() -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m laptop", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("demo", "up"):
        command = commands.add_parser(name)
        command.add_argument("--catalogue", type=Path)
    commands.add_parser("down")
    commands.add_parser("status")
    commands.add_parser("results").add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        return _run(options, console)
    except LaptopError as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]{error}[/red]", highlight=False, markup=True)
        return 1
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted: everything that was started has been ended; what was stored stays.")
        return 130


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _run(options: argparse.Namespace, console: Console) -> int:
    config = Config.from_environment()
    # Each command imports what it needs: pyarrow, SQLAlchemy and boto3 take longer than a `make down`.
    if options.command == "down":
        from laptop.processes import Supervisor

        ended = Supervisor(config).stop()
        console.print("Ended. What was stored stays." if ended else "Nothing was running.")
        return 0

    from laptop.commands import demo, results, status, up

    if options.command == "demo":
        demo(config, options.catalogue, console)
    elif options.command == "up":
        up(config, options.catalogue, console)
    elif options.command == "status":
        return status(config, console)
    else:
        results(config, options.to, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
