"""TLC's lookup of taxi zones, for frames."""

from pyspark.sql import Column, DataFrame, SparkSession

from spark_jobs.common.taxi_zones import lookup


def is_known(zone_id: Column) -> Column:
    """Return whether a zone id is in the lookup, whose ids have no gap (a comparison is cheaper than a join)."""
    ids = [zone_id for zone_id, _, _ in lookup()]
    assert ids == list(range(ids[0], ids[-1] + 1))
    return zone_id.between(ids[0], ids[-1])


def zones(spark: SparkSession) -> DataFrame:
    """Return the lookup as a frame of zone_id int, borough string, zone_name string."""
    return spark.createDataFrame(list(lookup()), "zone_id int, borough string, zone_name string")
