"""Answer ride requests from Kafka with the live arrival model until stopped, and tell demand and live error.

Killed at any moment and started again with the same checkpoint it loses nothing; answers of the batch in which it was
killed may be written twice, with the same values (docs/eta-stream.md).
"""

import argparse
import math
import re
import signal
import sys
import time
import uuid
from collections.abc import Callable
from functools import partial
from threading import Event, Lock
from typing import Any

import msgspec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from spark_jobs.common import lineage
from spark_jobs.common.arguments import ArgumentParser
from spark_jobs.common.program import ENGINE_ERRORS, ProgramError, first_line, run
from spark_jobs.common.session import session
from spark_jobs.eta import kafka, messages, queries
from spark_jobs.eta.model import ModelError
from spark_jobs.eta.serving import MODELS, Folder, LiveModel, Registry, UnreachableError
from spark_jobs.eta.states import BatchStates
from spark_jobs.eta.statsd import StatsD
from taxiway.core.lineage import topic_address

PROGRAM = 2  # rises when queries or states are not those of an older checkpoint
FAILURES = 5  # of a query in a row without a batch between, after which the program ends
POLL_S, HEARTBEAT_S, REMINDER_S, STOP_S = 0.25, 10.0, 60.0, 60.0
LINEAGE_S = 24 * 3600.0  # between two events on what is read and written
_GONE: tuple[type[Exception], ...] = (*ENGINE_ERRORS, OSError)  # what Python gets when Java has ended before it
SETTINGS = {
    "spark.sql.shuffle.partitions": "1",  # of demand and live error, which are small: each has files of its own a batch
    "spark.sql.streaming.metricsEnabled": "false",
}


def main() -> None:
    """Run the queries until SIGTERM."""
    args = _arguments()
    settings = kafka.properties(args.bootstrap, args.kafka_config)
    statsd = StatsD(args.statsd)
    try:
        checkpoint = Folder(args.checkpoint)
        _claim(checkpoint)
        live = LiveModel(Registry(args.lake), lambda _: statsd.count("model_refused", 1), args.look_s)
    except (ModelError, UnreachableError, ValueError) as error:
        raise ProgramError(str(error)) from None
    # Equal shares of the cores for the queries; without, an answer would wait for all tasks of the others.
    SparkSession.builder.config("spark.scheduler.mode", "FAIR").appName("eta").getOrCreate()
    with live:
        Stream(session(), args, settings, checkpoint, live, statsd).run()


def _arguments() -> argparse.Namespace:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bootstrap", required=True, help="HOST:PORT of Kafka; several with commas")
    parser.add_argument("--lake", required=True, help="root of the lake with the models: s3://bucket[/prefix]")
    parser.add_argument("--checkpoint", required=True, help="folder on S3 that says how far it has come")
    parser.add_argument("--kafka-config", help="file with properties of Kafka's Java client, or ARN of such a secret")
    parser.add_argument("--statsd", default="", help="HOST:PORT of a StatsD exporter; default: no metrics")
    parser.add_argument("--max-offsets", type=int, default=20_000, help="records of a batch at most (%(default)s)")
    parser.add_argument("--trigger", type=_interval, default="0s", help="of answers, such as 500ms (%(default)s)")
    parser.add_argument("--slow-trigger", type=_interval, default="10s", help="of demand and live error (%(default)s)")
    parser.add_argument(
        "--starting-offsets", choices=("earliest", "latest"), default="earliest", help="of a new checkpoint"
    )
    parser.add_argument("--look-s", type=float, default=5.0, help="seconds between looks at the pointer (%(default)s)")
    return parser.parse_args()


def _interval(text: str) -> str:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write it as 500ms or 10s")
    return f"{round(float(match[1]) * (1 if match[2] == 'ms' else 1000))} milliseconds"


def _claim(checkpoint: Folder) -> None:
    """Note the program's version in a new checkpoint; refuse one of another version."""
    noted = checkpoint.read("program.json")
    if noted is None:
        if not checkpoint.is_empty():
            raise ProgramError(
                f"{checkpoint.address} holds something else than a checkpoint of this program: name another one."
            )
        checkpoint.write("program.json", msgspec.json.encode({"program": PROGRAM}))
        return
    try:
        version = msgspec.json.decode(noted, type=dict[str, int])["program"]
    except (msgspec.DecodeError, KeyError):
        raise ProgramError(f"{checkpoint.address}/program.json cannot be read: name another --checkpoint.") from None
    if version != PROGRAM:
        raise ProgramError(
            f"The checkpoint {checkpoint.address} is of version {version} of this program, which is version {PROGRAM}: "
            "name another --checkpoint, or run the program that made it."
        )


