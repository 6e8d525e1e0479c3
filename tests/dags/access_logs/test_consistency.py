"""The consistency report: a sound day passes, and each way in which a day can be wrong is a sentence."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from taxiway.access_logs import consistency
from taxiway.access_logs.consistency import OtherDay, Outputs
from taxiway.access_logs.tables import (
    HOURLY_TRAFFIC,
    QUARANTINE,
    REQUESTS,
    SESSIONS,
    STATUS_BY_PATH,
    SUSPICIOUS_CLIENTS,
    TOP_RESOURCES,
)
from taxiway.lake import Table

TYPES = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64(), "timestamp": pa.timestamp("us")}
HOUR = datetime(2015, 5, 17, 10)  # noqa: DTZ001 - without a zone, as the tables have it
LATER = datetime(2015, 5, 17, 10, 40)  # noqa: DTZ001


def schema(table: Table) -> pa.Schema:
    return pa.schema([(name, TYPES[type_]) for name, type_ in table.columns.items()])


def made(table: Table, *rows: tuple[Any, ...]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(table.columns, row, strict=True)) for row in rows], schema(table))


def session(identifier: str, requests: int, start: datetime = HOUR, end: datetime = LATER) -> tuple[Any, ...]:
    return (identifier, "10.0.0.1", "agent", start, end, requests)


def sound() -> Outputs:
    """Return a day of four lines: three requests, one of them 404, and one that does not parse."""
    hours = {"source_file": "a", "hour": HOUR, "requests": 3, "errors_4xx": 1, "errors_5xx": 0, "bytes": 30}
    return Outputs(
        day="2015-05-17",
        lines={"a": 4},
        hours=pa.Table.from_pylist([hours]),
        quarantined=pa.Table.from_pylist([{"source_file": "a", "reject_reason": "unparsed", "lines": 1}]),
        schemas={table: schema(table) for table in (REQUESTS, QUARANTINE)},
        marts={
            HOURLY_TRAFFIC: made(HOURLY_TRAFFIC, (HOUR, 3, 1, 0, 30, 1)),
            TOP_RESOURCES: made(TOP_RESOURCES, (1, "/", 2, 0, 0, 20), (2, "/x", 1, 1, 0, 10)),
            STATUS_BY_PATH: made(STATUS_BY_PATH, ("/", 200, 2, 20), ("/x", 404, 1, 10)),
            SUSPICIOUS_CLIENTS: made(SUSPICIOUS_CLIENTS),
            SESSIONS: made(SESSIONS, session("s", 3)),
        },
    )


def faults(outputs: Outputs) -> str:
    return " ".join(fault for sentences in consistency.failures(outputs).values() for fault in sentences)


def with_mart(table: Table, *rows: tuple[Any, ...]) -> Callable[[Outputs], Outputs]:
    return lambda outputs: replace(outputs, marts={**outputs.marts, table: made(table, *rows)})


def test_a_sound_day_passes_and_reads_well() -> None:
    outputs = sound()
    found = consistency.failures(outputs)
    assert not any(found.values()), found
    assert consistency.headline(outputs, found) == "2015-05-17 is consistent: 6 checks passed."
    table = dict(consistency.table(outputs, found))
    assert table["lines"] == "4"
    assert table["quarantined"] == "1 (25.00%)"
    assert table["  unparsed"] == "1"
    assert table["errors 4xx, 5xx"] == "1, 0"
    assert table["keys are unique"] == "ok"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda o: replace(o, lines={"a": 5}), "a has 5 lines, but 3 were parsed and 1 quarantined."),
        (lambda o: replace(o, lines={"a": 4, "b": 1}), "b has 1 lines, but 0 were parsed and 0 quarantined."),
        (lambda o: replace(o, lines={}), "a has 0 lines, but 3 were parsed and 1 quarantined."),
        (with_mart(HOURLY_TRAFFIC, (HOUR, 2, 1, 0, 30, 1)), "hourly_traffic differs from the requests in 2 rows."),
        (with_mart(HOURLY_TRAFFIC), "hourly_traffic differs from the requests in 1 rows."),
        (
            with_mart(STATUS_BY_PATH, ("/", 200, 2, 20), ("/x", 404, 1, 11)),
            "The bytes of status_by_path add up to 31, those of the requests to 30.",
        ),
        (with_mart(STATUS_BY_PATH, ("/", 200, 3, 30)), "The errors_4xx of status_by_path add up to 0"),
        (with_mart(TOP_RESOURCES, (1, "/", 3, 0, 0, 20)), "top_resources differs from status_by_path in 1 rows."),
        (with_mart(TOP_RESOURCES, (1, "/", 2, 0, 0, 20), (1, "/x", 1, 1, 0, 10)), "Keys of top_resources (rank)"),
        (with_mart(SUSPICIOUS_CLIENTS, ("h", "r", 2, 1)), "suspicious_clients has 1 rows with more matches than"),
        (with_mart(SUSPICIOUS_CLIENTS, ("h", "r", 0, 1)), "matches of suspicious_clients is below 1 in 1 row."),
        (with_mart(SESSIONS, session("s", 2)), "The sessions count +2 requests, but 2015-05-17 has +3 requests."),
        (with_mart(SESSIONS, session("s", 1), session("s", 2)), "Keys of sessions (session_id)"),
        (with_mart(SESSIONS, session("s", 3, LATER, HOUR)), "1 sessions of 2015-05-17 did not begin on that day, or"),
        (
            lambda o: replace(o, schemas={REQUESTS: schema(REQUESTS).remove(0)}),
            "The columns of access_requests differ from its contract: source_file is missing.",
        ),
    ],
)
def test_what_is_wrong_is_a_sentence(change: Callable[[Outputs], Outputs], part: str) -> None:
    outputs = change(sound())
    assert part in faults(outputs)
    headline = consistency.headline(outputs, consistency.failures(outputs))
    assert headline.startswith("2015-05-17 is not published: ")
    assert "\n" not in headline


def test_a_day_of_another_format_names_its_files() -> None:
    outputs = replace(sound(), hours=sound().hours.slice(0, 0), lines={"a": 1, "b": 3})
    assert "None of the 4 lines of 2015-05-17 is a request (unparsed 1): check the format of a, b." in faults(outputs)


def other(before: int, after: int) -> OtherDay:
    day_before = datetime(2015, 5, 16, 23, 50)  # noqa: DTZ001
    return OtherDay(
        before=pa.table({"requests": [before]}), after=made(SESSIONS, session("b", after, day_before, HOUR))
    )


def test_requests_that_belong_to_a_session_of_the_day_before_are_counted_there() -> None:
    outputs = replace(sound(), others={"2015-05-16": other(4, 6)})
    moved = with_mart(SESSIONS, session("s", 1))(outputs)
    assert faults(moved) == ""
    assert "The sessions count +5 requests, but 2015-05-17 has +3 requests." in faults(outputs)
    incomplete = replace(outputs, comparable=False)
    assert faults(incomplete) == "", "a run that ended while it published left sessions that count more"


def test_a_day_that_is_done_again_is_compared_with_what_it_was() -> None:
    before = (2, pa.table({"requests": [2]}))
    assert faults(replace(sound(), before=before)) == ""
    assert "The sessions count +2 requests, but 2015-05-17 has +1 requests." in faults(
        replace(sound(), before=(2, pa.table({"requests": [1]})))
    )


def test_an_unusual_number_of_lines_is_refused_and_how_to_publish_it_is_said() -> None:
    assert "2015-05-17 has 4 lines, but the 3 days before it have about 100: deliver what is missing" in faults(
        replace(sound(), usual=(90, 100, 5000), factor=10)
    )
    assert "raise TAXIWAY_ACCESS_LOGS_COUNT_FACTOR (10)" in faults(replace(sound(), usual=(90, 100, 110), factor=10))
    assert faults(replace(sound(), usual=(90, 100, 110), factor=0)) == ""
    assert faults(replace(sound(), usual=(90, 100), factor=10)) == "", "two days are no measure"
    assert faults(replace(sound(), usual=(1, 10, 40), factor=10)) == ""
