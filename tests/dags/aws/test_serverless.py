"""EMR Serverless by the provider's own operators, against a local AWS: what is reused, found again, told and ended."""

import io
import zipfile
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.session
import pytest
from airflow.providers.amazon.aws.operators.emr import (
    EmrServerlessDeleteApplicationOperator,
    EmrServerlessStartJobOperator,
    EmrServerlessStopApplicationOperator,
)
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from botocore.validate import ParamValidator

from taxiway.aws import serverless
from taxiway.core.settings import Settings
from tests.local_aws.endpoint import Endpoint
from tests.waiting import eventually

SERVERLESS = botocore.session.get_session().get_service_model("emr-serverless")
ROLE = "arn:aws:iam::123456789012:role/jobs"
AWS: Any = {"aws_conn_id": None, "region_name": "us-east-1", "waiter_delay": 1, "waiter_max_attempts": 60}
PROGRAMS = {
    "quick": "",
    "failing": "raise ValueError('no line of a.log is a request')",
    "slow": "import time; time.sleep(600)",
    "short": "import time; time.sleep(2)",
}


def settings(**given: Any) -> Settings:
    return Settings(
        spark_jobs="s3://programs/test", serverless_role=ROLE, serverless_logs="s3://programs/logs", poll_s=1, **given
    )


def config(run_id: str = "run", **given: Any) -> dict[str, Any]:
    return serverless.application_config(settings(**given), {"dag_id": "etl", "run_id": run_id})


def context(task: Any = None, run_id: str = "run", try_number: int = 1) -> Any:
    ti = SimpleNamespace(dag_id="etl", run_id=run_id, try_number=try_number, task=task, xcom_push=lambda **_: None)
    if task is not None and not hasattr(task, "owner"):
        task.owner = "data-platform"
    return {"ti": ti, "task": task}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    shared = Endpoint(tmp_path_factory.mktemp("aws"), "--max-steps", "4").start()
    s3 = shared.client("s3")
    s3.create_bucket(Bucket="programs")
    for name, text in PROGRAMS.items():
        s3.put_object(Bucket="programs", Key=f"test/{name}.py", Body=text)
    archive = io.BytesIO()
    zipfile.ZipFile(archive, "w").close()
    s3.put_object(Bucket="programs", Key="test/spark_jobs.zip", Body=archive.getvalue())
    yield shared
    shared.close()


