"""The EMR Serverless API on the endpoint, by boto3: programs that run, and each documented error."""

import gzip
import html
import io
import json
import math
import sys
import tarfile
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.local_aws.endpoint import Endpoint, error_of
from tests.processes import wait_for_end
from tests.waiting import eventually

ROLE = "arn:aws:iam::123456789012:role/jobs"
ENDED = ("SUCCESS", "FAILED", "CANCELLED")
COUNT = """
import os, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print(spark.range(int(sys.argv[1])).count(), sys.argv[2:], os.environ.get("COLOUR"))
print(spark.conf.get("spark.sql.shuffle.partitions"), file=sys.stderr)
"""
FAILING = "raise ValueError('no trips in 2023-13')\n"
WAITING = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"
GRACEFUL = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("cleaned up", flush=True)))
print("ready", flush=True)
time.sleep(600)
"""
IMPORTING = "import greeting\nprint(greeting.TEXT, open('notes/note.txt').read())\n"
FLAKY = """
import sys, boto3
s3 = boto3.client("s3")
attempts = s3.list_objects_v2(Bucket="serverless", Prefix=sys.argv[1]).get("KeyCount", 0)
s3.put_object(Bucket="serverless", Key=f"{sys.argv[1]}/{attempts}", Body=b"")
if attempts < int(sys.argv[2]):
    raise RuntimeError(f"attempt {attempts}")
"""
STREAMING = """
import sys
from pathlib import Path
from pyspark.sql import SparkSession
marker = Path(sys.argv[1])
spark = SparkSession.builder.getOrCreate()
def write(rows, number):
    if number == 1 and not marker.exists():
        marker.touch()
        raise RuntimeError("the stream broke")
    print("batch", number, rows.count(), flush=True)
rows = spark.readStream.format("rate-micro-batch").option("rowsPerBatch", 5).load()
query = rows.writeStream.foreachBatch(write).option("checkpointLocation", "s3://serverless/checkpoint").start()
while not (query.lastProgress and query.lastProgress["batchId"] >= 3):
    query.awaitTermination(0.2)
query.stop()
"""


def packed(files: dict[str, str]) -> bytes:
    """A .tar.gz as venv-pack writes it: with the Python as a link to where it was packed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        link = tarfile.TarInfo("bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin/python-of-another-machine"
        tar.addfile(link)
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def s3(endpoint: Endpoint) -> Any:
    client = endpoint.client("s3")
    client.create_bucket(Bucket="serverless")
    packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    for key, body in {
        "count.py": COUNT.encode(),
        "failing.py": FAILING.encode(),
        "waiting.py": WAITING.encode(),
        "graceful.py": GRACEFUL.encode(),
        "importing.py": IMPORTING.encode(),
        "flaky.py": FLAKY.encode(),
        "streaming.py": STREAMING.encode(),
        "environment.tar.gz": packed({f"{packages}/greeting.py": "TEXT = 'from the environment'\n"}),
        "old.tar.gz": packed({"lib/python3.7/site-packages/greeting.py": ""}),
        "outside.tar.gz": packed({"../../outside.txt": "x"}),
        "notes.zip": zipped({"note.txt": "a note"}),
    }.items():
        client.put_object(Bucket="serverless", Key=key, Body=body)
    return client


@pytest.fixture(scope="module")
def emr(endpoint: Endpoint, s3: Any) -> Any:
    return endpoint.client("emr-serverless")


@pytest.fixture(scope="module")
def application(emr: Any) -> str:
    return create(emr, name="tests")


def create(emr: Any, **settings: Any) -> str:
    return str(
        emr.create_application(**{"releaseLabel": "emr-spark-8.0.0", "type": "SPARK"} | settings)["applicationId"]
    )


def submit(emr: Any, application: str, key: str, *arguments: str, parameters: str | None = None, **options: Any) -> str:
    driver: dict[str, Any] = {"entryPoint": f"s3://serverless/{key}", "entryPointArguments": list(arguments)}
    if parameters:
        driver["sparkSubmitParameters"] = parameters
    request = {"executionRoleArn": ROLE, "jobDriver": {"sparkSubmit": driver}} | options
    return str(emr.start_job_run(applicationId=application, **request)["jobRunId"])


def run_of(emr: Any, application: str, run: str) -> Any:
    return emr.get_job_run(applicationId=application, jobRunId=run)["jobRun"]


def ended(emr: Any, application: str, run: str) -> Any:
    def look() -> Any:
        now = run_of(emr, application, run)
        return now if now["state"] in ENDED else None

    return eventually(look, within_s=120)


def wait_for(emr: Any, application: str, state: str) -> Any:
    def look() -> Any:
        now = emr.get_application(applicationId=application)["application"]
        return now if now["state"] == state else None

    return eventually(look)


def log(s3: Any, application: str, run: str, name: str, attempt: str = "") -> str:
    key = f"logs/applications/{application}/jobs/{run}{attempt}/SPARK_DRIVER/{name}.gz"
    return gzip.decompress(s3.get_object(Bucket="serverless", Key=key)["Body"].read()).decode()


LOGS: dict[str, Any] = {"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": "s3://serverless/logs/"}}}


