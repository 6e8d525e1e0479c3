"""Taxiway's own metrics, sent by tasks through Airflow's StatsD client.

Nothing is sent if Airflow's metrics are disabled. A metric that cannot be sent is a warning in the task's log and never
fails the task.

In the StatsD protocol a label is a part of the dotted name, in any mode of Airflow's client (``airflow.`` is its
prefix); ``helm/airflow/mappings/`` maps it back to a label. Characters other than letters, digits, ``_``, ``-`` and
``~`` are percent-encoded, as ``stat_name`` of ``helm/airflow/base.yaml`` encodes those of Airflow's own metrics, so
that both have the same labels (but for a dot, which separates labels here: ``%2E``). Without that function ``%`` is
``_``.

    airflow.taxiway.rows.<dataset>.<outcome>.<reason>:14977|c     taxiway_rows_total; outcome accepted (reason none) or
                                                                  quarantined (its reject reason)
    airflow.taxiway.bytes_collected.<dataset>:520417320|c         taxiway_bytes_collected_total
    airflow.taxiway.data_freshness.<table>:1675209600|g           taxiway_data_freshness_timestamp_seconds, Unix time
    airflow.taxiway.published.<table>:1795250000|g                taxiway_published_timestamp_seconds, Unix time
    airflow.taxiway.emr.cluster_seconds.<dag_id>:1834.2|c         taxiway_emr_cluster_seconds_total
    airflow.taxiway.emr.idle_seconds.<dag_id>:120.5|c             taxiway_emr_idle_seconds_total
    airflow.taxiway.emr.vcpu_hours.<dag_id>:8.15|c                taxiway_emr_vcpu_hours_total
    airflow.taxiway.emr.memory_gb_hours.<dag_id>:57.1|c           taxiway_emr_memory_gb_hours_total
    airflow.taxiway.emr.cost_usd.<dag_id>:0.51|c                  taxiway_emr_cost_usd_total
    airflow.taxiway.emr.clusters.<state>:1|g                      taxiway_emr_clusters; state in lower case, LIVE ones
    airflow.taxiway.serverless.<name>.<dag_id>:0.51|c             taxiway_serverless_<name>_total; one of SERVERLESS
    airflow.taxiway.spark_step.<dag_id>.<program>:95000.000000|ms taxiway_spark_step_seconds; program: build_month
    airflow.taxiway.delivery.lag:3|g                              taxiway_delivery_lag_seconds
    airflow.taxiway.delivery.commit:1795249000|g                  taxiway_delivery_commit_timestamp_seconds, Unix time
    airflow.taxiway.cost_guard.found.<kind>:1|g                   taxiway_cost_guard_found; kind one of KINDS
    airflow.taxiway.cost_guard.ended.<kind>:1|c                   taxiway_cost_guard_ended_total
    airflow.taxiway.deadline_missed.<dag_id>:1|c                  taxiway_deadline_missed_total
    airflow.taxiway.checks.<table>.<outcome>:1|c                  taxiway_checks_total; outcome passed or failed
    airflow.taxiway.incidents.open.<owner>:1|g                    taxiway_incidents_open
    airflow.taxiway.incidents.oldest.<owner>:3600|g               taxiway_incidents_oldest_seconds; 0 if none is open

A pipeline declares its label values (data sets, reject reasons, DAGs) as ``METRICS`` in ``taxiway.<pipeline>.metrics``;
it sends metrics of its own with :func:`count` and :func:`gauge`, and brings their mappings.

The DAG ``platform_metrics`` sends the gauges every few minutes, so that they are up to date when nothing runs and soon
after the exporter restarts, and adds 0 to every counter, because Prometheus sees no increase in a counter that first
appears with its first event. All series are few and known, so their mappings need no time to live.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from taxiway.core.errors import harmless

if TYPE_CHECKING:
    from taxiway.aws.usage import JobRunUsage, Usage
    from taxiway.lake import Lake, Table
    from taxiway.operations.delivery import Delivery

log = logging.getLogger(__name__)
best_effort = partial(harmless, log, "Metrics could not be sent.")

LIVE = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING")  # of EMR's states
SERVERLESS = (
    *("job_seconds", "vcpu_hours", "memory_gb_hours", "cost_usd"),
    *("idle_vcpu_hours", "idle_memory_gb_hours", "idle_cost_usd"),
)
KINDS = ("emr_cluster", "emr_serverless_application", "emr_serverless_job_run")


@dataclass(frozen=True)
class PipelineMetrics:
    """A pipeline's label values of the metrics that all pipelines share.

    Attributes:
        dags: its DAGs that have a deadline.
        dags_with_clusters: its DAGs that create EMR clusters.
        dags_with_job_runs: its DAGs that use EMR Serverless.
        datasets: its data sets whose bytes and rows are counted.
        reasons: their reject reasons; a function, because it reads contracts.
    """

    dags: Sequence[str]
    dags_with_clusters: Sequence[str] = ()
    dags_with_job_runs: Sequence[str] = ()
    datasets: Sequence[str] = ()
    reasons: Callable[[], Sequence[str]] = tuple


def rows_checked(dataset: str, accepted: int, quarantined: Mapping[str, int]) -> None:
    """Count the rows of a period that was checked, whether or not the checks passed.

    Args:
        dataset: such as ``hvfhv_trips``.
        accepted: rows that were curated.
        quarantined: rows by reason.
    """
    count("rows", dataset, "accepted", "none", value=accepted)
    for reason, rows in quarantined.items():
        count("rows", dataset, "quarantined", reason, value=rows)


def bytes_collected(dataset: str, size: int) -> None:
    """Count the bytes of a file that was downloaded."""
    count("bytes_collected", dataset, value=size)


def freshness(lake: "Lake") -> None:
    """Report for each table until when it is up to date (UTC), and when it was last published."""
    for table, until, published in ages(lake):
        gauge("published", table.name, value=published.timestamp())
        if until:
            gauge("data_freshness", table.name, value=until.timestamp())


def ages(lake: "Lake") -> "Iterator[tuple[Table, datetime | None, datetime]]":
    """Yield the published tables, with until when each is up to date, and when it was last published.

    It is up to date until the end of its newest period. One that is published alone, or has no partitions, is until
    the time at which its source was read: the parameter ``loaded_until``, or, without it, when a table without
    partitions was published; None if neither is known.
    """
    for table in lake.tables:
        published = lake.partitions(table)
        times = [found.parameters["published_at"] for found in published.values() if "published_at" in found.parameters]
        if not times:  # of dbt's tables the catalogue does not know it
            continue
        last = max(map(datetime.fromisoformat, times))
        if table.contract.partition_keys and not table.contract.properties.get("publishAlone"):
            yield table, end_of(max(published)), last
        elif until := lake.parameters(table).get("loaded_until"):
            yield table, datetime.fromisoformat(until), last
        else:
            yield table, last if "" in published else None, last


def end_of(period: str) -> datetime:
    """Return the first instant after a month ``2023-01``, a day ``2023-01-31`` or an hour ``2023-01-31-07``."""
    parts = [int(part) for part in period.split("-")]
    match parts:
        case [year, month]:
            return (datetime(year, month, 28, tzinfo=UTC) + timedelta(days=4)).replace(day=1)
        case [year, month, day]:
            return datetime(year, month, day, tzinfo=UTC) + timedelta(days=1)
        case [year, month, day, hour]:
            return datetime(year, month, day, hour, tzinfo=UTC) + timedelta(hours=1)
    raise ValueError(f"{period!r} is not a month, day or hour")


def end_if_time(period: str) -> datetime | None:
    """Return what :func:`end_of` returns; None of a partition that is no time."""
    try:
        return end_of(period)
    except ValueError:
        return None


def cluster_used(dag_id: str, usage: "Usage") -> None:
    """Count what a cluster used, once it has ended."""
    count("emr", "cluster_seconds", dag_id, value=usage.seconds)
    count("emr", "idle_seconds", dag_id, value=usage.idle_seconds)
    for name, value in (
        ("vcpu_hours", usage.vcpu_hours),
        ("memory_gb_hours", usage.memory_gb_hours),
        ("cost_usd", usage.usd),
    ):
        if value is None:
            log.warning("%s of the cluster are not counted: one of its instance types is unknown.", name)
        else:
            count("emr", name, dag_id, value=value)
    for program, seconds in usage.steps:
        _send("timing", seconds * 1000, "spark_step", dag_id, program)


def job_run_used(dag_id: str, usage: "JobRunUsage") -> None:
    """Count what a job run of EMR Serverless used, and what waited for it, once it has ended."""
    values = (usage.seconds, usage.billed.vcpu, usage.billed.memory_gb, usage.usd)
    waited = (usage.idle.vcpu, usage.idle.memory_gb, usage.idle_usd)
    for name, value in zip(SERVERLESS, (*values, *waited), strict=True):
        count("serverless", name, dag_id, value=value)


def clusters(states: Mapping[str, int]) -> None:
    """Report how many of this deployment's clusters are in each of the :data:`LIVE` states; 0 for states not given."""
    for state in LIVE:
        gauge("emr", "clusters", state.lower(), value=states.get(state, 0))


