"""Programs on Apache Spark make no tables in databases of Glue, where they would not be."""

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import local_aws.engines
from tests.local_aws.endpoint import Endpoint
from tests.waiting import eventually

HOOKS = Path(local_aws.engines.__path__[0], "spark_hooks")
START = """
from types import SimpleNamespace
from pyspark.sql import DataFrameWriter, SparkSession
writer, session = object.__new__(DataFrameWriter), object.__new__(SparkSession)
SparkSession.catalog = SimpleNamespace(currentDatabase=lambda: "of_glue")
writer._spark = session
"""


def run(endpoint: Endpoint, line: str) -> str:
    """Run a line without Java; return the error that ends it."""
    environment = os.environ | {"PYTHONPATH": str(HOOKS), "AWS_ENDPOINT_URL": endpoint.url}
    command = [sys.executable, "-c", f"{START}{line}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module", autouse=True)
def database(endpoint: Endpoint) -> None:
    endpoint.client("glue").create_database(DatabaseInput={"Name": "of_glue"})


@pytest.mark.parametrize(
    "line",
    [
        "writer.saveAsTable('of_glue.t')",
        "writer.saveAsTable('`of_glue`.`t`', mode='overwrite')",
        "writer.saveAsTable('t')",
        "writer.insertInto('of_glue.t')",
        "session.sql('CREATE TABLE IF NOT EXISTS of_glue.t (a int)')",
        "session.sql('create external table `of_glue`.t (a int)')",
        "session.sql('insert overwrite table of_glue.t select 1')",
    ],
)
def test_tables_of_glue_are_refused(endpoint: Endpoint, line: str) -> None:
    assert "Apache Spark cannot change of_glue.t here: the database of_glue is in Glue" in run(endpoint, line)


@pytest.mark.parametrize(
    "line",
    [
        "writer.saveAsTable('of_spark.t')",
        "session.sql('CREATE TABLE of_spark.t (a int)')",
        "session.sql('SELECT * FROM of_glue.t')",
    ],
)
def test_other_tables_are_spark_s_business(endpoint: Endpoint, line: str) -> None:
    assert run(endpoint, line).startswith("AttributeError: ")  # of PySpark, which has no Java in this test


PROGRAM = b"""
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
frame = spark.range(3)
spark.sql("CREATE DATABASE of_glue")  # without the hook, Spark would have the table in its own metastore
spark.sql("CREATE DATABASE hooks_own")
frame.write.saveAsTable("hooks_own.t")
print(spark.table("hooks_own.t").count(), "rows of its own")
for change in (
    lambda: spark.sql("CREATE TABLE of_glue.t (id bigint) USING parquet"),
    lambda: frame.writeTo("of_glue.t").create(),
    lambda: frame.write.insertInto("of_glue.t"),
):
    try:
        change()
    except NotImplementedError:
        print("refused")
frame.write.saveAsTable("of_glue.t")
"""


@pytest.mark.spark
def test_a_step_on_apache_spark_fails_with_the_reason(endpoint: Endpoint) -> None:
    s3, emr, glue = (endpoint.client(service) for service in ("s3", "emr", "glue"))
    s3.create_bucket(Bucket="hooks")
    s3.put_object(Bucket="hooks", Key="tables.py", Body=PROGRAM)
    step = {"Jar": "command-runner.jar", "Args": ["spark-submit", "--deploy-mode", "cluster", "s3://hooks/tables.py"]}
    cluster = emr.run_job_flow(
        Name="hooks",
        ReleaseLabel="emr-spark-8.0.0",
        LogUri="s3://hooks/logs/",
        Instances={"MasterInstanceType": "m7g.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": False},
        Steps=[{"Name": "tables", "ActionOnFailure": "CONTINUE", "HadoopJarStep": step}],
        Tags=[{"Key": "local-aws:engine", "Value": "spark"}],
    )["JobFlowId"]

    def ended() -> Any:
        (found,) = emr.list_steps(ClusterId=cluster)["Steps"]
        return found if found["Status"]["State"] in ("COMPLETED", "FAILED") else None

    found = eventually(ended, within_s=120)
    message = found["Status"]["FailureDetails"]["Message"]
    assert "Apache Spark cannot change of_glue.t here: the database of_glue is in Glue" in message
    log = s3.get_object(Bucket="hooks", Key=f"logs/{cluster}/steps/{found['Id']}/stdout.gz")["Body"].read()
    assert gzip.decompress(log).decode().splitlines()[:4] == ["3 rows of its own", *["refused"] * 3]
    assert glue.get_tables(DatabaseName="of_glue")["TableList"] == []
