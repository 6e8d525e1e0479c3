"""The month's report on checks and incidents: one self-contained HTML page, which needs no network."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from taxiway.catalogue import checks, incidents
from taxiway.catalogue.incidents import Action, Incident
from taxiway.core.s3 import split
from taxiway.operations.incidents import moment, spell

if TYPE_CHECKING:
    import sqlalchemy as sa

KEPT = timedelta(days=400)  # results of checks


@dataclass(frozen=True)
class Team:
    """A team's month.

    Attributes:
        owner: its name.
        found: number of incidents found in the month.
        open: of those, still open at its end.
        detect, repair: median and longest time to detect and to repair, of those found, and of those closed; None if
            there are none.
    """

    owner: str
    found: int
    open: int
    detect: tuple[timedelta, timedelta] | None
    repair: tuple[timedelta, timedelta] | None


@dataclass(frozen=True)
class Checked:
    """A table's month: number of checks, of those that failed, and the names of these."""

    table: str
    owner: str
    checks: int
    failed: int
    names: Sequence[str]


def first_of(month: str) -> datetime:
    """Return the start (UTC) of a month ``YYYY-MM``."""
    return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)


def next_month(start: datetime) -> datetime:
    """Return the start of the month after one."""
    return (start + timedelta(days=31)).replace(day=1)


def render(database: "sa.Engine", month: str, now: datetime | None = None) -> str:
    """Return the report of a month ``YYYY-MM`` (UTC) as HTML.

    Args:
        database: of the catalogue.
        month: the month.
        now: when it is written; incidents and action items are shown as they are then.
    """
    from taxiway.operations import pages

    start, now = first_of(month), now or datetime.now(UTC)
    end = next_month(start)
    found = [each for each in incidents.listed(database, since=start, until=end) if each.detected_at < end]
    environment = pages.environment(Path(__file__).parent)
    environment.filters |= {"moment": moment, "spell": spell, "number": "{:,}".format}
    return environment.get_template("quality_report.html.j2").render(
        month=month,
        written=now,
        teams=teams(found, start, end),
        incidents=found,
        tables=tables(checks.between(database, start, end)),
        actions=[each for each in incidents.actions(database) if each.done_at is None],
        overdue=lambda action: overdue(action, now),
        end=end,
    )


def teams(found: Sequence[Incident], start: datetime, end: datetime) -> list[Team]:
    """Return what each team's incidents of a time were like, by its name."""
    owned: dict[str, list[Incident]] = defaultdict(list)
    for each in found:
        owned[each.owner].append(each)
    made = []
    for owner, of in sorted(owned.items()):
        new = [each for each in of if each.detected_at >= start]
        closed = [
            (each.closed_at - each.detected_at) for each in of if each.closed_at and start <= each.closed_at < end
        ]
        still = [each for each in of if not each.closed_at or each.closed_at >= end]
        detect = [max(each.detected_at - each.since, timedelta(0)) for each in new]
        made.append(Team(owner, len(new), len(still), _spread(detect), _spread(closed)))
    return made


def tables(results: Sequence[checks.Result]) -> list[Checked]:
    """Return how often each table was checked, those that failed most first."""
    of: dict[str, list[checks.Result]] = defaultdict(list)
    for each in results:
        of[each.table].append(each)
    made = [
        Checked(
            table,
            found[-1].owner,
            len(found),
            sum(not each.passed for each in found),
            sorted({each.check for each in found if not each.passed}),
        )
        for table, found in of.items()
    ]
    return sorted(made, key=lambda each: (-each.failed, each.table))


def overdue(action: Action, now: datetime) -> bool:
    """Return whether an action item should be done by now."""
    return action.due is not None and action.due < now.date()


def publish(database: "sa.Engine", month: str, lake: str, s3: Any) -> str:
    """Write the report of a month to the lake, forget old results of checks, and return the page's address.

    Args:
        database: of the catalogue.
        month: ``YYYY-MM``.
        lake: its ``s3://`` address.
        s3: a boto3 client for S3.
    """
    uri = f"{lake}/reports/quality/{month}.html"
    bucket, key = split(uri)
    page = render(database, month).encode()
    s3.put_object(Bucket=bucket, Key=key, Body=page, ContentType="text/html; charset=utf-8")
    checks.forget(database, datetime.now(UTC) - KEPT)
    return uri


def _spread(times: Sequence[timedelta]) -> tuple[timedelta, timedelta] | None:
    return (timedelta(seconds=median(each.total_seconds() for each in times)), max(times)) if times else None
