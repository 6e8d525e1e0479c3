"""The operators and sensors of Airflow's Amazon provider for S3, the Glue catalogue and Athena, in the dev environment.

Those for EMR and EMR Serverless: tests/local_aws/emr/test_airflow.py, tests/local_aws/emr_serverless/test_airflow.py.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("airflow.providers.amazon")

from airflow.providers.amazon.aws.operators.athena import AthenaOperator
from airflow.providers.amazon.aws.operators.glue_catalog import (
    GlueCatalogBatchDeletePartitionOperator,
    GlueCatalogCreateDatabaseOperator,
    GlueCatalogCreatePartitionOperator,
    GlueCatalogCreateTableOperator,
    GlueCatalogDeleteDatabaseOperator,
    GlueCatalogDeleteTableOperator,
)
from airflow.providers.amazon.aws.operators.s3 import (
    S3CopyObjectOperator,
    S3CreateBucketOperator,
    S3CreateObjectOperator,
    S3DeleteBucketOperator,
    S3DeleteObjectsOperator,
    S3FileTransformOperator,
    S3GetBucketTaggingOperator,
    S3ListOperator,
    S3ListPrefixesOperator,
    S3PutBucketTaggingOperator,
)
from airflow.providers.amazon.aws.sensors.glue_catalog_partition import GlueCatalogPartitionSensor
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor, S3KeysUnchangedSensor
from airflow.providers.amazon.aws.transfers.local_to_s3 import LocalFilesystemToS3Operator
from airflow.sdk.exceptions import TaskDeferred
from botocore.exceptions import ClientError

from tests.local_aws.endpoint import Endpoint

AWS: Any = {"aws_conn_id": None, "region_name": "us-east-1"}


@pytest.fixture(autouse=True)
def environment(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")


def run(kind: Any, **arguments: Any) -> Any:
    return kind(task_id="task", **arguments, **AWS).execute({})


def resume(kind: Any, then: Callable[[], Any] = lambda: None, **arguments: Any) -> Any:
    """Run a deferrable operator, do `then` what it waits for, and run its trigger to its end, as the triggerer does."""
    operator = kind(task_id="task", deferrable=True, **arguments, **AWS)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({})
    then()

    async def event() -> Any:
        return (await anext(deferred.value.trigger.run())).payload

    return getattr(operator, deferred.value.method_name)({}, event=asyncio.run(event()))


def test_s3(endpoint: Endpoint, tmp_path: Any) -> None:
    """S3 operators: create, tag and delete buckets, create, copy, transform, list and delete objects, upload a file; \
sensors of keys, deferrable too"""
    bucket = "airflow-s3"
    run(S3CreateBucketOperator, bucket_name=bucket)
    run(S3PutBucketTaggingOperator, bucket_name=bucket, key="team", value="data")
    assert run(S3GetBucketTaggingOperator, bucket_name=bucket) == [{"Key": "team", "Value": "data"}]
    run(S3CreateObjectOperator, s3_bucket=bucket, s3_key="in/a.txt", data="b\na\n")
    with pytest.raises(ValueError, match="already exists"):
        run(S3CreateObjectOperator, s3_bucket=bucket, s3_key="in/a.txt", data="other")
    run(
        S3CopyObjectOperator,
        source_bucket_key=f"s3://{bucket}/in/a.txt",
        dest_bucket_key=f"s3://{bucket}/copied/a.txt",
    )
    script = tmp_path / "sort.sh"
    script.write_text('#!/bin/sh\nsort "$1" > "$2"\n')
    script.chmod(0o755)
    S3FileTransformOperator(
        task_id="task", source_s3_key=f"s3://{bucket}/in/a.txt", dest_s3_key=f"s3://{bucket}/out/a.txt",
        transform_script=str(script), source_aws_conn_id=None, dest_aws_conn_id=None,
    ).execute({})  # fmt: skip
    assert endpoint.client("s3").get_object(Bucket=bucket, Key="out/a.txt")["Body"].read() == b"a\nb\n"
    LocalFilesystemToS3Operator(
        task_id="task", filename=str(script), dest_key="out/sort.sh", dest_bucket=bucket, aws_conn_id=None
    ).execute({})
    assert run(S3ListOperator, bucket=bucket, prefix="out/") == ["out/a.txt", "out/sort.sh"]
    assert run(S3ListPrefixesOperator, bucket=bucket, prefix="", delimiter="/") == ["copied/", "in/", "out/"]
    keys: dict[str, Any] = {"bucket_key": f"s3://{bucket}/out/*", "wildcard_match": True}
    assert S3KeySensor(task_id="task", **keys, **AWS).poke({})
    assert not S3KeySensor(task_id="task", bucket_key=f"s3://{bucket}/none", **AWS).poke({})
    late = {"s3_bucket": bucket, "s3_key": "in/late.txt", "data": "late"}
    resume(
        S3KeySensor, lambda: run(S3CreateObjectOperator, **late), bucket_key=f"s3://{bucket}/in/late.*",
        wildcard_match=True, poke_interval=1,
    )  # fmt: skip
    quiet = S3KeysUnchangedSensor(task_id="task", bucket_name=bucket, prefix="out/", inactivity_period=0, **AWS)
    quiet.poke({})
    assert quiet.poke({})
    run(S3DeleteObjectsOperator, bucket=bucket, prefix="out/")
    assert run(S3ListOperator, bucket=bucket) == ["copied/a.txt", "in/a.txt", "in/late.txt"]
    run(S3DeleteBucketOperator, bucket_name=bucket, force_delete=True)
    with pytest.raises(ClientError, match="NoSuchBucket"):
        endpoint.client("s3").list_objects_v2(Bucket=bucket)


def test_glue_catalogue_and_athena(endpoint: Endpoint) -> None:
    """Glue catalogue: create and delete databases, tables and partitions, the sensor of a partition, deferrable too; \
