"""The arrival model's stream on this machine: a broker, the scoring job, a replay of real rides, a live table and page.

The scoring job runs as on AWS: a job run of EMR Serverless in STREAMING mode, at the local endpoint, on Apache Spark.
Broker and checkpoint are new for each stream: rides of the past are played, and time must not go back within a stream.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.aws import ARTIFACTS, local_client, make_buckets
from console.errors import UserError
from console.options import ROOT, number, port
from console.output import Reporter
from console.ports import require_free
from console.processes import start_program
from laptop.config import Config
from laptop.platform import Platform
from spark_jobs import publish
from taxiway.core.s3 import split
from taxiway.core.settings import Settings
from taxiway.eta.registry import Registry, RegistryError
from taxiway.eta.settings import eta_settings
from taxiway.eta.stream import Stream

CHECKPOINT = "laptop"
START_S = 300  # of the broker and of the scoring job, on a busy machine
END_S = 30
_LOOK_S, _JOB_LOOK_S = 0.2, 2.0


@dataclass(frozen=True)
class Options:
    """What a person may choose.

    Attributes:
        kafka_port, page_port: on 127.0.0.1; 0 takes any free one for Kafka, and means no page.
        month: whose rides are played; empty for the test month of the live model.
        rate: requests a second; 0 for a speed.
        speed: seconds of New York in a second.
    """

    kafka_port: int = 0
    page_port: int = 0
    month: str = ""
    rate: int = 0
    speed: int = 60

    @classmethod
    def from_environment(cls, given: Mapping[str, str]) -> "Options":
        """Read KAFKA_PORT, PAGE_PORT, MONTH, RATE and SPEED; UserError where one cannot be used."""
        return cls(
            port(given, "KAFKA_PORT", 9092),
            port(given, "PAGE_PORT", 8501),
            given.get("MONTH") or "",
            number(given, "RATE", 0, 0, 100_000),
            number(given, "SPEED", 60, 1, 100_000),
        )


@dataclass(frozen=True)
class Summary:
    """What a stream did.

    Attributes:
        version: of the model that answered last.
        requests, predictions, rejected: numbers.
        p50_ms, p99_ms: from Kafka's having a request to its having the answer; None without an answer.
        mae_s, within_p90, trips: live error, of riders who were picked up; None where there was none yet.
    """

    version: str
    requests: int
    predictions: int
    rejected: int
    p50_ms: float | None
    p99_ms: float | None
    mae_s: float | None
    within_p90: float | None
    trips: int

    def __str__(self) -> str:
        if self.p50_ms is None or self.p99_ms is None:
            return f"{self.requests:,} requests, no answer."
        error = (
            f"live error {self.mae_s:.0f} s, {self.within_p90:.1%} within p90 ({self.trips:,} riders picked up)"
            if self.mae_s is not None and self.within_p90 is not None
            else "no live error yet"
        )
        return (
            f"{self.requests:,} requests: {self.predictions:,} predicted by {self.version}, {self.rejected:,} rejected;"
            f" from Kafka to Kafka p50 {self.p50_ms:,.0f} ms, p99 {self.p99_ms:,.0f} ms; {error}."
        )


def run_stream(
    config: Config, report: Reporter, seconds: float | None = None, options: Options | None = None
) -> Summary:
    """Stream until Ctrl-C, or for some seconds from the first answer on; whatever happens, nothing is left running.

    Args:
        config: of a platform whose local AWS answers.
        report: prints what is done.
        seconds: None for no end.
        options: ports, rides and pace; by default any port, and no page.

    Raises:
        UserError: there is no live model, a port is taken, or one of the parts has ended.
    """
    options = options or Options()
    for name, value in Platform(config).environment.items():
        if name.startswith("TAXIWAY_"):
            os.environ[name] = value
    month = options.month or _test_month(config)
    services = config.python("services")
    if not services.exists():
        raise UserError(f"The environment {services.parents[1]} is not installed: say make stream.")
    with ExitStack() as stack:
        logs = config.logs
        logs.mkdir(parents=True, exist_ok=True)
        folder = config.state / "kafka"
        shutil.rmtree(folder, ignore_errors=True)
        report.plain("Starting Kafka and the scoring job …")
        words: list[object] = ["-m", "local_kafka", "up", "--topics", "eta", "--folder", folder]
        words += ["--port", options.kafka_port]
        broker = stack.enter_context(_part("Kafka", [services, *words], logs / "kafka.log"))
        bootstrap = _address(broker)
        job = stack.enter_context(_scoring(config, bootstrap))
        report(f"Kafka is at {bootstrap}, its log at {folder / 'kafka.log'}; EMR Serverless runs {job}.")
        parts: list[_Process | _Job] = [broker, job]
        if options.page_port:
            require_free(options.page_port, "PAGE_PORT", "the live page")
            words = ["-m", "services.eta.page", "--bootstrap", bootstrap, "--port", options.page_port]
            parts.append(stack.enter_context(_part("The page", [services, *words], logs / "eta-page.log")))
            report(f"The live page is http://127.0.0.1:{options.page_port}")
        pace = ["--rate", options.rate] if options.rate else ["--speed", options.speed]
        words = ["-m", "services.replay", "--bootstrap", bootstrap, "--month", month, "--loop", "--first-answer"]
        words += ["--database", Settings.read().glue_database]
        parts.append(stack.enter_context(_part("The replay", [services, *words, *pace], logs / "eta-replay.log")))
        report(f"Plays the rides of {month}; the first answer takes about half a minute.")
        seen = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taxiway-")), "seen.json")
        limit = ["--seconds", seconds] if seconds else []
        words = ["-m", "services.eta.watch", "--bootstrap", bootstrap, "--all", "--json", seen]
        watch = stack.enter_context(_part("The live table", [services, *words, *limit], None))
        while watch.running:
            for part in parts:
                part.require_alive()
            time.sleep(_LOOK_S)
        watch.require_ended_well()
        return _summary(json.loads(seen.read_text()))


def _test_month(config: Config) -> str:
    registry = Registry(local_client("s3", config.aws_url), Settings.read().lake)
    try:
        live = registry.live()
        if live is None:
            raise UserError("There is no live model: run make demo PIPELINE=eta first.")
        return str(registry.metrics(live.version)["test_month"])
    except (RegistryError, KeyError) as error:
        raise UserError(f"The live model cannot be used: {error}") from None


class _Process:
    """A part of the stream that is a process of this one.

    Args:
        name: begins sentences.
        command: its words.
        log: file for what it prints; None for this terminal.
    """

    def __init__(self, name: str, command: list[object], log: Path | None) -> None:
        self._name, self._log = name, log
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}", "PYTHONUNBUFFERED": "1"}
        output = log.open("wb") if log else None
        # In a session of its own: Ctrl-C reaches this process, which ends the parts in order.
        self._process = start_program(
            list(map(str, command)),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
        if output:
            output.close()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def said(self) -> list[str]:
        """Return the lines that it has printed."""
        return self._log.read_text(errors="replace").splitlines() if self._log else []

    def require_alive(self) -> None:
        """Raise UserError, with its last words, where it has ended."""
        if not self.running:
            said = self.said()
            raise UserError(said[-1] if said else f"{self._name} has ended with status {self._process.returncode}.")

    def require_ended_well(self) -> None:
        """Raise UserError where its exit status is not 0; it has said why."""
        if self._process.wait():
            raise UserError(f"{self._name} has ended with status {self._process.returncode}.")

    def end(self) -> None:
        """Ask it to end, and kill it and what it has started where it does not."""
        try:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        finally:
            self._process.kill()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def _part(name: str, command: list[object], log: Path | None) -> Iterator[_Process]:
    process = _Process(name, command, log)
    try:
        yield process
    finally:
        process.end()


def _address(broker: _Process) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        broker.require_alive()
        for line in broker.said():
            if line.startswith("Kafka on this machine: "):
                return line.split()[-1]
        time.sleep(_LOOK_S)
    raise UserError(f"Kafka did not start within {START_S} s.")


class _Job:
    """The job run of the stream."""

    def __init__(self, client: Any, application: str, run: str) -> None:
        self._client, self._application, self._run = client, application, run
        self._looked = 0.0

    def __str__(self) -> str:
        return f"the job run {self._run}"

    def state(self) -> tuple[str, str]:
        """Return its state and the details of it."""
        run = self._client.get_job_run(applicationId=self._application, jobRunId=self._run)["jobRun"]
        return run["state"], run.get("stateDetails", "")

    def require_alive(self) -> None:
        """Raise UserError where it has ended."""
        if time.monotonic() - self._looked >= _JOB_LOOK_S:
            self._looked = time.monotonic()
            state, details = self.state()
            if state in ("SUCCESS", "FAILED", "CANCELLING", "CANCELLED"):
                raise UserError(f"The scoring job is {state}: {details}")

    def end(self) -> None:
        """Cancel it, and wait until it has ended."""
        deadline = time.monotonic() + END_S
        while self.state()[0] not in ("SUCCESS", "FAILED", "CANCELLED") and time.monotonic() < deadline:
            left = max(0, int(deadline - time.monotonic()) - 5)
            self._client.cancel_job_run(
                applicationId=self._application, jobRunId=self._run, shutdownGracePeriodInSeconds=left
            )
            time.sleep(_LOOK_S)


@contextmanager
def _scoring(config: Config, bootstrap: str) -> Iterator[_Job]:
    """Run the scoring job from a new checkpoint, and cancel it at the end."""
    settings, client = Settings.read(), local_client("emr-serverless", config.aws_url)
    own = eta_settings().model_copy(update={"bootstrap": bootstrap, "checkpoint": CHECKPOINT})
    make_buckets(local_client("s3", config.aws_url), [split(uri)[0] for uri in (settings.emr_logs, ARTIFACTS)])
    publish.publish(ARTIFACTS, None)
    stream = Stream(client, settings, own)
    application = stream.application() or stream.create()
    for left in stream.runs(application):  # of a stream that was killed
        _Job(client, application, left.id).end()
    _forget_checkpoint(config, settings.lake)
    driver = stream.wanted()
    assert driver
    job = _Job(client, application, stream.start(application, driver, stream.runs(application)))
    try:
        yield job
    finally:
        job.end()
        _forget_checkpoint(config, settings.lake)


def _forget_checkpoint(config: Config, lake: str) -> None:
    s3 = local_client("s3", config.aws_url)
    bucket, prefix = split(f"{lake}/checkpoints/eta/{CHECKPOINT}")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        if keys := [{"Key": each["Key"]} for each in page.get("Contents", [])]:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def _summary(seen: dict[str, Any]) -> Summary:
    everyone = next((group for group in seen["errors"] if group["by"] == "all"), None)
    return Summary(
        version=seen["version"],
        requests=seen["requests"],
        predictions=seen["predictions"],
        rejected=sum(seen["rejected"].values()),
        p50_ms=seen["total_p50_ms"],
        p99_ms=seen["total_p99_ms"],
        mae_s=everyone["mae_s"] if everyone else None,
        within_p90=everyone["within_p90"] if everyone else None,
        trips=everyone["trips"] if everyone else 0,
    )