# Programs


def test_a_program_runs_with_its_arguments_and_its_logs_go_to_s3(emr: Any, s3: Any, application: str) -> None:
    overrides = LOGS | {
        "applicationConfiguration": [
            {"classification": "spark-defaults", "properties": {"spark.sql.shuffle.partitions": "3"}}
        ]
    }
    run = submit(emr, application, "count.py", "7", "a b", "c", configurationOverrides=overrides, name="count",
                 tags={"month": "2023-01"}, parameters="--conf spark.executorEnv.COLOUR='dark blue'")  # fmt: skip
    described = ended(emr, application, run)
    assert (described["state"], described["name"]) == ("SUCCESS", "count"), described["stateDetails"]
    assert log(s3, application, run, "stdout") == "7 ['a b', 'c'] dark blue\n"
    assert log(s3, application, run, "stderr").splitlines()[-1] == "3"
    assert described["arn"].endswith(f":/applications/{application}/jobruns/{run}")
    assert (described["executionRole"], described["releaseLabel"]) == (ROLE, "emr-spark-8.0.0")
    assert (described["mode"], described["attempt"], described["executionTimeoutMinutes"]) == ("BATCH", 1, 720)
    assert described["createdAt"] <= described["startedAt"] <= described["endedAt"]
    # 4 workers of 4 vCPU and 16 GB, a minute each at least.
    seconds = max(math.ceil(round((described["endedAt"] - described["startedAt"]).total_seconds(), 3)), 60)
    vcpu, memory = (round(4 * size * seconds / 3600, 3) for size in (4, 16))
    assert described["billedResourceUtilization"] == {"vCPUHour": vcpu, "memoryGBHour": memory, "storageGBHour": 0.0}
    assert emr.list_tags_for_resource(resourceArn=described["arn"])["tags"] == {"month": "2023-01"}


def test_a_failed_program_has_its_own_last_line(emr: Any, s3: Any, application: str) -> None:
    run = submit(emr, application, "failing.py", configurationOverrides=LOGS)
    described = ended(emr, application, run)
    assert described["state"] == "FAILED"
    assert described["stateDetails"].endswith("ExitCode: 1. Last few exceptions: ValueError: no trips in 2023-13")
    assert "ValueError: no trips in 2023-13" in log(s3, application, run, "stderr")


@pytest.mark.parametrize(
    ("key", "parameters", "text"),
    [
        ("missing.py", None, "s3://serverless/missing.py, given as the program, does not exist."),
        ("count.py", "--py-files s3://serverless/none.zip", "s3://serverless/none.zip, given as --py-files, does not"),
        ("count.py", "--archives s3://serverless/none.zip", "s3://serverless/none.zip, given as --archives, does not"),
        ("count.py", "--archives s3://serverless/count.py", "is none of .zip, .jar, .tar"),
        ("count.py", "--archives s3://serverless/outside.tar.gz", "cannot be unpacked"),
        ("count.py", "--archives s3://serverless/notes.zip#../up", "cannot be unpacked into '../up'"),
        ("count.py", "--packages a:b:1", "choose the engine spark"),
        ("count.py", "--conf spark.pyspark.python=./environment/bin/python", "is in no environment of --archives"),
        (
            "count.py",
            "--archives s3://serverless/old.tar.gz#env --conf spark.executorEnv.PYSPARK_PYTHON=env/bin/python",
            "has packages for python3.7",
        ),
        ("count.jar", "--name x", "only Python programs (.py) can"),
    ],
)
def test_a_program_that_cannot_be_started_fails_with_the_reason(
    emr: Any, application: str, key: str, parameters: str | None, text: str
) -> None:
    described = ended(emr, application, submit(emr, application, key, parameters=parameters))
    assert described["state"] == "FAILED"
    assert text in described["stateDetails"]


