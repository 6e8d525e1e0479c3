"""What a person reads at the end of the demo: a few tables, and what the job runs would have cost."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from console.output import summary_table
from demos.costs import cost_of_job_runs
from taxiway.access_logs import tables
from taxiway.lake import Lake
from taxiway.lake import Table as LakeTable

TOP = 5
SHOWN_DAYS = 31  # of a long log the last ones


def show_summary(console: Console, lake: Lake, days: Sequence[str], since: datetime, seconds: float) -> None:
    """Print what the published days say, what the run took and what it would have cost.

    Args:
        console: to write to.
        lake: to read from.
        days: published ones, earliest first.
        since: when the run began.
        seconds: how long it took.
    """
    shown = days[-SHOWN_DAYS:]
    if len(shown) < len(days):
        console.print(f"The last {len(shown)} of {len(days)} days:", highlight=False)
    console.print(_traffic(lake, shown), _quarantine(lake, shown), *_top(lake, shown), sep="\n")
    console.print(cost_of_job_runs(lake.settings.serverless_prices, since, seconds), highlight=False)


def _traffic(lake: Lake, days: Sequence[str]) -> Table:
    shown = _table("Traffic", "day", "requests", "4xx", "5xx", "MB", "busiest hour", "sessions", "of requests")
    for day in days:
        hours = _read(lake, tables.HOURLY_TRAFFIC, day).to_pylist()
        requests, bad, worse, size = (
            sum(hour[name] for hour in hours) for name in ("requests", "errors_4xx", "errors_5xx", "bytes")
        )
        busiest = max(hours, key=lambda hour: (hour["requests"], hour["hour"]))
        sessions = _read(lake, tables.SESSIONS, day, ["requests"]).column(0).to_pylist()
        each = f"{sum(sessions) / len(sessions):.1f}" if sessions else "–"
        shown.add_row(
            *(day, f"{requests:,}", f"{bad:,}", f"{worse:,}", f"{size / 1e6:,.1f}"),
            *(f"{busiest['hour']:%H} h: {busiest['requests']:,}", f"{len(sessions):,}", each),
        )
    return shown


def _quarantine(lake: Lake, days: Sequence[str]) -> Table:
    shown = _table("Lines", "day", "read", "requests", "quarantined", "by reason")
    for day in days:
        requests = lake.count(_location(lake, tables.REQUESTS, day))
        reasons = Counter(_read(lake, tables.QUARANTINE, day, ["reject_reason"]).column(0).to_pylist())
        by_reason = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common()) or "–"
        shown.add_row(day, f"{requests + reasons.total():,}", f"{requests:,}", f"{reasons.total():,}", by_reason)
    return shown


def _top(lake: Lake, days: Sequence[str]) -> Iterator[Table]:
    requests: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    clients: Counter[tuple[str, str]] = Counter()
    for day in days:
        for row in _read(lake, tables.STATUS_BY_PATH, day, ["path", "status", "requests"]).to_pylist():
            requests[row["path"]] += row["requests"]
            errors[row["path"]] += row["requests"] if row["status"] >= 400 else 0
        for row in _read(lake, tables.SUSPICIOUS_CLIENTS, day, ["host", "rule", "matches"]).to_pylist():
            clients[row["host"], row["rule"]] += row["matches"]
    top = _table("Most requested", "resource", "requests", "4xx and 5xx")
    for path, count in requests.most_common(TOP):
        top.add_row(_short(path), f"{count:,}", f"{errors[path]:,}")
    yield top
    suspects = _table("Suspicious clients", "client", "rule", "requests that match")
    for (host, rule), count in clients.most_common(TOP):
        suspects.add_row(_short(host), rule, f"{count:,}")
    if not clients:
        suspects.add_row("none", "", "")
    yield suspects


def _location(lake: Lake, table: LakeTable, day: str) -> str:
    partition = lake.partition(table, day)
    assert partition, "only published days are shown"
    return partition.location


def _read(lake: Lake, table: LakeTable, day: str, columns: Sequence[str] | None = None) -> Any:
    return lake.read(_location(lake, table, day), columns)


def _short(text: str) -> str:
    """Return a client's text for a terminal: printable, not too long, without markup."""
    plain = "".join(each if each.isprintable() else "?" for each in text).replace("[", "\\[")
    return plain if len(plain) <= 70 else f"{plain[:69]}…"


def _table(title: str, *columns: str) -> Table:
    texts = {"day", "by reason", "resource", "client", "rule"}
    return summary_table(title, *columns, texts=texts, whole={"day"})
