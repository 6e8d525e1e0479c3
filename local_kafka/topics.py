"""Topics, as the data contracts describe them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from console.errors import UserError
from taxiway.core import contracts

ANSWER_S = 60  # on a busy machine, by a broker that has just been started
# Custom properties of a contract → Kafka's names.
_SETTINGS = {
    "retentionBytes": "retention.bytes",
    "maxMessageBytes": "max.message.bytes",
    "timestampType": "message.timestamp.type",
}


@dataclass(frozen=True)
class Topic:
    """A topic.

    Attributes:
        name: of the topic.
        partitions: their number.
        config: settings of the topic, by Kafka's names.
    """

    name: str
    partitions: int = 1
    config: tuple[tuple[str, str], ...] = ()


def topics(pipeline: str) -> list[Topic]:
    """Return the topics of a pipeline: its contracts whose schema is of the physical type ``topic``.

    Raises:
        UserError: it has none.
    """
    found = []
    for name in contracts.names(pipeline):
        contract = contracts.read(pipeline, name)
        if contract.raw["schema"][0].get("physicalType") == "topic":
            given = contract.properties
            settings = tuple((_SETTINGS[key], str(given[key])) for key in _SETTINGS if key in given)
            found.append(Topic(contract.table, int(given["partitions"]), settings))
    if not found:
        raise UserError(f"The pipeline {pipeline} has no topics: none of contracts/{pipeline}/*.yaml describes one.")
    return found


def wait_for_broker(bootstrap: str, seconds: float, still: Callable[[], None] = lambda: None) -> None:
    """Wait until a broker answers a request for metadata.

    Args:
        bootstrap: ``host:port``.
        seconds: to wait at most.
        still: called between tries; raises what ends the waiting.

    Raises:
        UserError: it did not answer.
    """
    deadline = time.monotonic() + seconds
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
    while True:
        still()
        try:
            if client.list_topics(timeout=0.5).brokers:
                return
        except KafkaException:
            pass
        if time.monotonic() > deadline:
            raise UserError(
                f"Kafka at {bootstrap} has not answered for {seconds:.0f} s: start it, or name another one."
            )


def create_topics(bootstrap: str, wanted: Iterable[Topic]) -> list[str]:
    """Create the topics that are missing, and return their names.

    Raises:
        UserError: the broker does not answer, or refuses one.
    """
    wait_for_broker(bootstrap, ANSWER_S)
    wanted = list(wanted)
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    asked = [NewTopic(each.name, each.partitions, replication_factor=1, config=dict(each.config)) for each in wanted]
    created = []
    for name, future in client.create_topics(asked, operation_timeout=ANSWER_S, request_timeout=ANSWER_S).items():
        try:
            future.result()  # the client gives up by itself
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise UserError(
                    f"Kafka at {bootstrap} did not create the topic {name}: {error.args[0].str()}."
                ) from None
        else:
            created.append(name)
    # A topic can be used a moment after it is created, when its partitions have a leader.
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    places = {TopicPartition(each.name, number): latest for each in wanted for number in range(each.partitions)}
    deadline = time.monotonic() + ANSWER_S
    while created:
        try:
            for found in client.list_offsets(places, request_timeout=ANSWER_S).values():
                found.result()
            break
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"Kafka at {bootstrap} does not offer the topics it created ({error.args[0].str()}): see its log."
                ) from None
            time.sleep(0.05)
    return created
