"""The tables of the API logs; their columns are defined in ``contracts/api_logs/``."""

from dataclasses import replace
from functools import cached_property, partial

from taxiway.core.contracts import Contract
from taxiway.lake.tables import Table, TableSet

_table = partial(Table, "api_logs")

OBJECT = _table("api_event_object")  # what senders deliver: files of envelopes
STAGED = _table("api_events_staged")
EVENTS = _table("api_events")
QUARANTINE = _table("api_events_quarantine")

TABLES = TableSet("api_logs")


class _Daily(Table):
    """The table of compacted days, by the contract of the events: the same columns, a partition a day."""

    @cached_property
    def contract(self) -> Contract:
        own = EVENTS.contract
        path = str(own.properties["compactedPath"])
        return replace(own, table=path.rpartition("/")[2], path=path, partition_keys=own.partition_keys[:3])


DAILY = _Daily(EVENTS.pipeline, EVENTS.contract_name)
DAILY_ALONE = TableSet("api_logs", DAILY)


def late_hours() -> int:
    """Return how many hours after its own an event may arrive."""
    return int(EVENTS.contract.properties["lateHours"])


def duplicate_hours() -> int:
    """Return within how many hours a second event of the same id is a duplicate."""
    return int(EVENTS.contract.properties["duplicateHours"])
