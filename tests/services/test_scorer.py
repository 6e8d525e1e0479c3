"""The low-latency scorer on a real broker: every request is answered, whatever happens in between."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from local_aws.pytest_plugin import LocalAws
from local_kafka import topics
from services.eta.scorer import Scorer, main
from services.kafka import Connection
from spark_jobs.eta.messages import PICKUPS, PREDICTIONS, REJECTED, REQUESTS, Pickup, Request, encode
from spark_jobs.eta.serving import LiveModel, Registry
from spark_jobs.eta.statsd import StatsD
from tests.kafka import Kafka
from tests.services.models import LAGGED_S, Models

ROOT = Path(__file__).parents[2]
NOON = datetime(2023, 6, 1, 12)  # noqa: DTZ001 - New York's wall clock


def request(number: int, at: datetime = NOON, zone: int = 132, company: str = "uber") -> tuple[str, bytes]:
    key = f"r-{number:06}"
    return key, encode(Request(1, key, at, company, zone, 7, 0, 2.5))


def pickup(number: int, at: datetime, wait_s: int, zone: int = 132) -> tuple[str, bytes]:
    key = f"p-{number:06}"
    return key, encode(Pickup(1, key, at - timedelta(seconds=wait_s), at, "uber", zone, wait_s, 0))


def values(kafka: Kafka, topic: str) -> list[dict[str, Any]]:
    return [json.loads(message.value()) for message in kafka.read(topic)]


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shares(kafka: Kafka) -> list[int]:
    """Return how many partitions each scorer has."""
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    try:
        group = client.describe_consumer_groups(["eta-scorer"])["eta-scorer"].result(60)
    except (KafkaException, TimeoutError):  # none has joined yet, or the broker has just begun
        return []
    return [len(member.assignment.topic_partitions) for member in group.members]


@pytest.fixture
def city(kafka: Kafka) -> Kafka:
    kafka.create(*topics("eta"))
    return kafka


@pytest.fixture
def models(local_aws: LocalAws) -> Models:
    return Models(local_aws.client("s3"))


@contextmanager
def scoring(
    kafka: Kafka, models: Models, statsd: str = "", every_s: float = 0.1, wrap: Callable[[Any], Any] = lambda it: it
) -> Iterator[Scorer]:
    """Run a scorer in a thread, with what wraps its consumer of pick-ups."""
    stop, failed = threading.Event(), list[BaseException]()
    metrics = StatsD(statsd, "consumer.")
    refused: Callable[[str], None] = lambda _: metrics.count("model_refused", 1)  # noqa: E731
    live = LiveModel(Registry(models.lake), refused, every_s)
    scorer = Scorer(Connection(kafka.bootstrap), live, "scorers", metrics, stop)
    scorer._pickups = wrap(scorer._pickups)

    def run() -> None:
        try:
            with live:
                scorer.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield scorer
    finally:
        stop.set()
        thread.join(60)
    assert not failed, failed[0]
    assert not thread.is_alive()


def test_every_request_is_answered_or_rejected(city: Kafka, models: Models) -> None:
    models.add("20260101T000000-2023-06", 60.0)
    models.promote("20260101T000000-2023-06")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
        exporter.bind(("127.0.0.1", 0))
        exporter.settimeout(0.2)
        bad = [
            ("text", b"no JSON"),
            ("version", request(1)[1].replace(b'"schema_version":1', b'"schema_version":2')),
            ("zone", request(1, zone=999)[1]),
            ("company", request(1, company="curb")[1]),
            ("future", request(1, at=datetime(2200, 1, 1))[1]),  # noqa: DTZ001
            ("large", b'{"schema_version":1,"x":"' + b"x" * 100_000 + b'"}'),
        ]
        city.send(REQUESTS, *(request(number) for number in range(500)), *bad)
        with scoring(city, models, f"127.0.0.1:{exporter.getsockname()[1]}"):
            wait_for(lambda: len(city.read(PREDICTIONS)) + len(city.read(REJECTED)) >= 506)
        metrics = Counter[str]()
        try:
            while True:
                for line in exporter.recv(2000).decode().splitlines():
                    name, _, rest = line.partition(":")
                    value, _, kind = rest.partition("|")
                    metrics[name] += float(value) if kind == "c" else 1  # type: ignore[assignment]
        except TimeoutError:
            pass
    answers = values(city, PREDICTIONS)
    assert sorted(each["request_id"] for each in answers) == [request(number)[0] for number in range(500)]
    assert [message.key().decode() for message in city.read(PREDICTIONS)] == [each["request_id"] for each in answers]
    first = answers[0]
    assert (first["p50_s"], first["p90_s"], first["baseline_s"]) == (LAGGED_S + 60, LAGGED_S + 160, LAGGED_S)
    assert (first["model_version"], first["scorer"]) == ("20260101T000000-2023-06", "consumer")
    assert first["scored_at_ms"] >= first["received_at_ms"]
    assert {each["key"]: each["reason"] for each in values(city, REJECTED)} == {
        "text": "malformed",
        "version": "unsupported_version",
        "zone": "unknown_zone",
        "company": "unknown_company",
        "future": "out_of_range",
        "large": "too_large",
    }
    prefix = "airflow.taxiway.eta.consumer."
    assert metrics[f"{prefix}requests"] == 506
    assert metrics[f"{prefix}predictions"] == metrics[f"{prefix}latency"] == 500
    assert metrics[f"{prefix}rejected.unknown_zone"] == 1
    assert metrics[f"{prefix}lag"]
    assert metrics[f"{prefix}model_age_s"]
    with scoring(city, models):  # what is answered is answered once
        city.send(REQUESTS, request(500))
        wait_for(lambda: len(city.read(PREDICTIONS)) == 501)
    assert len(city.read(REJECTED)) == 6


def test_live_waits_are_those_of_all_pickups_before_the_request(city: Kafka, models: Models) -> None:
    """Also of pick-ups that arrived before the scorer was started, or restarted."""
    models.add("20260101T000000-2023-06", 0.0)
    models.promote("20260101T000000-2023-06")
    city.send(
        PICKUPS,
        pickup(0, NOON - timedelta(minutes=70), 900),  # too old
        pickup(1, NOON - timedelta(minutes=50), 100),
        pickup(2, NOON - timedelta(minutes=10), 300),
        pickup(3, NOON - timedelta(minutes=5), 600, zone=7),  # of another zone
        pickup(4, NOON - timedelta(minutes=5), 99_999),  # a reservation
        pickup(5, NOON + timedelta(minutes=1), 1000),  # later than the request
    )
    with scoring(city, models):
        before = waits(city, request(0))
        assert before == (200, 2, 450, 2)
        city.send(PICKUPS, pickup(6, NOON - timedelta(minutes=2), 200))
        # A request sees what has arrived at the scorer: requests are sent until one sees it.
        number = 1
        while (answer := waits(city, request(number)))[1] == 2:
            assert answer == before
            number += 1
        assert answer == (200, 3, pytest.approx(1100 / 3), 3)
    with scoring(city, models):
        assert waits(city, request(number + 1, at=NOON + timedelta(minutes=2))) == (400, 4, 525, 4)


def waits(kafka: Kafka, asked: tuple[str, bytes]) -> tuple[Any, ...]:
    """Send a request, and return what its answer has of live waits: of the zone with their number, of the city."""
    kafka.send(REQUESTS, asked)
    found: list[dict[str, Any]] = []

    def answered() -> bool:
        found[:] = [each for each in values(kafka, PREDICTIONS) if each["request_id"] == asked[0]]
        return bool(found)

    wait_for(answered)
    names = ("live_zone_wait_s", "live_zone_count", "live_city_wait_s", "live_city_count")
    return tuple(found[0][name] for name in names)


def put(kafka: Kafka, topic: str, partition: int, *messages: tuple[str, bytes]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
    for key, value in messages:
        producer.produce(topic, value, key, partition)
        producer.poll(0)
    assert producer.flush(60) == 0


def test_a_request_after_a_pause_sees_all_pickups_of_the_pause(
    city: Kafka, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request takes all that arrived before it; how long that takes depends on the machine."""
    monkeypatch.setattr("services.eta.scorer.HEARTBEAT_S", 1000)  # it takes pick-ups as well
    models.add("20260101T000000-2023-06", 0.0)
    models.promote("20260101T000000-2023-06")
    with scoring(city, models):
        waits(city, request(0))
        for number, pause_s in enumerate((3, 10, 30), 1):
            put(city, PICKUPS, 0, *(pickup(n, NOON + timedelta(seconds=n / 20), 100) for n in range(30_000)))
            time.sleep(pause_s)
            _, count, *_ = waits(city, request(number, NOON + timedelta(minutes=25)))
            if count == 30_000 * number:
                break
    assert count == 30_000 * number


