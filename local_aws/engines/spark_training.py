"""A program that uses what Spark programs use most, so that Java's shared archive holds those classes."""

import sys

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812


def main(folder: str) -> None:
    """Write a table in `folder`, read it, and write the result of a join, groups, ranks and percentiles."""
    spark = SparkSession.builder.appName("training").getOrCreate()
    rows = spark.range(20_000).select(
        "id",
        (F.col("id") % 7).cast("int").alias("zone"),
        F.concat(F.lit("c"), F.col("id") % 3).alias("company"),
        (F.col("id") * 1.5).alias("fare"),
        F.expr("timestamp_ntz'2023-01-01 00:00:00' + make_interval(0, 0, 0, 0, 0, 0, id % 4000)").alias("at"),
    )
    rows.write.mode("overwrite").parquet(f"{folder}/rows")
    read = spark.read.schema(rows.schema).parquet(f"{folder}/rows")
    zones = spark.createDataFrame([(zone, f"zone {zone}") for zone in range(7)], "zone int, zone_name string")
    marts = (
        read.filter(F.col("fare") >= 0)
        .join(F.broadcast(zones), "zone", "left")
        .groupBy("zone", "zone_name", "company", F.hour("at").alias("hour"), F.to_date("at").alias("date"))
        .agg(
            F.count("*").alias("trips"),
            F.sum("fare").alias("fares"),
            F.avg("fare").alias("mean"),
            F.expr("percentile_disc(0.5) within group (order by fare)").alias("median"),
        )
        .withColumn("rank", F.rank().over(Window.partitionBy("date").orderBy(F.col("trips").desc())))
        .withColumn("share", F.col("trips") / F.sum("trips").over(Window.partitionBy("zone")))
    )
    marts.write.mode("overwrite").parquet(f"{folder}/marts")
    spark.read.parquet(f"{folder}/marts").dropDuplicates(["zone", "company"]).orderBy("trips").show()
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
