"""EMR's API on the endpoint, by boto3."""

import gzip
import itertools
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local_aws.endpoint import Endpoint, error_of
from tests.processes import name_of, wait_for_end
from tests.tools import SPARK_PYTHON
from tests.waiting import eventually

StartCluster = Callable[..., str]

EXAMPLES_JAR = "/usr/lib/spark/examples/jars/spark-examples.jar"
INSTANCES: dict[str, Any] = {
    "InstanceGroups": [
        {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1},
        {"InstanceRole": "CORE", "InstanceType": "m5.2xlarge", "InstanceCount": 2, "Market": "SPOT"},
    ],
    "KeepJobFlowAliveWhenNoSteps": True,
}


@pytest.fixture(scope="module")
def s3(endpoint: Endpoint) -> Any:
    client = endpoint.client("s3")
    client.create_bucket(Bucket="logs")
    return client


@pytest.fixture(scope="module")
def emr(endpoint: Endpoint, s3: Any) -> Any:
    return endpoint.client("emr")


@pytest.fixture
def cluster(emr: Any) -> Iterator[StartCluster]:
    """Start clusters, which are terminated after the test."""
    made: list[str] = []

    def start(**options: Any) -> str:
        request = {"Name": "test", "ReleaseLabel": "emr-spark-8.0.0", "LogUri": "s3://logs/emr/"} | options
        request["Instances"] = INSTANCES | request.get("Instances", {})
        made.append(emr.run_job_flow(**request)["JobFlowId"])
        return made[-1]

    yield start
    if made:
        emr.set_termination_protection(JobFlowIds=live(emr, made), TerminationProtected=False)
        emr.terminate_job_flows(JobFlowIds=made)


def live(emr: Any, ids: list[str]) -> list[str]:
    return [cluster_id for cluster_id in ids if not state(emr, cluster_id).startswith("TERMINAT")]


def step(*words: str, action: str = "CONTINUE", name: str = "step", jar: str = "command-runner.jar") -> dict[str, Any]:
    return {"Name": name, "ActionOnFailure": action, "HadoopJarStep": {"Jar": jar, "Args": list(words)}}


def bash(text: str, **options: str) -> dict[str, Any]:
    return step("bash", "-c", text, **options)


def status(emr: Any, cluster_id: str) -> Any:
    return emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]


def state(emr: Any, cluster_id: str) -> str:
    return str(status(emr, cluster_id)["State"])


def states(emr: Any, cluster_id: str) -> list[str]:
    """The states of the steps, in the order in which they were added."""
    return [one["Status"]["State"] for one in reversed(emr.list_steps(ClusterId=cluster_id)["Steps"])]


def wait_for(emr: Any, cluster_id: str, *expected: str) -> None:
    eventually(lambda: state(emr, cluster_id) in expected)


def wait_for_steps(emr: Any, cluster_id: str, *expected: str) -> None:
    eventually(lambda: states(emr, cluster_id) == list(expected))


def ended_step(emr: Any, cluster_id: str, step_id: str) -> Any:
    def ended() -> Any:
        now = emr.describe_step(ClusterId=cluster_id, StepId=step_id)["Step"]["Status"]
        return now if now["State"] not in ("PENDING", "RUNNING", "CANCEL_PENDING") else None

    return eventually(ended, within_s=120)  # Apache Spark is slow to start on a busy machine


def run_step(emr: Any, cluster_id: str, config: dict[str, Any]) -> tuple[str, Any]:
    (step_id,) = emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=[config])["StepIds"]
    return step_id, ended_step(emr, cluster_id, step_id)


def log(s3: Any, cluster_id: str, step_id: str, name: str) -> str:
    key = f"emr/{cluster_id}/steps/{step_id}/{name}.gz"
    return gzip.decompress(s3.get_object(Bucket="logs", Key=key)["Body"].read()).decode()


def test_a_cluster_goes_through_its_states(emr: Any, cluster: StartCluster) -> None:
    started = time.time()
    job_flow = cluster(Tags=[{"Key": "team", "Value": "data"}], StepConcurrencyLevel=2)
    seen: list[str] = []

    def ready() -> bool:
        seen.append(state(emr, job_flow))
        return seen[-1] == "WAITING"

    eventually(ready)
    expected = ["STARTING", "BOOTSTRAPPING", "WAITING"]
    # On a busy machine a state may pass between two requests; test_clusters.py checks that none is left out.
    assert list(dict.fromkeys(seen)) == [state for state in expected if state in seen]
    described = emr.describe_cluster(ClusterId=job_flow)["Cluster"]
    assert described["Tags"] == [{"Key": "team", "Value": "data"}]
    assert described["StepConcurrencyLevel"] == 2
    assert described["ReleaseLabel"] == "emr-spark-8.0.0"
    assert described["AutoTerminate"] is False
    timeline = described["Status"]["Timeline"]
    assert started - 1 < timeline["CreationDateTime"].timestamp() < timeline["ReadyDateTime"].timestamp()
    emr.terminate_job_flows(JobFlowIds=[job_flow])
    wait_for(emr, job_flow, "TERMINATED")
    assert status(emr, job_flow)["StateChangeReason"] == {
        "Code": "USER_REQUEST",
        "Message": "Terminated by user request",
    }
    assert status(emr, job_flow)["Timeline"]["EndDateTime"]


