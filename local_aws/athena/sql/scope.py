"""What names mean at a place in a query: relations with their columns, common table expressions, lambda parameters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_aws.athena.sql.types import Type


@dataclass(frozen=True)
class Value:
    """A translated expression.

    Attributes:
        sql: in DuckDB's SQL; safe to be used as an operand.
        type: Trino's.
        literal: the value of a literal, else None.
        fields: which columns of tables it reads, as (number of the table in the query, column).
        pure: whether it may be evaluated on partition values alone (no subquery, no aggregate).
    """

    sql: str
    type: Type
    literal: Any = None
    fields: frozenset[tuple[int, str]] = frozenset()
    pure: bool = True


@dataclass(frozen=True)
class Column:
    """A column of a relation: its name in Athena, its type, and how DuckDB reaches it."""

    name: str
    type: Type
    sql: str
    table: int | None = None  # the number of the table in the query that it is a column of
    hidden: bool = False  # not part of *
    shared: bool = False  # merged by USING: reached without the relation's name only


@dataclass
class Relation:
    """Something in FROM."""

    name: str | None
    columns: list[Column]
    schema: str | None = None


@dataclass
class Query:
    """A translated query: its columns are called c0, c1, … in the SQL, as labels may repeat."""

    sql: str
    names: list[str]
    types: list[Type]

    def columns(self, alias: str, names: Sequence[str] | None = None) -> list[Column]:
        """Return the columns as those of a relation that is called `alias` in the SQL."""
        return [
            Column(name.lower(), kind, f'{alias}."c{place}"')
            for place, (name, kind) in enumerate(zip(names or self.names, self.types, strict=True))
        ]


@dataclass
class Scope:
    """The names that an expression may use."""

    relations: list[Relation] = field(default_factory=list)
    parent: "Scope | None" = None
    ctes: dict[str, tuple[str, Query]] = field(default_factory=dict)
    parameters: dict[str, Value] = field(default_factory=dict)  # of lambdas
    windows: dict[str, Any] = field(default_factory=dict)

    def cte(self, name: str) -> tuple[str, Query] | None:
        """Return the name in the SQL and the query of a common table expression."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.ctes:
                return scope.ctes[name]
            scope = scope.parent
        return None

    def outward(self) -> Iterator["Scope"]:
        """Yield this scope and those around it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent
