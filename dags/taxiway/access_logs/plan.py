"""The plan of a run of ``access_logs_etl``: its day, whether the Variable follows it, and the folder's files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypedDict
from urllib.parse import quote

from taxiway.core.s3 import is_data_file, split
from taxiway.lake import Partition, join_inputs, version_at

VARIABLE = "access_logs_folder"
MARKER = "_SUCCESS"
DAY_PATTERN = r"^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"
_FOLDER = re.compile(r"(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[^/\s]+)*)/year=(\d{4})/month=(\d{2})/day=(\d{2})/?")
_EXAMPLE = "s3://taxiway-lake/raw/access_logs/year=2015/month=05/day=17"


class PlanError(RuntimeError):
    """The run cannot be planned as requested; the text is one sentence."""


class InputFile(TypedDict):
    """A file of a day's folder, as plain data: its name below the folder; ``etag`` as S3 has it; lines as counted."""

    name: str
    uri: str
    bytes: int
    etag: str
    lines: int


class Job(TypedDict):
    """The day of a run, as plain data that Airflow passes between tasks.

    Keys:
        day: ``YYYY-MM-DD`` (UTC).
        folder: ``s3://`` address of its files, without a slash at the end.
        version: such as ``20261121T101112123456Z``.
        advances: whether the Variable names this day, and moves to the next one when it is published.
    """

    day: str
    folder: str
    version: str
    advances: bool


@dataclass(frozen=True)
class Folder:
    """The folder of a day below a root, ``<root>/year=YYYY/month=MM/day=DD``."""

    root: str
    day: date

    @classmethod
    def parse(cls, value: str) -> "Folder":
        """Read what the Variable has.

        Raises:
            PlanError: it is no folder of a day.
        """
        found = _FOLDER.fullmatch(value.strip())
        try:
            if found:
                return cls(found[1], date(int(found[2]), int(found[3]), int(found[4])))
        except ValueError:
            pass
        raise PlanError(
            f"The Variable {VARIABLE} is {value!r}, not the folder of a day: set it to one such as {_EXAMPLE}."
        )

    def of(self, day: date) -> "Folder":
        """Return the folder of another day below the same root."""
        return Folder(self.root, day)

    @property
    def uri(self) -> str:
        """Its address, without a slash at the end."""
        return f"{self.root}/year={self.day.year:04d}/month={self.day.month:02d}/day={self.day.day:02d}"


def choose(variable: str | None, requested: str | None, logical: datetime | None, now: datetime) -> Job:
    """Return the job of a run.

    Args:
        variable: the Airflow Variable; None if there is none.
        requested: the run's parameter ``day``.
        logical: the run's logical date; None if it has none.
        now: determines the version, and which days have begun.

    Raises:
        PlanError: the Variable cannot be used, or the run's day is later than the Variable's.
    """
    if not variable:
        raise PlanError(
            f"There is no Airflow Variable {VARIABLE}: set it to the folder of the first day to process, "
            f"such as {_EXAMPLE}."
        )
    current = Folder.parse(variable)
    if requested:
        try:
            day = date.fromisoformat(requested)
        except ValueError:
            raise PlanError(f"The parameter day is {requested!r}, which is no day: write YYYY-MM-DD.") from None
    else:
        day = logical.astimezone(UTC).date() if logical else current.day
    # Beside a run of its own day, it may name tomorrow: today was delivered and processed before its end.
    if current.day > now.astimezone(UTC).date() + timedelta(days=day < current.day):
        raise PlanError(
            f"The Variable {VARIABLE} names {current.day}, a day that has not begun (UTC): set it back to the folder "
            "of the first day that is not processed."
        )
    if day > current.day:
        raise PlanError(
            f"{day} has to wait: the Variable {VARIABLE} names {current.day}, which is not finished. Run {current.day} "
            "first, by a run without a logical date, then clear this one; nothing was started."
        )
    return Job(
        day=str(day),
        folder=current.of(day).uri,
        version=version_at(now),
        advances=day == current.day,
    )


def next_folder(job: Job, variable: str | None) -> str | None:
    """Return the Variable's next value when a job has succeeded; None if it does not name the job's day (any more)."""
    if not variable or not job["advances"] or (folder := Folder.parse(variable)).uri != job["folder"]:
        return None
    return folder.of(folder.day + timedelta(days=1)).uri


# ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def files_of(s3: Any, folder: str) -> Iterator[InputFile]:
    """Yield the files with data of a folder, by name; their lines are not counted yet."""
    bucket, prefix = split(f"{folder}/")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            name = found["Key"].removeprefix(prefix)
            if is_data_file(name, found["Size"]):
                yield InputFile(
                    name=name,
                    uri=f"s3://{bucket}/{found['Key']}",
                    bytes=found["Size"],
                    etag=found["ETag"].strip('"'),
                    lines=0,
                )


def is_complete(s3: Any, folder: str) -> bool:
    """Return whether a folder has its marker."""
    bucket, key = split(f"{folder}/{MARKER}")
    return any(found["Key"] == key for found in s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", []))


def inputs_of(files: list[InputFile]) -> str:
    """Return what a published partition says of its files: name, size and ETag of each."""
    return join_inputs([f"{quote(file['name'])}:{file['bytes']}:{file['etag']}" for file in files])


def late_days(s3: Any, job: Job, published: Mapping[str, Partition], days: int) -> list[str]:
    """Return the published days before a job's that were built from other files than there are now, earliest first.

    Args:
        s3: a boto3 client for S3.
        job: of the run.
        published: day → the published partition of the requests.
        days: how many days before the job's to look at.
    """
    folder = Folder.parse(job["folder"])
    late = []
    for day in (folder.day - timedelta(days=before) for before in range(days, 0, -1)):
        known, place = published.get(str(day)), folder.of(day).uri
        if known is None or not is_complete(s3, place):
            continue
        files = list(files_of(s3, place))
        if files and inputs_of(files) not in known.processed_inputs:
            late.append(str(day))
    return late
