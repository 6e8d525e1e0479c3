"""Which DAG or task fails, is slow, waits or is tried again?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import ALIVE, GREEN, ORANGE, RED, Page, Query, label_variable
from monitoring.dashboards.queries import counted, increase, mean, percentile, share

STEP = "$__rate_interval"
DAG = 'dag_id=~"$dag"'
TASK = ('dag_id=~"$dag"', 'task_id=~"$task"')
SUCCESS, FAILED, RETRY = 'state="success"', 'state="failed"', 'state="up_for_retry"'
ENOUGH = ((None, RED), (0.9, ORANGE), (0.99, GREEN))
DAG_PAGE = "${airflow}/dags/${__value.text}"
TASK_PAGE = "${airflow}/dags/${__data.fields.DAG}/tasks/${__value.text}"
RUNS_FAILED = "sent only when a run fails; none of the main job's did"
TRIES_FAILED = "sent only when a try fails; none of the main job's did"
TASKS_FAILED = "sent only when a task fails; none of the main job's did"
RUNS = increase("airflow_dagrun_duration_count", DAG, by="dag_id")
TRIES = increase("airflow_ti_finish", *TASK, by="dag_id, task_id")

page = Page(
    uid="taxiway-dags",
    title="Taxiway: DAGs and tasks",
    description="Which DAG or task fails, is slow, waits or is tried again?",
    time="now-7d",
    variables=[
        label_variable("dag", "DAG", "airflow_ti_start", "dag_id"),
        label_variable("task", "Task", f"airflow_ti_start{{{DAG}}}", "task_id"),
    ],
)

page.row("Runs and tasks in the time shown")
page.stat(
    "Runs that succeeded",
    "Succeeded runs as a share of finished runs of the chosen DAGs.",
    Query(share(increase("airflow_dagrun_duration_count", DAG), increase("airflow_dagrun_failed_count", DAG))),
    unit=units.PercentUnit,
    steps=ENOUGH,
    decimals=1,
)
page.stat(
    "Finished runs",
    "Runs of the chosen DAGs that succeeded.",
    Query(counted("airflow_dagrun_duration_count", DAG), zero=ALIVE),
    unit=units.Short,
)
page.stat(
    "Failed runs",
    "Runs of the chosen DAGs that failed.",
    Query(counted("airflow_dagrun_failed_count", DAG), zero=ALIVE),
    unit=units.Short,
    steps=((None, GREEN), (1, RED)),
    unseen=RUNS_FAILED,
)
page.stat(
    "Tasks that succeeded",
    "Succeeded tasks as a share of those that succeeded or failed for good.",
    Query(share(increase("airflow_ti_finish", *TASK, SUCCESS), increase("airflow_ti_finish", *TASK, FAILED))),
    unit=units.PercentUnit,
    steps=ENOUGH,
    decimals=1,
)
page.stat(
    "Retries",
    "Tries of tasks that failed and are to be tried again.",
    Query(counted("airflow_ti_finish", *TASK, RETRY), zero=ALIVE),
    unit=units.Short,
    steps=((None, GREEN), (1, ORANGE)),
    unseen=TRIES_FAILED,
)
page.stat(
    "Failed tasks",
    "Tasks that failed for good, all tries used.",
    Query(counted("airflow_ti_finish", *TASK, FAILED), zero=ALIVE),
    unit=units.Short,
    steps=((None, GREEN), (1, RED)),
    unseen=TASKS_FAILED,
)
page.table(
    "DAGs",
    "A line for each DAG, for the time shown. Means are exact; percentiles are interpolated between the bounds of a "
    "histogram, and rough for a few runs. Wait to start: from when a run was queued until its first task started. The "
    "link leads to the DAG in Airflow.",
    Query(counted("airflow_dagrun_duration_count", DAG, by="dag_id"), "Succeeded"),
    Query(counted("airflow_dagrun_failed_count", DAG, by="dag_id"), "Failed", zero=RUNS, unseen=RUNS_FAILED),
    Query(
        share(
            increase("airflow_dagrun_duration_count", DAG, by="dag_id"),
            increase("airflow_dagrun_failed_count", DAG, by="dag_id"),
        ),
        "Success",
        unit=units.PercentUnit,
    ),
    Query(mean("airflow_dagrun_duration", DAG, by="dag_id"), "Mean time", unit=units.Seconds),
    Query(percentile(0.95, "airflow_dagrun_duration", DAG, by="dag_id"), "95th percentile", unit=units.Seconds),
    Query(mean("airflow_dagrun_first_task_start_delay", DAG, by="dag_id"), "Wait to start", unit=units.Seconds),
    labels={"dag_id": "DAG"},
    unit=units.Short,
    links={"DAG": ("Open in Airflow", DAG_PAGE)},
    colours={"Success": ENOUGH, "Failed": ((None, GREEN), (1, RED))},
    size=(24, 7),
)

page.row("Runs over time")
page.bars(
    "Runs by result",
    "Runs that ended in each step of time.",
    Query(counted("airflow_dagrun_duration_count", DAG, window=STEP), "success"),
    Query(counted("airflow_dagrun_failed_count", DAG, window=STEP), "failed", unseen=RUNS_FAILED),
    unit=units.Short,
    size=(8, 8),
)
page.lines(
    "Duration of succeeded runs",
    "Mean of how long runs of each DAG took, from start to end.",
    Query(mean("airflow_dagrun_duration", DAG, by="dag_id", window=STEP), "{{dag_id}}"),
    unit=units.Seconds,
    size=(8, 8),
)
page.lines(
    "Wait until a run begins",
    "Mean delay from when a scheduled run was due to its start. A run that waits for max_active_runs shows here.",
    Query(mean("airflow_dagrun_schedule_delay", DAG, by="dag_id", window=STEP), "{{dag_id}}"),
    unit=units.Seconds,
    size=(8, 8),
)

page.row("Tasks over time")
page.bars(
    "Tasks by result",
    "Ends of tasks' tries in each step of time. A task that is deferred ends and begins again, so it counts more than "
    "once.",
    Query(counted("airflow_ti_finish", *TASK, by="state", window=STEP), "{{state}}"),
    unit=units.Short,
)
page.bars(
    "Retries by task",
    "Tries that failed and are to be tried again. Many retries hide an error that sooner or later stays.",
    Query(
        f"{counted('airflow_ti_finish', *TASK, RETRY, by='dag_id, task_id', window=STEP)} > 0", "{{dag_id}} {{task_id}}"
    ),
    unit=units.Short,
    unseen=TRIES_FAILED,
)
page.lines(
    "Duration of tasks",
    "How long the tries of each task ran that ended in each step of time (90th percentile).",
    Query(percentile(0.9, "airflow_task_duration", *TASK, by="dag_id, task_id", window=STEP), "{{dag_id}} {{task_id}}"),
    unit=units.Seconds,
)
page.lines(
    "Wait for the first task",
    "From when a run was queued until its first task started (mean): the share of scheduler and executor in the time "
    "that people wait. Airflow 3 sends no such figure for every task.",
    Query(mean("airflow_dagrun_first_task_start_delay", DAG, by="dag_id", window=STEP), "{{dag_id}}"),
    unit=units.Seconds,
    steps=((None, "transparent"), (10, ORANGE)),
)
page.table(
    "Tasks",
    "A line for each task, for the time shown; the slowest on top. Means are exact; percentiles are "
    "interpolated between 1, 10 and 60 s, 5, 15 and 60 min, 4 h, and rough for a few tries. Until queued: of first "
    "tries, from scheduled to queued. The link leads to the task in Airflow, where its logs are.",
    Query(mean("airflow_task_duration", *TASK, by="dag_id, task_id"), "Mean time", unit=units.Seconds),
    Query(percentile(0.5, "airflow_task_duration", *TASK, by="dag_id, task_id"), "Median", unit=units.Seconds),
    Query(
        percentile(0.95, "airflow_task_duration", *TASK, by="dag_id, task_id"), "95th percentile", unit=units.Seconds
    ),
    Query(mean("airflow_task_scheduled_duration", *TASK, by="dag_id, task_id"), "Until queued", unit=units.Seconds),
    Query(counted("airflow_ti_finish", *TASK, SUCCESS, by="dag_id, task_id"), "Succeeded"),
    Query(counted("airflow_ti_finish", *TASK, FAILED, by="dag_id, task_id"), "Failed", zero=TRIES, unseen=TASKS_FAILED),
    Query(counted("airflow_ti_finish", *TASK, RETRY, by="dag_id, task_id"), "Retries", zero=TRIES, unseen=TRIES_FAILED),
    labels={"dag_id": "DAG", "task_id": "Task"},
    unit=units.Short,
    links={"DAG": ("Open in Airflow", DAG_PAGE), "Task": ("Open in Airflow", TASK_PAGE)},
    colours={"Failed": ((None, GREEN), (1, RED)), "Retries": ((None, GREEN), (1, ORANGE))},
    size=(24, 12),
)
