"""Follows the runs of a demo: prints every event of their tasks and EMR steps, and returns when they are over."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from console.airflow import ACTIVE, Airflow, LogEntry, TaskInstance, failure_reason, last_lines
from console.errors import UserError
from console.output import Reporter
from console.patience import PATIENCE_S
from console.platform import Platform

# A DAG that an asset starts begins within seconds of a platform that is well, and within a minute or two of one that is
# well but slow; much later means that it never will. Shorter than the patience with one that is not well.
IDLE_TIMEOUT_S = PATIENCE_S // 2
LOG_LINES = 12
NO_REASON = "its log has no exception: its process was ended"

# Airflow and a run's id → what the run's mapped tasks are about, by their index; empty while that is not known.
Labels = Callable[[Airflow, str], Sequence[str]]


@dataclass(frozen=True)
class Run:
    """A run to start.

    Attributes:
        label: what its tasks are about, such as a month.
        waits: it waits for what the other runs bring, and is given up when one of them has failed.
    """

    dag: str
    run_id: str
    conf: Mapping[str, Any]
    label: str
    waits: bool = False


class Goal(NamedTuple):
    """A task that must succeed, for one label."""

    dag: str
    task: str
    label: str


@dataclass(frozen=True)
class Plan:
    """What a demo runs.

    Attributes:
        runs: to start.
        followers: DAG that starts by asset events → labels of its mapped tasks.
        goals: what has succeeded when the demo has; without a failed task, the end is waited for.
        reports: names of the files that it writes below the demo's reports, or what returns them when it is over.
    """

    runs: Sequence[Run]
    followers: Mapping[str, Labels]
    goals: frozenset[Goal]
    reports: Sequence[str] | Callable[[Airflow], Sequence[str]] = ()


class Follower:
    """Prints what changes in the runs of a plan, an event a line, until its goals are reached or cannot be.

    Args:
        platform: where the runs are.
        plan: its runs have been started.
        report: prints.
        since: when the command began; runs and clusters from before are not its own.
        ignored: ids of runs that an earlier command left.
    """

    def __init__(
        self, platform: Platform, plan: Plan, report: Reporter, since: datetime, ignored: Collection[str] = ()
    ) -> None:
        self._platform, self._plan, self._report = platform, plan, report
        self._since, self._ignored = since, ignored
        self._seen: set[tuple[str, ...]] = set()
        self._failures: dict[tuple[str, str], str] = {}
        self._reached: set[Goal] = set()

    def follow(self) -> None:
        """Return when all goals are reached and nothing runs any more.

        Raises:
            UserError: a task failed, with the reason and its log; or nothing happens any more, or the platform ended.
        """
        # Of looks at a platform that is well; it may take longer to begin again after its scheduler or database ended.
        idle_s = quiet_s = 0.0
        while True:
            self._platform.require_alive()
            active = [run for run, state in self._run_states() if state in ACTIVE]
            for event, mark in self._emr_events():
                self._report(event, mark)
            if self._failures and all(run and run.waits for run in active):
                self._give_up(active)
            if active:
                idle_s = quiet_s = 0.0
            elif self._plan.goals <= self._reached:
                return
            elif idle_s > IDLE_TIMEOUT_S or quiet_s > PATIENCE_S:
                raise UserError(self._idle_sentence(IDLE_TIMEOUT_S if idle_s > IDLE_TIMEOUT_S else PATIENCE_S))
            elif not self._platform.airflow.healthy():
                idle_s = 0.0
            time.sleep(self._platform.poll_s)
            idle_s, quiet_s = idle_s + self._platform.poll_s, quiet_s + self._platform.poll_s

    def _give_up(self, waiting: Sequence[Run | None]) -> NoReturn:
        """Mark runs as failed that would wait in vain, and tell what failed."""
        for run in waiting:
            if run:
                self._platform.airflow.fail_run(run.dag, run.run_id)
        raise UserError("\n".join(self._failures.values()))

    def _run_states(self) -> Iterator[tuple[Run | None, str]]:
        """Yield the state of each run, with the run if it is one of the plan's."""
        airflow = self._platform.airflow
        for run in self._plan.runs:
            yield run, self._report_run(run.dag, run.run_id, run.label, ())
        for dag, labels in self._plan.followers.items():
            for run_id in airflow.runs_since(dag, self._since):
                if run_id not in self._ignored:
                    mapped = labels(airflow, run_id)
                    yield None, self._report_run(dag, run_id, ", ".join(mapped), mapped)

    def _report_run(self, dag: str, run_id: str, label: str, mapped: Sequence[str]) -> str:
        """Print what changed in the tasks of a run, and return the run's state."""
        state = self._platform.airflow.run_state(dag, run_id)  # before its tasks: those of an ended run have ended
        for task in self._platform.airflow.task_instances(dag, run_id):
            index = task["map_index"]
            self._report_task(task, mapped[index] if 0 <= index < len(mapped) else label)
        if state == "failed" and not any(run == run_id for run, _ in self._failures):
            self._failures[run_id, ""] = (
                f"The run {run_id} of {dag} failed without a failed task: {self._platform.scheduling_hint}"
            )
        return state

    def _report_task(self, task: TaskInstance, label: str) -> None:
        state = task["state"]
        if state == "success":
            self._reached.add(Goal(task["dag_id"], task["task_id"], label))
        # Once a state and try: a task that was deferred runs again, which is no news.
        attempt = (task["dag_id"], task["dag_run_id"], task["task_id"], str(task["map_index"]), str(task["try_number"]))
        if not state or not self._is_new(*attempt, state):
            return
        name, mapped = task["task_id"].rpartition(".")[2], task["rendered_map_index"]
        if about := label or (mapped if mapped != str(task["map_index"]) else None):
            name = f"{about}: {name}"
        if state == "running":
            self._report(f"{name} runs", "[cyan]·[/cyan] ")
        elif state == "success":
            self._report(f"{name} ({task['duration'] or 0:.1f} s)", "[green]✓[/green] ")
        elif state == "up_for_retry":
            why = failure_reason(self._platform.airflow.task_log(task)) or NO_REASON
            self._report(f"{name} failed and will be tried again: {why}", "[yellow]↻[/yellow] ")
        elif state == "failed":
            self._report(f"{name} failed", "[red]✗[/red] ")
            # A label's first failure is the cause; what it keeps later tasks from doing needs no second sentence.
            if (task["dag_run_id"], label) not in self._failures:
                entries, path = self._platform.airflow.task_log(task), self._platform.log_path(task)
                self._failures[task["dag_run_id"], label] = failure_sentence(name, task, entries, path)

    def _emr_events(self) -> Iterator[tuple[str, str]]:
        """Yield what changed in EMR's clusters and steps, each with its mark."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            emr = self._platform.client("emr")
            clusters = list(emr.get_paginator("list_clusters").paginate(CreatedAfter=self._since).search("Clusters[]"))
            for cluster in clusters:
                state = cluster["Status"]["State"]
                if self._is_new(cluster["Id"], state):
                    yield f"cluster {cluster['Id']} is {state}", "[cyan]EMR[/cyan] "
                steps = emr.get_paginator("list_steps").paginate(ClusterId=cluster["Id"]).search("Steps[]")
                for step in reversed(list(steps)):
                    yield from self._step_event(step)
        except (BotoCoreError, ClientError, UserError):
            return  # the endpoint is being replaced: the next look reports it, and failures show in the tasks

    def _step_event(self, step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        state, mark = step["Status"]["State"], "[cyan]EMR[/cyan]   "
        if not self._is_new(step["Id"], state) or state == "PENDING":
            return
        if state == "RUNNING":
            yield f"step {step['Name']} runs", mark
        elif state == "COMPLETED":
            timeline = step["Status"]["Timeline"]
            seconds = (timeline["EndDateTime"] - timeline["StartDateTime"]).total_seconds()
            yield f"step {step['Name']} is complete ({seconds:.1f} s)", mark
        else:
            details = step["Status"].get("FailureDetails", {})
            yield f"step {step['Name']} {state}: {details.get('Message', '')}", "[red]EMR[/red]   "

    def _is_new(self, *event: str) -> bool:
        """Return whether an event was not seen yet."""
        new = event not in self._seen
        self._seen.add(event)
        return new

    def _idle_sentence(self, seconds: float) -> str:
        missing = sorted(self._plan.goals - self._reached)
        dags = ", ".join(sorted({goal.dag for goal in missing}))
        labels = ", ".join(sorted({goal.label for goal in missing}))
        return (
            f"Nothing has happened for {seconds} s, and {dags} has not run for {labels}: "
            f"{self._platform.scheduling_hint}"
        )


def failure_sentence(name: str, task: TaskInstance, entries: list[LogEntry], path: Path | None) -> str:
    """Return the text on a failed task: why it failed, and where its log is or else its last lines."""
    where = f"DAG {task['dag_id']}, run {task['dag_run_id']}, try {task['try_number']}"
    log = [f"Log: {path}"] if path else last_lines(entries, LOG_LINES)
    return "\n    ".join([f"{name} failed ({where}): {failure_reason(entries) or NO_REASON}", *log])
