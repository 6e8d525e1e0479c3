"""What AWS's sample programs expect of Spark, in steps on Sail: sessions, contexts, tables in Glue, _SUCCESS."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from tests.local_aws.endpoint import Endpoint
from tests.waiting import eventually

INSTANCES = {"MasterInstanceType": "m5.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True}
Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def run(endpoint: Endpoint) -> Run:
    """Run a program as a step; return what it printed and why it failed ("" if it did not)."""
    s3, emr = endpoint.client("s3"), endpoint.client("emr")
    s3.create_bucket(Bucket="sail-programs")
    request = {"ReleaseLabel": "emr-spark-8.0.0", "LogUri": "s3://sail-programs/logs/", "Instances": INSTANCES}
    cluster = emr.run_job_flow(Name="sail", **request)["JobFlowId"]

    def submit(program: str, *options: str) -> tuple[str, str]:
        s3.put_object(Bucket="sail-programs", Key="program.py", Body=program.encode())
        words = ["spark-submit", *options, "s3://sail-programs/program.py"]
        jar = {"Jar": "command-runner.jar", "Args": words}
        config = {"Name": "p", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}
        (step,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[config])["StepIds"]

        def ended() -> Any:
            status = emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"]
            return status if status["State"] in ("COMPLETED", "FAILED") else None

        status = eventually(ended, within_s=180)
        key = f"logs/{cluster}/steps/{step}/stdout.gz"
        output = gzip.decompress(s3.get_object(Bucket="sail-programs", Key=key)["Body"].read()).decode()
        return output, status.get("FailureDetails", {}).get("Message", "")

    return submit


def test_sessions_as_samples_make_them(run: Run) -> None:
    output, failure = run(
        """
from pyspark import SparkConf, SparkContext
from pyspark.context import SparkContext as Same
from pyspark.sql import SparkSession, SQLContext

with SparkSession.builder.appName("first").master("yarn").enableHiveSupport().getOrCreate() as spark:
    spark.sparkContext.setLogLevel("WARN")
    print(spark.range(3).count(), spark.sparkContext.appName, spark.sparkContext.version)

conf = SparkConf().setAppName("second").setMaster("yarn").set("spark.sql.shuffle.partitions", "3")
context = SparkContext.getOrCreate(conf)
context.setLogLevel("ERROR")
spark = SparkSession(context)
print(spark.range(4).count(), context.appName, spark.conf.get("spark.sql.shuffle.partitions"))
print(SQLContext(context).sql("SELECT 5 AS n").collect()[0].n, Same is SparkContext, context.master)
print(SparkSession.builder.config("spark.master", "yarn").config(conf=conf).getOrCreate().range(6).count())
context.stop()
""",
        "--master",
        "yarn",
    )
    assert failure == ""
    assert output.splitlines() == ["3 first 4.0.2", "4 second 3", "5 True local[*]", "6"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("spark.sparkContext.parallelize([1])", "SparkContext.parallelize"),
        ("SparkContext('yarn', 'name').textFile('s3://x')", "SparkContext.textFile"),
        ("spark.sparkContext._jsc.hadoopConfiguration()", "SparkContext._jsc"),
        ("spark.range(3).rdd.map(str)", "DataFrame.rdd"),
    ],
)
def test_what_needs_apache_spark_says_so(run: Run, line: str, what: str) -> None:
    start = "from pyspark import SparkContext\nfrom pyspark.sql import SparkSession\n"
    _, failure = run(f"{start}spark = SparkSession.builder.getOrCreate()\n{line}\n")
    assert f"{what} needs RDDs or Java, which Sail does not have: run it with --engine spark." in failure


def test_a_folder_that_is_complete_is_marked(run: Run, endpoint: Endpoint) -> None:
    _, failure = run(
        """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
rows = spark.range(5)
rows.write.mode("overwrite").parquet("s3://sail-programs/marked/parquet/")
rows.write.mode("overwrite").parquet("s3://sail-programs/marked/parquet/")
rows.write.csv("s3a://sail-programs/marked/csv", header=True)
rows.write.format("json").option("path", "s3://sail-programs/marked/json").save()
try:
    rows.selectExpr("raise_error('no')").write.parquet("s3://sail-programs/marked/failed")
except Exception as error:
    print(error)
