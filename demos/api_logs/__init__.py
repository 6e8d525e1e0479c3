"""The demo of the API logs: real edit events of Wikipedia, sealed by the generator, hour by hour; or any JSON lines."""

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from console.demo import Demo, SeenAs
from console.errors import UserError
from console.follow import Goal, Plan, Run
from console.output import Reporter
from console.platform import LocalPlatform, Platform
from taxiway.core.s3 import split

SAMPLE = Path(__file__).parent / "sample/wikiticker-2015-09-12-sampled.json.gz"
DAG = "api_logs_etl"
RAW = "raw/api_logs"
MOST_REPORTS = 3  # of the days with most hours: every day has one


@dataclass
class Events:
    """A file of events as the platform sees it.

    Attributes:
        path: there.
        options: of the generator.
        hours: in which its records arrived, once it is delivered.
    """

    path: str
    options: list[str]
    hours: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What a run of it is about."""
        return f"{self.hours[0]} to {self.hours[-1]}" if self.hours else "no hours"


class ApiLogsDemo(Demo[Events]):
    """The generator encrypts the events and delivers each in the hour of its own time; one run takes all hours."""

    name = "api_logs"
    title = "encrypted API logs: decrypted hour by hour, pseudonymised, queried by Athena"
    option = "EVENTS"
    dags = (DAG,)
    settings = {  # noqa: RUF012 - read only
        # The hours to take are named by the person (EVENTS), not by the calendar.
        "TAXIWAY_API_LOGS_SCHEDULED": "False",
    }
    reports = "reports/api_logs"

    def read_input(self, given: str | None, seen_as: SeenAs) -> Events:
        """Return a file of events: JSON lines, plain or gzip, and what TIME_FIELD and USER_FIELD say of it."""
        file = Path(given) if given else SAMPLE
        time, user = (os.environ.get(variable, "").strip() for variable in ("TIME_FIELD", "USER_FIELD"))
        _require_events(file, time, user)
        options = [] if given else ["--faults"]
        for option, value in (("--time-field", time), ("--user-field", user)):
            options += [option, value] if value else []
        return Events(seen_as(file.resolve()), options)

    def load(self, platform: Platform, data: Events) -> str:
        """Make the keys and the workgroup where they are missing, and deliver the events."""
        platform.run("taxiway.api_logs", "set-up")
        before = dict(_arrived(platform))
        said = platform.run(
            "services.log_generator", "--events", data.path, "--to", f"{platform.lake}/{RAW}", *data.options
        )
        data.hours = sorted({_hour(key) for key, tag in _arrived(platform) if before.get(key) != tag})
        return said.strip()

    def plan(self, data: Events, began: datetime) -> Plan:
        """Take all hours in one run."""
        largest = Counter(hour[:10] for hour in data.hours).most_common(MOST_REPORTS)
        run = Run(DAG, f"demo__{began:%Y%m%dT%H%M%S}", {"hours": _ranges(data.hours)}, data.label)
        return Plan(
            runs=[run],
            followers={},
            goals=frozenset([Goal(DAG, "complete", data.label)]),
            reports=[f"{day}.html" for day in sorted(day for day, _ in largest)],
        )

    def initial_input(self, platform: LocalPlatform) -> Events | None:
        """Return the sample where nothing has arrived yet."""
        return None if any(True for _ in _arrived(platform)) else self.read_input(None, str)

    def show_summary(self, report: Reporter, lake: Any, data: Events, since: datetime) -> None:
        """Print events by hour and channel, the quarantine by reason, and sizes; all of it asked from Athena."""
        from demos.api_logs.summary import show_summary

        show_summary(report.console, lake, data.hours)


def _require_events(file: Path, time_field: str | None, user_field: str | None) -> None:
    """Refuse a file that the generator refuses, before anything is started; where it is not installed, later."""
    if not file.is_file():
        raise UserError(f"{file} is no file: give one of JSON lines, plain or gzip, with EVENTS=…")
    try:
        from services.log_generator import EventsError, open_events
        from services.log_generator.events import TIME_FIELD, USER_FIELD
    except ImportError:  # the cluster's commands, which encrypt in a pod
        return
    try:
        open_events(file, time_field or TIME_FIELD, user_field or USER_FIELD)
    except EventsError as error:
        raise UserError(str(error)) from None


def _arrived(platform: Platform) -> list[tuple[str, str]]:
    """Return the key and the ETag of each object that has arrived."""
    bucket, prefix = split(f"{platform.lake}/{RAW}/")
    pages = platform.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [(found["Key"], found["ETag"]) for page in pages for found in page.get("Contents", [])]


def _hour(key: str) -> str:
    """Return the hour that an object arrived in, by its folder."""
    return "-".join(part.partition("=")[2] for part in key.split("/")[:-1] if "=" in part)


def _ranges(hours: list[str]) -> list[str]:
    """Return hours in order as ranges of those that follow each other on a day."""
    found: list[list[str]] = []
    for hour in hours:
        last = found[-1][-1] if found else ""
        if last[:10] == hour[:10] and int(last[-2:]) + 1 == int(hour[-2:]):
            found[-1].append(hour)
        else:
            found.append([hour])
    return [f"{each[0]}/{each[-1]}" for each in found]


DEMO = ApiLogsDemo()
