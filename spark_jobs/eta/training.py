"""The rows that models of arrival and of trip time learn from."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.hvfhv.marts import timed


def eta_training(trips: DataFrame) -> DataFrame:
    """Return a row per timed trip: what is known at the request, and the labels wait_s (arrival) and trip_time, in s.

    Args:
        trips: curated HVFHV trips.
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
