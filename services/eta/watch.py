"""The live table: ``python -m services.eta.watch --bootstrap HOST:PORT``."""

import argparse
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console.errors import UserError
from console.output import run_command
from services.eta.board import RECENT_S, Board, Follower, Picture
from services.kafka import Connection
from services.signals import set_by_signals
from spark_jobs.eta.messages import TOPICS

EVERY_S, LINE_S = 0.5, 5  # between two tables on a terminal; between two lines elsewhere
PATIENCE_S = 300  # for the first answer, where the time is limited


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _options(arguments)
    return run_command(lambda console: _run(options, console), "Ended.")


def _run(options: argparse.Namespace, console: Console) -> int:
    connection = Connection(options.bootstrap, options.kafka_config)
    connection.require(TOPICS)
    board, stop = Board(), threading.Event()
    follower = Follower(connection, board, from_end=not options.all)
    follower.start()
    try:
        with set_by_signals(stop):
            if console.is_terminal:
                with Live(console=console, auto_refresh=False) as live:
                    for picture in _pictures(board, stop, options.seconds, EVERY_S):
                        live.update(table(picture), refresh=True)
            else:
                for picture in _pictures(board, stop, options.seconds, LINE_S):
                    console.print(line(picture), highlight=False)
    finally:
        follower.end()
    picture = board.picture(time.monotonic())
    if options.json:
        options.json.write_bytes(msgspec.json.encode(picture))
    if options.seconds and not picture.predictions:
        raise UserError(f"No request has been answered within {PATIENCE_S} s: see the scoring job's log.")
    return 0


def _pictures(board: Board, stop: threading.Event, seconds: float | None, every_s: float) -> Iterator[Picture]:
    """Yield pictures until the end: the seconds count from the first answer."""
    began = time.monotonic()
    first: float | None = None
    while not stop.wait(every_s):
        now = time.monotonic()
        picture = board.picture(now)
        yield picture
        if first is None and picture.predictions:
            first = now
        if seconds and (now - first >= seconds if first else now - began >= PATIENCE_S):
            return


def table(picture: Picture) -> Group:
    """Return a picture as a table for a terminal."""
    shown = Table(box=SIMPLE_HEAD, show_header=False)
    shown.add_column(style="dim")
    shown.add_column()
    for name, value in _facts(picture):
        shown.add_row(name, value)
    errors = Table("live error", "trips", "mean error", "within p90", box=SIMPLE_HEAD)
    for column in errors.columns[1:]:
        column.justify = "right"
    for group in picture.errors:
        errors.add_row(group.name, f"{group.trips:,}", f"{group.mae_s:.0f} s", f"{group.within_p90:.1%}")
    parts: list[Table | Text] = [shown]
    if picture.errors:
        parts.append(errors)
    if picture.problem:
        parts.append(Text(picture.problem, style="red"))
    return Group(*parts)


def line(picture: Picture) -> str:
    """Return a picture as a line of a log."""
    return picture.problem or "; ".join(f"{name} {value}" for name, value in _facts(picture))


def _facts(picture: Picture) -> list[tuple[str, str]]:
    rejected = sum(picture.rejected.values())
    listed = ", ".join(f"{reason} {count:,}" for reason, count in sorted(picture.rejected.items()))
    reasons = f" ({listed})" if listed else ""
    total = (
        f"{picture.requests:,} = {picture.predictions:,} predicted + {rejected:,} rejected{reasons}"
        f" + {picture.unanswered:,} not answered yet"
    )
    everyone = next((group for group in picture.errors if group.by == "all"), None)
    return [
        ("time in New York", f"{picture.at:%Y-%m-%d %H:%M:%S}" if picture.at else "–"),
        ("model", f"{picture.version} ({picture.scorer})" if picture.version else "no answer yet"),
        ("answers a second", f"{picture.per_s:,.1f}"),
        (f"latency of {RECENT_S} s", f"p50 {_ms(picture.p50_ms)}, p99 {_ms(picture.p99_ms)}"),
        ("requests", total),
        (
            "live error",
            f"{everyone.mae_s:.0f} s, {everyone.within_p90:.1%} within p90, {everyone.trips:,} trips"
            if everyone
            else "no rider picked up yet",
        ),
    ]


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m services.eta.watch", description="Show the arrival model's stream."
    )
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="address of Kafka (%(default)s)")
    parser.add_argument("--kafka-config", type=Path, help="settings of librdkafka, name=value a line")
    parser.add_argument("--all", action="store_true", help="count what the topics hold already, too")
    parser.add_argument("--seconds", type=float, help="to watch from the first answer on; default: until Ctrl-C")
    parser.add_argument("--json", type=Path, help="file for what was seen, at the end")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
