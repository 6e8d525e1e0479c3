"""The AWS CLI."""

import gzip
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.clients.conftest import Client
from tests.local_aws.endpoint import Endpoint
from tests.waiting import eventually


def text(clients: Client, *words: str | Path) -> str:
    return clients.run("aws", *words, "--output", "text").strip()


def test_s3(clients: Client, endpoint: Endpoint, tmp_path: Path) -> None:
    """`s3`: `mb`, `sync` of a tree with empty files, `cp` from and to a pipe, `ls`, `presign`, `rm`"""
    for name in ("__init__.py", "a/_SUCCESS", "a/b/__init__.py", "a/b/full.txt", "a/full.txt", "full.txt"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name * 1000 if "full" in name else "")
    clients.run("aws", "s3", "mb", "s3://cli")
    (clients.home / ".aws").mkdir()
    (clients.home / ".aws/config").write_text("[default]\ns3 =\n  max_concurrent_requests = 1\n")  # one connection
    clients.run("aws", "s3", "sync", tmp_path / "tree", "s3://cli/tree")  # a stall of 60 s each would be a time-out
    clients.run("aws", "s3", "sync", "s3://cli/tree", tmp_path / "back")

    def files(folder: Path) -> dict[str, str]:
        return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}

    assert files(tmp_path / "back") == files(tmp_path / "tree")
    clients.run("aws", "s3", "cp", "-", "s3://cli/piped", stdin="from a pipe")
    assert clients.run("aws", "s3", "cp", "s3://cli/piped", "-") == "from a pipe"
    assert "Total Objects: 6" in clients.run("aws", "s3", "ls", "--recursive", "--summarize", "s3://cli/tree/")
    address = text(clients, "s3", "presign", "s3://cli/piped", "--expires-in", "1")

    def status() -> int:
        try:
            with urllib.request.urlopen(address) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert eventually(lambda: status() == 403)
    clients.run("aws", "s3", "rm", "--recursive", "--quiet", "s3://cli/tree")
    assert [found["Key"] for found in endpoint.client("s3").list_objects_v2(Bucket="cli")["Contents"]] == ["piped"]


def test_s3api(clients: Client, endpoint: Endpoint, tmp_path: Path) -> None:
    """`s3api`: `get-object --part-number`, `get-object-attributes` with parts, conditions of `copy-object`"""
    (tmp_path / "large").write_bytes(b"0123456789abcdef" * 600_000)
    endpoint.client("s3").create_bucket(Bucket="cli-api")
    clients.run("aws", "s3", "cp", "--quiet", tmp_path / "large", "s3://cli-api/large")
    where = ("--bucket", "cli-api", "--key", "large")
    words = ("s3api", "get-object", *where, "--part-number", "2", "--query", "PartsCount", tmp_path / "second")
    assert text(clients, *words) == "2"
    assert (tmp_path / "second").stat().st_size == 9_600_000 - 8 * 2**20
    attributes = ("--object-attributes", "ObjectParts", "ETag", "ObjectSize")
    found = json.loads(clients.run("aws", "s3api", "get-object-attributes", *where, *attributes))
    assert [part["Size"] for part in found["ObjectParts"]["Parts"]] == [8 * 2**20, 9_600_000 - 8 * 2**20]
    assert (found["ObjectParts"]["TotalPartsCount"], found["ObjectSize"]) == (2, 9_600_000)
    copy = ("s3api", "copy-object", "--bucket", "cli-api", "--copy-source", "cli-api/large")
    refused = clients.run("aws", *copy, "--key", "copied", "--copy-source-if-match", '"none"', status=255)
    assert "(PreconditionFailed)" in refused