def delivery(found: "Delivery") -> None:
    """Report how far the local code may be behind the remote repository, and when its commit was made."""
    gauge("delivery", "lag", value=found.lag)
    if found.committed_at is not None:
        gauge("delivery", "commit", value=found.committed_at)


def orphaned_resources(found: Mapping[str, int], ended: Mapping[str, int]) -> None:
    """Report how many resources of each kind no run needs, and count those that were terminated."""
    for kind in KINDS:
        gauge("cost_guard", "found", kind, value=found.get(kind, 0))
        count("cost_guard", "ended", kind, value=ended.get(kind, 0))


def deadline_missed(dag_id: str) -> None:
    """Count a run that missed its deadline."""
    count("deadline_missed", dag_id, value=1)


def checked(table: str, *, passed: bool) -> None:
    """Count a check of a table's rows."""
    count("checks", table, "passed" if passed else "failed", value=1)


def open_incidents() -> None:
    """Report for each team how many incidents are open, and the age of the oldest; without a database nothing."""
    from taxiway.core import contracts
    from taxiway.operations import incidents

    with best_effort():
        if not (database := incidents.engine()):
            return
        found = incidents.listed(database, state="open")
        teams = {
            contracts.read(pipeline, name).raw["team"]["name"]
            for pipeline in contracts.pipelines()
            for name in contracts.names(pipeline)
        }
        for owner in sorted({incidents.PLATFORM, *teams, *(each.owner for each in found)}):
            detected = [each.detected_at for each in found if each.owner == owner]
            gauge("incidents", "open", owner, value=len(detected))
            age = (datetime.now(UTC) - min(detected)).total_seconds() if detected else 0
            gauge("incidents", "oldest", owner, value=age)


