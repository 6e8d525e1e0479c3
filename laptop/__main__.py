"""The commands behind ``make demo``, ``up``, ``down``, ``status``, ``stream`` and those that read the lake."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from console.output import run_command
from laptop.config import Config


def main() -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m laptop", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("demo", "up", "down", "status", "query", "dbt", "data-docs", "stream"):
        commands.add_parser(name)
    commands.add_parser("results").add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    return run_command(
        lambda console: _run(options, console),
        "Interrupted: everything that was started has been ended; what was stored stays.",
    )


def _run(options: argparse.Namespace, console: Console) -> int:
    config = Config.from_environment()
    # Each command imports what it needs: SQLAlchemy and the demos take longer than a `make down`.
    if options.command == "down":
        from laptop.processes import Supervisor

        ended = Supervisor(config).stop()
        console.print("Ended. What was stored stays." if ended else "Nothing was running.")
        return 0

    if options.command == "dbt":
        from console.output import Reporter
        from laptop import dbt

        if config.aws_is_healthy() or dbt.is_copied(config):
            return dbt.run(config, os.environ.get("ARGS", ""), Reporter(console))

    from laptop.commands import build_summaries, data_docs, demo, query, results, status, stream, up

    if options.command == "demo":
        demo(config, console)
    elif options.command == "up":
        up(config, console)
    elif options.command == "status":
        return status(config, console)
    elif options.command == "dbt":
        return build_summaries(config, os.environ.get("ARGS", ""), console)
    elif options.command == "query":
        query(config, console)
    elif options.command == "data-docs":
        data_docs(config, console)
    elif options.command == "stream":
        stream(config, console)
    else:
        results(config, options.to, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
