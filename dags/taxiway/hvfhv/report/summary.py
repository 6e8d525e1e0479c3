"""Computes the figures of the page from the marts: sums, shares and classes, in SQL over small tables.

Percentiles are never averaged. Where the marts are finer than the page (zone and hour instead of company), the page
shows only what aggregates exactly: trips, the mean (weighted by trips) and the share of late trips.
"""

import calendar
import itertools
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from taxiway.hvfhv.report.figures import MonthFigures
from taxiway.hvfhv.tables import baseline_months

Row = dict[str, Any]

MIN_TIMED = 30  # timed trips below which the mean wait of a zone or an hour is not significant
NO_TRIPS = "no trips"
FEW_TRIPS = f"fewer than {MIN_TIMED} timed trips"
WAIT_BREAKS_S = (180, 240, 300, 360, 480)  # fixed, so that maps of different months are comparable
TRIP_CLASSES = 6
TOP_ZONES = 15
TOP_RISING = 10
SLOW_ZONES = 10


@dataclass(frozen=True)
class Summary:
    """The figures of the page; rows are plain dictionaries, ready for a chart or a table.

    Waits are in seconds, shares between 0 and 1, money in US dollars; ``None`` where there is no value.
    """

    companies: list[Row]  # trips, timed, trip_share, wait_s_mean/p50/p90, late_share, fare_revenue, driver_pay
    months: list[Row]  # every company in every calendar month from the first published one to this one
    published_months: list[str]
    days: list[Row]  # every company on every day of the month
    days_with_trips: int
    boroughs: list[Row]  # trips, and in "shares" and "revenue_shares" one value per company
    hours: list[Row]  # every company in every request hour
    zones: list[Row]  # every zone with a shape or with trips
    popular: list[Row]
    slowest: list[Row]
    unmapped: list[Row]  # zones with trips but without a shape on the map
    trip_classes: list[str]
    wait_classes: list[str]
    rising: list[Row]
    baseline_months: list[str]
    trips: int
    timed: int
    late: int

    @property
    def names(self) -> list[str]:
        """Return the companies of the month, most trips first."""
        return [row["company"] for row in self.companies]

    @property
    def trend_names(self) -> list[str]:
        """Return the companies of all months, those of this month first."""
        return list(dict.fromkeys(row["company"] for row in self.months))


def summarise(figures: MonthFigures, shapes: Iterable[Row]) -> Summary:
    """Compute the figures of the page.

    Args:
        figures: the month.
        shapes: properties ``zone_id, zone, borough`` of the zones that have a shape on the map.
    """
    with duckdb.connect(config={"threads": 1}) as connection:  # one thread: sums in a fixed order, so reproducible
        for mart in ("service_quality", "market_share", "popular_zones", "rising_zones", "trend"):
            connection.register(mart, getattr(figures, mart))

        def rows(sql: str, *parameters: object) -> list[Row]:
            result = connection.execute(sql, list(parameters))
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

        companies = rows(_COMPANIES, figures.month)
        names = [row["company"] for row in companies]
        trend = rows("SELECT * FROM trend WHERE month <= ? ORDER BY month, company", figures.month)
        published = sorted({row["month"] for row in trend})
        shares = rows(_DAYS)
        shapes = list(shapes)
        zones = _with_classes(_all_zones(rows(_ZONES), shapes))
        mapped = {shape["zone_id"] for shape in shapes}
        rising = rows(_RISING, TOP_RISING)
        return Summary(
            companies=companies,
            months=_grid(
                trend, "month", _months(published), [*names, *sorted({row["company"] for row in trend} - set(names))]
            ),
            published_months=published,
            days=_grid(shares, "day", range(1, _days_in(figures.month) + 1), names),
            days_with_trips=len({row["day"] for row in shares}),
            boroughs=rows(_BOROUGHS),
            hours=_grid(rows(_HOURS), "hour", range(24), names),
            zones=zones,
            popular=[zone for zone in _by_trips(zones) if zone["trips"]][:TOP_ZONES],
            slowest=sorted(
                (zone for zone in zones if zone["timed"] >= MIN_TIMED),
                key=lambda zone: (-zone["wait_s_mean"], zone["zone_id"]),
            )[:SLOW_ZONES],
            unmapped=[zone for zone in _by_trips(zones) if zone["trips"] and zone["zone_id"] not in mapped],
            trip_classes=_labels(_trip_breaks(zones)),
            wait_classes=_WAIT_CLASSES,
            rising=rising,
            baseline_months=[month for month in published if 0 < _distance(month, figures.month) <= baseline_months()],
            trips=sum(row["trips"] for row in companies),
            timed=sum(row["timed"] for row in companies),
            late=sum(row["late_trips"] for row in companies),
        )


