"""What a person reads at the end of the demo, asked from Athena by the pipeline's own queries."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import boto3
from rich.console import Console
from rich.table import Table

from console.errors import UserError
from console.output import summary_table
from taxiway.api_logs import athena
from taxiway.api_logs.plan import list_objects
from taxiway.api_logs.summary import Day, read_days
from taxiway.api_logs.tables import EVENTS
from taxiway.aws.athena import AthenaError
from taxiway.core.s3 import split
from taxiway.lake import Lake

TOP_CHANNELS, TOP_DAYS = 4, 4


def show_summary(console: Console, lake: Lake, hours: Sequence[str]) -> None:
    """Print events by hour and channel, the quarantine by reason, and sizes.

    Args:
        console: to write to.
        lake: to read from.
        hours: of arrival, in order.
    """
    dates = {hour[:10] for hour in hours}
    span = [min(dates), max(dates)]
    try:
        answers = athena.ask(athena.workgroup(boto3.client("athena")), summary_events=span, summary_quarantine=span)
    except AthenaError as error:
        raise UserError(str(error)) from None
    days = read_days(dates, answers)
    shown = sorted(days, key=lambda day: -day.events)[:TOP_DAYS]
    console.print(_hours(answers["summary_events"].rows, shown[0]), _days(days, shown), _reasons(days), sep="\n")
    raw = sum(list_objects(lake.session.client("s3"), lake.settings.lake, hour)[0].bytes for hour in hours)
    published = [partition for hour in hours if (partition := lake.partition(EVENTS, hour))]
    size = sum(_bytes(lake, partition.location) for partition in published)
    rows = sum(int(partition.parameters["rows"]) for partition in published)
    scanned = sum(answer.scanned for answer in answers.values())
    console.print(
        f"{rows:,} events in {len(published):,} hours: {raw / 1e6:.1f} MB of encrypted JSON are {size / 1e6:.1f} MB "
        f"Parquet, 1/{raw / size:.1f} of it.\n"
        f"Athena read {scanned / 1e6:.2f} MB for these tables (named queries {', '.join(answers)}).",
        highlight=False,
    )


def _hours(rows: Sequence[dict[str, str | None]], day: Day) -> Table:
    """Return the events of a day, a row an hour and a column a channel."""
    top = [channel for channel, _ in day.channels.most_common(TOP_CHANNELS)]
    shown = _table(
        f"Events of {day.date} by hour (UTC) and channel", "hour", *(name.lstrip("#") for name in top), "others", "all"
    )
    counts = {(row["hour"], row["channel"]): int(str(row["events"])) for row in rows if row["date"] == day.date}
    for hour, total in sorted(day.hours.items()):
        named = [counts.get((hour, channel), 0) for channel in top]
        shown.add_row(hour, *(f"{count:,}" for count in [*named, total - sum(named), total]))
    return shown


def _days(days: Sequence[Day], largest: Sequence[Day]) -> Table:
    shown = _table("Days", "day", "events", "late", "quarantined", "share")
    for day in sorted(largest, key=lambda day: day.date):
        shown.add_row(
            day.date, f"{day.events:,}", f"{day.late:,}", f"{day.quarantined:,}", f"{day.quarantine_share:.2%}"
        )
    if others := [day for day in days if day not in largest]:
        quarantined = sum(day.quarantined for day in others)
        events = sum(day.events for day in others)
        shown.add_row(
            f"{len(others)} others",
            f"{events:,}",
            f"{sum(day.late for day in others):,}",
            f"{quarantined:,}",
            f"{quarantined / (events + quarantined or 1):.2%}",
        )
    return shown


def _reasons(days: Sequence[Day]) -> Table:
    shown = _table("Quarantine", "reason", "records")
    reasons: Counter[str] = sum((day.reasons for day in days), Counter())
    for reason, count in reasons.most_common():
        shown.add_row(reason, f"{count:,}")
    if not reasons:
        shown.add_row("none", "0")
    return shown


def _bytes(lake: Lake, location: str) -> int:
    bucket, _ = split(location)
    s3: Any = lake.session.client("s3")
    return sum(s3.head_object(Bucket=bucket, Key=key)["ContentLength"] for key in lake.data_files(location))


def _table(title: str, *columns: str) -> Table:
    return summary_table(title, *columns, texts=columns[:1])
