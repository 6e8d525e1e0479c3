"""The broker of the chart `platform`, with the programs of its stand-in image, started as its pod starts it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer, Producer

from console.ports import free_port
from local_kafka import create_topics, topics, wait_for_broker
from local_kafka.broker import runtime
from tests.e2e.kafka_image.context import programs
from tests.tools import tool

pytestmark = pytest.mark.slow
CHART = Path(__file__).parents[2] / "helm/platform"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start the container's command, with other folders and ports."""
    rendered = subprocess.run(
        [tool("helm"), "template", "platform", CHART, "--set=kafka.enabled=true"], capture_output=True, check=True
    ).stdout
    (pod,) = [each for each in yaml.safe_load_all(rendered) if each and each["kind"] == "StatefulSet"]
    container = pod["spec"]["template"]["spec"]["containers"][0]
    java, jars = runtime()
    (tmp_path / "libs").mkdir()
    for jar in jars:
        (tmp_path / "libs" / jar.name).symlink_to(jar)
    programs(tmp_path / "bin")
    port = free_port()
    changed = {
        "/tmp/": f"{tmp_path}/",
        "kafka:9092": f"127.0.0.1:{port}", ":9092": f"127.0.0.1:{port}", "127.0.0.1:9093": f"127.0.0.1:{free_port()}",
        "/var/lib/kafka/data": f"{tmp_path}/data", "/opt/kafka": str(tmp_path),
    }  # fmt: skip

    def here(text: str) -> str:
        for old, new in changed.items():
            text = text.replace(old, new)
        return text

    given = {each["name"]: here(each["value"]) for each in container["env"]}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [here(word) for word in container["command"]],
            env={"PATH": os.environ["PATH"], "JAVA": str(java), **given},
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def test_it_keeps_the_records_of_the_contracts_topics(
    started: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    bootstrap, process = started

    def alive() -> None:
        assert process.poll() is None, (tmp_path / "log").read_text()

    wait_for_broker(bootstrap, 120, alive)
    assert set(create_topics(bootstrap, topics("eta"))) >= {"ride_requests", "eta_predictions", "eta_rejected"}
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    producer.produce("ride_requests", b"{}", b"1")
    assert producer.flush(120) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["ride_requests"])
    (message,) = consumer.consume(1, 120)
    assert (message.key(), message.value()) == (b"1", b"{}")
    consumer.close()
    process.terminate()
    assert process.wait(60) in (143, -15), (tmp_path / "log").read_text()
    assert (tmp_path / "data/meta.properties").is_file()
