"""Airflow's own EMR Serverless operators, sensors and triggers, unmodified, against a service with a clock to move."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

pytest.importorskip("airflow.providers.amazon")

from airflow.providers.amazon.aws.hooks.emr import EmrServerlessHook
from airflow.providers.amazon.aws.operators.emr import (
    EmrServerlessCreateApplicationOperator,
    EmrServerlessDeleteApplicationOperator,
    EmrServerlessStartJobOperator,
    EmrServerlessStopApplicationOperator,
)
from airflow.providers.amazon.aws.sensors.emr import EmrServerlessApplicationSensor, EmrServerlessJobSensor
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from botocore.exceptions import ClientError, WaiterError

import local_aws
from local_aws.database import Database
from local_aws.emr_serverless import open_service
from local_aws.engines import Engines, engine
from local_aws.execution import Limits, Runner
from local_aws.server import Router, Server, listen
from tests.waiting import eventually

AWS: Any = {"aws_conn_id": None, "region_name": "us-east-1"}
FAST: Any = {"waiter_delay": 1, "waiter_max_attempts": 60} | AWS
ROLE = "arn:aws:iam::123456789012:role/jobs"
PROGRAMS = {
    "succeeding": "",
    "failing": "raise ValueError('no trips in 2023-13')",
    "waiting": "import time; time.sleep(600)",
    # Ends when the test lets it end.
    "short": "import sys, time\nfrom pathlib import Path\nwhile not Path(sys.argv[1]).exists(): time.sleep(0.05)",
}


class TaskInstance:
    """Takes the links that operators push."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        self.pushed[key] = value


class Here:
    """The service in this process."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.ahead_s = 0.0
        self.client: Any = boto3.client(
            "emr-serverless",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
        for name, text in PROGRAMS.items():
            (folder / f"{name}.py").write_text(text)
        self._folder = folder
        self.end = folder / "end"  # the programs "short" end when it is there

    def clock(self) -> float:
        return time.time() + self.ahead_s

    def driver(self, name: str) -> Any:
        return {"sparkSubmit": {"entryPoint": str(self._folder / f"{name}.py"), "entryPointArguments": [str(self.end)]}}

    def create(self, **settings: Any) -> str:
        application = self.client.create_application(releaseLabel="emr-spark-8.0.0", type="SPARK", **settings)
        application_id = str(application["applicationId"])
        eventually(lambda: self.state(application_id) == "CREATED")
        return application_id

    def started(self, **settings: Any) -> str:
        application = self.create(**settings)
        self.client.start_application(applicationId=application)
        eventually(lambda: self.state(application) == "STARTED")
        return application

    def state(self, application: str) -> str:
        return str(self.client.get_application(applicationId=application)["application"]["state"])

    def runs(self, application: str) -> Any:
        return self.client.list_job_runs(applicationId=application)["jobRuns"]

    def submit(self, application: str, name: str) -> str:
        run = self.client.start_job_run(applicationId=application, executionRoleArn=ROLE, jobDriver=self.driver(name))
        return str(run["jobRunId"])

    def wait_for(self, application: str, state: str, count: int = 1) -> None:
        eventually(lambda: sum(run["state"] == state for run in self.runs(application)) == count)


@pytest.fixture(scope="module")
def module_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    data = tmp_path_factory.mktemp("serverless")
    listener = listen("127.0.0.1", 0)
    here = Here(f"http://127.0.0.1:{listener.getsockname()[1]}", data)
    database = Database(data / "state.db")
    sail = engine("sail")
    runner = Runner(here.url, "us-east-1", Limits(programs=4, memory=2 * 1024**3, grace_s=2))
    context: Any = SimpleNamespace(data=data, database=database, runner=runner, state_s=0.1, engines=Engines(sail))
    service = open_service(context, clock=here.clock)
    server = Server(listener, Router({"emr-serverless": service}, service, {}))
    server.start()
    yield here
    service.close()
    server.close()
    database.close()


@pytest.fixture
def here(module_here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    module_here.end = tmp_path / "end"
    monkeypatch.setenv("AWS_ENDPOINT_URL", module_here.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    return module_here


@pytest.fixture
def context() -> Any:
    return {"ti": TaskInstance()}


def job(here: Here, application: str, program: str, *, deferrable: bool = False, **options: Any) -> Any:
    return EmrServerlessStartJobOperator(
        task_id="job",
        application_id=application,
        execution_role_arn=ROLE,
        job_driver=here.driver(program),
        deferrable=deferrable,
        **FAST | options,
    )


def end_when_submitted(here: Here, operator: Any) -> Any:
    """Let the programs "short" end once the service has answered this operator's request."""
    events = operator.hook.conn.meta.events
    events.register("after-call.emr-serverless.StartJobRun", lambda **_: here.end.touch())
    return operator


