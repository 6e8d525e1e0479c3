"""The marts on small frames whose results are worked out by hand."""

import math
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.hvfhv.marts import daily_pickups, eta_training, market_share, popular_zones, service_quality, trend
from spark_jobs.hvfhv.rising import rising_zones
from tests.spark_jobs.trips import at

COLUMNS = (
    "company string, pickup_zone_id int, dropoff_zone_id int, request_datetime timestamp_ntz,"
    " pickup_datetime timestamp_ntz, wait_s int, arrival_s int, base_passenger_fare double, driver_pay double,"
    " trip_miles double, trip_time bigint"
)
MORNING = at("2023-03-08 09:30")
POPULAR = "zone_id int, trips bigint"
JFK, ALPHABET_CITY, EAST_VILLAGE = 132, 4, 79

Trip = tuple[str, int, int | None, int | None, float | None, float, datetime]
"""Company, pick-up zone, wait_s, arrival_s, fare, driver's pay, time of the request."""
MakeTrips = Callable[..., DataFrame]


@pytest.fixture
def trips(spark: SparkSession) -> MakeTrips:
    """Return a function that makes curated trips of any number of :data:`Trip`."""

    def make(*rows: Trip) -> DataFrame:
        return spark.createDataFrame(
            [
                (
                    company,
                    zone,
                    1,
                    request,
                    request + timedelta(seconds=wait_s or 0),
                    wait_s,
                    arrival_s,
                    fare,
                    pay,
                    1.0,
                    60,
                )
                for company, zone, wait_s, arrival_s, fare, pay, request in rows
            ],
            COLUMNS,
        )

    return make


def _trip(
    company: str = "uber",
    zone: int = JFK,
    wait_s: int | None = 0,
    arrival_s: int | None = None,
    fare: float | None = 10.0,
    pay: float = 8.0,
    request: datetime = MORNING,
) -> Trip:
    return company, zone, wait_s, arrival_s, fare, pay, request


def _rows(frame: DataFrame) -> list[tuple[Any, ...]]:
    return sorted(map(tuple, frame.collect()), key=repr)


def test_service_quality(trips: MakeTrips) -> None:
    waits = [*range(1, 20), 601, 3600, 3601, -1, None]
    frame = service_quality(trips(*(_trip(wait_s=wait, arrival_s=wait if wait in (5, 7) else None) for wait in waits)))
    assert _rows(frame) == [("uber", JFK, 9, 21, (190 + 601 + 3600) / 21, 11, 19, 601, 2, 6.0, 5, 7)]
    assert [f"{name} {type_}" for name, type_ in frame.dtypes] == [
        "company string",
        "pickup_zone_id int",
        "request_hour int",
        "trips bigint",
        "wait_s_mean double",
        "wait_s_p50 int",
        "wait_s_p90 int",
        "wait_s_p95 int",
        "late_trips bigint",
        "arrival_s_mean double",
        "arrival_s_p50 int",
        "arrival_s_p90 int",
    ]


def test_service_quality_without_arrivals(trips: MakeTrips) -> None:
    [row] = service_quality(trips(_trip("lyft", wait_s=600))).collect()
    assert (row.late_trips, row.arrival_s_mean, row.arrival_s_p50, row.arrival_s_p90) == (0, None, None, None)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 19, 20, 21, 40, 100])
def test_percentiles_are_of_the_nearest_rank(trips: MakeTrips, count: int) -> None:
    frame = trips(*(_trip(wait_s=wait) for wait in range(1, count + 1)))
    expected = {percent: math.ceil(count * percent / 100) for percent in (50, 90, 95)}
    [quality] = service_quality(frame).collect()
    assert {percent: quality[f"wait_s_p{percent}"] for percent in (50, 90, 95)} == expected
    [month] = trend(frame).collect()
    assert (month.wait_s_p50, month.wait_s_p90) == (expected[50], expected[90])


def test_groups_by_hour_of_the_request(trips: MakeTrips) -> None:
    late = at("2023-03-08 23:59:59")
    frame = service_quality(trips(_trip(request=late, wait_s=120), _trip(request=late + timedelta(seconds=1))))
    assert sorted(row.request_hour for row in frame.collect()) == [0, 23]


def test_market_share(trips: MakeTrips) -> None:
    daily = daily_pickups(
        trips(
            _trip("uber", EAST_VILLAGE, fare=30.0, pay=20.0),
            _trip("uber", ALPHABET_CITY, fare=30.0, pay=20.0, wait_s=None),
            _trip("lyft", EAST_VILLAGE, fare=40.0, pay=30.0),
            _trip("lyft", JFK, fare=0.0, pay=0.0),
            _trip("lyft", 264, fare=-5.0, pay=0.0),
            _trip("lyft", 265, fare=5.0, request=at("2023-03-08 23:59"), wait_s=60),
        )
    )
    day = date(2023, 3, 8)
    assert _rows(market_share(daily)) == [
        ("lyft", "Manhattan", day, 1, 1 / 3, 40.0, 0.4, 30.0),
        ("lyft", "N/A", date(2023, 3, 9), 1, 1.0, 5.0, 1.0, 8.0),
        ("lyft", "Queens", day, 1, 1.0, 0.0, None, 0.0),
        ("lyft", "Unknown", day, 1, 1.0, -5.0, 1.0, 0.0),
        ("uber", "Manhattan", day, 2, 2 / 3, 60.0, 0.6, 40.0),
    ]


