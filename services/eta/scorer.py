"""The low-latency scorer: a plain consumer that answers requests with the live model, a group of them shares the work.

``python -m services.eta.scorer --bootstrap HOST:PORT --lake s3://LAKE``. It reads, checks and answers as the stream
does (:mod:`spark_jobs.eta.scoring`). Each request leads to at least one prediction or rejection: offsets are stored
when Kafka has taken the answers, so what a killed scorer had not stored is answered again, under the same key. Every
scorer of a group reads all pick-ups, as live waits are those of the whole city; the group shares the requests.
"""

import argparse
import re
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from console.errors import UserError
from console.output import run_command
from services.kafka import AWAY, Connection, tell
from services.signals import set_by_signals
from spark_jobs.eta.features import ZONE_MINUTES
from spark_jobs.eta.messages import PICKUPS, PREDICTIONS, RECORDS, REJECTED, REQUESTS
from spark_jobs.eta.model import ModelError
from spark_jobs.eta.scoring import State, score, take_pickups
from spark_jobs.eta.serving import LiveModel, Registry, UnreachableError
from spark_jobs.eta.statsd import StatsD

BATCH, BATCH_S = 1000, 0.01  # requests that are scored together, and seconds to wait for so many
PICKUPS_BATCH = 10_000  # pick-ups that are read together
STORE_S = 0.2  # between two rounds of waiting for Kafka to take answers; what a killed scorer answers twice
HEARTBEAT_S = 10
WAIT_S = 5  # between looks for the first model
ANSWER_S = 5  # to wait for what Kafka is asked
AWAY_S = 0.5  # between two questions while it is away
END_S = 10  # at the end, to wait for Kafka to take answers
_LEAD_MS = (ZONE_MINUTES + 1) * 60_000


