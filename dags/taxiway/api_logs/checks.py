"""Checks of what a run has built, before it is published: every record accounted for, keys unique, hours right.

What is checked is what Athena reads in the files; what it is held against is what the tasks that wrote them counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from taxiway.api_logs.plan import Converted

if TYPE_CHECKING:
    from taxiway.aws.athena import Answer

MOST_NAMED = 5  # faults of one kind that are told


class CheckError(RuntimeError):
    """A run must not be published; the text has one sentence for each check that failed."""


class Built(TypedDict):
    """An hour of events after it was built: references and counts.

    Keys:
        hour: of the events.
        version: of its files.
        records: events of the hour.
        duplicates: arrival hour → records that are duplicates of others.
    """

    hour: str
    version: str
    records: int
    duplicates: dict[str, int]


class Quarantined(TypedDict):
    """The quarantine of an arrival hour: references and counts.

    Keys:
        hour: of arrival.
        version: of its files.
        records: all of it.
        reasons: reason → records.
    """

    hour: str
    version: str
    records: int
    reasons: dict[str, int]


def failures(
    converted: Sequence[Converted],
    built: Sequence[Built],
    quarantined: Sequence[Quarantined],
    answers: Mapping[str, "Answer"],
) -> list[str]:
    """Return one sentence for each check that fails; empty if all pass.

    Args:
        converted: the arrival hours of the run.
        built: the hours of events that were built.
        quarantined: the arrival hours whose quarantine was written.
        answers: of the queries ``check_events``, ``check_staged`` and ``check_quarantine``.
    """
    events = {str(row["hour_of_events"]): row for row in answers["check_events"].rows}
    staged_by_event: Counter[str] = Counter()
    staged_by_arrival: Counter[str] = Counter()
    for row in answers["check_staged"].rows:
        staged_by_event[str(row["event"])] += int(str(row["records"]))
        staged_by_arrival[str(row["arrival"])] += int(str(row["records"]))
    reasons: dict[str, dict[str, int]] = {}
    for row in answers["check_quarantine"].rows:
        reasons.setdefault(str(row["arrival"]), {})[str(row["reject_reason"])] = int(str(row["records"]))

    found = []
    for hour in converted:
        rejected = sum(count for reason, count in reasons.get(hour["hour"], {}).items() if reason != "duplicate")
        accepted = staged_by_arrival[hour["hour"]]
        if accepted + rejected != hour["records"]:
            found.append(
                f"Of {hour['records']:,} records that arrived in {hour['hour']} {accepted:,} were accepted "
                f"and {rejected:,} quarantined."
            )
    for each in built:
        row = events.get(each["hour"], {})
        count = {name: int(row.get(name) or 0) for name in ("records", "ids", "without_key", "outside")}
        duplicates, staged = sum(each["duplicates"].values()), staged_by_event[each["hour"]]
        if count["records"] != each["records"] or count["records"] + duplicates != staged:
            found.append(
                f"The hour {each['hour']} has {count['records']:,} events ({each['records']:,} were written) and "
                f"{duplicates:,} duplicates of {staged:,} accepted records."
            )
        if count["ids"] + count["without_key"] < count["records"]:
            found.append(f"The hour {each['hour']} has {count['records']:,} events, but {count['ids']:,} ids.")
        if count["without_key"]:
            found.append(f"The hour {each['hour']} has {count['without_key']:,} events without an id or a time.")
        if count["outside"]:
            found.append(f"The hour {each['hour']} has {count['outside']:,} events of other hours.")
    found += [
        f"The quarantine of the hour {other['hour']} has {_counts(reasons.get(other['hour'], {}))}, "
        f"but {_counts(other['reasons'])} were written."
        for other in quarantined
        if reasons.get(other["hour"], {}) != other["reasons"]
    ]
    return found


def require(found: Sequence[str]) -> None:
    """Raise CheckError if there are failures."""
    if found:
        more = f" And {len(found) - MOST_NAMED:,} more." if len(found) > MOST_NAMED else ""
        raise CheckError(
            f"Nothing was published because checks failed ({len(found):,}). {' '.join(found[:MOST_NAMED])}{more}"
        )


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items())) or "no records"