def test_a_spark_step_runs_and_its_logs_are_on_s3(emr: Any, s3: Any, cluster: StartCluster) -> None:
    s3.put_object(
        Bucket="logs",
        Key="jobs/count.py",
        Body=b"""
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.range(int(sys.argv[1])).write.mode("overwrite").parquet("s3://logs/out/")
print("rows", spark.read.parquet("s3://logs/out/").count())
""",
    )
    job_flow = cluster()
    words = ("spark-submit", "--deploy-mode", "cluster", "s3://logs/jobs/count.py", "1000")
    step_id, end = run_step(emr, job_flow, step(*words))
    assert end["State"] == "COMPLETED", end
    assert log(s3, job_flow, step_id, "stdout") == "rows 1000\n"
    assert "exit status 0" in log(s3, job_flow, step_id, "controller")
    assert end["Timeline"]["CreationDateTime"] <= end["Timeline"]["StartDateTime"] < end["Timeline"]["EndDateTime"]
    missing = ("/usr/bin/spark-submit", "s3://logs/jobs/none.py")
    _, end = run_step(emr, job_flow, step(*missing))
    assert end["State"] == "FAILED"
    assert "s3://logs/jobs/none.py" in end["FailureDetails"]["Message"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (bash("echo first >&2; echo The month 2023-13 is no month. >&2; exit 3"), "The month 2023-13 is no month."),
        (
            step(
                "python3",
                "-c",
                "import logging; logging.warning('x')\ndef f(): raise ValueError('no rows\\nat all')\nf()",
            ),
            "ValueError: no rows",
        ),
        (
            bash(
                "printf 'Traceback (most recent call last):\\n  File x\\nKeyError: 1\\n' >&2;"
                "echo '26/11/21 10:00:00 INFO ShutdownHookManager: Shutdown hook called' >&2; exit 1"
            ),
            "KeyError: 1",
        ),
        (step("run-example", "SparkPi", "10"), "SparkPi needs RDDs, which Sail does not have: use --engine spark."),
        (step("spark-example", "SparkPi", "10"), "use --engine spark."),
        (step("run-example", "sql.Nonsense"), "The example sql.Nonsense is not available here; these are: JavaPage"),
        (step("run-example", "--master", "yarn"), "run-example needs the name of an example"),
        (step("spark-submit", "--class", "org.apache.spark.examples.SparkPi", EXAMPLES_JAR), "use --engine spark."),
        (step("spark-submit", "/usr/lib/spark/examples/src/main/python/pi.py"), "use --engine spark."),
        (step("s3://logs/x", "y", jar="/home/hadoop/contrib/streaming/hadoop-streaming.jar"), "needs Hadoop"),
        (step("s3-dist-cp", "--src", "s3://logs/none/"), "the following arguments are required: --dest"),
        (step("s3-dist-cp", "--src", "s3://logs/none/", "--dest", "s3://logs/x/"), "nothing at --src s3://logs/none/"),
        (step("s3-dist-cp", "--src=s3://logs/none/", "--dest=hdfs:///x"), "--dest hdfs:///x needs Hadoop"),
        (step("s3-dist-cp", "--src=s3://logs/", "--dest=s3://logs/x", "--groupBy=.*(\\d)"), "--groupBy cannot be used"),
        (step("s3-dist-cp", "--src=s3://logs/", "--dest=s3://logs/x", "--srcPattern=("), "is not a regular expression"),
        (step("s3-dist-cp", "--src=s3://nowhere-at-all/", "--dest=s3://logs/x"), "NoSuchBucket"),
        (step("no-such-program"), "command-runner.jar: there is no program 'no-such-program' on this machine."),
        (step("Main", jar="s3://logs/own.jar"), "s3://logs/own.jar needs Hadoop, which is not available here"),
        (step(), "command-runner.jar needs a command"),
        (
            step("s3://logs/none.sh", jar="s3://us-east-1.elasticmapreduce/libs/script-runner/script-runner.jar"),
            "none.sh",
        ),
        (bash("kill -9 $$"), "killed (signal 9)"),
    ],
)
def test_a_failure_says_why(emr: Any, s3: Any, cluster: StartCluster, config: Any, message: str) -> None:
    job_flow = cluster()
    step_id, end = run_step(emr, job_flow, config)
    assert end["State"] == "FAILED"
    assert message in end["FailureDetails"]["Message"]
    assert end["FailureDetails"]["LogFile"] == f"s3://logs/emr/{job_flow}/steps/{step_id}/stderr.gz"
    assert log(s3, job_flow, step_id, "stderr")


def test_script_runner(emr: Any, s3: Any, cluster: StartCluster) -> None:
    s3.put_object(Bucket="logs", Key="script.sh", Body=b"echo hello $1 from $EMR_STEP_ID with $STEP_MEMORY_BYTES")
    job_flow = cluster()
    step_id, end = run_step(emr, job_flow, step("s3://logs/script.sh", "you", jar="s3://x/script-runner.jar"))
    assert end["State"] == "COMPLETED"
    assert log(s3, job_flow, step_id, "stdout") == f"hello you from {step_id} with {3 * 1024**3}\n"  # conftest.py


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("#!/usr/bin/env python3\nimport sys; print(sys.argv[1:])\n", "['a b', 'c']\n"),
        ('#!/bin/bash -e\nfalse || echo $0 >&2\nfor each in "$@"; do echo "$each"; done\n', "a b\nc\n"),
        ("#!/opt/none/bash\necho $#\n", "2\n"),  # an interpreter that is elsewhere on this machine
        ("echo $#\n", "2\n"),
        ("", ""),
    ],
)
def test_script_runner_honours_the_first_line(emr: Any, s3: Any, cluster: StartCluster, text: str, output: str) -> None:
    s3.put_object(Bucket="logs", Key="shebang", Body=text.encode())
    job_flow = cluster()
    step_id, end = run_step(emr, job_flow, step("s3://logs/shebang", "a b", "c", jar="s3://x/script-runner.jar"))
    assert end["State"] == "COMPLETED", end
    assert log(s3, job_flow, step_id, "stdout") == output


def test_an_interpreter_that_is_missing_is_named(emr: Any, s3: Any, cluster: StartCluster) -> None:
    s3.put_object(Bucket="logs", Key="shebang", Body=b"#!/usr/bin/no-such-shell -x\ntrue\n")
    _, end = run_step(emr, cluster(), step("s3://logs/shebang", jar="s3://x/script-runner.jar"))
    assert "The script asks for /usr/bin/no-such-shell in its first line" in end["FailureDetails"]["Message"]