Athena: the operator, deferrable too, and its sensor"""
    s3 = endpoint.client("s3")
    s3.create_bucket(Bucket="airflow-glue")
    s3.put_object(Bucket="airflow-glue", Key="trips/day=2024-01-01/a.json", Body=b'{"zone": 4}\n{"zone": 5}\n')
    for _ in range(2):  # a retry is skipped
        assert run(GlueCatalogCreateDatabaseOperator, database_name="airflow", description="trips") == "airflow"
    storage = {
        "Columns": [{"Name": "zone", "Type": "int"}],
        "Location": "s3://airflow-glue/trips/",
        "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        "SerdeInfo": {"SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe"},
    }
    table = {"database_name": "airflow", "table_name": "trips"}
    run(
        GlueCatalogCreateTableOperator,
        **table,
        table_input={"StorageDescriptor": storage, "PartitionKeys": [{"Name": "day", "Type": "date"}]},
    )
    wanted: dict[str, Any] = {**table, "expression": "day='2024-01-01'"}
    assert not GlueCatalogPartitionSensor(task_id="task", **wanted, **AWS).poke({})
    values = {"Values": ["2024-01-01"]}
    place = {**storage, "Location": "s3://airflow-glue/trips/day=2024-01-01/"}
    for _ in range(2):
        run(GlueCatalogCreatePartitionOperator, **table, partition_input={**values, "StorageDescriptor": place})
    assert GlueCatalogPartitionSensor(task_id="task", **wanted, **AWS).poke({})
    resume(GlueCatalogPartitionSensor, **wanted, poke_interval=1)

    query: dict[str, Any] = {
        "query": "SELECT day, count(*) FROM trips GROUP BY day",
        "database": "airflow",
        "output_location": "s3://airflow-glue/results/",
        "sleep_time": 1,
    }
    for ask in (run, resume):
        query_id = ask(AthenaOperator, **query)
        result = s3.get_object(Bucket="airflow-glue", Key=f"results/{query_id}.csv")["Body"].read()
        assert result == b'"day","_col1"\n"2024-01-01","2"\n'

    run(GlueCatalogBatchDeletePartitionOperator, **table, partitions_to_delete=[values])
    assert not GlueCatalogPartitionSensor(task_id="task", **wanted, **AWS).poke({})
    run(GlueCatalogDeleteTableOperator, **table)
    run(GlueCatalogDeleteDatabaseOperator, database_name="airflow")
    databases = endpoint.client("glue").get_databases()["DatabaseList"]
    assert "airflow" not in [each["Name"] for each in databases]
