"""The demo of access logs: delivers logs by UTC day and processes each day, by default four days of a real site."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from console.aws import patient_call
from console.demo import Demo, SeenAs
from console.follow import Goal, Plan, Run
from console.output import Reporter
from console.patience import say_on_stderr
from console.platform import LocalPlatform, Platform
from demos.access_logs.splitting import Days, split_logs
from taxiway.core.s3 import split

SAMPLE = Path(__file__).parent / "sample"
ETL = "access_logs_etl"
VARIABLE = "access_logs_folder"
MARKER = "_SUCCESS"


class AccessLogsDemo(Demo[Days]):
    """Every day of the logs is delivered as a whole, and processed again even if nothing changed."""

    name = "access_logs"
    title = "access logs of a real web site, day by day: traffic, errors, sessions, suspicious clients"
    option = "LOGS"
    dags = (ETL,)
    settings = {  # noqa: RUF012 - read only
        # The days to process are those of the logs, not of the calendar.
        "TAXIWAY_ACCESS_LOGS_SCHEDULED": "False",
        # Other people's logs begin and end in the middle of a day.
        "TAXIWAY_ACCESS_LOGS_COUNT_FACTOR": "0",
        "TAXIWAY_SERVERLESS_ROLE": "arn:aws:iam::123456789012:role/local",
    }

    def read_input(self, given: str | None, seen_as: SeenAs) -> Days:
        """Return the days of a file or folder with access logs, plain or gzip."""
        if given:
            return split_logs(Path(given).expanduser())
        return split_logs(min(SAMPLE.glob("*.log*")))

    def load(self, platform: Platform, data: Days) -> str:
        """Deliver each day into the lake, and set the Variable to the first day that it shall follow."""
        root = f"{platform.lake}/raw/access_logs"
        for day, files in data.files.items():
            _deliver(platform, folder_of(root, day), files)
        first = first_of_last_block(list(data.files))
        platform.airflow.set_variable(VARIABLE, folder_of(root, first), f"Folder of the next day that {ETL} processes")
        days, count = list(data.files), sum(map(len, data.files.values()))
        return (
            f"{data.name} has {len(days)} day{'s' * (len(days) != 1)}, {days[0]} to {days[-1]}, delivered in "
            f"{count} file{'s' * (count != 1)}; {VARIABLE} is at {first}"
        )

    def plan(self, data: Days, began: datetime) -> Plan:
        """Process each day, earliest first."""
        stamp = f"{began:%Y%m%dT%H%M%S}"
        return Plan(
            runs=[Run(ETL, f"demo__{day}__{stamp}", {"day": day}, day) for day in data.files],
            followers={},
            goals=frozenset(Goal(ETL, "advance", day) for day in data.files),
        )

    def initial_input(self, platform: LocalPlatform) -> Days | None:
        """Return the sample where nothing was ever delivered."""
        return None if platform.airflow.variable(VARIABLE) else self.read_input(None, str)

    def show_summary(self, report: Reporter, lake: Any, data: Days, since: datetime) -> None:
        """Print requests, errors, quarantine, top resources, sessions, suspicious clients, and what it would cost."""
        from demos.access_logs.summary import show_summary

        show_summary(report.console, lake, list(data.files), since, report.seconds)


def folder_of(root: str, day: str) -> str:
    """Return the folder of a day ``YYYY-MM-DD``."""
    year, month, number = day.split("-")
    return f"{root}/year={year}/month={month}/day={number}"


def first_of_last_block(days: Sequence[str]) -> str:
    """Return the first of the days that follow each other up to the last one.

    The Variable follows these. Runs of days before a gap leave it alone, as those of a backfill do.
    """
    first = date.fromisoformat(days[-1])
    while str(first - timedelta(days=1)) in days:
        first -= timedelta(days=1)
    return str(first)


def _deliver(platform: Platform, folder: str, files: Sequence[Path]) -> None:
    """Make files the content of a day's folder, the marker last."""
    bucket, prefix = split(f"{folder}/")

    def deliver() -> None:
        s3 = platform.client("s3")
        s3.delete_object(Bucket=bucket, Key=f"{prefix}{MARKER}")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        kept = {f"{prefix}{file.name}" for file in files}
        for key in [found["Key"] for page in pages for found in page.get("Contents", [])]:
            if key not in kept:
                s3.delete_object(Bucket=bucket, Key=key)
        for file in files:
            s3.upload_file(str(file), bucket, f"{prefix}{file.name}")
        s3.put_object(Bucket=bucket, Key=f"{prefix}{MARKER}", Body=b"")

    patient_call(deliver, say_on_stderr)


DEMO = AccessLogsDemo()
