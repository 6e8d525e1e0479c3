"""The replay: real requests in their order, each followed by its pick-up."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local_kafka import Broker, create_topics, topics
from services.replay.__main__ import main
from services.replay.play import schedule
from services.replay.rides import COLUMNS, of_file
from spark_jobs.eta.messages import PICKUPS, REQUESTS
from tests.kafka import Kafka

ROOT = Path(__file__).parents[2]
START = datetime(2023, 6, 1, 8)  # noqa: DTZ001 - New York's wall clock


def write(file: Path, *rides: tuple[int, int | None]) -> Path:
    """Write rides: seconds after the start at which a rider asks, and how long they wait."""
    rows = [
        {
            "request_datetime": START + timedelta(seconds=asked),
            "company": ("uber", "lyft")[number % 2],
            "pickup_zone_id": 1 + number % 265,
            "dropoff_zone_id": 265 - number % 265,
            "trip_miles": 1.5,
            "wait_s": wait,
        }
        for number, (asked, wait) in enumerate(rides)
    ]
    pq.write_table(pa.Table.from_pylist(rows, COLUMNS), file)
    return file


def play(kafka: Kafka, *arguments: str) -> int:
    return main(["--bootstrap", kafka.bootstrap, "--run", "r", *arguments])


@pytest.fixture
def city(kafka: Kafka) -> Kafka:
    kafka.create(*(topic for topic in topics("eta") if topic.name in (REQUESTS, PICKUPS)))
    return kafka


def values(kafka: Kafka, topic: str) -> list[dict[str, object]]:
    """Return the messages of a topic by their time at the broker."""
    return [json.loads(m.value()) for m in sorted(kafka.read(topic), key=lambda m: (m.timestamp(), m.offset()))]


def test_a_gap_passes_at_once_and_a_speed_shortens_the_rest(tmp_path: Path) -> None:
    rides = of_file(write(tmp_path / "rides.parquet", (86_400, 30), (0, 60), (30, 10)))
    events = schedule(rides, speed=10)
    assert events.ride.tolist() == [0, 1, 1, 0, 2, 2]
    assert events.is_pickup.tolist() == [False, False, True, True, False, True]
    assert events.due_s.tolist() == [0, 3, 4, 6, 6, 9]


def test_a_rate_counts_requests_and_leaves_pickups_their_place(tmp_path: Path) -> None:
    rides = of_file(write(tmp_path / "rides.parquet", (0, 60), (30, 10), (86_400, 30)))
    events = schedule(rides, rate=4)
    assert events.is_pickup.tolist() == [False, False, True, True, False, True]
    assert events.due_s.tolist() == [0, 0.25, 0.25, 0.25, 0.5, 0.5]


def test_each_request_is_followed_by_its_pickup(
    city: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rides = [(second, 20 + second % 7) for second in range(300)]
    file = write(tmp_path / "rides.parquet", *rides, (300, None))
    began = time.time() * 1000
    assert play(city, "--file", str(file), "--rate", "2000") == 0
    assert "Sent 301 requests and 300 pick-ups" in capsys.readouterr().out
    requests, pickups = values(city, REQUESTS), values(city, PICKUPS)
    assert sorted(str(each["request_id"]) for each in requests) == [f"r-{n:08}" for n in range(301)]
    first = min(requests, key=lambda each: str(each["request_id"]))
    assert first.pop("sent_at_ms") >= began  # type: ignore[operator]
    assert first == {
        "schema_version": 1,
        "request_id": "r-00000000",
        "requested_at": "2023-06-01T08:00:00",
        "company": "uber",
        "pickup_zone_id": 1,
        "dropoff_zone_id": 265,
        "trip_miles": 1.5,
    }
    by_id = {each["request_id"]: each for each in requests}
    assert len(pickups) == 300
    for each in pickups:
        request = by_id[each["request_id"]]
        waited = timedelta(seconds=int(str(each["wait_s"])))
        assert datetime.fromisoformat(str(each["picked_up_at"])) - waited == datetime.fromisoformat(
            str(request["requested_at"])
        )
        assert (each["company"], each["pickup_zone_id"]) == (request["company"], request["pickup_zone_id"])
    for topic, column in ((REQUESTS, "requested_at"), (PICKUPS, "picked_up_at")):
        for partition in (0, 1):
            times = [json.loads(m.value())[column] for m in city.read(topic) if m.partition() == partition]
            assert len(times) > 50
            assert times == sorted(times)


def test_it_goes_on_some_weeks_later_and_ends_in_time(city: Kafka, tmp_path: Path) -> None:
    file = write(tmp_path / "rides.parquet", (0, 5), (10, 5), (8 * 86_400, 5))
    assert play(city, "--file", str(file), "--speed", "60", "--loop", "--seconds", "10") == 0
    found = sorted((str(each["request_id"]), str(each["requested_at"])) for each in values(city, REQUESTS))
    assert found[:5] == [
        ("r-00000000", "2023-06-01T08:00:00"),
        ("r-00000001", "2023-06-01T08:00:10"),
        ("r-00000002", "2023-06-09T08:00:00"),
        ("r-00000003", "2023-06-15T08:00:00"),
        ("r-00000004", "2023-06-15T08:00:10"),
    ]


def test_a_loop_ends_at_the_present(city: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(ZoneInfo("America/New_York")).replace(tzinfo=None)
    asked = int((now - START).total_seconds()) - 8 * 86_400
    file = write(tmp_path / "rides.parquet", (asked, 5), (asked + 10, 5))
    assert play(city, "--file", str(file), "--speed", "600", "--loop", "--seconds", "60") == 1
    assert "have come to the present" in capsys.readouterr().err
    times = [datetime.fromisoformat(str(each["requested_at"])) for each in values(city, REQUESTS)]
    assert len(times) == 4
    assert now - timedelta(days=2) < max(times) < now


ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}"}


def begin(kafka: Kafka, file: Path) -> "subprocess.Popen[str]":
    """Start to play a file at 200 requests a second; return soon after the first requests are stored."""
    command = [sys.executable, "-m", "services.replay", "--bootstrap", kafka.bootstrap, "--file", str(file)]
    replay = subprocess.Popen(
        [*command, "--rate", "200"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while kafka.count(REQUESTS) < 20 and replay.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return replay


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_when_all_that_was_sent_is_stored(city: Kafka, tmp_path: Path, number: signal.Signals) -> None:
    file = write(tmp_path / "rides.parquet", *((second, 20) for second in range(3000)))
    replay = begin(city, file)
    try:
        replay.send_signal(number)
        out, errors = replay.communicate(timeout=60)
    finally:
        replay.kill()
    assert (replay.returncode, errors) == (0, "")
    sent = len(city.read(REQUESTS)), len(city.read(PICKUPS))
    assert 20 <= sent[0] < 3000
    assert f"Sent {sent[0]:,} requests and {sent[1]:,} pick-ups" in out


@pytest.mark.slow
def test_nothing_is_lost_while_kafka_is_away(tmp_path: Path) -> None:
    """A broker of its own, killed in the middle and started again."""
    file = write(tmp_path / "rides.parquet", *((second, 20) for second in range(3000)))
    with Broker(tmp_path / "kafka") as broker:
        create_topics(broker.bootstrap, topics("eta"))
        kafka = Kafka(broker)
        replay = begin(kafka, file)
        try:
            broker.stop(0)
            assert replay.stderr
            away = next((line for line in replay.stderr if "does not answer" in line), "")
            broker.start()
            out, errors = replay.communicate(timeout=180)
        finally:
            replay.kill()
        assert replay.returncode == 0, errors
        assert "Sent 3,000 requests and 3,000 pick-ups" in out
        assert f"Kafka at {broker.bootstrap} does not answer: waits for it, nothing is lost." in away
        assert f"Kafka at {broker.bootstrap} answers again." in errors
        assert sorted(json.loads(m.value())["request_id"][-8:] for m in kafka.read(REQUESTS)) == [
            f"{n:08}" for n in range(3000)
        ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--month", "2023-13"], "2023-13 is not a month: write it as 2023-06."),
        (["--file", "{folder}/none.parquet"], "{folder}/none.parquet cannot be read (No such file or directory)"),
        (["--file", "{folder}/text"], "{folder}/text is no Parquet file with the columns of eta_training"),
        (["--file", "{folder}/other.parquet"], "{folder}/other.parquet is no Parquet file with the columns"),
        (["--file", "{folder}/empty.parquet"], "{folder}/empty.parquet has no rides: choose another month."),
        (
            ["--file", "{folder}/good.parquet", "--kafka-config", "{folder}/text"],
            "{folder}/text, given as --kafka-config, has the line 'no Parquet', which is not name=value.",
        ),
    ],
    ids=["month", "no file", "text", "other columns", "empty", "settings"],
)
def test_wrong_input_gives_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("no Parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    write(tmp_path / "empty.parquet")
    write(tmp_path / "good.parquet", (0, 1))
    assert main([each.format(folder=tmp_path) for each in arguments]) == 1
    out, errors = capsys.readouterr()
    assert errors.startswith(sentence.format(folder=tmp_path))
    assert (out, errors.count("\n")) == ("", 1)


def test_a_missing_topic_gives_one_sentence(kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kafka.create(REQUESTS)
    assert play(kafka, "--file", str(write(tmp_path / "rides.parquet", (0, 1)))) == 1
    assert capsys.readouterr().err == (
        f"Kafka at {kafka.bootstrap} has no topic ride_pickups: create it, on this machine by"
        f" python -m local_kafka topics eta --bootstrap {kafka.bootstrap}.\n"
    )
