"""The command line: ``python -m local_kafka up``, ``topics`` or ``fetch``."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from console.output import run_command
from local_kafka import Broker, create_topics, topics

DEFAULT = ".local/kafka"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local_kafka", description="Apache Kafka on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run a broker until Ctrl-C or the end of the process that started it")
    up.add_argument("--port", type=int, default=9092, help="on 127.0.0.1; 0 takes any free one (%(default)s)")
    up.add_argument("--folder", type=Path, default=Path(DEFAULT), help="of its data (%(default)s)")
    up.add_argument("--topics", metavar="PIPELINE", help="create the topics of a pipeline's contracts")
    create = commands.add_parser("topics", help="create the topics of a pipeline's contracts that are missing")
    create.add_argument("pipeline")
    create.add_argument("--bootstrap", default="127.0.0.1:9092", help="address of the broker (%(default)s)")
    commands.add_parser("fetch", help="download Kafka, as the first start would")
    options = parser.parse_args(arguments)
    return run_command(lambda console: _run(options, console), "Kafka has ended; what it stored stays.")


def _run(options: argparse.Namespace, console: Console) -> int:
    if options.command == "fetch":
        from local_kafka.broker import runtime

        runtime()
    elif options.command == "topics":
        created = create_topics(options.bootstrap, topics(options.pipeline))
        console.print(f"Created {', '.join(created)}." if created else "All topics are there.", highlight=False)
    else:
        with Broker(options.folder, options.port) as broker:
            if options.topics:
                create_topics(broker.bootstrap, topics(options.topics))
            # Read by what starts this command; the address is the last word.
            sys.stdout.write(f"Kafka on this machine: {broker.bootstrap}\n")
            sys.stdout.flush()
            while True:
                broker.require_alive()
                time.sleep(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
