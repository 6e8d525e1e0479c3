"""A run of ``access_logs_etl``: data passed between its tasks, and the parts of them that use Airflow's context."""

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, cast

from airflow.sdk import Context, Variable, get_current_context

from taxiway.access_logs.lines import FileError, count_lines
from taxiway.access_logs.plan import (
    MARKER,
    VARIABLE,
    InputFile,
    Job,
    PlanError,
    choose,
    files_of,
    is_complete,
    late_days,
    next_folder,
)
from taxiway.access_logs.settings import access_logs_settings
from taxiway.access_logs.tables import REQUESTS, SESSIONS, TABLES
from taxiway.aws import serverless
from taxiway.aws.programs import ProgramsError, settings_for_steps
from taxiway.core.contracts import ContractError
from taxiway.core.errors import unrecoverable
from taxiway.core.s3 import split
from taxiway.core.settings import settings
from taxiway.lake import Lake, LakeError, Publication, open_lake
from taxiway.operations import job_runs, lease, metrics, notices

log = logging.getLogger(__name__)

# Tasks whose results other tasks read.
PLAN, INSPECT, BUILD = "plan", "inspect", "build_day"
_JOB = f"ti.xcom_pull(task_ids='{PLAN}', key='job')"
MARKER_URI = f"{{{{ {_JOB}['folder'] }}}}/{MARKER}"
NAME = f"{{{{ dag.dag_id }}}} {{{{ {_JOB}['day'] }}}} {{{{ {_JOB}['version'] }}}}"
REBUILT = "rebuilt"  # key of the other days whose sessions the job run writes
PROGRAM = "access_logs/build_day.py"


class BusyError(RuntimeError):
    """Another active run has the lease of the pipeline."""


def lake() -> Lake:
    """Return the lake with the pipeline's tables."""
    return open_lake(settings(), TABLES)


def fail_without_retry() -> AbstractContextManager[None]:
    """Fail the task without a retry for errors that a retry cannot fix."""
    return unrecoverable(PlanError, FileError, ProgramsError, LakeError, ContractError, serverless.ServerlessError)


def plan(context: Context) -> list[dict[str, Any]]:
    """Read the Variable and push the run's job; return a run to start for each day that got files late.

    What the run needs must be there before anything costs money.
    """
    params: dict[str, Any] = context["params"]
    logical: datetime | None = context["dag_run"].logical_date
    found = lake()
    with fail_without_retry():
        job = choose(Variable.get(VARIABLE, default=None), params["day"], logical, datetime.now(UTC))
        serverless.require_role(settings())
        settings_for_steps(settings(), found.session, context["ti"])
    late = []
    if job["advances"]:  # reruns and backfills must not start more of them
        published = found.partitions(REQUESTS)
        late = late_days(found.session.client("s3"), job, published, access_logs_settings().late_days)
    context["ti"].xcom_push("job", job)
    return [{"trigger_run_id": f"late__{day}__{job['version']}", "conf": {"day": day}} for day in late]


def incomplete(context: Context) -> None:
    """Log that a folder was not complete in time: the failure callback of the task that waits for its marker."""
    job = context["ti"].xcom_pull(task_ids=PLAN, key="job")
    if job:
        hours = access_logs_settings().wait_h
        error = PlanError(
            f"{job['folder']} is not complete after {hours:g} hours: its marker {MARKER} is missing. Deliver the files "
            "and then the marker, and clear this task."
        )
        context["exception"] = error
        task: Any = context["ti"].task
        task.log.error("The day cannot be processed.", exc_info=error)


def inspect(job: Job, ti: Any) -> list[InputFile] | None:
    """Return the files of the day with their lines, counted in a stream; None while another run has the lease."""
    found = lake()
    if take_lease(found, ti) is not None:
        return None
    s3 = found.session.client("s3")
    with fail_without_retry():
        if not is_complete(s3, job["folder"]):
            raise PlanError(f"{job['folder']} has lost its marker {MARKER}: deliver it again and clear this task.")
        files = list(files_of(s3, job["folder"]))
        if not files:
            raise PlanError(
                f"{job['folder']} is complete but holds no file with data: deliver the day's logs and clear this run, "
                f"or, if there are none, set the Variable {VARIABLE} to the folder of the next day."
            )
        for file in files:
            bucket, key = split(file["uri"])
            body = s3.get_object(Bucket=bucket, Key=key, IfMatch=f'"{file["etag"]}"')["Body"]
            file["lines"] = count_lines(file["uri"], body.iter_chunks(1 << 20))
        if not any(file["lines"] for file in files):
            raise PlanError(
                f"The files of {job['folder']} have blank lines only: deliver the day's logs and clear this run."
            )
    return files


def take_lease(found: Lake, ti: Any) -> str | None:
    """Let only one run change the tables; return the id of another active run that does so."""
    return lease.take_for_run(found, "access_logs", ti)