def test_a_packed_environment_and_an_archive(emr: Any, s3: Any, application: str) -> None:
    parameters = (
        "--conf spark.archives=s3://serverless/environment.tar.gz#environment,s3://serverless/notes.zip#notes "
        "--conf spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON=./environment/bin/python "
        "--conf spark.emr-serverless.driverEnv.PYSPARK_PYTHON=./environment/bin/python "
        "--conf spark.executorEnv.PYSPARK_PYTHON=./environment/bin/python"
    )
    run = submit(emr, application, "importing.py", parameters=parameters, configurationOverrides=LOGS)
    described = ended(emr, application, run)
    assert described["state"] == "SUCCESS", described["stateDetails"]
    assert log(s3, application, run, "stdout") == "from the environment a note\n"


def test_attempts(emr: Any, s3: Any, application: str) -> None:
    run = submit(
        emr, application, "flaky.py", "twice", "1", retryPolicy={"maxAttempts": 3}, configurationOverrides=LOGS
    )
    described = ended(emr, application, run)
    assert (described["state"], described["attempt"]) == ("SUCCESS", 2)
    target = {"applicationId": application, "jobRunId": run}
    attempts = emr.list_job_run_attempts(**target)["jobRunAttempts"]
    assert [(each["attempt"], each["state"], each["id"]) for each in attempts] == [
        (2, "SUCCESS", run),
        (1, "FAILED", run),
    ]
    first = emr.get_job_run(**target, attempt=1)["jobRun"]
    assert (first["state"], first["attempt"]) == ("FAILED", 1)
    assert first["stateDetails"].endswith("RuntimeError: attempt 0")
    assert "attempt 0" in log(s3, application, run, "stderr")
    assert log(s3, application, run, "stderr", "/attempts/2") == ""
    assert error_of(emr.get_job_run, **target, attempt=3)["Error"]["Code"] == "ResourceNotFoundException"


def test_cancel(emr: Any, endpoint: Endpoint, s3: Any, application: str) -> None:
    run = submit(emr, application, "graceful.py", configurationOverrides=LOGS)
    stdout = endpoint.data / "emr-serverless" / f"{run}-1" / "stdout"
    eventually(lambda: stdout.exists() and stdout.read_text() == "ready\n")
    assert run_of(emr, application, run)["state"] == "RUNNING"
    target = {"applicationId": application, "jobRunId": run}
    assert emr.cancel_job_run(**target, shutdownGracePeriodInSeconds=15)["jobRunId"] == run
    described = ended(emr, application, run)
    assert described["state"] == "CANCELLED"
    assert described["stateDetails"] == "Job run was cancelled by a request of its user."
    assert log(s3, application, run, "stdout") == "ready\ncleaned up\n"
    error = error_of(emr.cancel_job_run, **target)["Error"]
    assert (error["Code"], "not in a cancellable state" in error["Message"]) == ("ValidationException", True)


def test_a_run_of_another_engine(emr: Any, application: str) -> None:
    error = error_of(emr.create_application, releaseLabel="emr-7.9.0", type="SPARK", tags={"local-aws:engine": "hive"})
    assert error["Error"]["Message"] == "The tag local-aws:engine 'hive' is unknown: choose sail or spark."


@pytest.mark.parametrize(
    "spark_submit",
    [
        {"entryPoint": "local:///usr/lib/spark/examples/src/main/python/pi.py"},
        {
            "entryPoint": "local:///usr/lib/spark/examples/jars/spark-examples.jar",
            "sparkSubmitParameters": "--class org.apache.spark.examples.SparkPi",
        },
    ],
)
def test_sparks_examples_need_apache_spark(emr: Any, application: str, spark_submit: dict[str, str]) -> None:
    run = emr.start_job_run(applicationId=application, executionRoleArn=ROLE, jobDriver={"sparkSubmit": spark_submit})[
        "jobRunId"
    ]
    described = ended(emr, application, run)
    assert described["state"] == "FAILED"
    assert "needs RDDs, which Sail does not have" in described["stateDetails"]


