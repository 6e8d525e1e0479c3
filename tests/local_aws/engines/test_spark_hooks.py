"""Programs on Apache Spark make no tables in databases of Glue, where they would not be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import local_aws.engines
from tests.local_aws.endpoint import Endpoint

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
