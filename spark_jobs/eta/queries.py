"""The three queries of the stream: answers to requests, demand now, and the live error.

Each hands its batches to an object of this module, on the driver: a batch of a second is small, the state that answers
depend on is there, and no Python process of an executor is waited for.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from threading import Event
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.eta import messages
from spark_jobs.eta.features import LONGEST_WAIT_S, ZONES
from spark_jobs.eta.scoring import State, score
from spark_jobs.eta.serving import LiveModel
from spark_jobs.eta.states import BatchStates
from spark_jobs.eta.statsd import StatsD

Write = Callable[[pa.Table], None]

DEMAND_MINUTES = 5
ERROR_MINUTES, SHOWN_WINDOWS, KEPT_WINDOWS = 10, 6, 18  # of the live error: the metrics show the last hour
FEEDBACK = "1 hour"  # of watermark, and of wait at most: together, predictions wait two hours for their pick-up


class StoppingError(Exception):
    """Ends a query at the begin of a batch, which the next start does."""


class Batches:
    """A query's batches.

    Args:
        stopping: set when no further batch is to begin.
        turn: of the queries that share it one does a batch at a time; by default it waits for no other.
    """

    def __init__(self, stopping: Event, turn: AbstractContextManager[object] | None = None) -> None:
        self._stopping = stopping
        self._turn = turn or nullcontext()

    def __call__(self, frame: DataFrame, batch: int) -> None:
        """Do a batch, as ``foreachBatch`` asks."""
        if self._stopping.is_set():
            raise StoppingError
        with self._turn:
            self.do(frame.toArrow(), batch)

    def do(self, rows: pa.Table, batch: int) -> None:
        """Do a batch.

        Args:
            rows: of the batch.
            batch: its number; the same rows come again if it was not committed.
        """
        raise NotImplementedError


# ── Answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def records(source: DataFrame) -> DataFrame:
    """Return records of Kafka as columns of ``messages.RECORDS``; what is too large to be read is cut."""
    return source.select(
        F.substring("key", 1, messages.MOST_RAW_BYTES).alias("key"),
        F.substring("value", 1, messages.MOST_BYTES).alias("value"),
        F.octet_length("value").cast("bigint").alias("bytes"),
        "topic",
        "partition",
        "offset",
        F.unix_millis("timestamp").alias("timestamp_ms"),
    )


class Answering(Batches):
    """Answers requests.

    The state after a batch and the version that answers it are kept before the answers are written, so that a batch
    that is done again gives the same answers.
    """

    def __init__(self, stopping: Event, write: Write, states: BatchStates, live: LiveModel, statsd: StatsD) -> None:
        super().__init__(stopping)
        self._write, self._states, self._live, self._statsd = write, states, live, statsd

    def do(self, rows: pa.Table, batch: int) -> None:
        """Answer the requests of a batch."""
        began = time.monotonic()
        done, before = self._states.of(batch), self._states.before(batch)
        state = State.empty() if before is None else State.from_bytes(before)[0]
        live = self._live.current if done is None else self._live.of(State.from_bytes(done)[1]["version"])
        answers = score(rows.cast(messages.RECORDS), state, live.model, "stream")
        self._states.keep(batch, state.to_bytes(version=live.model.version))
        self._write(answers.records)
        now_ms = time.time_ns() / 1e6
        self._statsd.count("requests", answers.predictions + answers.rejected.total())
        self._statsd.count("predictions", answers.predictions)
        for reason, number in answers.rejected.items():
            self._statsd.count(f"rejected.{reason}", number)
        for reason, number in answers.rejected_pickups.items():  # no share of the requests
            self._statsd.count(f"rejected_pickups.{reason}", number)
        self._statsd.times("latency", (now_ms - answers.received_ms).tolist())
        self._statsd.times("batch", [1000 * (time.monotonic() - began)])
        self._statsd.gauge("batch_rows", len(rows))


# ── Demand ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_PREDICTION = (
    "request_id string, requested_at timestamp, company string, pickup_zone_id int, p50_s double, p90_s double, "
    "model_version string, scorer string"
)
_PICKUP = "request_id string, picked_up_at timestamp, wait_s bigint"


def _of(source: DataFrame, topic: str, schema: str) -> DataFrame:
    """Return the fields of a topic's messages; those that are no JSON of the schema are null."""
    fields = F.from_json(F.col("value").cast("string"), schema).alias("message")
    return source.where(F.col("topic") == topic).select(fields, "timestamp").select("message.*", "timestamp")


