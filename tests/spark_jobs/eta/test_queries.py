"""What the queries do with a batch, without Spark and Kafka: above all with one that comes again."""

import json
from collections import Counter
from collections.abc import Iterator
from threading import Event, Lock
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pytest

from spark_jobs.eta import messages
from spark_jobs.eta.messages import PICKUPS, PREDICTIONS, REJECTED, REQUESTS
from spark_jobs.eta.queries import Answering, DemandNow, LiveError
from spark_jobs.eta.scoring import State, score
from spark_jobs.eta.serving import Folder, LiveModel, Registry, UnreachableError
from spark_jobs.eta.states import BatchStates
from spark_jobs.eta.statsd import StatsD
from tests.aws_in_memory import aws_in_memory
from tests.spark_jobs.eta import versions
from tests.spark_jobs.eta.streaming import Metrics, pickup, request, trips
from tests.spark_jobs.eta.versions import BUCKET, LAKE

pytestmark = pytest.mark.slow

NOW_MS = 1_700_000_000_000
TRIPS = trips("2023-01-14")[:60]


def records(*sent: tuple[str, bytes, bytes], partitions: int = 1) -> pa.Table:
    rows = [
        (key, value, len(value), topic, number % partitions, number, NOW_MS)
        for number, (topic, key, value) in enumerate(sent)
    ]
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, messages.RECORDS, strict=True)],
        schema=messages.RECORDS,
    )


class Written:
    """Takes what is written; fails when it is told to."""

    def __init__(self) -> None:
        self.fails = False
        self.rows: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, table: pa.Table) -> None:
        if self.fails:
            raise ConnectionError("Kafka is away")
        self.rows += [(row["topic"], json.loads(row["value"])) for row in table.to_pylist()]

    def of(self, topic: str) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k != "scored_at_ms"} for where, row in self.rows if where == topic]


@pytest.fixture
def live() -> Iterator[LiveModel]:
    with aws_in_memory():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        for seed, version in ((1, "v1"), (2, "v2")):
            versions.put(s3, version, versions.files(seed))
        versions.promote(s3, "v1")
        yield LiveModel(Registry(LAKE), pytest.fail)


@pytest.fixture
def written() -> Written:
    return Written()


def states(name: str = "answers") -> BatchStates:
    return BatchStates(Folder(f"{LAKE}/{name}.states"))


def answering(live: LiveModel, written: Written) -> Answering:
    return Answering(Event(), written, states(), live, StatsD(""))


def test_a_batch_that_comes_again_is_answered_alike(live: LiveModel, written: Written) -> None:
    """Also after a promotion, and in another process: the state before it and its version were kept."""
    first = records(*map(pickup, TRIPS[:30]), *map(request, TRIPS[:30]))
    second = records(*map(pickup, TRIPS[30:]), *map(request, TRIPS[30:]))
    whole = answering(live, written)
    whole.do(first, 0)
    whole.do(second, 1)
    expected = written.of(PREDICTIONS)
    assert len(expected) == 60

    again = Written()
    process = answering(live, again)
    process.do(first, 0)
    again.fails = True
    with pytest.raises(ConnectionError):
        process.do(second, 1)
    again.fails = False
    live.current = live.of("v2")
    process.do(second, 1)  # by the same process, as after a broker that was away
    assert again.of(PREDICTIONS) == expected
    answering(live, again).do(second, 1)  # by the next process, as after a kill before the commit
    assert again.of(PREDICTIONS) == expected + expected[30:]
    answering(live, again).do(records(request(TRIPS[59], request_id="next")), 2)
    (last,) = again.of(PREDICTIONS)[90:]
    assert last["model_version"] == "v2"
    assert last["live_city_count"] == expected[59]["live_city_count"]


