"""What the dbt project reads: which published tables, and which months of them have changed."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from taxiway.lake import Lake, Table

PROJECT = Path(__file__).parents[3] / "warehouse"  # delivered beside dags/, as contracts/ is
# What the models by month are made of. A rating belongs to the month of its ride, and may lie in a later partition.
RIDE_TIME = {"ride_ratings": "requested_at"}
WHOLE = ("taxi_zones",)
BY_MONTH = ("hvfhv",)  # pipelines whose partitions are the months of the rides

Places = dict[str, dict[str, str]]  # table → period → folder of the published version


@cache
def tables() -> dict[str, Table]:
    """Return the tables that the project's models name as a source, ``hvfhv.trend`` → table."""
    text = "".join(
        file.read_text() for folder in ("models", "tests") for file in sorted((PROJECT / folder).rglob("*.sql"))
    )
    named = re.findall(r"""source\(\s*['"](\w+)['"]\s*,\s*['"](\w+)['"]\s*\)""", text)
    return {f"{pipeline}.{name}": Table(pipeline, name) for pipeline, name in sorted(set(named))}


def published(lake: Lake, tables: Iterable[Table]) -> Places:
    """Return where the published versions of tables are; a table of which nothing is published has no entry."""
    found = {table.name: lake.partitions(table) for table in tables}
    return {
        name: {period: partition.location for period, partition in partitions.items()}
        for name, partitions in found.items()
        if partitions
    }


def changed_months(
    before: Places | None, now: Places, tables: Iterable[Table], months_in: Callable[[str, str], set[str]]
) -> list[str] | None:
    """Return the months that the models by month must be built anew for; None for all.

    Args:
        before: the versions that they were built from; None if that is not known.
        now: the versions that are published.
        tables: the project's sources.
        months_in: the months of a column of a version; LookupError if the version is gone.
    """
    if before is None:
        return None
    changed: set[str] = set()
    for table in tables:
        old, new = before.get(table.name, {}), now.get(table.name, {})
        periods = {period for period in old.keys() | new.keys() if old.get(period) != new.get(period)}
        if table.contract_name in WHOLE and periods:
            return None
        if table.pipeline in BY_MONTH:
            if periods - new.keys():
                return None  # a month is gone, which replacing months would leave
            changed |= periods
        elif column := RIDE_TIME.get(table.contract_name):
            try:
                for places in (old, new):
                    changed |= {
                        month for period in periods & places.keys() for month in months_in(places[period], column)
                    }
            except LookupError:
                return None
    return sorted(changed)


def as_places(found: Mapping[str, Mapping[str, str]]) -> Places:
    """Return places as they are kept in JSON."""
    return {table: dict(periods) for table, periods in found.items()}