@pytest.fixture
def client(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a client; nothing is left started by the tests before."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
    found = endpoint.client("emr-serverless")
    yield found
    for application in found.list_applications(states=["STARTED", "STARTING"])["applications"]:
        for run in found.list_job_runs(applicationId=application["id"], states=list(serverless.ACTIVE))["jobRuns"]:
            found.cancel_job_run(applicationId=application["id"], jobRunId=run["id"])
        eventually(partial(_idle, found, application["id"]))
        found.stop_application(applicationId=application["id"])


def _idle(client: Any, application: str) -> bool:
    states = [*serverless.ACTIVE, "CANCELLING"]
    return not client.list_job_runs(applicationId=application, states=states)["jobRuns"]


def create(name: str, run_id: str = "run", **given: Any) -> Any:
    return serverless.CreateOrReuseApplication(
        task_id="create",
        release_label="emr-spark-8.0.0",
        job_type="SPARK",
        config=config(run_id, serverless_application=name, **given),
        **AWS,
    )


def made(name: str, run_id: str = "run", **given: Any) -> str:
    operator = create(name, run_id, **given)
    return str(operator.execute(context(operator, run_id)))


def plain(client: Any, name: str, run_id: str = "run") -> str:
    """Create an application without waiting for its start, which the first job run brings about."""
    request = config(run_id, serverless_application=name)
    application = client.create_application(**request, releaseLabel="emr-spark-8.0.0", type="SPARK")["applicationId"]
    eventually(lambda: state(client, application) == "CREATED")
    return str(application)


def state(client: Any, application: str) -> str:
    return str(client.get_application(applicationId=application)["application"]["state"])


# ── The application ─────────────────────────────────────────────────────────────────────────────────────────────────


def faults(operation: str, request: dict[str, Any]) -> str:
    model = SERVERLESS.operation_model(operation).input_shape
    return str(ParamValidator().validate(request, model).generate_report())


def test_the_application_is_ready_bounded_and_stops_by_itself() -> None:
    request = config(serverless_idle_minutes=3)
    given = {"releaseLabel": "emr-spark-8.0.0", "type": "SPARK", "clientToken": "token"}
    assert faults("CreateApplication", request | given) == ""
    assert request["initialCapacity"]["EXECUTOR"]["workerCount"] == 2
    assert request["maximumCapacity"] == {"cpu": "16 vCPU", "memory": "128 GB", "disk": "500 GB"}
    assert request["autoStopConfiguration"] == {"enabled": True, "idleTimeoutMinutes": 3}
    assert request["tags"] == {"project": "taxiway", "dag_id": "etl", "run_id": "run"}, "cost_guard goes by them"
    assert "initialCapacity" not in config(serverless_preinitialised=False)


def test_an_application_of_that_name_and_settings_is_used(client: Any) -> None:
    first = made("reused", "one")
    assert state(client, first) == "STARTED"
    assert made("reused", "two") == first
    assert made("another", "two") != first


def test_an_application_of_other_settings_is_one_sentence(client: Any) -> None:
    first = made("taken", serverless_max_vcpu=32)
    with pytest.raises(AirflowFailException) as caught:
        made("taken", serverless_preinitialised=False)
    sentence = str(caught.value)
    assert f"an EMR Serverless application named 'taken' ({first}) with other settings: " in sentence
    assert "maximumCapacity.cpu is 32 instead of 16" in sentence
    assert "initialCapacity.DRIVER is 1 × 2 vCPU, 8 GB instead of none" in sentence
    assert "TAXIWAY_SERVERLESS_APPLICATION" in sentence
    assert "\n" not in sentence


def test_a_difference_in_what_matters_is_found() -> None:
    wanted = config() | {"releaseLabel": "emr-spark-8.0.0"}
    found = wanted | {"initialCapacity": {"Driver": wanted["initialCapacity"]["DRIVER"]} | {
        "Executor": wanted["initialCapacity"]["EXECUTOR"]}}  # fmt: skip
    assert serverless.differences(found, wanted) == [], "AWS writes the roles in another case"
    assert serverless.differences(found | {"name": "other", "tags": {}}, wanted) == []
    for name, value, part in (
        ("releaseLabel", "emr-7.13.0", "releaseLabel is emr-7.13.0 instead of emr-spark-8.0.0"),
        ("architecture", "ARM64", "architecture is ARM64 instead of X86_64"),
        ("autoStopConfiguration", {"enabled": False}, "it does not stop by itself"),
        ("autoStopConfiguration", {"enabled": True, "idleTimeoutMinutes": 15}, "it stops after 15 idle minutes"),
        ("maximumCapacity", {}, "maximumCapacity.memory is None instead of 128"),
    ):
        assert part in " ".join(serverless.differences(found | {name: value}, wanted))


def test_what_a_creation_left_that_failed_is_ended(client: Any) -> None:
    operator = create("lost")
    request = operator.config | {"releaseLabel": "emr-spark-8.0.0", "type": "SPARK"}
    created = client.create_application(**request)["applicationId"]
    eventually(lambda: state(client, created) == "CREATED")
    serverless.discard_application(context(operator))
    assert state(client, created) == "TERMINATED"
    started = made("lost")
    serverless.discard_application(context(operator, "of another run"))
    assert state(client, started) == "STARTED"
    serverless.discard_application(context(operator))
    eventually(lambda: state(client, started) == "STOPPED")


def test_a_role_is_needed() -> None:
    serverless.require_role(settings())
    with pytest.raises(serverless.ServerlessError, match="TAXIWAY_SERVERLESS_ROLE is not set"):
        serverless.require_role(Settings())


# ── Job runs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def job(client: Any, application: str, name: str, program: str, **options: Any) -> Any:
    """Return the operator with its configuration rendered, as it is when its task runs."""
    given = settings()
    arguments = serverless.job_run_arguments(given) | AWS | {"deferrable": False} | options
    operator = EmrServerlessStartJobOperator(task_id="job", application_id=application, name=name, **arguments)
    operator.config = serverless.job_run_config(
        client,
        given,
        boto3.Session(region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any"),
        context(operator)["ti"],
        application=application,
        name=name,
        program=serverless.Program(
            f"{program}.py", lambda attempt: ["--attempt", str(attempt)], ["--conf spark.shop=1"]
        ),
    )
    return operator


def start(client: Any, application: str, name: str, program: str, **options: Any) -> str:
    operator = job(client, application, name, program, **options)
    return str(operator.execute(context(operator)))


def test_the_request_is_what_aws_takes_and_what_the_workers_are(client: Any) -> None:
    application = plain(client, "request")
    operator = job(client, application, "request", "quick")
    request = operator.config | {"applicationId": application, "executionRoleArn": ROLE}
    assert faults("StartJobRun", request) == ""
    assert operator.config["executionTimeoutMinutes"] == 120
    run = start(client, application, "request", "quick")
    described = client.get_job_run(applicationId=application, jobRunId=run)["jobRun"]
    assert described["tags"]["run_id"] == "run"
    assert described["jobDriver"]["sparkSubmit"]["entryPointArguments"] == ["--attempt", "1"]
    assert described["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"].endswith(" --conf spark.shop=1")
    used = described["totalResourceUtilization"]
    assert used["memoryGBHour"] == pytest.approx(4 * used["vCPUHour"], rel=0.1), "8 GB for 2 vCPU, 16 GB for 4"


@pytest.mark.parametrize("size", ["1x2", "2x8", "4x16", "4x30", "8x60", "16x120"])
def test_heap_and_overhead_make_the_worker_that_is_asked_for(size: str) -> None:
    from local_aws.emr_serverless.usage import asked

    parameters = serverless.spark_parameters(
        settings(serverless_driver=size, serverless_executor=size, serverless_max_vcpu=100, serverless_max_gb=500),
        "s3://p",
    )
    words = [word.removeprefix("--conf ") for word in parameters.split(" --conf ")[1:]]
    workers = asked(dict(word.split("=", 1) for word in words))
    vcpu, _, gb = size.partition("x")
    assert (workers.driver.cpu, workers.driver.memory) == (int(vcpu), int(gb))
    assert (workers.executor.cpu, workers.executor.memory) == (int(vcpu), int(gb))


def test_a_packed_environment_is_unpacked_for_driver_and_executors() -> None:
    words = " ".join(serverless.packed_environment("s3://artifacts/environments/shop.tar.gz")).split()

    assert words[:2] == ["--archives", "s3://artifacts/environments/shop.tar.gz#environment"]
    assert {word.partition("=")[0]: word.partition("=")[2] for word in words[3::2]} == {
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": "./environment/bin/python",
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": "./environment/bin/python",
        "spark.executorEnv.PYSPARK_PYTHON": "./environment/bin/python",
    }
    assert serverless.packed_environment(None) == []


def test_waiting_lasts_as_long_as_the_job_run_may() -> None:
    arguments = serverless.job_run_arguments(Settings(poll_s=30, serverless_job_minutes=300))
    assert arguments["waiter_delay"] * arguments["waiter_max_attempts"] >= 300 * 60
    assert arguments["execution_timeout"].total_seconds() > arguments["waiter_delay"] * arguments["waiter_max_attempts"]


def test_a_retry_finds_the_job_run_that_goes_on(client: Any) -> None:
    application = plain(client, "going")
    first = start(client, application, "etl day", "short", wait_for_completion=False)
    assert start(client, application, "etl day", "short") == first, "the worker died, the job run did not"
    assert start(client, application, "etl day", "short") == first, "it succeeded, and Airflow did not get to know"
    assert len(client.list_job_runs(applicationId=application)["jobRuns"]) == 1
    assert start(client, application, "etl another day", "quick") != first


def test_a_retry_asks_with_the_lineage_of_the_try_that_asked_first(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter(["first", "second"])
    monkeypatch.setattr(
        "airflow.providers.openlineage.utils.spark._get_parent_job_information_as_spark_properties",
        lambda _: {"spark.openlineage.parentRunId": next(tries)},
    )
    application = plain(client, "lineage")
    lineage = {"openlineage_inject_parent_job_info": True}
    first = start(client, application, "etl day", "short", wait_for_completion=False, **lineage)
    assert start(client, application, "etl day", "short", **lineage) == first
    found = client.get_job_run(applicationId=application, jobRunId=first)["jobRun"]["configurationOverrides"]
    (spark,) = found["applicationConfiguration"]
    assert spark["properties"] == {"spark.openlineage.parentRunId": "first"}


def test_a_job_run_that_was_asked_for_stays_so_when_code_and_lake_change(client: Any) -> None:
    application = plain(client, "changed")
    first = start(client, application, "etl day", "short", wait_for_completion=False)
    assert start(client, application, "etl day", "quick") == first, "the program of the code that is current by now"


def test_a_retry_after_a_lost_job_run_starts_another(client: Any) -> None:
    application = plain(client, "lost-run")
    with pytest.raises(AirflowException):
        start(client, application, "etl day", "failing")
    second = job(client, application, "etl day", "quick")
    assert second.config["jobDriver"]["sparkSubmit"]["entryPointArguments"] == ["--attempt", "2"]
    second.execute(context(second))
    states = [run["state"] for run in client.list_job_runs(applicationId=application)["jobRuns"]]
    assert states == ["SUCCESS", "FAILED"]


# ── Failures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_reason_of_a_failure_and_its_log_are_told(client: Any, capfd: pytest.CaptureFixture[str]) -> None:
    application = plain(client, "told")
    operator = job(client, application, "etl told", "failing")
    with pytest.raises(AirflowException):
        operator.execute(context(operator))
    told: Any = context(operator)
    serverless.explain_and_cancel(told)
    (run,) = client.list_job_runs(applicationId=application)["jobRuns"]
    sentence = str(told["exception"])
    assert sentence.startswith("ValueError: no line of a.log is a request (EMR Serverless job run ")
    log = f"s3://programs/logs/applications/{application}/jobs/{run['id']}/SPARK_DRIVER/"
    assert sentence.endswith(f"is FAILED; log: {log}).")
    assert "JobRunError: ValueError: no line of a.log is a request" in capfd.readouterr().out, "in the task's log"
    listed = boto3.client("s3", aws_access_key_id="any", aws_secret_access_key="any").list_objects_v2(
        Bucket="programs", Prefix=log.removeprefix("s3://programs/")
    )
    assert any(found["Key"].endswith("stderr.gz") for found in listed["Contents"])
    assert (
        serverless.JobRunRetries().evaluate(ValueError(), 1, 2, told)
        == type(serverless.JobRunRetries().evaluate(ValueError(), 1, 2, told)).default()
    ), "it is tried again"


def test_a_job_run_that_goes_on_is_cancelled_when_its_task_has_failed(client: Any) -> None:
    application = plain(client, "cancelled")
    operator = job(client, application, "etl cancelled", "slow", wait_for_completion=False)
    run = operator.execute(context(operator))
    serverless.explain(context(operator))  # a retry
    assert client.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"] in serverless.ACTIVE
    serverless.explain_and_cancel(context(operator))
    eventually(lambda: client.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"] == "CANCELLED")
    decision = serverless.JobRunRetries().evaluate(ValueError(), 1, 2, context(operator))
    assert decision.action.value == "fail", "somebody cancelled it"


def test_a_task_that_started_nothing_has_nothing_to_explain(client: Any) -> None:
    application = plain(client, "nothing")
    told = context(job(client, application, "etl nothing", "quick"))
    serverless.explain_and_cancel(told)
    assert "exception" not in told
    unrendered = EmrServerlessStartJobOperator(
        task_id="job", application_id="{{ x }}", name="{{ y }}", execution_role_arn=ROLE, job_driver={}, **AWS
    )
    serverless.explain_and_cancel(context(unrendered))


# ── The end ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def end(kind: Any, before: Any, application: str, run_id: str = "run") -> None:
    operator = kind(task_id="end", application_id=application, force_stop=True, **AWS)
    told = context(operator, run_id)
    before(told)
    operator.execute(told)


def stop(application: str, run_id: str = "run") -> None:
    end(EmrServerlessStopApplicationOperator, serverless.before_stop, application, run_id)


def delete(application: str, run_id: str = "run") -> None:
    end(EmrServerlessDeleteApplicationOperator, serverless.before_delete, application, run_id)


def test_what_the_run_created_is_deleted_with_all_that_it_runs(client: Any) -> None:
    application = plain(client, "own")
    run = start(client, application, "etl own", "slow", wait_for_completion=False)
    with pytest.raises(AirflowSkipException, match="was created by this run and is deleted"):
        stop(application)
    delete(application)
    assert state(client, application) == "TERMINATED"
    assert client.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"] == "CANCELLED"
    with pytest.raises(AirflowSkipException, match="nothing to end"):
        delete(application)


def test_what_was_there_before_is_stopped_and_stays(client: Any) -> None:
    application = made("standing", "an earlier run")
    with pytest.raises(AirflowSkipException, match="was there before this run and stays"):
        delete(application)
    stop(application)
    assert state(client, application) == "STOPPED"
    with pytest.raises(AirflowSkipException, match="nothing to end"):
        stop(application)


def test_job_runs_of_others_are_not_cancelled(client: Any) -> None:
    application = plain(client, "shared", "an earlier run")
    run = start(client, application, "etl other", "slow", wait_for_completion=False)  # of the run "run"
    with pytest.raises(AirflowSkipException, match="has 1 job runs of others: it goes on"):
        stop(application, "a third run")
    assert client.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"] in serverless.ACTIVE


def test_queued_job_runs_are_cancelled_too(client: Any) -> None:
    operator = create("queue", "an earlier run")
    operator.config["schedulerConfiguration"] = {"maxConcurrentRuns": 1}
    application = operator.execute(context(operator, "an earlier run"))
    runs = [start(client, application, f"etl {each}", "slow", wait_for_completion=False) for each in range(3)]
    eventually(
        lambda: "QUEUED" in {each["state"] for each in client.list_job_runs(applicationId=application)["jobRuns"]}
    )
    stop(application)
    assert state(client, application) == "STOPPED"
    ended = {client.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"] for run in runs}
    assert ended == {"CANCELLED"}
