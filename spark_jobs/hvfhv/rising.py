"""Rising pick-up zones: a month's share of trips compared with the months before it."""

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from spark_jobs.hvfhv.contracts import contract

BASELINE_MONTHS = int(contract("rising_zones").properties["baselineMonths"])


def rising_zones(popular: DataFrame, baseline: list[DataFrame]) -> DataFrame:
    """Return a row per zone that has trips in the month, ranked by how clearly its share of trips rose.

    ``z`` is the statistic of a pooled two-proportion test: share of the month's trips, share of all baseline trips.

    Args:
        popular: the month's popular_zones.
        baseline: popular_zones of the available months among the three before; if there are none,
            ``baseline_share``, ``growth``, ``z`` and ``rank`` are null.
    """
    now = _by_zone(popular).withColumn("all_trips", _total())
    share = F.col("trips") / F.col("all_trips")
    if not baseline:
        missing = [F.lit(None).cast("double").alias(name) for name in ("baseline_share", "growth", "z")]
        return now.select("zone_id", "trips", share.alias("share"), *missing, F.lit(None).cast("int").alias("rank"))

    before = reduce(DataFrame.unionByName, [_with_share(_by_zone(month)) for month in baseline])
    zones_before = before.groupBy("zone_id").agg(F.sum("trips").alias("trips_0"), F.sum("share").alias("shares_0"))
    total_before = before.agg(F.coalesce(F.sum("trips"), F.lit(0)).alias("all_trips_0"))
    both = now.join(zones_before, "zone_id", "left").crossJoin(total_before).na.fill(0, ["trips_0", "shares_0"])

    baseline_share = F.col("shares_0") / len(baseline)
    pooled = (F.col("trips") + F.col("trips_0")) / (F.col("all_trips") + F.col("all_trips_0"))
    earlier = F.col("trips_0") / F.col("all_trips_0")
    root = F.sqrt(pooled * (1 - pooled) * (1 / F.col("all_trips") + 1 / F.col("all_trips_0")))
    return both.select(
        "zone_id",
        "trips",
        share.alias("share"),
        baseline_share.alias("baseline_share"),
        F.when(baseline_share > 0, share / baseline_share - 1).alias("growth"),
        F.when((F.col("all_trips_0") > 0) & (root > 0), (share - earlier) / root).alias("z"),
    ).withColumn("rank", F.rank().over(Window.partitionBy(F.lit(1)).orderBy(F.desc_nulls_last("z"))))


def _by_zone(popular: DataFrame) -> DataFrame:
    return popular.groupBy("zone_id").agg(F.sum("trips").alias("trips"))


def _with_share(by_zone: DataFrame) -> DataFrame:
    return by_zone.withColumn("share", F.col("trips") / _total())


def _total() -> Column:
    return F.sum("trips").over(Window.partitionBy(F.lit(1)))