def initialise_counters(pipelines: Sequence[PipelineMetrics]) -> None:
    """Add 0 to each counter, so that its series exists before its first event."""
    for pipeline in pipelines:
        for dataset in pipeline.datasets:
            bytes_collected(dataset, 0)
            rows_checked(dataset, 0, dict.fromkeys(pipeline.reasons(), 0))
        for dag_id in pipeline.dags_with_clusters:
            for name in ("cluster_seconds", "idle_seconds", "vcpu_hours", "memory_gb_hours", "cost_usd"):
                count("emr", name, dag_id, value=0)
        for dag_id in pipeline.dags_with_job_runs:
            for name in SERVERLESS:
                count("serverless", name, dag_id, value=0)
        for dag_id in pipeline.dags:
            count("deadline_missed", dag_id, value=0)
    for kind in KINDS:
        count("cost_guard", "ended", kind, value=0)


def count(*name: str, value: float) -> None:
    """Add to the counter ``airflow.taxiway.<name>.<name>…``."""
    _send("incr", value, *name)


def gauge(*name: str, value: float) -> None:
    """Set the gauge ``airflow.taxiway.<name>.<name>…``."""
    _send("gauge", value, *name)


def _send(how: str, value: float, *name: str) -> None:
    with best_effort():
        from airflow.sdk.configuration import conf
        from airflow.sdk.observability import stats

        stat = ".".join(["taxiway", *(quote(part, safe="").replace(".", "%2E") for part in name)])
        if not conf.get("metrics", "stat_name_handler", fallback=None):
            stat = re.sub("[%~]", "_", stat)
        getattr(stats, how)(stat, value)
