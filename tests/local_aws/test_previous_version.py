"""A data folder that version 0.1.0 has left, killed while a step was running, is read by this one."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local_aws.endpoint import Endpoint, error_of

STATE = Path(__file__).parent / "previous_version" / "state.sql"
BLOBS = {
    "c1805b4830d14e78b6112e971d4a42ce": b"first",
    "1f7961967ce14119b0b42e3fb5b71dc4": b"second",
    "fee9d66e86f54c4c96778a96fde946ee": b"gone",
}
RUNNING = "s-N6RE6ZLAEIMPN"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    data = tmp_path_factory.mktemp("previous")
    connection = sqlite3.connect(data / "state.db")
    connection.executescript(STATE.read_text(encoding="utf-8"))
    connection.close()
    for name, content in BLOBS.items():
        blob = data / "s3" / name[:2] / name
        blob.parent.mkdir(parents=True)
        blob.write_bytes(content)
    (data / "emr" / RUNNING / "work" / "spill").mkdir(parents=True)
    (data / "emr" / RUNNING / "stderr").write_bytes(b"last words\n")
    (data / "lock").write_text("4711")
    upgraded = Endpoint(data).start()
    yield upgraded
    upgraded.close()


def test_objects(endpoint: Endpoint) -> None:
    s3 = endpoint.client("s3")
    listed = s3.list_object_versions(Bucket="lake")
    assert [version["Key"] for version in listed["Versions"]] == ["gone", "trips/a.csv", "trips/a.csv"]
    assert [marker["Key"] for marker in listed["DeleteMarkers"]] == ["gone"]
    first = {"Bucket": "lake", "Key": "trips/a.csv", "VersionId": listed["Versions"][2]["VersionId"]}
    assert s3.get_object(**first)["Body"].read() == b"first"
    assert s3.get_object_tagging(**first)["TagSet"] == [{"Key": "team", "Value": "data"}]
    newest = s3.get_object(Bucket="lake", Key="trips/a.csv", ChecksumMode="ENABLED")
    assert newest["Body"].read() == b"second"
    assert (newest["ContentType"], newest["Metadata"]) == ("text/csv", {"month": "2023-02"})
    assert newest["ChecksumCRC32"] == "th8RaQ=="
    assert error_of(s3.get_object, Bucket="lake", Key="gone")["Error"]["Code"] == "NoSuchKey"


def test_catalogue(endpoint: Endpoint) -> None:
    glue = endpoint.client("glue")
    table = glue.get_table(DatabaseName="taxiway", Name="trips")["Table"]
    assert (table["Description"], table["VersionId"]) == ("second", "2")
    partitions = glue.get_partitions(DatabaseName="taxiway", TableName="trips")["Partitions"]
    assert [partition["Values"] for partition in partitions] == [["2023"]]


def test_other_services(endpoint: Endpoint) -> None:
    secret = endpoint.client("secretsmanager").get_secret_value(SecretId="db")
    assert (secret["SecretString"], secret["ARN"].rpartition(":")[2]) == ("mysql://a", "db-siVtPK")
    topics = endpoint.client("sns").list_topics()["Topics"]
    assert [topic["TopicArn"] for topic in topics] == ["arn:aws:sns:us-east-1:123456789012:alerts"]
    assert endpoint.client("ssm").get_parameter(Name="/a")["Parameter"]["Value"] == "1"


def test_clusters(endpoint: Endpoint) -> None:
    emr = endpoint.client("emr")
    (listed,) = emr.list_clusters()["Clusters"]
    cluster: dict[str, Any] = emr.describe_cluster(ClusterId=listed["Id"])["Cluster"]
    assert (cluster["Name"], cluster["Status"]["State"]) == ("nightly", "TERMINATED_WITH_ERRORS")
    assert cluster["Tags"] == [{"Key": "team", "Value": "data"}]
    running, failed, completed = emr.list_steps(ClusterId=listed["Id"])["Steps"]
    assert (running["Id"], running["Status"]["State"]) == (RUNNING, "INTERRUPTED")
    assert failed["Status"]["FailureDetails"]["Message"] == "no month"
    assert completed["Status"]["State"] == "COMPLETED"
    assert [path.name for path in (endpoint.data / "emr" / RUNNING).iterdir()] == ["stderr"]
