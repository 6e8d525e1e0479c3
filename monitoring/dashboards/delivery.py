"""Does the code that runs match the repository, and do its DAGs load?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import GREEN, ORANGE, RED, Page, Query
from monitoring.dashboards.queries import counted, mean

STEP = "$__rate_interval"
NOT_GIT = "sent only where git-sync delivers the code, as on a cluster"

page = Page(
    uid="taxiway-delivery",
    title="Taxiway: delivery",
    description="Does the code that runs match the repository, and do its DAGs load?",
    time="now-24h",
    variables=[],
)

page.row("Now")
page.stat(
    "Delivery lag",
    "How long ago the code here and the remote branch were last known to be the same: normally seconds. It "
    "grows while the remote cannot be reached, or the new commit does not arrive.",
    Query("max(taxiway_delivery_lag_seconds)"),
    unit=units.Seconds,
    steps=((None, GREEN), (120, ORANGE), (600, RED)),
    size=(6, 4),
    decimals=0,
    unseen=NOT_GIT,
)
page.stat(
    "Commit that runs",
    "When the commit that runs was made.",
    Query("max(taxiway_delivery_commit_timestamp_seconds) * 1000"),
    unit=units.DateTimeFromNow,
    size=(6, 4),
    unseen=NOT_GIT,
)
page.stat(
    "Import errors",
    "DAG files of this commit that cannot be read.",
    Query("max(airflow_dag_processing_import_errors)"),
    unit=units.Short,
    steps=((None, GREEN), (1, RED)),
    size=(6, 4),
)
page.stat(
    "Files parsed longest ago",
    "Time since the DAG file that waits longest was last parsed. A changed file is parsed at once; the others in turn.",
    Query("max(airflow_dag_processing_last_run_seconds_ago)"),
    unit=units.Seconds,
    steps=((None, GREEN), (600, ORANGE), (1800, RED)),
    size=(6, 4),
    decimals=0,
)

page.row("Over time")
page.lines(
    "Delivery lag over time",
    "How long ago the code here and the remote branch were last known to be the same. Aim: a push runs within 15 s.",
    Query("max(taxiway_delivery_lag_seconds)", "lag"),
    unit=units.Seconds,
    steps=((None, "transparent"), (600, RED)),
    unseen=NOT_GIT,
)
page.lines(
    "Age of the commit that runs",
    "It drops with every delivery. A line that climbs through a push is a delivery that did not arrive.",
    Query("time() - max(taxiway_delivery_commit_timestamp_seconds)", "age"),
    unit=units.Seconds,
    unseen=NOT_GIT,
)
page.lines(
    "Import errors over time",
    "A step up at a delivery names the commit that broke a DAG file.",
    Query("max(airflow_dag_processing_import_errors)", "files"),
    unit=units.Short,
    size=(8, 8),
)
page.lines(
    "Since each file was parsed",
    "Time since each DAG file was last parsed.",
    Query("max by (file_name) (airflow_dag_processing_last_run_seconds_ago)", "{{file_name}}"),
    unit=units.Seconds,
    size=(8, 8),
)
page.lines(
    "Time to parse a file",
    "Mean time to parse each DAG file: what a delivery made slower.",
    Query(mean("airflow_dag_processing_last_duration", by="file_name", window=STEP), "{{file_name}}"),
    unit=units.Seconds,
    size=(8, 8),
)

page.row("What arrived")
page.lines(
    "DAGs",
    "DAGs that the DAG processor knows. An unintended step down: a file was removed, or cannot be read.",
    Query("max(airflow_dagbag_size)", "DAGs"),
    unit=units.Short,
    size=(8, 8),
)
page.lines(
    "Files that wait to be parsed",
    "After a delivery every file is parsed again. A queue that never empties: parsing is too slow for so many files.",
    Query("max(airflow_dag_processing_file_path_queue_size)", "files"),
    unit=units.Short,
    size=(8, 8),
)
page.bars(
    "Tasks that vanished from their DAG",
    "Tasks of running DAG runs that a delivery removed, and that came back.",
    Query(counted("airflow_task_removed_from_dag", by="dag_id", window=STEP), "removed, {{dag_id}}"),
    Query(counted("airflow_task_restored_to_dag", by="dag_id", window=STEP), "back, {{dag_id}}"),
    unit=units.Short,
    size=(8, 8),
    unseen="sent only when a delivery removes tasks of a run under way",
)
