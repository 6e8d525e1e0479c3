"""The messages of the topics: reads and checks what arrives, writes what leaves. Pure; does not import Spark.

What each topic holds is said by its contract, ``contracts/eta/<topic>.yaml``.
"""

import base64
import codecs
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_jobs.eta.features import COMPANIES, LONGEST_WAIT_S, ZONES, Ints, minutes
from taxiway.core import contracts

REQUESTS, PICKUPS, PREDICTIONS, REJECTED, DEMAND, ERRORS = TOPICS = (
    "ride_requests",
    "ride_pickups",
    "eta_predictions",
    "eta_rejected",
    "eta_demand",
    "eta_errors",
)
VERSION: Final = 1
MOST_BYTES = int(contracts.read("eta", REQUESTS).properties["mostBytes"])
MOST_RAW_BYTES = int(contracts.read("eta", REJECTED).properties["mostRawBytes"])
AHEAD_S = 300  # of the broker's clock in New York, that a producer's clock may be
LATE_MINUTES = 10  # of event time, behind the newest request of the partition: older requests are rejected
MOST_MILES = 500.0
REASONS = (
    "too_large",
    "malformed",
    "unsupported_version",
    "unknown_company",
    "unknown_zone",
    "out_of_range",
    "too_late",
)
NEW_YORK = "America/New_York"

