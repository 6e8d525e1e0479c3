"""The tables of the HVFHV pipeline; their columns are defined in ``contracts/hvfhv/``."""

from functools import partial

from taxiway.lake.tables import Table, TableSet

_table = partial(Table, "hvfhv")

TRIP_FILE = _table("trip_file")  # what the TLC publishes: the raw files
TRIPS = _table("trips")
QUARANTINE = _table("trips_quarantine")
SERVICE_QUALITY = _table("service_quality")
MARKET_SHARE = _table("market_share")
POPULAR_ZONES = _table("popular_zones")
RISING_ZONES = _table("rising_zones")
ETA_TRAINING = _table("eta_training")
TREND = _table("trend")

TABLES = TableSet("hvfhv")


def baseline_months() -> int:
    """Return the number of preceding months that a month's rising zones are compared with."""
    return int(RISING_ZONES.contract.properties["baselineMonths"])


def late_after_s() -> int:
    """Return the wait in seconds beyond which a trip counts as late."""
    return int(SERVICE_QUALITY.contract.columns["late_trips"].properties["lateAfterSeconds"])
