"""The tasks of the DAG one after the other in this process; their results go through JSON, as Airflow's XComs."""

import json
from collections.abc import Callable
from typing import Any, cast

from airflow.sdk import Context

from taxiway.api_logs import run

# In the DAG's order; a test holds it against the DAG.
TASKS = (run.PLAN, run.CONVERT, run.TOUCHED, run.BUILD, run.SETTLE, "check", "publish", "compact", "summarise")
MAPPED = {run.CONVERT: run.PLAN, run.BUILD: run.TOUCHED}


class Killed(BaseException):
    """The task's process was killed."""


class Instance:
    """A task instance, as far as the tasks use it."""

    def __init__(self, results: dict[str, Any], attempt: int) -> None:
        self._results, self.try_number, self.run_id = results, attempt, "test"

    def xcom_pull(self, task_ids: str, map_indexes: range | None = None) -> Any:
        """Return what a task returned."""
        return json.loads(self._results[task_ids])


def take(*hours: str, kill: Callable[[str], Any] | None = None, **params: Any) -> dict[str, Any]:
    """Run the tasks; return what each returned.

    Args:
        hours: the parameter of the DAG.
        kill: what the first try of each task runs within; if it raises Killed, the task is tried again.
        params: other parameters.
    """
    results: dict[str, str] = {}
    for task in TASKS:
        context: dict[str, Any] = {
            "params": {"hours": list(hours), "key": None, "again": False, **params},
            "logical_date": None,
        }
        for attempt in (1, 2):
            ti = context["ti"] = Instance(results, attempt)
            try:
                if kill and attempt == 1:
                    with kill(task):
                        found = _call(task, ti, context, results)
                else:
                    found = _call(task, ti, context, results)
            except Killed:
                continue
            break
        results[task] = json.dumps(found)
        if task == run.PLAN and not found:
            break
    return {task: json.loads(text) for task, text in results.items()}


def _call(task: str, ti: Instance, context: dict[str, Any], results: dict[str, str]) -> Any:
    if task in MAPPED:
        function = {run.CONVERT: run.convert, run.BUILD: run.build}[task]
        return [function(batch, ti) for batch in json.loads(results[MAPPED[task]])]
    match task:
        case run.PLAN:
            return run.plan(cast(Context, context))
        case run.TOUCHED:
            return run.touched(ti)
        case run.SETTLE:
            return run.settle(ti)
        case "check":
            return run.check(ti)
        case "publish":
            return run.publish(ti)
        case "compact":
            return run.compact(ti)
        case _:
            return run.summarise(json.loads(results["publish"]), cast(Context, context))
