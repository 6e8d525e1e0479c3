"""Which days' sessions are built anew when a day is, and whose requests that takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from taxiway.core import contracts

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class SessionsPlan:
    """Days beside the day that is built, in order.

    Attributes:
        rebuilt: published days whose sessions may change; all of them are read.
        read: published days whose requests are needed.
    """

    rebuilt: tuple[date, ...]
    read: tuple[date, ...]


def plan(day: date, last_ends: Mapping[date, datetime | None]) -> SessionsPlan:
    """Return what building ``day`` does to the sessions of other days.

    A session stands in the day in which it began, so new requests of a day change sessions that began before and last
    until it, and those with which the day after it begins. To know all sessions that began in a day takes the requests
    of the day before, which may belong to the same session, and of all days until the last of these sessions ends.

    Args:
        day: UTC day that is built, published before or not.
        last_ends: published days → the latest ``ended_at`` (UTC) in their partition of sessions, None if it has none.
    """
    pause = timedelta(minutes=int(contracts.read("access_logs", "sessions").properties["pauseMinutes"]))
    midnight = datetime.combine(day, time())
    first = min(
        (other for other, end in last_ends.items() if other < day and end is not None and end >= midnight - pause),
        default=day - _DAY,
    )
    rebuilt = [other for other in sorted(last_ends) if first <= other <= day + _DAY and other != day]
    ends = [end.date() for other in (*rebuilt, day) if (end := last_ends.get(other)) is not None]
    last = max([*ends, day + _DAY])
    read = [other for other in sorted(last_ends) if first - _DAY <= other <= last and other != day]
    return SessionsPlan(tuple(rebuilt), tuple(read))