class Scorer:
    """Answers requests.

    Args:
        connection: to a Kafka that has the topics.
        live: the model.
        group: consumer group that shares the requests.
        metrics: where they are sent to.
        stop: asks it to end.
        alive: file that is touched every ``HEARTBEAT_S``; None for none.
    """

    def __init__(
        self,
        connection: Connection,
        live: LiveModel,
        group: str,
        metrics: StatsD,
        stop: threading.Event,
        alive: Path | None = None,
    ) -> None:
        self._connection, self._live, self._metrics, self._stop = connection, live, metrics, stop
        self._alive = alive
        self._state = State.empty()
        self._failed: list[str] = []
        self._answered: dict[int, int] = {}  # partition → offset after the newest request, not stored yet
        self.predictions = self.rejected = 0
        # Stored offsets are committed in the background. A killed scorer's partitions go to another after 10 s.
        self._requests = Consumer(
            connection.settings(
                group_id=group,
                session_timeout_ms=10_000,
                auto_offset_reset="earliest",
                enable_auto_offset_store=False,
                auto_commit_interval_ms=500,
            )
        )
        self._pickups = Consumer(
            connection.settings(group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)
        )
        self._pickups_from_ms: int | None = None
        # No time limit for an answer: while Kafka is away it is kept.
        self._producer = Producer(connection.settings(enable_idempotence=True, linger_ms=1, message_timeout_ms=0))

    def run(self) -> None:
        """Answer requests until it is asked to stop; what was begun is finished.

        Raises:
            UserError: a topic is gone, or Kafka refuses an answer.
        """
        self._requests.subscribe([REQUESTS], on_revoke=lambda *_: self._hand_over())
        next_store = next_beat = 0.0
        try:
            while not self._stop.is_set():
                if messages := self._consumed(self._requests, BATCH, BATCH_S):
                    self._answer(messages)
                now = time.monotonic()
                if now >= next_store:
                    self._store()
                    next_store = now + STORE_S
                if now >= next_beat:
                    if self._pickups_from_ms is not None:  # also where no request comes, so that few wait for the next
                        self._take_pickups(0)
                    self._metrics.gauge("lag", self._lag())
                    self._metrics.gauge("model_age_s", time.time() - self._live.current.promoted_s)
                    if self._alive:
                        self._alive.touch()
                    next_beat = now + HEARTBEAT_S
            self._store()
        finally:
            self._requests.close()
            self._pickups.close()

    def _answer(self, messages: list[Any]) -> None:
        if not self._follow_pickups(min(message.timestamp()[1] for message in messages)):
            return  # they are answered by the next scorer
        answers = score(_records(messages), self._state, self._live.current.model, "consumer")
        for topic, key, value in zip(*(column.to_pylist() for column in answers.records.columns), strict=True):
            self._produce(topic, key, value)
        for message in messages:
            self._answered[message.partition()] = message.offset() + 1
        self.predictions += answers.predictions
        self.rejected += answers.rejected.total()
        self._metrics.count("requests", len(messages))
        self._metrics.count("predictions", answers.predictions)
        for reason, count in answers.rejected.items():
            self._metrics.count(f"rejected.{reason}", count)
        self._metrics.times("latency", time.time() * 1000 - answers.received_ms)

    def _produce(self, topic: str, key: bytes | None, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._on_delivery)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _on_delivery(self, error: KafkaError | None, message: Any) -> None:
        if error:
            self._failed.append(f"{message.topic()}: {error.str()}")
        else:
            self._connection.works()

    def _store(self) -> None:
        """Wait until Kafka has taken all answers, and store the offsets of their requests."""
        patience = END_S
        while self._producer.flush(1):
            if self._failed:
                break
            if self._stop.is_set() and (patience := patience - 1) <= 0:
                return  # what is not stored is answered again
        if self._failed:
            raise UserError(f"Kafka at {self._connection.bootstrap} refuses an answer ({self._failed[0]}).")
        for partition, offset in self._answered.items():
            try:
                self._requests.store_offsets(offsets=[TopicPartition(REQUESTS, partition, offset)])
            except KafkaException as error:
                if error.args[0].code() != KafkaError._STATE:  # another scorer has the partition by now
                    raise
        self._answered.clear()

    def _hand_over(self) -> None:
        """Finish with the partitions of before: what comes may be behind them, and begins as at a start."""
        self._store()
        self._state, self._pickups_from_ms = State.empty(), None

    def _follow_pickups(self, oldest_ms: int) -> bool:
        """Add the pick-ups that have arrived; at first all since an hour before the oldest request.

        Returns:
            whether all are there; not if it was asked to stop before.
        """
        while self._pickups_from_ms is None or oldest_ms < self._pickups_from_ms:
            try:
                self._read_pickups(oldest_ms)
            except KafkaException as error:
                if error.args[0].code() not in AWAY:
                    raise
                self._stop.wait(AWAY_S)
            if self._alive:
                self._alive.touch()
            if self._stop.is_set():
                return False
        self._take_pickups(0)
        return True

    def _read_pickups(self, oldest_ms: int) -> None:
        self._state.live = State.empty().live
        self._state.partitions = frozenset(place.partition for place in self._requests.assignment())
        partitions = self._pickups.list_topics(PICKUPS, ANSWER_S).topics[PICKUPS].partitions
        since = [TopicPartition(PICKUPS, number, max(0, oldest_ms - _LEAD_MS)) for number in partitions]
        begin = self._pickups.offsets_for_times(since, ANSWER_S)
        ends = {place.partition: self._pickups.get_watermark_offsets(place, ANSWER_S)[1] for place in begin}
        for place in begin:
            if place.offset < 0:  # none is so late; what comes meanwhile is not to be missed
                place.offset = ends[place.partition]
        self._pickups.assign(begin)
        unread = {place.partition for place in begin if place.offset < ends[place.partition]}
        while unread and not self._stop.is_set():
            unread -= {place for place, offset in self._take_pickups(0.1).items() if offset >= ends[place]}
        self._pickups_from_ms = oldest_ms

    def _take_pickups(self, seconds: float) -> dict[int, int]:
        """Take all pick-ups that have arrived; return the offset after the last one of each partition that had any."""
        after: dict[int, int] = {}
        while messages := self._consumed(self._pickups, PICKUPS_BATCH, seconds):
            take_pickups(_records(messages), self._state)
            after |= {message.partition(): message.offset() + 1 for message in messages}
            if len(messages) < PICKUPS_BATCH or self._stop.is_set():
                break
        return after

    def _consumed(self, consumer: Consumer, most: int, seconds: float) -> list[Any]:
        found = []
        for message in consumer.consume(most, seconds):
            if not (error := message.error()):
                found.append(message)
            elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
                raise UserError(f"Kafka at {self._connection.bootstrap} has lost a topic ({error.str()}): create it.")
            elif error.code() not in AWAY:
                tell(f"Kafka at {self._connection.bootstrap}: {error.str()}")
        return found

    def _lag(self) -> int:
        """Return how many requests of its partitions are unread, as far as it knows."""
        behind = 0
        places = self._requests.position(self._requests.assignment())
        if unread := [place for place in places if place.offset < 0]:  # since they were assigned
            with suppress(KafkaException):  # it is away
                places = [place for place in places if place.offset >= 0] + self._requests.committed(unread, ANSWER_S)
        for place in places:
            _, end = self._requests.get_watermark_offsets(place, cached=True)
            behind += max(0, end - max(0, place.offset))
        return behind


