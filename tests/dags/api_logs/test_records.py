"""Records and their columns."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.api_logs import records
from taxiway.api_logs.pseudonyms import Pseudonyms
from taxiway.api_logs.records import EPOCH, Batch, NotOfSchema, Rules, parse_time
from taxiway.api_logs.tables import EVENTS, QUARANTINE, STAGED
from tests.dags.api_logs.world import DAYS, PSEUDONYM_KEY, SKEW_S, sealed_text

HOUR = "2026-01-31-07"
PSEUDONYMS = Pseudonyms(PSEUDONYM_KEY, DAYS)
NOON_US = 1_769_844_600_000_000  # 2026-01-31T07:30:00Z


def columns(event: dict[str, Any], **members: object) -> tuple[list[dict[str, Any]], dict[int, str]]:
    batch = Batch()
    batch.add(records.read(sealed_text(event, **members)), "raw/x.jsonl", 42)
    table, _, rejected = batch.columns(Rules(HOUR, SKEW_S), PSEUDONYMS)
    return table.to_pylist(maps_as_pydicts="strict"), rejected


def row(event: dict[str, Any], **members: object) -> dict[str, Any]:
    (found,), rejected = columns(event, **members)
    assert rejected == {}
    return found


def test_columns_are_those_of_the_contract() -> None:
    batch = Batch()
    batch.add(records.read(sealed_text({})), "raw/x.jsonl", 42)
    table, of, _ = batch.columns(Rules(HOUR, SKEW_S), PSEUDONYMS)
    assert table.schema == records.schema(EVENTS) == records.schema(STAGED)
    assert table.schema.field("occurred_at").type == pa.timestamp("us")
    assert of == [HOUR]
    assert set(records.schema(QUARANTINE).names) == {"source_object", "offset", "key_id", "ciphertext", "reject_reason"}


def test_an_event_of_the_contract() -> None:
    event = {
        "channel": "#en.wikipedia",
        "namespace": "Main",
        "page": "Ada (language)",
        "comment": "by Ada",
        "isNew": True,
    }
    event |= {"cityName": None, "metroCode": 501, "delta": -3}
    found = row(event, user="Ada")
    alias = PSEUDONYMS.of("Ada", NOON_US)
    assert found["user_pseudonym"] == alias
    assert found["page"] == f"{alias} (language)"
    assert found["occurred_at"] == datetime(2026, 1, 31, 7, 30)  # noqa: DTZ001
    assert (found["channel"], found["is_new"], found["metro_code"], found["delta"]) == ("#en.wikipedia", True, 501, -3)
    assert (found["comment_length"], found["city_name"], found["is_minor"], found["other"]) == (6, None, None, {})
    assert (found["event_id"], found["source_object"], found["offset"]) == ("1", "raw/x.jsonl", 42)


def test_what_the_contract_does_not_name_is_kept_as_text() -> None:
    event = {"a": {"b": 1, "c": {"d": True}, "e": {}}, "a.b": "x", "tags": ["Ada", {"by": "Ada"}], "n": None, "f": 1.50}
    found = row(event, user="Ada")["other"]
    alias = PSEUDONYMS.of("Ada", NOON_US)
    tags = json.dumps([alias, {"by": alias}])
    assert found == {"a.b": "x", "a.b'": "1", "a.c.d": "true", "a.e": "{}", "tags": tags, "n": None, "f": "1.5"}


@pytest.mark.parametrize(
    ("user", "text", "hides"),
    [
        ("Ada", "see /users/Ada/edit", True),
        ("1234", "/users/1234", True),
        ("Al", "Always", False),
        ("龍伯", "by 龍伯", True),
        ("Al", "Al", True),
        ('O"Neill', 'O"Neill', True),
        ("Müller", "Müller's", True),
    ],
)
def test_the_users_own_name_is_hidden_in_texts(user: str, text: str, hides: bool) -> None:
    found = row({"path": text, "list": [text]}, user=user)["other"]
    alias = PSEUDONYMS.of(user, NOON_US)
    expected = text.replace(user, alias) if hides else text
    assert found == {"path": expected, "list": json.dumps([expected], ensure_ascii=False)}


def test_numbers_that_are_the_user_are_hidden_and_others_are_not() -> None:
    assert row({"a": 1234, "b": 12345}, user=1234)["other"] == {"a": PSEUDONYMS.of("1234", NOON_US), "b": "12345"}


def test_pages_outside_the_articles_are_hidden() -> None:
    found = row({"namespace": "User talk", "page": "User talk:Grace Hopper"}, user="Ada")
    assert found["page"] == "User talk:" + PSEUDONYMS.of("User talk:Grace Hopper", NOON_US)
    assert row({"page": "Rallicula"})["page"] == "Rallicula"


@pytest.mark.parametrize("user", [None, ""])
def test_an_event_without_a_user(user: object) -> None:
    assert row({"page": "x"}, user=user)["user_pseudonym"] is None


def test_a_user_that_is_an_object_is_one_user_however_it_is_written() -> None:
    one, other = (row({}, user=user)["user_pseudonym"] for user in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert one == other


@pytest.mark.parametrize(
    ("event", "column", "value"),
    [
        ({"channel": 7}, "channel", "7"),
        ({"channel": True}, "channel", "true"),
        ({"added": 36.0}, "added", 36),
        ({"added": -(2**63) + 1}, "added", -(2**63) + 1),
    ],
)
def test_values_that_can_be_converted_without_loss(event: dict[str, Any], column: str, value: object) -> None:
    assert row(event)[column] == value


@pytest.mark.parametrize(
    ("event", "members"),
    [
        ({"channel": ["x"]}, {}),
        ({"added": "36"}, {}),
        ({"added": 36.5}, {}),
        ({"added": True}, {}),
        ({"added": 2**63}, {}),
        ({"added": 1e300}, {}),
        ({"isNew": 1}, {}),
        ({"isNew": "true"}, {}),
        ({}, {"id": None}),
        ({}, {"id": ""}),
        ({}, {"id": {}}),
        ({}, {"time": None}),
        ({}, {"time": "yesterday"}),
    ],
)
def test_what_is_not_of_the_schema(event: dict[str, Any], members: dict[str, Any]) -> None:
    assert columns(event, **members) == ([], {0: "wrong_schema"})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'{"id":1,"time":1,"event":[]}',
        b'{"id":1,"time":1,"event":{},"Ada":1}',
        b'{"id":1,"time":1,"event":{"x":"\xff"}}',
    ],
)
def test_what_is_no_record(text: bytes) -> None:
    with pytest.raises(NotOfSchema) as error:
        records.read(text)
    assert "Ada" not in str(error.value)


@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("place", ["user", "event"])
def test_what_is_nested_too_deeply_fails_alone(opens: str, closes: str, place: str) -> None:
    """Not the whole hour, as a recursion without end would."""

    def text(depth: int) -> bytes:
        nested = f"{opens * depth}1{closes * depth}"
        user, event = (nested, "1") if place == "user" else ("null", nested)
        return f'{{"id":1,"time":"2026-01-31T07:30:00Z","user":{user},"event":{{"x":{event}}}}}'.encode()

    batch = Batch()
    batch.add(records.read(text(90)), "raw/x.jsonl", 0)
    assert batch.columns(Rules(HOUR, SKEW_S), PSEUDONYMS)[0].num_rows == 1
    for depth in (110, 500, 900, 5_000, 100_000):
        with pytest.raises(NotOfSchema):
            records.read(text(depth))


def test_many_brackets_are_not_deep() -> None:
    assert row({"x": [[] for _ in range(200)], "comment": "[[" * 200})["comment_length"] == 400


@pytest.mark.parametrize(
    ("value", "iso"),
    [
        ("2015-09-12T00:46:58.771Z", "2015-09-12T00:46:58.771000"),
        ("2015-09-12T02:46:58+02:00", "2015-09-12T00:46:58"),
        (" 2015-09-12 00:46:58 ", "2015-09-12T00:46:58"),
        ("2015-09-12", "2015-09-12T00:00:00"),
        (1442018818, "2015-09-12T00:46:58"),
        (1442018818.771, "2015-09-12T00:46:58.771000"),
        (1442018818771, "2015-09-12T00:46:58.771000"),
        (1442018818771000, "2015-09-12T00:46:58.771000"),
        ("1442018818.771", "2015-09-12T00:46:58.771000"),
    ],
)
def test_times(value: object, iso: str) -> None:
    found = parse_time(value)
    assert found is not None
    assert (EPOCH + timedelta(microseconds=found)).replace(tzinfo=None).isoformat() == iso


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "now",
        "12",
        [],
        {},
        0,
        -1,
        1e30,
        "1999-12-31T23:59:59Z",
        "2100-01-01",
        "0001-01-01T00:00:00+23:59",
    ],
)
def test_times_that_cannot_be_used(value: object) -> None:
    assert parse_time(value) is None


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("2026-01-31T07:00:00Z", None),
        ("2026-01-31T08:01:59.999999Z", None),
        ("2026-01-31T08:02:00Z", "in_future"),
        ("2026-01-28T07:00:00Z", None),
        ("2026-01-28T06:59:59.999999Z", "late"),
    ],
)
def test_hours_of_arrival(time: str, reason: str | None) -> None:
    assert columns({}, time=time)[1] == ({0: reason} if reason else {})


def test_one_record_does_not_spoil_its_batch() -> None:
    batch = Batch()
    for number, added in enumerate([1, "two", 3, None, 5.5]):
        batch.add(records.read(sealed_text({"added": added}, id=number)), "raw/x.jsonl", number)
    table, of, rejected = batch.columns(Rules(HOUR, SKEW_S), PSEUDONYMS)
    assert table["added"].to_pylist() == [1, 3, None]
    assert table["event_id"].to_pylist() == ["0", "2", "3"]
    assert len(of) == 3
    assert rejected == {1: "wrong_schema", 4: "wrong_schema"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["channel", "page", "namespace", "comment", "isNew", "added", "metroCode", "x", "user"])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(json_values, json_values, json_values, st.dictionaries(names, json_values, max_size=5)), max_size=5
    )
)
def test_any_record_is_accepted_or_has_a_reason(given_: list[tuple[Any, Any, Any, dict[str, Any]]]) -> None:
    batch = Batch()
    for number, (id_, time, user, event) in enumerate(given_):
        text = json.dumps({"id": id_, "time": time, "user": user, "event": event}).encode()
        try:
            batch.add(records.read(text), "raw/x.jsonl", number)
        except NotOfSchema:  # numbers that no reader of JSON takes
            continue
    table, of, rejected = batch.columns(Rules(HOUR, SKEW_S), PSEUDONYMS)
    assert table.num_rows == len(of)
    assert table.num_rows + len(rejected) == len(batch.records)
    assert set(rejected.values()) <= {"wrong_schema", "late", "in_future"}


@settings(deadline=None)
@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)))  # noqa: DTZ001
def test_any_time_is_kept_to_the_microsecond(time: datetime) -> None:
    us = parse_time(time.isoformat())
    assert us is not None
    assert EPOCH + timedelta(microseconds=us) == time.replace(tzinfo=UTC)
