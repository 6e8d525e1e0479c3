"""Which trips are accepted, why the others are not, which reason comes first, duplicates, and the columns added."""

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from pyspark.sql import Row, SparkSession

from spark_jobs.hvfhv import curation
from spark_jobs.hvfhv.curation import curated, quarantined, suspects, with_reject_reason
from spark_jobs.hvfhv.schema import read_trips
from taxiway.core.month import Month
from tests.spark_jobs.trips import MONTH, SCHEMA, TRIP, at, table, write

NOVEMBER = Month(2022, 11)
FAULTS: dict[str, dict[str, Any]] = {
    "missing_key": {"request_datetime": None},
    "unknown_company": {"hvfhs_license_num": "HV0001"},
    "outside_month": {"pickup_datetime": at("2023-02-28 23:59:59")},
    "unknown_zone": {"PULocationID": 266},
    "impossible_distance": {"trip_miles": 500.1},
    "dropoff_not_after_pickup": {"dropoff_datetime": at("2023-02-01")},
}
"""Each reason with a fault that gives it, in the order in which they apply."""


class Curate(Protocol):
    """Curates trips of a month: rows accepted, sorted reasons of the rows that are not."""

    def __call__(self, *changes: dict[str, Any], month: Month = MONTH) -> tuple[list[Row], list[str]]: ...


@pytest.fixture
def curate(spark: SparkSession, tmp_path: Path) -> Curate:
    def run(*changes: dict[str, Any], month: Month = MONTH) -> tuple[list[Row], list[str]]:
        raw = read_trips(spark, [write(table(*changes), tmp_path / "raw.parquet")])
        checked = with_reject_reason(raw, month)
        # The program stores the quarantine before it goes on; a file of pyarrow's stands for that here.
        rejected = quarantined(checked, suspects(raw))
        stored = spark.createDataFrame(rejected.toArrow(), rejected.schema)
        accepted = curated(checked, stored).collect()
        return accepted, sorted(row.reject_reason for row in rejected.collect())

    return run


@pytest.mark.parametrize("name", ["hvfhs_license_num", "request_datetime", "pickup_datetime", "dropoff_datetime"])
@pytest.mark.parametrize("extra", [{}, {"trip_miles": -1.0}])
def test_missing_key(curate: Curate, name: str, extra: dict[str, Any]) -> None:
    assert curate({name: None, **extra}) == ([], ["missing_key"])


@pytest.mark.parametrize("name", ["PULocationID", "DOLocationID"])
def test_missing_zone_is_a_missing_key(curate: Curate, name: str) -> None:
    assert curate({name: None}) == ([], ["missing_key"])


NO_NUMBERS = [float("nan"), float("inf"), float("-inf")]
MONEY = [field.name for field in SCHEMA if str(field.type) == "double" and field.name != "trip_miles"]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number_is_missing(curate: Curate, value: float) -> None:
    [row], reasons = curate(dict.fromkeys(MONEY, value))
    assert reasons == []
    assert {name: row[name] for name in MONEY} == dict.fromkeys(MONEY)


def test_trips_that_differ_in_what_is_no_number_are_duplicates(curate: Curate) -> None:
    rows, reasons = curate({"tips": None}, *({"tips": value} for value in NO_NUMBERS))
    assert ([row.tips for row in rows], reasons) == ([None], ["duplicate"] * 3)


def test_infinite_miles_are_impossible_and_unknown_ones_are_not(spark: SparkSession, tmp_path: Path) -> None:
    raw = write(table(*({"trip_miles": value} for value in NO_NUMBERS), {"trip_miles": None}), tmp_path / "raw.parquet")
    rows = with_reject_reason(read_trips(spark, [raw]), MONTH).collect()
    assert Counter((row.trip_miles, row.reject_reason) for row in rows) == {
        (None, None): 2,
        (None, "impossible_distance"): 2,
    }


@pytest.mark.parametrize("first", FAULTS)
def test_first_reason_applies(curate: Curate, first: str) -> None:
    """A trip with this fault and all that come after it has this reason."""
    reasons = list(FAULTS)
    faults = {
        key: value for reason in reversed(reasons[reasons.index(first) :]) for key, value in FAULTS[reason].items()
    }
    assert curate(faults) == ([], [first])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pickup_datetime": at("2023-03-01")}, None),
        ({"pickup_datetime": at("2023-04-01"), "dropoff_datetime": at("2023-04-01 01:00")}, "outside_month"),
        ({"pickup_datetime": at("2023-03-31 23:59:59"), "dropoff_datetime": at("2023-04-01")}, None),
        ({"PULocationID": 0}, "unknown_zone"),
        ({"PULocationID": 1, "DOLocationID": 265}, None),
        ({"DOLocationID": 266}, "unknown_zone"),
        ({"trip_miles": -0.1}, "impossible_distance"),
        ({"trip_miles": 0.0}, None),
        ({"trip_miles": 500.0}, None),
        ({"trip_miles": None, "trip_time": None}, None),
        ({"dropoff_datetime": TRIP["pickup_datetime"]}, "dropoff_not_after_pickup"),
        ({"dropoff_datetime": TRIP["pickup_datetime"] + timedelta(microseconds=1)}, None),
    ],
)
def test_bounds(curate: Curate, change: dict[str, Any], reason: str | None) -> None:
    accepted, reasons = curate(change)
    assert (len(accepted), reasons) == ((0, [reason]) if reason else (1, []))


