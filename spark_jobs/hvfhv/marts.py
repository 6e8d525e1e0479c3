"""The marts that depend only on a month's curated trips, one frame each."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from spark_jobs.hvfhv.contracts import contract
from spark_jobs.hvfhv.zones import zones


def timed(trips: DataFrame) -> DataFrame:
    """Return the trips whose wait is plausible, by the contract of ``eta_training``: 0 ≤ wait_s ≤ 3600."""
    return trips.where(_is_timed())


def service_quality(trips: DataFrame) -> DataFrame:
    """Return how long customers wait, a row per company, pick-up zone and hour of the request, over timed trips.

    Args:
        trips: curated trips.
    """
    # Exact percentiles by sorting within many small groups, in half the time of percentile_disc.
    return (
        timed(trips)
        .groupBy("company", "pickup_zone_id", F.hour("request_datetime").alias("request_hour"))
        .agg(
            F.count("*").alias("trips"),
            F.mean("wait_s").alias("wait_s_mean"),
            F.sort_array(F.collect_list("wait_s")).alias("waits"),
            F.count(F.when(F.col("wait_s") > _late_after_s(), 1)).alias("late_trips"),
            F.mean("arrival_s").alias("arrival_s_mean"),
            F.sort_array(F.collect_list("arrival_s")).alias("arrivals"),
        )
        .select(
            "company",
            "pickup_zone_id",
            "request_hour",
            "trips",
            "wait_s_mean",
            *(_nearest_rank("waits", percent).alias(f"wait_s_p{percent}") for percent in (50, 90, 95)),
            "late_trips",
            "arrival_s_mean",
            *(_nearest_rank("arrivals", percent).alias(f"arrival_s_p{percent}") for percent in (50, 90)),
        )
    )


def daily_pickups(trips: DataFrame) -> DataFrame:
    """Return trips, fare_revenue and driver_pay by company, pickup_zone_id and pickup_date: the basis of other marts.

    Args:
        trips: curated trips.
    """
    return trips.groupBy("company", "pickup_zone_id", F.to_date("pickup_datetime").alias("pickup_date")).agg(
        F.count("*").alias("trips"),
        F.sum("base_passenger_fare").alias("fare_revenue"),
        F.sum("driver_pay").alias("driver_pay"),
    )


def market_share(daily: DataFrame) -> DataFrame:
    """Return each company's share of trips and revenue, a row per company, pick-up borough and date.

    Args:
        daily: the frame of :func:`daily_pickups`.
    """
    day = Window.partitionBy("pickup_borough", "pickup_date")
    revenue = F.sum("fare_revenue").over(day)
    return (
        daily.join(_zones(daily).withColumnRenamed("borough", "pickup_borough"), "pickup_zone_id")
        .groupBy("company", "pickup_borough", "pickup_date")
        .agg(*_sums("trips", "fare_revenue", "driver_pay"))
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


def popular_zones(daily: DataFrame) -> DataFrame:
    """Return the zones ranked by pick-ups, a row per date and zone; zones with equal counts share the lower rank.

    Args:
        daily: the frame of :func:`daily_pickups`.
    """
    busiest_first = Window.partitionBy("pickup_date").orderBy(F.desc("trips"))
    return (
        daily.groupBy("pickup_date", "pickup_zone_id")
        .agg(*_sums("trips"))
        .join(_zones(daily), "pickup_zone_id")
        .select(
            "pickup_date",
            F.col("pickup_zone_id").alias("zone_id"),
            "trips",
            F.rank().over(busiest_first).alias("rank"),
            "zone_name",
            "borough",
        )
    )


def trend(trips: DataFrame) -> DataFrame:
    """Return the month in one row per company: waits over timed trips, everything else over all trips.

    Args:
        trips: curated trips.
    """
    company = Window.partitionBy("company")
    everything = Window.partitionBy(F.lit(1))
    by_wait = trips.groupBy("company", F.when(_is_timed(), F.col("wait_s")).alias("timed_wait_s")).agg(
        F.count("*").alias("trips"),
        F.count(F.when(_is_timed(), 1)).alias("timed_trips"),
        F.sum("base_passenger_fare").alias("fare_revenue"),
        F.sum("driver_pay").alias("driver_pay"),
    )
    # There are few large groups, so percentiles are computed from the counts of each whole second.
    total, so_far = F.sum("timed_trips").over(company), F.sum("timed_trips").over(company.orderBy("timed_wait_s"))
    waited_s = F.sum(F.col("timed_wait_s") * F.col("timed_trips"))
    return (
        by_wait.withColumns({"total": total, "so_far": so_far})
        .groupBy("company")
        .agg(
            *_sums("trips"),
            (waited_s / F.nullif(F.sum("timed_trips"), F.lit(0))).alias("wait_s_mean"),
            *(
                F.min(F.expr(f"if(so_far * 100 >= total * {percent}, timed_wait_s, null)")).alias(f"wait_s_p{percent}")
                for percent in (50, 90)
            ),
            *_sums("fare_revenue", "driver_pay"),
        )
        .withColumn("trip_share", F.col("trips") / F.sum("trips").over(everything))
    )


def eta_training(trips: DataFrame) -> DataFrame:
    """Return a row per timed trip: features known at the request, and the labels wait_s (arrival) and trip_time, in s.

    Args:
        trips: curated trips.
    """
    return timed(trips).select(
        "company",
        "pickup_zone_id",
        "dropoff_zone_id",
        "request_datetime",
        F.hour("request_datetime").alias("request_hour"),
        # dayofweek has 1 = Sunday; the engines disagree about weekday().
        ((F.dayofweek("request_datetime") + 5) % 7 + 1).alias("request_weekday"),
        "trip_miles",
        "wait_s",
        "trip_time",
    )


def _is_timed() -> Column:
    return F.col("wait_s").between(*contract("eta_training").columns["wait_s"].bounds)


def _late_after_s() -> int:
    return int(contract("service_quality").columns["late_trips"].properties["lateAfterSeconds"])


def _sums(*names: str) -> list[Column]:
    return [F.sum(name).alias(name) for name in names]


def _nearest_rank(values: str, percent: int) -> Column:
    """Return the percentile of a sorted array as percentile_disc does: the value of rank ⌈n · percent / 100⌉."""
    return F.get(values, F.expr(f"cast((size({values}) * {percent} + 99) div 100 - 1 as int)"))


def _zones(frame: DataFrame) -> DataFrame:
    return F.broadcast(zones(frame.sparkSession).withColumnRenamed("zone_id", "pickup_zone_id"))
