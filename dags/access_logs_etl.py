"""Turns a day's access logs into requests, traffic, sessions and a consistency report, on EMR Serverless."""

from datetime import timedelta
from typing import Any

from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import CronDataIntervalTimetable, Param, PokeReturnValue, dag, get_current_context, task

from taxiway.access_logs import run
from taxiway.access_logs.metrics import DAG_ID
from taxiway.access_logs.plan import DAY_PATTERN, InputFile, Job
from taxiway.access_logs.settings import access_logs_settings
from taxiway.core.settings import settings
from taxiway.lake import Publication
from taxiway.operations import job_runs, notices
from taxiway.operations.deadlines import done_within

TOLD = notices.of_tasks("docs/runbooks/AccessLogsDayFailed.md")


@dag(
    # The data interval of a run is the day that it processes: the run for 1 January starts on 2 January.
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC") if access_logs_settings().scheduled else None,
    start_date=run.first_day(),
    catchup=access_logs_settings().catchup,
    max_active_runs=1,
    deadline=done_within(run.deadline_h()),
    tags=["tier:1", "domain:access_logs"],
    **notices.of_run(),
    params={
        "day": Param(
            None,
            type=["null", "string"],
            pattern=DAY_PATTERN,
            title="Day",
            description="Day (UTC) to process, such as 2015-05-17; by default that of the run's logical date, "
            "or the Variable's if it has none.",
        )
    },
    default_args={
        **TOLD,
        "owner": "data-platform",
        "aws_conn_id": settings().aws_conn_id,
        "execution_timeout": timedelta(minutes=60),
        "retries": 2,
        "retry_delay": timedelta(seconds=settings().poll_s),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md="""
### Access logs

Builds the tables of one UTC day of web servers' access logs on EMR Serverless: requests, quarantine, hourly traffic,
top resources, status by path, suspicious clients, sessions.

* **Which day:** the Airflow Variable `access_logs_folder` has the folder to process next,
  `s3://…/year=YYYY/month=MM/day=DD`. The run of that day moves it to the next one, once everything is published. A run
  of an earlier day (its logical date, or the parameter `day`) is a rerun or backfill and leaves it alone. A run of a
  later day fails before anything costs money: an earlier one is unfinished.
* **Folder:** it is complete when it has an object `_SUCCESS`; the run waits for it for `TAXIWAY_ACCESS_LOGS_WAIT_H`
  hours. Files are plain or gzip (`.gz`); their lines are counted before a job run is started.
* **Late files:** names, sizes and ETags of a day's files are kept with its tables. A run looks at the
  `TAXIWAY_ACCESS_LOGS_LATE_DAYS` days before its own, and starts a run for each whose files have changed since.
* **One run at a time** changes the tables, whoever started it: backfills wait in `inspect` for the lease
  `<lake>/leases/access_logs.json`, which passes on when the run that has it has ended.
* **Application:** one named `TAXIWAY_SERVERLESS_APPLICATION` is used if its settings are those of
  `TAXIWAY_SERVERLESS_…`, else it is created, and deleted at the end; it is stopped whatever happens.
* **Job run:** a retry finds the one that still goes on, and starts another only after one that was lost; EMR Serverless
  ends it after `TAXIWAY_SERVERLESS_JOB_MINUTES`. Its programs are those of the commit of the DAG's code.
* **Sessions** belong to the day in which they began: a run also publishes the sessions of neighbouring days that it
  changes.
* **If it fails**, the task's last line has the reason in one sentence, for a job run with the location of its log; the
  published version stays. Remove the cause and clear the failed task and those after it.
""",
)
def access_logs_etl() -> None:
    """Plan, wait for the folder, run the Spark program, check, publish, move on to the next day."""

    @task(task_id=run.PLAN)
    def plan() -> list[dict[str, Any]]:
        """Push the run's ``job``; return a run for each earlier day that got files after it was published."""
        return run.plan(get_current_context())

    @task.sensor(task_id=run.INSPECT, mode="reschedule", poke_interval=settings().poll_s, timeout=24 * 3600)
    def inspect(job: Job) -> PokeReturnValue:
        """Wait for the pipeline's lease, and return the day's files."""
        files = run.inspect(job, get_current_context()["ti"])
        return PokeReturnValue(is_done=files is not None, xcom_value=files)

    @task
    def check(job: Job, files: list[InputFile]) -> list[Publication]:
        """Return what can be published: the day, and the sessions of other days that it changes."""
        return run.check(job, files, get_current_context()["ti"])

    @task
    def publish(publications: list[Publication]) -> list[str]:
        """Return the days whose published version changed."""
        return run.publish(publications, get_current_context()["ti"])

    @task
    def advance(job: Job) -> str | None:
        """Move the Variable to the next day, if it names this one."""
        return run.advance(job)

    late: Any = plan()
    job = late["job"]
    wait_for_folder = S3KeySensor(
        task_id="wait_for_folder",
        bucket_key=run.MARKER_URI,
        deferrable=True,
        poke_interval=settings().poll_s,
        timeout=access_logs_settings().wait_h * 3600,
        execution_timeout=timedelta(hours=access_logs_settings().wait_h, minutes=10),
        on_failure_callback=[run.incomplete, *notices.callbacks(TOLD, "failure")],
    )
    files: Any = inspect(job)
    create_application, build_day = job_runs.job_run_tasks(
        run.BUILD, name=run.NAME, config=run.job_run_when_run(), shared=settings(), told=TOLD
    )

    job >> wait_for_folder >> files >> create_application
    publications: Any = check(job, files)
    build_day >> publications
    publish(publications) >> advance(job)
    TriggerDagRunOperator.partial(
        task_id="run_late", trigger_dag_id=DAG_ID, logical_date=None, skip_when_already_exists=True
    ).expand_kwargs(late)


access_logs_etl()
