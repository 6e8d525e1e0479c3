"""Is Airflow alive, and what is it short of?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import ALIVE, GREEN, ORANGE, RED, Page, Query, label_variable
from monitoring.dashboards.queries import counted, mean, per_second, percentile

STEP = "$__rate_interval"
CLUSTER_ONLY = "needs kube-state-metrics, which only a cluster has"
REFUSED = "the exporter counts it only once it happened"
SEEN_WHEN_WRONG = "Airflow sends it only when it goes wrong"

page = Page(
    uid="taxiway-platform",
    title="Taxiway: platform health",
    description="Is Airflow alive, and what is it short of?",
    time="now-6h",
    variables=[label_variable("namespace", "Namespace", "kube_pod_info", "namespace")],
)


def _beats(title: str, name: str, what: str, unseen: str = "") -> None:
    page.stat(
        title,
        f"Heartbeats of the {what} in the last five minutes, as a minute's mean. One is sent every few seconds; "
        "none at all means that it does not run, or hangs.",
        Query(f"sum(rate({name}[5m])) * 60"),
        unit="cpm",
        decimals=0,
        steps=((None, RED), (1, ORANGE), (4, GREEN)),
        graph=True,
        unseen=unseen,
    )


page.row("At a glance")
_beats("Scheduler", "airflow_scheduler_heartbeat", "scheduler")
_beats("DAG processor", "airflow_dag_processor_heartbeat", "DAG processor")
_beats("Triggerer", "airflow_triggerer_heartbeat", "triggerer")
page.stat(
    "Import errors",
    "DAG files that cannot be read. Their DAGs do not run as changed, or not at all.",
    Query("max(airflow_dag_processing_import_errors)"),
    unit=units.Short,
    steps=((None, GREEN), (1, RED)),
)
page.stat(
    "DAG runs under way",
    "Runs in state running, as the scheduler counts them.",
    Query("max(airflow_scheduler_dagruns_running)"),
    unit=units.Short,
    graph=True,
)
page.stat(
    "Tasks lost",
    "Tasks that the scheduler ended because they sent no heartbeat, in the time shown: the worker died, was "
    "evicted, or ran out of memory.",
    Query(counted("airflow_task_instances_without_heartbeats_killed"), zero=ALIVE),
    unit=units.Short,
    steps=((None, GREEN), (1, RED)),
    unseen=SEEN_WHEN_WRONG,
)

page.row("Scheduler")
page.lines(
    "Scheduler loop",
    "How long one turn of the scheduler's loop takes. Tasks wait at least one turn between two states.",
    Query(mean("airflow_scheduler_scheduler_loop_duration", window=STEP), "mean"),
    Query(percentile(0.95, "airflow_scheduler_scheduler_loop_duration", window=STEP), "95th percentile"),
    unit=units.Seconds,
)
page.lines(
    "Critical section",
    "How long the scheduler holds the lock under which tasks are queued. Several schedulers wait for it one after the "
    "other.",
    Query(mean("airflow_scheduler_critical_section_duration", window=STEP), "mean"),
    Query(percentile(0.95, "airflow_scheduler_critical_section_duration", window=STEP), "95th percentile"),
    unit=units.Seconds,
)
page.lines(
    "Tasks ready to run",
    "Tasks that the last loop of the scheduler could queue, and those for which a pool had no free slot.",
    Query("max(airflow_scheduler_tasks_executable)", "queued"),
    Query("max(airflow_scheduler_tasks_starving)", "starving"),
    unit=units.Short,
)
page.bars(
    "What went wrong",
    "Tasks lost without heartbeat, tasks that ended while the scheduler believed them running, tasks that another "
    "scheduler left behind. Each should be rare.",
    Query(
        counted("airflow_task_instances_without_heartbeats_killed", window=STEP), "no heartbeat", unseen=SEEN_WHEN_WRONG
    ),
    Query(
        counted("airflow_scheduler_tasks_killed_externally", window=STEP), "ended from outside", unseen=SEEN_WHEN_WRONG
    ),
    Query(counted("airflow_scheduler_orphaned_tasks_cleared", window=STEP), "left behind, cleared"),
    Query(counted("airflow_scheduler_orphaned_tasks_adopted", window=STEP), "left behind, adopted"),
    unit=units.Short,
)

page.row("DAG processor and triggerer")
page.lines(
    "Time to parse all DAG files",
    "How long the DAG processor takes for every file once. A changed DAG is visible after at most about this long.",
    Query("max(airflow_dag_processing_total_parse_time)", "all files"),
    unit=units.Seconds,
    size=(8, 8),
)
page.lines(
    "Time to parse a file",
    "Mean time to parse each DAG file. Imports and network look-ups at the top level of a file show here.",
    Query(mean("airflow_dag_processing_last_duration", by="file_name", window=STEP), "{{file_name}}"),
    unit=units.Seconds,
    size=(8, 8),
)
page.lines(
    "Triggerers' load",
    "Deferred tasks that each triggerer watches, as a share of those that it can take.",
    Query(
        "sum by (hostname) (airflow_triggers_running) / "
        "sum by (hostname) (airflow_triggers_running + airflow_triggerer_capacity_left)",
        "{{hostname}}",
    ),
    unit=units.PercentUnit,
    highest=1,
    steps=((None, "transparent"), (0.9, RED)),
    size=(8, 8),
)
page.bars(
    "Triggers that failed or blocked",
    "Triggers that ended with an error, and moments when one blocked the triggerer's only thread, which holds up all "
    "others.",
    Query(counted("airflow_triggers_failed", window=STEP), "failed", unseen=SEEN_WHEN_WRONG),
    Query(counted("airflow_triggers_blocked_main_thread", window=STEP), "blocked the thread"),
    unit=units.Short,
)
page.bars(
    "DAG files that could not be parsed in time",
    "Parses that took too long and were cut off. The DAG keeps its last good version.",
    Query(counted("airflow_dag_processing_processor_timeouts", window=STEP), "cut off"),
    unit=units.Short,
    unseen=SEEN_WHEN_WRONG,
)

page.row("The way of the metrics")
page.lines(
    "Samples taken in",
    "Samples a second that the StatsD exporter received. None while Airflow runs: its metrics do not arrive, and every "
    "other panel is blind.",
    Query(per_second("statsd_exporter_samples_total"), "samples"),
    unit="cps",
    size=(8, 8),
)
page.lines(
    "Lines refused or not mapped",
    "Lines that the exporter could not read, samples that clash with another type of the same name, and samples whose "
    "name no mapping has: these keep the name and the labels that Airflow sent.",
    Query(per_second("statsd_exporter_sample_errors_total"), "not readable", zero=ALIVE, unseen=REFUSED),
    Query(per_second("statsd_exporter_events_conflict_total"), "clash", zero=ALIVE, unseen=REFUSED),
    Query(per_second("statsd_exporter_events_unmapped_total"), "not mapped"),
    unit="cps",
    size=(8, 8),
)
page.lines(
    "Exporter's memory",
    "Memory of the StatsD exporter. It grows with the number of series.",
    Query(
        "process_resident_memory_bytes and on (instance) statsd_exporter_build_info",
        "{{instance}}",
    ),
    unit=units.BytesIEC,
    size=(8, 8),
)
page.table(
    "What Prometheus scrapes",
    "Every job that Prometheus reads, and the share of its targets that answered.",
    Query("avg by (job) (up)", "Answer"),
    Query("count by (job) (up)", "Targets", unit=units.Short),
    labels={"job": "Job"},
    unit=units.PercentUnit,
    colours={"Answer": ((None, RED), (1, GREEN))},
    size=(24, 7),
)

page.row("Pods (with kube-state-metrics) and database")
page.table(
    "Deployments",
    "Pods that are ready, compared with those that are requested.",
    Query('kube_deployment_status_replicas_ready{namespace=~"$namespace"}', "Ready"),
    Query('kube_deployment_spec_replicas{namespace=~"$namespace"}', "Wanted"),
    labels={"namespace": "Namespace", "deployment": "Deployment"},
    unit=units.Short,
    size=(12, 8),
    unseen=CLUSTER_ONLY,
)
page.bars(
    "Restarts",
    "Restarts of containers. A container that restarts again and again was killed for memory, or fails its probe.",
    Query(
        counted("kube_pod_container_status_restarts_total", 'namespace=~"$namespace"', by="pod", window=STEP) + " > 0",
        "{{pod}}",
    ),
    unit=units.Short,
    unseen=CLUSTER_ONLY,
)
page.lines(
    "Memory and its limit",
    "Working memory of each pod as a share of its containers' limits. At 1 the kernel ends a container.",
    Query(
        "max by (pod) ("
        'sum by (pod, container) (container_memory_working_set_bytes{namespace=~"$namespace",container!=""}) / '
        "sum by (pod, container) "
        '(kube_pod_container_resource_limits{namespace=~"$namespace",resource="memory"}))',
        "{{pod}}",
    ),
    unit=units.PercentUnit,
    highest=1,
    steps=((None, "transparent"), (0.9, RED)),
    unseen="needs kube-state-metrics and the kubelet's metrics, as kube-prometheus-stack has them",
)
page.lines(
    "PgBouncer: clients that wait",
    "Clients that wait for a connection to PostgreSQL. Above 0 for long: the pool is too small, or the database slow.",
    Query("sum by (database) (pgbouncer_exporter_pools_waiting_clients)", "{{database}}"),
    unit=units.Short,
    size=(6, 8),
    unseen="needs PgBouncer and its exporter, which the chart starts on a cluster",
)
page.lines(
    "PgBouncer: connections in use",
    "Connections to PostgreSQL that are in use, for each database.",
    Query("sum by (database) (pgbouncer_exporter_pools_active_server)", "{{database}}"),
    unit=units.Short,
    size=(6, 8),
    unseen="needs PgBouncer and its exporter, which the chart starts on a cluster",
)
