"""The arrival model on the cluster: trained, promoted, and served by stream and scorer, from Kafka to Kafka.

The features are added to the platform that is there, and taken away again: they need Apache Spark, which is slower
than what the other tests run on.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.platform import run_in_pod, run_module
from monitoring.prometheus import Prometheus
from tests.e2e.conftest import Platform, wait_for

pytestmark = pytest.mark.full  # two more images, six months on Apache Spark and a training: a quarter of an hour
SPARK = {"ENGINE": "spark"}
FEATURES = {**SPARK, "FEATURES": "opentelemetry eta"}
# Prints the records of a topic, in a pod of the scorer: the broker lets in nobody else.
READ = """
import sys
from confluent_kafka import Consumer, TopicPartition
topic = sys.argv[1]
consumer = Consumer({"bootstrap.servers": "kafka:9092", "group.id": "e2e", "enable.auto.commit": False})
for number in consumer.list_topics(topic, 10).topics[topic].partitions:
    at, end = consumer.get_watermark_offsets(TopicPartition(topic, number), 10)
    consumer.assign([TopicPartition(topic, number, at)])
    while at < end:
        for message in consumer.consume(1000, 5):
            print(message.value().decode())
            at = message.offset() + 1
"""


@pytest.fixture(scope="module")
def served(platform: Platform) -> Iterator[str]:
    """Bring Kafka and the scorer, run the demo, and return what it said."""
    for command, variables in (("images", {"IMAGES": "services spark"}), ("deploy", FEATURES), ("dags-push", {})):
        result = platform.type(command, IMAGE_TAG=platform.tag, **variables)
        assert result.returncode == 0, result.stdout
    result = platform.type("kind-demo", PIPELINE="eta")
    assert result.returncode == 0, result.stdout
    yield result.stdout
    result = platform.type("deploy", IMAGE_TAG=platform.tag)
    assert result.returncode == 0, result.stdout


def records(platform: Platform, topic: str) -> list[dict[str, Any]]:
    """Return all records of a topic."""
    printed = run_in_pod(platform.kubectl, "eta-scorer", ["python", "-c", READ, topic])
    return [json.loads(line) for line in printed.splitlines()]


def test_a_version_is_live(platform: Platform, served: str) -> None:
    models = run_module(platform.kubectl, "taxiway.eta", "models")
    assert "live" in models, models


def test_every_request_is_answered_by_stream_and_scorer(platform: Platform, served: str) -> None:
    requests = {each["request_id"] for each in records(platform, "ride_requests")}
    assert len(requests) > 1000, served

    def answered() -> bool:
        rejected = {each["key"] for each in records(platform, "eta_rejected")}
        predictions = records(platform, "eta_predictions")
        by_scorer = {
            name: {each["request_id"] for each in predictions if each["scorer"] == name}
            for name in ("stream", "consumer")
        }
        return all(found | rejected >= requests for found in by_scorer.values())

    # The job of eta_stream starts while the replay plays, and works off what waits.
    wait_for("answers of stream and scorer to every request", answered, 600, 15)
    predictions = records(platform, "eta_predictions")
    assert all(0 < each["p50_s"] <= each["p90_s"] for each in predictions)
    assert len({each["model_version"] for each in predictions}) == 1


def test_both_are_seen_by_prometheus(platform: Platform, served: str) -> None:
    with platform.kubectl.forward("service/prometheus", 9090) as forward:
        prometheus = Prometheus(forward.url)

        def counted() -> bool:
            shown = prometheus.query("sum by (scorer) (taxiway_eta_predictions_total) > 0")
            return {series.labels["scorer"] for series in shown} == {"stream", "consumer"}

        wait_for("predictions of both scorers in Prometheus", counted, 120, 5)
        assert prometheus.query("taxiway_eta_stream_wanted == 1")
        [promoted] = prometheus.query('taxiway_eta_gate_total{outcome="promoted"}')
        assert promoted.value >= 1
