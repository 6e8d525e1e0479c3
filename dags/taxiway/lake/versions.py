"""Versions of a table's partition: their names, and the parameters of the published one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

from taxiway.lake.tables import Table

# Parameters of a partition that describe the published version, and, with the prefix ``previous_``, the one before it.
KEPT = ("location", "version", "anchor_version", "published_at", "inputs", "rows", "run_id")
# Names of parameters that version 0.1 wrote, when the anchor of every lake was the trips.
_FORMER_NAMES = {"trips_version": "anchor_version", "previous_trips_version": "previous_anchor_version"}


@dataclass(frozen=True)
class Partition:
    """A published period of a table.

    Attributes:
        table: the table.
        period: the partition's values, joined by ``-``, such as ``2023-01``; empty if the table has no partitions.
        location: folder of the version that readers see.
        parameters: of the Glue partition, or of the table without partitions: ``version``, ``anchor_version`` (version
            of the anchor table that it belongs to), ``published_at`` (UTC), ``inputs`` (SHA-256 of the source files,
            joined by commas), ``rows``, ``run_id``; the same, and ``location``, of the version before it, as
            ``previous_…``; ``rolled_back``.
    """

    table: Table
    period: str
    location: str
    parameters: Mapping[str, str]

    @property
    def version(self) -> str:
        """The version's name."""
        return version_of(self.location)

    @property
    def processed_inputs(self) -> set[str]:
        """Inputs that the period must not be built from again: its own, and those of a version that was rolled back."""
        names = ("inputs", "previous_inputs") if self.parameters.get("rolled_back") else ("inputs",)
        return {self.parameters[name] for name in names if name in self.parameters}

    @property
    def as_previous(self) -> dict[str, str]:
        """The parameters that describe this version in the partition of the next one."""
        kept = {**self.parameters, "location": self.location}
        return {f"previous_{name}": kept[name] for name in KEPT}

    @classmethod
    def from_glue(cls, table: Table, found: Mapping[str, Any]) -> "Partition":
        """Return the partition of a response of Glue; of a table without partitions the table's response."""
        parameters = {_FORMER_NAMES.get(name, name): value for name, value in found.get("Parameters", {}).items()}
        period = "-".join(found.get("Values", ()))
        return cls(table, period, found["StorageDescriptor"]["Location"], parameters)


class Publication(TypedDict):
    """Versions of a period's tables to be published together, as plain data that Airflow passes between tasks.

    Keys:
        period: such as ``2023-01``; empty for a table without partitions.
        inputs: see :class:`Partition`.
        locations: name of the table → folder of the version.
        rows: name of the table → its number of rows.
    """

    period: str
    inputs: str
    locations: dict[str, str]
    rows: dict[str, int]


def describes_version(parameter: str) -> bool:
    """Return whether a parameter in Glue is about the published version, or the one before it."""
    return parameter in (*KEPT, "rolled_back") or parameter.startswith("previous_")


def join_inputs(sha256s: Sequence[str]) -> str:
    """Return the value of ``inputs`` for a set of source files."""
    return ",".join(sorted(sha256s))


def version_at(time: datetime) -> str:
    """Return the version of a run that was planned at a time, such as ``20261121T101112123456Z``."""
    return time.astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def version_of(location: str) -> str:
    """Return the version that a folder holds."""
    return location.rstrip("/").rpartition("/version=")[2]


def age_rank(location: str) -> tuple[str, int]:
    """Return the sort key of a version's folder: the time of the plan, then the number of the try."""
    plan, _, attempt = version_of(location).rpartition(".")
    return plan, int(attempt) if attempt.isdigit() else 0