@pytest.mark.spark
def test_the_tag_of_the_application_chooses_apache_spark(emr: Any, s3: Any) -> None:
    program = "from pyspark import SparkContext\nprint(SparkContext.getOrCreate().parallelize([1, 2]).sum())\n"
    s3.put_object(Bucket="serverless", Key="rdd.py", Body=program.encode())
    application = create(emr, tags={"local-aws:engine": "spark"})
    run = submit(emr, application, "rdd.py", configurationOverrides=LOGS)
    described = ended(emr, application, run)
    assert described["state"] == "SUCCESS", described["stateDetails"]
    assert log(s3, application, run, "stdout") == "3\n"


@pytest.mark.spark
def test_a_streaming_run_is_restarted_from_its_checkpoint(emr: Any, s3: Any, application: str, tmp_path: Path) -> None:
    """On an endpoint and an application whose engine is Sail, which has no streams."""
    run = submit(
        emr, application, "streaming.py", str(tmp_path / "broke"), mode="STREAMING", configurationOverrides=LOGS
    )
    described = ended(emr, application, run)
    assert (described["state"], described["attempt"]) == ("SUCCESS", 2), described["stateDetails"]
    assert log(s3, application, run, "stdout").splitlines()[0] == "batch 0 5"
    again = log(s3, application, run, "stdout", "/attempts/2").splitlines()
    assert again[:3] == ["batch 1 5", "batch 2 5", "batch 3 5"]


def test_the_dashboard(emr: Any, endpoint: Endpoint, application: str) -> None:
    run = submit(emr, application, "waiting.py", name="<waits>")
    url = emr.get_dashboard_for_job_run(applicationId=application, jobRunId=run)["url"]
    assert url.startswith(endpoint.url)

    def page() -> str:
        with urllib.request.urlopen(url) as answer:
            return html.unescape(answer.read().decode())

    eventually(lambda: "ready" in page())
    assert "<td>RUNNING</td>" in page()
    assert "Job run <waits>" in page()
    assert "http-equiv" in page()
    emr.cancel_job_run(applicationId=application, jobRunId=run)
    ended(emr, application, run)
    assert "<td>CANCELLED</td>" in page()
    assert "ready" in page()  # without a logUri the logs stay where they were
    assert "http-equiv" not in page()
    with urllib.request.urlopen(f"{endpoint.url}/_local_aws/emr-serverless/applications/{application}") as answer:
        assert json.load(answer)["idlePreInitializedResourceUtilization"]["vCPUHour"] == 0
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{endpoint.url}/_local_aws/emr-serverless/applications/none/jobruns/none")


def test_no_process_is_left_of_a_cancelled_run(emr: Any, endpoint: Endpoint, application: str) -> None:
    before = len(endpoint.children())
    run = submit(emr, application, "waiting.py")
    stdout = endpoint.data / "emr-serverless" / f"{run}-1" / "stdout"
    eventually(lambda: stdout.exists() and stdout.read_text() == "ready\n")
    emr.cancel_job_run(applicationId=application, jobRunId=run)
    ended(emr, application, run)
    eventually(lambda: len(endpoint.children()) <= before)


# Applications


