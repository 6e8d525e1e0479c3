"""Answers requests: what stream and scorer do with the records that they have fetched. Does not import Spark."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from spark_jobs.eta import messages
from spark_jobs.eta.features import NAMES, ZONE_MINUTES, Floats, LiveWaits, features
from spark_jobs.eta.model import Model

APART_MINUTES = 120  # between partitions: to one that is further behind, live waits are unknown
_LIVE = ("live_city_wait_s", "live_city_count", "live_zone_wait_s", "live_zone_count")


@dataclass
class State:
    """What answers depend on beside the requests: bounded by the minutes that are kept.

    Attributes:
        live: pick-ups.
        newest: partition → minute since 1970 of its newest request. A partition's requests come in their order; the
            partitions need not be read equally far.
        partitions: that are read; of one without a request so far, requests may come that are far behind.
    """

    live: LiveWaits
    newest: dict[int, int] = field(default_factory=dict)
    partitions: frozenset[int] = frozenset()

    @classmethod
    def empty(cls) -> Self:
        """Return the state before the first record."""
        return cls(LiveWaits())

    @classmethod
    def from_bytes(cls, content: bytes) -> tuple[Self, dict[str, str]]:
        """Read :meth:`to_bytes`: the state, and what was noted beside it.

        Raises:
            ValueError: it is of another form.
        """
        table = pa.ipc.open_file(content).read_all()
        notes = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        newest = {int(number): minute for number, minute in json.loads(notes.pop("newest")).items()}
        return cls(LiveWaits.from_arrow(table), newest), notes

    def to_bytes(self, **notes: str) -> bytes:
        """Return the state as an Arrow file, with notes."""
        table = self.live.to_arrow().replace_schema_metadata({"newest": json.dumps(self.newest), **notes})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
        return bytes(sink.getvalue())

    @property
    def oldest(self) -> dict[int, int]:
        """Partition → minute before which its requests are too late."""
        return {number: minute - messages.LATE_MINUTES for number, minute in self.newest.items()}

    def forget(self) -> None:
        """Forget the pick-ups that no request asks for any more."""
        if minutes := self.newest.values():
            furthest = max(minutes) - APART_MINUTES
            oldest = max(min(minutes), furthest) if self.partitions <= self.newest.keys() else furthest
            self.live.drop_before(oldest - messages.LATE_MINUTES - ZONE_MINUTES)


@dataclass(frozen=True)
class Answers:
    """What records led to.

    Attributes:
        records: to be written, of the schema ``messages.SENT``: predictions and rejections.
        predictions: number of predictions.
        rejected: number of rejections of requests by reason.
        rejected_pickups: the same of pick-ups.
        received_ms: when the broker received each answered request, in milliseconds since 1970.
    """

    records: pa.Table
    predictions: int
    rejected: Counter[str]
    rejected_pickups: Counter[str]
    received_ms: Floats


def take_pickups(records: pa.Table, state: State) -> messages.Read:
    """Read records and add their pick-ups to the state."""
    read = messages.read(records, state.oldest)
    pickups = read.pickups
    if len(pickups):
        sums = pickups.group_by(["pickup_zone_id", "minute"], use_threads=False).aggregate(
            [("wait_s", "count"), ("wait_s", "sum")]
        )
        state.live.add(*(np.asarray(sums[name]) for name in ("pickup_zone_id", "minute", "wait_s_count", "wait_s_sum")))
    return read


def score(
    records: pa.Table,
    state: State,
    model: Model,
    scorer: Literal["stream", "consumer"],
    now_ms: int | None = None,
) -> Answers:
    """Answer the requests among some records: each by a prediction or a rejection.

    Args:
        records: of ``messages.RECORDS``, in the order of each partition.
        state: changed to what the next records need.
        model: answers.
        scorer: who asks.
        now_ms: milliseconds since 1970; now by default.
    """
    read = take_pickups(records, state)
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    requests = read.requests
    received = np.asarray(records["timestamp_ms"])[np.asarray(requests["row"], dtype=np.int64)]
    answered = _predictions(requests, state, model, scorer, received, now_ms)
    reasons = Counter(
        (topic, read.rejected[row][0])
        for row, topic in enumerate(records["topic"].to_pylist())
        if row in read.rejected
    )  # fmt: skip
    if len(requests):
        partitions = np.asarray(records["partition"])[np.asarray(requests["row"])]
        minutes = np.asarray(requests["minute"])
        for number in np.unique(partitions).tolist():
            newest = int(minutes[partitions == number].max())
            state.newest[number] = max(newest, state.newest.get(number, newest))
    state.forget()
    return Answers(
        records=pa.concat_tables([answered, messages.rejections(records, read.rejected, now_ms)]),
        predictions=len(requests),
        rejected=Counter({reason: n for (topic, reason), n in reasons.items() if topic == messages.REQUESTS}),
        rejected_pickups=Counter({reason: n for (topic, reason), n in reasons.items() if topic == messages.PICKUPS}),
        received_ms=received.astype(np.float64),
    )


def _predictions(
    requests: pa.Table,
    state: State,
    model: Model,
    scorer: Literal["stream", "consumer"],
    received: np.ndarray,
    now_ms: int,
) -> pa.Table:
    if not len(requests):
        return messages.SENT.empty_table()
    matrix = features(requests, state.live, model.lagged)
    p50, p90 = model.predict(matrix)
    city, city_count, zone, zone_count = (matrix[:, NAMES.index(name)].tolist() for name in _LIVE)
    made = [
        messages.Prediction(
            schema_version=messages.VERSION,
            request_id=request_id,
            model_version=model.version,
            p50_s=median,
            p90_s=bound,
            baseline_s=baseline,
            requested_at=requested_at,
            company=company,
            pickup_zone_id=zone_id,
            live_city_wait_s=city[row] if city_count[row] else None,
            live_city_count=int(city_count[row]),
            live_zone_wait_s=zone[row] if zone_count[row] else None,
            live_zone_count=int(zone_count[row]),
            received_at_ms=received_at,
            scored_at_ms=now_ms,
            scorer=scorer,
        )
        for row, (request_id, requested_at, company, zone_id, median, bound, baseline, received_at) in enumerate(
            zip(
                *(requests[name].to_pylist() for name in ("request_id", "requested_at", "company", "pickup_zone_id")),
                np.round(p50, 1).tolist(),
                np.round(p90, 1).tolist(),
                matrix[:, NAMES.index("lagged_wait_s")].tolist(),
                received.tolist(),
                strict=True,
            )
        )
    ]
    return messages.sent(messages.PREDICTIONS, [each.request_id.encode() for each in made], made)