@pytest.mark.parametrize(
    ("jar", "word"),
    [
        ("command-runner.jar", "state-pusher-script"),
        (
            "s3://us-east-1.elasticmapreduce/libs/script-runner/script-runner.jar",
            "s3://us-east-1.elasticmapreduce/libs/state-pusher/0.1/fetch",
        ),
    ],
)
def test_the_step_that_debugging_adds_does_nothing(emr: Any, cluster: StartCluster, jar: str, word: str) -> None:
    job_flow = cluster(
        Instances={"KeepJobFlowAliveWhenNoSteps": False},
        Steps=[step(word, jar=jar, action="TERMINATE_CLUSTER"), bash("true")],
    )
    wait_for(emr, job_flow, "TERMINATED", "TERMINATED_WITH_ERRORS")
    assert states(emr, job_flow) == ["COMPLETED", "COMPLETED"]


def test_s3_dist_cp(emr: Any, s3: Any, cluster: StartCluster, tmp_path: Path) -> None:
    for key in ("in/a.gz", "in/deep/b.gz", "in/c.txt", "in/folder/", "in_$folder$", "in2/no.gz"):
        s3.put_object(Bucket="logs", Key=key, Body=key.encode())
    (tmp_path / "local.gz").write_bytes(b"local")
    job_flow = cluster()

    def copy(*words: str, jar: str = "command-runner.jar", command: tuple[str, ...] = ("s3-dist-cp",)) -> str:
        step_id, end = run_step(emr, job_flow, step(*command, *words, jar=jar))
        assert end["State"] == "COMPLETED", end
        return log(s3, job_flow, step_id, "stdout")

    def keys(prefix: str) -> list[str]:
        found = s3.list_objects_v2(Bucket="logs", Prefix=prefix).get("Contents", [])
        return [entry["Key"].removeprefix(prefix) for entry in found]

    assert "3 of 3 files copied" in copy("--src", "s3://logs/in", "--dest", "s3://logs/all/")
    assert keys("all/") == ["a.gz", "c.txt", "deep/b.gz"]
    assert s3.get_object(Bucket="logs", Key="all/deep/b.gz")["Body"].read() == b"in/deep/b.gz"
    copy("--src=s3n://logs/in/", "--dest=s3a://logs/some", r"--srcPattern=.*\.gz", "--s3Endpoint=s3.amazonaws.com")
    assert keys("some/") == ["a.gz", "deep/b.gz"]
    copy(
        "--src",
        "s3://logs/some",
        "--dest",
        "s3://logs/moved",
        "--deleteOnSuccess",
        jar="/lib/s3-dist-cp.jar",
        command=(),
    )
    assert (keys("some/"), keys("moved/")) == ([], ["a.gz", "deep/b.gz"])
    copy("--src", "s3://logs/in/c.txt", "--dest", "s3://logs/one")
    assert keys("one/") == ["c.txt"]
    copy("--src", f"file://{tmp_path}", "--dest", "s3://logs/up")
    assert keys("up/") == ["local.gz"]
    copy("--src", "s3://logs/in", "--dest", f"{tmp_path}/down")
    assert (tmp_path / "down" / "deep" / "b.gz").read_bytes() == b"in/deep/b.gz"


def test_a_step_runs_where_no_logs_can_be_written(emr: Any, cluster: StartCluster) -> None:
    job_flow = cluster(LogUri="s3://no-such-bucket/emr/")
    assert run_step(emr, job_flow, bash("true"))[1]["State"] == "COMPLETED"
    _, end = run_step(emr, job_flow, bash("echo why >&2; false"))
    assert Path(end["FailureDetails"]["LogFile"]).read_text() == "why\n"


def test_steps_run_one_after_the_other_or_as_many_at_once_as_asked(emr: Any, cluster: StartCluster) -> None:
    one = cluster(Steps=[bash("sleep 0.3"), bash("true"), bash("true")])
    seen: list[list[str]] = []

    def done() -> bool:
        seen.append(states(emr, one))
        return set(seen[-1]) == {"COMPLETED"}

    eventually(done)
    assert max(moment.count("RUNNING") for moment in seen) <= 1
    spans = [s["Status"]["Timeline"] for s in reversed(emr.list_steps(ClusterId=one)["Steps"])]
    assert all(a["EndDateTime"] <= b["StartDateTime"] for a, b in itertools.pairwise(spans))

    two = cluster(StepConcurrencyLevel=2)
    emr.add_job_flow_steps(JobFlowId=two, Steps=[bash("sleep 300"), bash("sleep 300"), bash("sleep 300")])
    wait_for_steps(emr, two, "RUNNING", "RUNNING", "PENDING")
    emr.modify_cluster(ClusterId=two, StepConcurrencyLevel=3)
    wait_for_steps(emr, two, "RUNNING", "RUNNING", "RUNNING")
    assert state(emr, two) == "RUNNING"
    emr.terminate_job_flows(JobFlowIds=[two])
    wait_for_steps(emr, two, "INTERRUPTED", "INTERRUPTED", "INTERRUPTED")


def test_max_steps_applies_to_all_clusters_together(emr: Any, cluster: StartCluster) -> None:
    both = [cluster(StepConcurrencyLevel=3, Steps=[bash("sleep 300")] * 3) for _ in range(2)]

    def running() -> int:
        return sum(states(emr, cluster_id).count("RUNNING") for cluster_id in both)

    eventually(lambda: running() == 4)  # conftest.py
    time.sleep(0.3)
    assert running() == 4
    emr.terminate_job_flows(JobFlowIds=both[:1])
    wait_for_steps(emr, both[1], "RUNNING", "RUNNING", "RUNNING")


@pytest.mark.parametrize(
    ("action", "protected", "steps", "ends"),
    [
        ("CONTINUE", False, ["FAILED", "COMPLETED"], ["WAITING"]),
        ("CANCEL_AND_WAIT", False, ["FAILED", "CANCELLED"], ["WAITING"]),
        ("TERMINATE_CLUSTER", False, ["FAILED", "CANCELLED"], ["TERMINATED_WITH_ERRORS"]),
        ("TERMINATE_JOB_FLOW", False, ["FAILED", "CANCELLED"], ["TERMINATED_WITH_ERRORS"]),
        ("TERMINATE_CLUSTER", True, ["FAILED", "CANCELLED"], ["WAITING"]),
    ],
)
def test_action_on_failure(
    emr: Any, cluster: StartCluster, action: str, protected: bool, steps: list[str], ends: list[str]
) -> None:
    job_flow = cluster(
        Steps=[bash("exit 1", action=action), bash("true")], Instances={"TerminationProtected": protected}
    )
    wait_for_steps(emr, job_flow, *steps)
    wait_for(emr, job_flow, *ends)
    if ends == ["TERMINATED_WITH_ERRORS"]:
        assert status(emr, job_flow)["StateChangeReason"] == {
            "Code": "STEP_FAILURE",
            "Message": "Shut down as step failed",
        }


