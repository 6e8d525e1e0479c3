"""Trains the arrival model on published months of HVFHV trips, and makes it live if it passes the gate."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, Param, PokeReturnValue, TriggerRule, dag, get_current_context, task

from taxiway.core.month import PATTERN
from taxiway.core.settings import settings
from taxiway.eta import run
from taxiway.eta.plan import Job
from taxiway.eta.run import Verdict
from taxiway.eta.settings import eta_settings
from taxiway.operations import job_runs, notices
from taxiway.operations.deadlines import done_within

TOLD = notices.of_tasks("docs/runbooks/EtaTrainingFailed.md")


@dag(
    # hvfhv_analysis emits it when it has published months.
    schedule=[Asset("hvfhv_eta_training", uri=f"{settings().lake}/marts/hvfhv/eta_training")]
    if eta_settings().scheduled
    else None,
    catchup=False,
    max_active_runs=1,
    deadline=done_within(run.deadline_h()),
    tags=["tier:1", "domain:eta"],
    **notices.of_run(),
    params={
        "month": Param(
            None,
            type=["null", "string"],
            pattern=PATTERN,
            title="Test month",
            description="The month that the model is tested on, such as 2023-06; by default the newest.",
        ),
        "months": Param(
            [],
            type="array",
            items={"type": "string", "pattern": PATTERN},
            title="Months",
            description="Months to learn from and to be tested on; by default all that are published.",
        ),
    },
    default_args={
        **TOLD,
        "owner": "data-platform",
        "aws_conn_id": settings().aws_conn_id,
        "execution_timeout": timedelta(minutes=30),
        "retries": 2,
        "retry_delay": timedelta(seconds=settings().poll_s),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md="""
### Arrival model: training

Trains the model of how long a rider waits until pick-up, on EMR Serverless with Apache Spark, and makes it live if it
passes the gate.

* **Months:** the newest published month of `hvfhv_eta_training` (or the parameter `month`) is the test month; the model
  is trained on those before it, at most `TAXIWAY_ETA_MONTHS` in all, and chosen by the month before the test month. The
  parameter `months` names the months one by one; a run waits up to `TAXIWAY_ETA_WAIT_H` for those it is asked for.
* **Version:** `<lake>/models/eta/<version>/` with the model, its feature contract, metrics, predictions of the test
  month and a model card (`card.html`, whose address the task `gate` returns as `card` and tells in the run's thread).
  A repeated task writes the same version; a repeated `plan` makes another.
* **Gate:** the error on the test month is `TAXIWAY_ETA_GATE_GAIN` below that of the median by zone and hour, is in no
  company and borough above it nor `TAXIWAY_ETA_GATE_WORSE` above the live model's, and 88 to 92 % of waits are within
  p90. Where no model is live, the first that beats the global median goes live. A refused version stays in the
  registry; the run succeeds, and `promote` is skipped with the reason.
* **Live model:** the pointer `<lake>/models/eta/live.json`; `python -m taxiway.eta models`, `promote VERSION` and
  `roll-back` show and change it. The newest `TAXIWAY_ETA_KEPT_MODELS` versions stay, and the live and the former one.
* **If it fails**, the task's last line has the reason in one sentence, for the job run with the location of its log;
  the live model stays. Remove the cause and clear the failed task and those after it.
""",
)
def eta_model_training() -> None:
    """Plan, train on EMR Serverless, judge, promote, delete old versions."""

    # Months take minutes to be published, and a task that is rescheduled too soon may overtake its executor's report.
    @task.sensor(task_id=run.PLAN, mode="reschedule", poke_interval=10 * settings().poll_s, timeout=8 * 24 * 3600)
    def plan() -> PokeReturnValue:
        """Wait for the months that the run is asked for, and return its job."""
        job = run.plan(get_current_context())
        return PokeReturnValue(is_done=job is not None, xcom_value=job)

    @task
    def gate(job: Job) -> Verdict:
        """Decide whether the version goes live."""
        return run.judge(job, get_current_context())

    @task
    def promote(job: Job, verdict: Verdict) -> str:
        """Make the version live if the gate says so, and return it."""
        return run.promote(job, verdict, get_current_context()["run_id"])

    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def prune() -> list[str]:
        """Delete old versions, and return them."""
        return run.prune()

    job: Any = plan()
    create_application, train = job_runs.job_run_tasks(
        run.TRAIN,
        name=run.NAME,
        config=run.job_run_when_run(),
        shared=run.serverless_settings(),
        told=TOLD,
        tags=eta_settings().tags,
    )

    job >> create_application
    verdict: Any = gate(job)
    train >> verdict
    promote(job, verdict) >> prune()


eta_model_training()
