"""Job runs over time: EMR Serverless' states and the rules by which they change."""

import logging
import shlex
import threading
from collections.abc import Callable
from typing import Protocol

from local_aws.emr_serverless.applications import (
    Applications,
    check_log_uri,
    invalid,
    release,
)
from local_aws.emr_serverless.model import Application, Attempt, Document, JobRun, new_id
from local_aws.emr_serverless.store import History
from local_aws.emr_serverless.usage import Size, Workers, asked
from local_aws.engines import ENGINE_TAG, spark_properties
from local_aws.execution import LaunchError, Result, Run, State
from local_aws.protocols.errors import AwsError

log = logging.getLogger(__name__)

_TICK_S = 0.1  # between two looks at the clock; each state before RUNNING takes one
_HOUR_S = 3600
_TIMEOUT_MINUTES = 720
_LONGEST_MINUTES = 10080
_STREAMING_GRACE_S = 120
_STREAMING_FAILURES = 5  # in an hour
_WITH_SLOT = ("PENDING", "SCHEDULED", "RUNNING", "CANCELLING")  # counted by maxConcurrentRuns
_INTERRUPTED = "The local endpoint ended before the job run did."


class JobStarter(Protocol):
    """Starts the programs of job runs."""

    def start(self, application: Application, run: JobRun, on_end: Callable[[Result], None]) -> Run | None:
        """Start the current attempt; return None if the machine runs as many programs as it may.

        `on_end` is called with the result, from another thread and after this method.
        """
        ...


