"""Sends, every few minutes, the metrics that must be up to date when nothing runs: freshness, clusters, delivery."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from airflow.sdk import dag, get_current_context, task
from botocore.exceptions import BotoCoreError, ClientError

from taxiway.core.settings import settings


@dag(
    schedule="*/5 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=10),
    is_paused_upon_creation=not settings().platform_dags,
    tags=["tier:2", "domain:platform"],
    default_args={
        "owner": "platform",
        "execution_timeout": timedelta(minutes=4),
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=1),
    },
    doc_md="""
### Platform metrics

Sends gauges that no single event can report to Airflow's StatsD exporter: how fresh each published table is, how
many EMR clusters this deployment has, and how far the local DAGs may be behind the remote repository. So the gauges are
up to date when nothing runs, and return within five minutes after the exporter restarts. It also adds 0 to each
counter, because Prometheus sees no increase in a counter that first appears with its first event. With
`TAXIWAY_FRESHNESS_INCIDENTS` it opens an incident for data older than its contract says.

* **Why a DAG:** it needs the Glue catalogue, AWS and git-sync's volume, which every worker has, and no separate
  process. Its runs are also a heartbeat of scheduler, broker and worker.
* **Delivery lag:** seconds since this worker's commit was last seen to be the remote's. A push is unknown here until
  git-sync fetches it, so the lag is a few seconds in normal operation, and grows while the remote is unreachable or the
  work tree is not updated. It is not sent where DAGs are not delivered by git-sync.
* **If it fails**, the other metrics are still sent; the task's last line says what failed. Metrics that are not sent
  keep their last value.
""",
)
def platform_metrics() -> None:
    """Send all metrics from one task: one process every few minutes is enough."""

    @task
    def send() -> float | None:
        """Send the metrics; return the Unix time at which the local code was last known to be the remote's."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

        from taxiway.core import contracts, pipelines
        from taxiway.lake import Lake, TableSet
        from taxiway.operations import incidents, metrics
        from taxiway.operations.cost_guard import emr_clusters
        from taxiway.operations.delivery import measure_delivery

        before = get_current_context()["ti"].xcom_pull(task_ids="send", include_prior_dates=True)
        session = AwsGenericHook(aws_conn_id=settings().aws_conn_id).get_session()
        lakes = [Lake(settings(), session, TableSet(pipeline)) for pipeline in contracts.pipelines()]
        declared = [module.METRICS for module in pipelines.modules("metrics").values()]
        in_sync_at: list[float] = []

        def delivery() -> None:
            if found := measure_delivery(before):
                metrics.delivery(found)
                in_sync_at.append(found.in_sync_at)

        def clusters() -> None:
            metrics.clusters(Counter(cluster.state for cluster in emr_clusters(session, settings())))

        faults = []
        groups: list[Callable[[], object]] = [partial(metrics.initialise_counters, declared), delivery, clusters]
        groups += [partial(metrics.freshness, lake) for lake in lakes]
        if settings().freshness_incidents:
            groups += [partial(incidents.freshness, lake, get_current_context()) for lake in lakes]
        groups.append(metrics.open_incidents)
        for group in groups:
            try:
                group()
            except (BotoCoreError, ClientError, OSError) as error:
                faults.append(str(error))
        if faults:
            raise RuntimeError(" ".join(faults))
        return in_sync_at[0] if in_sync_at else before

    send()


platform_metrics()
