"""What is inside an envelope: the record, its rules, and its columns.

A record is ``{"id": …, "time": …, "user": …, "event": {…}}``. Columns and their types follow from the contracts of the
input (``api_event_object``) and of the table (``api_events``). Records are turned into columns a batch at a time: a
value is looked at by itself only where a column holds one that is not of its type.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.api_logs import hours
from taxiway.api_logs.pseudonyms import Pseudonyms
from taxiway.api_logs.tables import EVENTS, OBJECT, late_hours

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taxiway.lake.tables import Table

HOUR_US = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_US, END_US = 946_684_800_000_000, 4_102_444_800_000_000  # 2000 and 2100: hours can be named between them
LEAST_NAME_BYTES = 3  # in UTF-8, of a user's name that is looked for in texts: more than two letters, or one of Chinese
MOST_DEPTH = 100  # of lists and objects inside one another
ARTICLES = "Main"  # the namespace whose pages name no users

_UNITS_US = ((10**11, 1e6), (10**14, 1e3), (10**17, 1))  # of a number of seconds, milliseconds, microseconds
_ARROW = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
    "map<string,string>": pa.map_(pa.string(), pa.string()),
}


class NotOfSchema(ValueError):
    """A record is not as the contract says; the text repeats none of its values."""


class Record(msgspec.Struct, forbid_unknown_fields=True):
    """A record as it is sealed; ``user`` may be missing."""

    id: Any
    time: Any
    event: dict[str, Any]
    user: Any = None


_decoder = msgspec.json.Decoder(Record)
write: Callable[[Record], bytes] = msgspec.json.Encoder().encode


def read(plaintext: bytes) -> Record:
    """Return the record of a decrypted text.

    Raises:
        NotOfSchema: it is none.
    """
    try:
        found = _decoder.decode(plaintext)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NotOfSchema("the text is no record") from None
    # The brackets are counted first, in a fraction of the time: nearly every record has few.
    if plaintext.count(b"{") + plaintext.count(b"[") > MOST_DEPTH and _depth([found.user, found.event]) > MOST_DEPTH:
        raise NotOfSchema("the record is nested too deeply")
    return found


def _depth(value: Any) -> int:
    """Return how many lists and objects are inside one another, at most one more than is allowed."""
    inside, depth = [value], 0
    while inside and depth <= MOST_DEPTH:
        held = [each for each in inside if isinstance(each, list | dict)]
        inside = [inner for each in held for inner in (each.values() if isinstance(each, dict) else each)]
        depth += bool(held)
    return depth


def parse_time(value: object) -> int | None:
    """Return a time in microseconds since 1970, UTC; None if it cannot be used.

    Args:
        value: ISO 8601, UTC where it names no zone; or seconds, milliseconds or microseconds since 1970, told apart by
            their size. Times before 2000 and after 2099 cannot be used.
    """
    if isinstance(value, str):
        try:
            time = datetime.fromisoformat(value.strip())
            found = (time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH
        except (ValueError, OverflowError):
            return parse_time(float(value)) if re.fullmatch(r"\s*\d{9,17}(\.\d{1,9})?\s*", value) else None
        us = found // timedelta(microseconds=1)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        factor = next((unit for limit, unit in _UNITS_US if abs(value) < limit), None)
        if factor is None:
            return None
        us = round(value * factor)
    else:
        return None
    return us if EARLIEST_US <= us < END_US else None


@cache
def schema(table: "Table") -> pa.Schema:
    """Return the columns of a table's files."""
    return pa.schema([(column.name, _ARROW[column.type]) for column in table.contract.columns.values()])


@dataclass(frozen=True)
class Rules:
    """What a record must be beyond its schema.

    Attributes:
        arrival: hour in which its object arrived.
        skew_s: seconds that a sender's clock may be ahead.
    """

    arrival: str
    skew_s: int

    def reason(self, occurred_us: int) -> str | None:
        """Return why a record of this time is rejected; None if it is not."""
        earliest, end = self._bounds
        return None if earliest <= occurred_us < end else "in_future" if occurred_us >= end else "late"

    @cached_property
    def _bounds(self) -> tuple[int, int]:
        begin = (hours.parse(self.arrival) - EPOCH) // timedelta(microseconds=1)
        return begin - late_hours() * HOUR_US, begin + HOUR_US + self.skew_s * 1_000_000


