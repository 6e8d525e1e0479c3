"""What the arrival model's stream does under load: ``python -m benchmarks.eta_stream [--write]``.

Real rides are played to a broker at a rate, and the answers' latency is read off Kafka: from when the broker had the
request to when it had the answer. Broker, S3, the player and what is measured share this machine.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np

from benchmarks.api_logs import heading, say
from benchmarks.contestants import Submitter
from benchmarks.local_aws import served
from benchmarks.measure import goal, keep, resident
from benchmarks.synthetic import BENCH, ROOT
from local_kafka import Broker, create_topics, topics
from spark_jobs.eta.messages import PREDICTIONS, REJECTED, REQUESTS
from spark_jobs.eta.model import FILES
from taxiway.aws.prices import serverless_usd
from taxiway.core.settings import settings
from tests.oracle import programs
from tests.spark_jobs.eta.streaming import COMPANIES, Stream, Topics
from tests.spark_jobs.eta.versions import BUCKET, LAKE, promote, put

RATE, SECONDS = 1000, 180
CONSUMER_SECONDS = 60
RAMP, RAMP_SECONDS = (2000, 3000, 4000, 6000, 8000), 20
FEW = (5, 60)  # requests a second, seconds
WARM_UP = (200, 30)
HELD_S = 2.0
WORKERS, SIZE = 2, (2, 8)  # of EMR Serverless, driver and executor: vCPU and GB of memory
VERSION = "bench"
MB = 1e6


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eta_stream", description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of the stream's run (%(default)s)")
    parser.add_argument("--consumer-seconds", type=int, default=CONSUMER_SECONDS, help="of the scorer's (%(default)s)")
    parser.add_argument("--no-ramp", action="store_true", help="do not look for the highest rate")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    options = parser.parse_args()
    try:
        figures = list(report(options.seconds, options.consumer_seconds, () if options.no_ramp else RAMP))
    except (RuntimeError, AssertionError, subprocess.CalledProcessError) as error:
        sys.exit(f"The benchmark ended early: {error}")
    text = "\n".join([f"{heading('pyspark', 'lightgbm', 'pyarrow', 'confluent-kafka')}.", "", *figures])
    print(text)
    if options.write:
        keep("python -m benchmarks.eta_stream --write", text)


def report(seconds: int, consumer_seconds: int, ramp: tuple[int, ...]) -> Iterator[str]:
    """Measure, and yield the lines of the figures.

    Raises:
        RuntimeError: a program failed.
    """
    model = _model()
    with _started("stream") as (play, kafka, memory):
        few = play(*FEW)
        run = play(RATE, seconds)
        most = memory()
        held, best = True, RATE
        tried = []
        for rate in ramp:
            if held:
                tried.append(play(rate, RAMP_SECONDS))
                held = tried[-1].p99 <= HELD_S * 1000 and tried[-1].late_s <= HELD_S
                best = rate if held else best
        rejected = kafka.count(REJECTED)
        unanswered = kafka.count(REQUESTS) - kafka.count(PREDICTIONS) - rejected
    with _started("consumer") as (play, kafka, memory):
        other = play(RATE, consumer_seconds)
        other_most, other_rejected = memory(), kafka.count(REJECTED)
    yield (
        f"{RATE:,} requests a second ({seconds} s for the stream, {consumer_seconds} s for the consumer), and the "
        f"pick-ups of their riders; the model {model}. Before, {WARM_UP[1]} s at {WARM_UP[0]} a second, which do not "
        "count. Latency is by the broker's clock, from request to answer:"
    )
    yield ""
    yield "| | requests | p50 (ms) | p90 | p99 | longest | all answered after the last (s) | peak memory |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, each, bytes_ in (("Spark Structured Streaming", run, most), ("the plain consumer", other, other_most)):
        yield each.row(name, f"{bytes_ / MB:,.0f} MB")
    yield few.row(f"the stream, {FEW[0]} a second for {FEW[1]} s", "")
    for rate, each in zip(ramp, tried, strict=False):
        yield each.row(f"the stream, {rate:,} a second for {RAMP_SECONDS} s", "")
    yield ""
    if tried:
        limits = f"p99 at most {HELD_S:g} s, all answered {HELD_S:g} s after the last"
        yield f"- Highest rate of these that the stream held ({limits}): {best:,} a second."
    yield (
        f"- Requests of the stream without an answer at the end: {unanswered}; rejected: {rejected} by the stream, "
        f"{other_rejected} by the consumer. Months of rides pass in minutes here: ten minutes of event time, after "
        "which a request is too late, in milliseconds."
    )
    yield goal("The stream's p99 is at most 2 s", run.p99 / 1000, 2)
    yield goal("The stream's p99 is at most 1 s", run.p99 / 1000, 1)
    yield goal("The plain consumer's p99 is at most 0.1 s", other.p99 / 1000, 0.1)
    usd = serverless_usd(settings().serverless_prices, "X86_64", WORKERS * SIZE[0], WORKERS * SIZE[1], 0)
    yield (
        f"- On EMR Serverless by list price, not run there: {WORKERS} workers of {SIZE[0]} vCPU and {SIZE[1]} GB, "
        f"${usd:.3f} an hour; at {RATE:,} requests a second ${usd / (RATE * 3600 / 1e6):.3f} a million requests."
    )


class Run:
    """What a run of requests came to; times in milliseconds, ``late_s`` in seconds."""

    def __init__(self, latency: list[float], late_s: float) -> None:
        self.requests, self.late_s = len(latency), late_s
        self.p50, self.p90, self.p99, self.longest = np.percentile(latency, [50, 90, 99, 100]).tolist()

    def row(self, name: str, memory: str) -> str:
        """Return a row of the table."""
        times = " | ".join(f"{each:,.0f}" for each in (self.p50, self.p90, self.p99, self.longest))
        return f"| {name} | {self.requests:,} | {times} | {self.late_s:.1f} | {memory} |"


Play = Callable[[int, int], Run]


@contextmanager
def _started(scorer: str) -> Iterator[tuple[Play, Topics, Callable[[], int]]]:
    """Run broker, S3 and a scorer; yield what plays rides to it, the topics, and its peak memory in bytes."""
    with tempfile.TemporaryDirectory(dir=BENCH) as work, served("local_aws") as server:
        folder = Path(work)
        s3 = server.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        put(s3, VERSION, {name: (_lake() / name).read_bytes() for name in (*FILES, "metrics.json")})
        promote(s3, VERSION)
        variables = {"AWS_ENDPOINT_URL": server.url, "AWS_DEFAULT_REGION": "us-east-1"}
        variables |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
        with Broker(folder / "kafka") as broker:
            create_topics(broker.bootstrap, topics("eta"))
            kafka, number = Topics(broker.bootstrap), 0
            process = _scorer(scorer, folder, broker.bootstrap, variables)
            peak, ended = [0], threading.Event()

            def sample() -> None:
                while not ended.wait(0.5):
                    peak[0] = max(peak[0], resident(process.pid))

            def play(rate: int, seconds: int) -> Run:
                nonlocal number
                number += 1
                return _play(kafka, broker.bootstrap, number, rate, seconds, process)

            threading.Thread(target=sample, daemon=True).start()
            try:
                play(*WARM_UP)
                say(f"{scorer}: warm")
                yield play, kafka, lambda: peak[0]
            finally:
                ended.set()
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(60)


def _scorer(name: str, folder: Path, bootstrap: str, variables: dict[str, str]) -> "subprocess.Popen[bytes]":
    arguments = ["--bootstrap", bootstrap, "--lake", LAKE]
    if name == "stream":
        return Stream(
            folder / "stream", programs.package(folder), variables, *arguments, "--checkpoint", f"{LAKE}/checkpoint"
        ).process
    return subprocess.Popen(
        [sys.executable, "-m", "services.eta.scorer", *arguments],
        env={**os.environ, **variables, "PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}"},
        cwd=ROOT,
        start_new_session=True,
    )


def _play(
    kafka: Topics, bootstrap: str, number: int, rate: int, seconds: int, process: "subprocess.Popen[bytes]"
) -> Run:
    """Play rides, some weeks after those of the run before, and wait until all are answered."""
    run = f"run{number}-"
    command = [sys.executable, "-m", "services.replay", "--bootstrap", bootstrap, "--file", str(_rides(number))]
    before, rejected = kafka.count(REQUESTS), kafka.count(REJECTED)
    subprocess.run(
        [*command, "--rate", str(rate), "--seconds", str(seconds), "--loop", "--run", f"run{number}"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}"},
        cwd=ROOT,
        check=True,
        stdout=sys.stderr,
    )
    ended = time.time()
    sent = kafka.count(REQUESTS) - before
    while True:
        answers = [
            (message.timestamp()[1] - content["received_at_ms"], message.timestamp()[1])
            for message, content in kafka.read(PREDICTIONS)
            if content["request_id"].startswith(run)
        ]
        if len(answers) + kafka.count(REJECTED) - rejected >= sent:
            break
        if process.poll() is not None or time.time() > ended + 120:
            raise RuntimeError(f"of {sent:,} requests {len(answers):,} were answered")
        time.sleep(1)
    found = Run([latency for latency, _ in answers], max(0.0, max(at for _, at in answers) / 1000 - ended))
    say(f"{rate:,} a second: {found.row('', '')}")
    return found


# ── Rides and model ─────────────────────────────────────────────────────────────────────────────────────────────────

_TRAINING = """
    SELECT {companies}[hvfhs_license_num] AS company, PULocationID::INT AS pickup_zone_id,
        DOLocationID::INT AS dropoff_zone_id, request_datetime, hour(request_datetime)::INT AS request_hour,
        isodow(request_datetime)::INT AS request_weekday, trip_miles,
        date_diff('second', request_datetime, pickup_datetime)::INT AS wait_s, trip_time::BIGINT AS trip_time
    FROM read_parquet({files}) WHERE date_diff('second', request_datetime, pickup_datetime) BETWEEN 0 AND 3600
        AND PULocationID BETWEEN 1 AND 265 AND DOLocationID BETWEEN 1 AND 265 AND trip_miles BETWEEN 0 AND 500
