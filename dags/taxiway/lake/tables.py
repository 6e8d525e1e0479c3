"""Tables of the lake: handles to their contracts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from taxiway.core import contracts
from taxiway.core.contracts import Contract, ContractError


@dataclass(frozen=True)
class Table:
    """A table, whose contract is read when it is first asked for: naming one in a DAG file costs nothing.

    Attributes:
        pipeline: whose table it is.
        contract_name: of the file ``contracts/<pipeline>/<contract_name>.yaml``.
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
        """Name → type as Glue writes it, in the order of the files; without the partition's columns."""
        return {column.name: column.type for column in self.contract.columns.values()}

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that name a row; empty where none do."""
        return self.contract.key


@dataclass(frozen=True)
class TableSet:
    """The tables that a pipeline publishes together, from its contracts.

    A table belongs to the set if its contract has the property ``publishOrder``, and is published in that order. One of
    them, with the property ``anchor``, comes last: it keeps what a period was made from, so a period of which only some
    tables moved still counts as not made, and the next run makes it again.
    """

    pipeline: str

    @cached_property
    def _tables(self) -> tuple[Table, ...]:
        tables = [Table(self.pipeline, name) for name in contracts.names(self.pipeline)]
        published = [table for table in tables if "publishOrder" in table.contract.properties]
        return tuple(sorted(published, key=lambda table: int(table.contract.properties["publishOrder"])))

    def __iter__(self) -> Iterator[Table]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    @cached_property
    def anchor(self) -> Table:
        """The table whose partition says that a period is published, and from what.

        Raises:
            ContractError: not exactly the last of the tables is the anchor.
        """
        anchors = [table for table in self if table.contract.properties.get("anchor")]
        if len(anchors) != 1 or anchors[0] != self._tables[-1]:
            raise ContractError(
                f"Of the contracts in contracts/{self.pipeline} the one with the highest publishOrder, and no other, "
                "must have the property anchor."
            )
        return anchors[0]
