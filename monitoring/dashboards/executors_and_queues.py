"""Do tasks wait, and for what: a worker, a pod, or a slot of a pool?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import GREEN, ORANGE, RED, Page, Query, label_variable
from monitoring.dashboards.queries import counted, mean, percentile

STEP = "$__rate_interval"
POOL = 'pool_name=~"$pool"'
DAG = 'dag_id=~"$dag"'
FLOWER = "needs Celery workers and the metrics of Flower (targets.flower), which only a cluster has"
KUBERNETES = "needs the Kubernetes executor, which only a cluster has"
POOLS = "${airflow}/pools"
SHORT = "no task of the main job was queued for as long as the 30 seconds between two samples"
LITTLE = (
    "Airflow 3 does not send how long tasks are queued. So: tasks in the queue ÷ tasks started a second, which is "
    "their mean wait (Little's law). Aim: 1 s on Celery, 5 s in a pod."
)


def waited(window: str) -> str:
    """Return the mean time that tasks were queued in a window: how many were, over how many started a second."""
    return f"sum(avg_over_time(airflow_pool_queued_slots[{window}])) / (sum(rate(airflow_ti_start[{window}])) > 0)"


page = Page(
    uid="taxiway-executors",
    title="Taxiway: executors and queues",
    description="Do tasks wait, and for what: a worker, a pod, or a slot of a pool?",
    time="now-6h",
    variables=[
        label_variable("dag", "DAG", "airflow_ti_start", "dag_id"),
        label_variable("pool", "Pool", "airflow_pool_open_slots", "pool_name"),
    ],
)

page.row("Now")
page.stat(
    "Queued",
    "Slots of pools whose tasks an executor has been given and no worker has started.",
    Query(f"sum(airflow_pool_queued_slots{{{POOL}}})"),
    unit=units.Short,
    steps=((None, GREEN), (32, ORANGE), (64, RED)),
    graph=True,
)
page.stat(
    "Running",
    "Slots of pools whose tasks run.",
    Query(f"sum(airflow_pool_running_slots{{{POOL}}})"),
    unit=units.Short,
    graph=True,
)
page.stat(
    "Free places",
    "Tasks that the executors would still take (core.parallelism less what they have). At 0 everything waits.",
    Query("sum(airflow_executor_open_slots)"),
    unit=units.Short,
    steps=((None, RED), (1, ORANGE), (4, GREEN)),
    graph=True,
)
page.stat(
    "Starving",
    "Tasks that are ready and for which their pool has no slot.",
    Query("sum(airflow_scheduler_tasks_starving)"),
    unit=units.Short,
    steps=((None, GREEN), (1, ORANGE)),
    graph=True,
)
page.stat(
    "Mean time in queue",
    f"Over the time shown. {LITTLE}",
    Query(waited("$__range")),
    unit=units.Seconds,
    steps=((None, GREEN), (5, ORANGE), (60, RED)),
    decimals=1,
)
page.stat(
    "Fewest open slots",
    "Slots that are left in the pool that has the fewest. At 0 its tasks wait.",
    Query(f"min(airflow_pool_open_slots{{{POOL}}})"),
    unit=units.Short,
    steps=((None, RED), (1, ORANGE), (3, GREEN)),
    graph=True,
)

page.row("Waiting")
page.lines(
    "Tasks by state",
    "Slots of pools by the state of their tasks. Queued ones that stay while nothing runs: no worker takes tasks, or "
    "no node takes pods.",
    *(
        Query(f"sum(airflow_pool_{state}_slots{{{POOL}}})", state)
        for state in ("scheduled", "queued", "running", "deferred")
    ),
    unit=units.Short,
    stacked=True,
    size=(8, 8),
)
page.lines(
    "Time in the queue",
    f"Mean. {LITTLE}",
    Query(waited(STEP), "mean"),
    unit=units.Seconds,
    steps=((None, "transparent"), (5, ORANGE)),
    size=(8, 8),
)
page.lines(
    "Time until queued",
    "From scheduled to queued: waits for a slot of a pool, or for the limits of the DAG. Of first tries.",
    Query(mean("airflow_task_scheduled_duration", DAG, window=STEP), "mean"),
    Query(percentile(0.95, "airflow_task_scheduled_duration", DAG, window=STEP), "95th percentile"),
    unit=units.Seconds,
    size=(8, 8),
)
page.lines(
    "Running by DAG",
    "Which DAG's tasks run; sampled every 30 seconds.",
    Query(f"sum by (dag_id) (airflow_ti_running{{{DAG}}}) > 0", "{{dag_id}}"),
    unit=units.Short,
    stacked=True,
    size=(8, 8),
)
page.lines(
    "Queued by DAG",
    "Which DAG's tasks wait in the queue; sampled every 30 seconds.",
    Query(f"sum by (dag_id) (airflow_ti_queued{{{DAG}}}) > 0", "{{dag_id}}", unseen=SHORT),
    unit=units.Short,
    stacked=True,
    size=(8, 8),
)
page.lines(
    "Queued by queue",
    "Celery's queues: one that no worker listens to grows and never shrinks. sampled every 30 seconds.",
    Query(f"sum by (queue) (airflow_ti_queued{{{DAG}}})", "{{queue}}", unseen=SHORT),
    unit=units.Short,
    stacked=True,
    size=(8, 8),
)

page.row("Executors")
page.lines(
    "In hand by executor",
    "Tasks that each executor has taken over: they run, or wait in Celery's broker or for their pod. LocalExecutor, as "
    "on one machine, is always 0.",
    Query("sum by (executor_class_name) (airflow_executor_running_tasks)", "{{executor_class_name}}"),
    unit=units.Short,
    stacked=True,
    size=(8, 8),
)
page.lines(
    "Not yet taken over",
    "Tasks in each executor's own queue, before the broker or Kubernetes. It should be empty after every turn of the "
    "scheduler's loop.",
    Query("sum by (executor_class_name) (airflow_executor_queued_tasks)", "{{executor_class_name}}"),
    unit=units.Short,
    stacked=True,
    size=(8, 8),
)
page.lines(
    "Free places by executor",
    "Tasks that each executor would still take.",
    Query("sum by (executor_class_name) (airflow_executor_open_slots)", "{{executor_class_name}}"),
    unit=units.Short,
    size=(8, 8),
)

page.row("Pools")
page.table(
    "Pools",
    "Slots of each pool now. Deferred tasks count only in pools that include them, such as emr_steps.",
    Query(f"max by (pool_name) (airflow_pool_running_slots{{{POOL}}})", "Running"),
    Query(f"max by (pool_name) (airflow_pool_queued_slots{{{POOL}}})", "Queued"),
    Query(f"max by (pool_name) (airflow_pool_scheduled_slots{{{POOL}}})", "Scheduled"),
    Query(f"max by (pool_name) (airflow_pool_deferred_slots{{{POOL}}})", "Deferred"),
    Query(f"max by (pool_name) (airflow_pool_open_slots{{{POOL}}})", "Open"),
    Query(f"max by (pool_name) (airflow_pool_starving_tasks{{{POOL}}})", "Starving"),
    labels={"pool_name": "Pool"},
    unit=units.Short,
    links={"Pool": ("Pools in Airflow", POOLS)},
    colours={"Open": ((None, RED), (1, GREEN)), "Starving": ((None, GREEN), (1, ORANGE))},
    size=(12, 8),
)
page.lines(
    "Open slots",
    "Slots that are left in each pool. At 0 its tasks wait.",
    Query(f"min by (pool_name) (airflow_pool_open_slots{{{POOL}}})", "{{pool_name}}"),
    unit=units.Short,
)

page.row("Celery (workers: with Flower's metrics)")
page.bars(
    "Could not be handed to Celery",
    "Tasks that the broker did not take in time, or refused: look at Redis.",
    Query(counted("airflow_celery_task_timeout_error", window=STEP), "timed out"),
    Query(counted("airflow_celery_execute_command_failure", window=STEP), "refused"),
    unit=units.Short,
    size=(8, 8),
    unseen="sent only by the Celery executor, and only when it goes wrong",
)
page.lines(
    "Workers",
    "Celery workers that Flower sees.",
    Query("sum(flower_worker_online)", "online"),
    unit=units.Short,
    size=(8, 8),
    unseen=FLOWER,
)
page.lines(
    "Tasks on the workers",
    "Tasks that each worker runs, and those that it has taken from the broker and holds back.",
    Query("sum by (worker) (flower_worker_number_of_currently_executing_tasks)", "running, {{worker}}"),
    Query("sum by (worker) (flower_worker_prefetched_tasks)", "held back, {{worker}}"),
    unit=units.Short,
    size=(8, 8),
    unseen=FLOWER,
)

page.row("Kubernetes executor (pods that wait: with kube-state-metrics)")
page.lines(
    "Time to create a pod",
    "How long Kubernetes' API takes to accept a task's pod (not until it runs).",
    Query(mean("airflow_kubernetes_executor_pod_creation", window=STEP), "mean"),
    Query(percentile(0.95, "airflow_kubernetes_executor_pod_creation", window=STEP), "95th percentile"),
    unit=units.Seconds,
    size=(8, 8),
    unseen=KUBERNETES,
)
page.bars(
    "Pods made and deleted",
    "Requests of the executor for pods of tasks.",
    Query(counted("airflow_kubernetes_executor_pod_creation_status", by="status", window=STEP), "created: {{status}}"),
    Query(counted("airflow_kubernetes_executor_pod_deletion_status", by="status", window=STEP), "deleted: {{status}}"),
    unit=units.Short,
    size=(8, 8),
    unseen=KUBERNETES,
)
page.lines(
    "Task pods that wait",
    "Pods without an owner (the executor's) and that no node has taken, or whose image is being pulled.",
    Query(
        'sum by (namespace) (kube_pod_status_phase{phase="Pending"} '
        'and on (namespace, pod) kube_pod_info{created_by_kind=~"|<none>"})',
        "{{namespace}}",
    ),
    unit=units.Short,
    size=(8, 8),
    unseen="needs kube-state-metrics, which only a cluster has",
)
