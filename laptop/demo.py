"""The main job, followed: collects and analyses the months of a list, tells what happens, and shows what came out."""

import ast
import contextlib
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console

from laptop.airflow_api import ACTIVE
from laptop.config import LaptopError
from laptop.platform import Platform
from taxiway.lake import TRIPS, Lake

COLLECTION, ANALYSIS = "hvfhv_collection", "hvfhv_analysis"
# The analysis begins within seconds of the last collection; much later means that it never will.
SILENCE_S = 120
STEP_MESSAGE = re.compile(r"""'Message': ("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")


@dataclass
class Progress:
    """What was said already, and what failed; one line an event, so that a log of it reads as well as a terminal."""

    console: Console
    began: float = field(default_factory=time.monotonic)
    seen: dict[tuple[str, ...], str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        self.console.print(
            f"[dim]{time.monotonic() - self.began:6.1f} s[/dim]  {text}", highlight=False, soft_wrap=True
        )

    def changed(self, key: tuple[str, ...], state: str) -> bool:
        """Tell whether something has entered a state that was not seen yet."""
        new = self.seen.get(key) != state
        self.seen[key] = state
        return new


def run_months(
    platform: Platform, lake: Lake, file: Path, console: Console, *, since: datetime, fresh: bool
) -> list[str]:
    """Collect and analyse the months of a list, telling what happens.

    Args:
        platform: a running one.
        lake: to see what is published.
        file: CSV of data sets: name, month, url.
        console: to write to.
        since: when the command began; what an earlier session left makes Airflow start runs before ours.
        fresh: nobody else can have started the runs that are under way, for the platform has just begun.

    Returns:
        the months, earliest first.

    Raises:
        LaptopError: a task failed; the text says which, why, and where its log is.
    """
    progress = Progress(console)
    months = platform.load_catalogue(file)
    progress.say(f"{file} names {len(months)} month{'s' * (len(months) != 1)}: {', '.join(months)}")
    given_up = {run for dag in (COLLECTION, ANALYSIS) if fresh for run in platform.airflow.fail_active_runs(dag)}
    if given_up:
        progress.say(f"Gave up {len(given_up)} run{'s' * (len(given_up) != 1)} that an earlier session left unfinished")
    runs = {f"demo__{month}__{datetime.now(UTC):%Y%m%dT%H%M%S}": month for month in months}
    for run, month in runs.items():
        # The months are analysed again even if nothing changed: whoever types make demo wants to see it.
        platform.airflow.trigger(COLLECTION, run, {"month": month, "again": True})
    _follow(platform, lake, progress, runs, given_up, since)
    if progress.failures:
        raise LaptopError("\n".join(progress.failures.values()))
    return months


def _follow(
    platform: Platform,
    lake: Lake,
    progress: Progress,
    runs: Mapping[str, str],
    given_up: Collection[str],
    since: datetime,
) -> None:
    """Report every event until all months are published or can no longer be."""
    emr: Any = boto3.client("emr")
    quiet_since = time.monotonic()
    while True:
        platform.supervisor.require_alive()
        collecting = [
            run for run in runs if _report_run(platform, progress, COLLECTION, run, months=[runs[run]]) in ACTIVE
        ]
        analyses = [run for run in platform.airflow.runs(ANALYSIS, since) if run not in given_up]
        states = [_report_run(platform, progress, ANALYSIS, run) for run in analyses]
        for event in _step_events(emr, progress, since):
            progress.say(event)
        if collecting or any(state in ACTIVE for state in states):
            quiet_since = time.monotonic()
        elif progress.failures or _all_published(lake, runs.values(), since):
            return
        elif time.monotonic() - quiet_since > SILENCE_S:
            raise LaptopError(
                f"Nothing has happened for {SILENCE_S} s: the analysis did not start. "
                f"Its log: {platform.config.logs / 'scheduler.log'}"
            )
        time.sleep(0.7)


def _all_published(lake: Lake, months: Collection[str], since: datetime) -> bool:
    published = lake.partitions(TRIPS)
    since = since.replace(microsecond=0)  # publication is noted to the second
    return all(
        month in published and datetime.fromisoformat(published[month].parameters["published_at"]) >= since
        for month in months
    )


def _report_run(platform: Platform, progress: Progress, dag: str, run: str, months: list[str] | None = None) -> str:
    """Say what changed in the tasks of a run, and return the run's state."""
    instances = platform.airflow.task_instances(dag, run)
    if months is None:
        months = _planned_months(platform, run)
    for task in instances:
        state = task["state"]
        name = task["task_id"].rpartition(".")[2]
        index = task["map_index"]
        where = months[index] if 0 <= index < len(months) and dag == ANALYSIS else ", ".join(months)
        label = f"{where + ': ' if where else ''}{name}"
        if not state or not progress.changed((dag, run, task["task_id"], str(index)), state):
            continue
        if state == "success":
            progress.say(f"[green]✓[/green] {label} [dim]({task['duration'] or 0:.1f} s)[/dim]")
        elif state == "up_for_retry":
            progress.say(f"[yellow]↻[/yellow] {label} failed and will be tried again: {_why(platform, task)}")
        elif state == "failed":
            progress.say(f"[red]✗[/red] {label} failed")
            # A month's first failure is the cause; what it keeps later tasks from doing is not worth a second sentence.
            progress.failures.setdefault(
                f"{run} {where}", f"{label} failed: {_why(platform, task)}\n  Log: {_log(platform, task)}"
            )
    return platform.airflow.run_state(dag, run)


def _planned_months(platform: Platform, run: str) -> list[str]:
    """Return the months of an analysis run, in the order of its mapped tasks; empty while it has no plan."""
    plan = platform.airflow.xcom(ANALYSIS, run, "plan")
    return [month["month"] for month in plan or []]


def _step_events(emr: Any, progress: Progress, since: datetime) -> Iterator[str]:
    clusters = emr.list_clusters(CreatedAfter=since)["Clusters"]
    for cluster in clusters:
        state = cluster["Status"]["State"]
        if progress.changed(("cluster", cluster["Id"]), state):
            yield f"[cyan]EMR[/cyan] cluster {cluster['Id']} is {state}"
        for step in reversed(emr.list_steps(ClusterId=cluster["Id"])["Steps"]):
            state = step["Status"]["State"]
            if not progress.changed(("step", step["Id"]), state):
                continue
            if state == "RUNNING":
                yield f"[cyan]EMR[/cyan]   step {step['Name']} runs"
            elif state == "COMPLETED":
                timeline = step["Status"]["Timeline"]
                seconds = (timeline["EndDateTime"] - timeline["StartDateTime"]).total_seconds()
                yield f"[cyan]EMR[/cyan]   step {step['Name']} is complete [dim]({seconds:.1f} s)[/dim]"
            elif state != "PENDING":
                details = step["Status"].get("FailureDetails", {})
                yield f"[red]EMR[/red]   step {step['Name']} {state}: {details.get('Message', '')}"


def _log(platform: Platform, task: Mapping[str, Any]) -> Path:
    folder = platform.config.airflow_home / "logs" / f"dag_id={task['dag_id']}" / f"run_id={task['dag_run_id']}"
    folder /= f"task_id={task['task_id']}"
    if task["map_index"] >= 0:
        folder /= f"map_index={task['map_index']}"
    return folder / f"attempt={task['try_number']}.log"


def _why(platform: Platform, task: Mapping[str, Any]) -> str:
    """Return what the task's exception says, from its log (a JSON object a line)."""
    reason = "its process ended without a word"
    log = _log(platform, task)
    for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
        with contextlib.suppress(ValueError):
            for detail in (json.loads(line).get("error_detail") or [])[:1]:
                reason = str(detail["exc_value"])
    # The provider wraps what EMR says of a failed step into the text of a dictionary.
    if step := STEP_MESSAGE.search(reason):
        reason = str(ast.literal_eval(step[1]))
    return reason.strip().splitlines()[0]
