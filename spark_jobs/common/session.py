"""The Spark session of a program, with the settings that its results depend on."""

from pyspark.sql import SparkSession

SETTINGS = {
    # Source times are wall-clock times without a zone; a zone of the machine must never shift them. As an offset, which
    # Sail converts by at a third of the cost of the name UTC.
    "spark.sql.session.timeZone": "+00:00",
    # A value that does not fit its type ends the program instead of becoming null or another number.
    "spark.sql.ansi.enabled": "true",
    # Apache Spark refuses TIMESTAMP(NANOS) columns otherwise; a program converts what it then reads as a number.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Lists of thousands of groups stay in a hash table; Apache Spark would sort all rows beyond 128 groups.
    "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "100000",
}

# Options of DataFusion, Sail's core; Apache Spark does not mind them.
SAIL_SETTINGS = {
    # Every output would be spread over four files otherwise; 8 million rows of 25 columns take about 200 MB.
    "datafusion.execution.minimum_parallel_output_files": 1,
    "datafusion.execution.soft_max_rows_per_output_file": 8_000_000,
}


def session() -> SparkSession:
    """Return the session that the runner provides (spark-submit, or ``SPARK_REMOTE`` for Spark Connect), set up."""
    spark = SparkSession.builder.getOrCreate()
    for key, value in SETTINGS.items():
        spark.conf.set(key, value)
    for option, number in SAIL_SETTINGS.items():
        spark.sql(f"SET {option} = {number}")  # spark.conf.set does not reach DataFusion
    return spark