def test_pickups_are_kept_for_the_partition_that_is_read_second(city: Kafka, models: Models) -> None:
    """After a stop Kafka gives much of one partition, here all, before it gives anything of the other."""
    models.add("20260101T000000-2023-06", 0.0)
    models.promote("20260101T000000-2023-06")
    put(city, PICKUPS, 0, *(pickup(n, NOON + timedelta(seconds=30 + 60 * n), 100) for n in range(-60, 90)))
    with scoring(city, models) as scorer:
        wait_for(lambda: len(scorer._requests.assignment()) == 2)
        for partition in (0, 1):
            put(city, REQUESTS, partition, *(request(n, NOON + timedelta(minutes=n)) for n in range(91)))
            wait_for(lambda answered=91 * (partition + 1): scorer.predictions == answered)  # type: ignore[misc]
    assert Counter(each["live_zone_count"] for each in values(city, PREDICTIONS)) == {60: 182}


def test_what_was_answered_before_a_restart_is_no_lag(city: Kafka, models: Models) -> None:
    models.add("20260101T000000-2023-06", 0.0)
    models.promote("20260101T000000-2023-06")
    for partition in (0, 1):
        put(city, REQUESTS, partition, *(request(number) for number in range(500)))
    with scoring(city, models) as scorer:
        wait_for(lambda: scorer.predictions == 1000)
    with scoring(city, models) as scorer:
        wait_for(lambda: len(scorer._requests.assignment()) == 2)
        time.sleep(2)
        assert scorer._lag() == 0


