"""The command line: ``python -m services.replay --bootstrap HOST:PORT --month 2023-06 --speed 60``."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from console.output import run_command
from services.kafka import Connection, tell
from services.replay.play import play
from services.replay.rides import ORDER, of_file, of_month
from spark_jobs.eta.messages import PICKUPS, PREDICTIONS, REQUESTS

ANSWER_S = 300  # for a scoring job that has just been started, on a busy machine


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _options(arguments)
    return run_command(lambda _: _run(options), "Interrupted before anything was sent.")


def _run(options: argparse.Namespace) -> int:
    parts = [of_month(month, options.database) for month in sorted(set(options.month or []))]
    rides = pa.concat_tables([*parts, *(of_file(file) for file in options.file or [])]).sort_by(ORDER)
    connection = Connection(options.bootstrap, options.kafka_config)
    connection.require([REQUESTS, PICKUPS, *([PREDICTIONS] if options.first_answer else [])])
    pace = f"at {options.rate:g} requests a second" if options.rate else f"at {options.speed:g} times the speed of time"
    tell(f"Plays {len(rides):,} rides {pace}{', over and over' if options.loop else ''}; Ctrl-C ends it.")
    sent = play(
        rides,
        connection,
        speed=options.speed,
        rate=options.rate,
        seconds=options.seconds,
        loop=options.loop,
        run=options.run or f"{time.time_ns() // 1_000_000:x}",
        answer_s=ANSWER_S if options.first_answer else 0,
        say=tell,
    )
    tell(str(sent))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m services.replay",
        description="Play the city: send the requests of real rides to Kafka in their order, and the pick-ups when the "
        "riders were picked up. Times are those of New York then; gaps of ten minutes and more are left out.",
    )
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="address of Kafka (%(default)s)")
    parser.add_argument("--kafka-config", type=Path, help="settings of librdkafka, name=value a line")
    parser.add_argument("--month", action="append", help="published month, such as 2023-06; may be repeated")
    parser.add_argument("--database", default="taxiway", help="of the Glue catalogue, for --month (%(default)s)")
    parser.add_argument("--file", action="append", type=Path, help="Parquet file with the columns of eta_training")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=_positive, default=60, help="seconds that pass in a second (%(default)s)")
    pace.add_argument("--rate", type=_positive, help="requests a second, instead of a speed")
    parser.add_argument("--seconds", type=_positive, help="to play at most")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, some weeks later")
    parser.add_argument("--run", help="begins the ids of the requests; by default the time")
    parser.add_argument("--first-answer", action="store_true", help="go on when the first request is answered")
    options = parser.parse_args(arguments)
    if not options.month and not options.file:
        parser.error("name a --month or a --file")
    return options


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("it must be above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
