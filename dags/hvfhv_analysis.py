"""Analyses collected months of HVFHV trips on EMR, publishes those that pass their checks, and writes their reports."""

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

from airflow.providers.amazon.aws.operators.emr import (
    EmrAddStepsOperator,
    EmrCreateJobFlowOperator,
    EmrTerminateJobFlowOperator,
)
from airflow.sdk import Asset, Metadata, Param, PokeReturnValue, TriggerRule, dag, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from taxiway.aws.emr import job_flow
from taxiway.core.month import PATTERN
from taxiway.core.settings import settings
from taxiway.hvfhv import run
from taxiway.hvfhv.plan import Job, month_steps, plan_run, rising_zones_steps
from taxiway.hvfhv.settings import hvfhv_settings
from taxiway.lake import Publication
from taxiway.operations import notices
from taxiway.operations.deadlines import done_within
from taxiway.operations.retries import StepRetries

hvfhv_eta_training = Asset("hvfhv_eta_training", uri=f"{settings().lake}/marts/hvfhv/eta_training")
STEPS: dict[str, Any] = {
    "job_flow_id": run.CLUSTER,
    "deferrable": True,
    "waiter_delay": settings().poll_s,
    "waiter_max_attempts": math.ceil(settings().emr_step_hours * 3600 / settings().poll_s),
    "execution_timeout": timedelta(hours=settings().emr_step_hours, minutes=10),
    "pool": "emr_steps",
    "retry_policy": StepRetries(),
}


