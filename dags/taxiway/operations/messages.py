"""The texts that are sent to Slack, as arguments of ``chat.postMessage``: pure functions.

Slack reads ``mrkdwn``: ``&``, ``<`` and ``>`` are escaped, and what is longer than its limits is cut with a pointer to
the run in Airflow.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

MARKS = {
    "success": ":white_check_mark:",
    "failed": ":x:",
    "skipped": ":fast_forward:",
    "retry": ":repeat:",
    "running": ":hourglass_flowing_sand:",
}
COLOURS = {"running": "#4a7ab8", "success": "#2f9e64", "failed": "#c9372c"}
SECTION = 2900  # Slack takes 3,000 characters of a section
REASON = 1500
TASKS = 40  # lines of a first message

Ends = Mapping[tuple[str, str], Mapping[str, Any]]


def escape(text: str) -> str:
    """Return a text that Slack shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def link(address: str, text: str) -> str:
    """Return a link, or only the text if the address is none."""
    if not re.match(r"https?://", address):
        return escape(text)
    return f"<{escape(address).replace('|', '%7C')}|{escape(text)}>"


def cut(text: str, limit: int, pointer: str = "") -> str:
    """Return a text of at most ``limit`` characters as Slack counts them: escaped, with a pointer if it was cut."""
    escaped = escape(text)
    if len(escaped) <= limit:
        return escaped
    rest = f"… {pointer}" if pointer else "…"
    short = escaped[: limit - len(rest)]
    return re.sub(r"&\w{0,4}$", "", short) + rest  # an entity is never cut in two


def duration(seconds: float) -> str:
    """Return a duration such as ``45 s``, ``3 min 5 s`` or ``2 h 7 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def of_run(dag_id: str, run_id: str, state: str, tasks: Ends, address: str) -> dict[str, Any]:
    """Return the first message of a run's thread: its state, and a line for each task that has ended.

    Args:
        dag_id, run_id: of the run.
        state: ``running``, ``success`` or ``failed``.
        tasks: as those of ``RunThread``: a task's end has ``state``, ``seconds`` (or None) and ``attempt``.
        address: of the run in Airflow.
    """
    text = f"{dag_id}: {state}"
    headline = f"{MARKS[state]} *{escape(dag_id)}*  {state}\n{link(address, run_id)}"
    grouped: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for (task, label), end in tasks.items():
        grouped.setdefault(task, []).append((label, end))
    lines = [_line(task, ends) for task, ends in grouped.items()]
    if len(lines) > TASKS:
        lines = [*lines[:TASKS], f"… {len(lines) - TASKS} more tasks: {link(address, 'see the run')}"]
    return _message(text, [headline], _sections(lines, address), COLOURS[state])


def _line(task: str, ends: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    states = [end["state"] for _, end in ends]
    mark = next(MARKS[state] for state in ("failed", "retry", "success", "skipped") if state in states)
    name = f"{mark} `{escape(task)}`"
    known = [end["seconds"] for _, end in ends if end["seconds"] is not None]
    longest = duration(max(known)) if known else ""
    if len(ends) == 1 and not ends[0][0]:
        attempt = f", try {ends[0][1]['attempt']}" if ends[0][1]["attempt"] > 1 else ""
        return f"{name}  {longest}{attempt}"
    counts = ", ".join(f"{states.count(state)} {state}" for state in MARKS if state in states)
    failed = [label for label, end in ends if end["state"] == "failed"]
    which = f" ({cut(', '.join(failed), 100)})" if failed else ""
    return f"{name}  {counts}{which}" + (f", longest {longest}" if longest else "")


def of_failure(
    dag_id: str, task: str, attempt: str, reason: str, log_address: str, runbook: str | None, incident: str = ""
) -> dict[str, Any]:
    """Return the message of a failed task: its reason, where its log is, and what to do.

    Args:
        dag_id: its DAG.
        task: its id, with the label of a mapped task.
        attempt: such as ``try 3 of 3``.
        reason: why it failed.
        log_address: of its log.
        runbook: address or path of the page that says what to do.
        incident: that it has opened, such as ``incident 3, for data-platform``.
    """
    headline = f"{MARKS['failed']} *{escape(dag_id)}*: `{escape(task)}` failed ({attempt})"
    body = [
        f"```{cut(_verbatim(reason) or 'no reason was given', REASON, 'more in the log')}```",
        "  ·  ".join(
            filter(None, (link(log_address, "Log"), runbook and f"Runbook: {link(runbook, runbook)}", escape(incident)))
        ),
    ]
    return _message(f"{dag_id}: {task} failed", [headline], body, COLOURS["failed"])


def of_text(text: str, table: Sequence[Sequence[object]] = (), address: str = "") -> dict[str, Any]:
    """Return a message with a text and perhaps a small table, whose first row are its headings.

    Args:
        text: plain text.
        table: rows of cells of one length each; columns of numbers are right-aligned.
        address: where to read what does not fit.
    """
    body = [cut(text, SECTION, link(address, "see the run"))]
    if table:
        body.append(table_text(table, SECTION, address))
    return _message(text.partition("\n")[0][:150], body)


def table_text(table: Sequence[Sequence[object]], limit: int, address: str = "") -> str:
    """Return a table in letters of one width, of at most ``limit`` characters; rows that do not fit are counted."""
    rows = [[_cell(value) for value in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [
        rows[1:] != [] and all(re.match(r"[-+–]?\d|–$", row[index]) for row in rows[1:]) for index in range(len(widths))
    ]
    lines = []
    for row in rows:
        cells = zip(row, widths, right, strict=True)
        lines.append(escape("  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in cells).rstrip()))
    lines.insert(1, "  ".join("─" * width for width in widths))
    kept, used, spare = [], 6, 120 + len(address)
    for line in lines:
        used += len(line) + 1
        if used > limit - spare:
            break
        kept.append(line)
    rest = len(lines) - len(kept)
    pointer = f"\n… {rest} more rows: {link(address, 'see the run')}" if rest else ""
    return "```" + "\n".join(kept) + "```" + pointer


def _cell(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return " ".join(_verbatim(str(value)).split())[:60]


def _verbatim(text: str) -> str:
    """Return a text that does not end the ``` around it."""
    return text.strip().replace("```", "'''")


def _sections(lines: Sequence[str], address: str) -> list[str]:
    """Return the lines as texts of sections, none of them too long."""
    texts: list[str] = []
    for line in lines:
        if texts and len(texts[-1]) + len(line) < SECTION:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line if len(line) <= SECTION else cut(line, SECTION, address))
    return texts


def _message(text: str, head: Sequence[str], body: Sequence[str] = (), colour: str = "") -> dict[str, Any]:
    """Return the arguments: ``text`` is what notifications show, the body has a bar of the colour."""
    attachment = {"color": colour, "fallback": escape(text), "blocks": [_section(each) for each in body]}
    return {
        "text": escape(text),
        "blocks": [_section(each) for each in head],
        "attachments": [attachment] if body else [],
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}
