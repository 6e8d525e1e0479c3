"""Sessions: the requests of one client without a pause that ends one, over as many days as they last."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from spark_jobs.access_logs.contracts import contract
from spark_jobs.access_logs.parsing import midnight

PAUSE_US = int(contract("sessions").properties["pauseMinutes"]) * 60_000_000
CLIENT = ("host", "user_agent")


def sessions(requests: DataFrame) -> DataFrame:
    """Return the sessions of requests: session_id, host, user_agent, started_at, ended_at, requests.

    Args:
        requests: curated requests of one or more days that follow each other.
    """
    micros = F.unix_micros(F.col("requested_at").cast("timestamp"))
    times = requests.groupBy(*CLIENT, micros.alias("at")).agg(F.count("*").alias("requests"))
    by_client = Window.partitionBy(*CLIENT).orderBy("at")
    starts = F.coalesce(F.col("at") - F.lag("at").over(by_client) > PAUSE_US, F.lit(True))
    running = F.sum("starts").over(by_client.rowsBetween(Window.unboundedPreceding, Window.currentRow))
    found = (
        times.withColumn("starts", starts.cast("bigint"))
        .withColumn("number", running)
        .groupBy(*CLIENT, "number")
        .agg(F.min("at").alias("start"), F.max("at").alias("end"), F.sum("requests").alias("requests"))
    )
    # No field holds a line feed, and an agent that is not null begins with one more.
    identity = F.concat_ws("\n", "host", F.col("start").cast("string"), F.concat(F.lit("\n"), F.col("user_agent")))
    return found.select(
        F.md5(identity.cast("binary")).alias("session_id"),
        *CLIENT,
        F.timestamp_micros("start").cast("timestamp_ntz").alias("started_at"),
        F.timestamp_micros("end").cast("timestamp_ntz").alias("ended_at"),
        "requests",
    )


def began_on(sessions: DataFrame, day: date) -> DataFrame:
    """Return the sessions that began on a UTC day."""
    started = F.col("started_at")
    return sessions.where((started >= midnight(day)) & (started < midnight(day + timedelta(days=1))))
