"""The declaration of the API logs' demo: its events as a platform sees them, and what runs for them."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from console.errors import UserError
from console.follow import Goal
from console.platform import LocalPlatform
from demos.api_logs import DAG, DEMO, SAMPLE, Events, summary
from taxiway.api_logs.summary import Day


def in_pods(file: Path) -> str:
    return f"/pods/{file.name}"


def test_the_sample_is_sealed_with_some_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DEMO.read_input(None, in_pods) == Events(f"/pods/{SAMPLE.name}", ["--faults"])
    monkeypatch.setenv("TIME_FIELD", " time ")
    monkeypatch.setenv("USER_FIELD", "user")
    given = DEMO.read_input(str(SAMPLE), in_pods)
    assert given.options == ["--time-field", "time", "--user-field", "user"], "a person's own events have no faults"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is no file: give one of JSON lines, plain or gzip, with EVENTS="),
        (b"", "is empty: write one JSON object a line."),
        (b"PAR1\x00\x01", "it is no JSON object; write one a line."),
        (b'{"when":"2026-01-31"}\n', "has a time that can be used in the field 'time': name another by TIME_FIELD"),
        (b"\x1f\x8b\x08\x00\x00", "is a damaged or cut gzip file"),
    ],
)
def test_events_that_cannot_be_used_are_one_sentence_before_anything_starts(
    content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "events.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        DEMO.read_input(str(file), in_pods)
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)


class Store:
    """A platform whose generator puts objects into a bucket of names and ETags."""

    lake = "s3://lake/of/mine"

    def __init__(self, *hours: str) -> None:
        self.objects = {f"of/mine/raw/api_logs/{folder(hour)}/old.jsonl": "1" for hour in hours}
        self.ran: list[tuple[str, ...]] = []

    def run(self, module: str, *arguments: str) -> str:
        self.ran.append((module, *arguments))
        if module == "services.log_generator":
            for hour in ("2026-01-31-22", "2026-01-31-23", "2026-02-01-00", "2026-02-03-05"):
                self.objects[f"of/mine/raw/api_logs/{folder(hour)}/new.jsonl"] = "1"
            self.objects[f"of/mine/raw/api_logs/{folder('2026-02-05-01')}/old.jsonl"] = "2"
        return "Delivered.\n"

    def client(self, service: str) -> "Store":
        return self

    def get_paginator(self, name: str) -> "Store":
        return self

    def paginate(self, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803
        assert (Bucket, Prefix) == ("lake", "of/mine/raw/api_logs/")
        return [{"Contents": [{"Key": key, "ETag": tag} for key, tag in self.objects.items()]}, {}]


def folder(hour: str) -> str:
    year, month, day, number = hour.split("-")
    return f"year={year}/month={month}/day={day}/hour={number}"


def test_one_run_takes_the_hours_that_were_delivered_and_no_others() -> None:
    platform, data = Store("2026-01-01-00", "2026-02-05-01"), DEMO.read_input(str(SAMPLE), in_pods)
    assert DEMO.load(cast(LocalPlatform, platform), data) == "Delivered."
    assert platform.ran == [
        ("taxiway.api_logs", "set-up"),
        ("services.log_generator", "--events", data.path, "--to", "s3://lake/of/mine/raw/api_logs"),
    ]
    plan = DEMO.plan(data, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    (run,) = plan.runs
    assert (run.dag, run.run_id, run.label) == (DAG, "demo__20260102T030405", "2026-01-31-22 to 2026-02-05-01")
    assert run.conf == {
        "hours": [
            "2026-01-31-22/2026-01-31-23",
            "2026-02-01-00/2026-02-01-00",
            "2026-02-03-05/2026-02-03-05",
            "2026-02-05-01/2026-02-05-01",
        ]
    }
    assert plan.goals == {Goal(DAG, "complete", run.label)}
    assert plan.reports == ["2026-01-31.html", "2026-02-01.html", "2026-02-03.html"]


def test_make_up_delivers_the_sample_to_a_new_platform_only() -> None:
    assert DEMO.initial_input(cast(LocalPlatform, Store())) == DEMO.read_input(None, str)
    assert DEMO.initial_input(cast(LocalPlatform, Store("2026-01-31-22"))) is None


def test_a_day_is_shown_by_hour_and_channel() -> None:
    rows: list[dict[str, str | None]] = [
        {"date": "2026-01-31", "hour": hour, "channel": f"#{channel}", "events": events, "late": "0"}
        for hour, channel, events in [
            ("01", "a", "9"),
            ("01", "b", "3"),
            ("02", "e", "1"),
            ("02", "c", "2"),
            ("02", "d", "2"),
        ]
    ]
    day = Day("2026-01-31")
    for row in rows:
        day.hours[str(row["hour"])] += int(str(row["events"]))
        day.channels[str(row["channel"])] += int(str(row["events"]))
    shown = io.StringIO()
    console = Console(file=shown, width=80)
    console.print(summary._hours(rows, day))
    lines = [line.split() for line in shown.getvalue().splitlines()]
    assert ["hour", "a", "b", "c", "d", "others", "all"] in lines
    assert ["01", "9", "3", "0", "0", "0", "12"] in lines
    assert ["02", "0", "0", "2", "2", "1", "5"] in lines
