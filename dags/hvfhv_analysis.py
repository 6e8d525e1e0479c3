"""Analyses the collected months of HVFHV trips on EMR, publishes them when they pass their checks, reports on them."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from airflow.providers.amazon.aws.operators.emr import (
    EmrAddStepsOperator,
    EmrCreateJobFlowOperator,
    EmrTerminateJobFlowOperator,
)
from airflow.sdk import Asset, Context, Param, PokeReturnValue, TriggerRule, dag, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from taxiway import metrics
from taxiway.deadlines import done_within
from taxiway.emr import cluster_cost, failure_of_cluster, job_flow
from taxiway.lake import Lake, LakeError, Publication, open_lake
from taxiway.plan import Job, PlanError, Step, curate_steps, mart_steps, plan_run, rising_zones_steps
from taxiway.programs import ProgramsError, settings_for_steps
from taxiway.settings import settings
from taxiway.usage import cluster_usage

log = logging.getLogger(__name__)

CLUSTER = "{{ ti.xcom_pull(task_ids='create_cluster') }}"
MONTH = "{{ ti.xcom_pull(task_ids='plan')[ti.map_index]['month'] }}"


def _log_failure_of_cluster(context: Context) -> None:
    cluster = context["ti"].xcom_pull(task_ids="create_cluster")
    if failure := failure_of_cluster(_emr(), cluster):
        log.error(failure)


def _count_usage(context: Context) -> None:
    cluster = context["ti"].xcom_pull(task_ids="create_cluster")
    with metrics.harmless():
        metrics.cluster_used(context["dag"].dag_id, cluster_usage(_emr(), cluster))


def _emr() -> Any:
    return open_lake(settings()).session.client("emr")


STEPS: dict[str, Any] = {
    "job_flow_id": CLUSTER,
    "deferrable": True,
    "waiter_delay": settings().poll_s,
    "waiter_max_attempts": math.ceil(settings().emr_step_hours * 3600 / settings().poll_s),
    "execution_timeout": timedelta(hours=settings().emr_step_hours, minutes=10),
    "pool": "emr_steps",
    "on_failure_callback": _log_failure_of_cluster,
}


@dag(
    schedule=[Asset("hvfhv_raw", uri=f"{settings().lake}/raw/hvfhv")],
    catchup=False,
    max_active_runs=1,  # a month is never analysed twice at once; events that arrive meanwhile start one next run
    deadline=done_within(settings().months_wait_h + 24),
    tags=["tier:1", "domain:hvfhv"],
    params={
        "months": Param(
            [],
            type="array",
            items={"type": "string", "pattern": r"^20\d\d-(0[1-9]|1[0-2])$"},
            title="Months",
            description="Months to analyse whether or not anything changed, such as 2023-01.",
        )
    },
    default_args={
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

Makes the curated trips, the quarantine, the marts and the report of every month that `hvfhv_collection` has brought,
on one EMR cluster for all months of a run.

* **Which months:** those that the asset events or the parameter `months` name, and every other complete month whose
  published version was not made from the files in the ingestion log. Nothing to do: the run is skipped, without a
  cluster. `plan` waits until the months that are named are complete, and `TAXIWAY_JOIN_MINUTES` for other downloads
  under way, so that a backfill shares a cluster.
* **Tasks:** `curate`, then `marts` for each month; `rising_zones` once, also for up to three later months that have a
  month of the run in their baseline; `check`, `publish` for each month; `report` when all are published. The cluster
  ends after the last step, whatever happened: to repeat a check or a report needs none.
* **Spark programs** are those of the commit that the DAG's code came from (`{commit}` in `TAXIWAY_SPARK_JOBS`). CI
  publishes them on push; `plan` waits for them up to `TAXIWAY_JOBS_WAIT_MINUTES` and fails before there is a cluster.
* **Publication:** each try writes a new version; readers see it when all checks of the month have passed and its Glue
  partitions move. `python -m taxiway.lake roll-back YYYY-MM` takes a publication back.
* **If a month fails**, the others go on and are published; it keeps the version it had, and the run ends as failed. Its
  task's last line says why; for a Spark step it has EMR's message and the place of the log. Clear the failed task, or
  leave it: the next run takes the month again.
* **Needs** a pool `emr_steps` (with deferred tasks counted) as large as the number of steps that may run at once.
""",
)
def hvfhv_analysis() -> None:
    """Plan, run the Spark steps on a cluster, then check, publish and report month by month."""

    @task.sensor(mode="reschedule", poke_interval=settings().poll_s, timeout=15 * 24 * 3600)
    def plan() -> PokeReturnValue:
        """Wait for complete months, and return the run's jobs."""
        context = get_current_context()
        triggers = context["triggering_asset_events"].values()
        announced = {event.extra["month"] for events in triggers for event in events}
        with _final_errors():
            run = context["dag_run"]
            started = run.start_date or run.run_after
            jobs = plan_run(announced, context["params"]["months"], started, open_lake(settings()))
            if jobs:
                _lake_for_steps(context["ti"])  # what would fail the steps fails before there is a cluster
        if jobs == []:
            raise AirflowSkipException("Every complete month is published: there is nothing to analyse.")
        return PokeReturnValue(is_done=jobs is not None, xcom_value=jobs)

    @task_group(default_args={**STEPS, "map_index_template": MONTH})
    def analyse(job: Job) -> None:  # noqa: ARG001 - the tasks find it by their index
        curate = EmrAddStepsOperator(
            task_id="curate", steps=_when_run(lambda lake, ti: curate_steps(lake, _job(ti), ti.try_number))
        )
        marts = EmrAddStepsOperator(task_id="marts", steps=_when_run(lambda lake, ti: mart_steps(lake, _job(ti))))
        curate >> marts

    @task_group(default_args={"map_index_template": MONTH})
    def release(job: Job) -> None:
        publish(check(job))  # type: ignore[arg-type]

    @task
    def check(job: Job) -> list[Publication]:
        """Return what of the month and of the later months that it changes is fit to be published."""
        from taxiway.checks import check_month

        with _final_errors():
            return check_month(open_lake(settings()), job, _finished_jobs(get_current_context()["ti"]))

    @task
    def publish(publications: list[Publication]) -> list[str]:
        """Return the months that readers now see anew."""
        lake = open_lake(settings())
        for publication in publications:
            lake.publish(publication, get_current_context()["run_id"])
            lake.prune(publication["month"])
        with metrics.harmless():
            metrics.freshness(lake)
        return [publication["month"] for publication in publications]

    @task(
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        map_index_template=MONTH,
        executor=settings().isolated_executor,  # draws the charts, with more memory than all other tasks
    )
    def report(job: Job) -> None:
        """Write the reports of the months that were published."""
        ti = get_current_context()["ti"]
        months = ti.xcom_pull(task_ids="release.publish", map_indexes=ti.map_index)
        if not months:
            raise AirflowFailException(
                f"{job['month']} was not published, so it has no new report: the tasks before tell why."
            )
        from taxiway.catalogue import Input, complete_months, open_catalogue
        from taxiway.report import write_report

        lake = open_lake(settings())
        cost = cluster_cost(settings(), lake.session.client("emr"), ti.xcom_pull(task_ids="create_cluster"))
        inputs = complete_months(open_catalogue()) | {job["month"]: [Input(**file) for file in job["inputs"]]}
        for month in months:
            write_report(lake, month, inputs.get(month, []), cost)

    jobs = plan()
    create_cluster = EmrCreateJobFlowOperator(
        task_id="create_cluster",
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
        steps=_when_run(lambda lake, ti: rising_zones_steps(lake, _finished_jobs(ti), ti.try_number)),
        **STEPS,
    )
    terminate_cluster = EmrTerminateJobFlowOperator(
        task_id="terminate_cluster", job_flow_id=CLUSTER, on_success_callback=_count_usage
    )

    jobs >> create_cluster >> analyse.expand(job=jobs) >> rising_zones
    rising_zones >> terminate_cluster.as_teardown(setups=create_cluster, on_failure_fail_dagrun=True)
    rising_zones >> release.expand(job=jobs) >> report.expand(job=jobs)


