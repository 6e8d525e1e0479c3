"""From published trips to what a model learns from: lagged medians, and a row of features a request."""

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.common.program import ProgramError
from spark_jobs.eta.features import LONGEST_WAIT_S, NAMES, ZONE_MINUTES, ZONES, Lagged, LiveWaits, features

COLUMNS = ("request_datetime", "pickup_zone_id", "dropoff_zone_id", "company", "trip_miles", "wait_s")
"""What is read of the table eta_training."""
KEPT = ("request_datetime", "wait_s")  # beside the features
_SCHEMA = ", ".join(["request_datetime timestamp_ntz", "wait_s double", *(f"{name} double" for name in NAMES)])
_MEDIANS = pa.schema(
    {"pickup_zone_id": pa.int32(), "request_hour": pa.int32(), "wait_s": pa.int32(), "requests": pa.int64()}
)
_DAY = 24 * 60


def published(rows: DataFrame, place: str) -> DataFrame:
    """Return a published month's rows, ``COLUMNS``.

    Args:
        rows: of the table eta_training.
        place: where they are, for the error.

    Raises:
        ProgramError: a column is missing.
    """
    if missing := [name for name in COLUMNS if name not in rows.columns]:
        raise ProgramError(
            f"{place} lacks the column {missing[0]}, so it is not the table eta_training: publish the month again."
        )
    return rows.select(*COLUMNS).where(F.col("wait_s").between(0, LONGEST_WAIT_S))


def counts(rows: DataFrame) -> DataFrame:
    """Return how many requests waited how long: pickup_zone_id, request_hour, wait_s, requests."""
    hour = F.hour("request_datetime").alias("request_hour")
    return rows.groupBy("pickup_zone_id", hour, "wait_s").agg(F.count("*").alias("requests"))


class Waits:
    """How many requests waited how long, by pick-up zone and hour of the request, of the months so far."""

    def __init__(self) -> None:
        self._requests = np.zeros((max(ZONES) + 1, 24, LONGEST_WAIT_S + 1), np.int64)  # 180 MB, whatever the months

    @property
    def requests(self) -> int:
        """Of all months so far."""
        return int(self._requests.sum())

    def add(self, counts: pa.Table) -> None:
        """Add a month's :func:`counts`."""
        zone_id, hour, wait_s = (counts[name].to_numpy() for name in ("pickup_zone_id", "request_hour", "wait_s"))
        self._requests[zone_id, hour, wait_s] += counts["requests"].to_numpy()

    def medians(self) -> pa.Table:
        """Return the medians by nearest rank as ``lagged.parquet`` has them.

        Columns: pickup_zone_id int (null: all), request_hour int (null: all), wait_s int, requests bigint; by both, by
        each, of all; only where there are requests.
        """
        rows: list[tuple[int | None, int | None, int, int]] = []
        for zones, waits in ((True, self._requests), (False, self._requests.sum(0, keepdims=True))):
            for hours, of_group in ((True, waits), (False, waits.sum(1, keepdims=True))):
                total = of_group.sum(2)
                # The value of rank ⌈total / 2⌉.
                median = (2 * of_group.cumsum(2) >= total[..., None]).argmax(2)
                rows += [
                    (int(zone) if zones else None, int(hour) if hours else None, int(median[zone, hour]), int(requests))
                    for (zone, hour), requests in np.ndenumerate(total)
                    if requests
                ]
        return pa.table(list(map(list, zip(*rows, strict=True))), _MEDIANS)


def with_features(rows: DataFrame, lagged: Lagged) -> DataFrame:
    """Return a row a request: ``KEPT``, and its features, which are doubles.

    A day's requests need the pick-ups of that day and of the hour before it, and no more memory than these.

    Args:
        rows: of a month.
        lagged: medians of the months before it.
    """
    seconds = F.unix_seconds(F.col("request_datetime").cast("timestamp"))
    requests = rows.withColumn("day", F.floor(seconds / (60 * _DAY)))
    pickups = (
        rows.select("pickup_zone_id", F.floor((seconds + F.col("wait_s")) / 60).alias("minute"), "wait_s")
        .groupBy("pickup_zone_id", "minute")
        .agg(F.count("*").alias("count"), F.sum("wait_s").alias("sum_s"))
        # Those of a day's last hour are looked at on the next day too.
        .withColumn("day", F.explode(F.array_distinct(F.array(_day("minute"), _day("minute", ZONE_MINUTES)))))
    )

    def of_a_day(requests: pa.Table, pickups: pa.Table) -> pa.Table:
        live = LiveWaits()
        live.add(*(pickups[name].to_numpy() for name in ("pickup_zone_id", "minute", "count", "sum_s")))
        # In one order, so that a model is the same each time it is trained.
        requests = requests.sort_by([(name, "ascending") for name in COLUMNS])
        matrix = features(requests.rename_columns({"request_datetime": "requested_at"}), live, lagged)
        kept = {name: requests[name] for name in KEPT}
        kept["wait_s"] = kept["wait_s"].cast(pa.float64())
        return pa.table(kept | dict(zip(NAMES, matrix.T, strict=True)))

    return requests.groupBy("day").cogroup(pickups.groupBy("day")).applyInArrow(of_a_day, _SCHEMA)


def _day(minute: str, later: int = 0) -> Column:
    return F.floor((F.col(minute) + later) / _DAY)
