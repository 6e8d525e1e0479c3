"""Sends rides to Kafka in their order, at a speed or at a rate."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, Producer, TopicPartition

from console.errors import UserError
from services.kafka import Connection
from services.replay.rides import COLUMNS
from services.signals import set_by_signals
from spark_jobs.eta.messages import NEW_YORK, PICKUPS, PREDICTIONS, REQUESTS, VERSION, Pickup, Request, encode

SECOND_US = 1_000_000
LONGEST_GAP_S = 600  # between two events; samples consist of hours of some days, and what is between them is left out
WEEK_US = 7 * 24 * 3600 * SECOND_US
SLACK_S = 0.002  # sooner than this an event is sent at once
FLUSH_S = 15  # after Ctrl-C, to wait for a Kafka that is away
_NEW_YORK = ZoneInfo(NEW_YORK)


@dataclass
class Sent:
    """What was sent.

    Attributes:
        requests, pickups: that Kafka has stored.
        seconds: from the first to the last.
        first, last: time of the first and the last event in New York; None if none was sent.
    """

    requests: int = 0
    pickups: int = 0
    seconds: float = 0
    first: datetime | None = None
    last: datetime | None = None

    def __str__(self) -> str:
        if self.first is None or self.last is None:
            return "Sent nothing."
        rate = f", {self.requests / self.seconds:,.0f} requests a second" if self.seconds >= 1 else ""
        return (
            f"Sent {self.requests:,} requests and {self.pickups:,} pick-ups in {self.seconds:.1f} s{rate}: "
            f"{self.first:%Y-%m-%d %H:%M} to {self.last:%Y-%m-%d %H:%M} in New York."
        )


@dataclass(frozen=True)
class Schedule:
    """Events in their order: requests, and pick-ups when riders were picked up.

    Attributes:
        ride: row of each event's ride.
        is_pickup: whether it is a pick-up.
        at_us: its time, in microseconds since 1970 by New York's clock.
        due_s: when it is sent, in seconds from the start.
    """

    ride: "np.ndarray[Any, np.dtype[np.int64]]"
    is_pickup: "np.ndarray[Any, np.dtype[np.bool_]]"
    at_us: "np.ndarray[Any, np.dtype[np.int64]]"
    due_s: "np.ndarray[Any, np.dtype[np.float64]]"


def schedule(rides: pa.Table, *, speed: float | None = None, rate: float | None = None) -> Schedule:
    """Return the events of rides and when to send them.

    Args:
        rides: of :mod:`services.replay.rides`.
        speed: seconds of New York that pass in a second; of a gap without events nothing passes.
        rate: instead of a speed, requests a second; pick-ups keep their place between the requests.
    """
    requested = np.asarray(rides["request_datetime"].cast(pa.int64()))
    picked_up = requested + np.asarray(rides["wait_s"].fill_null(0), dtype=np.int64) * SECOND_US
    at = np.concatenate([requested, picked_up])
    order = np.argsort(at, kind="stable")
    is_pickup = order >= len(requested)
    at = at[order]
    if rate:
        due = (np.cumsum(~is_pickup) - 1) / rate
    else:
        gaps = np.diff(at, prepend=at[:1])
        due = np.cumsum(np.where(gaps > LONGEST_GAP_S * SECOND_US, 0, gaps)) / SECOND_US / (speed or 1)
    return Schedule(order % len(requested), is_pickup, at, due)


def play(
    rides: pa.Table,
    connection: Connection,
    *,
    speed: float | None = None,
    rate: float | None = None,
    seconds: float | None = None,
    loop: bool = False,
    run: str,
    answer_s: float = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Sent:
    """Send rides until they are all sent, some seconds have passed, or the process is asked to end.

    Args:
        rides: of :mod:`services.replay.rides`.
        connection: to a Kafka with both topics.
        speed, rate: as for :func:`schedule`.
        seconds: to play at most.
        loop: begin again at the end, as many whole weeks later as the rides last, so that time never goes back; until
            the present, as later requests are rejected.
        run: begins the ids of the requests, which are ``<run>-<number>``.
        answer_s: after the first request, wait at most so long until it is answered; 0 not at all.
        say: prints a line.

    Raises:
        UserError: Kafka did not take what was sent, the first request was not answered in time, or the rides of a loop
            have come to the present.
    """
    answers = _Answers(connection) if answer_s else None
    events = schedule(rides, speed=speed, rate=rate)
    # No time limit for a message: while Kafka is away they are kept, and above the queue's size sending waits.
    # One request at a time: with several, librdkafka may store some of them twice where a broker goes away
    # (confluentinc/librdkafka#4953).
    once = {"enable_idempotence": True, "max_in_flight": 1}
    producer = Producer(connection.settings(**once, linger_ms=5, message_timeout_ms=0))
    sent, failed = Sent(), []

    def on_delivery(error: Any, message: Any) -> None:
        if error:
            failed.append(f"{message.topic()}: {error.str()}")
            return
        connection.works()
        if message.topic() == REQUESTS:
            sent.requests += 1
        else:
            sent.pickups += 1

    stop, present, began = threading.Event(), False, time.monotonic()
    with set_by_signals(stop):
        for due, topic, at, message in _messages(rides, events, run, loop=loop):
            present = loop and at > datetime.now(_NEW_YORK).replace(tzinfo=None)
            if present or (seconds is not None and due > seconds):
                break
            while not stop.is_set() and (wait := began + due - time.monotonic()) > SLACK_S:
                producer.poll(min(wait, 0.1))
            if stop.is_set() or failed or (seconds is not None and time.monotonic() - began >= seconds):
                break
            value = encode(msgspec.structs.replace(message, sent_at_ms=int(time.time() * 1000)))
            while not stop.is_set():
                try:
                    producer.produce(topic, value, message.request_id, on_delivery=on_delivery)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
            sent.first, sent.last = sent.first or at, at
            if answers:
                producer.flush(FLUSH_S)
                waited = answers.wait_for(message.request_id, answer_s, stop.is_set)
                say(f"The first request was answered after {waited:.1f} s.")
                answers, began = None, time.monotonic() - due
        patience = FLUSH_S
        while (left := producer.flush(1)) and not failed and patience > 0:
            patience -= stop.is_set()
        sent.seconds = time.monotonic() - began
    if failed:
        raise UserError(f"Kafka at {connection.bootstrap} did not take {len(failed):,} events ({failed[0]}).")
    if left:
        raise UserError(f"Kafka at {connection.bootstrap} has not taken {left:,} events within {FLUSH_S} s. {sent}")
    if present:
        raise UserError(
            "The rides that are played over and over have come to the present, and later requests would be rejected: "
            f"play them anew, with a new broker and checkpoint. {sent}"
        )
    return sent


class _Answers:
    """Answers that arrive from now on."""

    def __init__(self, connection: Connection) -> None:
        self._consumer = Consumer(connection.settings(group_id="replay", enable_auto_commit=False))
        partitions = self._consumer.list_topics(PREDICTIONS, 10).topics[PREDICTIONS].partitions
        places = [TopicPartition(PREDICTIONS, partition) for partition in partitions]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, 10)[1]
        self._consumer.assign(places)

    def wait_for(self, request_id: str, seconds: float, stopped: Callable[[], bool]) -> float:
        """Return after how many seconds a request was answered.

        Raises:
            UserError: it was not, in time.
        """
        began = time.monotonic()
        try:
            while not stopped():
                message = self._consumer.poll(0.2)
                waited = time.monotonic() - began
                if message and not message.error() and message.key() == request_id.encode():
                    return waited
                if waited > seconds:
                    raise UserError(f"The first request was not answered within {seconds:.0f} s: see the scorer's log.")
            return time.monotonic() - began
        finally:
            self._consumer.close()


def _messages(
    rides: pa.Table, events: Schedule, run: str, *, loop: bool
) -> Iterator[tuple[float, str, datetime, Request | Pickup]]:
    """Yield when each event is due, its topic, its time in New York, and the message but for the time of sending."""
    columns = {name: rides[name].combine_chunks() for name in rides.column_names}
    weeks = timedelta(weeks=int(events.at_us[-1] - events.at_us[0]) // WEEK_US + 1)
    turn = 0
    while True:
        for index, row in enumerate(events.ride.tolist()):
            requested_at, company, pickup, dropoff, miles, wait = (columns[name][row].as_py() for name in COLUMNS.names)
            requested_at += turn * weeks
            request_id = f"{run}-{turn * len(rides) + row:08}"
            due = turn * (float(events.due_s[-1]) + 1) + float(events.due_s[index])
            if not events.is_pickup[index]:
                request = Request(VERSION, request_id, requested_at, company, pickup, dropoff, 0, miles)
                yield due, REQUESTS, requested_at, request
            elif wait is not None:
                at = requested_at + timedelta(seconds=wait)
                yield due, PICKUPS, at, Pickup(VERSION, request_id, requested_at, at, company, pickup, wait, 0)
        if not loop:
            return
        turn += 1