def resume(operator: Any, context: Any) -> Any:
    """Run a deferrable operator with its triggers to its end, as the scheduler and the triggerer do."""
    call = operator.execute
    event: dict[str, Any] = {}
    for _ in range(5):
        try:
            return call(context, **event)
        except TaskDeferred as deferred:
            event = {"event": asyncio.run(first_event(deferred.trigger))}
            call = getattr(operator, deferred.method_name)
    raise AssertionError("the operator defers for ever")


async def first_event(trigger: Any) -> Any:
    return (await anext(trigger.run())).payload


def run_operator(operator: Any, context: Any) -> Any:
    return resume(operator, context) if operator.deferrable else operator.execute(context)


@pytest.mark.parametrize("deferrable", [False, True])
def test_create_run_stop_delete(here: Here, context: Any, deferrable: bool) -> None:
    mode = FAST | {"deferrable": deferrable}
    create = EmrServerlessCreateApplicationOperator(
        task_id="create", release_label="emr-spark-8.0.0", job_type="SPARK", config={"name": "airflow"}, **mode
    )
    application = run_operator(create, context)
    assert here.state(application) == "STARTED"
    EmrServerlessApplicationSensor(task_id="sense", application_id=application, poke_interval=1, **AWS).execute(context)
    links = {"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": "s3://logs"}}}
    run = run_operator(
        job(here, application, "succeeding", deferrable=deferrable, enable_application_ui_links=True,
            configuration_overrides=links), context
    )  # fmt: skip
    assert [(each["id"], each["state"]) for each in here.runs(application)] == [(run, "SUCCESS")]
    assert context["ti"].pushed
    sensor = EmrServerlessJobSensor(
        task_id="sense", application_id=application, job_run_id=run, deferrable=deferrable, poke_interval=1, **AWS
    )
    run_operator(sensor, context)
    run_operator(EmrServerlessStopApplicationOperator(task_id="stop", application_id=application, **mode), context)
    assert here.state(application) == "STOPPED"
    # It stops an application first, also one that is stopped.
    run_operator(EmrServerlessDeleteApplicationOperator(task_id="end", application_id=application, **mode), context)
    assert here.state(application) == "TERMINATED"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_job_starts_an_application_that_is_stopped(here: Here, context: Any, deferrable: bool) -> None:
    application = here.started()
    here.client.stop_application(applicationId=application)
    eventually(lambda: here.state(application) == "STOPPED")
    assert run_operator(job(here, application, "succeeding", deferrable=deferrable), context)


def test_a_failed_job_fails_the_task(here: Here, context: Any) -> None:
    application = here.started()
    with pytest.raises(AirflowException, match="Serverless Job failed"):
        job(here, application, "failing").execute(context)
    (run,) = here.runs(application)
    assert run["stateDetails"].endswith("ValueError: no trips in 2023-13")
    sensor = EmrServerlessJobSensor(
        task_id="sense", application_id=application, job_run_id=run["id"], poke_interval=1, **AWS
    )
    with pytest.raises(AirflowException, match="ValueError: no trips in 2023-13"):
        sensor.execute(context)


def test_a_failed_deferred_job_loses_its_reason(here: Here, context: Any) -> None:
    """The provider's bug that README describes: remove both when this fails."""
    application = here.started()
    with pytest.raises(KeyError, match="job_details"):
        resume(job(here, application, "failing", deferrable=True), context)
    (run,) = here.runs(application)  # what a failure callback finds by the name or the client token
    assert run["stateDetails"].endswith("ValueError: no trips in 2023-13")


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_job_that_takes_too_long_is_ended_by_the_service(here: Here, context: Any, deferrable: bool) -> None:
    application = here.started()
    config = {"executionTimeoutMinutes": 5, "name": "slow"}

    def let_time_pass() -> None:
        here.wait_for(application, "RUNNING")
        here.ahead_s += 5 * 60

    thread = threading.Thread(target=let_time_pass)
    thread.start()
    with pytest.raises(KeyError if deferrable else AirflowException):
        run_operator(job(here, application, "waiting", deferrable=deferrable, config=config), context)
    thread.join()
    (run,) = here.runs(application)
    assert (run["name"], run["state"]) == ("slow", "CANCELLED")
    assert run["stateDetails"] == "Job run timed out: it took longer than its 5 minutes."


def test_waiting_for_too_long_cancels_the_job(here: Here, context: Any) -> None:
    application = here.started()
    with pytest.raises(AirflowException, match="max attempts"):
        job(here, application, "waiting", waiter_max_attempts=2).execute(context)
    here.wait_for(application, "CANCELLED")


def test_a_killed_task_cancels_its_job(here: Here, context: Any) -> None:
    application = here.started()
    operator = job(here, application, "waiting", wait_for_completion=False)
    operator.execute(context)
    here.wait_for(application, "RUNNING")
    operator.on_kill()
    here.wait_for(application, "CANCELLED")


