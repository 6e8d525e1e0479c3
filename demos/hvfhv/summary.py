"""What a person reads at the end of the demo: a few tables, and where the rest is."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import boto3
from rich.console import Console
from rich.table import Table

from console.output import summary_table
from taxiway.aws.usage import Usage, cluster_usage
from taxiway.hvfhv import tables
from taxiway.lake import Lake
from taxiway.lake import Table as LakeTable

TOP = 5


def show_summary(console: Console, lake: Lake, months: Sequence[str], since: datetime, seconds: float) -> None:
    """Print what the published months say, what the run took and what it would have cost.

    Args:
        console: to write to.
        lake: to read from.
        months: published ones, earliest first.
        since: when the run began.
        seconds: how long it took.
    """
    console.print(_companies(lake, months), _rows(lake, months), *_zones(lake, months[-1]), sep="\n")
    clusters = list(_clusters(since))
    known = [used.usd for used in clusters if used.usd is not None]
    usd = f"{sum(known):.2f} USD" if len(known) == len(clusters) else "an unknown amount"
    console.print(
        f"Took {seconds:.0f} s in all, {sum(used.seconds for used in clusters):.0f} s of them with an EMR cluster "
        f"({'; '.join(used.instances for used in clusters)}).\n"
        f"On AWS these instances for that time cost {usd} by list price (an estimate: real EMR takes some "
        "minutes to start a cluster, which is billed too).",
        highlight=False,
    )


def _companies(lake: Lake, months: Sequence[str]) -> Table:
    shown = _table("Market share and waits (call to pick-up)", "month", "company", "trips", "share", "p50", "p90")
    for month in months:
        for row in _read(lake, tables.TREND, month).sort_by([("trips", "descending")]).to_pylist():
            waits = [_minutes(row[column]) for column in ("wait_s_p50", "wait_s_p90")]
            shown.add_row(month, row["company"], f"{row['trips']:,}", f"{row['trip_share']:.1%}", *waits)
    return shown


def _rows(lake: Lake, months: Sequence[str]) -> Table:
    shown = _table("Rows", "month", "read", "accepted", "quarantined", "by reason")
    for month in months:
        accepted = lake.count(_location(lake, tables.TRIPS, month))
        reasons = Counter(_read(lake, tables.QUARANTINE, month, ["reject_reason"]).column(0).to_pylist())
        by_reason = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common()) or "–"
        quarantined = reasons.total()
        shown.add_row(month, f"{accepted + quarantined:,}", f"{accepted:,}", f"{quarantined:,}", by_reason)
    return shown


def _zones(lake: Lake, month: str) -> Iterator[Table]:
    popular = _read(lake, tables.POPULAR_ZONES, month).to_pylist()
    names = {row["zone_id"]: f"{row['zone_name']} ({row['borough']})" for row in popular}
    trips: Counter[int] = Counter()
    for row in popular:
        trips[row["zone_id"]] += row["trips"]
    top = _table(f"Most pick-ups in {month}", "zone", "trips")
    for zone, count in trips.most_common(TOP):
        top.add_row(names[zone], f"{count:,}")
    yield top
    rising = _table(f"Rising zones in {month}", "zone", "share", "before", "growth", "z")
    ranked = [row for row in _read(lake, tables.RISING_ZONES, month).to_pylist() if row["rank"] is not None]
    for row in sorted(ranked, key=lambda row: row["rank"])[:TOP]:
        growth = "new" if row["growth"] is None else f"{row['growth']:+.0%}"
        shares = (f"{row['share']:.2%}", f"{row['baseline_share']:.2%}")
        rising.add_row(names[row["zone_id"]], *shares, growth, f"{row['z']:.1f}")
    if not ranked:
        rising.add_row("no earlier month to compare with", *[""] * 4)
    yield rising


def _clusters(since: datetime) -> Iterator[Usage]:
    """Yield what each cluster of the run used."""
    emr: Any = boto3.client("emr")
    for page in emr.get_paginator("list_clusters").paginate(CreatedAfter=since):
        for cluster in page["Clusters"]:
            yield cluster_usage(emr, cluster["Id"])


def _location(lake: Lake, table: LakeTable, month: str) -> str:
    partition = lake.partition(table, month)
    assert partition, "only published months are shown"
    return partition.location


def _read(lake: Lake, table: LakeTable, month: str, columns: Sequence[str] | None = None) -> Any:
    return lake.read(_location(lake, table, month), columns)


def _table(title: str, *columns: str) -> Table:
    return summary_table(title, *columns, texts={"month", "company", "zone", "by reason"})


def _minutes(seconds: int | None) -> str:
    return "–" if seconds is None else f"{seconds // 60}:{seconds % 60:02d} min"
