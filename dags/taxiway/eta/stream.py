"""Keeps the scoring job running on EMR Serverless: what should run is compared with what runs.

A job run in STREAMING mode has no end that an operator could wait for, so this starts and cancels job runs itself, and
returns. EMR Serverless tries a failed one again by itself, up to its limit in an hour; what is started here is the next
one, after a pause that doubles with each job run that was lost.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from taxiway.aws import serverless
from taxiway.core.settings import Settings
from taxiway.eta.settings import EtaSettings

log = logging.getLogger(__name__)

NAME = "eta_stream"
PROGRAM = "eta/score_stream.py"
WANTED = "wanted"  # tag of a job run: a digest of what it was asked for
EXECUTORS = 1  # batches are scored on the driver; it has no end, so what it takes is missing to the training for ever
GRACE_S = 60  # for the batch in progress, when a job run is cancelled
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=1)
REMEMBERED = timedelta(hours=6)  # job runs that ended earlier do not count as lost


@dataclass(frozen=True)
class Found:
    """A job run of the stream."""

    id: str
    state: str
    wanted: str
    ended: datetime | None = None


@dataclass(frozen=True)
class Step:
    """What to do next: ``nothing``, ``start``, ``cancel`` some job runs, or ``wait``; and why."""

    action: str
    sentence: str
    cancelled: tuple[str, ...] = ()


def next_step(wanted: str | None, found: Sequence[Found], now: datetime) -> Step:
    """Return what to do.

    Args:
        wanted: digest of what should run; None for nothing.
        found: the stream's job runs, newest first.
        now: the time.
    """
    active = [run for run in found if run.state in serverless.ACTIVE]
    ending = [run for run in found if run.state == "CANCELLING"]
    wrong = [run for run in active if run.wanted != wanted] + [run for run in active if run.wanted == wanted][1:]
    if wrong:
        why = "no stream should run" if wanted is None else "another version or configuration should run"
        ids = tuple(run.id for run in wrong)
        return Step("cancel", f"Cancels {', '.join(ids)}: {why}.", ids)
    if active:
        return Step("nothing", f"The stream runs: job run {active[0].id} is {active[0].state}.")
    if ending:
        return Step("wait", f"Waits for the end of {ending[0].id}.")
    if wanted is None:
        return Step("nothing", "No stream runs, and none should.")
    # Of this version only: a new one may have the remedy. A job run that a person cancelled counts too.
    lost = [run for run in found if run.wanted == wanted and run.ended and run.ended > now - REMEMBERED]
    if lost and lost[0].ended:
        pause = min(FIRST_PAUSE * 2 ** (len(lost) - 1), LONGEST_PAUSE)
        if now < lost[0].ended + pause:
            return Step(
                "nothing",
                f"{lost[0].id} ended as {lost[0].state} at {lost[0].ended:%H:%M} UTC, {len(lost)} times in "
                f"{REMEMBERED.total_seconds() / 3600:g} hours: the next one is started after "
                f"{lost[0].ended + pause:%H:%M}.",
            )
    return Step("start", "Starts the stream.")


class Stream:
    """The stream on EMR Serverless.

    Args:
        client: a boto3 client for EMR Serverless.
        settings: of the platform, with the application's name and sizes, and the folder of this code's programs.
        own: of the model.
        properties: Spark's properties of a job run that is started here, which make it no other one.
    """

    def __init__(
        self, client: Any, settings: Settings, own: EtaSettings, properties: Mapping[str, str] | None = None
    ) -> None:
        self._client, self._settings, self._own = client, settings, own
        self._properties = properties or {}

    def wanted(self) -> dict[str, Any] | None:
        """Return the driver of the job run that should run; None where no broker is configured."""
        own, lake, programs = self._own, self._settings.lake, self._settings.spark_jobs
        if not own.bootstrap:
            return None
        words = [
            "--bootstrap",
            own.bootstrap,
            "--lake",
            lake,
            "--checkpoint",
            f"{lake}/checkpoints/eta/{own.checkpoint}",
        ]
        words += ["--max-offsets", str(own.max_offsets)]
        for option, value in (("--kafka-config", own.kafka_config), ("--statsd", own.statsd)):
            words += [option, value] if value else []
        options = [serverless.spark_parameters(self._settings, programs, EXECUTORS)]
        options += [f"--packages {own.stream_packages}"] if own.stream_packages else []
        options += serverless.packed_environment(own.environment)
        return {
            "sparkSubmit": {
                "entryPoint": f"{programs}/{PROGRAM}",
                "entryPointArguments": words,
                "sparkSubmitParameters": " ".join(options),
            }
        }

    def application(self) -> str | None:
        """Return the application of the name; None where there is none.

        Raises:
            taxiway.aws.serverless.ServerlessError: it has other settings.
        """
        found = serverless.reusable_application(self._client, self._config())
        return str(found["applicationId"]) if found else None

    def create(self) -> str:
        """Create the application, which stays: it costs nothing while no job run needs it."""
        token = serverless.digest(NAME, self._settings.serverless_application, datetime.now(UTC).isoformat())
        made = self._client.create_application(type="SPARK", clientToken=token, **self._config())
        return str(made["applicationId"])

    def runs(self, application: str) -> list[Found]:
        """Return the stream's job runs, newest first; what those were that are not remembered is not asked."""
        found = []
        for each in serverless.runs_named(self._client, application, NAME):
            active, wanted, ended = each["state"] not in serverless.ENDED, "", each["updatedAt"]
            if active or ended > datetime.now(UTC) - REMEMBERED:
                run = self._client.get_job_run(applicationId=application, jobRunId=each["id"])["jobRun"]
                wanted, ended = run.get("tags", {}).get(WANTED, ""), run.get("endedAt") or run["updatedAt"]
            found.append(Found(each["id"], each["state"], wanted, None if active else ended))
        return found

    def start(self, application: str, driver: Mapping[str, Any], runs: Sequence[Found]) -> str:
        """Start a job run, and return its id; asked twice for the same, EMR Serverless starts one.

        It has no ``run_id`` among its tags: it outlives the DAG run, so ``cost_guard`` must not end it.
        """
        wanted = digest_of(driver)
        submit = driver["sparkSubmit"]
        words = [submit["sparkSubmitParameters"], *(f"--conf {key}={value}" for key, value in self._properties.items())]
        started = self._client.start_job_run(
            applicationId=application,
            clientToken=serverless.digest(NAME, wanted, *(run.id for run in runs)),
            name=NAME,
            mode="STREAMING",
            executionRoleArn=self._settings.serverless_role,
            jobDriver={"sparkSubmit": {**submit, "sparkSubmitParameters": " ".join(words)}},
            configurationOverrides=serverless.monitoring(self._settings),
            retryPolicy={"maxFailedAttemptsPerHour": 5},
            executionTimeoutMinutes=0,
            tags={**self._settings.cost_tags, "pipeline": "eta", WANTED: wanted},
        )
        return str(started["jobRunId"])

    def cancel(self, application: str, runs: Sequence[str]) -> None:
        """Cancel job runs, which end after the batch in progress."""
        for run in runs:
            self._client.cancel_job_run(applicationId=application, jobRunId=run, shutdownGracePeriodInSeconds=GRACE_S)

    def _config(self) -> dict[str, Any]:
        config = serverless.application_config(self._settings, tags={**self._own.tags, "pipeline": "eta"})
        return {**config, "releaseLabel": self._settings.serverless_release}