assert spark.read.parquet("s3://sail-programs/marked/parquet").count() == 5
assert spark.read.csv("s3://sail-programs/marked/csv", header=True).count() == 5
assert spark.read.json("s3://sail-programs/marked/json").count() == 5
spark.conf.set("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
rows.write.parquet("s3://sail-programs/marked/off")
"""
    )
    assert failure == ""
    s3 = endpoint.client("s3")
    listed = s3.list_objects_v2(Bucket="sail-programs", Prefix="marked/")["Contents"]
    marked = {entry["Key"]: entry["Size"] for entry in listed if entry["Key"].endswith("/_SUCCESS")}
    assert marked == {f"marked/{kind}/_SUCCESS": 0 for kind in ("parquet", "csv", "json")}
    assert any(entry["Key"].startswith("marked/off/") for entry in listed)


def test_markers_can_be_left_out_for_a_program(run: Run, endpoint: Endpoint) -> None:
    option = "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs=false"
    program = "from pyspark.sql import SparkSession\nrows = SparkSession.builder.getOrCreate().range(5)\n"
    _, failure = run(f"{program}rows.write.parquet('s3://sail-programs/unmarked')", "--conf", option)
    assert failure == ""
    listed = endpoint.client("s3").list_objects_v2(Bucket="sail-programs", Prefix="unmarked/")["Contents"]
    assert [entry["Key"] for entry in listed if not entry["Key"].endswith(".parquet")] == []


def test_tables_are_in_glue(run: Run, endpoint: Endpoint) -> None:
    glue = endpoint.client("glue")
    glue.create_database(DatabaseInput={"Name": "sales", "LocationUri": "s3://sail-programs/sales/"})
    output, failure = run(
        """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
rows = spark.createDataFrame([(1, "a b"), (2, "c"), (3, "c")], "id int, kind string")
rows.write.saveAsTable("sales.plain")
rows.limit(2).write.mode("overwrite").saveAsTable("sales.plain")
rows.limit(1).write.mode("append").saveAsTable("sales.plain")
rows.write.mode("overwrite").saveAsTable("sales.parted", partitionBy="kind")
rows.filter("kind = 'c'").write.option("path", "s3://sail-programs/else/").saveAsTable("sales.elsewhere")
spark.sql("CREATE TABLE IF NOT EXISTS sales.made (id int, kind string) USING parquet PARTITIONED BY (kind)")
spark.sql("INSERT INTO sales.made SELECT * FROM sales.parted")
rows.write.insertInto("sales.made")
spark.sql("create table sales.chosen using parquet as select id from sales.plain")
spark.sql("CREATE DATABASE IF NOT EXISTS own LOCATION 's3://sail-programs/own/'")
rows.write.saveAsTable("own.plain")
for name in ("sales.plain", "sales.parted", "sales.elsewhere", "sales.made", "sales.chosen", "own.plain"):
    print(name, spark.table(name).count())
"""
    )
    assert failure == ""
    counts = {"sales.plain": 3, "sales.parted": 3, "sales.elsewhere": 2, "sales.made": 6, "sales.chosen": 3}
    assert output.split() == [word for pair in (counts | {"own.plain": 3}).items() for word in map(str, pair)]
    tables = {each["Name"]: each for each in glue.get_tables(DatabaseName="sales")["TableList"]}
    assert {f"sales.{name}" for name in tables} == counts.keys()
    assert tables["elsewhere"]["StorageDescriptor"]["Location"].rstrip("/") == "s3://sail-programs/else"
    for name in ("parted", "made"):
        partitions = glue.get_partitions(DatabaseName="sales", TableName=name)["Partitions"]
        found = {each["Values"][0]: each["StorageDescriptor"]["Location"] for each in partitions}
        assert found.keys() == {"a b", "c"}
        assert found["c"] == f"s3://sail-programs/sales/{name}/kind=c"
    assert [each["Name"] for each in glue.get_tables(DatabaseName="own")["TableList"]] == ["plain"]


@pytest.mark.parametrize(
    "line",
    [
        "spark.range(3).write.saveAsTable('placeless.lost')",
        "spark.range(3).write.mode('overwrite').saveAsTable('placeless.lost')",
        "spark.sql('CREATE TABLE placeless.lost (a int) USING parquet')",
        "spark.sql('CREATE TABLE placeless.lost USING parquet AS SELECT 1 AS a')",
        "spark.range(3).write.option('path', 'file:///tmp/lost').saveAsTable('placeless.lost')",
        "spark.range(3).write.saveAsTable('lost')",
    ],
)
def test_a_table_that_would_be_lost_is_refused(run: Run, endpoint: Endpoint, line: str) -> None:
    glue = endpoint.client("glue")
    if "placeless" not in [each["Name"] for each in glue.get_databases()["DatabaseList"]]:
        glue.create_database(DatabaseInput={"Name": "placeless"})
    start = "from pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n"
    _, failure = run(f"{start}{line}\n")
    assert "lost has no place on S3 and would be gone with this program" in failure
    assert glue.get_tables(DatabaseName="placeless")["TableList"] == []


def test_the_default_database_is_there_when_it_is_needed(run: Run, endpoint: Endpoint) -> None:
    _, failure = run(
        """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.range(3).write.option("path", "s3://sail-programs/of-default/").saveAsTable("of_default")
assert spark.table("of_default").count() == 3
"""
    )
    assert failure == ""
    glue = endpoint.client("glue")
    assert [each["Name"] for each in glue.get_tables(DatabaseName="default")["TableList"]] == ["of_default"]
    glue.delete_database(Name="default")


def test_a_program_reads_the_properties_it_was_submitted_with(run: Run) -> None:
    program = """
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
print(spark.conf.get("spark.openlineage.parentJobName", None), spark.conf.get("spark.of.nobody", "none"))
"""
    assert run(program, "--conf", "spark.openlineage.parentJobName=a.task") == ("a.task none\n", "")