class Query:
    """One query: started, and started again from its checkpoint when it has failed."""

    def __init__(self, name: str, batches: queries.Batches, start: Callable[[queries.Batches], StreamingQuery]) -> None:
        self.name, self.batches = name, batches
        self._start = start
        self.running: StreamingQuery | None = None
        self.failures = 0  # in a row

    def start(self) -> None:
        """Start it."""
        self.running = self._start(self.batches)

    def fault(self) -> str | None:
        """Return why it has ended in one sentence; None if it goes on.

        Raises:
            ProgramError: it has ended too often.
        """
        if self.running is None or self.running.isActive:
            return None
        reason, done = _cause(self.running.exception()), self.running.lastProgress is not None
        self.running = None
        self.failures = 1 if done else self.failures + 1
        if self.failures >= FAILURES:
            raise ProgramError(f"The query {self.name} has failed {FAILURES} times in a row: {reason}.")
        return f"The query {self.name} has ended: {reason}."

    @property
    def lag(self) -> int | None:
        """Records that the broker had and were not read yet, at the last batch; None before the first."""
        progress = self.running.lastProgress if self.running else None
        if progress is None:
            return None
        return sum(_offsets(each.latestOffset) - _offsets(each.endOffset) for each in progress.sources)

    def is_between_batches(self) -> bool:
        """Return whether it has ended or waits for records."""
        return self.running is None or not self.running.isActive or not self.running.status["isTriggerActive"]


def _offsets(text: Any) -> int:
    try:
        topics = msgspec.json.decode(str(text), type=dict[str, dict[str, int]])
    except msgspec.DecodeError:
        return 0
    return sum(sum(partitions.values()) for partitions in topics.values())


def _cause(error: Exception | None) -> str:
    """Return the innermost cause that the engine names."""
    lines = [line.strip() for line in str(error).splitlines()]
    causes = [line.removeprefix("Caused by:").strip() for line in lines if line.startswith("Caused by:")]
    return (causes[-1] if causes else first_line(error) if error else "it gave no reason").rstrip(".")