_COMPANIES = """
    WITH timed AS (
        SELECT company, sum(trips)::BIGINT AS timed, sum(late_trips)::BIGINT AS late_trips
        FROM service_quality GROUP BY company
    )
    SELECT t.company, t.trips, t.trip_share, t.wait_s_mean, t.wait_s_p50, t.wait_s_p90, t.fare_revenue, t.driver_pay,
        coalesce(timed, 0) AS timed, coalesce(late_trips, 0) AS late_trips, late_trips / timed AS late_share
    FROM trend AS t LEFT JOIN timed USING (company)
    WHERE t.month = ?
    ORDER BY t.trips DESC, t.company
"""

_DAYS = """
    SELECT day(pickup_date)::INT AS day, company, sum(trips)::BIGINT AS trips,
        sum(trips) / sum(sum(trips)) OVER (PARTITION BY day(pickup_date)) AS trip_share
    FROM market_share GROUP BY day(pickup_date), company
"""

_BOROUGHS = """
    WITH sums AS (
        SELECT pickup_borough, company, sum(trips)::BIGINT AS trips, sum(fare_revenue) AS revenue
        FROM market_share GROUP BY pickup_borough, company
    ),
    parts AS (
        SELECT *, trips / sum(trips) OVER of_borough AS trip_share,
            revenue / nullif(sum(revenue) OVER of_borough, 0) AS revenue_share
        FROM sums WINDOW of_borough AS (PARTITION BY pickup_borough)
    )
    SELECT pickup_borough AS borough, sum(trips)::BIGINT AS trips,
        map_from_entries(list((company, trip_share) ORDER BY company)) AS shares,
        map_from_entries(list((company, revenue_share) ORDER BY company)) AS revenue_shares
    FROM parts GROUP BY pickup_borough ORDER BY trips DESC, borough
"""

_HOURS = """
    SELECT request_hour AS hour, company, sum(trips)::BIGINT AS trips,
        sum(trips * wait_s_mean) / sum(trips) AS wait_s_mean, sum(late_trips) / sum(trips) AS late_share
    FROM service_quality GROUP BY request_hour, company
"""

_ZONES = """
    WITH waits AS (
        SELECT pickup_zone_id AS zone_id, sum(trips)::BIGINT AS timed,
            sum(trips * wait_s_mean) / sum(trips) AS wait_s_mean, sum(late_trips) / sum(trips) AS late_share
        FROM service_quality GROUP BY pickup_zone_id
    ),
    demand AS (
        SELECT zone_id, any_value(zone_name) AS zone, any_value(borough) AS borough, sum(trips)::BIGINT AS trips,
            sum(trips) / sum(sum(trips)) OVER () AS share,
            count(*) FILTER ("rank" <= 10)::INT AS top_days, min("rank") AS best_rank
        FROM popular_zones GROUP BY zone_id
    )
    SELECT demand.*, coalesce(timed, 0) AS timed, wait_s_mean, late_share
    FROM demand LEFT JOIN waits USING (zone_id)
"""

