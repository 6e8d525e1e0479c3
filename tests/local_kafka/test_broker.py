"""The broker: what it says when it cannot run, and that it never outlives what started it."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import KafkaError, Message, Producer

from console.errors import UserError
from console.options import ROOT
from local_kafka import Broker
from tests.kafka import Kafka
from tests.processes import command
from tests.tools import absent
from tests.waiting import eventually

pytestmark = pytest.mark.slow


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"^Port {port} on 127.0.0.1, which Kafka needs, is taken .* KAFKA_PORT=…$"
        ):
            Broker(tmp_path, port).start()


def test_a_folder_has_one_broker(kafka_broker: Broker) -> None:
    with pytest.raises(UserError, match=rf"^Another Kafka runs on the folder {kafka_broker.folder}: end it"):
        Broker(kafka_broker.folder).start()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=rf"^The folder {tmp_path}/file/kafka cannot be used for Kafka \(Not a directory"
    ):
        Broker(tmp_path / "file" / "kafka").start()


def test_any_cluster_id_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xfb" * 16))
    with Broker(tmp_path / "kafka"):
        properties = (tmp_path / "kafka" / "data" / "meta.properties").read_text()
    assert "cluster.id=-" in properties


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True).returncode:
        absent("system", "only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_named_and_what_was_stored_is_there_when_there_is_space_again(small_disk: Path) -> None:
    broker = Broker(small_disk / "kafka")
    stored = list[bytes | str | None]()
    try:
        broker.start()
        kafka = Kafka(broker)
        kafka.create("ride_requests")
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0, "message.timeout.ms": 20_000})
        deadline = time.monotonic() + 120
        number = 0

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if not error:
                stored.append(message.key())

        while broker.pid and time.monotonic() < deadline:
            number += 1
            producer.produce("ride_requests", os.urandom(100_000), str(number), on_delivery=on_delivery)
            producer.flush(0.2)
        assert not broker.pid
        with pytest.raises(
            UserError, match=r"^Kafka has ended with status 1: the disk that holds .* is full: free some"
        ):
            broker.require_alive()
        producer.purge()
        broker.stop()
        subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
        broker.start()
        assert len(stored) > 10
        assert set(stored) <= {message.key() for message in kafka.read("ride_requests")}
    finally:
        broker.stop()


def family_of(started: "subprocess.Popen[str]") -> list[psutil.Process]:
    return list(psutil.Process(started.pid).children(recursive=True))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_no_broker_outlives_its_command(tmp_path: Path, number: signal.Signals) -> None:
    words = [sys.executable, "-m", "local_kafka", "up", "--folder", str(tmp_path), "--port", "0"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}"}
    started = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout
        if number is signal.SIGTERM:
            assert started.stdout.readline().startswith("Kafka on this machine: 127.0.0.1:")
        else:  # before it is ready
            eventually(lambda: any(" kafka.Kafka" in command(each) for each in family_of(started)))
        family = family_of(started)
        assert family
        started.send_signal(number)
        started.wait(60)
        _, left = psutil.wait_procs(family, timeout=60)
        assert not left
    finally:
        started.kill()
        started.wait()
