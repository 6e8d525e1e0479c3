"""What Dagster runs on clusters: tell Dagster of rows that are counted."""

import boto3
from dagster_pipes import PipesS3MessageWriter, open_dagster_pipes
from pyspark.sql import SparkSession

with open_dagster_pipes(message_writer=PipesS3MessageWriter(client=boto3.client("s3"), interval=0.2)) as pipes:
    rows = SparkSession.builder.getOrCreate().range(pipes.get_extra("rows")).count()
    pipes.report_asset_materialization(metadata={"rows": {"raw_value": rows, "type": "int"}})
