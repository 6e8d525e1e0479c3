"""Apache Kafka on one machine: a broker in KRaft mode that listens on 127.0.0.1, for a laptop and for tests."""

from local_kafka.broker import Broker
from local_kafka.topics import Topic, create_topics, topics, wait_for_broker

__all__ = ["Broker", "Topic", "create_topics", "topics", "wait_for_broker"]
