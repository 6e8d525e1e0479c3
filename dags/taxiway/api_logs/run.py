"""A run of ``api_logs_etl``: data passed between its tasks, and the parts of its tasks that use Airflow's context."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, cast

from airflow.sdk import Context

from taxiway.api_logs import athena, checks, hours
from taxiway.api_logs.athena import EVENTS_CANDIDATE, QUARANTINE_CANDIDATE, STAGED_CANDIDATE
from taxiway.api_logs.checks import Built, CheckError, Quarantined
from taxiway.api_logs.plan import (
    BUILD_ROWS,
    Batch,
    Converted,
    PlanError,
    TooEarlyError,
    arrivals_of,
    by_size,
    hours_to_build,
    list_objects,
    plan_run,
    sizes_of,
)
from taxiway.api_logs.settings import api_logs_settings
from taxiway.api_logs.tables import EVENTS, QUARANTINE, STAGED, TABLES, duplicate_hours
from taxiway.aws.athena import AthenaError
from taxiway.core.contracts import ContractError
from taxiway.core.errors import unrecoverable
from taxiway.core.settings import settings
from taxiway.lake import Lake, LakeError, Publication, open_lake

log = logging.getLogger(__name__)

# Tasks whose results other tasks read.
PLAN, CONVERT, TOUCHED, BUILD, SETTLE = "plan", "convert", "touched", "build", "quarantine"
HOURS = "{{ task.op_kwargs['batch']['hours'][0] }} … {{ task.op_kwargs['batch']['hours'][-1] }}"


def lake() -> Lake:
    """Return the lake with the pipeline's tables."""
    return open_lake(settings(), TABLES)


def fail_without_retry() -> AbstractContextManager[None]:
    """Fail the task without a retry for errors that a retry cannot fix."""
    return unrecoverable(
        PlanError, CheckError, AthenaError, LakeError, ContractError, unless=(TooEarlyError,)
    )


def plan(context: Context) -> list[Batch]:
    """Return the batches of arrival hours of a run."""
    params, config = context["params"], api_logs_settings()
    requested = set(params["hours"] and _expanded(params["hours"]))
    if key := params["key"]:
        waiting = athena.ask(hours_without_key=[key])["hours_without_key"].rows
        requested |= {str(row["arrival"]) for row in waiting}
        if not requested:
            raise PlanError(f"No record of the quarantine waits for the key {key!r}: there is nothing to replay.")
    date = context.get("logical_date")
    found = lake()
    return plan_run(
        requested,
        hours.of(date) if date else None,
        found,
        found.session.client("s3"),
        recheck=config.recheck_hours,
        again=bool(params["again"] or key),
        batches=by_size(config.batch_mb << 20, config.max_batches),
        first=config.first_hour,
    )


def _expanded(given: list[str]) -> list[str]:
    try:
        return hours.expand(given)
    except ValueError as error:
        raise PlanError(str(error)) from None


def convert(batch: Batch, ti: Any) -> list[Converted]:
    """Convert the arrival hours of a batch."""
    from taxiway.api_logs.convert import convert_objects

    found, config = lake(), api_logs_settings()
    s3 = found.session.client("s3")
    version = f"{batch['plan']}.{ti.try_number}"
    done = []
    for hour in batch["hours"]:
        listing, _ = list_objects(s3, found.settings.lake, hour)
        done.append(Converted(...))
    return done


def touched(ti: Any) -> list[Batch]:
    """Return batches of the hours of events that the run's arrivals touch."""
    found, converted, config = lake(), converted_of(ti), api_logs_settings()
    published = found.partitions(EVENTS)
    before = found.partitions(QUARANTINE)
    former = [
        hour
        for each in converted
        if each["hour"] in before
        for hour in staged_hours(found, each["hour"], before[each["hour"]].version)
    ]
    holding = [hour for hour, partition in published.items() if int(partition.parameters["rows"])]
    built = hours_to_build(converted, former, holding)
    divide = by_size(BUILD_ROWS, config.max_batches)
    return [Batch(plan=plan_of(ti), hours=chosen) for chosen in divide(sizes_of(built, converted, published))]


def converted_of(ti: Any) -> list[Converted]:
    """Return the arrival hours that the run has converted."""
    return _flat(ti, CONVERT)


def plan_of(ti: Any) -> str:
    """Return the time of the run's plan."""
    return str(ti.xcom_pull(task_ids=PLAN)[0]["plan"])


def _flat(ti: Any, task_id: str) -> list[Any]:
    """Return what the mapped tasks of an id have returned, those that failed left out, as one list."""
    return [each for found in ti.xcom_pull(task_ids=task_id) or [] for each in found or []]
