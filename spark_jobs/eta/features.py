"""The features of the arrival model: one module for training, the stream and the scorer. Does not import Spark.

A request's features are what is known at its instant: itself, waits of earlier months (:class:`Lagged`), and what the
riders who were picked up in the last minutes had waited (:class:`LiveWaits`). Times are New York wall-clock times
without a zone; live waits go by whole minutes, so that batch and stream agree exactly.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from spark_jobs.common.taxi_zones import lookup

CONTRACT = 1  # rises when FEATURES or the meaning of one changes: a model of another contract is refused
CITY_MINUTES, ZONE_MINUTES = 20, 60  # of live waits; a stream keeps the longer
LONGEST_WAIT_S = 3600  # longer ones, and negative ones, are reservations and faults of clocks, as in eta_training
COMPANIES = ("juno", "uber", "via", "lyft")
ZONES = {zone_id: borough for zone_id, borough, _ in lookup()}  # borough by zone id
BOROUGHS = tuple(sorted(set(ZONES.values())))
FEATURES: tuple[tuple[str, str], ...] = (
    ("pickup_zone_id", "category"),
    ("dropoff_zone_id", "category"),
    ("company", "category"),
    ("request_hour", "number"),
    ("request_weekday", "number"),
    ("holiday", "number"),
    ("trip_miles", "number"),
    ("lagged_wait_s", "number"),
    ("live_city_wait_s", "number"),
    ("live_city_count", "number"),
    ("live_zone_wait_s", "number"),
    ("live_zone_count", "number"),
)
NAMES = tuple(name for name, _ in FEATURES)
"""Columns of the matrix that :func:`features` returns, in order."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AsOf:
    """Live waits as of an instant; means are NaN where the count is 0. Arrays of equal length."""

    city_mean: Floats
    city_count: Floats
    zone_mean: Floats
    zone_count: Floats


class LiveWaits:
    """Waits of riders by zone and minute of their pick-up, for the waits as of an instant."""

    def __init__(self) -> None:
        self._rows = np.empty((0, 4))

    def add(self, zone_id: ArrayLike, minute: ArrayLike, count: ArrayLike, sum_s: ArrayLike) -> None:
        """Add pick-ups.

        Args:
            zone_id: of the pick-up.
            minute: of the pick-up, since 1970 (:func:`minutes`).
            count: pick-ups.
            sum_s: sum of their waits, in seconds; only of waits of 0 to ``LONGEST_WAIT_S``.
        """
        raise NotImplementedError

    def as_of(self, zone_id: ArrayLike, minute: ArrayLike) -> AsOf:
        """Return the live waits of requests: their pick-up zone, and the minute of the request since 1970.

        Counts pick-ups of whole minutes before it alone: [minute − 20, minute) in the city, [minute − 60, minute) in
        the zone.
        """
        raise NotImplementedError

    def drop_before(self, minute: int) -> None:
        """Forget pick-ups before a minute: those before the oldest request to come − ``ZONE_MINUTES``."""
        raise NotImplementedError

    def to_arrow(self) -> pa.Table:
        """Return the state: zone_id int32, minute int64, count int64, sum_s int64; a row per zone and minute."""
        raise NotImplementedError

    @classmethod
    def from_arrow(cls, state: pa.Table) -> Self:
        """Return the live waits of a state."""
        raise NotImplementedError


class Lagged:
    """Published medians of the waits of earlier months: by zone and hour, else by zone, else of all."""

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Self:
        """Read ``lagged.parquet``: pickup_zone_id int (null: all), request_hour int (null: all), wait_s, requests."""
        raise NotImplementedError

    def wait_s(self, zone_id: ArrayLike, hour: ArrayLike) -> Floats:
        """Return the median of each request: of its zone and hour, else of its zone, else of all. No NaN."""
        raise NotImplementedError


def minutes(times: pa.Array | pa.ChunkedArray) -> Ints:
    """Return the minutes since 1970 of timestamps without a zone, rounded down."""
    seconds = pc.cast(pc.floor_temporal(times, unit="minute"), pa.timestamp("s")).cast(pa.int64())
    return np.asarray(seconds) // 60


def features(requests: pa.Table, live: LiveWaits, lagged: Lagged) -> Floats:
    """Return the features of requests, (rows, ``len(FEATURES)``), without NaN.

    Args:
        requests: columns requested_at (timestamp without a zone), company (of ``COMPANIES``), pickup_zone_id,
            dropoff_zone_id (of ``ZONES``), trip_miles (null: unknown); others are ignored. What is out of range must
            have been rejected.
        live: pick-ups before the requests.
        lagged: of the model, or of the month.
    """
    raise NotImplementedError
