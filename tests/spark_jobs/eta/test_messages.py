"""What is read of the topics, what is rejected and why, and that contracts and messages agree."""

import json
import typing
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import NoneType, UnionType
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.eta import messages
from spark_jobs.eta.features import COMPANIES, ZONES
from spark_jobs.eta.messages import PICKUPS, REASONS, REJECTED, REQUESTS
from taxiway.core import contracts

NOW = datetime(2023, 6, 1, 16, 0, tzinfo=UTC)  # noon in New York
REQUEST = {
    "schema_version": 1,
    "request_id": "r1",
    "requested_at": "2023-06-01T12:00:10",
    "company": "uber",
    "pickup_zone_id": 132,
    "dropoff_zone_id": 265,
    "trip_miles": 2.5,
    "sent_at_ms": 1,
}
PICKUP = {
    "schema_version": 1,
    "request_id": "r1",
    "requested_at": "2023-06-01T11:50:00",
    "picked_up_at": "2023-06-01T11:55:30",
    "company": "lyft",
    "pickup_zone_id": 7,
    "wait_s": 330,
    "sent_at_ms": 1,
}
TYPES: dict[Any, set[str]] = {str: {"string"}, int: {"int", "bigint"}, float: {"double"}, datetime: {"timestamp"}}


def records(*values: bytes | None, topic: str = REQUESTS, now: datetime = NOW) -> pa.Table:
    columns = {
        "key": [b"key"] * len(values),
        "value": list(values),
        "bytes": [None if value is None else len(value) for value in values],
        "topic": [topic] * len(values),
        "partition": [0] * len(values),
        "offset": list(range(len(values))),
        "timestamp_ms": [int(now.timestamp() * 1000)] * len(values),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in messages.RECORDS]
    return pa.Table.from_arrays(arrays, schema=messages.RECORDS)


def changed(base: dict[str, Any] = REQUEST, **fields: Any) -> bytes:
    return json.dumps({name: value for name, value in {**base, **fields}.items() if value != "absent"}).encode()


def rejected(
    value: bytes | None, topic: str = REQUESTS, oldest: Mapping[int, int] | None = None, now: datetime = NOW
) -> tuple[str, str]:
    """Return why the one record is rejected."""
    return messages.read(records(value, topic=topic, now=now), oldest).rejected[0]


def test_a_request_is_read() -> None:
    read = messages.read(records(changed(), changed(request_id="r2", trip_miles="absent", other="ignored")))
    assert read.rejected == {}
    assert read.requests.drop(["minute"]).to_pylist() == [
        {
            "request_id": "r1",
            "requested_at": datetime(2023, 6, 1, 12, 0, 10),  # noqa: DTZ001
            "company": "uber",
            "pickup_zone_id": 132,
            "dropoff_zone_id": 265,
            "trip_miles": 2.5,
            "row": 0,
        },
        read.requests.drop(["minute"]).to_pylist()[0] | {"request_id": "r2", "trip_miles": None, "row": 1},
    ]
    minute = int(datetime(2023, 6, 1, 12, 0, tzinfo=UTC).timestamp()) // 60
    assert read.requests["minute"].to_pylist() == [minute, minute]
    assert len(read.pickups) == 0


