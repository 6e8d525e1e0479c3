"""Writes the monthly report on checks and incidents: time to detect and to repair by owner, action items, failures."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task

from taxiway.core.month import PATTERN
from taxiway.core.settings import settings


@dag(
    # The data interval of a run is the month that it reports.
    schedule=CronDataIntervalTimetable("@monthly", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=not settings().platform_dags,
    tags=["tier:2", "domain:platform"],
    params={
        "month": Param(
            None,
            type=["null", "string"],
            pattern=PATTERN,
            title="Month",
            description="Month to report, such as 2026-11; by default that of the run's logical date, or this one if "
            "it has none.",
        )
    },
    default_args={
        "owner": "platform",
        "execution_timeout": timedelta(minutes=15),
        "retries": 4,  # the first deployment may take some minutes to its end, where the tables are made
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=5),
    },
    doc_md="""
### Report on quality

Writes `<lake>/reports/quality/YYYY-MM.html`, a page that opens without a network: the incidents of the month with time
to detect and to repair by owner, action items that are not done, and how often the checks of each table failed.

* **Where it is from:** the tables `incidents`, `incident_actions` and `check_results` of the catalogue's database.
* **A run again** writes the page again, with states as they are by then. Results older than 400 days are deleted.
* **Month:** that before the run, or the parameter `month`, this month's so far too.
* **If it fails**, nothing but the page is missing: its last line says whether the database or S3 was unavailable.
""",
)
def quality_report() -> None:
    """Write one page."""

    @task
    def write() -> str:
        """Return the address of the page."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

        from taxiway.catalogue import CatalogueError, checks, open_catalogue
        from taxiway.core.errors import unrecoverable
        from taxiway.operations import quality_report as report

        context = get_current_context()
        logical = context["dag_run"].logical_date
        month = context["params"]["month"] or f"{logical or datetime.now(UTC):%Y-%m}"
        with unrecoverable(CatalogueError):
            database = open_catalogue(checks.REVISION)
        s3 = AwsGenericHook(aws_conn_id=settings().aws_conn_id).get_session().client("s3")
        return report.publish(database, month, settings().lake, s3)

    write()


quality_report()
