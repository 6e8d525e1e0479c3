"""Versions of a table's partition: how they are named, and what is known of the one that is published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from taxiway.lake.tables import Table

# What a partition's parameters say of the version that is published, and, with ``previous_`` before the name, of the
# one before it.
KEPT = ("location", "version", "anchor_version", "published_at", "inputs", "rows", "run_id")
# As they were called when every lake's anchor was the trips.
_FORMER_NAMES = {"trips_version": "anchor_version", "previous_trips_version": "previous_anchor_version"}


@dataclass(frozen=True)
class Partition:
    """A published period of a table.

    Attributes:
        table: whose partition it is.
        period: the partition's values, joined by ``-``, such as ``2023-01``.
        location: folder of the version that readers see.
        parameters: of the Glue partition: ``version``, ``anchor_version`` (that of the set's anchor that it belongs
            to), ``published_at`` (UTC), ``inputs`` (SHA-256 of the source files, joined by commas), ``rows``,
            ``run_id``; the same, and ``location``, of the version before it, as ``previous_…``; ``rolled_back``.
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
    def settled_inputs(self) -> set[str]:
        """What the period need not be made from again: its inputs, and those of a version that was rolled back."""
        names = ("inputs", "previous_inputs") if self.parameters.get("rolled_back") else ("inputs",)
        return {self.parameters[name] for name in names if name in self.parameters}

    @property
    def as_previous(self) -> dict[str, str]:
        """The parameters that say of this version, in the next one, that it was before it."""
        kept = {**self.parameters, "location": self.location}
        return {f"previous_{name}": kept[name] for name in KEPT}

    @classmethod
    def from_glue(cls, table: Table, found: Mapping[str, Any]) -> "Partition":
        """Return the partition that Glue's answer describes."""
        parameters = {_FORMER_NAMES.get(name, name): value for name, value in found.get("Parameters", {}).items()}
        return cls(table, "-".join(found["Values"]), found["StorageDescriptor"]["Location"], parameters)


class Publication(TypedDict):
    """Versions of a period's tables to be published together, as plain data that Airflow hands on between tasks.

    Keys:
        period: such as ``2023-01``.
        inputs: see :class:`Partition`.
        locations: name of the table → folder of the version.
        rows: name of the table → its number of rows.
    """

    period: str
    inputs: str
    locations: dict[str, str]
    rows: dict[str, int]


def join_inputs(sha256s: Sequence[str]) -> str:
    """Return the text that stands for a set of source files in ``inputs``."""
    return ",".join(sorted(sha256s))


def version_of(location: str) -> str:
    """Return the version that a folder holds."""
    return location.rstrip("/").rpartition("/version=")[2]


def age_rank(location: str) -> tuple[str, int]:
    """Return what folders of versions are ordered by: the time of the plan, then the number of the try."""
    plan, _, attempt = version_of(location).rpartition(".")
    return plan, int(attempt) if attempt.isdigit() else 0
