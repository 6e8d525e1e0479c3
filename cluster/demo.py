"""The main job on the cluster, followed: collects and analyses the months of a list, and tells what happens."""

import csv
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from cluster.airflow_api import ClusterAirflow, lines, reason
from cluster.config import ROOT, ClusterError
from cluster.kubectl import Kubectl
from cluster.shell import last_lines
from laptop.airflow_api import ACTIVE

COLLECTION, ANALYSIS = "hvfhv_collection", "hvfhv_analysis"
SAMPLE = ROOT / "laptop/sample/catalogue.csv"
CHECKOUT = "/opt/airflow/dags/repo"
PROCESSOR = "deployment/airflow-dag-processor"
PROCESSOR_CONTAINER = "dag-processor"
# Only workers and triggerers have the catalogue's connection, and only workers are let through to its database.
WORKER, WORKER_CONTAINER = "deployment/airflow-worker", "worker"
# The analysis begins within seconds of the last collection; much later means that it never will.
SILENCE_S = 180
DAG_S = 180
POLL_S = 2


@dataclass
class Progress:
    """What was said already, and what failed; one line an event, so that a log of it reads as well as a terminal."""

    console: Console
    began: float = field(default_factory=time.monotonic)
    seen: dict[tuple[str, ...], str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def say(self, text: str, mark: str = "") -> None:
        """Print a line with the time since the start."""
        self.console.print(f"[dim]{time.monotonic() - self.began:7.1f} s[/dim]  {mark}", end="", highlight=False)
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def changed(self, key: tuple[str, ...], state: str) -> bool:
        """Tell whether something has entered a state that was not seen yet."""
        new = self.seen.get(key) != state
        self.seen[key] = state
        return new


def catalogue_command(command: str, *, file: bool = False) -> list[str]:
    """Return a command of ``python -m taxiway.catalogue`` for a worker's container.

    Args:
        command: such as ``migrate``.
        file: its last argument is a file with what comes by standard input.
    """
    # A pipe opened by its name belongs to another user: what comes by it goes into a file first.
    run = f"PYTHONPATH={CHECKOUT}/dags python -m taxiway.catalogue {command}"
    script = f'list=$(mktemp) && cat >"$list" && {run} "$list"; status=$?; rm -f "$list"; exit $status' if file else run
    return ["sh", "-c", script]


def migrate_catalogue(kubectl: Kubectl) -> None:
    """Make or upgrade the tables of the dataset catalogue, from where they are used.

    Raises:
        ClusterError: it failed; the text has its last words.
    """
    result = kubectl.execute(WORKER, *catalogue_command("migrate"), container=WORKER_CONTAINER, seconds=300)
    if result.returncode:
        raise ClusterError(f"The tables of the dataset catalogue were not made: {last_lines(result.stderr)}")


def cluster_list(file: Path, root: Path = ROOT) -> tuple[str, list[str]]:
    """Return a list of data sets as the cluster sees it, and its months, earliest first.

    Files of the checkout are named by where git-sync puts them; https and http addresses stay.

    Raises:
        ClusterError: the list cannot be used, or names a file that is not in the checkout.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = [
                {key.strip(): (value or "").strip() for key, value in row.items() if key}
                for row in csv.DictReader(stream)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClusterError(f"{file} cannot be read as a list of data sets: {error}.") from None
    if not rows or not {"name", "month", "url"} <= rows[0].keys():
        raise ClusterError(
            f"{file} is no list of data sets: it needs the columns name, month, url and a line for each."
        )
    for row in rows:
        parts = urlsplit(row["url"])
        if parts.scheme in ("http", "https"):
            continue
        path = (file.resolve().parent / (parts.path if parts.scheme == "file" else row["url"])).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            raise ClusterError(
                f"{file}: {row['url']} is no file of the checkout, and the cluster's pods see no other: give an https "
                "address, or a file that is committed."
            )
        row["url"] = f"file://{CHECKOUT}/{path.relative_to(root).as_posix()}"
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue(), sorted({row["month"] for row in rows})


def load_catalogue(kubectl: Kubectl, text: str) -> str:
    """Take over a list of data sets whose months it has whole, and return what that changed."""
    result = kubectl.execute(
        WORKER,
        *catalogue_command("load --whole-months", file=True),
        container=WORKER_CONTAINER,
        seconds=120,
        text_in=text,
    )
    if result.returncode:
        raise ClusterError(f"The list of data sets was not taken over: {last_lines(result.stderr, 1)}")
    return result.stdout.strip()


def run_months(airflow: ClusterAirflow, months: list[str], console: Console) -> None:
    """Collect and analyse months that the catalogue has, telling what happens until the end.

    Raises:
        ClusterError: a task failed; the text says which, why, and has its log's last lines.
    """
    progress, since = Progress(console), datetime.now(UTC)
    for dag in (COLLECTION, ANALYSIS):
        _wait_for_dag(airflow, dag, progress)
        airflow.unpause(dag)
    runs = {f"demo__{month}__{since:%Y%m%dT%H%M%S}": month for month in months}
    for run, month in runs.items():
        airflow.trigger(COLLECTION, run, {"month": month, "again": True})
    progress.say(f"triggered {COLLECTION} for {', '.join(months)}; waits for its tasks and for {ANALYSIS}")
    _follow(airflow, progress, runs, since)
    if progress.failures:
        raise ClusterError("\n".join(progress.failures.values()))


def _wait_for_dag(airflow: ClusterAirflow, dag: str, progress: Progress) -> None:
    deadline, told = time.monotonic() + DAG_S, False
    while not airflow.has_dag(dag):
        if not told:
            progress.say(f"waits for the DAG {dag} to be listed")
            told = True
        if time.monotonic() > deadline:
            raise ClusterError(
                f"The DAG {dag} is not listed after {DAG_S} s: make status tells the commit that git-sync brought, and "
                f"kubectl logs {PROCESSOR} -c {PROCESSOR_CONTAINER} what became of its files."
            )
        time.sleep(POLL_S)


def _follow(airflow: ClusterAirflow, progress: Progress, runs: Mapping[str, str], since: datetime) -> None:
    """Report every event until all months are published or can no longer be."""
    quiet_since = time.monotonic()
    while True:
        collecting = [
            run for run, month in runs.items() if _report(airflow, progress, COLLECTION, run, [month]) in ACTIVE
        ]
        published: set[str] = set()
        analysing = []
        for run in airflow.runs(ANALYSIS, since):
            months = [job["month"] for job in airflow.xcom(ANALYSIS, run, "plan") or []]
            if _report(airflow, progress, ANALYSIS, run, months, published) in ACTIVE:
                analysing.append(run)
        if collecting or analysing:
            quiet_since = time.monotonic()
        elif progress.failures or published >= set(runs.values()):
            return
        elif time.monotonic() - quiet_since > SILENCE_S:
            missing = ", ".join(sorted(set(runs.values()) - published))
            raise ClusterError(
                f"Nothing has happened for {SILENCE_S} s and {missing} is not published: {ANALYSIS} did not start for "
                "it. make ui shows its runs; make status whether the scheduler is well."
            )
        time.sleep(POLL_S)


def _report(
    airflow: ClusterAirflow,
    progress: Progress,
    dag: str,
    run: str,
    months: list[str],
    published: set[str] | None = None,
) -> str:
    """Say what changed in the tasks of a run, note the months that it published, and return the run's state."""
    state = airflow.run_state(dag, run)  # before its tasks: those of a run that has ended have ended
    for task in airflow.task_instances(dag, run):
        now, index = task["state"], task["map_index"]
        name = task["task_id"].rpartition(".")[2]
        mapped = dag == ANALYSIS and 0 <= index < len(months)
        where = months[index] if mapped else ", ".join(months)
        if now == "success" and mapped and name == "publish" and published is not None:
            published.add(months[index])
        label = f"{where + ': ' if where else ''}{name}"
        if not now or not progress.changed((dag, run, task["task_id"], str(index)), now):
            continue
        if now == "running":
            progress.say(f"{label} runs", "[cyan]·[/cyan] ")
        elif now == "success":
            progress.say(f"{label} ({task['duration'] or 0:.1f} s)", "[green]✓[/green] ")
        elif now == "up_for_retry":
            why = reason(airflow.task_log(task))
            progress.say(
                f"{label} failed and will be tried again: {why or 'its log tells no reason'}", "[yellow]↻[/yellow] "
            )
        elif now == "failed":
            progress.say(f"{label} failed", "[red]✗[/red] ")
            # A month's first failure is the cause; what it keeps later tasks from doing needs no second sentence.
            progress.failures.setdefault(f"{run} {where}", failure(label, task, airflow.task_log(task)))
    if state == "failed" and not any(key.startswith(f"{run} ") for key in progress.failures):
        progress.failures[f"{run} "] = f"The run {run} of {dag} failed without a task that did: make ui shows it."
    return state


def failure(label: str, task: Mapping[str, Any], entries: list[dict[str, Any]]) -> str:
    """Return what is to be said of a failed task: why, and the last lines of its log."""
    why = reason(entries) or "its log tells no exception"
    return "\n".join(
        [
            f"{label} failed (DAG {task['dag_id']}, run {task['dag_run_id']}, try {task['try_number']}): {why}",
            *(f"    {line}" for line in lines(entries, 12)),
        ]
    )
