"""The contracts of the access logs' tables: ``contracts/access_logs/``."""

from datetime import date
from functools import partial

from taxiway.core import contracts

contract = partial(contracts.read, "access_logs")


def folder(lake: str, table: str, day: date, version: str) -> str:
    """Return the folder of one version of a table's day; ``table`` is the name of its contract."""
    return contract(table).version_folder(lake, day.isoformat(), version)