def _in_november(pickup: str, dropoff: str, trip_time: int | None, day: int = 6) -> dict[str, Any]:
    date = f"2022-11-{day:02d}"
    return {
        "request_datetime": at(f"{date} 00:50"),
        "pickup_datetime": at(f"{date} {pickup}"),
        "dropoff_datetime": at(f"{date} {dropoff}"),
        "trip_time": trip_time,
    }


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        (_in_november("01:50:00", "01:10:00", 1200), True),
        (_in_november("01:50:00", "01:10:00", 1260), True),
        (_in_november("01:50:00", "01:10:00", 1140), True),
        (_in_november("01:50:00", "01:10:00", 1261), False),
        (_in_november("01:50:00", "01:10:00", 1139), False),
        (_in_november("01:50:00", "01:10:00", None), False),
        (_in_november("01:59:59", "01:00:00", 1), True),
        (_in_november("02:00:00", "01:10:00", 600), False),
        (_in_november("01:10:00", "00:59:59", 2999), False),
        (_in_november("01:50:00", "01:10:00", 1200, day=13), False),
    ],
)
def test_hour_that_daylight_saving_repeats(curate: Curate, change: dict[str, Any], accepted: bool) -> None:
    rows, reasons = curate(change, month=NOVEMBER)
    assert (len(rows), reasons) == ((1, []) if accepted else (0, ["dropoff_not_after_pickup"]))


def test_repeated_hour_is_in_november_alone() -> None:
    assert Month(2020, 11).repeated_hour == (at("2020-11-01 01:00"), at("2020-11-01 02:00"))
    assert Month(2021, 11).repeated_hour == (at("2021-11-07 01:00"), at("2021-11-07 02:00"))
    assert [Month(2022, month).repeated_hour for month in range(1, 13) if month != 11] == [None] * 11


by_name_and_by_join = pytest.mark.parametrize("most_named", [curation.MOST_NAMED, 0], ids=["by name", "by join"])


@by_name_and_by_join
def test_one_of_equal_trips_is_kept(curate: Curate, most_named: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curation, "MOST_NAMED", most_named)
    nulls = {"on_scene_datetime": None, "originating_base_num": None, "trip_miles": None}
    accepted, reasons = curate({}, {}, {}, nulls, nulls)
    assert reasons == ["duplicate"] * 3
    assert sorted(row.trip_miles or 0 for row in accepted) == [0, 4.5]


@pytest.mark.parametrize("name", [name for name in TRIP if name not in ("hvfhs_license_num", "pickup_datetime")])
def test_trips_that_differ_in_one_column_are_both_kept(curate: Curate, name: str) -> None:
    value = TRIP[name]
    if isinstance(value, datetime):
        other: object = value + timedelta(seconds=1)
    else:
        other = value + 1 if isinstance(value, int | float) else "Y"
    assert curate({}, {name: other})[1] == []
    if name in ("on_scene_datetime", "tips", "access_a_ride_flag", "trip_time"):
        assert curate({}, {name: None})[1] == []


@by_name_and_by_join
def test_copies_beside_a_trip_that_agrees_in_its_key(
    curate: Curate, most_named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that share zones and times with a duplicate, but are not equal to it, stay."""
    monkeypatch.setattr(curation, "MOST_NAMED", most_named)
    accepted, reasons = curate({}, {}, {"tips": 3.0}, {"tips": None})
    assert reasons == ["duplicate"]
    assert sorted((row.tips is None, row.tips or 0.0) for row in accepted) == [(False, 0.0), (False, 3.0), (True, 0.0)]


@by_name_and_by_join
def test_rejected_trips_are_no_duplicates(curate: Curate, most_named: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curation, "MOST_NAMED", most_named)
    assert curate({"trip_miles": -1.0}, {"trip_miles": -1.0}) == ([], ["impossible_distance"] * 2)


def test_equal_numbers_of_either_sign_of_zero_are_duplicates(curate: Curate) -> None:
    accepted, reasons = curate({"tips": 0.0}, {"tips": -0.0})
    assert (len(accepted), reasons) == (1, ["duplicate"])


@pytest.mark.parametrize(
    ("licence", "company"), [("HV0002", "juno"), ("HV0003", "uber"), ("HV0004", "via"), ("HV0005", "lyft")]
)
def test_company(curate: Curate, licence: str, company: str) -> None:
    [row], _ = curate({"hvfhs_license_num": licence})
    assert row.company == company


@pytest.mark.parametrize(
    ("request_", "on_scene", "wait_s", "arrival_s"),
    [
        (at("2023-03-08 09:55"), at("2023-03-08 09:58"), 300, 180),
        (at("2023-03-08 09:55"), None, 300, None),
        (at("2023-03-08 10:05"), at("2023-03-08 10:04"), -300, -60),
        (at("2023-03-08 09:59:58.900000"), at("2023-03-08 09:59:59"), 1, 0),
        (at("2023-03-08 10:00:01.100000"), None, -2, None),
        (at("1900-01-01"), None, None, None),  # more seconds than the type holds
    ],
)
def test_waits_are_whole_seconds(
    curate: Curate, request_: datetime, on_scene: datetime | None, wait_s: int | None, arrival_s: int | None
) -> None:
    [row], _ = curate({"request_datetime": request_, "on_scene_datetime": on_scene})
    assert (row.wait_s, row.arrival_s) == (wait_s, arrival_s)
