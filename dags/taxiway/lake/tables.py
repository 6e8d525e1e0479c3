"""Tables of the lake, defined by their contracts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from taxiway.core import contracts
from taxiway.core.contracts import Contract, ContractError


@dataclass(frozen=True)
class Table:
    """A table, whose contract is read on first use: a DAG file can name tables without I/O.

    Attributes:
        pipeline: the pipeline that owns it.
        contract_name: name of the file ``contracts/<pipeline>/<contract_name>.yaml``.
    """

    pipeline: str
    contract_name: str

    @cached_property
    def contract(self) -> Contract:
        """The table's contract."""
        return contracts.read(self.pipeline, self.contract_name)

    @property
    def name(self) -> str:
        """Its name in the Glue catalogue."""
        return self.contract.table

    @property
    def path(self) -> str:
        """Its folder below the lake."""
        return self.contract.path

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """Name → Glue type, in the order of the files; without the partition columns."""
        return {column.name: column.type for column in self.contract.columns.values()}

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row; empty if there are none."""
        return self.contract.key


@dataclass(frozen=True)
class TableSet:
    """The tables that a pipeline publishes together, from its contracts.

    A table belongs to the set if its contract has the property ``publishOrder``, which is also the publication order.
    The last of them has the property ``anchor``: it records what a period was built from, so a period that was
    published only in part still counts as not built, and the next run builds it again.

    The tables of a pipeline may have ``publishAlone`` instead: each of them is published as a set of its own, with
    itself as the anchor.

    Attributes:
        pipeline: that owns them.
        only: the table that is published by itself; by default the set is all tables of the pipeline.
    """

    pipeline: str
    only: Table | None = None

    @cached_property
    def _tables(self) -> tuple[Table, ...]:
        if self.only:
            return (self.only,)
        tables = [Table(self.pipeline, name) for name in contracts.names(self.pipeline)]
        published = [table for table in tables if {"publishOrder", "publishAlone"} & table.contract.properties.keys()]
        return tuple(sorted(published, key=lambda table: int(table.contract.properties.get("publishOrder", 0))))

    @property
    def sets(self) -> "tuple[TableSet, ...]":
        """The set itself, or, of tables that are published alone, a set for each."""
        alone = [table for table in self if table.contract.properties.get("publishAlone")]
        return tuple(TableSet(self.pipeline, table) for table in alone) or ((self,) if self._tables else ())

    def __iter__(self) -> Iterator[Table]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    @cached_property
    def anchor(self) -> Table:
        """The table whose partition records that a period is published, and what it was built from.

        Raises:
            ContractError: the last table, and no other, must be the anchor.
        """
        if self.only:
            return self.only
        anchors = [table for table in self if table.contract.properties.get("anchor")]
        if len(anchors) != 1 or anchors[0] != self._tables[-1]:
            raise ContractError(
                f"Of the contracts in contracts/{self.pipeline} the one with the highest publishOrder, and no other, "
                "must have the property anchor."
            )
        return anchors[0]
