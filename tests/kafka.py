"""The fixture ``kafka``: one broker for all tests of a session, with no topics but those that a test creates.

All tests load this module: what Kafka needs is imported where it is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from local_kafka import Broker, Topic


@dataclass(frozen=True)
class Kafka:
    """A broker on this machine.

    Attributes:
        broker: it.
        created: names of the topics of the test.
    """

    broker: "Broker"
    created: list[str] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    def create(self, *topics: "str | Topic") -> None:
        """Create topics, those that are given by name with one partition; they are gone after the test."""
        from local_kafka import Topic, create_topics

        wanted = [Topic(each) if isinstance(each, str) else each for each in topics]
        self.created.extend(each.name for each in wanted)
        create_topics(self.bootstrap, wanted)

    def send(self, topic: str, *messages: tuple[str, bytes]) -> None:
        """Send keys and values, and return when all are stored."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5})
        failed: list[Any] = []
        for key, value in messages:
            producer.produce(topic, value, key, on_delivery=lambda error, _: failed.append(error) if error else None)
            producer.poll(0)
        assert producer.flush(60) == 0
        assert not failed, failed[0]

    def count(self, topic: str) -> int:
        """Return how many messages a topic has, without reading them."""
        from confluent_kafka import Consumer

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "reader"})
        try:
            return sum(end - begin for _, begin, end in ranges(consumer, topic))
        finally:
            consumer.close()

    def read(self, topic: str) -> list[Any]:
        """Return all messages of a topic, as ``confluent_kafka.Message``, partition by partition."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "reader", "enable.auto.commit": False})
        try:
            found = []
            for partition, at, end in ranges(consumer, topic):
                consumer.assign([TopicPartition(topic, partition, at)])
                while at < end:
                    messages = consumer.consume(end - at, 60)
                    assert messages, f"{end - at} messages of {topic} did not arrive"
                    for message in messages:
                        assert not message.error(), message.error()
                    found += messages
                    at += len(messages)
            return found
        finally:
            consumer.close()


def ranges(consumer: "Consumer", topic: str) -> Iterator[tuple[int, int, int]]:
    """Yield each partition of a topic with its first offset and the one after its last."""
    from confluent_kafka import TopicPartition

    for partition in consumer.list_topics(topic, 60).topics[topic].partitions:
        yield partition, *consumer.get_watermark_offsets(TopicPartition(topic, partition), 60)


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Broker]":
    """Run the broker of the session, for fixtures of a wider scope than a test; nothing is removed between tests."""
    from local_kafka import Broker

    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def kafka(kafka_broker: "Broker") -> Iterator[Kafka]:
    """Give a test the broker without any topic; what it creates is removed after it."""
    from confluent_kafka.admin import AdminClient

    found = Kafka(kafka_broker)
    yield found
    if found.created:
        client = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
        for removal in client.delete_topics(found.created).values():
            removal.result(60)
