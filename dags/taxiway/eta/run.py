"""A run of ``eta_model_training``: data passed between its tasks, and the parts of its tasks that use the context."""

import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, cast

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from taxiway.aws import serverless
from taxiway.aws.programs import ProgramsError, settings_for_steps
from taxiway.core.contracts import ContractError
from taxiway.core.dataset_list import CatalogueError
from taxiway.core.errors import unrecoverable
from taxiway.core.settings import Settings, settings
from taxiway.eta import gate
from taxiway.eta.plan import TRAINING_TABLE, Job, PlanError, TooFewMonthsError, awaited_months, choose
from taxiway.eta.registry import CARD, Live, Registry, RegistryError
from taxiway.eta.settings import eta_settings
from taxiway.eta.stream import GRACE_S, Stream, keep
from taxiway.lake import Lake, LakeError, Partition, Table, TableSet, open_lake
from taxiway.operations import job_runs, lineage, metrics, notices, quality

log = logging.getLogger(__name__)

# Tasks whose results other tasks read.
PLAN, TRAIN = "plan", "train"
NAME = f"{{{{ dag.dag_id }}}} {{{{ ti.xcom_pull(task_ids='{PLAN}')['version'] }}}}"
PROGRAM = "eta/train.py"
MEASURED = Table("eta", "model_predictions")  # what the gate's figures are computed from
REFUSED = "docs/runbooks/EtaGateRefused.md"


class Verdict(TypedDict):
    """What the gate decided, as plain data: see :class:`taxiway.eta.gate.Decision`; ``seen`` is the live pointer."""

    promote: bool
    sentence: str
    faults: list[str]
    seen: dict[str, Any] | None


def lake() -> Lake:
    """Return the lake; the model has no published table, and names that of its input by the contract."""
    return open_lake(settings(), TableSet("eta"))


def registry(found: Lake | None = None) -> Registry:
    """Return the registry of the lake."""
    found = found or lake()
    return Registry(found.session.client("s3"), found.settings.lake)


def serverless_settings() -> Settings:
    """Return the shared settings with the model's own application, which keeps no workers ready."""
    own = eta_settings()
    changed = {
        "serverless_application": own.application,
        "serverless_preinitialised": False,
        "serverless_driver": own.driver,
    }
    return settings().model_copy(update=changed)


def fail_without_retry() -> AbstractContextManager[None]:
    """Fail the task without a retry for errors that a retry cannot fix."""
    return unrecoverable(
        *(PlanError, CatalogueError, ProgramsError, LakeError, ContractError),
        *(RegistryError, gate.GateError, serverless.ServerlessError),
    )


def plan(context: Context) -> Job | None:
    """Return the run's job; None while a month that it is asked for is not published.

    What the run needs must be there before anything costs money.
    """
    params, dag_run, found = context["params"], context["dag_run"], lake()
    month, months = params["month"], params["months"]
    with fail_without_retry():
        published = found.partitions(TRAINING_TABLE)
        if missing := _awaited({*months, *([month] if month else [])}, published):
            since = dag_run.start_date or dag_run.run_after
            if datetime.now(UTC) > since + timedelta(hours=eta_settings().wait_h):
                raise PlanError(
                    f"{', '.join(missing)} of {TRAINING_TABLE.name} is not published after {eta_settings().wait_h:g} "
                    "hours: run hvfhv_collection for it, or leave it out, and clear this task."
                )
            log.info("Waiting until %s of %s is published.", ", ".join(missing), TRAINING_TABLE.name)
            return None
        try:
            job = choose(published, month, months, datetime.now(UTC), eta_settings())
        except TooFewMonthsError as error:
            if dag_run.run_type == "asset_triggered":  # the first months of a new lake: no fault of anybody's
                raise AirflowSkipException(str(error)) from None
            raise
        serverless.require_role(settings())
        settings_for_steps(settings(), found.session, context["ti"])
    return job


def _awaited(requested: set[str], published: Mapping[str, Partition]) -> list[str]:
    if not requested:
        return []
    from taxiway import catalogue  # SQLAlchemy takes a while

    engine = catalogue.open_catalogue()
    listed = {dataset.month for dataset, _ in catalogue.latest_attempts(engine, requested)}
    return awaited_months(requested, published, listed, catalogue.complete_months(engine))


