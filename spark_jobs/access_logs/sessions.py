"""Sessions: the requests of one client without a pause that ends one, over as many days as they last."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from spark_jobs.access_logs.contracts import contract
from spark_jobs.access_logs.parsing import midnight

PAUSE_US = int(contract("sessions").properties["pauseMinutes"]) * 60_000_000
CLIENT = ("host", "user_agent")
_BUCKETS = 64


def sessions(requests: DataFrame) -> DataFrame:
    """Return the sessions of requests: session_id, host, user_agent, started_at, ended_at, requests.

    Args:
        requests: curated requests of one or more days that follow each other.
    """
    at = F.unix_micros(F.col("requested_at").cast("timestamp"))
    # What a client asks for within a span as long as the pause is of one session: so fewer rows must be sorted.
    spans = (
        requests.select(*CLIENT, at.alias("at"))
        .groupBy(*CLIENT, (F.col("at") - F.pmod("at", F.lit(PAUSE_US))).alias("span"))
        .agg(F.min("at").alias("start"), F.max("at").alias("end"), F.count("*").alias("requests"))
    )
    client = F.xxhash64(*CLIENT)
    spans = spans.select(
        *CLIENT, "start", "end", "requests", client.alias("client"), F.pmod(client, F.lit(_BUCKETS)).alias("bucket")
    )
    # A window for each client would be by far the slowest part: there may be millions.
    in_order = Window.partitionBy("bucket").orderBy("client", *CLIENT, "start")
    before = {name: F.lag(name).over(in_order) for name in (*CLIENT, "end")}
    same = before["host"].eqNullSafe(F.col("host")) & before["user_agent"].eqNullSafe(F.col("user_agent"))
    continues = F.coalesce(same & (F.col("start") - before["end"] <= PAUSE_US), F.lit(False))
    number = F.sum("starts").over(in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow))
    found = (
        spans.withColumn("starts", F.when(continues, 0).otherwise(1))
        .withColumn("number", number)
        .groupBy("bucket", "number")
        .agg(
            *(F.any_value(name).alias(name) for name in CLIENT),
            F.min("start").alias("start"),
            F.max("end").alias("end"),
            F.sum("requests").alias("requests"),
        )
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