class JobRuns:
    """All job runs of the endpoint. Whoever calls a method that changes one holds the applications' lock."""

    def __init__(
        self,
        applications: Applications,
        history: History,
        saved: list[JobRun],
        starter: JobStarter,
        *,
        default_engine: str,
        clock: Callable[[], float],
    ) -> None:
        """Take up what was saved; what had not ended when the last process did has failed.

        Args:
            applications: their applications.
            history: where they are stored.
            saved: those that are stored.
            starter: starts their programs.
            default_engine: runs those whose application has no tag for another.
            clock: the time, in epoch seconds.
        """
        self.all = {run.id: run for run in saved}
        self._applications = applications
        self._changed = threading.Condition(applications.lock)
        self._history = history
        self._starter = starter
        self._default_engine = default_engine
        self._clock = clock
        self._programs: dict[str, Run] = {}
        self._closed = False
        self._active = {run.id: run for run in saved if run.active}
        self._end_interrupted()
        self._thread = threading.Thread(target=self._advance_until_closed, name="emr-serverless", daemon=True)

    def open(self) -> None:
        """Begin to move applications and job runs through their states."""
        self._thread.start()

    def close(self) -> None:
        """End all programs, as a machine that is switched off would; wait until their processes are gone."""
        with self._applications.lock:
            self._closed = True
            programs = list(self._programs.values())
            for program in programs:
                program.cancel(grace_s=0)
            self._changed.notify_all()
        for program in programs:
            program.wait()
        with self._applications.lock:
            self._end_interrupted()
            self._applications.end_interrupted()

    def _end_interrupted(self) -> None:
        for run in list(self._active.values()):
            self._end(run, "FAILED", _INTERRUPTED)

    # Requests of the API

    def now(self) -> float:
        """Return the time of the job runs' clock, in epoch seconds."""
        return self._clock()

    def wake(self) -> None:
        """Look at once at what a request has changed."""
        with self._applications.lock:
            self._changed.notify_all()

    def of(self, application: Application) -> list[JobRun]:
        """Return the job runs of an application, oldest first."""
        return [run for run in self.all.values() if run.application_id == application.id]

    def get(self, application: Application, run_id: str) -> JobRun:
        """Look up a job run of an application.

        Raises:
            AwsError: there is none.
        """
        run = self.all.get(run_id)
        if run is None or run.application_id != application.id:
            raise AwsError("ResourceNotFoundException", f"JobRun {run_id} does not exist", 404)
        return run

    def active(self, application: Application) -> list[JobRun]:
        """Return the job runs of an application that have not ended, oldest first."""
        return [run for run in self._active.values() if run.application_id == application.id]

    def submit(self, application: Application, request: Document) -> JobRun:
        """Submit a job run, or return the one that the same request has submitted."""

        def make(token: tuple[str, str, str]) -> str:
            run = self._checked(application, request)
            self._history.save(run, token=token)
            self.all[run.id] = self._active[run.id] = run
            self._changed.notify_all()
            return run.id

        return self.all[self._applications.once(application.id, request, make)]

    def _checked(self, application: Application, request: Document) -> JobRun:
        if application.state == "TERMINATED":
            raise invalid(f"Application {application.id} is terminated. Cannot start job run.")
        if (
            application.state not in ("STARTING", "STARTED")
            and not application.settings["autoStartConfiguration"]["enabled"]
        ):
            raise invalid(
                f"Application {application.id} must be in one of the following statuses [STARTED], since it does not"
                f" start automatically. Current status: {application.state}"
            )
        driver = request.get("jobDriver", {})
        if "sparkSubmit" not in driver:
            raise invalid("A job run needs jobDriver.sparkSubmit; Hive is not run by this local endpoint.")
        mode, label, now = request.get("mode", "BATCH"), application.settings["releaseLabel"], self._clock()
        _check_retries(request.get("retryPolicy", {}), mode, label)
        if mode == "STREAMING" and release(label) < (7, 1):
            raise invalid(f"Mode STREAMING is not supported for release label '{label}': it needs emr-7.1.0.")
        check_log_uri(request.get("configurationOverrides", {}))
        try:
            workers_of(application, request)
        except (ValueError, LaunchError) as error:  # an unclosed quote, an unknown option, no such worker
            raise invalid(str(error)) from None
        engine = application.tags.get(ENGINE_TAG, self._default_engine)
        return JobRun(
            id=new_id(),
            application_id=application.id,
            region=application.region,
            request={key: value for key, value in request.items() if key not in ("clientToken", "tags")},
            release_label=label,
            created=now,
            timeout_minutes=_checked_timeout(request.get("executionTimeoutMinutes"), mode),
            mode=mode,
            engine="spark" if mode == "STREAMING" else engine,
            tags=request.get("tags", {}),
            attempts=[Attempt(1, now, now, "SUBMITTED", "SUBMITTED")],
        )

    def set_tags(self, run: JobRun, tags: dict[str, str]) -> None:
        """Replace the tags of a job run."""
        run.tags = tags
        self._history.save(run)

    def cancel(self, run: JobRun, grace_s: int | None) -> None:
        """Cancel a job run that has not ended."""
        if not run.active:
            raise invalid(f"JobRun {run.id} is not in a cancellable state. Current status: {run.state}")
        if grace_s is not None and grace_s != 0 and not 15 <= grace_s <= 1800:
            raise invalid(f"shutdownGracePeriodInSeconds must be 0 or between 15 and 1800, not {grace_s}.")
        self._cancel(run, "Job run was cancelled by a request of its user.", grace_s)
        self._changed.notify_all()

    def _cancel(self, run: JobRun, details: str, grace_s: float | None = None) -> None:
        if grace_s is None:
            grace_s = _STREAMING_GRACE_S if run.mode == "STREAMING" else 0
        if run.state != "CANCELLING":
            self._leave_queue(run)
            run.cancel_details = details
            run.enter("CANCELLING", self._clock(), details)
            self._applications.save_or_log(run)
        if program := self._programs.get(run.id):
            program.cancel(grace_s)

    # Changes with time

    def _advance_until_closed(self) -> None:
        with self._applications.lock:
            while not self._closed:
                try:
                    self.advance()
                except Exception:
                    log.exception("the states of EMR Serverless could not be advanced; trying again")
                moving = self._active or any(
                    application.state not in ("CREATED", "STOPPED", "TERMINATED")
                    for application in self._applications.all.values()
                )
                self._changed.wait(_TICK_S if moving else None)

    def advance(self) -> None:
        """Move every application and every job run as far as the time and their rules allow."""
        with self._applications.lock:
            now = self._clock()
            busy = {run.application_id for run in self._active.values()}
            for application in self._applications.all.values():
                self._applications.advance(application, now, busy=application.id in busy)
            for run in list(self._active.values()):
                before = run.state
                self._advance(run, self._applications.all[run.application_id], now)
                if run.state != before:
                    self._applications.save_or_log(run)

    def _advance(self, run: JobRun, application: Application, now: float) -> None:
        if run.state == "CANCELLING":
            if run.id not in self._programs:
                self._end(run, "CANCELLED", run.cancel_details)
        elif (
            run.timeout_minutes
            and now - run.created - (run.queued_s or 0) >= run.timeout_minutes * 60
            and (run.state != "QUEUED")
        ):
            self._cancel(run, f"Job run timed out: it took longer than its {run.timeout_minutes} minutes.")
        elif run.state == "SUBMITTED":
            if not self._slot(run, application):
                run.queued_since = now
                run.enter("QUEUED", now)
            elif application.state in ("CREATED", "STOPPED"):
                self._applications.start(application)
            elif application.state == "STARTED":
                run.enter("PENDING", now)
        elif run.state == "QUEUED":
            minutes = application.settings["schedulerConfiguration"]["queueTimeoutMinutes"]
            if now - (run.queued_since or now) >= minutes * 60:
                self._cancel(run, f"Job run timed out: it was queued for longer than {minutes} minutes.")
            elif self._slot(run, application):
                self._leave_queue(run)
                run.enter("SUBMITTED" if application.state != "STARTED" else "PENDING", now)
        elif run.state == "PENDING":
            self._allocate(run, application, now)
        elif run.state == "SCHEDULED":
            self._start(run, application, now)

    def _slot(self, run: JobRun, application: Application) -> bool:
        """Say whether `maxConcurrentRuns` lets a run begin: fewer than that have, or came before it."""
        scheduler = application.settings.get("schedulerConfiguration")
        if scheduler is None:
            return True
        runs = self.active(application)
        before = runs[: runs.index(run)]
        ahead = len(before) + sum(other.state in _WITH_SLOT for other in runs[len(before) + 1 :])
        return ahead < int(scheduler["maxConcurrentRuns"])

    def _leave_queue(self, run: JobRun) -> None:
        if run.queued_since is not None:
            run.queued_s, run.queued_since = self._clock() - run.queued_since, None

    def _allocate(self, run: JobRun, application: Application, now: float) -> None:
        workers = workers_of(application, run.request)
        limit = application.settings.get("maximumCapacity")
        if workers.fitted(Size(0, 0, 0), limit) is None:
            sizes = ", ".join(f"{name}: {value}" for name, value in (limit or {}).items())
            self._end(
                run,
                "FAILED",
                "Worker could not be allocated as the application has exceeded maximumCapacity settings: "
                f"[{sizes}]: a driver and an executor do not fit.",
            )
            return
        used = Size(0, 0, 0)
        for other in self.active(application):
            used = used.plus(other.attempt.total)
        if fitted := workers.fitted(used, limit):
            run.take(fitted, self._initialized(application, fitted))
            run.enter("SCHEDULED", now)

    def _initialized(self, application: Application, workers: Workers) -> tuple[int, int]:
        """Return how many of the drivers and executors are pre-initialised workers of their size."""
        free = {"DRIVER": 0, "EXECUTOR": 0}
        wanted = {"DRIVER": (workers.driver, 1), "EXECUTOR": (workers.executor, workers.executors)}
        for role, cpu, memory, disk, count, _, end in application.initialized:
            if end is None and Size(cpu, memory, disk) == wanted[role][0]:
                free[role] += count
        for other in self.active(application):
            for role, *_, initialized in other.attempt.workers:
                free[role] -= initialized
        return min(1, max(free["DRIVER"], 0)), min(workers.executors, max(free["EXECUTOR"], 0))

    def _start(self, run: JobRun, application: Application, now: float) -> None:
        attempt = run.attempt
        program = self._starter.start(application, run, lambda result: self._finish(run, attempt, result))
        if program is not None:
            self._programs[run.id] = program
            attempt.started = now
            run.enter("RUNNING", now)

    def _finish(self, run: JobRun, attempt: Attempt, result: Result) -> None:
        with self._applications.lock:
            del self._programs[run.id]
            attempt.ended = self._clock()
            if run.state == "CANCELLING":
                self._end(run, "CANCELLED", run.cancel_details)
            elif result.state is State.SUCCEEDED:
                self._end(run, "SUCCESS", "Job run has completed successfully.")
            elif result.state is State.CANCELLED:
                self._end(run, "FAILED", _INTERRUPTED)
            else:
                self._fail(run, attempt, result)
            self._changed.notify_all()

    def _fail(self, run: JobRun, attempt: Attempt, result: Result) -> None:
        now, details = self._clock(), failure_details(result)
        if not self._may_retry(run, now):
            self._end(run, "FAILED", details)
            return
        run.enter("FAILED", now, details)
        run.attempts.append(Attempt(attempt.number + 1, now, now, "PENDING", "PENDING"))
        self._applications.save_or_log(run)

    def _may_retry(self, run: JobRun, now: float) -> bool:
        policy = run.request.get("retryPolicy", {})
        if run.mode == "BATCH":
            return len(run.attempts) < int(policy.get("maxAttempts", 1))
        recent = sum(attempt.ended is not None and now - attempt.ended < _HOUR_S for attempt in run.attempts)
        return recent < int(policy.get("maxFailedAttemptsPerHour", _STREAMING_FAILURES))

    def _end(self, run: JobRun, state: str, details: str) -> None:
        now = self._clock()
        self._leave_queue(run)
        run.enter(state, now, details)
        self._active.pop(run.id, None)
        self._applications.save_or_log(run)
        application = self._applications.all[run.application_id]
        if application.state == "STARTED":
            application.since = now  # idle from now on


