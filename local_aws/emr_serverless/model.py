"""Applications and job runs of EMR Serverless: their states, what is stored of them, and their form in the API.

Times are epoch seconds.
"""

import secrets
import string
from dataclasses import dataclass, field
from typing import Any

from local_aws.emr_serverless.usage import Period, Size, Workers, billed, utilization

Document = dict[str, Any]  # a structure of the API

ENDED_STATES = ("SUCCESS", "FAILED", "CANCELLED")
_ACCOUNT = "123456789012"
_DETAILS = 256  # characters of stateDetails

# What Create- and UpdateApplication set, in the form in which GetApplication returns it.
SETTINGS = (
    *("initialCapacity", "maximumCapacity", "autoStartConfiguration", "autoStopConfiguration", "networkConfiguration"),
    *("architecture", "imageConfiguration", "workerTypeSpecifications", "runtimeConfiguration", "releaseLabel"),
    *("monitoringConfiguration", "diskEncryptionConfiguration", "interactiveConfiguration", "schedulerConfiguration"),
    *("identityCenterConfiguration", "jobLevelCostAllocationConfiguration"),
)


def new_id() -> str:
    """Return a new identifier in EMR Serverless' form, e.g. `00fabcdefgh01234`."""
    return "00" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(14))


@dataclass
class Application:
    """One application.

    Attributes:
        settings: the members of `SETTINGS` that were given, with the defaults of AWS.
        since: when its state began, or when a job run last ended: the time from which it is idle.
        initialized: its pre-initialised workers over time, each [kind, cpu, memory, disk, count, start, end or None].
    """

    id: str
    region: str
    name: str | None
    created: float
    settings: Document
    tags: dict[str, str]
    state: str = "CREATING"
    details: str | None = None
    since: float = 0.0
    updated: float = 0.0
    initialized: list[list[Any]] = field(default_factory=list)

    @property
    def arn(self) -> str:
        """The application's ARN."""
        return f"arn:aws:emr-serverless:{self.region}:{_ACCOUNT}:/applications/{self.id}"

    def enter(self, state: str, now: float, details: str | None = None) -> None:
        """Move it to a state."""
        self.state, self.since, self.updated, self.details = state, now, now, details

    def initialized_periods(self, now: float) -> list[Period]:
        """Return the periods of its pre-initialised workers until now."""
        return [
            Period(Size(cpu, memory, disk), count, start, now if end is None else end)
            for _, cpu, memory, disk, count, start, end in self.initialized
        ]

    def summary(self) -> Document:
        """Return the ApplicationSummary."""
        return {
            "id": self.id,
            "name": self.name,
            "arn": self.arn,
            "releaseLabel": self.settings["releaseLabel"],
            "type": "Spark",
            "state": self.state,
            "stateDetails": self.details,
            "createdAt": self.created,
            "updatedAt": self.updated,
            "architecture": self.settings["architecture"],
        }

    def description(self) -> Document:
        """Return the Application of GetApplication."""
        return self.summary() | self.settings | {"applicationId": self.id, "tags": self.tags}


@dataclass
class Attempt:
    """One attempt of a job run.

    Attributes:
        workers: [role, cpu, memory, disk, count, how many of these were pre-initialised] for driver and executors.
    """

    number: int
    created: float
    updated: float
    state: str
    details: str
    started: float | None = None
    ended: float | None = None
    workers: list[list[Any]] = field(default_factory=list)

    def periods(self, now: float, *, initialized: bool = False) -> list[Period]:
        """Return the periods of its workers until now, or only of those that were pre-initialised."""
        if self.started is None:
            return []
        end = now if self.ended is None else self.ended
        return [
            Period(Size(cpu, memory, disk), preinitialized if initialized else count, self.started, end)
            for _, cpu, memory, disk, count, preinitialized in self.workers
        ]

    @property
    def total(self) -> Size:
        """The sum of its workers' sizes."""
        total = Size(0, 0, 0)
        for _, cpu, memory, disk, count, _ in self.workers:
            total = total.plus(Size(cpu, memory, disk).times(count))
        return total


