"""The marts that depend on a month's curated trips alone, one frame each."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from spark_jobs.hvfhv.zones import zones

MAX_WAIT_S = 3600
LATE_AFTER_S = 600


def timed(trips: DataFrame) -> DataFrame:
    """Return the trips whose wait is plausible: 0 ≤ wait_s ≤ 3600."""
    return trips.where(F.col("wait_s").between(0, MAX_WAIT_S))


def service_quality(trips: DataFrame) -> DataFrame:
    """Return how long customers wait, a row per company, pick-up zone and hour of the request, over timed trips."""
    return (
        timed(trips)
        .groupBy("company", "pickup_zone_id", F.hour("request_datetime").alias("request_hour"))
        .agg(
            F.count("*").alias("trips"),
            F.mean("wait_s").alias("wait_s_mean"),
            *(_percentile("wait_s", percent) for percent in (50, 90, 95)),
            F.count(F.when(F.col("wait_s") > LATE_AFTER_S, 1)).alias("late_trips"),
            F.mean("arrival_s").alias("arrival_s_mean"),
            *(_percentile("arrival_s", percent) for percent in (50, 90)),
        )
    )


def market_share(trips: DataFrame) -> DataFrame:
    """Return each company's share of trips and revenue, a row per company, pick-up borough and date."""
    by_zone = _daily(trips, "company", "pickup_zone_id")
    borough = F.broadcast(zones(trips.sparkSession).select("zone_id", F.col("borough").alias("pickup_borough")))
    day = Window.partitionBy("pickup_borough", "pickup_date")
    revenue = F.sum("fare_revenue").over(day)
    return (
        by_zone.join(borough, by_zone.pickup_zone_id == borough.zone_id)
        .groupBy("company", "pickup_borough", "pickup_date")
        .agg(*(F.sum(name).alias(name) for name in ("trips", "fare_revenue", "driver_pay")))
        .select(
            "company",
            "pickup_borough",
            "pickup_date",
            "trips",
            (F.col("trips") / F.sum("trips").over(day)).alias("trip_share"),
            "fare_revenue",
            F.when(revenue != 0, F.col("fare_revenue") / revenue).alias("revenue_share"),
            "driver_pay",
        )
    )


def popular_zones(trips: DataFrame) -> DataFrame:
    """Return the zones ranked by pick-ups, a row per date and zone; zones with equal counts share the lower rank."""
    by_zone = trips.groupBy(_pickup_date(), F.col("pickup_zone_id").alias("zone_id")).agg(F.count("*").alias("trips"))
    busiest_first = Window.partitionBy("pickup_date").orderBy(F.desc("trips"))
    return by_zone.join(F.broadcast(zones(trips.sparkSession)), "zone_id").select(
        "pickup_date", "zone_id", "trips", F.rank().over(busiest_first).alias("rank"), "zone_name", "borough"
    )


def trend(trips: DataFrame) -> DataFrame:
    """Return the month in one row per company: waits over timed trips, everything else over all trips."""
    wait = F.when(F.col("wait_s").between(0, MAX_WAIT_S), F.col("wait_s"))
    month = (
        trips.withColumn("wait_s", wait)
        .groupBy("company")
        .agg(
            F.count("*").alias("trips"),
            F.mean("wait_s").alias("wait_s_mean"),
            *(_percentile("wait_s", percent) for percent in (50, 90)),
            F.sum("base_passenger_fare").alias("fare_revenue"),
            F.sum("driver_pay").alias("driver_pay"),
        )
    )
    everything = Window.partitionBy(F.lit(1))
    return month.withColumn("trip_share", F.col("trips") / F.sum("trips").over(everything))


def _daily(trips: DataFrame, *keys: str) -> DataFrame:
    return trips.groupBy(*keys, _pickup_date()).agg(
        F.count("*").alias("trips"),
        F.sum("base_passenger_fare").alias("fare_revenue"),
        F.sum("driver_pay").alias("driver_pay"),
    )


def _pickup_date() -> Column:
    return F.to_date("pickup_datetime").alias("pickup_date")


def _percentile(name: str, percent: int) -> Column:
    percentile = F.expr(f"percentile_disc({percent / 100}) within group (order by {name})")
    return percentile.cast("int").alias(f"{name}_p{percent}")
