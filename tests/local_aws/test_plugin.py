"""The pytest plugin, and the reset that it is made of."""

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import boto3
import psutil

from local_aws.pytest_plugin import LocalAws
from tests.local_aws.endpoint import Endpoint, error_of
from tests.local_aws.test_command_line import refused
from tests.processes import command, wait_for_end
from tests.waiting import eventually

ONE_NODE = {"MasterInstanceType": "m7g.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True}


def reset(url: str, method: str = "POST", **headers: str) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/_local_aws/reset", method=method, headers=headers)
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_clients_of_a_test_use_the_endpoint(local_aws: LocalAws) -> None:
    assert os.environ["AWS_ENDPOINT_URL"] == local_aws.url
    boto3.client("s3").create_bucket(Bucket="plugin")
    assert [bucket["Name"] for bucket in local_aws.client("s3").list_buckets()["Buckets"]] == ["plugin"]


def test_the_next_test_finds_nothing_of_it(local_aws: LocalAws) -> None:
    assert local_aws.client("s3").list_buckets()["Buckets"] == []


def test_a_reset_ends_what_runs_and_forgets_everything(new_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = new_endpoint("--allow-reset").start()
    s3, glue, emr, serverless, athena, iam, secrets = (
        endpoint.client(service)
        for service in ("s3", "glue", "emr", "emr-serverless", "athena", "iam", "secretsmanager")
    )
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="wait.py", Body=b"import time; time.sleep(300)")
    glue.create_database(DatabaseInput={"Name": "lake"})
    secrets.create_secret(Name="key", SecretString="x")
    iam.create_role(RoleName="jobs", AssumeRolePolicyDocument="{}")
    policy = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
    iam.attach_role_policy(RoleName="jobs", PolicyArn=policy)
    step = {"Name": "wait", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["sleep", "300"]}}
    cluster = emr.run_job_flow(
        Name="c", ReleaseLabel="emr-spark-8.0.0", Instances=ONE_NODE, Steps=[step], AutoScalingRole="none"
    )["JobFlowId"]
    application = serverless.create_application(releaseLabel="emr-spark-8.0.0", type="SPARK")["applicationId"]
    run = serverless.start_job_run(
        applicationId=application,
        executionRoleArn="arn:aws:iam::123456789012:role/jobs",
        jobDriver={"sparkSubmit": {"entryPoint": "s3://data/wait.py"}},
    )["jobRunId"]
    athena.create_work_group(Name="team")
    # Longer than any test, unless it is ended.
    sql = "SELECT count(*) FROM " + ", ".join(f"UNNEST(sequence(1, 9000)) AS t{n}(x{n})" for n in range(6))

    def query(sql: str) -> Callable[[], str]:
        """Start a query; return what tells its state."""
        output = {"OutputLocation": "s3://data/out"}
        found = athena.start_query_execution(QueryString=sql, ResultConfiguration=output)["QueryExecutionId"]
        return lambda: str(athena.get_query_execution(QueryExecutionId=found)["QueryExecution"]["Status"]["State"])

    long = query(sql)
    eventually(lambda: emr.list_steps(ClusterId=cluster)["Steps"][0]["Status"]["State"] == "RUNNING")
    eventually(lambda: serverless.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"] == "RUNNING")
    eventually(lambda: long() == "RUNNING")

    def waiting() -> list[psutil.Process]:
        """Return the processes of the step and of the job run, once both are there: RUNNING comes before."""
        words = {child: command(child) for child in endpoint.children()}
        of_step, of_run = (
            [child for child, each in words.items() if word in each] for word in ("sleep 300", "specification.json")
        )
        return of_step + of_run if of_step and of_run else []

    running = eventually(waiting)

    assert reset(endpoint.url) == 200

    wait_for_end(running)
    assert s3.list_buckets()["Buckets"] == []
    assert glue.get_databases()["DatabaseList"] == []
    assert emr.list_clusters()["Clusters"] == []
    assert serverless.list_applications()["applications"] == []
    assert athena.list_query_executions()["QueryExecutionIds"] == []
    assert [group["Name"] for group in athena.list_work_groups()["WorkGroups"]] == ["primary"]
    assert iam.list_roles()["Roles"] == []
    assert iam.get_policy(PolicyArn=policy)["Policy"]["AttachmentCount"] == 0
    assert secrets.list_secrets()["SecretList"] == []
    assert error_of(s3.head_bucket, Bucket="data")["Error"]["Code"] == "404"
    assert [path for path in (endpoint.data / "s3").rglob("*") if path.is_file()] == []

    s3.create_bucket(Bucket="data")  # it goes on
    one = query("SELECT 1")
    eventually(lambda: one() == "SUCCEEDED")
    endpoint.stop()
    endpoint.start()  # and a restart brings nothing back
    assert [bucket["Name"] for bucket in endpoint.client("s3").list_buckets()["Buckets"]] == ["data"]
    assert endpoint.client("emr").list_clusters()["Clusters"] == []


def test_a_reset_is_not_offered_by_default_nor_to_a_web_page(
    endpoint: Endpoint, new_endpoint: Callable[..., Endpoint]
) -> None:
    assert reset(endpoint.url) == 404
    resettable = new_endpoint("--allow-reset").start()
    assert reset(resettable.url, "GET") == 403
    assert reset(resettable.url, Origin="http://example.com") == 403
    assert reset(resettable.url) == 200


def test_what_was_stored_to_stay_cannot_be_reset(new_endpoint: Callable[..., Endpoint], tmp_path: Path) -> None:
    kept = new_endpoint().start()
    kept.stop()
    code, lines = refused("--allow-reset", "--port", "0", "--data", kept.data)
    assert code == 1
    assert lines[0].startswith(f"local_aws: The data folder {kept.data} has what was stored without --allow-reset")
    code, lines = refused(
        "--allow-reset", "--host", "0.0.0.0", "--listen-beyond-loopback", "--port", "0", "--data", tmp_path / "new"
    )
    assert code == 1
    assert "lets everybody who reaches --host 0.0.0.0 delete everything: use loopback." in lines[0]