def hold_lease(found: Lake, ti: Any) -> None:
    """Make sure that the run has the lease, as somebody may have cleared this task alone.

    Raises:
        BusyError: another run has it; a retry may find it free.
    """
    if holder := take_lease(found, ti):
        raise BusyError(f"The run {holder} changes the tables now: this task waits for its end, and is tried again.")


# ── The job run ─────────────────────────────────────────────────────────────────────────────────────────────────────


def job_run_when_run() -> Any:
    """Return a templated field, the request of the run's job run, that Airflow computes when the task runs."""

    def render(context: Context, jinja_env: object) -> dict[str, Any]:  # noqa: ARG001 - Airflow passes these names
        ti: Any = context["ti"]
        job = cast("Job", ti.xcom_pull(task_ids=PLAN, key="job"))
        found = lake()
        hold_lease(found, ti)
        files = cast("list[InputFile]", ti.xcom_pull(task_ids=INSPECT))

        def arguments(attempt: int) -> list[str]:
            words = ["--day", job["day"], "--lake", found.settings.lake, "--version", f"{job['version']}.{attempt}"]
            words += [word for file in files for word in ("--input", file["uri"])]
            return [*words, *neighbours(found, job)]

        with fail_without_retry():
            config = serverless.job_run_config(
                found.session.client("emr-serverless"),
                settings(),
                found.session,
                ti,
                application=ti.xcom_pull(task_ids=job_runs.CREATE),
                name=ti.task.render_template(NAME, context),
                program=serverless.Program(PROGRAM, arguments),
            )
        words = config["jobDriver"]["sparkSubmit"]["entryPointArguments"]
        ti.xcom_push(REBUILT, [day for option, day in pairwise(words) if option == "--rebuild"])
        return config

    return render


def neighbours(found: Lake, job: Job) -> list[str]:
    """Return the arguments on other days: whose requests belong to sessions of the day, whose sessions change."""
    from taxiway.access_logs.sessions_plan import plan as plan_sessions

    requests, sessions = found.partitions(REQUESTS), found.partitions(SESSIONS)

    def last_end(day: str) -> datetime | None:
        return max(found.read(sessions[day].location, ["ended_at"]).column(0).to_pylist(), default=None)

    days = sorted(requests.keys() & sessions.keys())
    with ThreadPoolExecutor(8) as pool:  # a small file each
        ends = dict(zip(map(date.fromisoformat, days), pool.map(last_end, days), strict=True))
    planned = plan_sessions(date.fromisoformat(job["day"]), ends)
    words = [word for day in planned.read for word in ("--neighbour", f"{day}={requests[str(day)].location}")]
    return [*words, *(word for day in planned.rebuilt for word in ("--rebuild", str(day)))]


# ── After it ────────────────────────────────────────────────────────────────────────────────────────────────────────


def check(job: Job, files: list[InputFile], ti: Any) -> list[Publication]:
    """Check the day's outputs, tell the consistency report, and return what can be published."""
    from taxiway.access_logs import consistency
    from taxiway.access_logs.checks import check_day, read_outputs
    from taxiway.operations import quality

    found, others = lake(), ti.xcom_pull(task_ids=BUILD, key=REBUILT)
    with fail_without_retry():
        outputs, publications = read_outputs(found, job, files, others, access_logs_settings())
        checks = consistency.failures(outputs)
        headline, table = consistency.headline(outputs, checks), consistency.table(outputs, checks)
        log.info("%s\n%s", headline, "\n".join(f"{name:30} {value}" for name, value in table))
        context = cast("Any", get_current_context())
        notices.tell(context, headline, table)
        results = {consistency.COLUMNS: [], **checks}  # without a fault of the columns it is not named
        quality.record(
            [quality.result_of(REQUESTS, name, faults, period=job["day"]) for name, faults in results.items()], context
        )
        check_day(outputs, checks)
    return publications


def publish(publications: list[Publication], ti: Any) -> list[str]:
    """Publish checked versions, delete old ones, and return the days whose published version changed."""
    found = lake()
    hold_lease(found, ti)
    for publication in publications:
        found.publish(publication, ti.run_id)
        found.prune(publication["period"])
    with metrics.best_effort():
        metrics.freshness(found)
    return [publication["period"] for publication in publications]


def advance(job: Job) -> str | None:
    """Move the Variable to the next day if it names the job's; return its new value, None if it stays."""
    following = next_folder(job, Variable.get(VARIABLE, default=None))
    if following:
        Variable.set(VARIABLE, following, description="Folder of the next day that access_logs_etl processes")
    return following


def deadline_h() -> float:
    """Return the hours after which a run of the DAG is late."""
    return access_logs_settings().wait_h + settings().serverless_job_minutes / 60 + 6


def first_day() -> datetime:
    """Return the start of the first day that is scheduled."""
    day = date.fromisoformat(access_logs_settings().first_day)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
