"""Checks before publication, and the summary of a day, on answers as Athena gives them."""

from copy import deepcopy
from typing import Any

import pytest

from taxiway.api_logs import checks, summary
from taxiway.api_logs.checks import Built, CheckError, Quarantined
from taxiway.api_logs.plan import Converted
from taxiway.aws.athena import Answer

HOUR, NEXT = "2026-01-31-07", "2026-01-31-08"
WRITTEN = "duplicate 1, tampered 2"
CONVERTED = [
    Converted(
        hour=NEXT,
        version="v.1",
        inputs="aa",
        objects=1,
        bytes=9,
        records=10,
        staged={HOUR: 3, NEXT: 5},
        quarantined={"tampered": 2},
        keys_missing={},
    )
]
BUILT = [
    Built(hour=HOUR, version="v.1", records=6, duplicates={NEXT: 1}),
    Built(hour=NEXT, version="v.1", records=5, duplicates={}),
]
QUARANTINED = [Quarantined(hour=NEXT, version="v.1", records=3, reasons={"duplicate": 1, "tampered": 2})]
ANSWERS: dict[str, list[dict[str, str | None]]] = {
    "check_events": [
        {"hour_of_events": HOUR, "records": "6", "ids": "6", "without_key": "0", "outside": "0"},
        {"hour_of_events": NEXT, "records": "5", "ids": "5", "without_key": "0", "outside": "0"},
    ],
    "check_staged": [
        {"arrival": HOUR, "event": HOUR, "records": "4"},
        {"arrival": NEXT, "event": HOUR, "records": "3"},
        {"arrival": NEXT, "event": NEXT, "records": "5"},
    ],
    "check_quarantine": [
        {"arrival": NEXT, "reject_reason": "duplicate", "records": "1"},
        {"arrival": NEXT, "reject_reason": "tampered", "records": "2"},
    ],
}


def found(**changed: Any) -> list[str]:
    """Return the failures where rows of answers have other values: name of the query → (row, column, value)."""
    rows = deepcopy(ANSWERS)
    for query, (row, column, value) in changed.items():
        rows[query][row][column] = value
    return checks.failures(CONVERTED, BUILT, QUARANTINED, {name: Answer(each, 1) for name, each in rows.items()})


def test_a_run_that_adds_up_passes() -> None:
    assert found() == []
    checks.require([])


@pytest.mark.parametrize(
    ("changed", "sentences"),
    [
        (
            {"check_events": (0, "records", "5")},
            [f"The hour {HOUR} has 5 events (6 were written) and 1 duplicates of 7 accepted records."],
        ),
        ({"check_events": (1, "ids", "4")}, [f"The hour {NEXT} has 5 events, but 4 ids."]),
        ({"check_events": (1, "without_key", "1")}, [f"The hour {NEXT} has 1 events without an id or a time."]),
        ({"check_events": (1, "outside", "2")}, [f"The hour {NEXT} has 2 events of other hours."]),
        (
            {"check_staged": (2, "records", "4")},
            [
                f"Of 10 records that arrived in {NEXT} 7 were accepted and 2 quarantined.",
                f"The hour {NEXT} has 5 events (5 were written) and 0 duplicates of 4 accepted records.",
            ],
        ),
        (
            {"check_quarantine": (0, "records", "2")},
            [f"The quarantine of the hour {NEXT} has duplicate 2, tampered 2, but {WRITTEN} were written."],
        ),
        (
            {"check_quarantine": (1, "records", "3")},
            [
                f"Of 10 records that arrived in {NEXT} 8 were accepted and 3 quarantined.",
                f"The quarantine of the hour {NEXT} has duplicate 1, tampered 3, but {WRITTEN} were written.",
            ],
        ),
    ],
)
def test_each_fault_is_one_sentence(changed: dict[str, Any], sentences: list[str]) -> None:
    assert found(**changed) == sentences
    with pytest.raises(CheckError) as caught:
        checks.require(sentences)
    assert str(caught.value) == f"Nothing was published because checks failed ({len(sentences)}). {' '.join(sentences)}"


def test_an_hour_that_athena_does_not_find_is_missed() -> None:
    none = {name: Answer([], 1) for name in ANSWERS}
    assert len(checks.failures(CONVERTED, BUILT, QUARANTINED, none)) == 4


def test_many_faults_are_counted_and_some_told() -> None:
    with pytest.raises(CheckError, match=r"failed \(12\)\. a a a a a And 7 more\.$"):
        checks.require(["a"] * 12)


def test_a_day_has_its_numbers_its_page_and_its_line() -> None:
    answers = {
        "summary_events": Answer(
            [
                {"date": "2026-01-31", "hour": "07", "channel": "<b>", "events": "60", "late": "3"},
                {"date": "2026-01-31", "hour": "08", "channel": "#de", "events": "40", "late": "0"},
                {"date": "2026-02-02", "hour": "08", "channel": "#de", "events": "9", "late": "0"},
            ],
            1,
        ),
        "summary_quarantine": Answer([{"date": "2026-01-31", "reject_reason": "late", "records": "25"}], 1),
    }
    empty, day = summary.read_days(["2026-01-31", "2026-01-30"], answers)
    assert (empty.events, empty.quarantine_share, empty.late_share) == (0, 0, 0)
    assert str(day) == "2026-01-31: 100 events in 2 channels, 3.00% late; 25 quarantined (20.00%): late 25."
    page = summary.page(day)
    assert "<td>&lt;b&gt;</td><td>60</td>" in page, "a channel's name is text"
    assert "<td>late</td><td>25</td>" in page
    assert "<td colspan='2'>none</td>" in summary.page(empty)
    assert summary.table([day])[1] == ("2026-01-31", "100", "3.00%", "25", "20.00%")


def test_a_page_lists_the_largest_channels_and_sums_up_the_others() -> None:
    day = summary.Day("2026-01-31")
    for number in range(30):
        day.channels[f"#{number:02}"] = number + 1
        day.hours["07"] += number + 1
    page = summary.page(day)
    assert page.count("<td>#") == 20
    assert "<td>10 others</td><td>55</td>" in page