RECORDS = pa.schema(
    [
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("bytes", pa.int64()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
    ]
)
"""Records as they arrive: ``value`` may be cut after ``MOST_BYTES``, ``bytes`` is its length before; the time is the
broker's, in milliseconds since 1970."""

SENT = pa.schema([("topic", pa.string()), ("key", pa.binary()), ("value", pa.binary())])
"""Records to be written."""

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
WallClock = Annotated[datetime, msgspec.Meta(tz=False)]


class Request(msgspec.Struct, frozen=True):
    """A ride that a rider asks for."""

    schema_version: Literal[1]
    request_id: Identifier
    requested_at: WallClock
    company: str
    pickup_zone_id: Integer
    dropoff_zone_id: Integer
    sent_at_ms: Integer
    trip_miles: float | None = None


class Pickup(msgspec.Struct, frozen=True):
    """A rider who was picked up."""

    schema_version: Literal[1]
    request_id: Identifier
    requested_at: WallClock
    picked_up_at: WallClock
    company: str
    pickup_zone_id: Integer
    wait_s: Integer
    sent_at_ms: Integer


class Prediction(msgspec.Struct, frozen=True):
    """The answer to a request."""

    schema_version: Literal[1]
    request_id: str
    model_version: str
    p50_s: float
    p90_s: float
    baseline_s: float
    requested_at: datetime
    company: str
    pickup_zone_id: int
    live_city_wait_s: float | None
    live_city_count: int
    live_zone_wait_s: float | None
    live_zone_count: int
    received_at_ms: int
    scored_at_ms: int
    scorer: Literal["stream", "consumer"]


class Rejected(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record that is not answered, and why."""

    schema_version: Literal[1]
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: str | None
    raw: str | None
    rejected_at_ms: int
    encoding: str = "utf-8"


class Demand(msgspec.Struct, frozen=True):
    """Rides that were asked for in a zone within a window."""

    schema_version: Literal[1]
    window_start: datetime
    window_end: datetime
    pickup_zone_id: int
    requests: int


class Errors(msgspec.Struct, frozen=True):
    """How far the predictions were from the waits of those who were picked up within a window."""

    schema_version: Literal[1]
    window_start: datetime
    window_end: datetime
    by: Literal["all", "company", "borough"]
    name: str
    trips: int
    mae_s: float
    within_p90: float
    model_version: str


MESSAGES: dict[str, type[msgspec.Struct]] = {
    REQUESTS: Request,
    PICKUPS: Pickup,
    PREDICTIONS: Prediction,
    REJECTED: Rejected,
    DEMAND: Demand,
    ERRORS: Errors,
}
encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode

_Message = TypeVar("_Message", Request, Pickup)


@dataclass(frozen=True)
class Read:
    """What records hold.

    Attributes:
        requests: columns of :func:`spark_jobs.eta.features.features`, and request_id, minute (of the request, since
            1970), row (of the record).
        pickups: pickup_zone_id, minute (of the pick-up, since 1970), wait_s; of waits of 0 to ``LONGEST_WAIT_S``.
        rejected: row of the record → reason and detail.
    """

    requests: pa.Table
    pickups: pa.Table
    rejected: dict[int, tuple[str, str]]


def read(records: pa.Table, oldest: Mapping[int, int] | None = None) -> Read:
    """Read and check records of ``REQUESTS`` and ``PICKUPS``.

    Args:
        records: of the schema ``RECORDS``.
        oldest: partition → minute since 1970 before which its requests are too late; none is of one that it lacks.
    """
    values, sizes = records["value"].to_pylist(), records["bytes"].to_pylist()
    rejected: dict[int, tuple[str, str]] = {}
    found: dict[str, list[tuple[int, Any]]] = {REQUESTS: [], PICKUPS: []}
    for row, (topic, value, size) in enumerate(zip(records["topic"].to_pylist(), values, sizes, strict=True)):
        if size is not None and size > MOST_BYTES:
            rejected[row] = ("too_large", f"the message has {size:,} bytes; at most {MOST_BYTES:,} are read")
        elif isinstance(message := _decode(_DECODERS[topic], value), tuple):
            rejected[row] = message
        else:
            found[topic].append((row, message))
    now = _wall_clock_s(records["timestamp_ms"])
    requests = _table(_REQUEST_COLUMNS, found[REQUESTS])
    partitions = records["partition"].to_pylist()
    requests = _accepted(requests, _request_faults(requests, now, partitions, oldest or {}), rejected)
    pickups = _table(_PICKUP_COLUMNS, found[PICKUPS])
    pickups = _accepted(pickups, _pickup_faults(pickups, now), rejected)
    timed = pc.and_(pc.greater_equal(pickups["wait_s"], 0), pc.less_equal(pickups["wait_s"], LONGEST_WAIT_S))
    return Read(requests, pickups.filter(timed), rejected)


def rejections(records: pa.Table, rejected: dict[int, tuple[str, str]], now_ms: int) -> pa.Table:
    """Return the messages, of the schema ``SENT``, that say what was rejected of records and why."""
    rows = sorted(rejected)
    faulty = records.take(pa.array(rows, pa.int64()))
    messages = []
    for row, record in zip(rows, faulty.to_pylist(), strict=True):
        reason, detail = rejected[row]
        raw, encoding = _text(record["value"])
        key = None if record["key"] is None else record["key"].decode(errors="replace")[:MOST_RAW_BYTES]
        messages.append(
            Rejected(
                schema_version=VERSION,
                reason=reason,
                detail=detail,
                topic=record["topic"],
                partition=record["partition"],
                offset=record["offset"],
                key=key,
                raw=raw,
                rejected_at_ms=now_ms,
                encoding=encoding,
            )
        )
    return sent(REJECTED, faulty["key"].to_pylist(), messages)


def sent(topic: str, keys: Iterable[bytes | None], messages: Sequence[msgspec.Struct]) -> pa.Table:
    """Return messages as records of the schema ``SENT``."""
    columns = [[topic] * len(messages), list(keys), [encode(message) for message in messages]]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SENT, strict=True)], schema=SENT
    )


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    REQUESTS: msgspec.json.Decoder(Request),
    PICKUPS: msgspec.json.Decoder(Pickup),
}


def _decode(decoder: msgspec.json.Decoder[_Message], value: bytes | None) -> _Message | tuple[str, str]:
    """Return the message, or the reason why it is rejected and a detail."""
    if value is None:
        return "malformed", "the message has no value"
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        version = _version(value) if isinstance(error, msgspec.ValidationError) else None
        if version not in (None, VERSION):
            return "unsupported_version", f"schema_version is {version}; {VERSION} is read"
        return "malformed", str(error) or type(error).__name__


class _Versioned(msgspec.Struct):
    schema_version: int


def _version(value: bytes) -> int | None:
    try:
        return msgspec.json.decode(value, type=_Versioned).schema_version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_ROW = pa.field("row", pa.int64())
_REQUEST_COLUMNS = pa.schema(
    [
        ("request_id", pa.string()),
        ("requested_at", pa.timestamp("us")),
        ("company", pa.string()),
        ("pickup_zone_id", pa.int64()),
        ("dropoff_zone_id", pa.int64()),
        ("trip_miles", pa.float64()),
    ]
)
_PICKUP_COLUMNS = pa.schema(
    [
        ("picked_up_at", pa.timestamp("us")),
        ("company", pa.string()),
        ("pickup_zone_id", pa.int64()),
        ("wait_s", pa.int64()),
    ]
)


def _table(schema: pa.Schema, messages: Sequence[tuple[int, msgspec.Struct]]) -> pa.Table:
    """Return messages as columns: of the schema, their row, and the minute of their time."""
    columns = [
        pa.array([getattr(message, field.name) for _, message in messages], field.type)
        for field in schema
    ]  # fmt: skip
    table = pa.Table.from_arrays(columns, schema=schema).append_column(
        _ROW, pa.array([row for row, _ in messages], pa.int64())
    )
    time = "requested_at" if "requested_at" in schema.names else "picked_up_at"
    return table.append_column("minute", pa.array(minutes(table[time]), pa.int64()))


_ALWAYS = np.iinfo(np.int64).min  # no minute is before it
_Faults = Iterable[tuple[str, pa.ChunkedArray, Callable[[dict[str, Any]], str]]]


def _request_faults(requests: pa.Table, now: Ints, partitions: Sequence[int], oldest: Mapping[int, int]) -> _Faults:
    yield from _place_faults(requests, "pickup_zone_id", "dropoff_zone_id")
    miles = pc.fill_null(requests["trip_miles"], 0.0)
    outside = pc.invert(pc.and_(pc.greater_equal(miles, 0.0), pc.less_equal(miles, MOST_MILES)))
    yield "out_of_range", outside, lambda row: f"trip_miles is {row['trip_miles']}; it is 0 to {MOST_MILES:g}"
    yield _clock_fault(requests, "requested_at", now)
    # In the hour that comes twice, when summer time ends, what the clock of New York shows is never late.
    behind = _ahead_s(requests, "requested_at", now) < -60 * LATE_MINUTES
    limits = [oldest.get(partitions[row], _ALWAYS) for row in requests["row"].to_pylist()]
    late = (np.asarray(requests["minute"]) < np.array(limits, dtype=np.int64)) & behind

    def detail(row: dict[str, Any]) -> str:
        limit = np.datetime64(oldest[partitions[row["row"]]], "m")
        return f"requested_at is {row['requested_at']}; its partition is past {limit}"

    yield "too_late", pa.chunked_array([pa.array(late)]), detail


def _pickup_faults(pickups: pa.Table, now: Ints) -> _Faults:
    yield from _place_faults(pickups, "pickup_zone_id")
    yield _clock_fault(pickups, "picked_up_at", now)


def _place_faults(table: pa.Table, *zones: str) -> _Faults:
    unknown = pc.invert(pc.is_in(table["company"], pa.array(COMPANIES)))
    known = ", ".join(COMPANIES)
    yield "unknown_company", unknown, lambda row: f"company is {row['company'][:64]!r}; known are {known}"
    for name in zones:
        unknown = pc.invert(pc.is_in(table[name], pa.array(ZONES, pa.int64())))
        yield "unknown_zone", unknown, partial(_zone_detail, name)


def _zone_detail(name: str, row: dict[str, Any]) -> str:
    return f"{name} is {row[name]}; TLC's zones are 1 to {max(ZONES)}"


def _clock_fault(table: pa.Table, time: str, now: Ints) -> tuple[str, Any, Callable[[dict[str, Any]], str]]:
    ahead = _ahead_s(table, time, now)
    return (
        "out_of_range",
        pa.chunked_array([pa.array(ahead > AHEAD_S)]),
        lambda row: f"{time} is {row[time]}, more than {AHEAD_S} s ahead of the broker's clock in New York",
    )


def _accepted(table: pa.Table, faults: _Faults, rejected: dict[int, tuple[str, str]]) -> pa.Table:
    """Return the rows without a fault, and add the others to ``rejected``, each for its first fault."""
    good = np.ones(len(table), dtype=bool)
    for reason, faulty, detail in faults:
        mask = np.asarray(faulty, dtype=bool)
        for row in table.filter(pa.array(mask & good)).to_pylist() if mask.any() else ():
            rejected[row["row"]] = (reason, detail(row))
        good &= ~mask
    return table.filter(pa.array(good))


def _ahead_s(table: pa.Table, time: str, now: Ints) -> Ints:
    """Return by how many seconds a time is ahead of the broker's clock in New York."""
    seconds = np.asarray(pc.cast(pc.floor_temporal(table[time], unit="second"), pa.timestamp("s")).cast(pa.int64()))
    ahead: Ints = seconds - now[np.asarray(table["row"], dtype=np.int64)]
    return ahead


def _wall_clock_s(timestamp_ms: pa.ChunkedArray) -> Ints:
    """Return the broker's times as seconds of New York's wall clock."""
    utc = timestamp_ms.cast(pa.timestamp("ms")).cast(pa.timestamp("s"), safe=False)
    local = pc.local_timestamp(pc.assume_timezone(utc, "UTC").cast(pa.timestamp("s", NEW_YORK)))
    return np.asarray(local.cast(pa.int64()))


def _text(value: bytes | None) -> tuple[str | None, str]:
    """Return the begin of a raw message, and how it is written: as text if it is UTF-8."""
    if value is None:
        return None, "utf-8"
    begin = value[:MOST_RAW_BYTES]
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(begin, final=len(value) <= MOST_RAW_BYTES), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(begin).decode(), "base64"
