"""Collects each month's HVFHV trip files into the lake and triggers the analysis."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, CronDataIntervalTimetable, Metadata, Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from taxiway.core.errors import unrecoverable
from taxiway.core.month import PATTERN
from taxiway.core.settings import settings
from taxiway.hvfhv.settings import hvfhv_settings
from taxiway.operations import notices
from taxiway.operations.deadlines import done_within

hvfhv_raw = Asset("hvfhv_raw", uri=f"{settings().lake}/raw/hvfhv")


@dag(
    # The data interval of a run is the month that it collects: the run for January starts on 1 February.
    schedule=CronDataIntervalTimetable("@monthly", timezone="UTC"),
    start_date=datetime.strptime(hvfhv_settings().first_month, "%Y-%m").replace(tzinfo=UTC),
    catchup=hvfhv_settings().catchup,
    max_active_runs=4,
    deadline=done_within(24),
    tags=["tier:1", "domain:hvfhv"],
    **notices.of_run(),
    params={
        "month": Param(
            None,
            type=["null", "string"],
            pattern=PATTERN,
            title="Month",
            description="Month to collect, such as 2023-01; by default that of the run's logical date.",
        ),
        "again": Param(
            False,
            type="boolean",
            title="Analyse again",
            description="Have the month analysed again even if its files have not changed.",
        ),
    },
    default_args={
        **notices.of_tasks("docs/runbooks/DagSuccessBurnsFast.md"),
        "owner": "data-platform",
        "execution_timeout": timedelta(minutes=5),
        "retries": 5,
        "retry_delay": timedelta(seconds=settings().poll_s),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=30),
    },
    doc_md="""
### HVFHV collection

Downloads one month's data sets, as listed in the dataset catalogue, to `<lake>/raw/hvfhv/year=YYYY/month=MM/`, checks
each file (complete Parquet, columns and types of HVFHV trips, trips of that month, not a copy of another data set),
logs every attempt, and triggers `hvfhv_analysis` for the month through the asset `hvfhv_raw`.

* **Which month:** that of the run's logical date, which for scheduled and backfilled runs is the start of the data
  interval; or the parameter `month`. Catch-up starts at `TAXIWAY_HVFHV_FIRST_MONTH`.
* **Data sets** are loaded with `python -m taxiway.catalogue load FILE`. A month without data sets is skipped. The TLC
  publishes a month about two months late: load it, then trigger this DAG with `month`, or backfill.
* **Reruns** are safe. A source that has not changed is not downloaded again; a changed one replaces the whole file.
  With `again` the month is analysed even if nothing changed.
* **If it fails:** the task's last line gives the reason in one sentence, and `python -m taxiway.catalogue show` repeats
  it. Temporary errors (connection, server error, time-out) are retried with exponential back-off; an unusable file
  fails without a retry.
""",
)
def hvfhv_collection() -> None:
    """List the month's data sets, collect each of them, announce the month."""

    @task
    def list_data_sets() -> list[str]:
        """Return the names of the month's data sets."""
        from taxiway.catalogue import latest_attempts, open_catalogue

        month = _month()
        with _fail_without_retry():
            names = [dataset.name for dataset, _ in latest_attempts(open_catalogue(), [month])]
        if not names:
            raise AirflowSkipException(f"The catalogue has no data set of {month}: load one, or give another month.")
        return names

    @task(
        execution_timeout=timedelta(hours=2),
        max_active_tis_per_dag=4,
        map_index_template="{{ task.op_kwargs['name'] }}",
    )
    def collect(name: str) -> None:
        """Copy one data set into the lake."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from taxiway import catalogue
        from taxiway.hvfhv import collection
        from taxiway.hvfhv.metrics import DATASET
        from taxiway.operations import lineage, metrics

        with _fail_without_retry():
            engine = catalogue.open_catalogue()
            dataset = catalogue.find_dataset(engine, name)
            s3 = S3Hook(settings().aws_conn_id).get_conn()
            context = get_current_context()
            run, again = context["run_id"], context["params"]["again"]
            lineage.report(inputs=[lineage.of_uri(dataset.url)], outputs=[lineage.of_table("hvfhv", "trip_file")])
            collected = collection.collect(engine, s3, settings().lake, hvfhv_settings(), dataset, run, again=again)
        if collected.downloaded:
            metrics.bytes_collected(DATASET, collected.bytes)

    @task(outlets=[hvfhv_raw])
    def announce_month() -> Iterator[Metadata]:
        """Emit the asset event of the month."""
        yield Metadata(hvfhv_raw, {"month": _month()})

    collect.expand(name=list_data_sets()) >> announce_month()


def _month() -> str:
    context = get_current_context()
    if month := context["params"]["month"]:
        return str(month)
    if not (date := context.get("logical_date")):
        raise AirflowFailException("This run has no logical date: give it the parameter month, such as 2023-01.")
    return f"{date:%Y-%m}"


def _fail_without_retry() -> AbstractContextManager[None]:
    """Fail the task without a retry for errors that a retry cannot fix."""
    from taxiway.catalogue import CatalogueError
    from taxiway.hvfhv.collection import CollectionError

    return unrecoverable(CatalogueError, CollectionError)


hvfhv_collection()