def test_with_several_steps_at_once_a_failure_can_only_continue(emr: Any, cluster: StartCluster) -> None:
    job_flow = cluster(StepConcurrencyLevel=2)
    error = error_of(emr.add_job_flow_steps, JobFlowId=job_flow, Steps=[bash("true", action="TERMINATE_CLUSTER")])[
        "Error"
    ]
    assert error["Code"] == "ValidationException"
    assert "ActionOnFailure TERMINATE_CLUSTER is not valid" in error["Message"]
    assert states(emr, job_flow) == []


def test_a_cluster_that_is_not_kept_alive_ends_with_its_steps(emr: Any, cluster: StartCluster) -> None:
    job_flow = cluster(Instances={"KeepJobFlowAliveWhenNoSteps": False}, Steps=[bash("true")])
    wait_for(emr, job_flow, "TERMINATED")
    assert status(emr, job_flow)["StateChangeReason"] == {"Code": "ALL_STEPS_COMPLETED", "Message": "Steps completed"}
    assert states(emr, job_flow) == ["COMPLETED"]


def test_termination_protection(emr: Any, cluster: StartCluster) -> None:
    job_flow, other = cluster(Instances={"TerminationProtected": True}), cluster()
    error = error_of(emr.terminate_job_flows, JobFlowIds=[job_flow, other])["Error"]
    assert error["Code"] == "ValidationException"
    assert "termination protected" in error["Message"]
    wait_for(emr, other, "TERMINATED")
    wait_for(emr, job_flow, "WAITING")
    emr.set_termination_protection(JobFlowIds=[job_flow], TerminationProtected=False)
    emr.terminate_job_flows(JobFlowIds=[job_flow])
    wait_for(emr, job_flow, "TERMINATED")


@pytest.mark.parametrize("option", ["SEND_INTERRUPT", "TERMINATE_PROCESS"])
def test_cancelled_steps_leave_no_process(new_endpoint: Callable[..., Endpoint], option: str, tmp_path: Path) -> None:
    endpoint = new_endpoint("--grace-seconds", "60").start()
    emr = endpoint.client("emr")
    job_flow = emr.run_job_flow(Name="c", ReleaseLabel="emr-spark-8.0.0", Instances=INSTANCES)["JobFlowId"]
    trap = f"trap 'echo asked > {tmp_path}/asked; exit 0' TERM; sleep 300 & setsid sleep 300 & sleep 300 & wait"
    ids = emr.add_job_flow_steps(JobFlowId=job_flow, Steps=[bash(trap), bash("true"), bash("true")])["StepIds"]
    wait_for_steps(emr, job_flow, "RUNNING", "PENDING", "PENDING")
    eventually(lambda: list(map(name_of, endpoint.children())).count("sleep") == 3)
    processes = [child for child in endpoint.children() if name_of(child) in ("sleep", "bash")]
    answer = emr.cancel_steps(ClusterId=job_flow, StepIds=ids[:2], StepCancellationOption=option)
    assert [info["Status"] for info in answer["CancelStepsInfoList"]] == ["SUBMITTED", "SUBMITTED"]
    wait_for_steps(emr, job_flow, "CANCELLED", "CANCELLED", "COMPLETED")
    wait_for_end(processes)
    assert (tmp_path / "asked").exists() == (option == "SEND_INTERRUPT")
    answer = emr.cancel_steps(ClusterId=job_flow, StepIds=[ids[2]])["CancelStepsInfoList"][0]
    assert answer["Status"] == "FAILED"
    assert "COMPLETED" in answer["Reason"]


def test_a_step_that_ignores_the_interrupt_is_killed_after_the_grace(
    new_endpoint: Callable[..., Endpoint], tmp_path: Path
) -> None:
    emr = new_endpoint("--grace-seconds", "8").start().client("emr")  # so that the state before the end is seen
    ready = tmp_path / "ready"
    deaf = bash(f"trap '' TERM; touch {ready}; while true; do sleep 0.1; done")
    job_flow = emr.run_job_flow(Name="deaf", ReleaseLabel="emr-spark-8.0.0", Instances=INSTANCES, Steps=[deaf])[
        "JobFlowId"
    ]
    eventually(ready.exists)
    (step_id,) = [each["Id"] for each in emr.list_steps(ClusterId=job_flow)["Steps"]]
    emr.cancel_steps(ClusterId=job_flow, StepIds=[step_id])
    assert states(emr, job_flow) == ["CANCEL_PENDING"]
    wait_for_steps(emr, job_flow, "CANCELLED")


@pytest.mark.spark
def test_steps_on_apache_spark(new_endpoint: Callable[..., Endpoint]) -> None:
    """The same requests on the other engine; what a program says of its failure is what AWS users read."""
    endpoint = new_endpoint("--engine", "spark", "--spark-python", str(SPARK_PYTHON)).start()
    s3, emr = endpoint.client("s3"), endpoint.client("emr")
    s3.create_bucket(Bucket="logs")
    program = """
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.range(1000).write.mode("overwrite").parquet("s3://logs/out/")
if spark.read.parquet("s3://logs/out/").count() != int(sys.argv[1]):
    sys.exit("The count is wrong: look at s3://logs/out.")
"""
    s3.put_object(Bucket="logs", Key="count.py", Body=program.encode())
    job_flow = emr.run_job_flow(Name="s", ReleaseLabel="emr-spark-8.0.0", Instances=INSTANCES)["JobFlowId"]
    submit = ("spark-submit", "--deploy-mode", "cluster", "s3://logs/count.py")
    _, right = run_step(emr, job_flow, step(*submit, "1000"))
    _, wrong = run_step(emr, job_flow, step(*submit, "1"))
    assert right["State"] == "COMPLETED", right
    assert wrong["FailureDetails"]["Message"] == "The count is wrong: look at s3://logs/out."
    for words in (
        ("run-example", "SparkPi", "2"),
        ("spark-submit", "--deploy-mode", "client", "--class", "org.apache.spark.examples.SparkPi", EXAMPLES_JAR, "2"),
    ):
        _, end = run_step(emr, job_flow, step(*words))
        assert end["State"] == "COMPLETED", end


