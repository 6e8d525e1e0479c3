"""Accepts or rejects trips, with the reason, and adds columns to accepted trips."""

from datetime import datetime
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from spark_jobs.hvfhv import zones
from spark_jobs.hvfhv.contracts import contract
from spark_jobs.hvfhv.schema import FIELDS, NAMES, finite
from taxiway.core.month import Month

COMPANIES = contract("trips").columns["hvfhs_license_num"].valid_values  # licence → company
DST_TOLERANCE_S = 60
DUPLICATE = "duplicate"

MOST_NAMED = 10_000  # suspects; beyond, the condition would be larger than the engines' plans should be

# Rows with the same hash of these columns may be duplicates; only such rows are compared in all columns.
_TIMES = ("request_datetime", "pickup_datetime", "dropoff_datetime")


def with_reject_reason(trips: DataFrame, month: Month) -> DataFrame:
    """Add ``reject_reason``: the first rule that a trip violates, null if none; ``duplicate`` is determined later.

    The contract of the quarantine defines the order of the rules.
    """
    pickup, dropoff = F.col("pickup_datetime"), F.col("dropoff_datetime")
    known_zones = zones.is_known(F.col("pickup_zone_id")) & zones.is_known(F.col("dropoff_zone_id"))
    miles, (least, most) = F.col("trip_miles"), contract("trips").columns["trip_miles"].bounds
    rules = {
        "missing_key": F.greatest(*(F.col(field.name).isNull() for field in FIELDS if field.required)),
        "unknown_company": ~F.col("hvfhs_license_num").isin(*COMPANIES),
        "outside_month": (pickup < _instant(month.start)) | (pickup >= _instant(month.end)),
        "unknown_zone": ~known_zones,
        "impossible_distance": (miles < least) | (miles > most),
        "dropoff_not_after_pickup": (dropoff <= pickup) & ~_in_repeated_hour(month),
    }
    reasons = contract("trips_quarantine").columns["reject_reason"].valid_values
    first, *others = (reason for reason in reasons if reason != DUPLICATE)
    chain = reduce(lambda before, reason: before.when(rules[reason], reason), others, F.when(rules[first], first))
    return trips.withColumn("reject_reason", chain).withColumn("trip_miles", finite(miles))


def suspects(trips: DataFrame) -> Column | DataFrame:
    """Return which trips may be copies of each other: those with equal times, of which a month has few.

    A condition on trips, so that the engine decodes their other columns only; or a frame of the times' hashes where
    they are too many to name in a condition, as in a month whose file is given twice.
    """
    repeated = trips.groupBy(_times().alias("times")).agg(F.count("*").alias("count")).where("count > 1")
    found = [row.times for row in repeated.select("times").limit(MOST_NAMED + 1).collect()]
    return _times().isin(found) if len(found) <= MOST_NAMED else repeated.select("times")


def quarantined(checked: DataFrame, suspects: Column | DataFrame) -> DataFrame:
    """Return the trips that are not accepted: source columns and ``reject_reason``.

    Args:
        checked: trips with their reject_reason.
        suspects: the result of :func:`suspects`.
    """
    rejected = F.col("reject_reason").isNotNull()
    if isinstance(suspects, Column):
        candidates = checked.where(rejected | suspects)
    else:
        accepted = checked.where(~rejected)
        candidates = checked.where(rejected).unionByName(
            _with_times(accepted).join(suspects, "times", "left_semi").drop("times")
        )
    copy = F.row_number().over(Window.partitionBy("reject_reason", *NAMES).orderBy(F.lit(1)))
    return (
        candidates.withColumn("copy", copy)
        .where("reject_reason is not null or copy > 1")
        .select(*NAMES, F.coalesce("reject_reason", F.lit(DUPLICATE)).alias("reject_reason"))
    )


def curated(checked: DataFrame, quarantine: DataFrame) -> DataFrame:
    """Return the accepted trips with ``company``, ``wait_s`` and ``arrival_s``.

    Args:
        checked: trips with their reject_reason.
        quarantine: the stored result of :func:`quarantined`, so that the search for duplicates, a pass over the whole
            month, is done once.
    """
    repeated = quarantine.where(F.col("reject_reason") == DUPLICATE).select(NAMES).distinct()
    trips, copies = _with_times(_accepted(checked)).alias("trip"), _with_times(repeated).alias("copy")
    # A single function of both rows: with & every column would become a join key, hashed for every trip.
    same = F.least(*(F.col(f"trip.{name}").eqNullSafe(F.col(f"copy.{name}")) for name in NAMES))
    kept = trips.join(copies, (F.col("trip.times") == F.col("copy.times")) & same, "left_anti").select(NAMES)
    return _enriched(kept.unionByName(repeated))


def _with_times(trips: DataFrame) -> DataFrame:
    return trips.withColumn("times", _times())


def _times() -> Column:
    return F.xxhash64(*_TIMES)


def _accepted(checked: DataFrame) -> DataFrame:
    return checked.where(F.col("reject_reason").isNull()).select(NAMES)


def _enriched(trips: DataFrame) -> DataFrame:
    names = " ".join(f"WHEN '{licence}' THEN '{name}'" for licence, name in COMPANIES.items())
    return trips.select(
        F.expr(f"CASE hvfhs_license_num {names} END").alias("company"),
        *NAMES,
        _whole_seconds("request_datetime", "pickup_datetime").alias("wait_s"),
        _whole_seconds("request_datetime", "on_scene_datetime").alias("arrival_s"),
    )


def _instant(wall_clock: datetime) -> Column:
    return F.lit(wall_clock.isoformat(sep=" ")).cast("timestamp_ntz")


def _micros(name: str) -> Column:
    return F.unix_micros(F.col(name).cast("timestamp"))


def _whole_seconds(start: str, end: str) -> Column:
    # try_cast: implausible times of one trip must not fail the month.
    return F.floor((_micros(end) - _micros(start)) / 1_000_000).try_cast("int")


def _in_repeated_hour(month: Month) -> Column:
    """Return whether a trip is in the hour that the clock repeats and its ``trip_time`` (s) explains the times."""
    if month.repeated_hour is None:
        return F.lit(False)
    start, end = map(_instant, month.repeated_hour)
    pickup, dropoff = F.col("pickup_datetime"), F.col("dropoff_datetime")
    elapsed_s = (_micros("dropoff_datetime") - _micros("pickup_datetime")) / 1_000_000 + 3600
    explained = F.abs(elapsed_s - F.col("trip_time")) <= DST_TOLERANCE_S
    inside = (pickup >= start) & (pickup < end) & (dropoff >= start) & (dropoff < end)
    return F.coalesce(inside & explained, F.lit(False))
