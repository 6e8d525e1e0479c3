"""Topics on a real broker."""

import pytest

from console.errors import UserError
from local_kafka import Topic, create_topics, topics
from tests.kafka import Kafka


def test_messages_come_back_as_they_were_sent(kafka: Kafka) -> None:
    kafka.create(Topic("numbers", 2, (("retention.bytes", "1000000"),)))
    kafka.send("numbers", *((str(n), f"value {n}".encode()) for n in range(1000)))
    found = kafka.read("numbers")
    assert {m.partition() for m in found} == {0, 1}
    assert sorted((int(m.key()), m.value().decode()) for m in found) == [(n, f"value {n}") for n in range(1000)]


def test_topics_are_created_once(kafka: Kafka) -> None:
    kafka.create("first")
    kafka.created.append("second")
    assert create_topics(kafka.bootstrap, [Topic("first"), Topic("second")]) == ["second"]
    assert create_topics(kafka.bootstrap, [Topic("first"), Topic("second")]) == []


def test_a_setting_that_kafka_does_not_know_gives_one_sentence(kafka: Kafka) -> None:
    with pytest.raises(UserError, match=r"did not create the topic odd: .*retention\.bites"):
        create_topics(kafka.bootstrap, [Topic("odd", 1, (("retention.bites", "1"),))])


def test_a_pipeline_without_topics_gives_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^The pipeline hvfhv has no topics"):
        topics("hvfhv")
