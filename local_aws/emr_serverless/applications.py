"""Applications over time: their states, the rules by which they change, and what a request for one must be."""

import hashlib
import json
import logging
import re
import sqlite3
import threading
from collections.abc import Callable

from local_aws.emr.model import is_release_label
from local_aws.emr_serverless.model import SETTINGS, Application, Document, JobRun, new_id
from local_aws.emr_serverless.store import History
from local_aws.emr_serverless.usage import Size, configured
from local_aws.engines import ENGINE_TAG, ENGINES
from local_aws.protocols.errors import AwsError

log = logging.getLogger(__name__)

_OLDEST_RELEASE = (6, 6)
_ROLES = ("DRIVER", "EXECUTOR")


def invalid(message: str) -> AwsError:
    """Return the error for a request that is wrong, or that the state of its object does not allow."""
    return AwsError("ValidationException", message)


def release(label: str) -> tuple[int, int]:
    """Return the version of a release label, to compare: (7, 1) for emr-7.1.0."""
    major, minor = re.findall(r"\d+", label)[:2]
    return int(major), int(minor)


class Applications:
    """All applications of the endpoint. Whoever calls a method that changes one holds `lock`."""

    def __init__(
        self,
        history: History,
        saved: list[Application],
        *,
        region: str,
        state_s: float,
        clock: Callable[[], float],
    ) -> None:
        """Take up what was saved; what was started when the last process ended is stopped.

        Args:
            history: where they are stored.
            saved: those that are stored.
            region: in their ARNs.
            state_s: seconds that CREATING, STARTING and STOPPING take each.
            clock: the time, in epoch seconds.
        """
        self.lock = threading.RLock()
        self.all = {application.id: application for application in saved}
        self._history = history
        self._region = region
        self._state_s = state_s
        self._clock = clock
        self.end_interrupted()

    def end_interrupted(self) -> None:
        """Stop all that are started, as at the end of the process."""
        for application in self.all.values():
            if application.state in ("STARTING", "STARTED", "STOPPING"):
                self._release(application)
                application.enter("STOPPED", self._clock(), "The local endpoint ended.")
                self.save_or_log(application)

    def get(self, application_id: str) -> Application:
        """Look up an application.

        Raises:
            AwsError: there is none.
        """
        try:
            return self.all[application_id]
        except KeyError:
            raise AwsError("ResourceNotFoundException", f"Application {application_id} does not exist", 404) from None

    def once(self, scope: str, request: Document, make: Callable[[tuple[str, str, str]], str]) -> str:
        """Return the id that a request with this client token has made before, or else that of what `make` makes.

        Args:
            scope: within which client tokens are unique.
            request: the request, with its clientToken.
            make: makes and stores it with the token that it is given, and returns its id.

        Raises:
            AwsError: the token was used with other input.
        """
        token = request["clientToken"]
        content = json.dumps({name: value for name, value in request.items() if name != "clientToken"}, sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        with self.lock:
            made = self._history.made(scope, token)
            if made is None:
                return make((scope, token, digest))
            if made[0] != digest:
                raise AwsError(
                    "ConflictException", f"The client token {token} was used before with another request.", 409
                )
            return made[1]

    # Requests of the API

    def create(self, request: Document) -> Application:
        """Create an application, or return the one that the same request has created."""
        check_engine(request.get("tags", {}))
        if request["type"].upper() != "SPARK":
            raise invalid(f"This local endpoint runs applications of type SPARK only, not of type {request['type']!r}.")
        settings = _checked_settings({name: request[name] for name in SETTINGS if name in request})

        def make(token: tuple[str, str, str]) -> str:
            application = Application(
                id=new_id(),
                region=self._region,
                name=request.get("name"),
                created=self._clock(),
                settings=settings,
                tags=request.get("tags", {}),
            )
            application.enter("CREATING", self._clock())
            self._history.save(application, token=token)
            self.all[application.id] = application
            return application.id

        return self.all[self.once("applications", request, make)]

    def update(self, application: Application, request: Document) -> None:
        """Change the settings of an application that is not started."""
        if application.state not in ("CREATED", "STOPPED"):
            raise invalid(
                f"Application {application.id} must be in one of the statuses to be updated: [STOPPED, CREATED]. "
                f"Current status: {application.state}"
            )
        given = {name: request[name] for name in SETTINGS if name in request}
        application.settings = _checked_settings(application.settings | given)
        application.updated = self._clock()
        self._history.save(application)

    def start(self, application: Application) -> None:
        """Start an application; one that is started stays so."""
        if application.state not in ("STARTING", "STARTED"):
            self._require(application, "CREATED", "STOPPED")
            application.enter("STARTING", self._clock())
            self._history.save(application)

    def stop(self, application: Application, details: str | None = None) -> None:
        """Stop an application that runs nothing; one that is stopped stays so."""
        if application.state in ("STOPPING", "STOPPED"):
            return
        if application.state not in ("STARTING", "STARTED"):
            raise invalid(
                "Application cannot be STOPPED. Applications must be in one of the following statuses: "
                "[STARTING, STARTED]"
            )
        self._release(application)
        application.enter("STOPPING", self._clock(), details)
        self._history.save(application)

    def delete(self, application: Application) -> None:
        """Delete an application that is not started; it can be looked up as TERMINATED."""
        self._require(application, "CREATED", "STOPPED")
        application.enter("TERMINATED", self._clock())
        self._history.save(application)

    def set_tags(self, application: Application, tags: dict[str, str]) -> None:
        """Replace the tags of an application."""
        check_engine(tags)
        application.tags = tags
        self._history.save(application)

    # Changes with time

    def advance(self, application: Application, now: float, *, busy: bool) -> None:
        """Move an application as far as the time allows; `busy` if it has job runs that have not ended."""
        before, elapsed = application.state, now - application.since
        auto_stop = application.settings["autoStopConfiguration"]
        if application.state == "CREATING" and elapsed >= self._state_s:
            application.enter("CREATED", now)
        elif application.state == "STARTING" and elapsed >= self._state_s:
            application.enter("STARTED", now)
            self._initialize(application, now)
        elif application.state == "STOPPING" and elapsed >= self._state_s:
            application.enter("STOPPED", now, application.details)
        elif application.state == "STARTED" and not busy and auto_stop["enabled"]:
            minutes = auto_stop["idleTimeoutMinutes"]
            if elapsed >= minutes * 60:
                self._release(application)
                application.enter("STOPPING", now, f"Stopped automatically after {minutes} idle minutes.")
        if application.state != before:
            self.save_or_log(application)

    def save_or_log(self, record: Application | JobRun) -> None:
        """Save a change that no request made; a full disk must not stop the rest."""
        try:
            self._history.save(record)
        except sqlite3.Error as error:
            log.error("%s cannot be saved: %s", record.id, error)

    def _require(self, application: Application, *states: str) -> None:
        if application.state not in states:
            raise invalid(
                f"Application {application.id} must be in one of the following statuses [{', '.join(states)}]. "
                f"Current status: {application.state}"
            )

    def _initialize(self, application: Application, now: float) -> None:
        for role, count, size in initial_workers(application.settings):
            application.initialized.append([role, size.cpu, size.memory, size.disk, count, now, None])

    def _release(self, application: Application) -> None:
        for workers in application.initialized:
            if workers[-1] is None:
                workers[-1] = self._clock()


def initial_workers(settings: Document) -> list[tuple[str, int, Size]]:
    """Return role, number and size of the pre-initialised workers.

    Raises:
        ValueError: there are no such workers; the text is one sentence.
    """
    found = []
    for role, configuration in settings.get("initialCapacity", {}).items():
        if role.upper() not in _ROLES:
            raise ValueError(f"Worker type {role!r} is not supported for Spark: use {' and '.join(_ROLES)}.")
        size = configured(configuration.get("workerConfiguration") or {"cpu": "4 vCPU", "memory": "16 GB"})
        found.append((role.upper(), configuration["workerCount"], size))
    return found


def check_engine(tags: dict[str, str]) -> None:
    """Refuse a tag that asks for an engine that does not exist."""
    if (engine := tags.get(ENGINE_TAG)) not in (None, *ENGINES):
        raise invalid(f"The tag {ENGINE_TAG} {engine!r} is unknown: choose {' or '.join(ENGINES)}.")


def _checked_settings(settings: Document) -> Document:
    """Return the settings with their defaults."""
    label = settings["releaseLabel"]
    if not is_release_label(label) or release(label) < _OLDEST_RELEASE:
        raise invalid(f"Type 'SPARK' is not supported for release label '{label}' or release label does not exist")
    checked = {"architecture": "X86_64"} | settings
    checked["autoStartConfiguration"] = {"enabled": True} | settings.get("autoStartConfiguration", {})
    checked["autoStopConfiguration"] = {"enabled": True, "idleTimeoutMinutes": 15} | settings.get(
        "autoStopConfiguration", {}
    )
    if "schedulerConfiguration" in settings:
        if release(label) < (7, 0):
            raise invalid(f"schedulerConfiguration is not supported for release label '{label}': it needs emr-7.0.0.")
        scheduler = {"maxConcurrentRuns": 15, "queueTimeoutMinutes": 360} | settings["schedulerConfiguration"]
        for name, (least, most) in {"maxConcurrentRuns": (1, 1000), "queueTimeoutMinutes": (15, 720)}.items():
            if not least <= scheduler[name] <= most:
                raise invalid(f"{name} must be between {least} and {most}, not {scheduler[name]}.")
        checked["schedulerConfiguration"] = scheduler
    check_log_uri(settings)
    try:
        total = Size(0, 0, 0)
        for _, count, size in initial_workers(settings):
            total = total.plus(size.times(count))
    except ValueError as error:
        raise invalid(str(error)) from None
    if not total.within(settings.get("maximumCapacity")):
        raise invalid("The initialCapacity must not be greater than the maximumCapacity.")
    return checked


def check_log_uri(settings: Document) -> None:
    """Refuse a place for logs that is not on S3."""
    uri = log_uri(settings)
    if uri is not None and not uri.startswith("s3://"):
        raise invalid(f"The logUri {uri!r} is not an s3:// address.")


def log_uri(settings: Document) -> str | None:
    """Return the S3 folder that a monitoringConfiguration names, without a slash at the end."""
    monitoring = settings.get("monitoringConfiguration", {}).get("s3MonitoringConfiguration", {})
    uri: str | None = monitoring.get("logUri")
    return uri and uri.rstrip("/")
