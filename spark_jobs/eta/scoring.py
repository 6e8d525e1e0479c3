"""Answers requests: what stream and scorer do with the records that they have fetched. Does not import Spark."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from spark_jobs.eta import messages
from spark_jobs.eta.features import NAMES, ZONE_MINUTES, Floats, LiveWaits, features
from spark_jobs.eta.model import Model

LATE_MINUTES = 10  # of event time, behind the newest request: older requests are rejected
_LIVE = ("live_city_wait_s", "live_city_count", "live_zone_wait_s", "live_zone_count")


@dataclass
class State:
    """What answers depend on beside the requests: bounded by the minutes that are kept.

    Attributes:
        live: pick-ups.
        newest: minute since 1970 of the newest request, of the partition that is behind; None before the first.
    """

    live: LiveWaits
    newest: int | None = None

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
        newest = notes.pop("newest")
        return cls(LiveWaits.from_arrow(table), int(newest) if newest else None), notes

    def to_bytes(self, **notes: str) -> bytes:
        """Return the state as an Arrow file, with notes."""
        newest = "" if self.newest is None else str(self.newest)
        table = self.live.to_arrow().replace_schema_metadata({"newest": newest, **notes})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
        return bytes(sink.getvalue())

    @property
    def oldest(self) -> int | None:
        """The minute before which requests are too late."""
        return None if self.newest is None else self.newest - LATE_MINUTES


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
        # Partitions need not be read equally far: the one that is behind says what is late.
        partition = np.asarray(records["partition"])[np.asarray(requests["row"])]
        minute = np.asarray(requests["minute"])
        newest = min(int(minute[partition == number].max()) for number in np.unique(partition))
        state.newest = newest if state.newest is None else max(newest, state.newest)
    if state.oldest is not None:
        state.live.drop_before(state.oldest - ZONE_MINUTES)
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
