"""What clusters run: count the rows of CSV files by zone, as AWS's first sample program does."""

import sys

from pyspark.sql import SparkSession

with SparkSession.builder.appName("count").getOrCreate() as spark:
    spark.sparkContext.setLogLevel("WARN")
    trips = spark.read.option("header", "true").csv(sys.argv[1])
    trips.groupBy("zone").count().write.mode("overwrite").parquet(sys.argv[2])
    print("rows:", trips.count())
