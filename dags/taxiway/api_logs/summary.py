"""The summary of a day: events by hour and channel, what was late, what is in quarantine; from Athena's answers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from taxiway.core.counts import most_first

if TYPE_CHECKING:
    from taxiway.aws.athena import Answer

TOP = 20  # channels that a page lists
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}caption{text-align:left;font-weight:600}"
    "td,th{padding:.15rem 1rem .15rem 0;text-align:right}td:first-child,th:first-child{text-align:left}"
    "th{border-bottom:1px solid}"
)


@dataclass
class Day:
    """The numbers of a day.

    Attributes:
        date: ``YYYY-MM-DD``.
        hours: hour → events that occurred in it.
        channels: channel → events.
        late: events that did not arrive in the hour in which they occurred.
        reasons: reason → records that arrived on this day and were quarantined.
    """

    date: str
    hours: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    late: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def events(self) -> int:
        """All events."""
        return self.hours.total()

    @property
    def quarantined(self) -> int:
        """All records in quarantine."""
        return self.reasons.total()

    @property
    def quarantine_share(self) -> float:
        """Of all records, those in quarantine; 0 if there are none."""
        return self.quarantined / (self.events + self.quarantined) if self.quarantined else 0.0

    @property
    def late_share(self) -> float:
        """Of all events, those that were late; 0 if there are none."""
        return self.late / self.events if self.events else 0.0

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in most_first(self.reasons))
        return (
            f"{self.date}: {self.events:,} events in {len(self.channels):,} channels, {self.late_share:.2%} late; "
            f"{self.quarantined:,} quarantined ({self.quarantine_share:.2%}){f': {reasons}' if reasons else ''}."
        )


def read_days(dates: Iterable[str], answers: Mapping[str, "Answer"]) -> list[Day]:
    """Return the numbers of days, in order; those of a day that the answers do not have are zero.

    Args:
        dates: of the days.
        answers: of the queries ``summary_events`` and ``summary_quarantine``.
    """
    days = {date: Day(date) for date in sorted(dates)}
    for row in answers["summary_events"].rows:
        if day := days.get(str(row["date"])):
            day.hours[str(row["hour"])] += int(str(row["events"]))
            day.channels[str(row["channel"])] += int(str(row["events"]))
            day.late += int(str(row["late"]))
    for row in answers["summary_quarantine"].rows:
        if day := days.get(str(row["date"])):
            day.reasons[str(row["reject_reason"])] += int(str(row["records"]))
    return list(days.values())


def page(day: Day) -> str:
    """Return the page of a day, HTML that needs no other file."""
    top = most_first(day.channels)[:TOP]
    if rest := day.events - sum(count for _, count in top):
        top.append((f"{len(day.channels) - TOP:,} others", rest))
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>API logs {day.date}</title>",
        f"<style>{STYLE}</style>",
        f"<h1>API logs of {day.date}</h1><p>{escape(str(day))}</p>",
        _table("Events by hour (UTC)", ("hour", "events"), sorted(day.hours.items())),
        _table("Events by channel", ("channel", "events"), top),
        _table("Records in quarantine, by day of arrival", ("reason", "records"), most_first(day.reasons)),
    ]
    return "\n".join([*parts, "</html>\n"])


def table(days: Sequence[Day]) -> list[tuple[object, ...]]:
    """Return the days as the rows of a small table, its headings first."""
    rows = [
        (day.date, f"{day.events:,}", f"{day.late_share:.2%}", f"{day.quarantined:,}", f"{day.quarantine_share:.2%}")
        for day in days
    ]
    return [("day", "events", "late", "quarantined", "share"), *rows]


def _table(caption: str, headings: Sequence[str], rows: Iterable[tuple[str, int]]) -> str:
    body = "".join(f"<tr><td>{escape(name)}</td><td>{count:,}</td></tr>" for name, count in rows)
    head = "".join(f"<th>{each}</th>" for each in headings)
    body = body or f"<tr><td colspan='{len(headings)}'>none</td></tr>"
    return f"<table><caption>{caption}</caption><tr>{head}</tr>{body}</table>"