def digest_of(driver: Mapping[str, Any] | None) -> str | None:
    """Return a digest of what a job run is asked for; None for nothing."""
    return serverless.digest(repr(driver))[:32] if driver else None


def keep(stream: Stream, until: datetime, pause: Callable[[], object]) -> tuple[list[str], bool]:
    """Do what is to be done until the right thing runs, or the time is over.

    Args:
        stream: to keep running.
        until: when to leave the rest to the next call.
        pause: called between two looks.

    Returns:
        a sentence on each step; whether a job run was started.
    """
    driver = stream.wanted()
    sentences: list[str] = []
    application = stream.application()
    if application is None:
        if driver is None:
            return ["No stream runs, and none should: TAXIWAY_ETA_BOOTSTRAP is not set."], False
        application = stream.create()
        sentences.append(f"Created the application {application}.")
    while True:
        runs = stream.runs(application)
        step = next_step(digest_of(driver), runs, datetime.now(UTC))
        if step.sentence not in sentences:
            sentences.append(step.sentence)
            log.info("%s", step.sentence)
        if step.action == "cancel":
            stream.cancel(application, step.cancelled)
        elif step.action == "start":
            assert driver
            sentences.append(f"Started the job run {stream.start(application, driver, runs)}.")
            return sentences, True
        elif step.action == "nothing" or datetime.now(UTC) > until:
            return sentences, False
        pause()