def arguments_of(application: Application, request: Document) -> list[str]:
    """Return the arguments of spark-submit before the program: the application's defaults, then the job run's.

    Raises:
        ValueError: sparkSubmitParameters has a quote that is not closed.
    """
    overrides = request.get("configurationOverrides", {}).get("applicationConfiguration", [])
    words = []
    for configuration in [*application.settings.get("runtimeConfiguration", []), *overrides]:
        if configuration["classification"] == "spark-defaults":
            for key, value in configuration.get("properties", {}).items():
                words += ["--conf", f"{key}={value}"]
    try:
        return words + shlex.split(request["jobDriver"]["sparkSubmit"].get("sparkSubmitParameters", ""))
    except ValueError as error:
        raise ValueError(f"sparkSubmitParameters cannot be read: {error}.") from None


def workers_of(application: Application, request: Document) -> Workers:
    """Return the workers that a job run asks for.

    Raises:
        ValueError: its parameters are wrong, or there is no such worker; the text is one sentence.
        LaunchError: an option of its parameters is wrong.
    """
    return asked(spark_properties(arguments_of(application, request)))


def failure_details(result: Result) -> str:
    """Return the stateDetails of a run whose program has failed: AWS's words, with the program's own last line."""
    assert result.failure
    if result.exit_status is None:
        return f"{result.failure.reason} {result.failure.message}"
    if result.failure.reason.startswith("Exit status"):
        return (
            "Job failed, please check complete logs in configured logging destination. "
            f"ExitCode: {result.exit_status}. Last few exceptions: {result.failure.message}"
        )
    return result.failure.message


def _check_retries(policy: Document, mode: str, label: str) -> None:
    if policy and release(label) < (7, 1):
        raise invalid(f"retryPolicy is not supported for release label '{label}': it needs emr-7.1.0.")
    for name, owner in (("maxAttempts", "BATCH"), ("maxFailedAttemptsPerHour", "STREAMING")):
        if name in policy and mode != owner:
            raise invalid(f"retryPolicy.{name} is only for job runs of mode {owner}.")
        if not 1 <= policy.get(name, 1) <= 10:
            raise invalid(f"retryPolicy.{name} must be between 1 and 10, not {policy[name]}.")


def _checked_timeout(minutes: int | None, mode: str) -> int:
    if mode == "STREAMING":
        return minutes or 0
    if minutes is None:
        return _TIMEOUT_MINUTES
    if not 1 <= minutes <= _LONGEST_MINUTES:
        raise invalid(
            f"executionTimeoutMinutes of a BATCH job run must be between 1 and {_LONGEST_MINUTES}, not {minutes}."
        )
    return minutes
