"""Keeps the arrival model's scoring job running on EMR Serverless, by a short look every five minutes."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, task

from taxiway.core.settings import settings
from taxiway.eta.settings import eta_settings
from taxiway.operations import notices
from taxiway.operations.deadlines import done_within


@dag(
    # Without a broker there is nothing to keep; who takes the broker away triggers it once, which ends the job.
    schedule="*/5 * * * *" if eta_settings().bootstrap else None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=15),
    deadline=done_within(1),
    tags=["tier:1", "domain:eta"],
    default_args={
        **notices.of_tasks("docs/runbooks/EtaStreamDown.md"),
        "owner": "data-platform",
        "execution_timeout": timedelta(minutes=4),
        "retries": 1,
        "retry_delay": timedelta(seconds=settings().poll_s),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=1),
    },
    doc_md="""
### Arrival model: stream

Compares, every five minutes, what should run with what runs on EMR Serverless, and ends: it starts the scoring job in
STREAMING mode, replaces it, or cancels it. The job goes on between the runs of this DAG.

* **What should run:** nothing while `TAXIWAY_ETA_BOOTSTRAP` names no broker, which is the default; then this DAG has no
  schedule either (trigger it once after taking the broker away, which ends the job). Else one job run of
  `eta/score_stream.py` with the settings `TAXIWAY_ETA_…` and the programs of the commit of this DAG.
* **New code or settings:** the job run that goes on is cancelled with a minute for the batch in progress, and the new
  one goes on from its checkpoint, `<lake>/checkpoints/eta/<TAXIWAY_ETA_CHECKPOINT>`.
* **Failures:** EMR Serverless tries again up to five times an hour. A job run that was lost nevertheless is started
  again here after 5, 10, 20, 40 and then 60 minutes; new code or settings start at once.
* **Application:** the one named `TAXIWAY_ETA_APPLICATION`, created if there is none. It stops by itself when no job
  runs. Job runs of the stream have no tag `run_id`, so `cost_guard` leaves them alone.
* **If it fails**, the task's last line has the reason in one sentence; a job that runs goes on.
""",
)
def eta_stream() -> None:
    """Keep the stream, by one task: the next run makes up for what this one could not do."""

    @task
    def keep() -> list[str]:
        """Return a sentence on each thing that was done."""
        from airflow.sdk import get_current_context

        from taxiway.eta import run

        return run.keep_stream(get_current_context())

    keep()


eta_stream()
