"""The stream on Apache Spark with a real broker: one day of real trips, and all that may go wrong meanwhile."""

import dataclasses
import json
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from console.ports import free_port
from local_kafka import Broker, create_topics, topics
from spark_jobs.eta.features import NAMES, ZONES, LiveWaits, features, minutes
from spark_jobs.eta.messages import DEMAND, ERRORS, PICKUPS, PREDICTIONS, REASONS, REJECTED, REQUESTS
from spark_jobs.eta.model import Model
from tests.oracle import programs
from tests.spark_jobs.eta import versions
from tests.spark_jobs.eta.streaming import Metrics, Stream, Topics, hours, minute, pickup, request, s3_server, trips
from tests.spark_jobs.eta.versions import LAKE

# The fixture starts Spark twice, and has an outage of the broker and a day of trips.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

DAY = "2023-01-14"
FIRST, SECOND = "20260101T000000-2023-01", "20260201T000000-2023-02"
CHECKPOINT = f"{LAKE}/checkpoints/eta/stream"
MAX_OFFSETS = 600
SWAP_S = 120  # within which a promotion must be taken up


@dataclasses.dataclass
class Seen:
    """What the day led to."""

    trips: list[dict[str, Any]]
    faulty: list[str]  # the reasons that are expected
    sent: Counter[str]
    messages: dict[str, list[Any]]
    said: list[str]  # by the two starts of the program
    metrics: Metrics
    files: dict[str, dict[str, bytes]]
    swap_s: float
    stop_s: float
    batches: tuple[set[int], set[int]]  # numbers of those that were begun, and of those that were committed
    sizes: list[int]  # records of batches of answers
    lineage: list[dict[str, Any]]
    broker: str


def faulty() -> list[tuple[str, tuple[str, bytes, bytes]]]:
    """Return records that are to be rejected, and why."""
    trip = trips(DAY)[0] | {"request_id": "faulty"}
    tomorrow = (datetime.now() + timedelta(days=1)).isoformat(timespec="seconds")  # noqa: DTZ005
    return [
        ("malformed", (REQUESTS, b"poison", b"\xff\xfe{")),
        ("malformed", (REQUESTS, b"poison", b"[" * 50_000)),
        ("malformed", request(trip, requested_at="2023-01-14T09:00:00Z")),
        ("unsupported_version", request(trip, schema_version=2)),
        ("unknown_company", request(trip, company="cab")),
        ("unknown_zone", request(trip, dropoff_zone_id=266)),
        ("out_of_range", request(trip, trip_miles=-1)),
        ("out_of_range", request(trip, requested_at=tomorrow)),
        ("too_large", (REQUESTS, b"large", b'{"request_id": "' + b"x" * 10_000_000 + b'"}')),
        ("malformed", (PICKUPS, b"poison", b"{}")),
    ]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Play the day, and stop whatever was started."""
    folder = tmp_path_factory.mktemp("eta")
    broker = Broker(folder / "kafka")
    broker._port = free_port()
    started: list[Stream] = []
    try:
        with s3_server() as (s3, variables):
            yield _play(folder, broker, s3, variables, started)
    finally:
        for stream in started:
            stream.end()
        broker.stop()


def batches(s3: Any, kind: str) -> set[int]:
    """Return the numbers of the batches of answers in Spark's log of "offsets" or "commits"."""
    listed = s3.list_objects_v2(Bucket=versions.BUCKET, Prefix=f"checkpoints/eta/stream/answers/{kind}/")
    names = (each["Key"].rpartition("/")[2] for each in listed.get("Contents", ()))
    return {int(name) for name in names if name.isdigit()}


def committed(s3: Any, topic: str) -> int:
    """Return how many records of a topic are in batches of answers that are committed."""
    return ends(s3, max(done))[topic] if (done := batches(s3, "commits")) else 0


def ends(s3: Any, number: int) -> Counter[str]:
    """Return, by topic, how many records a batch of answers and those before it have."""
    log = s3.get_object(Bucket=versions.BUCKET, Key=f"checkpoints/eta/stream/answers/offsets/{number}")
    offsets = json.loads(log["Body"].read().splitlines()[-1])
    return Counter({topic: sum(partitions.values()) for topic, partitions in offsets.items()})


