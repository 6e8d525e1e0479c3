"""Trino's types: their texts in Athena, in Glue (Hive) and in DuckDB, and which converts to which by itself."""

import re
from dataclasses import dataclass, field
from typing import Any

from local_aws.athena.sql.errors import not_supported

INTEGERS = ("tinyint", "smallint", "integer", "bigint")
_DUCKDB = {
    "boolean": "BOOLEAN",
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "real": "FLOAT",
    "double": "DOUBLE",
    "varchar": "VARCHAR",
    "varbinary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamp with time zone": "TIMESTAMPTZ",
    "json": "JSON",
    "unknown": "VARCHAR",
    "interval day to second": "INTERVAL",
    "interval year to month": "INTERVAL",
}
_HIVE = {"int": "integer", "string": "varchar", "float": "real", "binary": "varbinary", "long": "bigint"}


@dataclass(frozen=True)
class Type:
    """A type of Trino.

    Attributes:
        base: its name without parameters.
        args: (precision, scale) of a decimal; the element types of array, map and row.
        names: of the fields of a row; None where a field has none.
        zone: of a timestamp with time zone, as SQL: it is the same for all values of an expression here.
        sorted: of JSON, whether the keys of objects are printed in order, as of what json_parse returns.
    """

    base: str
    args: tuple[Any, ...] = ()
    names: tuple[str | None, ...] = ()
    zone: str = ""
    sorted: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        if self.base == "decimal":
            return f"decimal({self.args[0]},{self.args[1]})"
        if self.base == "row":
            fields = zip(self.names, self.args, strict=True)
            return f"row({', '.join(f'{name} {kind}' if name else str(kind) for name, kind in fields)})"
        if self.base in ("timestamp", "timestamp with time zone"):
            return self.base.replace("timestamp", "timestamp(3)")
        return f"{self.base}({', '.join(map(str, self.args))})" if self.args else self.base

    @property
    def numeric(self) -> bool:
        """Whether it is a number."""
        return self.base in (*INTEGERS, "decimal", "real", "double")

    def duckdb(self) -> str:
        """Return DuckDB's name of it."""
        if self.base == "decimal":
            return f"DECIMAL({self.args[0]},{self.args[1]})"
        if self.base == "array":
            return f"{self.args[0].duckdb()}[]"
        if self.base == "map":
            return f"MAP({self.args[0].duckdb()}, {self.args[1].duckdb()})"
        if self.base == "row":
            fields = ", ".join(
                f"{quoted(field)} {kind.duckdb()}" for field, kind in zip(self.fields(), self.args, strict=True)
            )
            return f"STRUCT({fields})"
        if self.base not in _DUCKDB:
            raise not_supported(f"type {self}")
        return _DUCKDB[self.base]

    def fields(self) -> list[str]:
        """Return the names of a row's fields in DuckDB."""
        return [name or f"field{place}" for place, name in enumerate(self.names)]

    def hive(self) -> str:
        """Return Glue's name of it."""
        if self.base == "decimal":
            return str(self)
        if self.base == "array":
            return f"array<{self.args[0].hive()}>"
        if self.base == "map":
            return f"map<{self.args[0].hive()},{self.args[1].hive()}>"
        if self.base == "row":
            fields = zip(self.fields(), self.args, strict=True)
            return f"struct<{','.join(f'{field}:{kind.hive()}' for field, kind in fields)}>"
        if self.base in ("unknown", "json", "timestamp with time zone") or self.base.startswith("interval"):
            raise not_supported(f"a column of type {self} in a Hive table")
        return {v: k for k, v in _HIVE.items() if k != "long"}.get(self.base, self.base)


BOOLEAN, INTEGER, BIGINT, DOUBLE, REAL = (Type(name) for name in ("boolean", "integer", "bigint", "double", "real"))
VARCHAR, VARBINARY, DATE, TIMESTAMP, JSON, UNKNOWN = (
    Type(name) for name in ("varchar", "varbinary", "date", "timestamp", "json", "unknown")
)
DAY_TO_SECOND, YEAR_TO_MONTH = Type("interval day to second"), Type("interval year to month")


