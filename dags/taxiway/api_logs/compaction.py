"""Compacts the small hours of a day into one file of the table of days, by the rule in the contract of the events.

A day is compacted when no late record can come to it any more, and again whenever one of its hours was published anew.
The hours stay as they are: readers of either table see every event once. See docs/adr/0017-layout-of-api-events.md.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pyarrow import parquet

from taxiway.api_logs import hours
from taxiway.api_logs.records import schema
from taxiway.api_logs.tables import DAILY, DAILY_ALONE, EVENTS
from taxiway.core.s3 import split
from taxiway.lake import Lake, Partition, Publication

log = logging.getLogger(__name__)

MOST_DAYS = 40  # that one run compacts


def days_due(
    published: Mapping[str, Partition], compacted: Mapping[str, Partition], now: datetime
) -> dict[str, list[Partition]]:
    """Return the days to compact with their hours in order; the newest first, at most :data:`MOST_DAYS`.

    Args:
        published: hour → its partition of the events.
        compacted: day → its partition of the table of days.
        now: with a time zone.
    """
    after = timedelta(hours=int(EVENTS.contract.properties["compactAfterHours"]))
    found: dict[str, list[Partition]] = {}
    for hour, partition in sorted(published.items()):
        if hours.parse(f"{hours.day(hour)}-23") + timedelta(hours=1) + after <= now:
            found.setdefault(hours.day(hour), []).append(partition)
    due = [
        day for day, of in found.items() if day not in compacted or _inputs(of) not in compacted[day].processed_inputs
    ]
    return {day: found[day] for day in sorted(due, reverse=True)[:MOST_DAYS]}


def compact(lake: Lake, due: Mapping[str, Sequence[Partition]], version: str, run_id: str) -> list[str]:
    """Compact days whose hours are small, publish them, and return them.

    Args:
        lake: of the hours.
        due: day → its hours in order.
        version: of what is written.
        run_id: the Airflow run.
    """
    daily, done = replace(lake, tables=DAILY_ALONE), []
    least = int(EVENTS.contract.properties["compactBelowMegabytes"]) * 1_000_000
    for day, of in due.items():
        files = [f"{split(each.location)[0]}/{key}" for each in of for key in lake.data_files(each.location)]
        sizes = [info.size or 0 for info in lake.files.get_file_info(files)]
        if sum(sizes) >= least * len(of):
            log.info("%s stays as it is: its %s hours have %s bytes.", day, len(of), f"{sum(sizes):,}")
            continue
        location = daily.location(DAILY, day, version)
        rows = _write(lake, [each.location for each in of], f"{location}/part-0.parquet")
        daily.publish(
            Publication(period=day, inputs=_inputs(of), locations={DAILY.name: location}, rows={DAILY.name: rows}),
            run_id,
        )
        daily.prune(day)
        log.info("%s: %s hours with %s events are one file.", day, len(of), f"{rows:,}")
        done.append(day)
    return done


def _write(lake: Lake, locations: Sequence[str], target: str) -> int:
    """Write the rows of folders to a file, in their order; return their number."""
    columns, properties, rows = schema(EVENTS), EVENTS.contract.properties, 0
    group = int(properties["rowGroupRows"])
    with (
        lake.files.open_output_stream(target.removeprefix("s3://")) as stream,
        parquet.ParquetWriter(stream, columns, compression=properties["compression"]) as writer,
    ):
        for location in locations:
            for batch in lake.batches(location, columns.names):
                writer.write_batch(batch.cast(columns), row_group_size=group)
                rows += batch.num_rows
    return rows


def _inputs(of: Sequence[Partition]) -> str:
    """Return what a day says that it was made from: a digest of the versions of its hours."""
    return hashlib.sha256("".join(f"{each.location}\n" for each in of).encode()).hexdigest()
