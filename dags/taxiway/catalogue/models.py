"""The tables of the catalogue's database, and the types of their rows."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import mysql


class Status(StrEnum):
    """State of an attempt. Abandoned: it was still running when the next attempt of its data set began."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to collect a data set: a row of ``ingestion_log``.

    ``url`` has no query string: it may hold a signature.
    ``again`` requests that the month is analysed once it is complete, even if nothing changed.
    ``finished``, ``bytes``, ``sha256``, ``rows``, ``s3_bucket`` and ``s3_key`` are set when it is complete, ``error``
    (one sentence) when it failed. ``source_version`` is the file's version as reported by the source (entity tag or
    modification time, with the size), so that an unchanged file is not downloaded again; None if it reported none.
    """

    id: int
    dataset: str
    month: str
    url: str
    dag_run_id: str | None
    again: bool
    started: datetime
    finished: datetime | None
    status: Status
    bytes: int | None
    sha256: str | None
    rows: int | None
    s3_bucket: str | None
    s3_key: str | None
    source_version: str | None
    error: str | None

    def as_input(self) -> "Input":
        """Return the file of this attempt, which must be complete."""
        assert self.bytes is not None
        assert self.sha256 is not None
        assert self.rows is not None
        return Input(self.dataset, f"s3://{self.s3_bucket}/{self.s3_key}", self.sha256, self.rows, self.bytes)


@dataclass(frozen=True, slots=True)
class Input:
    """A collected file of a complete month: ``uri`` is ``s3://bucket/key``."""

    dataset: str
    uri: str
    sha256: str
    rows: int
    bytes: int


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A time in UTC to the microsecond: neither SQLite nor MySQL stores a time zone."""

    impl = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002, D102
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002, D102
        return value and value.replace(tzinfo=UTC)


metadata = sa.MetaData()

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("expected_bytes", sa.BigInteger),
    sa.Column("expected_sha256", sa.String(64)),
)

ingestion_log = sa.Table(
    "ingestion_log",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("dataset", sa.String(200), nullable=False, index=True),  # no foreign key: log rows outlive data sets
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("dag_run_id", sa.String(250)),
    sa.Column("again", sa.Boolean, nullable=False),
    sa.Column("started", UtcDateTime, nullable=False),
    sa.Column("finished", UtcDateTime),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("sha256", sa.String(64)),
    sa.Column("rows", sa.BigInteger),
    sa.Column("s3_bucket", sa.String(63)),
    sa.Column("s3_key", sa.String(1024)),
    sa.Column("source_version", sa.Text),
    sa.Column("error", sa.Text),
)

run_threads = sa.Table(
    "run_threads",
    metadata,
    sa.Column("dag_id", sa.String(250), primary_key=True),
    sa.Column("run_id", sa.String(250), primary_key=True),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("ended", UtcDateTime),
    sa.Column("tasks", sa.Text().with_variant(mysql.MEDIUMTEXT, "mysql"), nullable=False),  # JSON
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("updated", UtcDateTime, nullable=False),
    sa.Column("leased", UtcDateTime),
    sa.Column("channel", sa.String(50)),
    sa.Column("ts", sa.String(50)),
)

check_results = sa.Table(
    "check_results",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("dag_id", sa.String(250), nullable=False),
    sa.Column("run_id", sa.String(250), nullable=False),
    sa.Column("task", sa.String(250), nullable=False),
    sa.Column("pipeline", sa.String(100), nullable=False),
    sa.Column("table_name", sa.String(200), nullable=False),
    sa.Column("check_name", sa.String(200), nullable=False),
    sa.Column("period", sa.String(30), nullable=False),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("severity", sa.String(10), nullable=False),
    sa.Column("observed", sa.Text, nullable=False),
    sa.Column("expected", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("runbook", sa.String(250), nullable=False),
    sa.Column("profile", sa.Text, nullable=False),  # JSON
    sa.Column("checked_at", UtcDateTime, nullable=False, index=True),
    sa.Index("ix_check_results_table_name", "table_name", "check_name", "id"),
    sa.Index("ix_check_results_dag_id", "dag_id", "run_id"),
)

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    # Of what is open there is one row: a digest of DAG, table and check; null when it is closed.
    sa.Column("open_key", sa.String(64), unique=True),
    sa.Column("dag_id", sa.String(250), nullable=False),
    sa.Column("table_name", sa.String(200), nullable=False),
    sa.Column("check_name", sa.String(250), nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("severity", sa.String(10), nullable=False),
    sa.Column("periods", sa.Text, nullable=False),  # JSON
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("detected_at", UtcDateTime, nullable=False, index=True),
    sa.Column("last_failed_at", UtcDateTime, nullable=False),
    sa.Column("closed_at", UtcDateTime),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("rows", sa.BigInteger),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("runbook", sa.String(250), nullable=False),
    sa.Column("run_id", sa.String(250), nullable=False),
    sa.Column("closed_by", sa.String(250)),
)

incident_actions = sa.Table(
    "incident_actions",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("incident_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("owner", sa.String(100), nullable=False),
    sa.Column("due", sa.Date),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("done_at", UtcDateTime),
)