def decimal(precision: int, scale: int) -> Type:
    """Return a decimal type; the precision is at most 38."""
    return Type("decimal", (min(precision, 38), scale))


def array(element: Type) -> Type:
    """Return an array type."""
    return Type("array", (element,))


def with_zone(zone: str) -> Type:
    """Return `timestamp with time zone` in a zone, which is SQL text."""
    return Type("timestamp with time zone", zone=zone)


def quoted(name: str) -> str:
    """Return an identifier of DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """Return a string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def from_hive(name: str) -> Type:
    """Parse a type of Glue."""
    kind, rest = _hive(name.strip())
    if rest:
        raise not_supported(f"type {name!r}")
    return kind


def _hive(name: str) -> tuple[Type, str]:
    match = re.match(r"\s*([a-zA-Z]+)\s*", name)
    if not match:
        raise not_supported(f"type {name!r}")
    base, rest = match[1].lower(), name[match.end() :]
    if base in ("array", "map", "struct") and rest.startswith("<"):
        args: list[Type] = []
        names: list[str | None] = []
        while True:
            rest = rest[1:]
            if base == "struct":
                field, _, rest = rest.partition(":")
                names.append(field.strip().strip("`").lower())
            kind, rest = _hive(rest)
            args.append(kind)
            rest = rest.lstrip()
            if rest.startswith(">"):
                return Type("row" if base == "struct" else base, tuple(args), tuple(names)), rest[1:]
            if not rest.startswith(","):
                raise not_supported(f"type {name!r}")
    base = _HIVE.get(base, base)
    parameters = re.match(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)", rest)
    if parameters:
        rest = rest[parameters.end() :]
    if base == "decimal":
        return decimal(int(parameters[1]), int(parameters[2] or 0)) if parameters else decimal(10, 0), rest
    if base not in _DUCKDB:
        raise not_supported(f"type {base}")
    return Type(base), rest


_WIDER = {
    "tinyint": ("smallint", "integer", "bigint", "decimal", "real", "double"),
    "smallint": ("integer", "bigint", "decimal", "real", "double"),
    "integer": ("bigint", "decimal", "real", "double"),
    "bigint": ("decimal", "real", "double"),
    "decimal": ("real", "double"),
    "real": ("double",),
    "date": ("timestamp", "timestamp with time zone"),
    "timestamp": ("timestamp with time zone",),
}
_DIGITS = {"tinyint": 3, "smallint": 5, "integer": 10, "bigint": 19}


def as_decimal(kind: Type) -> Type:
    """Return the decimal type of an integer type; a decimal stays."""
    return kind if kind.base == "decimal" else decimal(_DIGITS[kind.base], 0)


def common(a: Type, b: Type) -> Type | None:
    """Return the type to which both convert by themselves, None if there is none."""
    if a == b or b.base == "unknown":
        return a
    if a.base == "unknown":
        return b
    if "decimal" in (a.base, b.base) and {a.base, b.base} <= {*INTEGERS, "decimal"}:
        left, right = as_decimal(a), as_decimal(b)
        scale = max(left.args[1], right.args[1])
        return decimal(max(left.args[0] - left.args[1], right.args[0] - right.args[1]) + scale, scale)
    if a.base == b.base and a.base in ("array", "map", "row") and len(a.args) == len(b.args):
        parts = [common(x, y) for x, y in zip(a.args, b.args, strict=True)]
        if any(part is None for part in parts):
            return None
        names = tuple(x if x == y else None for x, y in zip(a.names, b.names, strict=False))
        return Type(a.base, tuple(parts), names)
    if a.base == b.base == "timestamp with time zone":
        raise not_supported("values of different time zones in one column")
    if b.base in _WIDER.get(a.base, ()):
        return b
    if a.base in _WIDER.get(b.base, ()):
        return a
    return None
