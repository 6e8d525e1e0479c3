"""What a request's features are, that they are of the past alone, and that batches do not change them."""

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from spark_jobs.eta import features as subject
from spark_jobs.eta.features import NAMES, Lagged, LiveWaits, features, minutes

START = datetime.fromisoformat("2023-06-01T08:00:00")
EVENING = datetime.fromisoformat("2023-06-01T22:30:00")
LAGGED = Lagged({(None, None): (240, 900), (None, 8): (250, 90), (132, None): (300, 40), (132, 8): (310, 30)})


def table(requests: list[dict[str, Any]]) -> pa.Table:
    defaults = {
        "company": "uber",
        "pickup_zone_id": 132,
        "dropoff_zone_id": 7,
        "trip_miles": 2.5,
        "requested_at": START,
    }
    schema = pa.schema(
        {
            "requested_at": pa.timestamp("us"),
            "company": pa.string(),
            "pickup_zone_id": pa.int32(),
            "dropoff_zone_id": pa.int32(),
            "trip_miles": pa.float64(),
        }
    )
    return pa.Table.from_pylist([defaults | request for request in requests], schema=schema)


def live_of(pickups: list[tuple[datetime, int, int]]) -> LiveWaits:
    """Return the live waits of pick-ups: when, zone, wait in s."""
    live = LiveWaits()
    if pickups:
        at, zones, waits = zip(*pickups, strict=True)
        live.add(zones, minutes(pa.array(at, pa.timestamp("us"))), np.ones(len(at)), waits)
    return live


def of_one(live: LiveWaits, lagged: Lagged = LAGGED, **request: Any) -> dict[str, float]:
    return dict(zip(NAMES, features(table([request]), live, lagged)[0].tolist(), strict=True))


def city(seed: int, rows: int = 400) -> tuple[pa.Table, list[tuple[datetime, int, int]]]:
    """Return requests of three hours around midnight, and their pick-ups."""
    draw = np.random.default_rng(seed)
    times = [EVENING + timedelta(seconds=int(s)) for s in np.sort(draw.integers(0, 10_800, rows))]
    zones, waits = draw.integers(1, 266, rows).tolist(), draw.integers(0, 1_500, rows).tolist()
    requests = [{"requested_at": at, "pickup_zone_id": zone % 5 + 1} for at, zone in zip(times, zones, strict=True)]
    pickups = [
        (r["requested_at"] + timedelta(seconds=wait), r["pickup_zone_id"], wait)
        for r, wait in zip(requests, waits, strict=True)
    ]
    return table(requests), pickups


def test_a_request_is_described_by_what_it_says() -> None:
    row = of_one(
        LiveWaits(), company="lyft", requested_at=datetime.fromisoformat("2023-07-04T08:59:59"), trip_miles=None
    )
    assert row["company"] == 3
    assert (row["pickup_zone_id"], row["dropoff_zone_id"], row["request_hour"]) == (132, 7, 8)
    assert subject.BOROUGHS[int(row["pickup_borough"])] == "Queens"
    assert row["request_weekday"] == 2  # a Tuesday
    assert row["holiday"] == 1
    assert row["trip_miles"] == -1


@pytest.mark.parametrize(
    ("day", "holiday"),
    [
        ("2023-01-01", True),
        ("2023-01-02", True),  # as New Year's Day was a Sunday
        ("2022-01-03", False),
        ("2023-01-16", True),
        ("2023-02-20", True),
        ("2023-05-29", True),
        ("2023-05-22", False),
        ("2023-06-19", True),
        ("2023-09-04", True),
        ("2023-10-09", True),
        ("2023-11-23", True),
        ("2023-11-30", False),
        ("2022-12-26", True),
        ("2023-12-26", False),
    ],
)
def test_holidays(day: str, holiday: bool) -> None:
    at = datetime.combine(date.fromisoformat(day), datetime.min.time())
    assert of_one(LiveWaits(), requested_at=at)["holiday"] == holiday


def test_without_pick_ups_the_median_stands_for_live_waits() -> None:
    row = of_one(LiveWaits())
    assert row["lagged_wait_s"] == row["live_city_wait_s"] == row["live_zone_wait_s"] == 310
    assert row["live_city_count"] == row["live_zone_count"] == row["live_city_20_excess_s"] == 0


def test_an_empty_cell_takes_the_zones_median_then_that_of_all() -> None:
    assert LAGGED.wait_s([132, 132, 5], [8, 9, 8]).tolist() == [310, 300, 240]
    assert of_one(LiveWaits(), pickup_zone_id=5)["lagged_requests"] == 0