def test_pickups_count_if_their_wait_is_possible() -> None:
    values = [changed(PICKUP, wait_s=wait_s) for wait_s in (-1, 0, 330, 3600, 3601)]
    read = messages.read(records(*values, topic=PICKUPS))
    assert read.rejected == {}
    assert read.pickups["wait_s"].to_pylist() == [0, 330, 3600]


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        pytest.param(None, "malformed", "the message has no value", id="tombstone"),
        pytest.param(b"", "malformed", "truncated", id="empty"),
        pytest.param(b"\xff\xfe", "malformed", "JSON is malformed", id="not-utf-8"),
        pytest.param(b'{"schema_version":1,"request_id":"\xff"}', "malformed", "utf-8", id="not-utf-8-inside"),
        pytest.param(b"[" * 60_000, "malformed", "array", id="deep"),
        pytest.param(b"null", "malformed", "null", id="null"),
        pytest.param(changed(request_id="absent"), "malformed", "request_id", id="no-id"),
        pytest.param(changed(request_id=""), "malformed", "request_id", id="empty-id"),
        pytest.param(changed(request_id="x" * 65), "malformed", "request_id", id="long-id"),
        pytest.param(changed(pickup_zone_id="132"), "malformed", "pickup_zone_id", id="zone-as-text"),
        pytest.param(changed(pickup_zone_id=10**30), "malformed", "pickup_zone_id", id="zone-beyond-64-bits"),
        pytest.param(changed(requested_at="2023-06-01T12:00:10Z"), "malformed", "timezone", id="time-with-zone"),
        pytest.param(changed(requested_at="yesterday"), "malformed", "requested_at", id="no-time"),
        pytest.param(changed(trip_miles=1).replace(b"1, \"sent", b"NaN, \"sent"), "malformed", "JSON", id="nan"),
        pytest.param(changed(schema_version="absent"), "malformed", "schema_version", id="no-version"),
        pytest.param(changed(schema_version=2), "unsupported_version", "is 2; 1 is read", id="version-2"),
        pytest.param(b'{"schema_version":3,"id":5}', "unsupported_version", "is 3", id="version-3-of-other-form"),
        pytest.param(changed(company="cab"), "unknown_company", "'cab'; known are juno, uber", id="company"),
        pytest.param(changed(pickup_zone_id=0), "unknown_zone", "pickup_zone_id is 0; TLC's zones", id="pickup-zone"),
        pytest.param(changed(dropoff_zone_id=266), "unknown_zone", "dropoff_zone_id is 266", id="dropoff-zone"),
        pytest.param(changed(trip_miles=-0.1), "out_of_range", "trip_miles is -0.1", id="miles-negative"),
        pytest.param(changed(trip_miles=500.1), "out_of_range", "it is 0 to 500", id="miles-far"),
        pytest.param(changed(requested_at="2023-06-01T12:05:01"), "out_of_range", "broker's clock", id="ahead"),
        pytest.param(b"{" + b" " * 70_000 + b"}", "too_large", "70,002 bytes; at most 65,536", id="large"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_rejected(value: bytes | None, reason: str, detail: str) -> None:
    found = rejected(value)
    assert found[0] == reason
    assert detail in found[1]


def test_clocks_may_differ_by_five_minutes() -> None:
    assert messages.read(records(changed(requested_at="2023-06-01T12:05:00"))).rejected == {}
    # In the hour that comes twice, the broker's 5:30 UTC is 1:30 in New York, and its 6:30 UTC again.
    for hour in (5, 6):
        read = messages.read(
            records(changed(requested_at="2023-11-05T01:30:00"), now=datetime(2023, 11, 5, hour, 30, tzinfo=UTC))
        )
        assert read.rejected == {}


def test_requests_before_the_oldest_minute_are_too_late() -> None:
    minute = int(datetime(2023, 6, 1, 12, 0, tzinfo=UTC).timestamp()) // 60
    later = NOW + timedelta(minutes=20)
    assert messages.read(records(changed(), now=later), {0: minute}).rejected == {}
    assert messages.read(records(changed(), now=later), {1: minute + 1}).rejected == {}
    reason, detail = rejected(changed(), oldest={0: minute + 1, 1: minute + 5}, now=later)
    assert reason == "too_late"
    assert detail == "requested_at is 2023-06-01 12:00:10; its partition is past 2023-06-01T12:01"


def test_in_the_hour_that_comes_twice_a_request_of_now_is_not_late() -> None:
    """When summer time ends the partition has seen 1:59, and New York's clock shows 1:05 again."""
    again = changed(requested_at="2023-11-05T01:05:00")
    oldest = {0: int(datetime(2023, 11, 5, 1, 49, tzinfo=UTC).timestamp()) // 60}
    second = datetime(2023, 11, 5, 6, 5, tzinfo=UTC)
    for minutes in (0, 10):
        assert messages.read(records(again, now=second + timedelta(minutes=minutes)), oldest).rejected == {}
    assert rejected(again, oldest=oldest, now=second + timedelta(minutes=11))[0] == "too_late"


def test_a_fault_of_one_record_leaves_the_others() -> None:
    read = messages.read(records(changed(company="cab"), changed(), changed(trip_miles=-1), changed(request_id="r2")))
    assert read.requests["request_id"].to_pylist() == ["r1", "r2"]
    assert read.requests["row"].to_pylist() == [1, 3]
    assert {row: reason for row, (reason, _) in read.rejected.items()} == {0: "unknown_company", 2: "out_of_range"}


def test_pickups_are_checked_too() -> None:
    assert rejected(changed(PICKUP, pickup_zone_id=300), PICKUPS)[0] == "unknown_zone"
    assert rejected(changed(PICKUP, picked_up_at="2024-06-01T00:00:00"), PICKUPS)[0] == "out_of_range"
    assert rejected(changed(), PICKUPS)[0] == "malformed"


@pytest.mark.parametrize(
    ("value", "raw", "encoding"),
    [
        pytest.param(b"plain", "plain", None, id="text"),
        pytest.param(b"\xff\x00", "/wA=", "base64", id="binary"),
        pytest.param(None, None, None, id="none"),
        pytest.param(b"x" * 4095 + "é".encode() * 9, "x" * 4095, None, id="cut-within-a-character"),
    ],
)
def test_rejections_hold_the_begin_of_the_record(value: bytes | None, raw: str | None, encoding: str | None) -> None:
    sent = messages.rejections(records(value), {0: ("malformed", "why")}, 5)
    (row,) = sent.to_pylist()
    assert (row["topic"], row["key"]) == (REJECTED, b"key")
    content = json.loads(row["value"])
    assert (content["raw"], content.get("encoding")) == (raw, encoding)
    assert (content["reason"], content["detail"], content["offset"], content["rejected_at_ms"]) == (
        "malformed",
        "why",
        0,
        5,
    )


@given(st.lists(st.one_of(st.none(), st.binary(max_size=60), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*REQUEST, "x"]), inner, max_size=5),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()), st.builds(
    lambda name, value: changed(**{name: value}),
    st.sampled_from([*REQUEST]),
    st.none() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
)), max_size=5))  # fmt: skip
def test_no_value_stops_the_stream(values: list[bytes | None]) -> None:
    table = records(*values)
    read = messages.read(table, {0: 0})
    assert sorted([*read.rejected, *read.requests["row"].to_pylist()]) == list(range(len(values)))
    assert {reason for reason, _ in read.rejected.values()} <= set(REASONS)
    for row in messages.rejections(table, read.rejected, 0).to_pylist():
        assert json.loads(row["value"])["topic"] == REQUESTS


@pytest.mark.parametrize("topic", messages.TOPICS)
def test_messages_are_those_of_their_contract(topic: str) -> None:
    contract, struct = contracts.read("eta", topic), messages.MESSAGES[topic]
    assert contract.raw["schema"][0]["physicalType"] == "topic"
    assert contract.path == contract.table == topic
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    assert fields.keys() == contract.columns.keys()
    for name, column in contract.columns.items():
        kinds = (
            {*typing.get_args(fields[name].type)} if isinstance(fields[name].type, UnionType) else {fields[name].type}
        )
        assert column.required == (NoneType not in kinds), name
        (kind,) = kinds - {NoneType}
        if typing.get_origin(kind) is typing.Literal:
            values = typing.get_args(kind)
            assert [str(value) for value in values] == ([*column.valid_values] or ["1"]), name
            kind = type(values[0])
        elif typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
        assert column.type in TYPES[kind], name
        if name.endswith("zone_id"):
            assert column.bounds == (min(ZONES), max(ZONES))
        if name == "company":
            assert tuple(column.valid_values) == COMPANIES
        if name == "trip_miles":
            assert column.bounds == (0, messages.MOST_MILES)
        if name == "reason":
            assert tuple(column.valid_values) == REASONS
