"""Loads the raw tables of the warehouse: files as a whole, a service's database by what has changed."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import (
    Asset,
    CronDataIntervalTimetable,
    Param,
    PokeReturnValue,
    TriggerRule,
    dag,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException

from taxiway.core.settings import settings
from taxiway.operations import notices
from taxiway.operations.deadlines import done_within
from taxiway.warehouse import run
from taxiway.warehouse.loads import Loaded
from taxiway.warehouse.run import Job
from taxiway.warehouse.settings import warehouse_settings

warehouse_raw = Asset("warehouse_raw", uri=f"{settings().lake}/raw/warehouse")


@dag(
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC") if warehouse_settings().scheduled else None,
    start_date=run.first_day(),
    catchup=warehouse_settings().catchup,
    max_active_runs=1,
    deadline=done_within(6),
    tags=["tier:1", "domain:warehouse"],
    **notices.of_run(),
    params={
        "tables": Param(
            [], type="array", items={"type": "string"}, title="Tables", description="Those to load; by default all."
        ),
        "names": Param(
            None,
            type=["null", "string"],
            pattern=r"^(https?://|file:///|s3://)\S+$",
            title="Names",
            description="CSV of first names for this run, instead of TAXIWAY_WAREHOUSE_NAMES.",
        ),
        "rebuild": Param(
            False, type="boolean", title="Rebuild", description="Read everything, as if nothing were published."
        ),
        "force": Param(
            False, type="boolean", title="Force", description="Take a source that has shrunk, or has not changed."
        ),
    },
    default_args={
        **notices.of_tasks("docs/runbooks/DagSuccessBurnsFast.md"),
        "owner": "data-platform",
        "execution_timeout": timedelta(hours=2),
        "retries": 3,
        "retry_delay": timedelta(seconds=settings().poll_s),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md="""
### Warehouse: loads

Loads each raw table of `contracts/warehouse/`, by the property `load` of its contract, and publishes it as a whole.

* **Full refresh** (the default): a CSV (`TAXIWAY_WAREHOUSE_NAMES`, `…_ZONES`, `…_BASES`; https, http, file or s3)
  becomes the table's next version. A source that has not changed is not written again. One with fewer rows than
  `TAXIWAY_WAREHOUSE_SHRINK_BELOW` of those published is refused, unless the parameter `force` is set.
* **Incremental**: rows of the connection `ride_service` that changed since the mark (the highest `modified_at` that is
  published, a parameter of the Glue table) and `TAXIWAY_WAREHOUSE_OVERLAP_MINUTES` before it are merged into the months
  in which they were created. One in `TAXIWAY_WAREHOUSE_SAMPLE_SLICES` keys, and every
  `TAXIWAY_WAREHOUSE_COMPARE_KEYS_DAYS` days all keys, are compared with the source: a month that differs is read again.
* **Intervals:** a run of a past interval merges what changed in it; any order, any number of times. The parameter
  `rebuild` reads everything.
* **Rejected rows** are in `raw_rejected` with the first reason: rows of the source = accepted + rejected.
* **A table that fails** stops no other one; its published version stays. **One run at a time**: others wait in `plan`.
* **If a task fails**, its last line has the reason in one sentence. Remove the cause and clear it and those after it.
""",
)
def warehouse_loads() -> None:
    """Plan; load, check and publish each table; tell the summaries."""

    @task.sensor(task_id=run.PLAN, mode="reschedule", poke_interval=settings().poll_s, timeout=24 * 3600)
    def plan() -> PokeReturnValue:
        """Wait until no other run loads the tables, and return a job for each table."""
        with run.fail_without_retry():
            jobs = run.plan(get_current_context())
        return PokeReturnValue(is_done=jobs is not None, xcom_value=jobs)

    @task_group(group_id="table")
    def table(job: Job) -> None:
        """Load, check and publish a table."""

        @task(map_index_template="{{ name }}", executor=settings().isolated_executor)
        def load(job: Job) -> Loaded:
            """Write the new versions of the table."""
            context = get_current_context()
            context["name"] = job["table"]  # type: ignore[typeddict-unknown-key]
            with run.fail_without_retry():
                return run.load(job, context["ti"])

        @task(map_index_template="{{ name }}")
        def check(loaded: Loaded) -> Loaded:
            """Fail unless the new versions are what the contract says."""
            context = get_current_context()
            context["name"] = loaded["table"]  # type: ignore[typeddict-unknown-key]
            with run.fail_without_retry():
                return run.check(loaded, context)

        @task(map_index_template="{{ name }}")
        def publish(loaded: Loaded) -> bool:
            """Return whether readers see anything new."""
            context = get_current_context()
            context["name"] = loaded["table"]  # type: ignore[typeddict-unknown-key]
            return run.publish(loaded, context["ti"])

        publish(check(load(job)))  # type: ignore[arg-type]

    @task(outlets=[warehouse_raw], trigger_rule=TriggerRule.ALL_DONE)
    def emit(ti: Any = None) -> None:
        """Tell the summaries that a table has changed."""
        if not any(ti.xcom_pull(task_ids=["table.publish"])):
            raise AirflowSkipException("No table has changed.")

    tables = table.expand(job=plan())
    # Last, so that a table that failed fails the run, though the others are published.
    tables >> emit()
    tables >> EmptyOperator(task_id="complete")


warehouse_loads()