def _play(folder: Path, broker: Broker, s3: Any, variables: dict[str, str], started: list[Stream]) -> Seen:
    files = {FIRST: versions.files(1), SECOND: versions.files(2)}
    for version, contents in files.items():
        versions.put(s3, version, contents)
    versions.put(s3, "broken", versions.files(3) | {"p50.txt": files[FIRST]["p50.txt"][:2000]})
    other = json.loads(files[FIRST]["features.json"]) | {"contract": 999}
    versions.put(s3, "incompatible", versions.files(3) | {"features.json": json.dumps(other).encode()})
    versions.promote(s3, FIRST)
    package, metrics, config = programs.package(folder), Metrics(), folder / "client.properties"
    config.write_text("default.api.timeout.ms=5000\nrequest.timeout.ms=4000\nmax.block.ms=5000\n")  # to fail sooner

    def start() -> Stream:
        arguments = ["--bootstrap", broker.bootstrap, "--lake", LAKE, "--checkpoint", CHECKPOINT]
        arguments += [
            "--statsd",
            metrics.address,
            "--max-offsets",
            str(MAX_OFFSETS),
            "--slow-trigger",
            "3s",
            "--look-s",
            "1",
            "--kafka-config",
            str(config),
        ]
        started.append(Stream(folder / f"start-{len(started)}", package, variables, *arguments))
        return started[-1]

    # Kafka is away at the start, then has no topics.
    stream = start()
    stream.wait_for("does not answer")
    broker.start()
    stream.wait_for("has no topic")
    large = (("max.message.bytes", "20000000"),)
    create_topics(
        broker.bootstrap,
        [dataclasses.replace(each, config=large) if each.name == REQUESTS else each for each in topics("eta")],
    )
    played, wrong = [*hours(trips(DAY))], faulty()
    kafka = Topics(broker.bootstrap)

    def answered() -> int:
        rejected = sum(content["topic"] == REQUESTS for _, content in kafka.read(REJECTED))
        return len({content["request_id"] for _, content in kafka.read(PREDICTIONS)}) + int(rejected)

    def send_pickups(found: list[dict[str, Any]]) -> None:
        """Send pick-ups, and return when the stream has them: requests that see them all can be compared."""
        kafka.send([*map(pickup, found)])
        stream.wait_until(lambda: committed(s3, PICKUPS) >= kafka.sent[PICKUPS], "the pick-ups are read")

    def drained() -> bool:
        return answered() >= kafka.sent[REQUESTS]

    # The first hour, with what is to be rejected among it.
    first, second, third, last = played
    fourth, fifth = last[:1000], last[1000:]
    send_pickups(first)
    kafka.send([*map(request, first[:50]), *(message for _, message in wrong), *map(request, first[50:])])
    stream.wait_until(drained, "the first requests are answered")

    # Promotions under load.
    send_pickups(second)
    load = threading.Thread(target=kafka.send, args=([request(trip) for trip in second], 160))
    load.start()
    stream.wait_until(lambda: kafka.count(PREDICTIONS) > len(first) + 30, "the load is answered")
    versions.promote(s3, SECOND, previous=FIRST)
    promoted = time.time()
    stream.wait_for(f"Version {SECOND} is served now")
    for version, reason in (
        ("broken", "cannot be read"),
        ("incompatible", "another feature contract"),
        ("gone", "is not in"),
    ):
        versions.promote(s3, version, previous=SECOND)
        stream.wait_for(reason)
    s3.put_object(Bucket=versions.BUCKET, Key="models/eta/live.json", Body=b"not a pointer")
    stream.wait_for("is no pointer")
    load.join()
    send_pickups(third)
    kafka.send([*map(request, third)])
    stream.wait_until(drained, "the third hour's are answered")
    late = third[0] | {"request_id": "late", "requested_at": first[0]["requested_at"]}
    kafka.send([request(late)])
    stream.wait_until(drained, "the late request is rejected")

    # Killed in the middle; requests go on coming.
    versions.promote(s3, SECOND)
    send_pickups(fourth)
    before = kafka.count(PREDICTIONS)
    load = threading.Thread(target=kafka.send, args=([*map(request, fourth[:500])], 125))
    load.start()
    stream.wait_until(lambda: kafka.count(PREDICTIONS) > before, "the fourth requests are being answered")
    stream.signal(signal.SIGKILL)
    load.join()
    kafka.send([*map(request, fourth[500:])])
    assert not drained()
    stream = start()
    stream.wait_until(drained, "the fourth requests are answered after the restart")

    # The broker is away in the middle.
    send_pickups(fifth)
    broker.stop()
    stream.wait_for("does not answer")
    broker.start()
    kafka.send([*map(request, fifth)])
    stream.wait_until(drained, "the rest of the day is answered")

    def settled() -> bool:
        """Whether demand and live error have followed the answers."""
        answers = [content for _, content in kafka.read(PREDICTIONS)]
        picked_up = {trip["request_id"] for hour in played for trip in hour if trip["wait_s"] <= 3600}
        compared = sum(content["request_id"] in picked_up for content in answers)
        demanded = sum(newest(kafka.read(DEMAND), "requests", "window_start", "pickup_zone_id").values())
        known = newest(kafka.read(ERRORS), "trips", "window_start", "by", "name", "model_version")
        return demanded == 5 * len(answers) and compared == sum(n for key, n in known.items() if key[1] == "all")

    stream.wait_until(settled, "demand and live error are written")
    began = time.monotonic()
    stream.signal(signal.SIGTERM)
    stream.process.wait(180)
    numbers = {kind: batches(s3, kind) for kind in ("offsets", "commits")}
    totals = [ends(s3, number).total() for number in sorted(numbers["offsets"])]
    swapped = min(
        message.timestamp()[1] / 1000
        for message, content in kafka.read(PREDICTIONS)
        if content["model_version"] == SECOND
    )
    return Seen(
        trips=[trip for hour in played for trip in hour],
        faulty=[*(reason for reason, _ in wrong), "too_late"],
        sent=kafka.sent,
        messages={topic: kafka.read(topic) for topic in (PREDICTIONS, REJECTED, DEMAND, ERRORS)},
        said=[each.said for each in started],
        metrics=metrics,
        files=files,
        swap_s=swapped - promoted,
        stop_s=time.monotonic() - began,
        batches=(numbers["offsets"], numbers["commits"]),
        sizes=[after - before for before, after in pairwise(totals)],
        lineage=[
            json.loads(s3.get_object(Bucket=versions.BUCKET, Key=each["Key"])["Body"].read())
            for each in s3.list_objects_v2(Bucket=versions.BUCKET, Prefix="lineage/")["Contents"]
        ],
        broker=f"kafka://{broker.bootstrap}",
    )