@dag(
    schedule=[Asset("hvfhv_raw", uri=f"{settings().lake}/raw/hvfhv")],
    catchup=False,
    max_active_runs=1,  # a month is never analysed twice at once; events that arrive meanwhile trigger one later run
    deadline=done_within(hvfhv_settings().months_wait_h + 24),
    tags=["tier:1", "domain:hvfhv"],
    **notices.of_run(),
    params={
        "months": Param(
            [],
            type="array",
            items={"type": "string", "pattern": PATTERN},
            title="Months",
            description="Months to analyse even if their files have not changed, such as 2023-01.",
        )
    },
    default_args={
        **notices.of_tasks("docs/runbooks/DagSuccessBurnsFast.md"),
        "owner": "data-platform",
        "aws_conn_id": settings().aws_conn_id,
        "execution_timeout": timedelta(minutes=30),
        "retries": 2,
        "retry_delay": timedelta(seconds=settings().poll_s),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md="""
### HVFHV analysis

Builds the curated trips, the quarantine, the marts and the report of every month that `hvfhv_collection` has collected,
on one EMR cluster for all months of a run.

* **Which months:** those in the asset events or in the parameter `months`, and every other complete month whose
  published version was not built from the files in the ingestion log. If there are none, the run is skipped and no
  cluster is created. `plan` waits until the requested months are complete, and up to `TAXIWAY_HVFHV_JOIN_MINUTES` for
  other downloads in progress, so that a backfill shares a cluster.
* **Tasks:** `build_month` for each month; `rising_zones` once, also for up to three later months that have a
  month of the run in their baseline; `check`, `publish` for each month; `report` when all are published. The cluster
  is terminated after the last step, even after a failure: repeating a check or a report needs no cluster.
* **Spark programs** are those of the commit of the DAG's code (`{commit}` in `TAXIWAY_SPARK_JOBS`). CI publishes them
  on push; `plan` waits for them for up to `TAXIWAY_JOBS_WAIT_MINUTES`, and fails before a cluster is created.
* **Publication:** each try writes a new version; readers see it when all checks of the month have passed and its Glue
  partitions point to it. `python -m taxiway.lake roll-back YYYY-MM` reverts to the previous version.
* **Asset:** when months are published, `announce` emits `hvfhv_eta_training` with them, once a run.
* **If a month fails**, the others continue and are published; the failed month keeps its published version, and the run
  ends as failed. The task's last line gives the reason; for a Spark step, EMR's message and the location of the log.
  Clear the failed task, or do nothing: the next run analyses the month again. Steps are not tried again on a cluster
  that has ended, nor when somebody cancelled them.
* **Requires** a pool `emr_steps` (deferred tasks included) as large as the number of steps that may run concurrently.
""",
)
def hvfhv_analysis() -> None:
    """Plan, run the Spark steps on a cluster, then check, publish and report month by month."""

    @task.sensor(task_id=run.PLAN, mode="reschedule", poke_interval=settings().poll_s, timeout=15 * 24 * 3600)
    def plan() -> PokeReturnValue:
        """Wait for complete months, and return the run's jobs."""
        context = get_current_context()
        triggers = context["triggering_asset_events"].values()
        announced = {event.extra["month"] for events in triggers for event in events}
        with run.fail_without_retry():
            dag_run = context["dag_run"]
            started = dag_run.start_date or dag_run.run_after
            jobs = plan_run(announced, context["params"]["months"], started, run.lake(), hvfhv_settings())
            if jobs:
                run.lake_for_steps(context["ti"])  # missing programs must fail the run before a cluster is created
        if jobs == []:
            raise AirflowSkipException("Every complete month is published: there is nothing to analyse.")
        return PokeReturnValue(is_done=jobs is not None, xcom_value=jobs)

    @task_group(default_args={**STEPS, "map_index_template": run.MONTH})
    def analyse(job: Job) -> None:  # noqa: ARG001 - the task looks it up by its index
        EmrAddStepsOperator(
            task_id="build_month",
            steps=run.steps_when_run(lambda lake, ti: month_steps(lake, run.job_of(ti), ti.try_number)),
        )

    @task_group(default_args={"map_index_template": run.MONTH})
    def release(job: Job) -> None:
        publish(check(job))  # type: ignore[arg-type]

    @task
    def check(job: Job) -> list[Publication]:
        """Return what can be published: the month, and the later months that it changes."""
        from taxiway.hvfhv.checks import check_month

        with run.fail_without_retry():
            context = get_current_context()
            return check_month(run.lake(), job, run.finished_jobs(context["ti"]), cast("Any", context))

    @task
    def publish(publications: list[Publication]) -> list[str]:
        """Return the months whose published version changed."""
        return run.publish(publications, get_current_context()["run_id"])

    @task(
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        map_index_template=run.MONTH,
        executor=settings().isolated_executor,  # it renders charts, which needs more memory than any other task
    )
    def report(job: Job) -> None:
        """Write the reports of the months that were published."""
        run.report(job, get_current_context()["ti"])

    @task(outlets=[hvfhv_eta_training], trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
    def announce() -> Iterator[Metadata]:
        """Announce the published months, once a run, to the DAGs that learn from them."""
        yield Metadata(hvfhv_eta_training, {"months": run.published_months(get_current_context()["ti"])})

    jobs = plan()
    create_cluster = EmrCreateJobFlowOperator(
        task_id=run.CREATE_CLUSTER,
        emr_conn_id=None,
        job_flow_overrides=job_flow(
            settings(),
            name="{{ dag.dag_id }} {{ run_id }}",
            tags={"dag_id": "{{ dag.dag_id }}", "run_id": "{{ run_id }}", "owner": "{{ task.owner }}"},
        ),
    )
    rising_zones = EmrAddStepsOperator(
        task_id="rising_zones",
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        steps=run.steps_when_run(lambda lake, ti: rising_zones_steps(lake, run.finished_jobs(ti), ti.try_number)),
        **STEPS,
    )
    terminate_cluster = EmrTerminateJobFlowOperator(
        task_id="terminate_cluster",
        job_flow_id=run.CLUSTER,
        on_success_callback=[run.count_usage, notices.succeeded],
    )

    jobs >> create_cluster >> analyse.expand(job=jobs) >> rising_zones
    rising_zones >> terminate_cluster.as_teardown(setups=create_cluster, on_failure_fail_dagrun=True)
    released = release.expand(job=jobs)
    rising_zones >> released >> report.expand(job=jobs)
    released >> announce()


hvfhv_analysis()
