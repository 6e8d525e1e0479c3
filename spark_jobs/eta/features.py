"""The features of the arrival model: one module for training, the stream and the scorer. Does not import Spark.

A request's features are what is known at its instant: itself, waits of earlier months (:class:`Lagged`), and what the
riders who were picked up in the last minutes had waited (:class:`LiveWaits`). Times are New York wall-clock times
without a zone; live waits go by whole minutes and sums of whole seconds, so that batch and stream agree exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from spark_jobs.common.taxi_zones import lookup

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CONTRACT = 1  # rises when FEATURES or the meaning of one changes: a model of another contract is refused
CITY_MINUTES, ZONE_MINUTES = 20, 60  # of live waits; a stream keeps the longer
LONGEST_WAIT_S = 3600  # longer ones, and negative ones, are reservations and faults of clocks, as in eta_training
COMPANIES = ("juno", "uber", "via", "lyft")
ZONES = {zone_id: borough for zone_id, borough, _ in lookup()}  # borough by zone id
BOROUGHS = tuple(sorted(set(ZONES.values())))

# What pick-ups are counted by, and the minutes before the request: live_<area>_<minutes>.
_AREAS = ("city", "borough", "zone")
_WINDOWS = (("city", 5), ("city", 20), ("city", 60), ("borough", 20), ("borough", 60), ("zone", 20), ("zone", 60))
FEATURES: tuple[tuple[str, str], ...] = (
    ("pickup_zone_id", "number"),
    ("dropoff_zone_id", "number"),
    ("pickup_borough", "number"),  # place in BOROUGHS
    ("company", "number"),  # place in COMPANIES
    ("request_hour", "number"),
    ("request_weekday", "number"),  # 1 = Monday
    ("holiday", "number"),  # 1 on a public holiday of New York
    ("trip_miles", "number"),  # −1 if unknown
    ("lagged_wait_s", "number"),  # the published median, which is also the baseline
    ("lagged_requests", "number"),  # that it was made of, 0 if it is not of the zone and hour itself
    ("expected_wait_s", "number"),  # the same, drawn to that of the zone where it is made of few
    ("live_city_wait_s", "number"),  # mean of CITY_MINUTES; where nobody was picked up, lagged_wait_s
    ("live_city_count", "number"),
    ("live_zone_wait_s", "number"),  # mean of ZONE_MINUTES
    ("live_zone_count", "number"),
    # How much longer than expected those waited who were picked up, drawn to 0 where they are few.
    *((f"live_{area}_{minutes}_excess_s", "number") for area, minutes in _WINDOWS),
    *((f"live_{area}_{minutes}_count", "number") for area, minutes in _WINDOWS),
)
"""Columns of the matrix that :func:`features` returns, in order: name and type."""
NAMES = tuple(name for name, _ in FEATURES)

_BOROUGH_OF = np.zeros(max(ZONES) + 1, np.int64)
_BOROUGH_OF[list(ZONES)] = [BOROUGHS.index(borough) for borough in ZONES.values()]
_SHIFT = 32  # an area and a minute make a key: area · 2^32 + minute
_WEIGHT = 10  # pick-ups that an excess of 0 counts as
_ZONE_WEIGHT, _HOUR_WEIGHT = 20, 20  # requests that the wider median counts as


@dataclass(frozen=True)
class AsOf:
    """Live waits as of an instant; means are NaN where the count is 0. Arrays of equal length."""

    city_mean: Floats
    city_count: Floats
    zone_mean: Floats
    zone_count: Floats


class Lagged:
    """Medians of the waits of earlier months: by zone and hour, else by zone, else of all.

    Attributes:
        cells: the median by zone id and hour, in seconds.
        requests: that it was made of; 0 if it is that of the zone or of all.
        expected: whole seconds; between the median and that of its zone, shifted as the hour is in the city.
    """

    def __init__(self, medians: Mapping[tuple[int | None, int | None], tuple[float, int]]) -> None:
        """Take the medians.

        Args:
            medians: (median in s, requests) by zone id (None: of all) and hour (None: of all).

        Raises:
            KeyError: there is none of all.
        """
        everywhere = medians[None, None][0]
        shape = (len(_BOROUGH_OF), 24)
        self.cells, self.requests, expected = np.full(shape, everywhere, float), np.zeros(shape), np.zeros(shape)
        hours = np.array([medians.get((None, hour), (everywhere, 0))[0] for hour in range(24)]) - everywhere
        for zone_id in range(len(_BOROUGH_OF)):
            median, requests = medians.get((zone_id, None), (everywhere, 0))
            wider = (requests * median + _ZONE_WEIGHT * everywhere) / (requests + _ZONE_WEIGHT) + hours
            self.cells[zone_id] = median
            for hour in range(24):
                if cell := medians.get((zone_id, hour)):
                    self.cells[zone_id, hour], self.requests[zone_id, hour] = cell
            weight = self.requests[zone_id]
            expected[zone_id] = (weight * self.cells[zone_id] + _HOUR_WEIGHT * wider) / (weight + _HOUR_WEIGHT)
        self.expected: Ints = np.clip(np.rint(expected), 0, LONGEST_WAIT_S).astype(np.int64)

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Self:
        """Read ``lagged.parquet``: pickup_zone_id int (null: all), request_hour int (null: all), wait_s, requests."""
        names = ("pickup_zone_id", "request_hour", "wait_s", "requests")
        rows = zip(*(table[name].to_pylist() for name in names), strict=True)
        return cls({(zone_id, hour): (wait_s, requests) for zone_id, hour, wait_s, requests in rows})

    def wait_s(self, zone_id: ArrayLike, hour: ArrayLike) -> Floats:
        """Return the median of each request: of its zone and hour, else of its zone, else of all. No NaN."""
        found: Floats = self.cells[np.asarray(zone_id), np.asarray(hour)]
        return found


class LiveWaits:
    """Waits of riders by zone and minute of their pick-up, for the waits as of an instant."""

    def __init__(self) -> None:
        self._rows = np.empty((4, 0), np.int64)  # zone id, minute, count, sum of waits; sorted, one a zone and minute
        self._added: list[Ints] = []
        self._orders: dict[str, tuple[Ints, Ints]] = {}  # by area: keys in order, and the places of their rows

    def add(self, zone_id: ArrayLike, minute: ArrayLike, count: ArrayLike, sum_s: ArrayLike) -> None:
        """Add pick-ups.

        Args:
            zone_id: of the pick-up.
            minute: of the pick-up, since 1970 (:func:`minutes`).
            count: pick-ups.
            sum_s: sum of their waits, in whole seconds; only of waits of 0 to ``LONGEST_WAIT_S``.
        """
        self._added.append(np.array([zone_id, minute, count, sum_s], np.int64).reshape(4, -1))

    def as_of(self, zone_id: ArrayLike, minute: ArrayLike) -> AsOf:
        """Return the live waits of requests: their pick-up zone, and the minute of the request since 1970.

        Counts pick-ups of whole minutes before it alone: [minute − 20, minute) in the city, [minute − 60, minute) in
        the zone.
        """
        zones, instant = np.atleast_1d(zone_id), np.atleast_1d(minute)
        city, city_s = self._within("city", zones, instant, CITY_MINUTES)
        zone, zone_s = self._within("zone", zones, instant, ZONE_MINUTES)
        return AsOf(_mean(city, city_s), city.astype(float), _mean(zone, zone_s), zone.astype(float))

    def excess(self, area: str, zone_id: Ints, minute: Ints, minutes: int, expected: Ints) -> tuple[Ints, Ints]:
        """Return pick-ups in the minutes before each request's, and by how much their waits exceed the expected.

        Args:
            area: city, borough or zone (of the request) that is looked at.
            zone_id: of the requests.
            minute: of the requests.
            minutes: length of the window.
            expected: seconds by zone id and hour (of the pick-up).

        Returns:
            count, and the sum of (wait − expected) in seconds.
        """
        zones, minute_of, count, sum_s = self._sorted()
        return self._within(area, zone_id, minute, minutes, sum_s - count * expected[zones, minute_of // 60 % 24])

    def drop_before(self, minute: int) -> None:
        """Forget pick-ups before a minute: those before the oldest request to come − ``ZONE_MINUTES``."""
        rows = self._sorted()
        self._rows, self._orders = rows[:, rows[1] >= minute], {}

    def to_arrow(self) -> pa.Table:
        """Return the state: zone_id int32, minute int64, count int64, sum_s int64; a row per zone and minute."""
        zone_id, minute, count, sum_s = self._sorted()
        return pa.table(
            {"zone_id": pa.array(zone_id.astype(np.int32)), "minute": minute, "count": count, "sum_s": sum_s}
        )

    @classmethod
    def from_arrow(cls, state: pa.Table) -> Self:
        """Return the live waits of a state."""
        live = cls()
        live.add(*(state[name].to_numpy() for name in ("zone_id", "minute", "count", "sum_s")))
        return live

    def _sorted(self) -> Ints:
        if self._added:
            rows = np.concatenate([self._rows, *self._added], axis=1)
            keys, place = np.unique((rows[0] << _SHIFT) + rows[1], return_inverse=True)
            merged = np.zeros((4, len(keys)), np.int64)
            merged[0], merged[1] = keys >> _SHIFT, keys & ((1 << _SHIFT) - 1)
            np.add.at(merged[2], place, rows[2])
            np.add.at(merged[3], place, rows[3])
            self._rows, self._added, self._orders = merged, [], {}
        return self._rows

    def _within(
        self, area: str, zone_id: Ints, minute: Ints, minutes: int, values: Ints | None = None
    ) -> tuple[Ints, Ints]:
        """Return the count, and the sum of values (waits by default), of pick-ups in minutes before each request."""
        zones, minute_of, count, sum_s = self._sorted()
        if area not in self._orders:
            unsorted = (_area(area, zones) << _SHIFT) + minute_of
            order = np.argsort(unsorted, kind="stable")
            self._orders[area] = unsorted[order], order
        keys, order = self._orders[area]
        wanted = (_area(area, zone_id) << _SHIFT) + minute
        first, last = np.searchsorted(keys, wanted - minutes), np.searchsorted(keys, wanted)
        counts, sums = (
            np.concatenate([[0], np.cumsum(column[order])]) for column in (count, sum_s if values is None else values)
        )
        return counts[last] - counts[first], sums[last] - sums[first]


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
    minute = minutes(requests["requested_at"])
    zone_id = np.asarray(requests["pickup_zone_id"], np.int64)
    hour, days = minute // 60 % 24, minute // 1440
    now, median = live.as_of(zone_id, minute), lagged.wait_s(zone_id, hour)
    columns = {
        "pickup_zone_id": zone_id,
        "dropoff_zone_id": np.asarray(requests["dropoff_zone_id"], np.int64),
        "pickup_borough": _BOROUGH_OF[zone_id],
        "company": np.asarray(pc.index_in(requests["company"], value_set=pa.array(COMPANIES)), np.int64),
        "request_hour": hour,
        "request_weekday": (days + 3) % 7 + 1,  # 1970 began on a Thursday
        "holiday": _holidays(days),
        "trip_miles": np.asarray(pc.fill_null(requests["trip_miles"].cast(pa.float64()), -1.0)),
        "lagged_wait_s": median,
        "lagged_requests": lagged.requests[zone_id, hour],
        "expected_wait_s": lagged.expected[zone_id, hour],
        "live_city_wait_s": np.where(now.city_count > 0, now.city_mean, median),
        "live_city_count": now.city_count,
        "live_zone_wait_s": np.where(now.zone_count > 0, now.zone_mean, median),
        "live_zone_count": now.zone_count,
    }
    for area, length in _WINDOWS:
        count, excess_s = live.excess(area, zone_id, minute, length, lagged.expected)
        columns[f"live_{area}_{length}_excess_s"] = excess_s / (count + _WEIGHT)
        columns[f"live_{area}_{length}_count"] = count
    return np.column_stack([columns[name] for name in NAMES]).astype(float).reshape(-1, len(NAMES))


def _area(area: str, zone_id: Ints) -> Ints:
    if area == "zone":
        return zone_id
    return _BOROUGH_OF[zone_id] if area == "borough" else np.zeros_like(zone_id)


def _mean(count: Ints, sum_s: Ints) -> Floats:
    mean: Floats = np.divide(sum_s, count, out=np.full(len(count), np.nan), where=count > 0)
    return mean


def _holidays(days: Ints) -> Floats:
    """Return 1 for public holidays, of days since 1970."""
    found, place = np.unique(days, return_inverse=True)
    return np.array([float(_is_holiday(date(1970, 1, 1) + timedelta(int(day)))) for day in found])[place]


@cache
def _is_holiday(day: date) -> bool:
    """Return whether a day is a public holiday of New York State (General Construction Law § 24), as it is observed."""
    if (day.month, day.day) in {(1, 1), (6, 19), (7, 4), (11, 11), (12, 25)}:
        return True
    if day.weekday() == 0 and (day.month, (day - timedelta(1)).day) in {(6, 19), (7, 4), (11, 11), (12, 25), (1, 1)}:
        return True  # the Monday after one on a Sunday
    nth = (day.day - 1) // 7 + 1
    if day.weekday() == 0:
        last_of_may = day.month == 5 and day.day > 24
        return last_of_may or (day.month, nth) in {(1, 3), (2, 3), (9, 1), (10, 2)}
    return (day.month, nth, day.weekday()) == (11, 4, 3)
