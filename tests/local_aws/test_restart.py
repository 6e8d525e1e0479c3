"""What survives the end of the endpoint: one with data of all kinds is killed, started, stopped and started again."""

import hashlib
import io
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.local_aws.endpoint import Endpoint, error_of
from tests.processes import name_of, wait_for_end
from tests.waiting import eventually

MIB = 1024**2
TABLE: dict[str, Any] = {
    "Name": "trips",
    "StorageDescriptor": {"Columns": [{"Name": "miles", "Type": "double"}], "Location": "s3://lake/trips"},
    "PartitionKeys": [{"Name": "year", "Type": "string"}, {"Name": "month", "Type": "string"}],
    "Parameters": {"classification": "parquet"},
}

# A function that returns the stored state as the endpoint shows it now.
Look = Callable[[], Any]


def bash(text: str) -> dict[str, Any]:
    step = {"Jar": "command-runner.jar", "Args": ["bash", "-c", text]}
    return {"Name": "step", "ActionOnFailure": "CONTINUE", "HadoopJarStep": step}


def partition(month: str, version: int) -> dict[str, Any]:
    location = f"s3://lake/trips/{month}/version={version}"
    storage = TABLE["StorageDescriptor"] | {"Location": location}
    return {"Values": ["2023", month], "StorageDescriptor": storage, "Parameters": {"sha": location}}


def create_objects(endpoint: Endpoint) -> Look:
    s3 = endpoint.client("s3")
    for bucket in ("kept", "gone"):
        s3.create_bucket(Bucket=bucket)
    s3.delete_bucket(Bucket="gone")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket="kept", Tagging={"TagSet": [{"Key": "team", "Value": "data"}]})
    first = s3.put_object(
        Bucket="kept",
        Key="k",
        Body=os.urandom(2 * MIB),
        ContentType="text/x",
        Metadata={"a": "b"},
        Tagging="t=1",
        ACL="public-read",
    )["VersionId"]
    s3.put_object(Bucket="kept", Key="k", Body=b"second")
    s3.put_object(Bucket="kept", Key="deleted", Body=b"x")
    s3.delete_object(Bucket="kept", Key="deleted")
    for key in ("m1", "m2", "m3"):
        s3.put_object(Bucket="kept", Key=key, Body=b"x")
    versions = {v["Key"]: v["VersionId"] for v in s3.list_object_versions(Bucket="kept", Prefix="m")["Versions"]}
    s3.delete_objects(
        Bucket="kept", Delete={"Objects": [{"Key": key, "VersionId": versions[key]} for key in ("m1", "m2")]}
    )
    s3.upload_fileobj(io.BytesIO(os.urandom(17 * MIB)), "kept", "in-parts")

    def look() -> Any:
        s3 = endpoint.client("s3")
        buckets = [bucket for bucket in s3.list_buckets()["Buckets"] if bucket["Name"] in ("kept", "gone")]
        listed = s3.list_object_versions(Bucket="kept")
        versions = [(v["Key"], v["VersionId"], v["ETag"], v["LastModified"], v["Size"]) for v in listed["Versions"]]
        markers = [(m["Key"], m["VersionId"], m["LastModified"]) for m in listed["DeleteMarkers"]]
        old = s3.get_object(Bucket="kept", Key="k", VersionId=first)
        content = (old["ContentType"], old["Metadata"], old["TagCount"], hashlib.md5(old["Body"].read()).hexdigest())
        grants = s3.get_object_acl(Bucket="kept", Key="m3")["Grants"]
        tags = s3.get_bucket_tagging(Bucket="kept")["TagSet"]
        assert (len(buckets), len(versions), len(markers)) == (1, 5, 1)
        assert s3.get_object(Bucket="kept", Key="in-parts")["ContentLength"] == 17 * MIB
        blobs = {path.name for path in (endpoint.data / "s3").rglob("*") if path.is_file()}
        return buckets, versions, markers, content, grants, tags, blobs

    return look


def create_catalogue(endpoint: Endpoint) -> Look:
    glue = endpoint.client("glue")
    glue.create_database(DatabaseInput={"Name": "taxiway", "Description": "lake"})
    glue.create_database(DatabaseInput={"Name": "gone"})
    glue.create_table(DatabaseName="gone", TableInput=TABLE)
    glue.delete_database(Name="gone")
    for name in ("trips", "dropped"):
        glue.create_table(DatabaseName="taxiway", TableInput=TABLE | {"Name": name})
    glue.delete_table(DatabaseName="taxiway", Name="dropped")
    glue.update_table(DatabaseName="taxiway", TableInput=TABLE | {"Description": "second"})
    months = [partition(month, 1) for month in ("01", "02", "03")]
    glue.batch_create_partition(DatabaseName="taxiway", TableName="trips", PartitionInputList=months)

    def look() -> Any:
        glue = endpoint.client("glue")
        found = [
            glue.get_databases()["DatabaseList"],
            glue.get_tables(DatabaseName="taxiway")["TableList"],
            glue.get_table_versions(DatabaseName="taxiway", TableName="trips")["TableVersions"],
            glue.get_partitions(DatabaseName="taxiway", TableName="trips")["Partitions"],
        ]
        assert [len(each) for each in found] == [1, 1, 2, 3]
        return found

    return look