def test_a_kafka_that_goes_away_while_pickups_are_read_is_waited_for(city: Kafka, models: Models) -> None:
    models.add("20260101T000000-2023-06", 0.0)
    models.promote("20260101T000000-2023-06")
    city.send(PICKUPS, pickup(0, NOON - timedelta(minutes=5), 300))
    city.send(REQUESTS, request(0))

    left = ["list_topics", "offsets_for_times", "get_watermark_offsets"]

    class Away:
        """The consumer of pick-ups, which does not get the first answers; that is hard to hit with a broker."""

        def __init__(self, consumer: Any) -> None:
            self.consumer = consumer

        def __getattr__(self, name: str) -> Any:
            if name in left:
                left.remove(name)
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))
            return getattr(self.consumer, name)

    with scoring(city, models, wrap=Away):
        wait_for(lambda: len(city.read(PREDICTIONS)) == 1)
    assert not left
    assert values(city, PREDICTIONS)[0]["live_zone_wait_s"] == 300


def test_a_promotion_is_taken_up_and_a_broken_version_refused(city: Kafka, models: Models) -> None:
    for number, more_s in ((1, 10.0), (2, 20.0)):
        models.add(f"2026010{number}T000000-2023-06", more_s)
    models.add("20260103T000000-2023-06", 30.0, p90__txt=b"no trees")
    models.promote("20260101T000000-2023-06")
    sent = iter(range(10**6))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
        exporter.bind(("127.0.0.1", 0))
        with scoring(city, models, f"127.0.0.1:{exporter.getsockname()[1]}"):

            def versions() -> list[str]:
                city.send(REQUESTS, *(request(next(sent)) for _ in range(10)))
                return [each["model_version"][:8] for each in values(city, PREDICTIONS)]

            wait_for(lambda: "20260101" in versions())
            models.promote("20260102T000000-2023-06")
            wait_for(lambda: "20260102" in versions())
            models.promote("20260103T000000-2023-06")
            refused = False
            while not refused:
                refused = b"consumer.model_refused:1|c" in exporter.recv(2000)
            before = next(sent)
            city.send(REQUESTS, request(before))
            wait_for(lambda: request(before)[0] in [each["request_id"] for each in values(city, PREDICTIONS)])
            wait_for(lambda: len(city.read(PREDICTIONS)) == before + 1)
    answers = values(city, PREDICTIONS)
    assert {each["model_version"][:8]: each["p50_s"] for each in answers} == {"20260101": 250.0, "20260102": 260.0}
    assert Counter(each["request_id"] for each in answers).most_common(1)[0][1] == 1


