"""What keeps the stream running: one job run of the wanted kind, however the last one ended."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowFailException

from local_aws.emr_serverless.usage import Workers, asked
from taxiway.aws import serverless
from taxiway.core.settings import settings
from taxiway.eta import run
from taxiway.eta.settings import eta_settings
from taxiway.eta.stream import Found, next_step

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def ended(name: str, minutes_ago: float, state: str = "FAILED", wanted: str = "new") -> Found:
    return Found(name, state, wanted, NOW - timedelta(minutes=minutes_ago))


@pytest.mark.parametrize(
    ("wanted", "found", "action", "cancelled"),
    [
        ("new", [], "start", ()),
        ("new", [Found("a", "RUNNING", "new")], "nothing", ()),
        ("new", [Found("a", "SUBMITTED", "new"), Found("b", "RUNNING", "new")], "cancel", ("b",)),
        ("new", [Found("a", "RUNNING", "old")], "cancel", ("a",)),
        ("new", [Found("a", "CANCELLING", "old")], "wait", ()),
        ("new", [ended("a", 1, "CANCELLED", "old")], "start", ()),
        (None, [Found("a", "RUNNING", "old"), Found("b", "QUEUED", "old")], "cancel", ("a", "b")),
        (None, [Found("a", "CANCELLING", "old")], "wait", ()),
        (None, [ended("a", 1)], "nothing", ()),
        ("new", [ended("a", 4)], "nothing", ()),
        ("new", [ended("a", 6)], "start", ()),
        ("new", [ended("a", 6), ended("b", 20)], "nothing", ()),
        ("new", [ended("a", 11), ended("b", 20)], "start", ()),
        ("new", [ended("a", 61), *(ended(f"{each}", 70 + each) for each in range(9))], "start", ()),
        ("new", [ended("a", 59), *(ended(f"{each}", 70 + each) for each in range(9))], "nothing", ()),
        ("new", [ended("a", 6), ended("b", 361)], "start", ()),
    ],
    ids=[
        *("none", "it runs", "two run", "another version runs", "the old one ends", "the old one ended"),
        *("none wanted, two run", "none wanted, one ends", "none wanted, none runs"),
        *("lost just now", "lost a while ago", "lost twice", "lost twice, a while ago"),
        *("lost ten times", "lost ten times, just now", "lost long ago"),
    ],
)
def test_what_is_done_next(wanted: str | None, found: list[Found], action: str, cancelled: tuple[str, ...]) -> None:
    step = next_step(wanted, found, NOW)

    assert (step.action, step.cancelled) == (action, cancelled), step.sentence
    assert step.sentence.endswith(".")


PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
time.sleep(600)
"""