def test_pages_and_filters(emr: Any, cluster: StartCluster) -> None:
    job_flow = cluster()
    wait_for(emr, job_flow, "WAITING")
    configs = [bash("sleep 300", name=f"s{number}") for number in range(120)]
    ids = emr.add_job_flow_steps(JobFlowId=job_flow, Steps=configs)["StepIds"]
    first = emr.list_steps(ClusterId=job_flow)
    assert len(first["Steps"]) == 50
    pages = [page["Steps"] for page in emr.get_paginator("list_steps").paginate(ClusterId=job_flow)]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [one["Id"] for page in pages for one in page] == ids[::-1]
    assert len(emr.list_steps(ClusterId=job_flow, StepStates=["RUNNING", "COMPLETED"])["Steps"]) <= 1
    listed = emr.list_steps(ClusterId=job_flow, StepIds=ids[3:5])["Steps"]
    assert [one["Name"] for one in listed] == ["s4", "s3"]
    assert error_of(emr.list_steps, ClusterId=job_flow, Marker="x")["Error"]["Code"] == "InvalidRequestException"
    error = error_of(emr.add_job_flow_steps, JobFlowId=job_flow, Steps=[bash("true")] * 137)["Error"]
    assert error["Code"] == "ValidationException"
    assert "Maximum number of active steps" in error["Message"]
    emr.terminate_job_flows(JobFlowIds=[job_flow])
    wait_for(emr, job_flow, "TERMINATED")
    all_states = [
        one["Status"]["State"]
        for page in emr.get_paginator("list_steps").paginate(ClusterId=job_flow)
        for one in page["Steps"]
    ]
    assert set(all_states) == {"CANCELLED", "INTERRUPTED"}


def test_clusters_are_listed(emr: Any, cluster: StartCluster) -> None:
    ids = [cluster(Name=f"c{number}") for number in range(53)]
    pages = [page["Clusters"] for page in emr.get_paginator("list_clusters").paginate()]
    assert {len(page) for page in pages[:-1]} == {50}
    assert [each["Id"] for page in pages for each in page][:53] == ids[::-1]  # those of other tests are older
    emr.terminate_job_flows(JobFlowIds=ids[:2])

    def terminated() -> set[str]:
        pages = emr.get_paginator("list_clusters").paginate(ClusterStates=["TERMINATED"])
        return {each["Id"] for page in pages for each in page["Clusters"]}.intersection(ids)

    eventually(lambda: terminated() == set(ids[:2]))
    third = emr.describe_cluster(ClusterId=ids[2])["Cluster"]["Status"]["Timeline"]["CreationDateTime"]
    before = emr.get_paginator("list_clusters").paginate(CreatedBefore=third)
    listed = {each["Id"] for page in before for each in page["Clusters"]}.intersection(ids)
    assert set(ids[:2]) <= listed < set(ids)


@pytest.mark.parametrize(
    ("operation", "arguments", "code", "message"),
    [
        ("describe_cluster", {"ClusterId": "j-NONE"}, "InvalidRequestException", "Cluster id 'j-NONE' is not valid."),
        ("list_steps", {"ClusterId": "j-NONE"}, "InvalidRequestException", "Cluster id 'j-NONE' is not valid."),
        (
            "add_job_flow_steps",
            {"JobFlowId": "j-NONE", "Steps": [bash("true")]},
            "ValidationException",
            "Specified job flow ID does not exist.",
        ),
        ("terminate_job_flows", {"JobFlowIds": ["j-NONE"]}, "ValidationException", "job flow ID does not exist"),
        (
            "run_job_flow",
            {"Name": "x", "ReleaseLabel": "emr-9.9.9", "Instances": INSTANCES},
            "ValidationException",
            "The supplied release label is invalid: emr-9.9.9.",
        ),
        ("run_job_flow", {"Name": "x", "Instances": INSTANCES}, "ValidationException", "release label is required"),
        (
            "run_job_flow",
            {"Name": "x", "ReleaseLabel": "emr-7.13.0", "Instances": {}},
            "ValidationException",
            "none of them",
        ),
        (
            "run_job_flow",
            {
                "Name": "x",
                "ReleaseLabel": "emr-7.13.0",
                "Instances": INSTANCES,
                "ManagedScalingPolicy": {
                    "ComputeLimits": {
                        "UnitType": "InstanceFleetUnits",
                        "MinimumCapacityUnits": 1,
                        "MaximumCapacityUnits": 2,
                    }
                },
            },
            "ValidationException",
            "UnitType InstanceFleetUnits is not valid",
        ),
        (
            "run_job_flow",
            {
                "Name": "x",
                "ReleaseLabel": "emr-7.13.0",
                "Instances": INSTANCES,
                "AutoTerminationPolicy": {"IdleTimeout": 5},
            },
            "ValidationException",
            "IdleTimeout must be between 60 and 604800",
        ),
        (
            "run_job_flow",
            {"Name": "x", "ReleaseLabel": "emr-7.13.0", "Instances": INSTANCES, "StepConcurrencyLevel": 257},
            "ValidationException",
            "StepConcurrencyLevel",
        ),
        (
            "run_job_flow",
            {"Name": "x", "ReleaseLabel": "emr-7.13.0", "Instances": INSTANCES, "Steps": [bash("true")] * 257},
            "ValidationException",
            "257 steps",
        ),
        ("create_studio", None, "UnknownOperationException", "CreateStudio is not offered"),
    ],
)
def test_errors_are_those_of_aws(emr: Any, operation: str, arguments: Any, code: str, message: str) -> None:
    if arguments is None:
        names = ("Name", "AuthMode", "VpcId", "ServiceRole", "WorkspaceSecurityGroupId", "EngineSecurityGroupId")
        arguments = dict.fromkeys(names, "IAM") | {"SubnetIds": ["s"], "DefaultS3Location": "s3://x"}
    error = error_of(getattr(emr, operation), **arguments)["Error"]
    assert error["Code"] == code
    assert message in error["Message"]