def test_an_application_as_it_was_asked_for(emr: Any) -> None:
    size = {"cpu": "4 vCPU", "memory": "16 GB", "disk": "30 GB"}
    settings: dict[str, Any] = {
        "name": "nightly",
        "architecture": "ARM64",
        "initialCapacity": {"DRIVER": {"workerCount": 1, "workerConfiguration": size}},
        "maximumCapacity": {"cpu": "40 vCPU", "memory": "200 GB", "disk": "1000 GB"},
        "autoStartConfiguration": {"enabled": False},
        "autoStopConfiguration": {"enabled": True, "idleTimeoutMinutes": 5},
        "networkConfiguration": {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]},
        "schedulerConfiguration": {"maxConcurrentRuns": 2, "queueTimeoutMinutes": 30},
        "monitoringConfiguration": LOGS["monitoringConfiguration"],
        "tags": {"team": "data"},
    }
    application = create(emr, **settings)
    described = wait_for(emr, application, "CREATED")
    assert {name: described[name] for name in settings} == settings
    assert (described["type"], described["releaseLabel"]) == ("Spark", "emr-spark-8.0.0")
    changed = emr.update_application(
        applicationId=application,
        clientToken="u",
        releaseLabel="emr-7.9.0",
        maximumCapacity={"cpu": "8", "memory": "32"},
    )["application"]
    assert (changed["releaseLabel"], changed["maximumCapacity"]) == ("emr-7.9.0", {"cpu": "8", "memory": "32"})
    assert changed["initialCapacity"] == settings["initialCapacity"]
    assert error_of(submit, emr=emr, application=application, key="count.py")["Error"]["Code"] == "ValidationException"
    emr.start_application(applicationId=application)
    wait_for(emr, application, "STARTED")
    emr.stop_application(applicationId=application)
    wait_for(emr, application, "STOPPED")
    emr.delete_application(applicationId=application)
    assert wait_for(emr, application, "TERMINATED")
    assert "is terminated" in error_of(submit, emr=emr, application=application, key="count.py")["Error"]["Message"]


def test_an_application_with_active_runs_is_not_stopped(emr: Any) -> None:
    application = create(emr)
    run = submit(emr, application, "waiting.py")
    eventually(lambda: run_of(emr, application, run)["state"] == "RUNNING")
    error = error_of(emr.stop_application, applicationId=application)
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("ValidationException", 400)
    assert "all its job runs must be completed or cancelled" in error["Error"]["Message"]
    emr.cancel_job_run(applicationId=application, jobRunId=run)
    ended(emr, application, run)
    emr.stop_application(applicationId=application)