"""


def _months() -> dict[str, Path]:
    files = sorted((ROOT / "demos").glob("*/sample/fhvhv_tripdata_sample_*.parquet"), key=lambda file: file.name)
    return {file.stem.rpartition("_")[2]: file for file in files}


def _query(*files: Path) -> str:
    return _TRAINING.format(companies=f"MAP {COMPANIES}", files=[str(file) for file in files])


def _rides(number: int) -> Path:
    """Return a file of all rides, whose times are in the past, and 60 weeks after those of the number before."""
    file = BENCH / "eta" / f"rides-{number}.parquet"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        shifted = f"request_datetime + INTERVAL '{7 * (60 * number - 400)} days'"
        query = _query(*_months().values())
        duckdb.execute(f"COPY (SELECT * REPLACE ({shifted} AS request_datetime) FROM ({query})) TO '{file}'")
    return file


def _lake() -> Path:
    return BENCH / "eta" / "lake" / "models" / "eta" / VERSION


def _model() -> str:
    """Train a version from the sample months unless it is there; say what it is."""
    months = _months()
    if not (_lake() / "metrics.json").is_file():
        arguments: list[str] = []
        for month, file in months.items():
            place = BENCH / "eta" / month / "part.parquet"
            place.parent.mkdir(parents=True, exist_ok=True)
            duckdb.execute(f"COPY ({_query(file)}) TO '{place}'")
            arguments += ["--month", f"{month}={place.parent}"]
        with tempfile.TemporaryDirectory(dir=BENCH) as work:
            program = ["--py-files", str(programs.package(Path(work))), str(ROOT / "spark_jobs/eta/train.py")]
            output = ["--lake", str(BENCH / "eta" / "lake"), "--version", VERSION, "--code", "benchmark"]
            Submitter("spark", Path(work)).run([*program, *output, "--candidates", "lightgbm", *arguments])
    trees = (_lake() / "p50.txt").read_text().count("\nTree=")
    return f"is LightGBM's of {len(months)} sample months, {trees} trees for each percentile"


if __name__ == "__main__":
    main()
