"""A run of ``hvfhv_analysis``: data passed between its tasks, and the parts of its tasks that use Airflow's context."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from taxiway.aws.emr import Step
from taxiway.aws.programs import ProgramsError, settings_for_steps
from taxiway.aws.usage import cluster_usage
from taxiway.core.contracts import ContractError
from taxiway.core.dataset_list import CatalogueError
from taxiway.core.errors import unrecoverable
from taxiway.core.settings import settings
from taxiway.hvfhv.plan import Job, PlanError
from taxiway.hvfhv.tables import TABLES
from taxiway.lake import Lake, LakeError, Publication, open_lake
from taxiway.operations import lineage, metrics

# Tasks whose results other tasks read.
PLAN, CREATE_CLUSTER, BUILD_MONTH, PUBLISH = "plan", "create_cluster", "analyse.build_month", "release.publish"
CLUSTER = f"{{{{ ti.xcom_pull(task_ids='{CREATE_CLUSTER}') }}}}"
MONTH = f"{{{{ ti.xcom_pull(task_ids='{PLAN}')[ti.map_index]['month'] }}}}"


def lake() -> Lake:
    """Return the lake with the pipeline's tables."""
    return open_lake(settings(), TABLES)


def lake_for_steps(ti: Any) -> Lake:
    """Return the lake with settings that name the published Spark programs of this code's commit."""
    found = lake()
    return replace(found, settings=settings_for_steps(found.settings, found.session, ti))


def job_of(ti: Any) -> Job:
    """Return the job of a mapped task."""
    return cast("Job", ti.xcom_pull(task_ids=PLAN)[ti.map_index])


def finished_jobs(ti: Any) -> list[Job]:
    """Return the jobs whose tables are built: their task has returned the ids of its steps."""
    jobs = ti.xcom_pull(task_ids=PLAN)
    steps = ti.xcom_pull(task_ids=BUILD_MONTH, map_indexes=range(len(jobs)))
    return [job for job, made in zip(jobs, steps, strict=True) if made]


def steps_when_run(build: Callable[[Lake, Any], list[Step]]) -> Any:
    """Return a templated field whose value Airflow computes when the task runs."""

    def render(context: Context, jinja_env: object) -> list[Step]:  # noqa: ARG001 - Airflow passes these names
        with fail_without_retry():
            return build(lake_for_steps(context["ti"]), context["ti"])

    return render


def publish(publications: list[Publication], run_id: str) -> list[str]:
    """Publish checked versions, delete old ones, and return the months whose published version changed."""
    found = lake()
    for publication in publications:
        found.publish(publication, run_id)
        found.prune(publication["period"])
    with metrics.best_effort():
        metrics.freshness(found)
    return [publication["period"] for publication in publications]


def published_months(ti: Any) -> list[Any]:
    """Return the months whose published version the run has changed."""
    results = ti.xcom_pull(task_ids=PUBLISH, map_indexes=range(len(ti.xcom_pull(task_ids=PLAN))))
    return sorted({month for months in results for month in months or []})


def report(job: Job, ti: Any) -> None:
    """Write the reports of the months that a job published."""
    from taxiway.catalogue import Input, complete_months, open_catalogue
    from taxiway.hvfhv.report import write_report
    from taxiway.hvfhv.report.figures import READ

    months = ti.xcom_pull(task_ids=PUBLISH, map_indexes=ti.map_index)
    if not months:
        raise AirflowFailException(
            f"{job['month']} was not published, so it has no new report: see the logs of its check and publish tasks."
        )
    found = lake()
    used = cluster_usage(found.session.client("emr"), ti.xcom_pull(task_ids=CREATE_CLUSTER))
    inputs = complete_months(open_catalogue()) | {job["month"]: [Input(**file) for file in job["inputs"]]}
    lineage.report(
        inputs=[lineage.of_table("hvfhv", table.contract.name) for table in READ],
        outputs=[lineage.of_uri(f"{found.settings.lake}/reports/hvfhv")],
    )
    for month in months:
        write_report(found, month, inputs.get(month, []), used)


def count_usage(context: Context) -> None:
    """Count the usage of the run's cluster: a callback of the task that terminated it."""
    with metrics.best_effort():
        used = cluster_usage(lake().session.client("emr"), context["ti"].xcom_pull(task_ids=CREATE_CLUSTER))
        metrics.cluster_used(context["dag"].dag_id, used)


def fail_without_retry() -> AbstractContextManager[None]:
    """Fail the task without a retry for errors that a retry cannot fix."""
    return unrecoverable(PlanError, CatalogueError, ProgramsError, LakeError, ContractError)