def test_a_killed_deferred_task_cancels_its_job(here: Here, context: Any) -> None:
    application = here.started()
    with pytest.raises(TaskDeferred) as deferred:
        job(here, application, "waiting", deferrable=True).execute(context)
    here.wait_for(application, "RUNNING")
    asyncio.run(deferred.value.trigger.on_kill())
    here.wait_for(application, "CANCELLED")


def test_a_retry_finds_the_job_that_still_runs(here: Here, context: Any) -> None:
    application = here.started()

    def attempt(token: str, **options: Any) -> Any:
        config = {"clientToken": token, "name": "trips 2023-01", "tags": {"month": "2023-01"}}
        return job(here, application, "short", config=config, **options)

    first = attempt("run-1", wait_for_completion=False).execute(context)
    # The try before it has died, and left it running.
    assert end_when_submitted(here, attempt("run-1")).execute(context) == first
    assert [run["state"] for run in here.runs(application)] == ["SUCCESS"]
    assert attempt("run-2").execute(context) != first
    with pytest.raises(ClientError, match="ConflictException"):
        job(here, application, "short", config={"clientToken": "run-1"}).execute(context)  # with a name of chance
    assert len(here.runs(application)) == 2


@pytest.fixture
def pattern() -> Any:
    """The functions that README shows."""
    readme = Path(local_aws.__path__[0], "README.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"(?s)```python\n(.*?)```", readme) if "def attempt_token" in block]
    functions: dict[str, Any] = {}
    exec(code, functions)
    return functions


def test_the_token_that_readme_shows(here: Here, context: Any, pattern: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setitem(pattern, "EmrServerlessHook", lambda: EmrServerlessHook(**AWS))  # without a metadata database
    application = here.started()

    def attempt(**options: Any) -> Any:
        config = {"clientToken": pattern["attempt_token"](application, "trips"), "executionTimeoutMinutes": 60}
        return job(here, application, "short", name="trips", config=config, **options)

    first = attempt(wait_for_completion=False).execute(context)
    assert end_when_submitted(here, attempt()).execute(context) == first
    assert attempt(wait_for_completion=False).execute(context) != first  # one has ended: the task was cleared


def test_the_callback_that_readme_shows(
    here: Here, context: Any, pattern: Any, caplog: pytest.LogCaptureFixture
) -> None:
    application = here.started()
    lost = job(here, application, "failing", deferrable=True, name="trips")
    with pytest.raises(KeyError):
        resume(lost, context)
    task = SimpleNamespace(hook=lost.hook, application_id=application, name="trips", log=logging.getLogger("task"))
    pattern["explain_and_cancel"]({"task": task})
    (run,) = here.runs(application)
    assert caplog.messages[-1] == f"EMR Serverless job run {run['id']} is FAILED: {run['stateDetails']}"
    assert "ValueError: no trips in 2023-13" in caplog.messages[-1]
    waiting = job(here, application, "waiting", name="other", wait_for_completion=False)
    waiting.execute(context)
    pattern["explain_and_cancel"]({"task": waiting})
    here.wait_for(application, "CANCELLED")


def test_a_queued_job(here: Here, context: Any) -> None:
    application = here.started(schedulerConfiguration={"maxConcurrentRuns": 1})
    here.submit(application, "short")
    here.wait_for(application, "RUNNING")

    def end_the_first() -> None:
        here.wait_for(application, "QUEUED")
        here.end.touch()

    thread = threading.Thread(target=end_the_first)
    thread.start()
    assert job(here, application, "succeeding").execute(context)
    thread.join()
    here.wait_for(application, "SUCCESS", 2)
    (last, _) = here.runs(application)
    described = here.client.get_job_run(applicationId=application, jobRunId=last["id"])["jobRun"]
    assert described["queuedDurationMilliseconds"] > 0


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_forced_stop(here: Here, context: Any, deferrable: bool) -> None:
    application = here.started()
    for _ in range(3):
        here.submit(application, "waiting")
    stop = EmrServerlessStopApplicationOperator(
        task_id="stop", application_id=application, force_stop=True, deferrable=deferrable, **FAST
    )
    run_operator(stop, context)
    assert here.state(application) == "STOPPED"
    here.wait_for(application, "CANCELLED", 3)


def test_a_forced_stop_waits_in_vain_where_a_job_is_queued(here: Here, context: Any) -> None:
    """The provider's bug that README describes: remove both when this fails."""
    application = here.started(schedulerConfiguration={"maxConcurrentRuns": 1})
    for _ in range(2):
        here.submit(application, "waiting")
    here.wait_for(application, "QUEUED")

    def stop(**options: Any) -> Any:
        return EmrServerlessStopApplicationOperator(
            task_id="stop", application_id=application, force_stop=True, **FAST | options
        )

    with pytest.raises(WaiterError, match="no_job_running"):
        stop(waiter_max_attempts=3).execute(context)
    here.wait_for(application, "RUNNING")  # the one that was queued
    stop().execute(context)
    assert here.state(application) == "STOPPED"