def change_catalogue(endpoint: Endpoint, month: int) -> None:
    """Change what the last start has restored: point a partition elsewhere, delete one and create one."""
    glue = endpoint.client("glue")
    table = {"DatabaseName": "taxiway", "TableName": "trips"}
    glue.update_partition(**table, PartitionValueList=["2023", "01"], PartitionInput=partition("01", month))
    glue.delete_partition(**table, PartitionValues=["2023", f"{month - 2:02}"])
    glue.create_partition(**table, PartitionInput=partition(f"{month:02}", 1))


def create_others(endpoint: Endpoint) -> Look:
    """Secrets, topics, queues and parameters."""
    secrets, sns, sqs, ssm = (endpoint.client(name) for name in ("secretsmanager", "sns", "sqs", "ssm"))
    arn = secrets.create_secret(Name="airflow/connections/db", SecretString="mysql://a")["ARN"]
    secrets.put_secret_value(SecretId=arn, SecretString="mysql://b")
    secrets.create_secret(Name="gone", SecretString="x")
    secrets.delete_secret(SecretId="gone", ForceDeleteWithoutRecovery=True)
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="events", Attributes={"VisibilityTimeout": "77"})["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)["SubscriptionArn"]
    ssm.put_parameter(Name="/a", Value="1", Type="String")
    ssm.put_parameter(Name="/a", Value="2", Type="String", Overwrite=True)

    def look() -> Any:
        secrets, sns, sqs, ssm = (endpoint.client(name) for name in ("secretsmanager", "sns", "sqs", "ssm"))
        assert [(each["Name"], each["ARN"]) for each in secrets.list_secrets()["SecretList"]] == [
            ("airflow/connections/db", arn)
        ]
        assert [each["SubscriptionArn"] for each in sns.list_subscriptions()["Subscriptions"]] == [subscription]
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        return [
            secrets.get_secret_value(SecretId="airflow/connections/db")["SecretString"],
            ssm.get_parameter(Name="/a")["Parameter"]["Value"],
            attributes["VisibilityTimeout"],
        ]

    return look


def create_serverless(endpoint: Endpoint) -> Look:
    """An EMR Serverless application and a job run that has ended."""
    emr = endpoint.client("emr-serverless")
    request = {"releaseLabel": "emr-7.9.0", "type": "SPARK", "clientToken": "night", "tags": {"team": "data"}}
    application = emr.create_application(**request)["applicationId"]
    run = emr.start_job_run(
        applicationId=application,
        executionRoleArn="arn:aws:iam::123456789012:role/jobs",
        jobDriver={"sparkSubmit": {"entryPoint": "s3://kept/none.py"}},
    )["jobRunId"]
    target = {"applicationId": application, "jobRunId": run}
    eventually(lambda: emr.get_job_run(**target)["jobRun"]["state"] == "FAILED")
    emr.stop_application(applicationId=application)
    eventually(lambda: emr.get_application(applicationId=application)["application"]["state"] == "STOPPED")

    def look() -> Any:
        emr = endpoint.client("emr-serverless")
        assert emr.create_application(**request)["applicationId"] == application
        return [
            emr.get_application(applicationId=application)["application"],
            emr.get_job_run(**target)["jobRun"],
            emr.list_job_run_attempts(**target)["jobRunAttempts"],
        ]

    return look


def create_repeatedly(endpoint: Endpoint) -> Look:
    """What start-up scripts do: create what exists. It must not make the journal longer."""
    sns, sqs, s3 = (endpoint.client(name) for name in ("sns", "sqs", "s3"))

    def create() -> int:
        sns.create_topic(Name="again")
        sqs.create_queue(QueueName="again")
        s3.create_bucket(Bucket="again")
        s3.put_bucket_versioning(Bucket="again", VersioningConfiguration={"Status": "Enabled"})
        with sqlite3.connect(endpoint.data / "state.db") as connection:
            return int(connection.execute("SELECT count(*) FROM journal").fetchone()[0])

    assert len({create() for _ in range(5)}) == 1
    sns.delete_topic(TopicArn=sns.create_topic(Name="again")["TopicArn"])
    create()

    def look() -> Any:
        topics = [topic["TopicArn"] for topic in endpoint.client("sns").list_topics()["Topics"]]
        versioning = endpoint.client("s3").get_bucket_versioning(Bucket="again")["Status"]
        return [arn.rpartition(":")[2] for arn in topics].count("again"), versioning

    return look


def start_steps(endpoint: Endpoint, *steps: str) -> str:
    instances = {"MasterInstanceType": "m5.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True}
    request = {"Name": "test", "ReleaseLabel": "emr-7.13.0", "Instances": instances}
    return str(endpoint.client("emr").run_job_flow(**request, Steps=[bash(each) for each in steps])["JobFlowId"])


def states(endpoint: Endpoint, job_flow: str) -> list[str]:
    steps = endpoint.client("emr").list_steps(ClusterId=job_flow)["Steps"]
    return [step["Status"]["State"] for step in reversed(steps)]


@dataclass
class Round:
    """One end of the endpoint, and the start after it."""

    before: dict[str, Any]  # by the name in DATA
    after: dict[str, Any]
    job_flow: str  # had one step that ran and one that was pending
    seconds: float  # that the end took


@dataclass
class Restarted:
    endpoint: Endpoint
    completed: str  # a job flow whose step had completed
    rounds: list[Round]


DATA = {
    "objects": create_objects,
    "catalogue": create_catalogue,
    "others": create_others,
    "serverless": create_serverless,
    "repeated": create_repeatedly,
}


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    endpoint = Endpoint(tmp_path_factory.mktemp("restarted"), "--max-steps", "1", "--grace-seconds", "60").start()
    port = int(endpoint.url.rpartition(":")[2])  # part of the queues' addresses
    looks = {name: create(endpoint) for name, create in DATA.items()}
    completed = start_steps(endpoint, "true")
    eventually(lambda: states(endpoint, completed) == ["COMPLETED"])
    rounds = []
    for month, end in ((4, endpoint.kill), (5, endpoint.stop)):
        change_catalogue(endpoint, month)
        job_flow = start_steps(endpoint, "trap '' TERM; (trap '' TERM; sleep 300) & sleep 300 & wait", "true")
        eventually(lambda: list(map(name_of, endpoint.children())).count("sleep") == 2)
        processes = endpoint.children()
        before = {name: look() for name, look in looks.items()}
        began = time.monotonic()
        end()
        seconds = time.monotonic() - began
        wait_for_end(processes)
        (endpoint.data / "s3" / "00" / "00left").write_bytes(b"of a request that was interrupted")
        endpoint.start(port)
        after = {name: look() for name, look in looks.items()}
        rounds.append(Round(before, after, job_flow, seconds))
    yield Restarted(endpoint, completed, rounds)
    endpoint.close()


@pytest.mark.parametrize("name", DATA)
def test_data_survives(restarted: Restarted, name: str) -> None:
    for each in restarted.rounds:
        assert each.after[name] == each.before[name]


def test_the_restored_catalogue_is_in_use(restarted: Restarted) -> None:
    glue = restarted.endpoint.client("glue")
    error = error_of(glue.create_database, DatabaseInput={"Name": "taxiway"})
    assert error["Error"]["Code"] == "AlreadyExistsException"
    partitions = glue.get_partitions(DatabaseName="taxiway", TableName="trips")["Partitions"]
    assert {each["Values"][1]: each["StorageDescriptor"]["Location"][-1] for each in partitions} == {
        "01": "5",
        "04": "1",
        "05": "1",
    }


def test_a_restored_subscription_delivers(restarted: Restarted) -> None:
    sns, sqs = restarted.endpoint.client("sns"), restarted.endpoint.client("sqs")
    (topic,) = [each["TopicArn"] for each in sns.list_topics()["Topics"] if each["TopicArn"].endswith(":alerts")]
    sns.publish(TopicArn=topic, Message="hello")
    queue = sqs.get_queue_url(QueueName="events")["QueueUrl"]
    assert "hello" in sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"]


def test_the_endpoint_ends_soon_where_steps_run(restarted: Restarted) -> None:
    killed, stopped = restarted.rounds
    # And not after the grace, which is 60 s.
    assert killed.seconds < 30
    assert stopped.seconds < 30


def test_the_history_of_clusters_survives(restarted: Restarted) -> None:
    emr = restarted.endpoint.client("emr")
    interrupted = [each.job_flow for each in restarted.rounds]
    assert [each["Id"] for each in emr.list_clusters()["Clusters"]] == [*interrupted[::-1], restarted.completed]
    assert states(restarted.endpoint, restarted.completed) == ["COMPLETED"]
    for job_flow in interrupted:
        assert states(restarted.endpoint, job_flow) == ["INTERRUPTED", "CANCELLED"]
        status = emr.describe_cluster(ClusterId=job_flow)["Cluster"]["Status"]
        assert status["State"] == "TERMINATED_WITH_ERRORS"
        assert status["StateChangeReason"]["Message"] == "The local endpoint ended while the cluster was running."