def test_a_killed_scorer_loses_nothing_and_its_group_takes_over(city: Kafka, models: Models) -> None:
    """Two scorers share the requests; one is killed, the other takes its partition after the session's time.

    By then the other has answered later requests, by more than what is too late: 25 minutes are played in a second.
    """
    models.add("20260101T000000-2023-06", 0.0)
    models.promote("20260101T000000-2023-06")
    command = [sys.executable, "-m", "services.eta.scorer", "--bootstrap", city.bootstrap, "--lake", models.lake]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}"}
    started = []
    try:
        for _ in range(2):
            started.append(
                subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            )
        for scorer in started:
            assert scorer.stdout
            assert "Answers ride_requests" in scorer.stdout.readline()
        wait_for(lambda: shares(city) == [1, 1])
        sent = 0
        while sent < 3000:
            city.send(
                REQUESTS, *(request(number, at=NOON + timedelta(seconds=number)) for number in range(sent, sent + 100))
            )
            sent += 100
            if sent == 1500:
                wait_for(lambda: len(city.read(PREDICTIONS)) > 200)
                started[0].kill()
        wait_for(lambda: len({message.key() for message in city.read(PREDICTIONS) + city.read(REJECTED)}) == 3000)
        assert not values(city, REJECTED)
        started[1].send_signal(signal.SIGTERM)
        out, errors = started[1].communicate(timeout=60)
        assert (started[1].returncode, errors) == (0, "")
        assert "Ended after" in out
    finally:
        for scorer in started:
            scorer.kill()
            scorer.communicate()


def test_it_can_wait_for_the_first_model(city: Kafka, models: Models, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    command = [sys.executable, "-m", "services.eta.scorer", "--bootstrap", city.bootstrap, "--lake", models.lake]
    scorer = subprocess.Popen(
        [*command, "--wait-for-model", f"--alive-file={alive}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert scorer.stdout
        assert "Waits for a model. There is no live model" in scorer.stdout.readline()
        wait_for(alive.exists)
        models.add("20260101T000000-2023-06", 0.0)
        models.promote("20260101T000000-2023-06")
        assert "by the model 20260101T000000-2023-06" in scorer.stdout.readline()
    finally:
        scorer.kill()
        scorer.communicate()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--lake", "s3://lake"], 1, "There is no live model: s3://lake/models/eta/live.json does not exist"),
        (["--lake", "lake"], 1, "'lake' is not a folder on S3; write it as s3://bucket/prefix"),
        (["--lake", "s3://nowhere"], 1, "s3://nowhere/models/eta/live.json cannot be reached"),
        (["--lake", "s3://lake", "--statsd", "8125"], 2, "'8125' is not host:port"),
    ],
    ids=["no model", "no S3", "no bucket", "no host"],
)
def test_wrong_input_gives_one_sentence(
    arguments: list[str], status: int, sentence: str, city: Kafka, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended: object = main(["--bootstrap", city.bootstrap, *arguments])
    except SystemExit as end:
        ended = end.code
    assert ended == status
    out, errors = capsys.readouterr()
    assert sentence in errors
    assert (out, "Traceback" in errors) == ("", False)