@pytest.fixture
def emr(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a client for EMR Serverless, where the published program only waits."""
    s3 = boto3.client("s3")
    for bucket in ("taxiway-lake", "taxiway-artifacts", "taxiway-logs"):
        s3.create_bucket(Bucket=bucket)
    for version in ("one", "two"):
        for name, body in (("eta/score_stream.py", PROGRAM.encode()), ("spark_jobs.zip", EMPTY_ZIP)):
            s3.put_object(Bucket="taxiway-artifacts", Key=f"{version}/{name}", Body=body)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    yield boto3.client("emr-serverless")
    settings.cache_clear()
    eta_settings.cache_clear()


EMPTY_ZIP = b"PK\x05\x06" + b"\x00" * 18


@pytest.fixture
def keep(emr: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what runs the task with the programs of a version and a broker."""

    def run_task(version: str, bootstrap: str) -> list[str]:
        for name, value in {
            "TAXIWAY_POLL_S": "1",
            "TAXIWAY_SPARK_JOBS": f"s3://taxiway-artifacts/{version}",
            "TAXIWAY_SERVERLESS_ROLE": "arn:aws:iam::123456789012:role/jobs",
            "TAXIWAY_ETA_BOOTSTRAP": bootstrap,
        }.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        eta_settings.cache_clear()
        ti: Any = SimpleNamespace(dag_id="eta_stream", run_id="run", task=SimpleNamespace(owner="data-platform"))
        return run.keep_stream({"ti": ti})

    return run_task


def states(emr: Any) -> list[str]:
    """Return the states of all job runs, newest first."""
    return [
        found["state"]
        for application in emr.list_applications()["applications"]
        for found in emr.list_job_runs(applicationId=application["id"])["jobRuns"]
    ]


def wait_for(emr: Any, *expected: str) -> None:
    deadline = time.monotonic() + 60
    while states(emr) != [*expected]:
        assert time.monotonic() < deadline, states(emr)
        time.sleep(0.2)


def test_one_job_run_is_kept_replaced_and_not_started_again_at_once(
    emr: Any, keep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keep("one", "") == ["No stream runs, and none should: TAXIWAY_ETA_BOOTSTRAP is not set."]
    assert emr.list_applications()["applications"] == []

    monkeypatch.setattr("taxiway.operations.lineage.for_spark", lambda _: {"spark.openlineage.parentRunId": "one"})
    created, starts, started = keep("one", "kafka:9092")
    assert created.startswith("Created the application ")
    assert starts == "Starts the stream."
    assert started.startswith("Started the job run ")
    wait_for(emr, "RUNNING")
    (application,) = emr.list_applications()["applications"]
    (listed,) = emr.list_job_runs(applicationId=application["id"])["jobRuns"]
    job_run = emr.get_job_run(applicationId=application["id"], jobRunId=listed["id"])["jobRun"]
    assert (application["name"], job_run["mode"]) == ("taxiway-eta", "STREAMING")
    driver = job_run["jobDriver"]["sparkSubmit"]
    assert driver["entryPoint"] == "s3://taxiway-artifacts/one/eta/score_stream.py"
    words = driver["entryPointArguments"]
    assert words[:4] == ["--bootstrap", "kafka:9092", "--lake", "s3://taxiway-lake"]
    assert words[words.index("--checkpoint") + 1] == "s3://taxiway-lake/checkpoints/eta/stream"
    assert "run_id" not in job_run["tags"], "cost_guard would end it with the DAG run"
    assert driver["sparkSubmitParameters"].endswith(" --conf spark.openlineage.parentRunId=one")

    # It runs on, though another task looks after it now.
    monkeypatch.setattr("taxiway.operations.lineage.for_spark", lambda _: {"spark.openlineage.parentRunId": "two"})
    (sentence,) = keep("one", "kafka:9092")
    assert sentence.startswith("The stream runs: job run ")
    assert len(states(emr)) == 1

    replaced = keep("two", "kafka:9092")
    assert "another version or configuration should run" in replaced[0]
    assert replaced[-1].startswith("Started the job run ")
    wait_for(emr, "RUNNING", "CANCELLED")

    (newest, _) = emr.list_job_runs(applicationId=application["id"])["jobRuns"]
    emr.cancel_job_run(applicationId=application["id"], jobRunId=newest["id"], shutdownGracePeriodInSeconds=0)
    wait_for(emr, "CANCELLED", "CANCELLED")
    (sentence,) = keep("two", "kafka:9092")
    assert f"{newest['id']} ended as CANCELLED at " in sentence
    assert "the next one is started after " in sentence
    assert keep("two", "") == ["No stream runs, and none should."]


def test_a_training_fits_beside_the_stream(emr: Any, keep: Any) -> None:
    """The stream has no end, so that a training that does not fit beside it would wait for ever."""
    keep("one", "kafka:9092")
    wait_for(emr, "RUNNING")
    (application,) = emr.list_applications()["applications"]
    parameters = serverless.spark_parameters(run.serverless_settings(), "s3://taxiway-artifacts/one")
    training = emr.start_job_run(
        applicationId=application["id"],
        executionRoleArn=settings().serverless_role,
        jobDriver={
            "sparkSubmit": {
                "entryPoint": "s3://taxiway-artifacts/one/eta/score_stream.py",
                "sparkSubmitParameters": parameters,
            }
        },
    )
    wait_for(emr, "RUNNING", "RUNNING")

    (stream,) = (found["id"] for found in emr.list_job_runs(applicationId=application["id"])["jobRuns"][1:])
    taken = asked_by(emr, application["id"], stream)
    assert (taken.driver.cpu, taken.executor.cpu, taken.executors) == (4, 4, 1), "as docs/eta-stream.md says"
    limit = emr.get_application(applicationId=application["id"])["application"]["maximumCapacity"]
    fitted = asked_by(emr, application["id"], training["jobRunId"]).fitted(taken.total, limit)
    assert fitted is not None
    assert (fitted.driver.cpu, fitted.driver.memory, fitted.executors) == (4, 30, 1), "it asks for two executors"


def asked_by(emr: Any, application: str, job_run: str) -> Workers:
    """Return the most workers that a job run may have, from its parameters."""
    found = emr.get_job_run(applicationId=application, jobRunId=job_run)["jobRun"]
    parameters = found["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"]
    conf = dict(word.split()[0].split("=", 1) for word in parameters.split("--conf ")[1:])
    workers = asked(conf)
    return replace(workers, executors=int(conf["spark.dynamicAllocation.maxExecutors"]))


def test_what_ended_long_ago_is_not_taken_for_a_new_job_run(
    emr: Any, keep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker was taken away for a day, or nothing looked for so long."""
    monkeypatch.setattr("taxiway.eta.stream.REMEMBERED", timedelta(0))
    keep("one", "kafka:9092")
    wait_for(emr, "RUNNING")
    keep("one", "")
    wait_for(emr, "CANCELLED")
    keep("one", "kafka:9092")
    wait_for(emr, "RUNNING", "CANCELLED")
    keep("one", "")


def test_missing_programs_are_one_sentence(emr: Any, keep: Any) -> None:
    with pytest.raises(AirflowFailException, match="There are no Spark programs in TAXIWAY_SPARK_JOBS=s3://taxiway-ar"):
        keep("three", "kafka:9092")
    assert emr.list_applications()["applications"] == []
