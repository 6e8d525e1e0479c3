"""What the job runs of a DAG run have used on EMR Serverless: counted as metrics, and told to people."""

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from taxiway.aws import serverless
from taxiway.aws.usage import job_run_usage
from taxiway.core.settings import settings
from taxiway.operations import metrics, notices

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


def count_usage(context: "Context", client: Any, create_task: str, name: str) -> None:
    """Count and tell what the job runs of a DAG run have used, once their application is ended.

    Args:
        context: of the task that ended it.
        client: a boto3 client for EMR Serverless.
        create_task: id of the task that returned the application's id.
        name: of the job runs; may hold Jinja.
    """
    with metrics.best_effort():
        ti: Any = context["ti"]
        application, rendered = ti.xcom_pull(task_ids=create_task), ti.task.render_template(name, context)
        for found in list(serverless.runs_named(client, application, rendered)):
            until = datetime.now(UTC) if found["state"] == "SUCCESS" else None  # idle time, once
            used = job_run_usage(client, application, found["id"], settings().serverless_prices, until)
            metrics.job_run_used(ti.dag_id, used)
            log.info("%s", used)
            notices.tell(cast("Any", context), str(used))