def test_input_is_checked_against_the_service_model(endpoint: Endpoint) -> None:
    def post(target: str, body: bytes) -> Any:
        headers = {
            "X-Amz-Target": f"ElasticMapReduce.{target}",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/elasticmapreduce/aws4_request",
        }
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(urllib.request.Request(endpoint.url, body, headers))
        return json.loads(raised.value.read())

    answer = post("RunJobFlow", b'{"Instances": {"MasterInstanceType": 5}}')
    assert answer["__type"] == "ValidationException"
    assert '"Name"' in answer["message"]
    assert "MasterInstanceType" in answer["message"]
    assert post("RunJobFlow", b"no json")["__type"] == "SerializationException"
    assert post("NoSuchThing", b"{}")["__type"] == "UnknownOperationException"


def test_a_terminated_cluster_takes_no_steps(emr: Any, cluster: StartCluster) -> None:
    job_flow = cluster()
    emr.terminate_job_flows(JobFlowIds=[job_flow])
    for wanted in ("TERMINATING", "TERMINATED"):
        wait_for(emr, job_flow, wanted, "TERMINATED")
        error = error_of(emr.add_job_flow_steps, JobFlowId=job_flow, Steps=[bash("true")])["Error"]
        assert error["Code"] == "ValidationException"
        assert error["Message"] == "A job flow that is shutting down, terminated, or finished may not be modified."
    emr.terminate_job_flows(JobFlowIds=[job_flow])


