"""Sends, every few minutes, the metrics that must be right when nothing runs: freshness, clusters, delivery."""

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

Sends to Airflow's StatsD exporter what no single event can show: how fresh each published table is, how many EMR
clusters of ours there are, and how far the DAGs here may be behind the remote repository. So those figures are right
when no run happens, and are back five minutes after the exporter was restarted. It also adds 0 to each counter of ours,
for a counter that appears with its first event shows Prometheus no increase.

* **Why a DAG:** it needs the lake's catalogue, AWS and git-sync's volume, which every worker has, and no further
  process. That it runs is itself a sign of life of scheduler, broker and worker.
* **Delivery lag:** seconds since the commit that this worker has was last seen to be the remote's. It cannot know of a
  push before git-sync does, so it is seconds when all is well, and grows while the remote is out of reach or the work
  tree does not follow. Where DAGs do not come by git-sync there is none.
* **If it fails**, the other figures are sent all the same; the task's last line says what was in the way. Those that
  are not sent keep their last value.
""",
)
def platform_metrics() -> None:
    """Send all figures from one task: a process every few minutes is enough."""

    @task
    def send() -> float | None:
        """Send the metrics; return when the code here was last known to be the remote's."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

        from taxiway.core import contracts, pipelines
        from taxiway.lake import Lake, TableSet
        from taxiway.operations import metrics
        from taxiway.operations.cost_guard import emr_clusters
        from taxiway.operations.delivery import look

        before = get_current_context()["ti"].xcom_pull(task_ids="send", include_prior_dates=True)
        session = AwsGenericHook(aws_conn_id=settings().aws_conn_id).get_session()
        lakes = [Lake(settings(), session, TableSet(pipeline)) for pipeline in contracts.pipelines()]
        declared = [module.METRICS for module in pipelines.modules("metrics").values()]
        agreed: list[float] = []

        def delivery() -> None:
            if found := look(before):
                metrics.delivery(found)
                agreed.append(found.agreed)

        def clusters() -> None:
            metrics.clusters(Counter(cluster.state for cluster in emr_clusters(session, settings())))

        faults = []
        groups: list[Callable[[], None]] = [partial(metrics.begin_counters, declared), delivery, clusters]
        groups += [partial(metrics.freshness, lake) for lake in lakes]
        for group in groups:
            try:
                group()
            except (BotoCoreError, ClientError, OSError) as error:
                faults.append(str(error))
        if faults:
            raise RuntimeError(" ".join(faults))
        return agreed[0] if agreed else before

    send()


platform_metrics()
