"""Decrypts the API logs that arrived in each hour, and publishes the hours of events that they touch."""

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import CronDataIntervalTimetable, Param, TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from taxiway.api_logs import hours, run
from taxiway.api_logs.checks import Built, Quarantined
from taxiway.api_logs.plan import Batch, Converted
from taxiway.api_logs.settings import api_logs_settings
from taxiway.core.settings import settings
from taxiway.operations import notices
from taxiway.operations.deadlines import done_within


@dag(
    # The data interval of a run is the hour whose arrivals it takes: the run of 07:00 starts at 08:00.
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC") if api_logs_settings().scheduled else None,
    start_date=hours.parse(api_logs_settings().first_hour),
    catchup=api_logs_settings().catchup,
    max_active_runs=1,  # two runs would build an hour of events from each other's half of its arrivals
    deadline=done_within(6),
    tags=["tier:1", "domain:api_logs"],
    **notices.of_run(),
    params={
        "hours": Param(
            [],
            type="array",
            items={"type": "string", "pattern": hours.RANGE_PATTERN},
            title="Hours of arrival",
            description="Hours or ranges, such as 2026-01-31-07 or 2026-01-31-00/2026-01-31-23, not the run's own.",
        ),
        "key": Param(
            None,
            type=["null", "string"],
            title="Key",
            description="Take the hours whose quarantine has records that waited for this key.",
        ),
        "again": Param(
            False, type="boolean", title="Again", description="Take the hours even if their objects have not changed."
        ),
    },
    default_args={
        **notices.of_tasks("docs/runbooks/DagSuccessBurnsFast.md"),
        "owner": "data-platform",
        "execution_timeout": timedelta(minutes=50),
        "retries": 3,
        "retry_delay": timedelta(seconds=settings().poll_s),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md="""
### API logs

Decrypts the encrypted JSON logs that arrived in an hour, and publishes them as the tables `api_events` (a partition an
hour of events) and `api_events_quarantine` (a partition an hour of arrival), which Athena answers.

* **Which hours:** the hour of arrival of the run's data interval, and up to `TAXIWAY_API_LOGS_RECHECK_HOURS` before it
  whose objects are not those that were published. With the parameter `hours` those; with `key` those whose quarantine
  has records that waited for that key (`python -m taxiway.api_logs replay --key ID`). For a long catch-up give a range:
  one run takes many hours in few tasks. An hour in which nothing arrived is published with no records.
* **Tasks:** `plan` makes batches; `convert` decrypts, validates, flattens and pseudonymises an arrival hour (only this
  task has plaintext, in memory); `build` makes each touched hour of events as a whole, from all arrivals that
  hold events of it; `quarantine` adds the duplicates; `check` asks Athena whether every record is accounted for;
  `publish`; `compact` writes days that no late record can reach to `api_events_daily`; `summarise` asks Athena for
  the days' numbers and writes `reports/api_logs/<day>.html`. XComs hold references and counts only.
* **One run at a time**, so that an hour is never built twice at once. Every try writes a version of its own.
* **Queries** are in `taxiway/api_logs/queries/`, and kept in Athena as named queries of the workgroup
  `TAXIWAY_API_LOGS_WORKGROUP`, whose scan limit ends a query that reads too much.
* **If a task fails**, its last line gives the reason; nothing is published unless all checks passed. Clear the failed
  task, or do nothing: the next run takes the hour again while it is within its recheck.
* **If a key is missing**, its records are quarantined as `unknown_key`, encrypted: make the key, then replay it.
""",
)
def api_logs_etl() -> None:
    """Plan, convert arrival hours, build hours of events, check, publish, summarise."""

    @task(task_id=run.PLAN)
    def plan() -> list[Batch]:
        """Return batches of arrival hours."""
        with run.fail_without_retry():
            batches = run.plan(get_current_context())
        if not batches:
            raise AirflowSkipException("Every one of these hours is published as it arrived: there is nothing to do.")
        return batches

    @task(task_id=run.CONVERT, executor=settings().isolated_executor, map_index_template=run.HOURS)
    def convert(batch: Batch) -> list[Converted]:
        """Decrypt, validate, flatten and pseudonymise the records of arrival hours."""
        with run.fail_without_retry():
            return run.convert(batch, get_current_context()["ti"])

    @task(task_id=run.TOUCHED, trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
    def touched() -> list[Batch]:
        """Return batches of the hours of events that the arrivals touch."""
        with run.fail_without_retry():
            return run.touched(get_current_context()["ti"])

    @task(task_id=run.BUILD, executor=settings().isolated_executor, map_index_template=run.HOURS)
    def build(batch: Batch) -> list[Built]:
        """Build hours of events, each as a whole."""
        with run.fail_without_retry():
            return run.build(batch, get_current_context()["ti"])

    @task(task_id=run.SETTLE)
    def quarantine() -> list[Quarantined]:
        """Write the quarantine of the arrival hours: what was rejected, and the duplicates."""
        return run.settle(get_current_context()["ti"])

    @task
    def check() -> None:
        """Fail unless all checks pass."""
        with run.fail_without_retry():
            context = get_current_context()
            run.check(context["ti"], context)

    @task
    def publish() -> list[str]:
        """Return the days that were published."""
        return run.publish(get_current_context()["ti"])

    @task(executor=settings().isolated_executor)
    def compact() -> list[str]:
        """Return the days whose small hours became one file of the table of days."""
        return run.compact(get_current_context()["ti"])

    @task
    def summarise(days: list[str]) -> None:
        """Write the days' pages, and tell their numbers."""
        with run.fail_without_retry():
            run.summarise(days, get_current_context())

    converted = convert.expand(batch=plan())
    hours_to_build = touched()
    built = build.expand(batch=hours_to_build)
    published = publish()
    converted >> hours_to_build
    built >> quarantine() >> check() >> published
    # Last, so that a batch that failed fails the run, though what others converted is published.
    complete = EmptyOperator(task_id="complete")
    [converted, published >> compact(), summarise(published)] >> complete  # type: ignore[arg-type]


api_logs_etl()