def test_live_waits_are_of_whole_minutes_before_the_request() -> None:
    at = START + timedelta(seconds=30)  # its minute has begun, and is not over
    pickups = [
        (START, 132, 9_999),  # in the request's own minute
        (START - timedelta(seconds=1), 132, 100),
        (START - timedelta(minutes=20), 132, 200),
        (START - timedelta(minutes=20, seconds=1), 132, 400),  # too old for the city
        (START - timedelta(minutes=60), 132, 800),
        (START - timedelta(minutes=60, seconds=1), 132, 9_999),
        (START - timedelta(minutes=5), 4, 600),  # in another borough
    ]
    row = of_one(live_of(pickups), requested_at=at)
    assert (row["live_city_count"], row["live_city_wait_s"]) == (3, 300)
    assert (row["live_zone_count"], row["live_zone_wait_s"]) == (4, 375)
    assert (row["live_borough_20_count"], row["live_city_5_count"], row["live_city_60_count"]) == (2, 2, 5)


def test_the_excess_is_over_what_is_expected_where_and_when_riders_were_picked_up() -> None:
    before = START - timedelta(minutes=2)  # in the hour before the request's
    row = of_one(live_of([(before, 132, 500), (before, 4, 100)]))
    expected = LAGGED.expected[132, 7] + LAGGED.expected[4, 7]
    assert row["live_city_20_excess_s"] == (600 - expected) / 12
    assert row["live_zone_20_excess_s"] == (500 - LAGGED.expected[132, 7]) / 11


@pytest.mark.parametrize("seed", range(3))
def test_features_do_not_change_when_all_later_events_are_dropped(seed: int) -> None:
    requests, pickups = city(seed)
    whole = features(requests, live_of(pickups), LAGGED)
    for row in range(0, len(requests), 23):
        at = requests["requested_at"][row].as_py()
        known = [pickup for pickup in pickups if pickup[0] <= at]
        assert features(requests.slice(row, 1), live_of(known), LAGGED).tolist() == whole[row : row + 1].tolist()


def test_features_do_change_with_what_happened_before() -> None:
    requests, pickups = city(1)
    changed = [(at, zone, wait + 60) for at, zone, wait in pickups]
    at_end = requests.slice(len(requests) - 1)
    assert (features(at_end, live_of(pickups), LAGGED) != features(at_end, live_of(changed), LAGGED)).sum() >= 5


def test_batches_as_they_come_give_the_same_bits_as_all_at_once() -> None:
    requests, pickups = city(7)
    whole = features(requests, live_of(pickups), LAGGED)
    live, rows, waiting = LiveWaits(), [], sorted(pickups)
    for start in range(0, len(requests), 17):
        batch = requests.slice(start, 17)
        newest = batch["requested_at"][-1].as_py()
        come, waiting = [p for p in waiting if p[0] <= newest], [p for p in waiting if p[0] > newest]
        if come:
            at, zones, waits = zip(*come, strict=True)
            live.add(zones, minutes(pa.array(at, pa.timestamp("us"))), [1] * len(at), waits)
        rows.append(features(batch, live, LAGGED))
        live = LiveWaits.from_arrow(live.to_arrow())  # as after a restart
        live.drop_before(int(minutes(batch["requested_at"])[0]) - subject.ZONE_MINUTES)
    assert np.concatenate(rows).tolist() == whole.tolist()
    assert live.to_arrow()["minute"].to_numpy().min() >= minutes(requests["requested_at"])[-17] - 60


def test_the_state_is_a_row_a_zone_and_minute() -> None:
    live = live_of([(START, 132, 10), (START, 132, 20), (START, 4, 5), (START + timedelta(minutes=1), 4, 7)])
    live.add([132], minutes(pa.array([START], pa.timestamp("us"))), [2], [70])
    minute = int(minutes(pa.array([START], pa.timestamp("us")))[0])
    assert live.to_arrow().to_pylist() == [
        {"zone_id": 4, "minute": minute, "count": 1, "sum_s": 5},
        {"zone_id": 4, "minute": minute + 1, "count": 1, "sum_s": 7},
        {"zone_id": 132, "minute": minute, "count": 4, "sum_s": 100},
    ]


def test_no_value_is_missing() -> None:
    requests, pickups = city(3)
    matrix = features(requests, live_of(pickups), Lagged({(None, None): (200, 1)}))
    assert matrix.shape == (len(requests), len(NAMES))
    assert np.isfinite(matrix).all()
    assert features(requests.slice(0, 0), live_of(pickups), LAGGED).shape == (0, len(NAMES))


def test_medians_are_read_as_they_are_written() -> None:
    rows = {
        "pickup_zone_id": pa.array([None, None, 132, 132], pa.int32()),
        "request_hour": pa.array([None, 8, None, 8], pa.int32()),
        "wait_s": [240, 250, 300, 310],
        "requests": [900, 90, 40, 30],
    }
    read = Lagged.from_arrow(pa.table(rows))
    assert (read.cells == LAGGED.cells).all()
    assert (read.expected == LAGGED.expected).all()
