"""The contracts of the HVFHV tables: ``contracts/hvfhv/``."""

from functools import partial

from taxiway.core import contracts
from taxiway.core.month import Month

contract = partial(contracts.read, "hvfhv")


def folder(lake: str, table: str, month: Month, version: str) -> str:
    """Return the folder of one version of a table's month; ``table`` is the name of its contract."""
    return contract(table).version_folder(lake, str(month), version)
