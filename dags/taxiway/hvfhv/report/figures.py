"""The data of a month's report, read from the published tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from taxiway.aws.usage import Usage
from taxiway.hvfhv.tables import MARKET_SHARE, POPULAR_ZONES, QUARANTINE, RISING_ZONES, SERVICE_QUALITY, TREND, TRIPS
from taxiway.lake import Lake, LakeError, Partition, Table

if TYPE_CHECKING:
    from taxiway.catalogue import Input


@dataclass(frozen=True)
class MonthFigures:
    """Everything that :func:`taxiway.hvfhv.report.render` needs; rendering does not use AWS.

    Attributes:
        month: ``YYYY-MM``.
        service_quality, market_share, popular_zones, rising_zones: the marts of the month.
        trend: the trend mart of all published months, including this one, with an additional column ``month``
            (``YYYY-MM``); the page omits later months.
        accepted: rows of the curated trips.
        quarantined: rows by reason.
        used: what the cluster of the run that analysed the month used; ``None`` if unknown.
        inputs: the files of the month, by the ingestion log.
        partitions: those that were read: the month of every table, and earlier months of the trend.
        generated_at: when the page was generated, in UTC.
    """

    month: str
    service_quality: pa.Table
    market_share: pa.Table
    popular_zones: pa.Table
    rising_zones: pa.Table
    trend: pa.Table
    accepted: int
    quarantined: Mapping[str, int]
    used: Usage | None
    inputs: Sequence["Input"]
    partitions: Sequence[Partition]
    generated_at: datetime

    @property
    def rows_in(self) -> int:
        """Number of rows of the month's files, as counted when they were collected."""
        return sum(file.rows for file in self.inputs)


def gather(lake: Lake, month: str, inputs: Sequence["Input"], used: Usage | None) -> MonthFigures:
    """Read the figures of a published month.

    Args:
        lake: to read from.
        month: ``YYYY-MM``.
        inputs: the files that the published version was built from.
        used: what the run's cluster used.

    Raises:
        taxiway.lake.LakeError: the month is not published.
    """
    parts = {table: _published(lake, table, month) for table in (*_MARTS.values(), TRIPS, QUARANTINE)}
    trends = [part for part in lake.partitions(TREND).values() if part.period <= month]
    return MonthFigures(
        month=month,
        **{name: lake.read(parts[table].location) for name, table in _MARTS.items()},
        trend=pa.concat_tables(_with_month(lake.read(part.location), part.period) for part in trends),
        accepted=int(parts[TRIPS].parameters["rows"]),
        quarantined=_count_reasons(lake.read(parts[QUARANTINE].location, ["reject_reason"])),
        used=used,
        inputs=inputs,
        partitions=(*parts.values(), *reversed(trends)),
        generated_at=datetime.now(UTC),
    )


_MARTS = {
    "service_quality": SERVICE_QUALITY,
    "market_share": MARKET_SHARE,
    "popular_zones": POPULAR_ZONES,
    "rising_zones": RISING_ZONES,
}


READ = (*_MARTS.values(), TREND, TRIPS, QUARANTINE)  # the tables that a report is made from


def _published(lake: Lake, table: Table, month: str) -> Partition:
    part = lake.partition(table, month)
    if part is None:
        raise LakeError(f"{table.name} of {month} is not published, so there is no report: analyse the month first.")
    return part


def _with_month(trend: pa.Table, month: str) -> pa.Table:
    return trend.append_column("month", pa.array([month] * trend.num_rows, pa.string()))


def _count_reasons(quarantine: pa.Table) -> dict[str, int]:
    # Not group_by, which imports pandas: that takes two seconds.
    return {each["values"]: each["counts"] for each in quarantine["reject_reason"].value_counts().to_pylist()}