class Stream:
    """The queries of the application, and what happens when Kafka is away or the program is to end."""

    def __init__(
        self,
        spark: SparkSession,
        args: argparse.Namespace,
        settings: dict[str, str],
        checkpoint: Folder,
        live: LiveModel,
        statsd: StatsD,
    ) -> None:
        self._spark, self._args, self._settings, self._checkpoint = spark, args, settings, checkpoint
        self._live, self._statsd = live, statsd
        self._stopping, self._stopped = Event(), Event()
        self._run_id = str(uuid.uuid4())
        for key, value in SETTINGS.items():
            spark.conf.set(key, value)
        write = kafka.sink(spark, settings)
        states = BatchStates(checkpoint / "answers.states")
        errors = BatchStates(checkpoint / "errors.states")
        turn = Lock()  # the slow queries are due at the same moment; answers keep a core if these go one by one
        self._answers = Query(
            "answers",
            queries.Answering(self._stopping, write, states, live, statsd),
            partial(
                self._start, "answers", (messages.REQUESTS, messages.PICKUPS), queries.records, "append", args.trigger
            ),
        )
        self._queries = [
            self._answers,
            Query(
                "demand",
                queries.DemandNow(self._stopping, turn, write, statsd),
                partial(self._start, "demand", (messages.PREDICTIONS,), queries.demand, "update", args.slow_trigger),
            ),
            Query(
                "errors",
                queries.LiveError(self._stopping, turn, write, errors, live, statsd),
                partial(
                    self._start,
                    "errors",
                    (messages.PREDICTIONS, messages.PICKUPS),
                    queries.feedback,
                    "append",
                    args.slow_trigger,
                ),
            ),
        ]

    def _start(
        self,
        name: str,
        topics: tuple[str, ...],
        transform: Callable[[DataFrame], DataFrame],
        mode: str,
        trigger: str,
        batches: queries.Batches,
    ) -> StreamingQuery:
        limit = self._args.max_offsets * (1 if name == "answers" else 10)
        source = kafka.source(
            self._spark,
            self._settings,
            topics,
            maxOffsetsPerTrigger=str(limit),
            startingOffsets=self._args.starting_offsets,
        )
        self._spark.sparkContext.setLocalProperty("spark.scheduler.pool", name)
        return (
            transform(source)
            .writeStream.queryName(name)
            .outputMode(mode)
            .option("checkpointLocation", f"{self._checkpoint.address}/{name}")
            .trigger(processingTime=trigger)
            .foreachBatch(batches)
            .start()
        )

    def run(self) -> None:
        """Run until the program is to end.

        Raises:
            ProgramError: a query fails again and again.
        """
        self._stop_on_signals()
        _log_only(self._spark, "org.apache.kafka.clients.NetworkClient", "ERROR")  # what is waited for is said once
        _say(f"Version {self._live.current.model.version} is served.")
        beat = told = -math.inf
        try:
            self._wait_for_kafka()
            while not self._stopping.is_set():
                self._keep_running()
                if time.monotonic() - beat > HEARTBEAT_S:
                    beat = time.monotonic()
                    self._heartbeat()
                if time.monotonic() - told > LINEAGE_S:
                    told = time.monotonic()
                    self._tell_lineage()
                self._stopping.wait(POLL_S)
        finally:
            self._stop()
            self._stopped.set()

    def _keep_running(self) -> None:
        faults = [fault for query in self._queries if (fault := query.fault())]
        for fault in faults:
            _say(f"{fault} It is started again from its checkpoint.")
        if faults:
            self._stopping.wait(2.0 ** max(query.failures for query in self._queries))
            self._wait_for_kafka()
        for query in self._queries:
            if query.running is None and not self._stopping.is_set():
                query.start()

    def _wait_for_kafka(self) -> None:
        """Return when Kafka answers and has the topics, or the program is to end; say what is waited for."""
        told, said_at = "", 0.0
        while not self._stopping.is_set():
            problem = kafka.problem(self._spark, self._settings, messages.TOPICS)
            if problem is None:
                if told:
                    _say("Kafka answers and has the topics: the stream goes on.")
                return
            if problem != told or time.monotonic() - said_at > REMINDER_S:
                told, said_at = problem, time.monotonic()
                _say(problem)
            self._stopping.wait(1.0)

    def _heartbeat(self) -> None:
        self._statsd.gauge("model_age_s", time.time() - self._live.current.promoted_s)
        if (lag := self._answers.lag) is not None:
            self._statsd.gauge("lag", lag)

    def _tell_lineage(self) -> None:
        topic = partial(topic_address, self._settings["bootstrap.servers"])
        requests, pickups, predictions, rejected, demand, errors = map(topic, messages.TOPICS)
        for name, inputs, outputs in (
            ("answers", [requests, pickups, f"{self._args.lake}/{MODELS}"], [predictions, rejected]),
            ("demand", [predictions], [demand]),
            ("errors", [predictions, pickups], [errors]),
        ):
            program = f"eta/score_stream.{name}"
            lineage.tell(self._spark, self._args.lake, program, inputs, outputs, stream=self._run_id)

    def _stop_on_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        # Java, which has started this process, gets the signal too: it must not end before the batch has.
        from pyspark.java_gateway import ensure_callback_server_started

        jvm: Any = self._spark._jvm
        ensure_callback_server_started(self._spark.sparkContext._gateway)  # type: ignore[no-untyped-call]
        hooks = jvm.org.apache.hadoop.util.ShutdownHookManager.get()
        hooks.addShutdownHook(
            _Hook(self._wait_for_end), 1000, int(STOP_S) + 10, jvm.java.util.concurrent.TimeUnit.SECONDS
        )

    def _wait_for_end(self) -> None:
        self._stopping.set()
        self._stopped.wait(STOP_S)

    def _stop(self) -> None:
        """End the queries between two batches, so that no batch is done again."""
        self._stopping.set()
        _log_only(self._spark, "org.apache.spark.sql.execution.streaming.MicroBatchExecution", "OFF")  # StoppingError
        deadline = time.monotonic() + STOP_S
        try:
            while time.monotonic() < deadline and not all(query.is_between_batches() for query in self._queries):
                time.sleep(0.05)
            for query in self._queries:
                if query.running is not None:
                    query.running.stop()
        except _GONE as error:
            _say(f"The queries could not be stopped: {first_line(error)}.")
        else:
            _say("The stream has ended; the next start goes on from here.")


class _Hook:
    """A ``java.lang.Runnable``."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def run(self) -> None:
        """Run it."""
        self._function()

    def hashCode(self) -> int:  # noqa: N802 (Java's name)
        """Return what Java's collections ask for."""
        return 1

    class Java:
        """Names the interface for Py4J."""

        implements = ("java.lang.Runnable",)


def _log_only(spark: SparkSession, logger: str, level: str) -> None:
    log4j = spark._jvm.org.apache.logging.log4j  # type: ignore[union-attr]
    log4j.core.config.Configurator.setLevel(logger, log4j.Level.valueOf(level))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    run(main)