def _of_stream(source: DataFrame) -> DataFrame:
    return _of(source, messages.PREDICTIONS, _PREDICTION).where("scorer = 'stream'")


def demand(source: DataFrame) -> DataFrame:
    """Return requests by zone and window, of the answered ones: what was rejected is no demand.

    Args:
        source: records of ``messages.PREDICTIONS``.
    """
    window = F.window("requested_at", f"{DEMAND_MINUTES} minutes", "1 minute")
    return (
        _of_stream(source)
        .withWatermark("requested_at", f"{messages.LATE_MINUTES} minutes")
        .groupBy(window, "pickup_zone_id")
        .count()
        .select(
            "pickup_zone_id",
            F.to_timestamp_ntz(F.col("window.start").cast("string")).alias("start"),
            F.col("count").alias("requests"),
        )
    )


class DemandNow(Batches):
    """Writes the windows that changed, and shows the newest one that has begun five minutes ago by zone."""

    def __init__(self, stopping: Event, turn: AbstractContextManager[object], write: Write, statsd: StatsD) -> None:
        super().__init__(stopping, turn)
        self._write, self._statsd = write, statsd
        self._windows: dict[datetime, dict[int, int]] = defaultdict(dict)
        self._shown: set[int] = set()

    def do(self, rows: pa.Table, batch: int) -> None:  # noqa: ARG002 (windows that changed come whole)
        """Write the windows of a batch."""
        if not len(rows):
            return
        made = [
            messages.Demand(
                schema_version=messages.VERSION,
                window_start=row["start"],
                window_end=row["start"] + timedelta(minutes=DEMAND_MINUTES),
                pickup_zone_id=row["pickup_zone_id"],
                requests=row["requests"],
            )
            for row in rows.to_pylist()
        ]
        self._write(messages.sent(messages.DEMAND, [str(each.pickup_zone_id).encode() for each in made], made))
        for each in made:
            self._windows[each.window_start][each.pickup_zone_id] = each.requests
        # The newest minute begins the newest window; the one that ends with that minute began four minutes before.
        now = max(self._windows) - timedelta(minutes=DEMAND_MINUTES - 1)
        self._windows = defaultdict(dict, {start: zones for start, zones in self._windows.items() if start >= now})
        zones = self._windows.get(now, {})
        for zone_id in sorted(self._shown | zones.keys()):
            self._statsd.gauge(f"demand.{zone_id}", zones.get(zone_id, 0))
        self._shown = set(zones)


# ── The live error ──────────────────────────────────────────────────────────────────────────────────────────────────


def feedback(source: DataFrame) -> DataFrame:
    """Return predictions whose rider was picked up.

    Args:
        source: records of ``messages.PREDICTIONS`` and ``messages.PICKUPS``.
    """
    predictions = _of_stream(source).drop("timestamp", "scorer").withWatermark("requested_at", FEEDBACK)
    broker = F.from_utc_timestamp("timestamp", messages.NEW_YORK) + F.expr(f"interval {messages.AHEAD_S} seconds")
    pickups = (
        _of(source, messages.PICKUPS, _PICKUP)
        .where(F.col("wait_s").between(0, LONGEST_WAIT_S) & (F.col("picked_up_at") <= broker))
        .select(F.col("request_id").alias("id"), "picked_up_at", "wait_s")
        .withWatermark("picked_up_at", FEEDBACK)
    )
    joined = predictions.join(
        pickups,
        F.expr(
            "request_id = id AND picked_up_at >= requested_at"
            f" AND picked_up_at <= requested_at + interval {LONGEST_WAIT_S} seconds"
        ),
    )
    return joined.select(
        F.unix_seconds("picked_up_at").alias("picked_up_s"),
        "company",
        "pickup_zone_id",
        "p50_s",
        "p90_s",
        "wait_s",
        "model_version",
    )