def newest(found: list[Any], value: str, *key: str) -> dict[tuple[Any, ...], int]:
    """Return the largest value that was written of each key: the last one, as counts only rise."""
    most: dict[tuple[Any, ...], int] = {}
    for _, content in found:
        fields = tuple(content[name] for name in key)
        most[fields] = max(content[value], most.get(fields, 0))
    return most


def _predictions(seen: Seen) -> dict[str, dict[str, Any]]:
    """Return the predictions as a reader sees them who keeps the first of each request."""
    found: dict[str, dict[str, Any]] = {}
    for _, content in seen.messages[PREDICTIONS]:
        found.setdefault(content["request_id"], content)
    return found


def test_every_request_is_answered_once_or_rejected(seen: Seen) -> None:
    predictions = _predictions(seen)
    assert predictions.keys() == {trip["request_id"] for trip in seen.trips}
    rejected = {
        (content["topic"], content["partition"], content["offset"]): content["reason"]
        for _, content in seen.messages[REJECTED]
    }
    assert Counter(rejected.values()) == Counter(seen.faulty)
    of_requests = sum(topic == REQUESTS for topic, _, _ in rejected)
    assert seen.sent[REQUESTS] == len(predictions) + of_requests
    assert set(seen.faulty) == set(REASONS)


def test_it_tells_which_topics_it_reads_and_writes(seen: Seen) -> None:
    """Once, by the newest of the two starts."""
    found = {}
    for event in seen.lineage:
        name = event["job"]["name"].removeprefix("spark.eta.score_stream.")
        found[name] = [[(each["namespace"], each["name"]) for each in event[side]] for side in ("inputs", "outputs")]
        assert (event["eventType"], event["run"]["facets"]["parent"]["job"]["name"]) == ("RUNNING", "eta_stream.keep")
        assert event["job"]["facets"]["jobType"]["processingType"] == "STREAMING"
        assert all(each["facets"]["schema"]["fields"] for side in ("inputs", "outputs") for each in event[side])
    requests, pickups, predictions, rejected, demand, errors = (
        (seen.broker, topic) for topic in (REQUESTS, PICKUPS, PREDICTIONS, REJECTED, DEMAND, ERRORS)
    )
    assert found == {
        "answers": [[requests, pickups, (LAKE, "models/eta")], [predictions, rejected]],
        "demand": [[predictions], [demand]],
        "errors": [[predictions, pickups], [errors]],
    }
    assert len(seen.lineage) == len(found)


