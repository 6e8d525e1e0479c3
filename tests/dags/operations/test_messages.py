"""What the messages to Slack say, and that they keep to Slack's limits."""

import re
from typing import Any

import pytest

from taxiway.operations import messages
from tests.dags.operations.slack_server import text_of

RUN = ("trips", "scheduled__2026-11-01T00:00:00+00:00", "running")
ADDRESS = "http://airflow:8080/dags/trips/runs/1"


def end(state: str = "success", seconds: float = 12.0, attempt: int = 1) -> dict[str, Any]:
    return {"state": state, "seconds": seconds, "attempt": attempt}


def sizes(message: dict[str, Any]) -> tuple[int, int]:
    """Return the number of blocks, and the length of the longest text."""
    blocks = [*message["blocks"], *(block for each in message["attachments"] for block in each["blocks"])]
    return len(blocks), max(len(block["text"]["text"]) for block in blocks)


def test_a_run_has_a_line_for_each_task_that_has_ended() -> None:
    tasks = {
        ("plan", ""): end(seconds=3.2),
        ("load", ""): end("retry", 61, attempt=2),
        ("build", "2023-01"): end(seconds=95),
        ("build", "2023-02"): end("failed", 3725),
        ("build", "2023-03"): end("skipped", 0),
    }
    message = messages.of_run(*RUN, tasks, ADDRESS)

    assert text_of(message).splitlines() == [
        ":hourglass_flowing_sand: *trips*  running",
        f"<{ADDRESS}|scheduled__2026-11-01T00:00:00+00:00>",
        ":white_check_mark: `plan`  3 s",
        ":repeat: `load`  1 min 1 s, try 2",
        ":x: `build`  1 success, 1 failed, 1 skipped (2023-02), longest 1 h 2 min",
    ]
    assert message["text"] == "trips: running"
    assert message["attachments"][0]["color"] == messages.COLOURS["running"]


def test_a_run_without_a_task_yet_has_only_its_state() -> None:
    assert messages.of_run(*RUN, {}, ADDRESS)["attachments"] == []


@pytest.mark.parametrize("count", [1, 40, 41, 1000])
def test_a_run_of_many_tasks_fits(count: int) -> None:
    tasks = {(f"task_{number}_{'x' * 200}", ""): end() for number in range(count)}
    message = messages.of_run(*RUN, tasks, ADDRESS)

    blocks, longest = sizes(message)
    assert blocks <= 50
    assert longest <= 3000
    assert ("more tasks" in text_of(message)) == (count > messages.TASKS)
    if count > messages.TASKS:
        assert f"… {count - 40} more tasks: <{ADDRESS}|see the run>" in text_of(message)


def test_many_mapped_tasks_are_one_line() -> None:
    tasks = {("build", f"{number:04}"): end("failed") for number in range(500)}
    line = text_of(messages.of_run(*RUN, tasks, ADDRESS)).splitlines()[-1]

    assert line.startswith(":x: `build`  500 failed (0000, 0001, ")
    assert len(line) < 200


def test_a_failure_has_reason_log_and_runbook() -> None:
    message = messages.of_failure(
        "trips", "build (2023-02)", "try 3 of 3", "a < b & <!channel>\n", ADDRESS, "docs/x.md"
    )

    assert text_of(message).splitlines() == [
        ":x: *trips*: `build (2023-02)` failed (try 3 of 3)",
        "```a &lt; b &amp; &lt;!channel&gt;```",
        f"<{ADDRESS}|Log>  ·  Runbook: docs/x.md",
    ]
    linked = messages.of_failure("trips", "build", "try 1 of 1", "", ADDRESS, "https://books/x.md")
    assert "```no reason was given```" in text_of(linked)
    assert "Runbook: <https://books/x.md|https://books/x.md>" in text_of(linked)


@pytest.mark.parametrize("reason", ["x" * 100_000, "&" * 100_000, "<" * 1400 + "a" * 900])
def test_a_long_reason_is_cut_between_letters(reason: str) -> None:
    text = text_of(messages.of_failure("trips", "build", "try 1 of 1", reason, ADDRESS, None))

    assert "… more in the log```" in text
    assert not re.search(r"&(?!amp;|lt;|gt;)", text)
    assert sizes(messages.of_failure("trips", "build", "try 1 of 1", reason, ADDRESS, None))[1] <= 3000


def test_no_text_leaves_its_frame() -> None:
    message = messages.of_failure("trips", "build", "try 1 of 1", "```\n*bold* ```x", ADDRESS, None)
    assert text_of(message).count("```") == 2
    assert messages.table_text([("a", "b"), ("```", 1)], 500).count("```") == 2
    message = messages.of_run("trips", "manual & <mine>", "running", {}, ADDRESS)
    assert f"<{ADDRESS}|manual &amp; &lt;mine&gt;>" in text_of(message)


def test_a_table_is_aligned_and_escaped() -> None:
    table = [("check", "lines", "share"), ("parsed & kept", 12345, 0.98765), ("<none>", None, 0.0)]

    assert messages.table_text(table, 1000).splitlines() == [
        "```check           lines   share",
        "─────────────  ──────  ──────",
        "parsed &amp; kept  12,345  0.9877",
        "&lt;none&gt;              –       0```",
    ]


def test_a_long_table_says_how_many_rows_it_left_out() -> None:
    table = [("day", "rows"), *((f"{day:05}", day) for day in range(5000))]
    text = messages.table_text(table, 2900, ADDRESS)

    shown = len(re.findall(r"^\d{5} ", text, re.MULTILINE))
    assert text.endswith(f"```\n… {5000 - shown} more rows: <{ADDRESS}|see the run>")
    assert shown > 100
    assert len(text) <= 2900


def test_text_of_any_kind_is_within_the_limits() -> None:
    message = messages.of_text("first & line\n" + "<>" * 5000, [["a"], *[["b" * 500]] * 500], ADDRESS)

    assert message["text"] == "first &amp; line"
    assert sizes(message)[1] <= 3000
    assert text_of(message).count("see the run") == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "59 min 59 s"), (3600, "1 h"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert messages.duration(seconds) == text
