"""The stream as a process on the real Apache Spark, beside a broker and an S3 of its own."""

import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import duckdb
from confluent_kafka import Consumer, Producer, TopicPartition
from moto.server import ThreadedMotoServer

from local_aws.engines import engine
from spark_jobs.eta.messages import PICKUPS, REQUESTS
from tests.kafka import ranges
from tests.spark_jobs.eta.versions import BUCKET
from tests.tools import SPARK_PYTHON

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "demos/hvfhv/sample/fhvhv_tripdata_sample_2023-01.parquet"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
COMPANIES = {"HV0002": "juno", "HV0003": "uber", "HV0004": "via", "HV0005": "lyft"}

# What Airflow tells a program of its task, so that it tells its lineage.
TASK = {
    "parentRunId": "0192f6a8-0000-7000-8000-000000000000",
    "parentJobNamespace": "taxiway",
    "parentJobName": "eta_stream.keep",
}

Message = tuple[str, bytes, bytes]  # topic, key, value


def trips(day: str) -> list[dict[str, Any]]:
    """Return the real trips of a day, in the order of their requests."""
    rows = duckdb.execute(
        "SELECT hvfhs_license_num, request_datetime, pickup_datetime, PULocationID, DOLocationID, trip_miles"
        " FROM read_parquet(?) WHERE request_datetime::DATE = ?::DATE AND pickup_datetime >= request_datetime"
        " ORDER BY request_datetime, pickup_datetime, PULocationID, DOLocationID, trip_miles",
        [str(SAMPLE), day],
    ).fetchall()
    names = ("company", "requested_at", "picked_up_at", "pickup_zone_id", "dropoff_zone_id", "trip_miles")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for number, trip in enumerate(found):
        wait_s = int((trip["picked_up_at"] - trip["requested_at"]).total_seconds())
        trip |= {"request_id": f"{day}-{number:05}", "wait_s": wait_s, "company": COMPANIES[trip["company"]]}
    return found


def hours(found: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield trips by the hour of their request."""
    by_hour: dict[datetime, list[dict[str, Any]]] = {}
    for trip in found:
        by_hour.setdefault(trip["requested_at"].replace(minute=0, second=0), []).append(trip)
    yield from by_hour.values()


def request(trip: dict[str, Any], **changed: Any) -> Message:
    fields = ("request_id", "requested_at", "company", "pickup_zone_id", "dropoff_zone_id", "trip_miles")
    return _message(REQUESTS, trip, fields, changed)


def pickup(trip: dict[str, Any], **changed: Any) -> Message:
    fields = ("request_id", "requested_at", "picked_up_at", "company", "pickup_zone_id", "wait_s")
    return _message(PICKUPS, trip, fields, changed)


def _message(topic: str, trip: dict[str, Any], fields: tuple[str, ...], changed: dict[str, Any]) -> Message:
    content = {"schema_version": 1, "sent_at_ms": time.time_ns() // 1_000_000, **{name: trip[name] for name in fields}}
    text = json.dumps(content | changed, default=lambda value: value.isoformat())
    return topic, trip["request_id"].encode(), text.encode()


@contextmanager
def s3_server() -> Iterator[tuple[Any, dict[str, str]]]:
    """Run an S3 with the bucket of the lake; yield a client and the variables that point to it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        region = {"region_name": CREDENTIALS["AWS_DEFAULT_REGION"]}
        s3: Any = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id="test", aws_secret_access_key="test", **region
        )
        s3.create_bucket(Bucket=BUCKET)
        yield s3, {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}
    finally:
        server.stop()


class Metrics:
    """Listens to StatsD's datagrams."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.lines: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            self.lines += self._socket.recv(65536).decode().splitlines()

    def wait_for(self, number: int) -> None:
        """Wait until so many lines have come."""
        deadline = time.monotonic() + 60
        while len(self.lines) < number and time.monotonic() < deadline:
            time.sleep(0.01)

    def total(self, name: str) -> int:
        """Return the sum of a counter."""
        values = (line.partition(":")[2].split("|") for line in self.lines if line.startswith(f"{_PREFIX}{name}:"))
        return sum(int(value) for value, _ in values)

    def names(self) -> set[str]:
        return {line.partition(":")[0].removeprefix(_PREFIX) for line in self.lines}


_PREFIX = "airflow.taxiway.eta."


class Stream:
    """The program, started by the local engine; its stderr is read while it runs."""

    def __init__(self, folder: Path, package: Path, variables: dict[str, str], *arguments: str) -> None:
        folder.mkdir(parents=True)
        told = [word for name, value in TASK.items() for word in ("--conf", f"spark.openlineage.{name}={value}")]
        program = [*told, "--py-files", str(package), str(ROOT / "spark_jobs/eta/score_stream.py"), *arguments]
        environment = {**variables, "PATH": os.environ["PATH"], "STEP_MEMORY_BYTES": str(2 << 30)}
        launch = engine("spark", spark_python=SPARK_PYTHON).command(program, folder, environment)
        self._log = folder / "stderr"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                launch.argv, env=launch.env, cwd=launch.cwd, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = 300) -> None:
        """Wait until it has said something."""
        self.wait_until(lambda: text in self.said, text, seconds)

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"it has ended before: {what}\n{self.said}"
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{self.said}"
            time.sleep(0.25)

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        os.killpg(self.process.pid, number)

    def end(self) -> None:
        """End what is left of it."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait()


class Topics:
    """Sends and reads messages."""

    def __init__(self, bootstrap: str) -> None:
        self._servers = {"bootstrap.servers": bootstrap}
        self._producer = Producer({**self._servers, "linger.ms": 5, "message.max.bytes": 20_000_000})
        self.sent: Counter[str] = Counter()
        self.failed: list[Any] = []
        self._read: dict[str, list[Any]] = {}
        self._read_to: dict[tuple[str, int], int] = {}

    def send(self, messages: list[Message], rate: float | None = None) -> None:
        """Send messages, all at once or at a rate, and return when the broker has them."""
        began = time.monotonic()
        for number, (topic, key, value) in enumerate(messages):
            if rate and (wait := began + number / rate - time.monotonic()) > 0:
                time.sleep(wait)
            self._producer.produce(topic, value, key, on_delivery=self._delivered)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0
        assert not self.failed, self.failed

    def _delivered(self, error: Any, message: Any) -> None:
        if error:
            self.failed.append(error)
        else:
            self.sent[message.topic()] += 1

    def count(self, topic: str) -> int:
        """Return the number of messages of a topic."""
        consumer = self._consumer()
        try:
            return sum(end - begin for _, begin, end in ranges(consumer, topic))
        finally:
            consumer.close()

    def read(self, topic: str) -> list[Any]:
        """Return all messages of a topic: (Kafka's message, its content); those that were read before are kept."""
        found = self._read.setdefault(topic, [])
        consumer = self._consumer()
        for partition, _, end in ranges(consumer, topic):
            at = self._read_to.get((topic, partition), 0)
            consumer.assign([TopicPartition(topic, partition, at)])
            while at < end:
                messages = consumer.consume(end - at, 60)
                found += [(message, json.loads(message.value() or b"")) for message in messages]
                at += len(messages)
            self._read_to[topic, partition] = at
        consumer.close()
        return found

    def _consumer(self) -> Consumer:
        return Consumer({**self._servers, "group.id": "test", "enable.auto.commit": False})


def minute(time_: datetime) -> int:
    """Return the minute since 1970."""
    return int((time_ - datetime(1970, 1, 1)) / timedelta(minutes=1))  # noqa: DTZ001  # noqa: DTZ001
