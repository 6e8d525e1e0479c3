"""What pipelines share of EMR Serverless: the application, job runs that a retry finds again, and their end.

The provider's operators do the work. What is here builds their requests, and makes up for what they lack in 9.39:

- The operator that creates an application templates neither its configuration nor its token, and never looks for one
  that exists.
- A deferred job run that fails ends as ``KeyError: 'job_details'``: neither reason nor log are told, and it is not
  cancelled if it goes on.
- A forced stop leaves job runs that are queued, and waits for them in vain.
- Waiting ends after 25 minutes unless it is told otherwise.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.providers.amazon.aws.operators.emr import EmrServerlessCreateApplicationOperator
from airflow.providers.amazon.aws.utils.mixins import aws_template_fields
from airflow.sdk import Context, RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from taxiway.aws.programs import ARCHIVE, settings_for_steps
from taxiway.core.settings import Settings, worker_size

LOST = ("FAILED", "CANCELLING", "CANCELLED")
ENDED = ("SUCCESS", "FAILED", "CANCELLED")
ACTIVE = ("SUBMITTED", "QUEUED", "PENDING", "SCHEDULED", "RUNNING")
PROGRAMS = "spark_jobs"  # tag of a job run: the folder of the programs that it runs
_UNPACKED = "environment"  # folder of a packed Python environment beside the program
_OVERHEAD = 1.1  # Spark's own share of a worker's memory, beside the heap
_LEAST_OVERHEAD_MIB = 384
_START_S = 900  # an application that starts, and a job run that waits for capacity


class ServerlessError(RuntimeError):
    """EMR Serverless cannot be used as asked; the text is one sentence on what is wrong and what to do."""


# ── The application ─────────────────────────────────────────────────────────────────────────────────────────────────


def application_config(settings: Settings, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the request of ``CreateApplication``, without its token, release and type.

    Args:
        settings: sizes, limits, name and logs.
        tags: added to ``settings.cost_tags``; values may hold Jinja.
    """
    config: dict[str, Any] = {
        "name": settings.serverless_application,
        "architecture": settings.serverless_architecture,
        "maximumCapacity": {
            "cpu": f"{settings.serverless_max_vcpu} vCPU",
            "memory": f"{settings.serverless_max_gb} GB",
            "disk": f"{settings.serverless_max_disk_gb} GB",
        },
        "autoStartConfiguration": {"enabled": True},
        # The last line of defence: a started application bills its pre-initialised workers.
        "autoStopConfiguration": {"enabled": True, "idleTimeoutMinutes": settings.serverless_idle_minutes},
        **monitoring(settings),
        "tags": {**settings.cost_tags, **tags},
    }
    if settings.serverless_preinitialised:
        config["initialCapacity"] = {
            "DRIVER": _workers(1, settings.serverless_driver),
            "EXECUTOR": _workers(settings.serverless_executors, settings.serverless_executor),
        }
    return config


def _workers(count: int, size: str) -> dict[str, Any]:
    vcpu, gb = worker_size(size)
    return {
        "workerCount": count,
        "workerConfiguration": {"cpu": f"{vcpu} vCPU", "memory": f"{gb} GB", "disk": "20 GB"},
    }


def monitoring(settings: Settings) -> dict[str, Any]:
    """Return the configuration that has job runs write their logs to S3."""
    return {"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": f"{settings.serverless_logs}/"}}}


def waits(settings: Settings) -> dict[str, Any]:
    """Return the arguments of operators that wait for an application to start or to end: 15 minutes at most.

    It takes one or two, and not deferred, because a trigger that fires at once may overtake the scheduler's view of the
    task.
    """
    return {"waiter_delay": settings.poll_s, "waiter_max_attempts": math.ceil(_START_S / settings.poll_s)}