@pytest.mark.parametrize("label", ["emr-spark-8.0.0", "emr-7.9.0", "emr-6.6.0", "emr-6.15.0"])
def test_releases_that_exist(emr: Any, label: str) -> None:
    create(emr, releaseLabel=label)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"releaseLabel": "emr-9.9.9"}, "release label 'emr-9.9.9' or release label does not exist"),
        ({"releaseLabel": "emr-5.36.0"}, "release label 'emr-5.36.0' or release label does not exist"),
        ({"releaseLabel": "8.0.0"}, "release label '8.0.0' or release label does not exist"),
        ({"type": "HIVE"}, "of type SPARK only, not of type 'HIVE'"),
        ({"name": "a b"}, "Value at 'name' failed to satisfy constraint: Member must satisfy regular expression"),
        ({"clientToken": "a/b"}, "Value at 'clientToken' failed to satisfy constraint"),
        ({"architecture": "MIPS"}, "Member must satisfy enum value set: [ARM64, X86_64]"),
        ({"autoStopConfiguration": {"idleTimeoutMinutes": 10081}}, "less than or equal to 10080"),
        ({"maximumCapacity": {"cpu": "four", "memory": "16 GB"}}, "Value at 'maximumCapacity.cpu' failed"),
        ({"schedulerConfiguration": {"maxConcurrentRuns": 0}}, "maxConcurrentRuns must be between 1 and 1000, not 0."),
        ({"schedulerConfiguration": {"queueTimeoutMinutes": 14}}, "queueTimeoutMinutes must be between 15 and 720"),
        ({"schedulerConfiguration": {}, "releaseLabel": "emr-6.15.0"}, "it needs emr-7.0.0."),
        ({"initialCapacity": {"TEZ_TASK": {"workerCount": 1}}}, "Worker type 'TEZ_TASK' is not supported"),
        (
            {"initialCapacity": {"DRIVER": {"workerCount": 1, "workerConfiguration": {"cpu": "3", "memory": "8 GB"}}}},
            "Worker with 3 vCPU is not supported: use 1, 2, 4, 8, 16, 32.",
        ),
        (
            {"initialCapacity": {"DRIVER": {"workerCount": 1, "workerConfiguration": {"cpu": "8", "memory": "17 GB"}}}},
            "Worker with 8 vCPU and 17 GB memory is not supported",
        ),
        (
            {"initialCapacity": {"DRIVER": {"workerCount": 2}}, "maximumCapacity": {"cpu": "4", "memory": "99"}},
            "must not be greater than the maximumCapacity",
        ),
        ({"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": "/tmp/logs"}}}, "not an s3:// address"),
        ({"tags": {f"key{place}": "" for place in range(201)}}, "length less than or equal to 200"),
    ],
)
def test_applications_that_are_refused(emr: Any, settings: dict[str, Any], text: str) -> None:
    error = error_of(create, emr=emr, **settings)
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("ValidationException", 400)
    assert text in error["Error"]["Message"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"executionTimeoutMinutes": 0}, "of a BATCH job run must be between 1 and 10080, not 0."),
        ({"executionTimeoutMinutes": 10081}, "must be between 1 and 10080"),
        ({"executionRoleArn": "arn:aws:iam::1:user/not-a-role"}, "Value at 'executionRoleArn' failed"),
        ({"mode": "INTERACTIVE"}, "enum value set: [BATCH, STREAMING]"),
        ({"retryPolicy": {"maxAttempts": 11}}, "retryPolicy.maxAttempts must be between 1 and 10, not 11."),
        ({"retryPolicy": {"maxFailedAttemptsPerHour": 2}}, "only for job runs of mode STREAMING"),
        ({"retryPolicy": {"maxAttempts": 2}, "mode": "STREAMING"}, "only for job runs of mode BATCH"),
        ({"jobDriver": {"hive": {"query": "SELECT 1"}}}, "Hive is not run by this local endpoint"),
        ({"parameters": "--conf 'spark.a"}, "sparkSubmitParameters cannot be read: No closing quotation."),
        ({"parameters": "--conf spark.executor.cores=3"}, "Worker with 3 vCPU is not supported"),
        ({"parameters": "--executor-cores 1 --executor-memory 30g"}, "Worker with 1 vCPU and 33 GB memory"),
        ({"parameters": "--driver-memory lots"}, "spark.driver.memory 'lots' is not a size such as 4g."),
        ({"parameters": "--magic 1"}, "spark-submit's option --magic cannot be used here"),
        ({"configurationOverrides": {"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": "logs"}}}},
         "The logUri 'logs' is not an s3:// address."),
    ],
)  # fmt: skip
def test_job_runs_that_are_refused(emr: Any, application: str, options: dict[str, Any], text: str) -> None:
    error = error_of(submit, emr=emr, application=application, key="count.py", **options)
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("ValidationException", 400)
    assert text in error["Error"]["Message"]


@pytest.mark.parametrize(("label", "options"), [
    ("emr-7.0.0", {"retryPolicy": {"maxAttempts": 2}}), ("emr-7.0.0", {"mode": "STREAMING"}),
])  # fmt: skip
def test_what_a_release_does_not_have_yet(emr: Any, label: str, options: dict[str, Any]) -> None:
    application = create(emr, releaseLabel=label)
    error = error_of(submit, emr=emr, application=application, key="count.py", **options)["Error"]
    assert (error["Code"], "it needs emr-7.1.0" in error["Message"]) == ("ValidationException", True)


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("get_application", {"applicationId": "00none"}),
        ("start_application", {"applicationId": "00none"}),
        ("stop_application", {"applicationId": "00none"}),
        ("delete_application", {"applicationId": "00none"}),
        ("update_application", {"applicationId": "00none"}),
        ("list_job_runs", {"applicationId": "00none"}),
        ("start_job_run", {"applicationId": "00none", "executionRoleArn": ROLE}),
        ("get_job_run", {"jobRunId": "00none"}),
        ("cancel_job_run", {"jobRunId": "00none"}),
        ("list_job_run_attempts", {"jobRunId": "00none"}),
        ("get_dashboard_for_job_run", {"jobRunId": "00none"}),
    ],
)
def test_what_does_not_exist(emr: Any, application: str, operation: str, arguments: dict[str, str]) -> None:
    error = error_of(getattr(emr, operation), **{"applicationId": application} | arguments)
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("ResourceNotFoundException", 404)
    assert error["Error"]["Message"].endswith("00none does not exist")


