"""One month by straightforward PySpark: what a competent engineer writes first.

One job an analysis, each submitted on its own and reading its input again; exact percentiles, duplicates and joins by
the functions that PySpark has for them. Same outputs as the Spark programs of this repository. The synthetic month has
the columns of 2023.

spark-submit straightforward.py --month 2023-10 --input month.parquet --lookup zones.csv --lake folder --version V JOB…
"""

import argparse
from collections.abc import Callable

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 (as PySpark's own documentation calls it)

COMPANIES = {"HV0002": "juno", "HV0003": "uber", "HV0004": "via", "HV0005": "lyft"}


def read_source(spark: SparkSession, file: str) -> DataFrame:
    """Return the raw trips under the names and types of the outputs."""
    trips = spark.read.parquet(file)
    columns: list[Column] = []
    for name in trips.columns:
        if name == "tips":
            columns.append(F.lit(None).cast("double").alias("cbd_congestion_fee"))
        if name == "PULocationID":
            columns.append(F.col(name).cast("int").alias("pickup_zone_id"))
        elif name == "DOLocationID":
            columns.append(F.col(name).cast("int").alias("dropoff_zone_id"))
        else:
            columns.append(F.col(name))
    return trips.select(columns)


def judge(trips: DataFrame, zones: DataFrame, month: str) -> DataFrame:
    """Add reject_reason: the first that applies to the row by itself, else null."""
    pickups = zones.select(F.col("zone_id").alias("pickup_zone_id"), F.lit(True).alias("pickup_known"))
    dropoffs = zones.select(F.col("zone_id").alias("dropoff_zone_id"), F.lit(True).alias("dropoff_known"))
    key = ("hvfhs_license_num", "request_datetime", "pickup_datetime", "dropoff_datetime")
    missing = F.lit(False)
    for name in (*key, "pickup_zone_id", "dropoff_zone_id"):
        missing = missing | F.col(name).isNull()
    pickup, dropoff = F.col("pickup_datetime"), F.col("dropoff_datetime")
    clock_change = (
        (F.month(pickup) == 11)
        & (F.dayofweek(pickup) == 1)
        & (F.dayofmonth(pickup) <= 7)
        & (F.hour(pickup) == 1)
        & (F.date_trunc("hour", dropoff) == F.date_trunc("hour", pickup))
        & (F.abs(seconds(pickup, dropoff) + 3600 - F.col("trip_time")) <= 60)
    )
    reason = (
        F.when(missing, "missing_key")
        .when(~F.col("hvfhs_license_num").isin(*COMPANIES), "unknown_company")
        .when(F.date_format(pickup, "yyyy-MM") != month, "outside_month")
        .when(F.col("pickup_known").isNull() | F.col("dropoff_known").isNull(), "unknown_zone")
        .when((F.col("trip_miles") < 0) | (F.col("trip_miles") > 500), "impossible_distance")
        .when((dropoff <= pickup) & ~F.coalesce(clock_change, F.lit(False)), "dropoff_not_after_pickup")
    )
    joined = trips.join(pickups, "pickup_zone_id", "left").join(dropoffs, "dropoff_zone_id", "left")
    return joined.select(*trips.columns, reason.alias("reject_reason"))


def seconds(start: Column, end: Column) -> Column:
    """Return the seconds from `start` to `end`."""
    return (F.unix_micros(end.cast("timestamp")) - F.unix_micros(start.cast("timestamp"))) / 1e6


def curate(judged: DataFrame) -> DataFrame:
    """Return the trips that are kept."""
    kept = judged.where(F.col("reject_reason").isNull()).drop("reject_reason").dropDuplicates()
    company = F.create_map(*(F.lit(text) for pair in COMPANIES.items() for text in pair))[F.col("hvfhs_license_num")]
    return kept.select(
        company.alias("company"),
        *kept.columns,
        F.floor(seconds(F.col("request_datetime"), F.col("pickup_datetime"))).cast("int").alias("wait_s"),
        F.floor(seconds(F.col("request_datetime"), F.col("on_scene_datetime"))).cast("int").alias("arrival_s"),
    )


def quarantine(judged: DataFrame) -> DataFrame:
    """Return the rows that are rejected, duplicates included."""
    rejected = judged.where(F.col("reject_reason").isNotNull())
    accepted = judged.where(F.col("reject_reason").isNull()).drop("reject_reason")
    repeated = accepted.groupBy(*accepted.columns).count().where("count > 1")
    duplicates = repeated.select(
        *accepted.columns, F.lit("duplicate").alias("reject_reason"), F.explode(F.sequence(F.lit(2), "count"))
    ).drop("col")
    return rejected.unionByName(duplicates)


def timed(trips: DataFrame) -> DataFrame:
    """Return the trips with a plausible wait."""
    return trips.where(F.col("wait_s").between(0, 3600))


def percentile(column: str, share: float) -> Column:
    """Return the exact percentile by nearest rank."""
    return F.expr(f"percentile_disc({share}) WITHIN GROUP (ORDER BY {column})").cast("int")


def service_quality(trips: DataFrame) -> DataFrame:
    """Return waits and arrivals by company, zone and hour."""
    return (
        timed(trips)
        .groupBy("company", "pickup_zone_id", F.hour("request_datetime").alias("request_hour"))
        .agg(
            F.count("*").alias("trips"),
            F.mean("wait_s").alias("wait_s_mean"),
            percentile("wait_s", 0.5).alias("wait_s_p50"),
            percentile("wait_s", 0.9).alias("wait_s_p90"),
            percentile("wait_s", 0.95).alias("wait_s_p95"),
            F.count_if(F.col("wait_s") > 600).alias("late_trips"),
            F.mean("arrival_s").alias("arrival_s_mean"),
            percentile("arrival_s", 0.5).alias("arrival_s_p50"),
            percentile("arrival_s", 0.9).alias("arrival_s_p90"),
        )
    )


def market_share(trips: DataFrame, zones: DataFrame) -> DataFrame:
    """Return each company's share of a borough's day."""
    borough_day = Window.partitionBy("pickup_borough", "pickup_date")
    revenue = F.sum("fare_revenue").over(borough_day)
    return (
        trips.join(zones, trips.pickup_zone_id == zones.zone_id)
        .groupBy("company", F.col("borough").alias("pickup_borough"), F.to_date("pickup_datetime").alias("pickup_date"))
        .agg(
            F.count("*").alias("trips"),
            F.sum("base_passenger_fare").alias("fare_revenue"),
            F.sum("driver_pay").alias("driver_pay"),
        )
        .select(
            "company",
            "pickup_borough",
            "pickup_date",
            "trips",
            (F.col("trips") / F.sum("trips").over(borough_day)).alias("trip_share"),
            "fare_revenue",
            F.when(revenue != 0, F.col("fare_revenue") / revenue).alias("revenue_share"),
            "driver_pay",
        )
    )


def popular_zones(trips: DataFrame, zones: DataFrame) -> DataFrame:
    """Return the zones of each day by trips."""
    by_trips = Window.partitionBy("pickup_date").orderBy(F.desc("trips"))
    return (
        trips.join(zones, trips.pickup_zone_id == zones.zone_id)
        .groupBy(F.to_date("pickup_datetime").alias("pickup_date"), "zone_id", "zone_name", "borough")
        .agg(F.count("*").alias("trips"))
        .select("pickup_date", "zone_id", "trips", F.rank().over(by_trips).alias("rank"), "zone_name", "borough")
    )


def rising_zones(trips: DataFrame) -> DataFrame:
    """Return the zones' shares of the month; a single month has no baseline."""
    counts = trips.groupBy(F.col("pickup_zone_id").alias("zone_id")).agg(F.count("*").alias("trips"))
    nothing = F.lit(None)
    return counts.select(
        "zone_id",
        "trips",
        (F.col("trips") / F.sum("trips").over(Window.partitionBy())).alias("share"),
        *(nothing.cast("double").alias(name) for name in ("baseline_share", "growth", "z")),
        nothing.cast("int").alias("rank"),
    )


def eta_training(trips: DataFrame) -> DataFrame:
    """Return the rows that a model of waits and durations learns from."""
    return timed(trips).select(
        "company",
        "pickup_zone_id",
        "dropoff_zone_id",
        "request_datetime",
        F.hour("request_datetime").alias("request_hour"),
        (F.weekday("request_datetime") + 1).alias("request_weekday"),
        "trip_miles",
        "wait_s",
        "trip_time",
    )


def trend(trips: DataFrame) -> DataFrame:
    """Return the month in one row a company."""
    totals = trips.groupBy("company").agg(
        F.count("*").alias("trips"),
        F.sum("base_passenger_fare").alias("fare_revenue"),
        F.sum("driver_pay").alias("driver_pay"),
    )
    waits = (
        timed(trips)
        .groupBy("company")
        .agg(
            F.mean("wait_s").alias("wait_s_mean"),
            percentile("wait_s", 0.5).alias("wait_s_p50"),
            percentile("wait_s", 0.9).alias("wait_s_p90"),
        )
    )
    return totals.join(waits, "company", "left").select(
        "company",
        "trips",
        "wait_s_mean",
        "wait_s_p50",
        "wait_s_p90",
        "fare_revenue",
        "driver_pay",
        (F.col("trips") / F.sum("trips").over(Window.partitionBy())).alias("trip_share"),
    )


MARTS: dict[str, Callable[[DataFrame, DataFrame], DataFrame]] = {
    "service_quality": lambda trips, _: service_quality(trips),
    "market_share": market_share,
    "popular_zones": popular_zones,
    "rising_zones": lambda trips, _: rising_zones(trips),
    "eta_training": lambda trips, _: eta_training(trips),
    "trend": lambda trips, _: trend(trips),
}
JOBS = ("trips", *MARTS)


def main() -> None:
    """Write the named tables, one after the other."""
    parser = argparse.ArgumentParser()
    for name in ("--month", "--input", "--lookup", "--lake", "--version"):
        parser.add_argument(name, required=True)
    parser.add_argument("jobs", nargs="+", choices=JOBS)
    arguments = parser.parse_args()
    spark = SparkSession.builder.getOrCreate()
    year, month = arguments.month.split("-")

    def folder(path: str) -> str:
        return f"{arguments.lake}/{path}/year={year}/month={month}/version={arguments.version}"

    zones = (
        spark.read.option("header", True)
        .csv(arguments.lookup)
        .select(
            F.col("LocationID").cast("int").alias("zone_id"),
            F.col("Borough").alias("borough"),
            F.col("Zone").alias("zone_name"),
        )
    )
    for job in arguments.jobs:
        if job == "trips":
            judged = judge(read_source(spark, arguments.input), zones, arguments.month)
            curate(judged).write.parquet(folder("curated/hvfhv_trips"))
            quarantine(judged).write.parquet(folder("quarantine/hvfhv_trips"))
        else:
            trips = spark.read.parquet(folder("curated/hvfhv_trips"))
            MARTS[job](trips, zones).write.parquet(folder(f"marts/hvfhv/{job}"))


if __name__ == "__main__":
    main()
