"""The Spark session of a program, with the settings that its results depend on."""

from pyspark.sql import SparkSession

SETTINGS = {
    # Source times are wall-clock times without a zone; the machine's time zone must never shift them. An offset instead
    # of the name UTC: Sail converts it in a third of the time.
    "spark.sql.session.timeZone": "+00:00",
    # A value that does not fit its type is an error instead of becoming null or another number.
    "spark.sql.ansi.enabled": "true",
    # Apache Spark rejects TIMESTAMP(NANOS) columns otherwise; programs convert the integers that it then reads.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Aggregate lists of thousands of groups in a hash table; Apache Spark would sort all rows beyond 128 groups.
    "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "100000",
}

# Options of DataFusion, Sail's query engine; Apache Spark ignores them.
SAIL_SETTINGS = {
    # Every output would be split into four files otherwise; 8 million rows of 25 columns take about 200 MB.
    "datafusion.execution.minimum_parallel_output_files": 1,
    "datafusion.execution.soft_max_rows_per_output_file": 8_000_000,
}


def session() -> SparkSession:
    """Return the session of spark-submit, or of ``SPARK_REMOTE`` for Spark Connect, with these settings applied."""
    spark = SparkSession.builder.getOrCreate()
    for key, value in SETTINGS.items():
        spark.conf.set(key, value)
    for option, number in SAIL_SETTINGS.items():
        spark.sql(f"SET {option} = {number}")  # spark.conf.set does not reach DataFusion
    return spark
