"""What table and page show: the state of the live stream, gathered from its topics."""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition

from services.kafka import Connection
from spark_jobs.eta.messages import DEMAND, ERRORS, PREDICTIONS, REJECTED, REQUESTS, Demand, Errors, Prediction

RECENT_S = 30  # of rates and latencies
ZONE_S, ZONE_ANSWERS = 300, 30  # the predicted wait of a zone is the mean of its newest answers
MOST = 200_000  # latencies and windows that are kept
_DECODERS: dict[str, Any] = {
    topic: msgspec.json.Decoder(type_)
    for topic, type_ in ((PREDICTIONS, Prediction), (DEMAND, Demand), (ERRORS, Errors))
}


@dataclass(frozen=True)
class Group:
    """The error so far of all, a company or a borough; in seconds, and as a share.

    Attributes:
        by, name: which group: all, company or borough, and its name.
        trips: whose rider was picked up.
        mae_s: mean absolute error of the 50th percentile.
        within_p90: share of waits of at most the 90th percentile.
    """

    by: str
    name: str
    trips: int
    mae_s: float
    within_p90: float


@dataclass(frozen=True)
class Picture:
    """The stream as it is now.

    Attributes:
        requests, predictions, rejected: since the start, rejected by reason.
        unanswered: requests without an answer yet.
        per_s: predictions a second, of the last ``RECENT_S``.
        p50_ms, p99_ms: from Kafka's having the request to its having the answer, of the last ``RECENT_S``; None: none.
        total_p50_ms, total_p99_ms: the same since the start.
        version: of the model that answered last; empty before the first answer.
        scorer: who did.
        at: newest time of a request in New York; None before the first.
        wait_s: mean of the newest predictions by zone id.
        demand: requests of the newest whole five minutes by zone id, and when these end.
        errors: error so far, all first.
        problem: why nothing arrives; empty if all is well.
    """

    requests: int = 0
    predictions: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    total_p50_ms: float | None = None
    total_p99_ms: float | None = None
    version: str = ""
    scorer: str = ""
    at: datetime | None = None
    wait_s: dict[int, float] = field(default_factory=dict)
    demand: dict[int, int] = field(default_factory=dict)
    demand_until: datetime | None = None
    errors: list[Group] = field(default_factory=list)
    problem: str = ""


