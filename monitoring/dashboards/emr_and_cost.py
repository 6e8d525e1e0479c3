"""What does the work on EMR cost, and what of it is wasted?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import GREEN, ORANGE, RED, Page, Query, label_variable
from monitoring.dashboards.queries import counted, increase, mean, percentile, selector

STEP = "$__rate_interval"
DAG = 'dag_id=~"$dag"'
RUNS = increase("airflow_dagrun_duration_count", DAG, by="dag_id")

page = Page(
    uid="taxiway-emr",
    title="Taxiway: EMR and cost",
    description="What does the work on EMR cost, and what of it is wasted?",
    time="now-30d",
    variables=[label_variable("dag", "DAG", "taxiway_emr_cluster_seconds_total", "dag_id")],
)


def used(metric: str, by: str = "", window: str = "$__range") -> str:
    """Return what clusters used of something in a window."""
    return increase(f"taxiway_emr_{metric}_total", DAG, by=by, window=window)


page.row("In the time shown")
page.stat(
    "Cost",
    "Estimate in US dollars by list prices of us-east-1: EC2 and EMR, without disks; spot instances at the on-demand "
    "price, each instance a minute at least. Counted when a cluster has ended.",
    Query(used("cost_usd")),
    unit=units.Dollars,
    decimals=2,
)
page.stat(
    "Cluster time",
    "Hours that clusters lived, from creation to end.",
    Query(used("cluster_seconds")),
    unit=units.Seconds,
    decimals=1,
)
page.stat(
    "Idle",
    "Share of the clusters' time in which they were ready and ran no step.",
    Query(f"{used('idle_seconds')} / ({used('cluster_seconds')} > 0)"),
    unit=units.PercentUnit,
    steps=((None, GREEN), (0.25, ORANGE), (0.5, RED)),
    decimals=0,
)
page.stat(
    "Virtual core hours",
    "Virtual cores × hours of all instances.",
    Query(used("vcpu_hours")),
    unit="suffix: vCPU h",
    decimals=1,
)
page.stat(
    "Memory hours",
    "GB of memory × hours of all instances.",
    Query(used("memory_gb_hours")),
    unit="suffix: GB h",
    decimals=1,
)
page.stat(
    "Clusters alive",
    "Clusters of ours in any state before their end. The DAG platform_metrics counts them every five minutes.",
    Query("sum(max by (state) (taxiway_emr_clusters))"),
    unit=units.Short,
    graph=True,
)
page.table(
    "By DAG",
    "What each DAG's clusters used in the time shown. The cost of a run counts succeeded runs, also those without a "
    "cluster.",
    Query(used("cost_usd", "dag_id"), "Cost", unit=units.Dollars),
    Query(f"{used('cost_usd', 'dag_id')} / ({RUNS} > 0)", "Cost of a run", unit=units.Dollars),
    Query(used("cluster_seconds", "dag_id"), "Cluster time", unit=units.Seconds),
    Query(f"{used('idle_seconds', 'dag_id')} / ({used('cluster_seconds', 'dag_id')} > 0)", "Idle"),
    Query(used("vcpu_hours", "dag_id"), "vCPU hours", unit=units.Short),
    Query(used("memory_gb_hours", "dag_id"), "GB hours", unit=units.Short),
    labels={"dag_id": "DAG"},
    unit=units.PercentUnit,
    links={"DAG": ("Open in Airflow", "${airflow}/dags/${__value.text}")},
    colours={"Idle": ((None, GREEN), (0.25, ORANGE), (0.5, RED))},
    size=(24, 6),
)

page.row("Over time")
page.bars(
    "Cost by DAG",
    "Estimated cost, at the moment when each cluster ended.",
    Query(used("cost_usd", "dag_id", STEP), "{{dag_id}}"),
    unit=units.Dollars,
    interval="5m",
)
page.lines(
    "Clusters by state",
    "Clusters that exist, seen every five minutes. Waiting ones cost as much as running ones, and do nothing.",
    Query("max by (state) (taxiway_emr_clusters)", "{{state}}"),
    unit=units.Short,
    stacked=True,
)
page.bars(
    "Working and idle time",
    "Time of clusters that ended: with a step running or starting up, and ready without a step.",
    Query(f"{used('cluster_seconds', window=STEP)} - {used('idle_seconds', window=STEP)}", "at work"),
    Query(used("idle_seconds", window=STEP), "idle"),
    unit=units.Seconds,
    interval="5m",
)
page.lines(
    "Duration of Spark steps",
    "Mean duration of completed steps, by program.",
    Query(mean("taxiway_spark_step_seconds", DAG, by="program", window=STEP), "{{program}}"),
    unit=units.Seconds,
)

page.row("Spark programs and the cost guard")
page.table(
    "Spark programs",
    "Completed steps in the time shown.",
    Query(percentile(0.95, "taxiway_spark_step_seconds", DAG, by="dag_id, program"), "95th percentile"),
    Query(mean("taxiway_spark_step_seconds", DAG, by="dag_id, program"), "Mean"),
    Query(counted("taxiway_spark_step_seconds_count", DAG, by="dag_id, program"), "Steps", unit=units.Short),
    labels={"dag_id": "DAG", "program": "Program"},
    unit=units.Seconds,
    size=(12, 8),
)
page.lines(
    "Needed by no run",
    "Clusters and serverless applications of ours that the cost guard found and that no run needs any more. It ends "
    "them after a grace time, if that is enabled.",
    Query(f"max by (kind) ({selector('taxiway_cost_guard_found')})", "{{kind}}"),
    unit=units.Short,
    size=(6, 8),
    steps=((None, "transparent"), (1, RED)),
)
page.bars(
    "Ended by the cost guard",
    "What the cost guard ended because its own run had not.",
    Query(counted("taxiway_cost_guard_ended_total", by="kind", window=STEP), "{{kind}}"),
    unit=units.Short,
    size=(6, 8),
)
