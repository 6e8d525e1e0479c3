"""Finds orphaned AWS resources every hour, and terminates them after a grace period where that is enabled."""

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from taxiway.core.settings import settings

log = logging.getLogger(__name__)


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=not settings().platform_dags,
    tags=["tier:2", "domain:platform"],
    default_args={
        "owner": "platform",
        "execution_timeout": timedelta(minutes=15),
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=5),
    },
    doc_md="""
### Cost guard

Finds this deployment's EMR clusters (with `TAXIWAY_COST_GUARD_SERVERLESS` also EMR Serverless applications and job
runs) that no queued or running DAG run needs, or that are older than `TAXIWAY_COST_GUARD_HOURS`. It is the last line of
defence: a run terminates its own cluster, and EMR terminates a cluster that is idle.

* **Scope:** only resources with the tags `TAXIWAY_COST_TAGS`, `dag_id` and `run_id`; all others are never touched.
  Deployments that share an AWS account need different cost tags.
* **It only reports** until `TAXIWAY_COST_GUARD_ENDS` is true: in the log, by the metric `taxiway_cost_guard_found`, and
  in Slack (`TAXIWAY_SLACK_CONN_ID`). When it is true, a resource that is found again
  `TAXIWAY_COST_GUARD_GRACE_MINUTES` after the first report is terminated; the resource's tag `taxiway:orphan-since` has
  the time of the first report. A cluster with termination protection is only reported.
* **If it fails**, the task's last line says which AWS calls failed; all other resources were still checked.
""",
)
def cost_guard() -> None:
    """Check all resources once."""

    @task
    def look() -> list[str]:
        """Return one sentence for each resource that no run needs."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

        from taxiway.aws.usage import cluster_usage
        from taxiway.operations import metrics, notices
        from taxiway.operations.cost_guard import guard

        context = get_current_context()

        def is_active(dag_id: str, run_id: str) -> bool:
            # The count is 0 for a run that Airflow does not know; an API that does not respond raises an error.
            return context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id], states=["queued", "running"]) > 0

        session = AwsGenericHook(aws_conn_id=settings().aws_conn_id).get_session()
        findings, faults = guard(session, settings(), is_active)
        sentences = [finding.sentence for finding in findings]
        for sentence in sentences:
            log.warning(sentence)
        metrics.orphaned_resources(
            Counter(finding.resource.kind for finding in findings),
            Counter(finding.resource.kind for finding in findings if finding.ended),
        )
        for finding in findings:
            if finding.ended and finding.resource.kind == "emr_cluster":  # no teardown task will count its usage
                with metrics.best_effort():
                    used = cluster_usage(session.client("emr"), finding.resource.id)
                    metrics.cluster_used(finding.resource.tags["dag_id"], used)
        if sentences:
            notices.warn("\n".join(sentences))
        if faults:
            raise AirflowFailException(" ".join(faults))
        return sentences

    look()


cost_guard()