class Board:
    """Gathers messages, and gives a picture of them; may be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._predictions = 0
        self._rejected = Counter[str]()
        # When it arrived and when Kafka stored it, both in seconds; latency in ms.
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=MOST)
        self._latencies: deque[float] = deque(maxlen=MOST)
        self._waits: defaultdict[int, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=ZONE_ANSWERS))
        self._demand: defaultdict[datetime, dict[int, int]] = defaultdict(dict)
        self._errors: dict[tuple[datetime, str, str, str], tuple[int, float, float]] = {}
        self._version = self._scorer = self.problem = ""
        self._at: datetime | None = None

    def see_requests(self, count: int) -> None:
        """Take note of how many requests there are since the start."""
        with self._lock:
            self._requests = count

    def see(self, topic: str, value: bytes, stored_ms: int, now: float) -> None:
        """Take note of a message.

        Args:
            topic: of it.
            value: of it.
            stored_ms: when Kafka stored it, in milliseconds since 1970.
            now: seconds, of a clock that goes on evenly.
        """
        with self._lock:
            if topic == REJECTED:
                rejected = msgspec.json.decode(value)
                if rejected.get("topic") == REQUESTS:
                    self._rejected[rejected["reason"]] += 1
                return
            message = _DECODERS[topic].decode(value)
            if topic == PREDICTIONS:
                self._predictions += 1
                latency = float(stored_ms - message.received_at_ms)
                self._recent.append((now, stored_ms / 1000, latency))
                self._latencies.append(latency)
                self._waits[message.pickup_zone_id].append((now, message.p50_s))
                self._version, self._scorer = message.model_version, message.scorer
                self._at = max(self._at or message.requested_at, message.requested_at)
            elif topic == DEMAND:
                self._demand[message.window_end][message.pickup_zone_id] = message.requests
                newest = max(self._demand)
                for end in [end for end in self._demand if end < newest - timedelta(hours=1)]:
                    del self._demand[end]
            else:
                key = (message.window_start, message.by, message.name, message.model_version)
                self._errors[key] = (message.trips, message.mae_s, message.within_p90)
                if len(self._errors) > MOST:
                    del self._errors[next(iter(self._errors))]

    def picture(self, now: float) -> Picture:
        """Return the state at a time of the clock of :meth:`see`."""
        with self._lock:
            while self._recent and self._recent[0][0] < now - RECENT_S:
                self._recent.popleft()
            recent = [latency for _, _, latency in self._recent]
            p50, p99 = _percentiles(recent)
            total_p50, total_p99 = _percentiles(self._latencies)
            waits = {
                zone: float(np.mean(values))
                for zone, answers in self._waits.items()
                if (values := [wait for at, wait in answers if at >= now - ZONE_S])
            }
            whole = [end for end in self._demand if self._at and end <= self._at]
            until = max(whole, default=None)
            # At the start many arrive at once that were answered over a longer time.
            stored = [at for _, at, _ in self._recent]
            span = max(min(RECENT_S, now - self._recent[0][0]), max(stored) - min(stored)) if stored else 0
            return Picture(
                requests=self._requests,
                predictions=self._predictions,
                rejected=dict(self._rejected),
                unanswered=max(0, self._requests - self._predictions - self._rejected.total()),
                per_s=len(recent) / max(span, 1),
                p50_ms=p50,
                p99_ms=p99,
                total_p50_ms=total_p50,
                total_p99_ms=total_p99,
                version=self._version,
                scorer=self._scorer,
                at=self._at,
                wait_s=waits,
                demand=dict(self._demand[until]) if until else {},
                demand_until=until,
                errors=self._groups(),
                problem=self.problem,
            )

    def _groups(self) -> list[Group]:
        totals: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0, 0])
        for (_, by, name, _), (trips, mae_s, within) in self._errors.items():
            for place, value in enumerate((trips, trips * mae_s, trips * within)):
                totals[by, name][place] += value
        order = ("all", "company", "borough")
        return [
            Group(by, name, int(trips), error / trips, within / trips)
            for (by, name), (trips, error, within) in sorted(
                totals.items(), key=lambda each: (order.index(each[0][0]), each[0][1])
            )
            if trips
        ]


def _percentiles(values: Iterable[float]) -> tuple[float | None, float | None]:
    found = np.fromiter(values, float)
    if not len(found):
        return None, None
    p50, p99 = np.percentile(found, (50, 99), method="inverted_cdf")
    return float(p50), float(p99)


class Follower(threading.Thread):
    """Feeds a board from Kafka, until it is asked to end.

    Args:
        connection: to a Kafka that has the topics.
        board: that it feeds.
        from_end: leave out what the topics hold already.
    """

    def __init__(self, connection: Connection, board: Board, *, from_end: bool) -> None:
        super().__init__(name="follower", daemon=True)
        self._board, self._connection, self._from_end = board, connection, from_end
        self._end = threading.Event()

    def end(self) -> None:
        """Ask it to end, and wait until it has."""
        self._end.set()
        self.join(15)

    def run(self) -> None:
        """Follow the topics."""
        consumer = Consumer(
            self._connection.settings(
                group_id="eta-watch", enable_auto_commit=False, auto_offset_reset="earliest", session_timeout_ms=10_000
            )
        )
        try:
            self._follow(consumer)
        except Exception as error:
            self._board.problem = f"Nothing is read any more: {error}"
        finally:
            consumer.close()

    def _follow(self, consumer: Consumer) -> None:
        topics = consumer.list_topics(timeout=30).topics
        places = [
            TopicPartition(topic, number)
            for topic in (PREDICTIONS, REJECTED, DEMAND, ERRORS)
            for number in topics[topic].partitions
        ]
        asked = [TopicPartition(REQUESTS, number) for number in topics[REQUESTS].partitions]
        began = sum(self._ends(consumer, asked)) if self._from_end else 0
        for place in places:
            low, high = consumer.get_watermark_offsets(place, 30)
            place.offset = high if self._from_end else low
        consumer.assign(places)
        looked = 0.0
        while not self._end.is_set():
            messages = consumer.consume(1000, 0.1)
            # Requests first, so that there are never more answers than requests.
            if messages or time.monotonic() - looked >= 1:
                looked = time.monotonic()
                try:
                    self._board.see_requests(sum(self._ends(consumer, asked)) - began)
                    self._board.problem = ""
                except KafkaException:
                    self._board.problem = f"Kafka at {self._connection.bootstrap} does not answer: waits for it."
            for message in messages:
                topic, value = message.topic(), message.value()
                if not message.error() and topic and value is not None:
                    self._connection.works()
                    self._board.see(topic, value, message.timestamp()[1], time.monotonic())

    def _ends(self, consumer: Consumer, places: list[TopicPartition]) -> list[int]:
        return [consumer.get_watermark_offsets(place, 5)[1] for place in places]
