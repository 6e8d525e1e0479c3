"""The raw tables of the warehouse; their columns, and how each is loaded, are defined in ``contracts/warehouse/``."""

from functools import partial

from taxiway.lake.tables import Table, TableSet

_table = partial(Table, "warehouse")

REJECTED = _table("raw_rejected")

TABLES = TableSet("warehouse")
WHOLE = "all"  # value of ``part`` in the table of rejected rows, for a table without partitions


def raw_tables() -> dict[str, Table]:
    """Return the tables that are loaded from a source, by name."""
    return {table.name: table for table in TABLES if "source" in table.contract.properties}


def is_incremental(table: Table) -> bool:
    """Return whether a table is loaded incrementally; the default is a full refresh."""
    return bool(table.contract.properties.get("load") == "incremental")


def alone(table: Table) -> TableSet:
    """Return the table as a set that is published by itself."""
    return TableSet(table.pipeline, table)


def part_of(period: str) -> str:
    """Return the partition of the rejected rows that belongs to a period of a raw table."""
    return period.replace("-", "") or WHOLE