class CreateOrReuseApplication(EmrServerlessCreateApplicationOperator):
    """Uses the application of the name in ``config`` if there is one with these settings, else creates and starts it.

    Nobody else's arguments are changed; ``config`` is templated, and each try has a client token of its own, because
    the name finds what an earlier try created.
    """

    template_fields: Sequence[str] = aws_template_fields("config")

    def execute(self, context: Context) -> str | None:
        """Return the application's id."""
        ti: Any = context["ti"]
        self.client_request_token = digest(ti.dag_id, ti.run_id, ti.try_number, self.config["name"])
        wanted = {**self.config, "releaseLabel": self.release_label}
        try:
            found = reusable_application(self.hook.conn, wanted)
        except ServerlessError as error:
            raise AirflowFailException(str(error)) from None
        if found:
            self.log.info("Uses the EMR Serverless application %s (%s).", found["applicationId"], found["state"])
            return str(found["applicationId"])
        return super().execute(context)


def reusable_application(client: Any, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the application of a name, None if there is none.

    Args:
        client: a boto3 client for EMR Serverless.
        wanted: its name and the settings that it must have.

    Raises:
        ServerlessError: there is one of that name, with other settings.
    """
    pages = client.get_paginator("list_applications").paginate(
        states=["CREATING", "CREATED", "STARTING", "STARTED", "STOPPING", "STOPPED"]
    )
    named = [found["id"] for page in pages for found in page["applications"] if found.get("name") == wanted["name"]]
    faults: list[str] = []
    for identifier in named:
        found: dict[str, Any] = client.get_application(applicationId=identifier)["application"]
        faults = differences(found, wanted)
        if not faults:
            return found
    if faults:
        raise ServerlessError(
            f"There is an EMR Serverless application named {wanted['name']!r} ({named[-1]}) with other settings: "
            f"{', '.join(faults)}; set TAXIWAY_SERVERLESS_… to what it has, choose another name by "
            "TAXIWAY_SERVERLESS_APPLICATION, or delete it."
        )
    return None


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return how an application differs from what is wanted, such as ``releaseLabel is emr-7.1.0 instead of …``."""
    values = {name: (found.get(name), wanted.get(name)) for name in ("releaseLabel", "architecture")}
    for name in ("cpu", "memory", "disk"):
        values[f"maximumCapacity.{name}"] = (
            _number(found.get("maximumCapacity", {}).get(name)),
            _number(wanted["maximumCapacity"].get(name)),
        )
    ready, asked = _ready(found), _ready(wanted)
    for role in sorted({*ready, *asked}):
        values[f"initialCapacity.{role}"] = (ready.get(role, "none"), asked.get(role, "none"))
    faults = [f"{name} is {has} instead of {needs}" for name, (has, needs) in values.items() if has != needs]
    stop, limit = found.get("autoStopConfiguration", {}), wanted["autoStopConfiguration"]["idleTimeoutMinutes"]
    if not stop.get("enabled"):
        faults.append("it does not stop by itself")
    elif stop.get("idleTimeoutMinutes", 15) > limit:
        faults.append(f"it stops after {stop.get('idleTimeoutMinutes', 15)} idle minutes instead of {limit}")
    return faults


def _number(size: str | None) -> int | None:
    digits = re.match(r"\d+", size or "")
    return int(digits[0]) if digits else None


def _ready(application: Mapping[str, Any]) -> dict[str, str]:
    """Return the pre-initialised workers by role, such as ``2 × 4 vCPU, 16 GB``."""
    ready = {}
    for role, workers in application.get("initialCapacity", {}).items():
        size = workers.get("workerConfiguration", {})
        vcpu, gb = _number(size.get("cpu")), _number(size.get("memory"))
        ready[role.upper()] = f"{workers['workerCount']} × {vcpu} vCPU, {gb} GB"
    return ready


def discard_application(context: Context) -> None:
    """Stop or delete what a task has created that failed to create an application: its failure callback."""
    task: Any = context["task"]
    client = task.hook.conn
    pages = client.get_paginator("list_applications").paginate(states=["CREATED", "STARTING", "STARTED"])
    for found in (each for page in pages for each in page["applications"] if each.get("name") == task.config["name"]):
        if is_of_run(client.get_application(applicationId=found["id"])["application"], context):
            end = client.delete_application if found["state"] == "CREATED" else client.stop_application
            end(applicationId=found["id"])
            task.log.warning("The EMR Serverless application %s of this run: %s.", found["id"], end.__name__)


def is_of_run(resource: Mapping[str, Any], context: Context) -> bool:
    """Return whether the run of a context created an application or a job run, by its tags."""
    tags, ti = resource.get("tags", {}), context["ti"]
    return (tags.get("dag_id"), tags.get("run_id")) == (ti.dag_id, ti.run_id)


def run_tags(settings: Settings, ti: Any) -> dict[str, str]:
    """Return the tags of what a run creates, by which ``cost_guard`` finds it."""
    return {**settings.cost_tags, "dag_id": ti.dag_id, "run_id": ti.run_id, "owner": ti.task.owner}


# ── Job runs ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Program:
    """A program that a job run executes.

    Attributes:
        path: below the folder of the programs, such as ``shop/build_day.py``.
        arguments: of an attempt by its number: 1, and one more for each job run of the name that was lost.
        options: of ``spark-submit``, in addition to those of :func:`spark_parameters`.
    """

    path: str
    arguments: Callable[[int], Sequence[str]]
    options: Sequence[str] = ()


def job_run_arguments(settings: Settings) -> dict[str, Any]:
    """Return the arguments of ``EmrServerlessStartJobOperator`` that do not depend on the run.

    It waits as long as EMR Serverless lets the job run take, and for its start. Its callbacks are :func:`explain` for
    retries and :func:`explain_and_cancel` for failures.
    """
    seconds = settings.serverless_job_minutes * 60 + _START_S
    return {
        "deferrable": True,
        "waiter_delay": settings.poll_s,
        "waiter_max_attempts": math.ceil(seconds / settings.poll_s),
        "execution_timeout": timedelta(seconds=seconds + 600),
        "execution_role_arn": settings.serverless_role or "",
        "configuration_overrides": monitoring(settings),
        "job_driver": {},  # a part of the configuration, which is rendered as a whole
        "enable_application_ui_links": True,
        "retry_policy": JobRunRetries(),
    }


def require_role(settings: Settings) -> None:
    """Check that job runs have a role.

    Raises:
        ServerlessError: the setting is missing.
    """
    if not settings.serverless_role:
        raise ServerlessError(
            "TAXIWAY_SERVERLESS_ROLE is not set: job runs on EMR Serverless need the ARN of a role, such as the output "
            "ServerlessJobRoleArn of the stack."
        )


def job_run_config(
    client: Any, settings: Settings, session: Any, ti: Any, *, application: str, name: str, program: Program
) -> dict[str, Any]:
    """Return the rest of the request of ``StartJobRun``: the operator's ``config``, rendered when the task runs.

    The token depends on the name, the programs and the number of job runs of that name that were lost. So a try that
    finds a job run that goes on, or that succeeded, gets that one; one that finds a lost one starts another. The
    request is then that of the job run, with its overrides, which are set on the operator.

    Args:
        client: a boto3 client for EMR Serverless.
        settings: worker sizes, limits, tags, and where programs are published.
        session: a ``boto3.Session``.
        ti: the task instance.
        application: its id.
        name: of the job run: one for each thing that is built.
        program: to run.

    Raises:
        taxiway.aws.programs.ProgramsError: the programs are not published.
    """
    runs = list(runs_named(client, application, name))
    attempt = 1 + sum(run["state"] in LOST for run in runs)
    kept = next((run["id"] for run in runs if run["state"] not in LOST), None)
    if kept:  # what it was asked for, although code, settings and the lake may have changed since
        run = client.get_job_run(applicationId=application, jobRunId=kept)["jobRun"]
        folder, driver, minutes = run["tags"][PROGRAMS], run["jobDriver"], run["executionTimeoutMinutes"]
        # Lineage's properties are those of the try that asked; the operator leaves them as they are.
        ti.task.configuration_overrides = run.get("configurationOverrides") or {}
    else:
        folder, minutes = settings_for_steps(settings, session, ti).spark_jobs, settings.serverless_job_minutes
        driver = {
            "sparkSubmit": {
                "entryPoint": f"{folder}/{program.path}",
                "entryPointArguments": list(program.arguments(attempt)),
                "sparkSubmitParameters": " ".join([spark_parameters(settings, folder), *program.options]),
            }
        }
    return {
        "clientToken": digest(name, folder, attempt),
        "jobDriver": driver,
        "executionTimeoutMinutes": minutes,
        "tags": run_tags(settings, ti) | {PROGRAMS: folder},
    }


def spark_parameters(settings: Settings, programs: str, executors: int | None = None) -> str:
    """Return ``sparkSubmitParameters``: the archive of the programs, and workers of the sizes that are set.

    Args:
        settings: sizes and limits.
        programs: folder of the programs.
        executors: never more than these; by default the number that is set, which grows to the application's ceilings.
    """
    (driver_vcpu, driver_gb), (vcpu, gb) = map(worker_size, (settings.serverless_driver, settings.serverless_executor))
    most = min(
        (settings.serverless_max_vcpu - driver_vcpu) // vcpu,
        (settings.serverless_max_gb - driver_gb) // gb,
        settings.serverless_max_disk_gb // 20 - 1,
    )
    most = min(most, executors or most)
    conf = {
        "spark.driver.cores": driver_vcpu,
        "spark.driver.memory": f"{_heap_mib(driver_gb)}m",
        "spark.executor.cores": vcpu,
        "spark.executor.memory": f"{_heap_mib(gb)}m",
        "spark.executor.instances": min(settings.serverless_executors, most),
        "spark.dynamicAllocation.maxExecutors": most,
    }
    words = [f"--py-files {programs}/{ARCHIVE}", *(f"--conf {name}={value}" for name, value in conf.items())]
    return " ".join(words)


def packed_environment(uri: str | None) -> list[str]:
    """Return the options of ``spark-submit`` for a packed environment; none where the engine's Python has all."""
    if uri is None:
        return []
    python = f"./{_UNPACKED}/bin/python"
    variables = {
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": python,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": python,
        "spark.executorEnv.PYSPARK_PYTHON": python,
    }
    return [f"--archives {uri}#{_UNPACKED}", *(f"--conf {name}={value}" for name, value in variables.items())]


def _heap_mib(gb: int) -> int:
    """Return the heap that makes, with Spark's overhead, a worker of so many GB."""
    return min(math.floor(gb * 1024 / _OVERHEAD), gb * 1024 - _LEAST_OVERHEAD_MIB)


def digest(*parts: object) -> str:
    """Return a client token that is the same for the same parts."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def runs_named(client: Any, application: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the job runs of a name, newest first."""
    for page in client.get_paginator("list_job_runs").paginate(applicationId=application):
        yield from (run for run in page["jobRuns"] if run.get("name") == name)


# ── Failures ────────────────────────────────────────────────────────────────────────────────────────────────────────


class JobRunError(RuntimeError):
    """A job run that did not succeed: its state, EMR Serverless' reason, and where its log is."""


def last_run(context: Context) -> dict[str, Any] | None:
    """Return the newest job run of a task that starts one, None if it started none."""
    task: Any = context["ti"].task
    if not task.name or "{{" in f"{task.name}{task.application_id}":  # it failed before it was rendered
        return None
    client = task.hook.conn
    newest = next(runs_named(client, task.application_id, task.name), None)
    if newest is None:
        return None
    run: dict[str, Any] = client.get_job_run(applicationId=task.application_id, jobRunId=newest["id"])["jobRun"]
    return run


def sentence_of(run: Mapping[str, Any]) -> str:
    """Return a sentence on a job run: what became of it, why, and where its log is."""
    overrides = run.get("configurationOverrides") or {}
    uri = overrides.get("monitoringConfiguration", {}).get("s3MonitoringConfiguration", {}).get("logUri", "")
    where = f"{uri.rstrip('/')}/applications/{run['applicationId']}/jobs/{run['jobRunId']}/SPARK_DRIVER/"
    reason = " ".join(str(run.get("stateDetails") or "no reason is given").split()).rstrip(".")
    reason = reason.partition("Last few exceptions: ")[2] or reason  # the program's own last line
    return f"{reason} (EMR Serverless job run {run['jobRunId']} is {run['state']}{f'; log: {where}' if uri else ''})."


def explain(context: Context) -> None:
    """Log why the job run of a task did not succeed: a callback of its retries.

    The log's last exception, and that of the context for the callbacks after this one, have the reason.
    """
    run = last_run(context)
    if run is None or run["state"] == "SUCCESS":
        return
    error = JobRunError(sentence_of(run))
    context["exception"] = error
    task: Any = context["ti"].task
    task.log.error("The job run did not succeed.", exc_info=error)


def explain_and_cancel(context: Context) -> None:
    """Log why the job run of a task did not succeed, and cancel it if it goes on: the task's failure callback."""
    explain(context)
    run = last_run(context)
    if run is not None and run["state"] in ACTIVE:
        task: Any = context["ti"].task
        task.hook.conn.cancel_job_run(applicationId=run["applicationId"], jobRunId=run["jobRunId"])
        task.log.warning("The job run %s went on and was cancelled.", run["jobRunId"])


class JobRunRetries(RetryPolicy):
    """Retries of a task that waits for a job run: none if somebody cancelled it, or it took longer than it may."""

    def evaluate(
        self,
        exception: BaseException,  # noqa: ARG002 - Airflow passes these names
        try_number: int,  # noqa: ARG002
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide by the state of the job run."""
        assert context
        run = last_run(context)
        if run is not None and run["state"] in ("CANCELLING", "CANCELLED"):
            return RetryDecision.fail()
        return RetryDecision.default()


# ── The end ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _resumes(context: Context) -> bool:
    """Return whether the task goes on after its trigger: what was to be done before it, was done."""
    known = getattr(context["ti"], "_ti_context_from_server", None)
    return bool(known and known.next_method)


def before_stop(context: Context) -> None:
    """Prepare the stop of an application that was there before the run: its ``pre_execute``.

    Raises:
        AirflowSkipException: the run created it, so that it is deleted; or it is stopped, or has job runs of others.
    """
    if not _resumes(context):
        _prepare_end(context, created=False)


def before_delete(context: Context) -> None:
    """Prepare the deletion of an application that the run created: its ``pre_execute``.

    Raises:
        AirflowSkipException: the application was there before, or is gone.
    """
    if not _resumes(context):
        _prepare_end(context, created=True)


def _prepare_end(context: Context, *, created: bool) -> None:
    """Cancel what the run left on its application and the operator does not: job runs that are queued."""
    task: Any = context["ti"].task
    client, application = task.hook.conn, task.application_id
    found = client.get_application(applicationId=application)["application"]
    if is_of_run(found, context) is not created:
        what = "was created by this run and is deleted" if not created else "was there before this run and stays"
        raise AirflowSkipException(f"The application {application} {what}.")
    others = 0
    for page in client.get_paginator("list_job_runs").paginate(applicationId=application, states=list(ACTIVE)):
        for each in page["jobRuns"]:
            run = client.get_job_run(applicationId=application, jobRunId=each["id"])["jobRun"]
            if not is_of_run(run, context):
                others += 1
            elif each["state"] == "QUEUED":
                client.cancel_job_run(applicationId=application, jobRunId=each["id"])
    if others:
        raise AirflowSkipException(
            f"The application {application} has {others} job runs of others: it goes on, and stops when it is idle."
        )
    if created and found["state"] == "CREATED":  # never started: the operator would wait in vain for its stop
        client.delete_application(applicationId=application)
    if found["state"] in (("CREATED", "TERMINATED") if created else ("CREATED", "STOPPED", "STOPPING", "TERMINATED")):
        raise AirflowSkipException(f"The application {application} is not started: there is nothing to end.")
