"""The marts of a day's curated requests, one frame each."""

import re
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from spark_jobs.access_logs.contracts import contract

_SUSPICIOUS = contract("suspicious_clients").properties
_PATTERNS = _SUSPICIOUS["patterns"]  # rule → texts
_TOP = int(contract("top_resources").columns["rank"].bounds[1])
NO_PATH = "(no path)"


def hourly_traffic(requests: DataFrame) -> DataFrame:
    """Return the traffic of each hour with a request.

    Args:
        requests: curated requests.
    """
    return (
        requests.groupBy(F.date_trunc("hour", "requested_at").cast("timestamp_ntz").alias("hour"), "host")
        .agg(F.count("*").alias("requests"), *_errors(F.lit(1)), _bytes())
        .groupBy("hour")
        .agg(*(F.sum(name).alias(name) for name in _TOTALS), F.count("*").alias("hosts"))
    )


def status_by_path(requests: DataFrame) -> DataFrame:
    """Return requests and bytes of each resource and status.

    Args:
        requests: curated requests.
    """
    resource = F.coalesce(F.split_part("path", F.lit("?"), F.lit(1)), F.lit(NO_PATH))
    return requests.groupBy(resource.alias("path"), "status").agg(F.count("*").alias("requests"), _bytes())


def top_resources(by_status: DataFrame) -> DataFrame:
    """Return the resources with most requests.

    Args:
        by_status: the frame of :func:`status_by_path`.
    """
    totals = (
        by_status.where(F.col("path") != NO_PATH)
        .groupBy("path")
        .agg(F.sum("requests").alias("requests"), *_errors(F.col("requests")), F.sum("bytes").alias("bytes"))
        .orderBy(F.desc("requests"), "path")
        .limit(_TOP)
    )
    rank = F.row_number().over(Window.partitionBy(F.lit(1)).orderBy(F.desc("requests"), "path"))
    return totals.select(rank.alias("rank"), "path", *_TOTALS)


def suspicious_clients(requests: DataFrame) -> DataFrame:
    """Return how many requests of each host match each rule, by the contract; none where no request does.

    Args:
        requests: curated requests.
    """
    clients = requests.groupBy("host").agg(
        F.count("*").alias("requests"),
        F.sum(_is_client_error().cast("bigint")).alias("many_4xx"),
        F.sum(F.col("path").isNull().cast("bigint")).alias("malformed_request"),
    )
    many = (F.col("requests") >= int(_SUSPICIOUS["manyRequests"])) & (F.col("many_4xx") * 2 >= F.col("requests"))
    matched = (
        requests.select("host", _unescaped().alias("path"))
        .where(F.col("path").rlike(_any_of(text for texts in _PATTERNS.values() for text in texts)))
        .groupBy("host")
        .agg(
            *(
                F.sum(F.col("path").rlike(_any_of(texts)).cast("bigint")).alias(rule)
                for rule, texts in _PATTERNS.items()
            )
        )
    )
    rules = contract("suspicious_clients").columns["rule"].valid_values
    found = clients.withColumn("many_4xx", F.when(many, F.col("many_4xx"))).join(matched, "host", "left")
    counts = F.array(*(F.struct(F.lit(rule).alias("rule"), F.col(rule).alias("matches")) for rule in rules))
    return (
        found.select("host", "requests", F.explode(counts).alias("found"))
        .select("host", "found.rule", "found.matches", "requests")
        .where("matches > 0")
    )


_TOTALS = ("requests", "errors_4xx", "errors_5xx", "bytes")


def _errors(requests: Column) -> tuple[Column, Column]:
    """Return the sums of requests that failed by the client's and by the server's fault."""
    return (
        F.sum(F.when(_is_client_error(), requests).otherwise(0)).alias("errors_4xx"),
        F.sum(F.when(F.col("status").between(500, 599), requests).otherwise(0)).alias("errors_5xx"),
    )


def _is_client_error() -> Column:
    return F.col("status").between(400, 499)


def _bytes() -> Column:
    return F.coalesce(F.sum("bytes"), F.lit(0)).cast("bigint").alias("bytes")


def _unescaped() -> Column:
    lower = F.lower("path")
    plain = reduce(lambda text, pair: F.replace(text, F.lit(pair[0]), F.lit(pair[1])), _SUSPICIOUS["unescaped"], lower)
    escapes = F.contains(lower, F.lit("%")) | F.contains(lower, F.lit("+"))
    return F.when(escapes, plain).otherwise(lower)


def _any_of(texts: object) -> str:
    return "|".join(re.sub(r"([^a-z0-9/_ <='-])", r"\\\1", text) for text in texts)  # type: ignore[attr-defined]