def test_a_backlog_is_worked_off_in_batches_of_a_bounded_size(seen: Seen) -> None:
    """Spark shares the limit among the partitions, and rounds each share."""
    partitions = 4
    assert MAX_OFFSETS - partitions <= max(seen.sizes) <= MAX_OFFSETS + partitions


def test_answers_that_are_written_again_are_the_same(seen: Seen) -> None:
    answers = defaultdict(set)
    for _, content in seen.messages[PREDICTIONS]:
        answers[content["request_id"]].add((content["p50_s"], content["p90_s"], content["model_version"]))
    assert {len(each) for each in answers.values()} == {1}


def test_the_stream_s_features_are_the_batch_s_row_by_row(seen: Seen) -> None:
    """The whole day at once, as training sees it, beside a day in many batches, a kill and a restart."""
    rows = seen.trips
    table = pa.table(
        {
            name: pa.array([trip[name] for trip in rows])
            for name in ("requested_at", "company", "pickup_zone_id", "dropoff_zone_id", "trip_miles")
        }
    )
    live = LiveWaits()
    timed = [trip for trip in rows if 0 <= trip["wait_s"] <= 3600]
    picked_up = minutes(pa.array([trip["picked_up_at"] for trip in timed]))
    live.add(
        [trip["pickup_zone_id"] for trip in timed], picked_up, [1] * len(timed), [trip["wait_s"] for trip in timed]
    )
    predictions = _predictions(seen)
    compared = 0
    for version, files in seen.files.items():
        model = Model.read(version, files)
        matrix = features(table, live, model.lagged)
        p50, p90 = model.predict(matrix)
        for row, trip in enumerate(rows):
            answer = predictions[trip["request_id"]]
            if answer["model_version"] == version:
                compared += 1
                batch = dict(zip(NAMES, matrix[row].tolist(), strict=True))
                assert answer["live_city_count"] == batch["live_city_count"], trip
                assert answer["live_zone_count"] == batch["live_zone_count"], trip
                for name, count in (("live_city_wait_s", "live_city_count"), ("live_zone_wait_s", "live_zone_count")):
                    assert answer[name] == (batch[name] if batch[count] else None), trip
                assert (answer["p50_s"], answer["p90_s"]) == (round(p50[row], 1), round(p90[row], 1)), trip
    assert compared == len(rows)


def test_live_waits_are_those_of_riders_picked_up_before(seen: Seen) -> None:
    """A second computation of the live waits, by the words of the contract."""
    timed = [
        (minute(trip["picked_up_at"]), trip["pickup_zone_id"], trip["wait_s"])
        for trip in seen.trips
        if 0 <= trip["wait_s"] <= 3600
    ]
    for trip in seen.trips[::97]:
        answer, now = _predictions(seen)[trip["request_id"]], minute(trip["requested_at"])
        city = [wait for at, _, wait in timed if now - 20 <= at < now]
        zone = [wait for at, where, wait in timed if now - 60 <= at < now and where == trip["pickup_zone_id"]]
        assert (answer["live_city_count"], answer["live_zone_count"]) == (len(city), len(zone))
        assert answer["live_city_wait_s"] == pytest.approx(np.mean(city) if city else None)
        assert answer["live_zone_wait_s"] == pytest.approx(np.mean(zone) if zone else None)


