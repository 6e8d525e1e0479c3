"""What a load of a raw table has made, as plain data that Airflow passes between tasks."""

from collections.abc import Mapping
from typing import TypedDict

PART = "part-0.parquet"


class Part(TypedDict):
    """A new version of a raw table, or of a month of it.

    Keys:
        period: of the raw table; empty if it has no partitions.
        location: folder of the accepted rows.
        rejected_location: folder of the rejected rows.
        inputs: what it was made from; see :class:`taxiway.lake.Partition`.
        source: rows that came from the source, or were kept of the published version.
        accepted, rejected: rows of the files.
    """

    period: str
    location: str
    rejected_location: str
    inputs: str
    source: int
    accepted: int
    rejected: int


class Loaded(TypedDict):
    """What a load has made; nothing is published yet.

    Keys:
        table: its name.
        parts: the new versions; none if nothing has changed.
        reasons: rejected rows of the new versions by reason.
        changes: rows that were inserted, updated, deleted (marked), removed, repaired (found by comparison).
        annotations: parameters of the table in Glue, for after the publication.
        began: when the load began, Unix time.
        note: what else people should know of the source; may be empty.
    """

    table: str
    parts: list[Part]
    reasons: dict[str, int]
    changes: dict[str, int]
    annotations: dict[str, str]
    began: float
    note: str


def summary(loaded: Loaded) -> str:
    """Return a load in one line, for the log."""
    parts = loaded["parts"]
    source, accepted = sum(part["source"] for part in parts), sum(part["accepted"] for part in parts)
    changed = _counts(loaded["changes"]) or "nothing new"
    if not parts:
        return f"{loaded['table']}: nothing to publish, {changed}."
    reasons = _counts(loaded["reasons"]) or "none"
    return (
        f"{loaded['table']}: {source:,} rows are {accepted:,} accepted and {source - accepted:,} rejected ({reasons}); "
        f"{changed}; {len(parts)} part{'s' * (len(parts) != 1)} to publish.{loaded['note'] and ' ' + loaded['note']}"
    )


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number)
