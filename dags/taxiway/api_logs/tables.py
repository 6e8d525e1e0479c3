"""The tables of the API logs; their columns are defined in ``contracts/api_logs/``."""

from functools import cached_property, partial

from taxiway.core.contracts import Contract, compacted
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
        found = compacted(EVENTS.contract)
        assert found
        return found


DAILY = _Daily(EVENTS.pipeline, EVENTS.contract_name)
DAILY_ALONE = TableSet("api_logs", DAILY)


def late_hours() -> int:
    """Return how many hours after its own an event may arrive."""
    return int(EVENTS.contract.properties["lateHours"])


def duplicate_hours() -> int:
    """Return within how many hours a second event of the same id is a duplicate."""
    return int(EVENTS.contract.properties["duplicateHours"])