@dataclass
class Batch:
    """Records that become columns together."""

    records: list[Record] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def add(self, record: Record, source_object: str, offset: int) -> None:
        """Add a record of a place."""
        self.records.append(record)
        self.objects.append(source_object)
        self.offsets.append(offset)

    def columns(self, rules: Rules, pseudonyms: Pseudonyms) -> tuple[pa.Table, list[str], dict[int, str]]:
        """Return the accepted records as a table, their hours, and why the others are rejected.

        Returns:
            rows of api_events; the hour of each row; number of a rejected record in the batch → reason.
        """
        rejected: dict[int, str] = {}

        def wrong(number: int) -> None:
            rejected.setdefault(number, "wrong_schema")

        times = [parse_time(record.time) for record in self.records]
        for number, time in enumerate(times):
            if time is None:
                wrong(number)
        known_us = [time or 0 for time in times]
        events = [record.event for record in self.records]
        columns: dict[str, Any] = {
            "event_id": _texts([record.id for record in self.records], wrong, required=True),
            "occurred_at": pa.array(known_us, pa.int64()).cast(pa.timestamp("us")),
        }
        names = [_name(record.user) for record in self.records]
        users = [None if name is None else pseudonyms.of(name, us) for name, us in zip(names, known_us, strict=True)]
        for number, event in enumerate(events):
            if dict in set(map(type, event.values())):
                events[number] = _flat(event)
        for source, name, type_ in _fields():
            values = [event.pop(source, None) for event in events]
            columns[name] = _READERS[type_](values, wrong)
        comments = columns.pop("comment")
        columns["comment_length"] = [None if comment is None else len(comment) for comment in comments]
        columns["page"] = [
            page if page is None else _hidden_page(page, namespace, us, name, user, pseudonyms)
            for page, namespace, us, name, user in zip(
                columns["page"], columns["namespace"], known_us, names, users, strict=True
            )
        ]
        columns["other"] = [
            [(key, _as_text(value, name, user)) for key, value in event.items()] if event else []
            for event, name, user in zip(events, names, users, strict=True)
        ]
        columns |= {"user_pseudonym": users, "source_object": self.objects, "offset": self.offsets}
        for number, us in enumerate(known_us):
            if number not in rejected and (reason := rules.reason(us)):
                rejected[number] = reason
        table = pa.table({each.name: pa.array(columns[each.name], each.type) for each in schema(EVENTS)})
        kept = [number for number in range(len(events)) if number not in rejected]
        if rejected:
            table = table.take(pa.array(kept, pa.int64()))
        return table, [_hour(known_us[number] // HOUR_US) for number in kept], rejected


@cache
def _fields() -> tuple[tuple[str, str, str], ...]:
    """Return the members of ``event`` that the contract names: their name there, their column, its type."""
    head = {"event_id", "occurred_at", "user"}
    return tuple(
        (each.source, each.name, each.type) for each in OBJECT.contract.columns.values() if each.name not in head
    )


@cache
def _hour(number: int) -> str:
    return hours.of(EPOCH + timedelta(hours=number))


def _texts(values: list[Any], wrong: Callable[[int], None], *, required: bool = False) -> list[Any]:
    if set(map(type, values)) <= {str, type(None)} and not (required and not all(values)):
        return values
    for number, value in enumerate(values):
        if isinstance(value, bool | int | float):
            values[number] = json.dumps(value)
        elif not isinstance(value, str | None) or (required and not value):
            values[number] = None
            wrong(number)
    return values


def _integers(values: list[Any], wrong: Callable[[int], None]) -> list[Any]:
    types = set(map(type, values))
    if types <= {int, type(None)} and max(map(abs, filter(None, values)), default=0) < 2**63:
        return values
    for number, value in enumerate(values):
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            values[number] = int(value)
        elif value is not None and (type(value) is not int or abs(value) >= 2**63):
            values[number] = None
            wrong(number)
    return values


def _booleans(values: list[Any], wrong: Callable[[int], None]) -> list[Any]:
    if not set(map(type, values)) <= {bool, type(None)}:
        for number, value in enumerate(values):
            if not isinstance(value, bool | None):
                values[number] = None
                wrong(number)
    return values


_READERS: dict[str, Callable[[list[Any], Callable[[int], None]], list[Any]]] = {
    "string": _texts,
    "bigint": _integers,
    "boolean": _booleans,
}


def _flat(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event whose nested objects are members with a path, such as ``a.b``."""
    found: dict[str, Any] = {}
    stack: list[tuple[str, Iterable[tuple[str, Any]]]] = [("", event.items())]
    while stack:
        path, items = stack.pop()
        for key, value in items:
            if isinstance(value, dict) and value:
                stack.append((f"{path}{key}.", value.items()))
            else:
                found[_unused(f"{path}{key}", found)] = value
    return found


def _unused(key: str, found: Collection[str]) -> str:
    while key in found:  # {"a.b": …, "a": {"b": …}}
        key += "'"
    return key


def _name(user: Any) -> str | None:
    """Return a user as text; None if the record names none."""
    if user is None or user == "":
        return None
    return user if isinstance(user, str) else json.dumps(user, ensure_ascii=False, sort_keys=True)


def _as_text(value: Any, name: str | None, user: str | None) -> str | None:
    """Return a value of ``other``: texts as they are, everything else as JSON; the user's name replaced."""
    if value is None:
        return None
    if isinstance(value, str):
        return _without(value, name, user)
    text = json.dumps(_masked(value, name, user), ensure_ascii=False)
    return user if text == name else text  # a number that only contains the digits of another says nothing


def _masked(value: Any, name: str | None, user: str | None) -> Any:
    """Return a value whose texts are without the user's name."""
    if isinstance(value, str):
        return _without(value, name, user)
    if isinstance(value, list):
        return [_masked(each, name, user) for each in value]
    return {key: _masked(each, name, user) for key, each in value.items()} if isinstance(value, dict) else value


def _without(text: str, name: str | None, user: str | None) -> str:
    """Return a text without the name of the record's own user."""
    if name and user and name in text and (len(name.encode()) >= LEAST_NAME_BYTES or text == name):
        return text.replace(name, user)
    return text


def _hidden_page(
    page: str, namespace: str | None, us: int, name: str | None, user: str | None, pseudonyms: Pseudonyms
) -> str:
    """Return a title that names no user: a pseudonym outside the articles."""
    if namespace is None or namespace == ARTICLES:
        return _without(page, name, user)
    return f"{namespace}:{pseudonyms.of(page, us)}"


def split_by_hour(table: pa.Table, of: Sequence[str]) -> dict[str, pa.Table]:
    """Return the rows of a table by their hours, given the hour of each row."""
    found = sorted(set(of))
    if len(found) < 2:
        return dict.fromkeys(found, table)
    each = pa.array(of)
    return {hour: table.filter(pc.equal(each, hour)) for hour in found}