def test_an_id_that_is_none(emr: Any) -> None:
    error = error_of(emr.get_application, applicationId="NOT-AN-ID")["Error"]
    assert error["Code"] == "ValidationException"
    assert "Value at 'applicationId' failed to satisfy constraint" in error["Message"]


def test_sessions_are_not_offered(emr: Any, application: str) -> None:
    error = error_of(emr.start_session, applicationId=application, executionRoleArn=ROLE)
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("UnknownOperationException", 501)
    assert "StartSession is not offered" in error["Error"]["Message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/applications", b"{", 400, "SerializationException"),
        ("POST", "/applications", b"[]", 400, "SerializationException"),
        (
            "POST",
            "/applications",
            b'{"releaseLabel": {}, "type": "SPARK", "clientToken": "t"}',
            400,
            "ValidationException",
        ),
        ("POST", "/applications", b'{"type": "SPARK", "clientToken": "t"}', 400, "ValidationException"),
        ("POST", "/applications", b'{"initialCapacity": "all"}', 400, "SerializationException"),
        ("GET", "/applications?maxResults=many", b"", 400, "SerializationException"),
        ("GET", "/nothing", b"", 404, "UnknownOperationException"),
        ("PUT", "/applications", b"", 404, "UnknownOperationException"),
    ],
)
def test_requests_that_no_sdk_sends(
    endpoint: Endpoint, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    scope = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/emr-serverless/aws4_request"
    request = urllib.request.Request(
        endpoint.url + path, data=body or None, method=method,
        headers={"Authorization": scope, "Content-Type": "application/json"},
    )  # fmt: skip
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request)
    assert (raised.value.code, raised.value.headers["X-Amzn-ErrorType"]) == (status, code)
    assert json.load(raised.value)["message"]


# Client tokens, lists, tags


def test_a_client_token_makes_one_application(emr: Any) -> None:
    token = uuid.uuid4().hex
    first = create(emr, clientToken=token, name="one", tags={"a": "b"})
    assert create(emr, clientToken=token, name="one", tags={"a": "b"}) == first
    error = error_of(create, emr=emr, clientToken=token, name="two", tags={"a": "b"})
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("ConflictException", 409)


def test_a_client_token_makes_one_job_run(emr: Any, application: str) -> None:
    token = uuid.uuid4().hex
    first = submit(emr, application, "failing.py", clientToken=token)
    ended(emr, application, first)
    assert submit(emr, application, "failing.py", clientToken=token) == first
    assert error_of(submit, emr=emr, application=application, key="count.py", clientToken=token)["Error"]["Code"] == (
        "ConflictException"
    )
    assert submit(emr, create(emr), "failing.py", clientToken=token) != first  # tokens are those of an application


def test_a_client_token_that_is_used_at_once_by_many(emr: Any, application: str) -> None:
    token = uuid.uuid4().hex
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(submit, emr, application, "missing.py", clientToken=token) for _ in range(8)]
    assert len({run.result() for run in runs}) == 1


def test_lists(emr: Any) -> None:
    application = create(emr, autoStartConfiguration={"enabled": False})
    emr.start_application(applicationId=eventually(lambda: wait_for(emr, application, "CREATED"))["applicationId"])
    runs = [submit(emr, application, "missing.py", name=f"run{place}") for place in range(4)]
    for run in runs:
        ended(emr, application, run)
    pages = list(
        emr.get_paginator("list_job_runs").paginate(
            applicationId=application, PaginationConfig={"PageSize": 3, "MaxItems": 10}
        )
    )
    assert [[each["id"] for each in page["jobRuns"]] for page in pages] == [[runs[3], runs[2], runs[1]], [runs[0]]]
    second = run_of(emr, application, runs[1])["createdAt"]
    listed = emr.list_job_runs(applicationId=application, createdAtAfter=second, states=["SUCCESS", "FAILED"])[
        "jobRuns"
    ]
    assert [each["name"] for each in listed] == ["run3", "run2", "run1"]
    assert set(listed[0]) >= {"id", "applicationId", "arn", "createdBy", "state", "stateDetails", "mode", "type"}
    assert emr.list_job_runs(applicationId=application, mode="STREAMING")["jobRuns"] == []
    assert emr.list_job_runs(applicationId=application, states=["RUNNING"])["jobRuns"] == []
    for arguments in ({"maxResults": 51}, {"nextToken": "none"}, {"states": ["GONE"]}):
        error = error_of(emr.list_job_runs, applicationId=application, **arguments)["Error"]
        assert error["Code"] == "ValidationException"
    some = emr.list_applications(maxResults=1)
    assert [each["id"] for each in some["applications"]] == [application]
    assert emr.list_applications(maxResults=1, nextToken=some["nextToken"])["applications"][0]["id"] != application
    assert application in [each["id"] for each in emr.list_applications(states=["STARTED"])["applications"]]
    assert application not in [each["id"] for each in emr.list_applications(states=["STOPPED"])["applications"]]