def _records(messages: list[Any]) -> pa.Table:
    values = [message.value() for message in messages]
    columns = [
        [message.key() for message in messages],
        values,
        [None if value is None else len(value) for value in values],
        [message.topic() for message in messages],
        [message.partition() for message in messages],
        [message.offset() for message in messages],
        [message.timestamp()[1] for message in messages],
    ]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, RECORDS, strict=True)], schema=RECORDS
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _options(arguments)
    return run_command(lambda _: _run(options), "Interrupted before it served.")


def _run(options: argparse.Namespace) -> int:
    connection, metrics, stop = (
        Connection(options.bootstrap, options.kafka_config),
        StatsD(options.statsd, "consumer."),
        threading.Event(),
    )
    connection.require([REQUESTS, PICKUPS, PREDICTIONS, REJECTED])
    with set_by_signals(stop):
        if (live := _live_model(options, metrics, stop)) is None:
            return 0
        scorer = Scorer(connection, live, options.group, metrics, stop, options.alive_file)
        with live:
            tell(
                f"Answers {REQUESTS} of {options.bootstrap} by the model {live.current.model.version}; Ctrl-C ends it."
            )
            scorer.run()
    tell(f"Ended after {scorer.predictions:,} predictions and {scorer.rejected:,} rejections.")
    return 0


def _live_model(options: argparse.Namespace, metrics: StatsD, stop: threading.Event) -> LiveModel | None:
    """Return the live model, waiting for the first one if asked to; None if the scorer is to end."""
    told = ""
    while not stop.is_set():
        try:
            return LiveModel(Registry(options.lake), lambda _: metrics.count("model_refused", 1))
        except (ModelError, UnreachableError) as error:
            if not options.wait_for_model:
                raise UserError(str(error)) from None
            if str(error) != told:
                told = str(error)
                tell(f"Waits for a model. {told}")
            if options.alive_file:
                options.alive_file.touch()
            stop.wait(WAIT_S)
        except ValueError as error:  # not an address of S3
            raise UserError(str(error)) from None
    return None


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m services.eta.scorer", description="Answer ride requests with the live model, in milliseconds."
    )
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="address of Kafka (%(default)s)")
    parser.add_argument("--kafka-config", type=Path, help="settings of librdkafka, name=value a line")
    parser.add_argument("--lake", required=True, help="s3:// address of the lake with the model")
    parser.add_argument("--group", default="eta-scorer", help="consumer group, which shares the requests (%(default)s)")
    parser.add_argument("--statsd", type=_address, default="", help="host:port of a StatsD exporter; default: none")
    parser.add_argument("--alive-file", type=Path, help=f"touched every {HEARTBEAT_S} s while it works, for probes")
    parser.add_argument(
        "--wait-for-model", action="store_true", help="wait where there is no live model that can be used, do not end"
    )
    return parser.parse_args(arguments)


def _address(text: str) -> str:
    if text and not re.fullmatch(r"[^\s:]+:\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port")
    return text


if __name__ == "__main__":
    sys.exit(main())
