"""TLC's lookup of taxi zones, shipped with the programs.

Source: "Taxi Zone Lookup Table" of NYC TLC Trip Record Data, from github.com/lykmapipo/NYC-TLC-Trip-Data.
"""

import csv
from functools import cache
from importlib import resources

from pyspark.sql import Column, DataFrame, SparkSession


@cache
def lookup() -> tuple[tuple[int, str, str], ...]:
    """Return the 265 zones as (zone id, borough, name), by id; texts are unchanged, including "N/A"."""
    file = resources.files(__package__) / "taxi_zone_lookup.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return tuple((int(row["LocationID"]), row["Borough"], row["Zone"]) for row in rows)


def is_known(zone_id: Column) -> Column:
    """Return whether a zone id is in the lookup, whose ids have no gap (a comparison is cheaper than a join)."""
    ids = [zone_id for zone_id, _, _ in lookup()]
    assert ids == list(range(ids[0], ids[-1] + 1))
    return zone_id.between(ids[0], ids[-1])


def zones(spark: SparkSession) -> DataFrame:
    """Return the lookup as a frame of zone_id int, borough string, zone_name string."""
    return spark.createDataFrame(list(lookup()), "zone_id int, borough string, zone_name string")
