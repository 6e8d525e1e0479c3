"""A job run on EMR Serverless in a DAG: the tasks around it, and what it has used, counted and told to people."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.amazon.aws.operators.emr import (
    EmrServerlessDeleteApplicationOperator,
    EmrServerlessStartJobOperator,
    EmrServerlessStopApplicationOperator,
)

from taxiway.aws import serverless
from taxiway.aws.usage import job_run_usage
from taxiway.core.settings import Settings, settings
from taxiway.operations import metrics, notices

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

CREATE = "create_application"  # the task that returns the application's id
_APPLICATION = f"{{{{ ti.xcom_pull(task_ids='{CREATE}') }}}}"


def job_run_tasks(
    task_id: str,
    *,
    name: str,
    config: Any,
    shared: Settings,
    told: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
) -> tuple[serverless.CreateOrReuseApplication, EmrServerlessStartJobOperator]:
    """Return the task that provides an application and the one of the job run; the application's end follows them.

    It is stopped, or deleted if the run created it, whatever happened to the job run.

    Args:
        task_id: of the job run's task.
        name: of the job run; may hold Jinja.
        config: its request, computed when the task runs: a templated field.
        shared: sizes, limits, release and name of the application.
        told: what ``notices.of_tasks`` returned for the DAG.
        tags: of the application, beside those by which ``cost_guard`` finds it.
    """
    create = serverless.CreateOrReuseApplication(
        task_id=CREATE,
        job_type="SPARK",
        release_label=shared.serverless_release,
        config=serverless.application_config(
            shared,
            tags={
                **(tags or {}),
                "dag_id": "{{ dag.dag_id }}",
                "run_id": "{{ run_id }}",
                "owner": "{{ task.owner }}",
            },
        ),
        on_failure_callback=[serverless.discard_application, *notices.callbacks(told, "failure")],
        **serverless.waits(shared),
    )
    job = EmrServerlessStartJobOperator(
        task_id=task_id,
        application_id=_APPLICATION,
        name=name,
        config=config,
        on_retry_callback=[serverless.explain, *notices.callbacks(told, "retry")],
        on_failure_callback=[serverless.explain_and_cancel, *notices.callbacks(told, "failure")],
        **serverless.job_run_arguments(shared),
    )
    create >> job
    for end_id, end, prepare in (
        ("stop_application", EmrServerlessStopApplicationOperator, serverless.before_stop),
        ("delete_application", EmrServerlessDeleteApplicationOperator, serverless.before_delete),
    ):
        task = end(
            task_id=end_id,
            application_id=_APPLICATION,
            force_stop=True,
            pre_execute=prepare,
            on_success_callback=[partial(_count_usage, name=name), notices.succeeded],
            **serverless.waits(shared),
        )
        job >> task.as_teardown(setups=create, on_failure_fail_dagrun=True)
    return create, job


def _count_usage(context: "Context", name: str) -> None:
    """Count and tell what the run's job runs of a name have used: a callback of the task that ended the application."""
    with metrics.best_effort():
        ti: Any = context["ti"]
        client = ti.task.hook.conn
        application, rendered = ti.xcom_pull(task_ids=CREATE), ti.task.render_template(name, context)
        for found in list(serverless.runs_named(client, application, rendered)):
            until = datetime.now(UTC) if found["state"] == "SUCCESS" else None  # idle time, once
            used = job_run_usage(client, application, found["id"], settings().serverless_prices, until)
            metrics.job_run_used(ti.dag_id, used)
            log.info("%s", used)
            notices.tell(cast("Any", context), str(used))