def test_a_promotion_is_taken_up_under_load(seen: Seen) -> None:
    assert 0 < seen.swap_s < SWAP_S
    assert {content["model_version"] for content in _predictions(seen).values()} == {FIRST, SECOND}
    third = [*hours(seen.trips)][2]  # after versions that were refused
    assert {_predictions(seen)[trip["request_id"]]["model_version"] for trip in third} == {SECOND}


def test_versions_that_cannot_be_served_are_refused(seen: Seen) -> None:
    for text in (
        "version broken of the model cannot be read",
        "Version incompatible",
        "The version gone is not in",
        "is no pointer",
    ):
        assert text in seen.said[0]
    assert seen.said[0].count(f"Version {SECOND} goes on.") == 4
    assert seen.metrics.total("model_refused") == 4


def test_kafka_that_is_away_is_waited_for(seen: Seen) -> None:
    first, second = seen.said
    assert first.index("does not answer") < first.index("has no topic") < first.index("the stream goes on")
    assert "The query answers has ended" in second
    assert second.index("does not answer") < second.index("the stream goes on")
    assert "Traceback" not in first


def test_sigterm_ends_it_between_two_batches(seen: Seen) -> None:
    assert "The stream has ended; the next start goes on from here." in seen.said[1]
    begun, done = seen.batches
    assert max(begun) - max(done) in (0, 1)


def test_demand_is_what_was_answered_by_window(seen: Seen) -> None:
    expected: Counter[tuple[str, int]] = Counter()
    for _, content in seen.messages[PREDICTIONS]:
        at = datetime.fromisoformat(content["requested_at"]).replace(second=0)
        for back in range(5):
            expected[(at - timedelta(minutes=back)).isoformat(), content["pickup_zone_id"]] += 1
    for message, content in seen.messages[DEMAND]:
        assert int(message.key()) == content["pickup_zone_id"]
        length = datetime.fromisoformat(content["window_end"]) - datetime.fromisoformat(content["window_start"])
        assert length == timedelta(minutes=5)
    assert newest(seen.messages[DEMAND], "requests", "window_start", "pickup_zone_id") == dict(expected)


def test_live_error_is_that_of_the_predictions(seen: Seen) -> None:
    waits = {trip["request_id"]: trip for trip in seen.trips if 0 <= trip["wait_s"] <= 3600}
    sums: dict[tuple[str, str, str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0])
    for _, content in seen.messages[PREDICTIONS]:
        if trip := waits.get(content["request_id"]):
            at = trip["picked_up_at"]
            start = at.replace(minute=at.minute // 10 * 10, second=0).isoformat()
            groups = (("all", "all"), ("company", trip["company"]), ("borough", ZONES[trip["pickup_zone_id"]]))
            for by, name in groups:
                each = sums[start, by, name, content["model_version"]]
                each[0] += 1
                each[1] += abs(trip["wait_s"] - content["p50_s"])
                each[2] += trip["wait_s"] <= content["p90_s"]
    last: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for _, content in seen.messages[ERRORS]:
        group = content["window_start"], content["by"], content["name"], content["model_version"]
        if group not in last or content["trips"] > last[group]["trips"]:
            last[group] = content
    assert last.keys() == sums.keys()
    for key, (trips_, error, within) in sums.items():
        assert last[key]["trips"] == trips_, key
        assert last[key]["mae_s"] == pytest.approx(error / trips_, abs=0.001)
        assert last[key]["within_p90"] == pytest.approx(within / trips_, abs=1e-6)


def test_metrics_are_sent(seen: Seen) -> None:
    names = seen.metrics.names()
    assert {"requests", "predictions", "latency", "batch", "batch_rows", "lag", "model_age_s", "model_refused"} <= names
    assert {f"rejected.{reason}" for reason in REASONS} | {"rejected_pickups.malformed"} <= names
    assert {"live_mae_s.all.all", "within_p90.company.uber", "drift.borough.Manhattan", "drift.all.all"} <= names
    assert any(name.startswith("demand.") for name in names)
    assert seen.metrics.total("predictions") >= len(seen.trips)