def test_settings_of_the_request_are_returned(emr: Any, cluster: StartCluster) -> None:
    limits = {"UnitType": "InstanceFleetUnits", "MinimumCapacityUnits": 2, "MaximumCapacityUnits": 8}
    fleets = [
        {
            "InstanceFleetType": "MASTER",
            "TargetOnDemandCapacity": 1,
            "InstanceTypeConfigs": [{"InstanceType": "m7g.xlarge"}],
        },
        {
            "InstanceFleetType": "CORE",
            "TargetOnDemandCapacity": 4,
            "TargetSpotCapacity": 8,
            "InstanceTypeConfigs": [{"InstanceType": "r7g.xlarge", "WeightedCapacity": 4}],
        },
    ]
    job_flow = cluster(
        Instances={"InstanceGroups": [], "InstanceFleets": fleets},
        ManagedScalingPolicy={"ComputeLimits": limits},
        AutoTerminationPolicy={"IdleTimeout": 900},
        BootstrapActions=[{"Name": "b", "ScriptBootstrapAction": {"Path": "s3://x/b.sh", "Args": ["1"]}}],
        Configurations=[{"Classification": "spark-defaults", "Properties": {"spark.x": "1"}}],
    )
    wait_for(emr, job_flow, "WAITING")
    described = emr.describe_cluster(ClusterId=job_flow)["Cluster"]
    assert described["InstanceCollectionType"] == "INSTANCE_FLEET"
    assert described["Configurations"] == [{"Classification": "spark-defaults", "Properties": {"spark.x": "1"}}]
    listed = emr.list_instance_fleets(ClusterId=job_flow)["InstanceFleets"]
    assert [(fleet["InstanceFleetType"], fleet["ProvisionedSpotCapacity"]) for fleet in listed] == [
        ("MASTER", 0),
        ("CORE", 8),
    ]
    core = emr.list_instances(ClusterId=job_flow, InstanceFleetType="CORE")["Instances"]
    assert [instance["InstanceType"] for instance in core] == ["r7g.xlarge"] * 3
    actions = emr.list_bootstrap_actions(ClusterId=job_flow)["BootstrapActions"]
    assert actions == [{"Name": "b", "ScriptPath": "s3://x/b.sh", "Args": ["1"]}]
    assert emr.get_managed_scaling_policy(ClusterId=job_flow)["ManagedScalingPolicy"] == {"ComputeLimits": limits}
    assert emr.get_auto_termination_policy(ClusterId=job_flow)["AutoTerminationPolicy"] == {"IdleTimeout": 900}
    emr.remove_managed_scaling_policy(ClusterId=job_flow)
    emr.remove_auto_termination_policy(ClusterId=job_flow)
    assert "ManagedScalingPolicy" not in emr.get_managed_scaling_policy(ClusterId=job_flow)
    assert "AutoTerminationPolicy" not in emr.get_auto_termination_policy(ClusterId=job_flow)
    emr.add_tags(ResourceId=job_flow, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    emr.remove_tags(ResourceId=job_flow, TagKeys=["a"])
    assert emr.describe_cluster(ClusterId=job_flow)["Cluster"]["Tags"] == [{"Key": "b", "Value": "2"}]


def test_a_cluster_is_described_as_emr_does(emr: Any, cluster: StartCluster) -> None:
    applications = [{"Name": "Spark"}, {"Name": "hadoop"}, {"Name": "Own", "Version": "1"}]
    described = emr.describe_cluster(
        ClusterId=cluster(ReleaseLabel="emr-7.13.0", LogUri="s3://logs/emr", Applications=applications)
    )["Cluster"]
    assert described["Applications"] == [
        {"Name": "Spark", "Version": "3.5.6"},
        {"Name": "Hadoop"},
        {"Name": "Own", "Version": "1"},
    ]
    assert described["LogUri"] == "s3n://logs/emr/"
    assert described["Ec2InstanceAttributes"]["Ec2AvailabilityZone"] == "us-east-1a"
    assert described["Configurations"] == []
    bare = emr.describe_cluster(ClusterId=cluster(LogUri="s3n://logs/x/"))["Cluster"]
    assert (bare["Applications"], bare["Configurations"], bare["LogUri"]) == ([], [], "s3n://logs/x/")
    placed = cluster(Instances={"Placement": {"AvailabilityZone": "us-east-1c"}})
    zone = emr.describe_cluster(ClusterId=placed)["Cluster"]["Ec2InstanceAttributes"]["Ec2AvailabilityZone"]
    assert zone == "us-east-1c"


@pytest.mark.parametrize("scheme", ["s3", "s3n", "s3a"])
def test_logs_of_all_schemes_leave_no_folder(
    emr: Any, s3: Any, endpoint: Endpoint, cluster: StartCluster, scheme: str
) -> None:
    job_flow = cluster(LogUri=f"{scheme}://logs/emr/")
    for text in ("true", "echo no >&2; false"):
        step_id, end = run_step(emr, job_flow, bash(text))
        assert "ended" in log(s3, job_flow, step_id, "controller")
        assert not (endpoint.data / "emr" / step_id).exists()
    assert end["FailureDetails"]["LogFile"] == f"s3://logs/emr/{job_flow}/steps/{step_id}/stderr.gz"


def test_instances_know_their_market(emr: Any, cluster: StartCluster) -> None:
    fleets = [
        {
            "InstanceFleetType": "MASTER",
            "TargetOnDemandCapacity": 1,
            "InstanceTypeConfigs": [{"InstanceType": "m7g.xlarge"}],
        },
        {
            "InstanceFleetType": "CORE",
            "TargetOnDemandCapacity": 4,
            "TargetSpotCapacity": 8,
            "InstanceTypeConfigs": [{"InstanceType": "r7g.xlarge", "WeightedCapacity": 4}],
        },
    ]
    job_flow = cluster(Instances={"InstanceGroups": [], "InstanceFleets": fleets})
    core = emr.list_instances(ClusterId=job_flow, InstanceFleetType="CORE")["Instances"]
    assert [each["Market"] for each in core] == ["ON_DEMAND", "SPOT", "SPOT"]
    groups = cluster()
    found = emr.list_instances(ClusterId=groups)["Instances"]
    assert [each["Market"] for each in found] == ["ON_DEMAND", "SPOT", "SPOT"]


def test_instance_groups_can_be_modified(emr: Any, cluster: StartCluster) -> None:
    job_flow = cluster()
    wait_for(emr, job_flow, "WAITING")

    def groups() -> dict[str, Any]:
        return {each["Name"]: each for each in emr.list_instance_groups(ClusterId=job_flow)["InstanceGroups"]}

    change = {"InstanceGroupId": groups()["CORE"]["Id"], "InstanceCount": 4}
    emr.modify_instance_groups(ClusterId=job_flow, InstanceGroups=[change])
    assert (groups()["CORE"]["RequestedInstanceCount"], groups()["CORE"]["RunningInstanceCount"]) == (4, 4)
    emr.modify_instance_groups(InstanceGroups=[change | {"InstanceCount": 3}])  # the cluster's id may be missing
    assert len(emr.list_instances(ClusterId=job_flow, InstanceGroupTypes=["CORE"])["Instances"]) == 3
    task = {"Name": "spare", "InstanceRole": "TASK", "InstanceType": "m5.xlarge", "InstanceCount": 2, "Market": "SPOT"}
    (task_id,) = emr.add_instance_groups(JobFlowId=job_flow, InstanceGroups=[task])["InstanceGroupIds"]
    assert groups()["spare"]["Id"] == task_id
    emr.modify_instance_groups(ClusterId=job_flow, InstanceGroups=[{"InstanceGroupId": task_id, "InstanceCount": 0}])
    assert groups()["spare"]["RequestedInstanceCount"] == 0
    master = [{"InstanceGroupId": groups()["MASTER"]["Id"], "InstanceCount": 2}]
    for arguments, code in (
        ({"ClusterId": job_flow, "InstanceGroups": master}, "ValidationException"),
        (
            {"ClusterId": job_flow, "InstanceGroups": [change | {"InstanceGroupId": "ig-NONE"}]},
            "InvalidRequestException",
        ),
        ({"InstanceGroups": [change | {"InstanceGroupId": "ig-NONE"}]}, "InvalidRequestException"),
        ({"ClusterId": job_flow, "InstanceGroups": [change | {"InstanceCount": -1}]}, "ValidationException"),
    ):
        assert error_of(emr.modify_instance_groups, **arguments)["Error"]["Code"] == code
    core = [task | {"InstanceRole": "CORE"}]
    error = error_of(emr.add_instance_groups, JobFlowId=job_flow, InstanceGroups=core)["Error"]
    assert error["Code"] == "ValidationException"
    emr.terminate_job_flows(JobFlowIds=[job_flow])
    wait_for(emr, job_flow, "TERMINATED")
    error = error_of(emr.modify_instance_groups, ClusterId=job_flow, InstanceGroups=[change])["Error"]
    assert "may not be modified" in error["Message"]


def test_groups_of_the_short_form_can_be_modified(emr: Any) -> None:
    instances = {"MasterInstanceType": "m5.xlarge", "InstanceCount": 3, "KeepJobFlowAliveWhenNoSteps": True}
    job_flow = emr.run_job_flow(Name="x", ReleaseLabel="emr-7.13.0", Instances=instances)["JobFlowId"]
    core = emr.list_instance_groups(ClusterId=job_flow)["InstanceGroups"][1]
    emr.modify_instance_groups(InstanceGroups=[{"InstanceGroupId": core["Id"], "InstanceCount": 5}])
    counts = [each["RequestedInstanceCount"] for each in emr.list_instance_groups(ClusterId=job_flow)["InstanceGroups"]]
    assert counts == [1, 5]
    emr.terminate_job_flows(JobFlowIds=[job_flow])


def test_instance_fleets_can_be_modified(emr: Any, cluster: StartCluster) -> None:
    kinds = [{"InstanceType": "m7g.xlarge"}]
    fleets = [
        {"InstanceFleetType": kind, "TargetOnDemandCapacity": 1, "InstanceTypeConfigs": kinds}
        for kind in ("MASTER", "CORE")
    ]
    job_flow = cluster(Instances={"InstanceGroups": [], "InstanceFleets": fleets})
    core = emr.list_instance_fleets(ClusterId=job_flow)["InstanceFleets"][1]
    change = {"InstanceFleetId": core["Id"], "TargetOnDemandCapacity": 2, "TargetSpotCapacity": 5}
    emr.modify_instance_fleet(ClusterId=job_flow, InstanceFleet=change)
    changed = emr.list_instance_fleets(ClusterId=job_flow)["InstanceFleets"][1]
    assert (changed["TargetOnDemandCapacity"], changed["TargetSpotCapacity"]) == (2, 5)
    task = fleets[0] | {"InstanceFleetType": "TASK"}
    added = emr.add_instance_fleet(ClusterId=job_flow, InstanceFleet=task)["InstanceFleetId"]
    assert emr.list_instance_fleets(ClusterId=job_flow)["InstanceFleets"][2]["Id"] == added
    error = error_of(emr.add_instance_fleet, ClusterId=job_flow, InstanceFleet=task)["Error"]
    assert error["Code"] == "ValidationException"
    unknown = change | {"InstanceFleetId": "if-NONE"}
    error = error_of(emr.modify_instance_fleet, ClusterId=job_flow, InstanceFleet=unknown)["Error"]
    assert error["Code"] == "InvalidRequestException"


def test_security_configurations(new_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = new_endpoint().start()
    emr = endpoint.client("emr")
    text = json.dumps({"EncryptionConfiguration": {"EnableInTransitEncryption": False}})
    for name in ("first", "second"):
        created = emr.create_security_configuration(Name=name, SecurityConfiguration=text)
        assert (created["Name"], created["CreationDateTime"].timestamp() > 0) == (name, True)
    for name, content, message in (("first", text, "already exists"), ("third", "no", "is not JSON")):
        error = error_of(emr.create_security_configuration, Name=name, SecurityConfiguration=content)["Error"]
        assert error["Code"] == "InvalidRequestException"
        assert message in error["Message"]
    emr.delete_security_configuration(Name="second")
    endpoint.kill()
    emr = endpoint.start().client("emr")
    assert [each["Name"] for each in emr.list_security_configurations()["SecurityConfigurations"]] == ["first"]
    assert emr.describe_security_configuration(Name="first")["SecurityConfiguration"] == text
    for operation in (emr.describe_security_configuration, emr.delete_security_configuration):
        error = error_of(operation, Name="second")["Error"]
        assert error["Code"] == "InvalidRequestException"
        assert "Security configuration with name 'second' does not exist." in error["Message"]


def test_instance_groups_and_releases(emr: Any, cluster: StartCluster) -> None:
    job_flow = cluster()
    groups = emr.list_instance_groups(ClusterId=job_flow)["InstanceGroups"]
    assert [(group["InstanceGroupType"], group["Market"], group["RequestedInstanceCount"]) for group in groups] == [
        ("MASTER", "ON_DEMAND", 1),
        ("CORE", "SPOT", 2),
    ]
    labels = emr.list_release_labels(Filters={"Prefix": "emr-7"})["ReleaseLabels"]
    assert labels[-1] == "emr-7.0.0"
    assert emr.describe_release_label(ReleaseLabel="emr-spark-8.0.0")["Applications"][0]["Version"] == "4.0.2"


def test_the_tag_of_a_cluster_names_the_engine(emr: Any, cluster: StartCluster) -> None:
    cluster_id = cluster(Tags=[{"Key": "local-aws:engine", "Value": "hive"}])
    _, ended = run_step(emr, cluster_id, step("spark-submit", "s3://logs/none.py"))
    assert ended["FailureDetails"]["Message"] == "Engine 'hive' is unknown: choose sail or spark."


def test_a_cluster_s_properties_and_variables_reach_its_programs(emr: Any, s3: Any, cluster: StartCluster) -> None:
    program = """
import os
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
names = ("spark.sql.session.timeZone", "spark.sql.shuffle.partitions")
print([spark.conf.get(name) for name in names], *map(os.environ.get, ("COLOUR", "SHAPE", "SIZE")))
"""
    s3.put_object(Bucket="logs", Key="programs/settings.py", Body=program)
    s3.put_object(Bucket="logs", Key="programs/own.conf", Body="spark.sql.session.timeZone Asia/Tokyo")
    exported = {"PYSPARK_PYTHON": "/usr/bin/python3", "COLOUR": "blue", "SHAPE": "round"}
    cluster_id = cluster(
        Configurations=[
            {
                "Classification": "spark-defaults",
                "Properties": {
                    "spark.sql.session.timeZone": "Europe/Rome",
                    "spark.sql.shuffle.partitions": "7",
                    "spark.executor.memory": "10g",
                    "spark.yarn.appMasterEnv.SHAPE": "square",
                },
            },
            {"Classification": "spark-env", "Configurations": [{"Classification": "export", "Properties": exported}]},
            {"Classification": "hive-site", "Properties": {"SIZE": "large"}},
        ],
    )
    words = ("--conf", "spark.sql.shuffle.partitions=9", "s3://logs/programs/settings.py")
    step_id, ended = run_step(emr, cluster_id, step("spark-submit", *words))
    assert ended["State"] == "COMPLETED", ended
    assert log(s3, cluster_id, step_id, "stdout") == "['Europe/Rome', '9'] blue square None\n"
    own = ("--properties-file", "s3://logs/programs/own.conf")  # Spark reads it in place of the defaults
    step_id, ended = run_step(emr, cluster_id, step("spark-submit", *own, *words))
    assert log(s3, cluster_id, step_id, "stdout") == "['Asia/Tokyo', '9'] None None None\n", ended


@pytest.mark.spark
def test_a_cluster_with_a_tag_runs_apache_spark(emr: Any, cluster: StartCluster) -> None:
    cluster_id = cluster(Tags=[{"Key": "local-aws:engine", "Value": "spark"}])
    _, ended = run_step(emr, cluster_id, step("run-example", "SparkPi", "2"))
    assert ended["State"] == "COMPLETED", ended