_RISING = """
    WITH names AS (
        SELECT zone_id, any_value(zone_name) AS zone, any_value(borough) AS borough FROM popular_zones GROUP BY zone_id
    )
    SELECT r."rank", r.zone_id, coalesce(zone, 'zone ' || r.zone_id) AS zone, borough, r.trips, r.share,
        r.baseline_share, r.growth, r.z
    FROM rising_zones AS r LEFT JOIN names USING (zone_id)
    WHERE r."rank" IS NOT NULL AND r.z > 0 ORDER BY r."rank", r.zone_id LIMIT ?
"""


def _grid(rows: Iterable[Row], key: str, values: Iterable[object], names: Sequence[str]) -> list[Row]:
    """Return one row for each value and company, so that a gap in the data is a gap in the chart."""
    known = {(row[key], row["company"]): row for row in rows}
    return [
        known.get((value, name), {key: value, "company": name, "trips": None})
        for value, name in itertools.product(values, names)
    ]


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:]) - 1


def _distance(earlier: str, later: str) -> int:
    return _number(later) - _number(earlier)


def _months(published: Sequence[str]) -> list[str]:
    if not published:
        return []
    span = range(_number(published[0]), _number(published[-1]) + 1)
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in span]


def _days_in(month: str) -> int:
    return calendar.monthrange(int(month[:4]), int(month[5:]))[1]


def _by_trips(zones: Iterable[Row]) -> list[Row]:
    return sorted(zones, key=lambda zone: (-zone["trips"], zone["zone_id"]))


def _all_zones(zones: list[Row], shapes: list[Row]) -> list[Row]:
    with_trips = {zone["zone_id"]: zone for zone in zones}
    empty = {"trips": 0, "share": 0.0, "timed": 0, "wait_s_mean": None, "late_share": None, "top_days": 0}
    without = {shape["zone_id"]: {**shape, **empty} for shape in shapes if shape["zone_id"] not in with_trips}
    return sorted([*zones, *without.values()], key=lambda zone: zone["zone_id"])


def _with_classes(zones: list[Row]) -> list[Row]:
    breaks = _trip_breaks(zones)
    labels = _labels(breaks)
    return [
        {
            **zone,
            "trip_class": labels[bisect_right(breaks, zone["trips"])] if zone["trips"] else NO_TRIPS,
            "wait_class": _wait_class(zone),
        }
        for zone in zones
    ]


def _wait_class(zone: Row) -> str:
    if not zone["timed"]:
        return NO_TRIPS
    if zone["timed"] < MIN_TIMED:
        return FEW_TRIPS
    return _WAIT_CLASSES[bisect_right(WAIT_BREAKS_S, zone["wait_s_mean"])]


def _trip_breaks(zones: Iterable[Row]) -> list[int]:
    """Return round numbers near the quantiles of the zones' trips: classes of about equal size with readable limits."""
    counts = sorted(zone["trips"] for zone in zones if zone["trips"])
    if not counts:
        return []
    quantiles = (counts[len(counts) * part // TRIP_CLASSES] for part in range(1, TRIP_CLASSES))
    return sorted({number for number in map(_round_number, quantiles) if counts[0] < number <= counts[-1]})


def _round_number(value: int) -> int:
    magnitude = 10 ** math.floor(math.log10(value))
    nearest = min((1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10), key=lambda step: abs(step * magnitude - value))
    rounded: int = round(nearest * magnitude)
    return rounded


def _labels(breaks: Sequence[int]) -> list[str]:
    lows, highs = [1, *breaks], [number - 1 for number in breaks]
    closed = [f"{low:,}–{high:,}" if high > low else f"{low:,}" for low, high in zip(lows, highs, strict=False)]
    return [*closed, f"{lows[-1]:,} or more"]


def _wait_labels() -> list[str]:
    minutes = [seconds // 60 for seconds in WAIT_BREAKS_S]
    middle = [f"{low}–{high} min" for low, high in itertools.pairwise(minutes)]
    return [f"under {minutes[0]} min", *middle, f"{minutes[-1]} min or more"]


_WAIT_CLASSES = _wait_labels()
