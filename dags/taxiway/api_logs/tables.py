"""The tables of the API logs; their columns are defined in ``contracts/api_logs/``."""

from functools import partial

from taxiway.lake.tables import Table, TableSet

_table = partial(Table, "api_logs")

OBJECT = _table("api_event_object")  # what senders deliver: files of envelopes
STAGED = _table("api_events_staged")
EVENTS = _table("api_events")
QUARANTINE = _table("api_events_quarantine")

TABLES = TableSet("api_logs")


def late_hours() -> int:
    """Return how many hours after its own an event may arrive."""
    return int(EVENTS.contract.properties["lateHours"])


def duplicate_hours() -> int:
    """Return within how many hours a second event of the same id is a duplicate."""
    return int(EVENTS.contract.properties["duplicateHours"])
