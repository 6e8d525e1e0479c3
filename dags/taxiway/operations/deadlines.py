"""Airflow's deadlines of DAG runs: what happens when a run is not finished in time. See docs/adr/0010-deadlines.md."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback  # type: ignore[attr-defined]  # not in its stub

from taxiway.core.settings import settings

log = logging.getLogger(__name__)


def done_within(hours: float) -> DeadlineAlert | None:
    """Return the deadline of a DAG whose runs must succeed within some hours after they were queued.

    None unless the setting ``deadlines`` is true.
    """
    if not settings().deadlines:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=hours),
        callback=SyncCallback("taxiway.operations.deadlines.missed", kwargs={"hours": hours}),
    )


def missed(*, context: Mapping[str, Any], hours: float) -> None:
    """Report a run that missed its deadline: in the log, by a metric, as an incident, in Slack. Called by an executor.

    Args:
        context: ``dag_run`` (as Airflow's REST API shows it) and ``deadline``.
        hours: length of the deadline, from when the run was queued.
    """
    from taxiway.operations import incidents, metrics, notices

    run = context["dag_run"]
    notice = (
        f"The run {run['dag_run_id']} of {run['dag_id']} is {run['state']} {hours:g} hours after it was queued: "
        "it missed its deadline."
    )
    log.warning(notice)
    metrics.deadline_missed(run["dag_id"])
    with incidents.harmless():
        due = (context.get("deadline") or {}).get("deadline_time")
        since = datetime.fromisoformat(str(due)) if due else None
        if opened := incidents.deadline_missed(run["dag_id"], run["dag_run_id"], notice, since):
            notice += f" This is incident {opened.id}, for {opened.owner}."
    notices.warn(notice, (run["dag_id"], run["dag_run_id"]))