class Sums(msgspec.Struct):
    """Sums over trips."""

    trips: int = 0
    error_s: float = 0.0
    within: int = 0

    def __iadd__(self, other: "Sums") -> "Sums":
        self.trips += other.trips
        self.error_s += other.error_s
        self.within += other.within
        return self


class LiveError(Batches):
    """Compares predictions with waits, by window, and all, company and borough."""

    def __init__(
        self,
        stopping: Event,
        turn: AbstractContextManager[object],
        write: Write,
        states: BatchStates,
        live: LiveModel,
        statsd: StatsD,
    ) -> None:
        super().__init__(stopping, turn)
        self._write, self._states, self._live, self._statsd = write, states, live, statsd

    def do(self, rows: pa.Table, batch: int) -> None:
        """Add the trips of a batch to their windows, and write the windows that changed."""
        before = self._states.before(batch)
        windows: dict[str, Sums] = msgspec.json.decode(before, type=dict[str, Sums]) if before else {}
        changed = _sums(rows)
        for key, sums in changed.items():
            windows[key] = windows.get(key, Sums())
            windows[key] += sums
        made = {key: _errors(key, windows[key]) for key in changed}
        windows = _last(windows, KEPT_WINDOWS)
        self._states.keep(batch, msgspec.json.encode(windows))
        self._write(messages.sent(messages.ERRORS, [key.encode() for key in made], [*made.values()]))
        if changed:
            self._show(_last(windows, SHOWN_WINDOWS))

    def _show(self, windows: Mapping[str, Sums]) -> None:
        live = self._live.current
        shown: dict[tuple[str, str], Sums] = defaultdict(Sums)
        for key, sums in windows.items():
            _, by, name, version = _key(key)
            if version == live.model.version:
                shown[by, name] += sums
        for (by, name), sums in shown.items():
            label = f"{by}.{name.replace(' ', '_').replace('.', '_')}"
            mae_s = sums.error_s / sums.trips
            self._statsd.gauge(f"live_mae_s.{label}", mae_s)
            self._statsd.gauge(f"within_p90.{label}", sums.within / sums.trips)
            test = live.metrics if by == "all" else live.metrics.get(f"by_{by}", {}).get(name, {})
            if expected := test.get("mae_s"):
                self._statsd.gauge(f"drift.{label}", mae_s / expected)


def _sums(rows: pa.Table) -> dict[str, Sums]:
    """Return the sums of trips by key."""
    found: dict[str, Sums] = defaultdict(Sums)
    start = np.asarray(rows["picked_up_s"]) // 60 // ERROR_MINUTES * ERROR_MINUTES
    wait = np.asarray(rows["wait_s"], dtype=np.float64)
    error = np.abs(wait - np.asarray(rows["p50_s"])).tolist()
    within = (wait <= np.asarray(rows["p90_s"])).tolist()
    places = (rows[name].to_pylist() for name in ("company", "pickup_zone_id", "model_version"))
    for minute, missed, kept, company, zone_id, version in zip(start.tolist(), error, within, *places, strict=True):
        for by, name in (("all", "all"), ("company", company), ("borough", ZONES[zone_id])):
            found[f"{minute}|{by}|{name}|{version}"] += Sums(1, missed, int(kept))
    return found


def _last(windows: Mapping[str, Sums], number: int) -> dict[str, Sums]:
    """Return the newest windows."""
    newest = max((_key(key)[0] for key in windows), default=0)
    return {key: sums for key, sums in windows.items() if _key(key)[0] > newest - number * ERROR_MINUTES}


def _key(key: str) -> tuple[int, str, str, str]:
    minute, by, name, version = key.split("|", 3)
    return int(minute), by, name, version


def _errors(key: str, sums: Sums) -> messages.Errors:
    minute, by, name, version = _key(key)
    start = datetime(1970, 1, 1) + timedelta(minutes=minute)  # noqa: DTZ001 (a wall-clock time)
    kind: Any = by
    return messages.Errors(
        schema_version=messages.VERSION,
        window_start=start,
        window_end=start + timedelta(minutes=ERROR_MINUTES),
        by=kind,
        name=name,
        trips=sums.trips,
        mae_s=round(sums.error_s / sums.trips, 3),
        within_p90=round(sums.within / sums.trips, 6),
        model_version=version,
    )
