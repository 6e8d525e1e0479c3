"""Metrics of our own, sent by Airflow's StatsD client beside Airflow's, from tasks.

Each function here sends what it names. Nothing is sent where Airflow's metrics are off, and a metric that cannot be
sent is a warning in the task's log, never its failure.

On the wire a label is a part of the dotted name, in any mode of Airflow's client (``airflow.`` is its prefix), and
holds letters, digits, ``_`` and ``-`` alone; ``helm/airflow/base.yaml`` turns it back into a label:

    airflow.taxiway.rows.<dataset>.<outcome>.<reason>:14977|c     taxiway_rows_total; outcome accepted (reason none) or
                                                                  quarantined (reason one of REASONS)
    airflow.taxiway.bytes_collected.<dataset>:520417320|c         taxiway_bytes_collected_total
    airflow.taxiway.data_freshness.<table>:1675209600|g           taxiway_data_freshness_timestamp_seconds, Unix time
    airflow.taxiway.published.<table>:1795250000|g                taxiway_published_timestamp_seconds, Unix time
    airflow.taxiway.emr.cluster_seconds.<dag_id>:1834.2|c         taxiway_emr_cluster_seconds_total
    airflow.taxiway.emr.idle_seconds.<dag_id>:120.5|c             taxiway_emr_idle_seconds_total
    airflow.taxiway.emr.vcpu_hours.<dag_id>:8.15|c                taxiway_emr_vcpu_hours_total
    airflow.taxiway.emr.memory_gb_hours.<dag_id>:57.1|c           taxiway_emr_memory_gb_hours_total
    airflow.taxiway.emr.cost_usd.<dag_id>:0.51|c                  taxiway_emr_cost_usd_total
    airflow.taxiway.emr.clusters.<state>:1|g                      taxiway_emr_clusters; state in lower case, LIVE ones
    airflow.taxiway.spark_step.<dag_id>.<program>:95000.000000|ms taxiway_spark_step_seconds; program such as curate
    airflow.taxiway.delivery.lag:3|g                              taxiway_delivery_lag_seconds
    airflow.taxiway.delivery.commit:1795249000|g                  taxiway_delivery_commit_timestamp_seconds, Unix time
    airflow.taxiway.cost_guard.found.<kind>:1|g                   taxiway_cost_guard_found; kind one of KINDS
    airflow.taxiway.cost_guard.ended.<kind>:1|c                   taxiway_cost_guard_ended_total
    airflow.taxiway.deadline_missed.<dag_id>:1|c                  taxiway_deadline_missed_total

The DAG ``platform_metrics`` sends the gauges every few minutes, so that they are right when no run happens and soon
after the exporter was restarted, and adds 0 to every counter: one that first appears with its first event shows
Prometheus no increase. All series are few and known, so their mappings need no time to live.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taxiway.delivery import Delivery
    from taxiway.lake import Lake
    from taxiway.usage import Usage

log = logging.getLogger(__name__)

HVFHV = "hvfhv_trips"  # the data set, whatever months its files are of
REASONS = (
    "missing_key",
    "unknown_company",
    "outside_month",
    "unknown_zone",
    "impossible_distance",
    "dropoff_not_after_pickup",
    "duplicate",
)
LIVE = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING")  # of EMR's states
KINDS = ("emr_cluster", "emr_serverless_application", "emr_serverless_job_run")
DAGS = ("hvfhv_analysis", "hvfhv_collection")
DAGS_WITH_CLUSTERS = ("hvfhv_analysis",)


def rows_checked(dataset: str, accepted: int, quarantined: Mapping[str, int]) -> None:
    """Count the rows of a month that was checked, whether or not it passed.

    Args:
        dataset: such as :data:`HVFHV`.
        accepted: rows that were curated.
        quarantined: rows by reason.
    """
    _count("rows", dataset, "accepted", "none", value=accepted)
    for reason, rows in quarantined.items():
        _count("rows", dataset, "quarantined", reason, value=rows)


def bytes_collected(dataset: str, size: int) -> None:
    """Count the bytes of a file that was downloaded."""
    _count("bytes_collected", dataset, value=size)


def freshness(lake: "Lake") -> None:
    """Tell of each table when the newest month that is published ends (UTC), and when it was published."""
    from taxiway.lake import TABLES
    from taxiway.plan import shift

    for table in TABLES:
        if months := lake.partitions(table):
            newest = months[max(months)]
            end = datetime.strptime(shift(newest.month, 1), "%Y-%m").replace(tzinfo=UTC)
            _gauge("data_freshness", table.name, value=end.timestamp())
            last = max(datetime.fromisoformat(month.parameters["published_at"]) for month in months.values())
            _gauge("published", table.name, value=last.timestamp())


def cluster_used(dag_id: str, usage: "Usage") -> None:
    """Count what a cluster used, once it has ended."""
    _count("emr", "cluster_seconds", dag_id, value=usage.seconds)
    _count("emr", "idle_seconds", dag_id, value=usage.idle_seconds)
    for name, value in (
        ("vcpu_hours", usage.vcpu_hours),
        ("memory_gb_hours", usage.memory_gb_hours),
        ("cost_usd", usage.usd),
    ):
        if value is None:
            log.warning("%s of the cluster are not counted: an instance type of it is not known to us.", name)
        else:
            _count("emr", name, dag_id, value=value)
    for program, seconds in usage.steps:
        _send("timing", seconds * 1000, "spark_step", dag_id, program)


def clusters(states: Mapping[str, int]) -> None:
    """Tell how many clusters of ours are in each of the :data:`LIVE` states; a state that is not named has none."""
    for state in LIVE:
        _gauge("emr", "clusters", state.lower(), value=states.get(state, 0))


def delivery(found: "Delivery") -> None:
    """Tell how far the code here may be behind the remote repository, and when its commit was made."""
    _gauge("delivery", "lag", value=found.lag)
    if found.committed is not None:
        _gauge("delivery", "commit", value=found.committed)


def cost_guard(found: Mapping[str, int], ended: Mapping[str, int]) -> None:
    """Tell how many resources of each kind no run needs, and count those that were ended."""
    for kind in KINDS:
        _gauge("cost_guard", "found", kind, value=found.get(kind, 0))
        _count("cost_guard", "ended", kind, value=ended.get(kind, 0))


def deadline_missed(dag_id: str) -> None:
    """Count a run that is not done by its deadline."""
    _count("deadline_missed", dag_id, value=1)


def begin_counters() -> None:
    """Add 0 to each counter, so that its series is there before its first event."""
    _count("bytes_collected", HVFHV, value=0)
    rows_checked(HVFHV, 0, dict.fromkeys(REASONS, 0))
    for dag_id in DAGS_WITH_CLUSTERS:
        for name in ("cluster_seconds", "idle_seconds", "vcpu_hours", "memory_gb_hours", "cost_usd"):
            _count("emr", name, dag_id, value=0)
    for kind in KINDS:
        _count("cost_guard", "ended", kind, value=0)
    for dag_id in DAGS:
        _count("deadline_missed", dag_id, value=0)


@contextmanager
def harmless() -> Iterator[None]:
    """Have whatever fails while figures are gathered be a warning: they are not worth a task."""
    try:
        yield
    except Exception:
        log.warning("Metrics could not be gathered.", exc_info=True)


def _count(*name: str, value: float) -> None:
    _send("incr", value, *name)


def _gauge(*name: str, value: float) -> None:
    _send("gauge", value, *name)


def _send(how: str, value: float, *name: str) -> None:
    with harmless():
        from airflow.sdk.observability import stats

        getattr(stats, how)(".".join(["taxiway", *(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in name)]), value)