def test_a_batch_that_comes_again_waits_for_its_version(
    live: LiveModel, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 is away when the version of the first time is asked for: another one would answer otherwise."""
    batch = records(*map(request, TRIPS))
    answering(live, written).do(batch, 0)
    live.current = live.of("v2")
    load = Registry.load

    def away(*_: object) -> None:
        raise UnreachableError("S3 cannot be reached.")

    monkeypatch.setattr(Registry, "load", away)
    with pytest.raises(UnreachableError):
        answering(live, written).do(batch, 0)
    monkeypatch.setattr(Registry, "load", load)
    answering(live, written).do(batch, 0)
    assert written.of(PREDICTIONS)[60:] == written.of(PREDICTIONS)[:60]


def test_pickups_that_are_rejected_are_no_share_of_the_requests(live: LiveModel, written: Written) -> None:
    metrics = Metrics()
    bad = [pickup(trip, pickup_zone_id=300) for trip in TRIPS[:5]]
    batch = records(*bad, *map(request, TRIPS[:2]), request(TRIPS[2], company="cab"))
    Answering(Event(), written, states(), live, StatsD(metrics.address)).do(batch, 0)
    metrics.wait_for(8)

    assert (metrics.total("requests"), metrics.total("predictions")) == (3, 2)
    assert {name for name in metrics.names() if name.startswith("rejected")} == {
        "rejected.unknown_company",
        "rejected_pickups.unknown_zone",
    }
    assert (metrics.total("rejected.unknown_company"), metrics.total("rejected_pickups.unknown_zone")) == (1, 5)
    assert len(written.of(REJECTED)) == 6


def test_what_is_late_is_judged_by_its_own_partition(live: LiveModel) -> None:
    early, late = trips("2023-01-14")[0], trips("2023-01-14")[-1]
    state = State.empty()

    def answered(*sent: tuple[str, bytes, bytes]) -> tuple[int, Counter[str]]:
        nonlocal state
        answers = score(records(*sent, partitions=2), state, live.current.model, "stream", NOW_MS)
        state = State.from_bytes(state.to_bytes())[0]  # as the next batch finds it
        return answers.predictions, answers.rejected

    other = (PICKUPS, b"k", b"{}")  # whatever: the record of the other partition
    assert answered(other, request(late)) == (1, {})
    assert answered(request(early)) == (1, {})  # nobody has read of it before
    assert answered(request(early, request_id="x"), request(late, request_id="y")) == (2, {})
    assert answered(request(late, request_id="z")) == (1, {})
    assert answered(request(early, request_id="too late")) == (0, {"too_late": 1})


def test_pickups_are_kept_for_the_partition_that_is_behind_within_bounds() -> None:
    def kept(behind: int, partitions: int = 2) -> int:
        state, minutes = State.empty(), np.arange(1000, 2001)
        state.live.add(np.full(len(minutes), 132), minutes, np.ones(len(minutes), int), np.full(len(minutes), 300))
        state.newest, state.partitions = {0: 2000 - behind, 1: 2000}, frozenset(range(partitions))
        state.forget()
        return int(min(state.live.to_arrow()["minute"].to_pylist()))

    assert [kept(behind) for behind in (0, 45, 120, 121, 900)] == [1930, 1885, 1810, 1810, 1810]
    assert kept(0, partitions=3) == 1810, "nobody knows how far the third is behind"


def test_the_state_is_bounded_by_the_minutes_that_are_kept(live: LiveModel) -> None:
    state, day = State.empty(), trips("2023-01-14")
    for trip in day:
        if trip is day[0] or trip is day[-1]:
            score(records(*map(pickup, day), request(trip)), state, live.current.model, "stream", NOW_MS)
    kept = state.live.to_arrow()["minute"].to_pylist()
    assert min(kept) >= state.newest[0] - 70
    again, notes = State.from_bytes(state.to_bytes(version="v1"))
    assert (again.newest, notes) == (state.newest, {"version": "v1"})
    assert again.live.to_arrow().equals(state.live.to_arrow().replace_schema_metadata())


def test_requests_are_predictions_and_rejections(live: LiveModel, written: Written) -> None:
    metrics = Metrics()
    batches = Answering(Event(), written, states(), live, StatsD(metrics.address))
    faulty = [(REQUESTS, b"k", b"{}"), request(TRIPS[0], company="cab"), (PICKUPS, b"k", b"{}")]
    batches.do(records(*map(request, TRIPS[:5]), *faulty), 0)
    assert len(written.of(PREDICTIONS)) == 5
    assert [(row["topic"], row["reason"], row["offset"]) for row in written.of(REJECTED)] == [
        (REQUESTS, "malformed", 5),
        (REQUESTS, "unknown_company", 6),
        (PICKUPS, "malformed", 7),
    ]
    batches.do(messages.RECORDS.empty_table(), 1)
    assert len(written.rows) == 8


def test_demand_shows_the_window_that_ends_now(written: Written) -> None:
    metrics = Metrics()
    demand = DemandNow(Event(), Lock(), written, StatsD(metrics.address))
    times = pa.array([minute * 60_000_000 for minute in (6, 7, 7, 10, 10)], pa.timestamp("us"))
    demand.do(pa.table({"pickup_zone_id": [4, 4, 5, 4, 6], "start": times, "requests": [1, 3, 2, 3, 1]}), 0)
    (window,) = [row for row in written.of(messages.DEMAND) if row["pickup_zone_id"] == 5]
    assert (window["window_start"], window["window_end"]) == ("1970-01-01T00:07:00", "1970-01-01T00:12:00")
    demand.do(pa.table({"pickup_zone_id": [5], "start": times.take([3]), "requests": [9]}).slice(0, 0), 1)
    later = pa.array([11 * 60_000_000], pa.timestamp("us"))
    demand.do(pa.table({"pickup_zone_id": [6], "start": later, "requests": [1]}), 2)
    # Windows that begin at minute 6, then at minute 7: there zone 4 has three requests and zone 5 two.
    metrics.wait_for(3)
    assert sorted(line.partition("demand.")[2] for line in metrics.lines) == ["4:1|g", "4:3|g", "5:2|g"]


def test_the_live_error_adds_up_over_batches_and_restarts(live: LiveModel, written: Written) -> None:
    columns = {
        "picked_up_s": [0, 599, 600],
        "company": ["uber", "uber", "lyft"],
        "pickup_zone_id": [4, 4, 6],
        "p50_s": [100.0, 100.0, 200.0],
        "p90_s": [200.0, 200.0, 300.0],
        "wait_s": [150, 250, 200],
        "model_version": ["v1"] * 3,
    }
    rows = pa.table(columns)

    def errors() -> LiveError:
        return LiveError(Event(), Lock(), written, states("errors"), live, StatsD(""))

    errors().do(rows.slice(0, 1), 0)
    errors().do(rows.slice(1), 1)
    errors().do(rows.slice(1), 1)
    newest = {(row["window_start"], row["by"], row["name"]): row for row in written.of(messages.ERRORS)}
    assert newest.keys() == {
        ("1970-01-01T00:00:00", "all", "all"),
        ("1970-01-01T00:00:00", "company", "uber"),
        ("1970-01-01T00:00:00", "borough", "Manhattan"),
        ("1970-01-01T00:10:00", "all", "all"),
        ("1970-01-01T00:10:00", "company", "lyft"),
        ("1970-01-01T00:10:00", "borough", "Staten Island"),
    }
    whole = newest["1970-01-01T00:00:00", "all", "all"]
    assert (whole["trips"], whole["mae_s"], whole["within_p90"], whole["model_version"]) == (2, 100.0, 0.5, "v1")