def test_a_list_that_changes_while_it_is_read(emr: Any) -> None:
    application = create(emr, schedulerConfiguration={"maxConcurrentRuns": 1})
    runs = {submit(emr, application, "waiting.py") for _ in range(4)}
    cancelled = set()
    active = ["QUEUED", "SUBMITTED", "PENDING", "SCHEDULED", "RUNNING"]
    paginator = emr.get_paginator("list_job_runs").paginate(
        applicationId=application, states=active, PaginationConfig={"PageSize": 2}
    )
    for page in paginator:
        for each in page["jobRuns"]:
            emr.cancel_job_run(applicationId=application, jobRunId=each["id"])
            ended(emr, application, each["id"])
            cancelled.add(each["id"])
    assert cancelled <= runs
    assert len(cancelled) >= 3  # the last of them has left the queue meanwhile, and with it its place in the list


def test_tags(emr: Any) -> None:
    arn = emr.create_application(releaseLabel="emr-7.9.0", type="SPARK", tags={"a": "1"})["arn"]
    emr.tag_resource(resourceArn=arn, tags={"b": "2", "c d": "x=y"})
    emr.untag_resource(resourceArn=arn, tagKeys=["a", "c d"])
    assert emr.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    for wrong in (arn[:-2] + "zz", arn.replace("us-east-1", "eu-west-1"), f"{arn}/jobruns/00none"):
        assert error_of(emr.list_tags_for_resource, resourceArn=wrong)["Error"]["Code"] == "ResourceNotFoundException"
    assert error_of(emr.tag_resource, resourceArn=arn, tags={"a{b": ""})["Error"]["Code"] == "ValidationException"
    assert error_of(emr.tag_resource, resourceArn=arn, tags={"local-aws:engine": "x"})["Error"]["Code"] == (
        "ValidationException"
    )


def test_what_ran_when_the_endpoint_was_killed_has_failed(new_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = new_endpoint().start()
    endpoint.client("s3").create_bucket(Bucket="serverless")
    endpoint.client("s3").put_object(Bucket="serverless", Key="waiting.py", Body=WAITING.encode())
    emr = endpoint.client("emr-serverless")
    application = create(emr)
    run = submit(emr, application, "waiting.py")
    folder = endpoint.data / "emr-serverless" / f"{run}-1"
    eventually(lambda: (folder / "stdout").exists() and (folder / "stdout").read_text() == "ready\n")
    processes = endpoint.children()
    endpoint.kill()
    wait_for_end(processes)
    endpoint.start()
    emr = endpoint.client("emr-serverless")
    described = run_of(emr, application, run)
    assert (described["state"], described["stateDetails"]) == (
        "FAILED",
        "The local endpoint ended before the job run did.",
    )
    assert emr.get_application(applicationId=application)["application"]["state"] == "STOPPED"
    assert not (folder / "work").exists()
    again = run_of(emr, application, submit(emr, application, "waiting.py"))
    assert again["state"] in ("SUBMITTED", "PENDING", "SCHEDULED", "RUNNING")
    endpoint.stop()


def test_moto_is_never_reached(endpoint: Endpoint, emr: Any, application: str) -> None:
    """moto's own EMR Serverless is born STARTED, and its job runs are born SUCCESS."""
    fresh = create(emr)
    assert emr.get_application(applicationId=fresh)["application"]["state"] in ("CREATING", "CREATED")
    with urllib.request.urlopen(f"{endpoint.url}/_local_aws/health") as answer:
        assert "emr-serverless" in json.load(answer)["services"]