def _when_run(build: Callable[[Lake, Any], list[Step]]) -> Any:
    """Return a templated field: Airflow calls it for its value when the task runs."""

    def render(context: Context, jinja_env: object) -> list[Step]:  # noqa: ARG001 - called by these names
        with _final_errors():
            return build(_lake_for_steps(context["ti"]), context["ti"])

    return render


def _lake_for_steps(ti: Any) -> Lake:
    """Return the lake with settings that name the published Spark programs of this very code."""
    lake = open_lake(settings())
    return replace(lake, settings=settings_for_steps(lake.settings, lake.session, ti))


def _job(ti: Any) -> Job:
    return ti.xcom_pull(task_ids="plan")[ti.map_index]


def _finished_jobs(ti: Any) -> list[Job]:
    """Return the jobs whose marts are made: the task that makes them has returned its steps."""
    jobs = ti.xcom_pull(task_ids="plan")
    steps = ti.xcom_pull(task_ids="analyse.marts", map_indexes=range(len(jobs)))
    return [job for job, made in zip(jobs, steps, strict=True) if made]


@contextmanager
def _final_errors() -> Iterator[None]:
    """Fail a task at once where another try would change nothing."""
    try:
        yield
    except (PlanError, ProgramsError, LakeError) as error:
        raise AirflowFailException(str(error)) from None


hvfhv_analysis()