def test_emr(clients: Client, endpoint: Endpoint, job: str) -> None:
    """`emr`: `create-default-roles`, `create-cluster` with `--enable-debugging` and a Spark step, `describe-cluster`, \
`list-steps`"""
    environment = {name: value for name, value in clients.environment.items() if name != "AWS_ENDPOINT_URL"}
    without = Client(clients.folder, environment, clients.home)
    made = json.loads(without.run("aws", "emr", "create-default-roles", "--iam-endpoint", endpoint.url))
    assert {role["Role"]["RoleName"] for role in made} >= {"EMR_DefaultRole", "EMR_EC2_DefaultRole"}
    cluster = text(
        clients,
        *("emr", "create-cluster", "--name", "cli", "--release-label", "emr-7.10.0", "--applications", "Name=Spark"),
        *("--instance-type", "m5.xlarge", "--instance-count", "3", "--use-default-roles", "--auto-terminate"),
        *("--log-uri", "s3://shared/cli/", "--enable-debugging", "--query", "ClusterId", "--steps"),
        f"Type=Spark,Name=count,ActionOnFailure=CONTINUE,Args=[{job},s3://shared/trips/,s3://shared/cli-out/]",
    )
    endpoint.client("emr").get_waiter("cluster_running").wait(ClusterId=cluster, WaiterConfig={"Delay": 1})
    endpoint.client("emr").get_waiter("cluster_terminated").wait(ClusterId=cluster, WaiterConfig={"Delay": 1})
    steps = json.loads(clients.run("aws", "emr", "list-steps", "--cluster-id", cluster))["Steps"]
    assert [(step["Name"], step["Status"]["State"]) for step in steps] == [
        ("count", "COMPLETED"),
        ("Setup Hadoop Debugging", "COMPLETED"),
    ]
    found = json.loads(clients.run("aws", "emr", "describe-cluster", "--cluster-id", cluster))["Cluster"]
    assert (found["LogUri"], found["Ec2InstanceAttributes"]["Ec2AvailabilityZone"]) == (
        "s3n://shared/cli/",
        "us-east-1a",
    )
    assert found["Applications"] == [{"Name": "Spark", "Version": "3.5.5"}]
    log = f"cli/{cluster}/steps/{steps[0]['Id']}/stdout.gz"
    body = endpoint.client("s3").get_object(Bucket="shared", Key=log)["Body"].read()
    assert gzip.decompress(body) == b"rows: 3\n"


def test_emr_serverless(clients: Client, endpoint: Endpoint, job: str) -> None:
    """`emr-serverless`: `create-application`, `start-job-run`, `get-job-run`, `get-dashboard-for-job-run`"""
    application = text(
        clients,
        *("emr-serverless", "create-application", "--name", "cli", "--release-label", "emr-7.10.0", "--type", "SPARK"),
        *("--query", "applicationId"),
    )
    arguments = ["s3://shared/trips/", "s3://shared/cli-serverless/"]
    driver = {"sparkSubmit": {"entryPoint": job, "entryPointArguments": arguments}}
    role = "arn:aws:iam::123456789012:role/jobs"
    words = ("--application-id", application, "--execution-role-arn", role, "--job-driver", json.dumps(driver))
    run = text(clients, "emr-serverless", "start-job-run", *words, "--query", "jobRunId")
    emr = endpoint.client("emr-serverless")
    eventually(
        lambda: emr.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"] in ("SUCCESS", "FAILED"), 90
    )
    names = ("--application-id", application, "--job-run-id", run)
    assert text(clients, "emr-serverless", "get-job-run", *names, "--query", "jobRun.state") == "SUCCESS"
    page = text(clients, "emr-serverless", "get-dashboard-for-job-run", *names, "--query", "url")
    with urllib.request.urlopen(page) as answer:
        assert "SUCCESS" in answer.read().decode()


def test_athena(clients: Client, endpoint: Endpoint) -> None:
    """`glue create-database`; `athena`: `start-query-execution`, `get-query-results`; what is refused says so"""
    clients.run("aws", "glue", "create-database", "--database-input", "Name=cli")
    words = ("--result-configuration", "OutputLocation=s3://shared/cli-results/", "--query", "QueryExecutionId")
    query = text(clients, "athena", "start-query-execution", "--query-string", "SELECT 1 AS a, 'it''s' AS b", *words)
    athena = endpoint.client("athena")

    def state() -> Any:
        return athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]["State"]

    assert eventually(lambda: state() == "SUCCEEDED", 60)
    rows = json.loads(clients.run("aws", "athena", "get-query-results", "--query-execution-id", query))["ResultSet"][
        "Rows"
    ]
    assert [[cell["VarCharValue"] for cell in row["Data"]] for row in rows] == [["a", "b"], ["1", "it's"]]
    body = endpoint.client("s3").get_object(Bucket="shared", Key=f"cli-results/{query}.csv")["Body"].read()
    assert body == b'"a","b"\n"1","it\'s"\n'
    refused = clients.run("aws", "glue", "start-job-run", "--job-name", "none", status=255)
    assert "StartJobRun of glue is refused" in refused
