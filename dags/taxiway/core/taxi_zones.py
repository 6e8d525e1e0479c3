"""The shapes of TLC's taxi zones."""

from functools import cache
from pathlib import Path


@cache
def shapes() -> str:
    """Return GeoJSON: a feature a zone, with ``zone_id``, ``zone`` and ``borough``; two ids of TLC's have no shape."""
    return Path(__file__).with_name("taxi_zones.geojson").read_text(encoding="utf-8")