def test_popular_zones(trips: MakeTrips) -> None:
    next_day = at("2023-03-09 12:00")
    daily = daily_pickups(
        trips(*[_trip()] * 2, _trip("lyft"), *[_trip(zone=4)] * 3, _trip(zone=265), _trip(zone=79, request=next_day))
    )
    frame = popular_zones(daily)
    assert _rows(frame) == [
        (date(2023, 3, 8), JFK, 3, 1, "JFK Airport", "Queens"),
        (date(2023, 3, 8), 265, 1, 3, "Outside of NYC", "N/A"),
        (date(2023, 3, 8), 4, 3, 1, "Alphabet City", "Manhattan"),
        (date(2023, 3, 9), 79, 1, 1, "East Village", "Manhattan"),
    ]
    assert [type_ for _, type_ in frame.dtypes] == ["date", "int", "bigint", "int", "string", "string"]


def test_trend(trips: MakeTrips) -> None:
    uber = [_trip(wait_s=wait, fare=10.0, pay=7.5) for wait in (10, 20, 30, 4000, -5, None)]
    frame = trend(trips(*uber, _trip("lyft", wait_s=3601, fare=None, pay=1.0), _trip("lyft", wait_s=None, pay=1.0)))
    assert _rows(frame) == [
        ("lyft", 2, None, None, None, 10.0, 2.0, 0.25),
        ("uber", 6, 20.0, 20, 30, 60.0, 45.0, 0.75),
    ]
    assert [type_ for _, type_ in frame.dtypes] == ["string", "bigint", "double", "int", "int", *["double"] * 3]


def test_eta_training(trips: MakeTrips) -> None:
    sunday, monday = at("2023-03-05 23:59"), at("2023-03-06")
    frame = eta_training(
        trips(
            _trip(request=sunday, wait_s=0), _trip(request=monday, wait_s=3600), _trip(wait_s=3601), _trip(wait_s=None)
        )
    )
    assert _rows(frame) == [
        ("uber", JFK, 1, sunday, 23, 7, 1.0, 0, 60),
        ("uber", JFK, 1, monday, 0, 1, 1.0, 3600, 60),
    ]
    assert [type_ for _, type_ in frame.dtypes] == (
        ["string", "int", "int", "timestamp_ntz", "int", "int", "double", "int", "bigint"]
    )


def test_rising_zones_against_the_months_before(spark: SparkSession) -> None:
    popular = spark.createDataFrame([(1, 30), (1, 10), (2, 60), (3, 100)], POPULAR)
    baseline = [
        spark.createDataFrame([(1, 10), (2, 90)], POPULAR),
        spark.createDataFrame([(2, 100), (4, 300)], POPULAR),
    ]
    rows = {row.zone_id: row for row in rising_zones(popular, baseline).collect()}

    def z(now: int, before: int) -> float:
        pooled = (now + before) / 700
        return (now / 200 - before / 500) / math.sqrt(pooled * (1 - pooled) * (1 / 200 + 1 / 500))

    assert set(rows) == {1, 2, 3}
    assert tuple(rows[1]) == (1, 40, 0.2, 0.05, pytest.approx(3.0), pytest.approx(z(40, 10)), 2)
    assert tuple(rows[2]) == (
        2,
        60,
        0.3,
        pytest.approx(0.575),
        pytest.approx(0.3 / 0.575 - 1),
        pytest.approx(z(60, 190)),
        3,
    )
    assert tuple(rows[3]) == (3, 100, 0.5, 0.0, None, pytest.approx(z(100, 0)), 1)


def test_rising_zones_of_the_first_month(spark: SparkSession) -> None:
    popular = spark.createDataFrame([(1, 30), (2, 10)], POPULAR)
    frame = rising_zones(popular, [])
    assert _rows(frame) == [(1, 30, 0.75, None, None, None, None), (2, 10, 0.25, None, None, None, None)]
    types = ["int", "bigint", "double", "double", "double", "double", "int"]
    assert [type_ for _, type_ in frame.dtypes] == types
    assert rising_zones(popular, [popular]).dtypes == frame.dtypes


def test_rising_zones_where_a_zone_has_all_trips(spark: SparkSession) -> None:
    everything = spark.createDataFrame([(1, 30)], POPULAR)
    assert _rows(rising_zones(everything, [everything])) == [(1, 30, 1.0, 1.0, 0.0, None, 1)]


def test_rising_zones_against_a_month_without_trips(spark: SparkSession) -> None:
    popular, empty = spark.createDataFrame([(1, 30), (2, 10)], POPULAR), spark.createDataFrame([], POPULAR)
    assert _rows(rising_zones(popular, [empty])) == [
        (1, 30, 0.75, 0.0, None, None, 1),
        (2, 10, 0.25, 0.0, None, None, 1),
    ]