@dataclass
class JobRun:
    """One job run: the request that started it, and its attempts."""

    id: str
    application_id: str
    region: str
    request: Document  # of StartJobRun
    release_label: str
    created: float
    timeout_minutes: int  # 0: none
    mode: str
    engine: str
    tags: dict[str, str]
    attempts: list[Attempt]
    queued_since: float | None = None
    queued_s: float | None = None
    cancel_details: str = ""

    @property
    def attempt(self) -> Attempt:
        """The current attempt, or the last."""
        return self.attempts[-1]

    @property
    def state(self) -> str:
        """The state of the run, which is that of its last attempt."""
        return self.attempt.state

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDED_STATES

    @property
    def arn(self) -> str:
        """The job run's ARN."""
        return f"arn:aws:emr-serverless:{self.region}:{_ACCOUNT}:/applications/{self.application_id}/jobruns/{self.id}"

    def enter(self, state: str, now: float, details: str | None = None) -> None:
        """Move its current attempt to a state."""
        attempt = self.attempt
        attempt.state, attempt.updated = state, now
        attempt.details = (details or state)[:_DETAILS]
        if state in ENDED_STATES and attempt.ended is None:
            attempt.ended = now

    def take(self, workers: Workers, initialized: tuple[int, int]) -> None:
        """Give its current attempt these workers, so many of which (drivers, executors) are pre-initialised."""
        sizes = (("DRIVER", workers.driver, 1), ("EXECUTOR", workers.executor, workers.executors))
        self.attempt.workers = [
            [role, size.cpu, size.memory, size.disk, count, preinitialized]
            for (role, size, count), preinitialized in zip(sizes, initialized, strict=True)
        ]

    def summary(self, attempt: Attempt | None = None) -> Document:
        """Return the JobRunSummary, of one attempt if it is given."""
        attempt = attempt or self.attempt
        return {
            "applicationId": self.application_id,
            "id": self.id,
            "name": self.request.get("name"),
            "mode": self.mode,
            "arn": self.arn,
            "createdBy": f"arn:aws:iam::{_ACCOUNT}:user/local",
            "createdAt": self.created,
            "updatedAt": self.attempt.updated,
            "executionRole": self.request["executionRoleArn"],
            "state": attempt.state,
            "stateDetails": attempt.details,
            "releaseLabel": self.release_label,
            "type": "Spark",
            "attempt": attempt.number,
            "attemptCreatedAt": attempt.created,
            "attemptUpdatedAt": attempt.updated,
        }

    def attempt_summary(self, attempt: Attempt) -> Document:
        """Return the JobRunAttemptSummary."""
        times = {"jobCreatedAt": self.created, "createdAt": attempt.created, "updatedAt": attempt.updated}
        return self.summary(attempt) | times

    def description(self, application: Application, now: float, attempt: Attempt | None = None) -> Document:
        """Return the JobRun of GetJobRun; its use is that of all attempts, its state that of `attempt`."""
        settings = application.settings
        started = next((each.started for each in self.attempts if each.started is not None), None)
        ended = None if self.active else self.attempt.ended
        periods = [period for each in self.attempts for period in each.periods(now)]
        kept = ("jobDriver", "configurationOverrides", "executionIamPolicy", "retryPolicy")
        return (
            self.summary(attempt)
            | {name: self.request.get(name) for name in kept}
            | {
                "jobRunId": self.id,
                "tags": self.tags,
                "executionTimeoutMinutes": self.timeout_minutes,
                "networkConfiguration": settings.get("networkConfiguration"),
                "imageConfiguration": settings.get("imageConfiguration"),
                "workerTypeSpecifications": settings.get("workerTypeSpecifications"),
                "startedAt": started,
                "endedAt": ended,
                "queuedDurationMilliseconds": None if self.queued_s is None else round(self.queued_s * 1000),
                "totalResourceUtilization": utilization(periods) if periods else None,
                "billedResourceUtilization": billed(periods) if periods and ended is not None else None,
                "totalExecutionDurationSeconds": None if ended is None else round(ended - (started or ended)),
            }
        )
