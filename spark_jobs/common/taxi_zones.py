"""TLC's lookup of taxi zones, shipped with the programs. Does not import Spark.

Source: "Taxi Zone Lookup Table" of NYC TLC Trip Record Data, from github.com/lykmapipo/NYC-TLC-Trip-Data.
"""

import csv
from functools import cache
from importlib import resources


@cache
def lookup() -> tuple[tuple[int, str, str], ...]:
    """Return the 265 zones as (zone id, borough, name), by id; texts are unchanged, including "N/A"."""
    file = resources.files(__package__) / "taxi_zone_lookup.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return tuple((int(row["LocationID"]), row["Borough"], row["Zone"]) for row in rows)