def job_run_when_run() -> Any:
    """Return a templated field, the request of the run's job run, that Airflow computes when the task runs."""

    def render(context: Context, jinja_env: object) -> dict[str, Any]:  # noqa: ARG001 - Airflow passes these names
        ti: Any = context["ti"]
        job = cast("Job", ti.xcom_pull(task_ids=PLAN))
        found = lake()

        def arguments(attempt: int) -> list[str]:  # noqa: ARG001 - each attempt writes the same version
            code = settings_for_steps(settings(), found.session, ti).spark_jobs.rpartition("/")[2]
            words = ["--lake", found.settings.lake, "--version", job["version"], "--code", code]
            return [*words, *(word for month in job["tables"].items() for word in ("--month", "=".join(month)))]

        with fail_without_retry():
            return serverless.job_run_config(
                found.session.client("emr-serverless"),
                serverless_settings(),
                found.session,
                ti,
                application=ti.xcom_pull(task_ids=job_runs.CREATE),
                name=ti.task.render_template(NAME, context),
                program=serverless.Program(
                    PROGRAM, arguments, serverless.packed_environment(eta_settings().environment)
                ),
            )

    return render


# ── After it ────────────────────────────────────────────────────────────────────────────────────────────────────────


def judge(job: Job, context: Context) -> Verdict:
    """Decide whether the run's version goes live, tell it, and report what was measured."""
    models = registry()
    with fail_without_retry():
        measured, live = models.metrics(job["version"]), models.live()
        there = live is not None and live.version in models.versions()
        decision = gate.judge(measured, models.metrics(live.version) if live and there else None, eta_settings())
    told = decision.sentence
    if live and not there:
        told += f" The live version {live.version} is gone: the gate judged as if none were live."
    (log.warning if decision.faults else log.info)("%s", told)
    # A warning: a version that is refused stops nothing, the one before it stays live.
    result = quality.result_of(MEASURED, "gate", decision.faults, period=str(measured.get("test_month", "")))
    quality.record([replace(result, severity="warning", runbook=REFUSED)], cast("Any", context))
    with metrics.best_effort():
        metrics.count("eta", "gate", "promoted" if decision.promote else "refused", value=1)
        for name, key in (("training_s", "training_s"), ("candidate_mae_s", "mae_s"), ("baseline_mae_s",) * 2):
            metrics.gauge("eta", name, value=measured[key])
    card = f"{models.folder(job['version'])}/{CARD}"
    context["ti"].xcom_push("card", card)
    notices.tell(cast("Any", context), f"{told} Model card: {card}")
    return Verdict(
        promote=decision.promote,
        sentence=decision.sentence,
        faults=list(decision.faults),
        seen=asdict(live) if live else None,
    )


def promote(job: Job, verdict: Verdict, run_id: str) -> str:
    """Make the run's version live if the gate says so, and return it.

    Raises:
        AirflowSkipException: the gate refuses it.
    """
    if not verdict["promote"]:
        raise AirflowSkipException(verdict["sentence"])
    seen = Live(**verdict["seen"]) if verdict["seen"] else None
    with fail_without_retry():
        live = registry().promote(job["version"], by=run_id, reason=verdict["sentence"], seen=seen)
    return live.version


def prune() -> list[str]:
    """Delete old versions, and return them."""
    with fail_without_retry():
        return registry().prune(eta_settings().kept_models)


# ── The stream ──────────────────────────────────────────────────────────────────────────────────────────────────────


def keep_stream(context: Context) -> list[str]:
    """Start, replace or cancel the stream; return a sentence on each thing that was done."""
    own, ti, session = eta_settings(), context["ti"], lake().session
    sized = {"serverless_driver": own.stream_driver, "serverless_executor": own.stream_executor}
    with fail_without_retry():
        if own.bootstrap:
            serverless.require_role(settings())
        found = settings_for_steps(settings(), session, ti) if own.bootstrap else settings()
        stream = Stream(
            session.client("emr-serverless"),
            serverless_settings().model_copy(update={**sized, "spark_jobs": found.spark_jobs}),
            own,
            lineage.for_spark(ti),
        )
        until = datetime.now(UTC) + timedelta(seconds=GRACE_S + 60)
        done, started = keep(stream, until, lambda: time.sleep(settings().poll_s))
    with metrics.best_effort():
        metrics.gauge("eta", "stream_wanted", value=int(bool(own.bootstrap)))
        metrics.count("eta", "stream_restarts", value=int(started))
    return done


def deadline_h() -> float:
    """Return the hours after which a run of the DAG is late."""
    return eta_settings().wait_h + settings().serverless_job_minutes / 60 + 6
