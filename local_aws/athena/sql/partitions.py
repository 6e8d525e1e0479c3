"""The partitions of a table: those in Glue, or those that partition projection computes; pruned by conditions."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from local_aws.athena.sql.errors import QueryError, not_supported
from local_aws.athena.sql.translate import TableUse
from local_aws.athena.sql.types import Type, quoted, text

_MOST = 1_000_000  # partitions that a projection may have after pruning


@dataclass(frozen=True)
class Partition:
    """The text values of the partition keys, and the folder."""

    values: tuple[str | None, ...]
    location: str


def prune(connection: Any, use: TableUse, kinds: Sequence[Type], partitions: Sequence[Partition]) -> list[Partition]:
    """Return the partitions that the conditions of a query leave."""
    filters = [condition for condition, _ in use.filters]
    if not filters or not partitions:
        return list(partitions)
    rows = [partition.values for partition in partitions]
    return [partitions[place] for place in _matching(connection, use, use.schema.partition_keys, kinds, rows, filters)]


def _matching(
    connection: Any,
    use: TableUse,
    keys: Sequence[str],
    kinds: Sequence[Type],
    rows: Sequence[Sequence[str | None]],
    filters: Sequence[str],
) -> list[int]:
    """Return the places of the rows of partition values that fulfil all conditions."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE partition_values (place BIGINT, "
        f"{', '.join(f'k{n} VARCHAR' for n in range(len(keys)))})"
    )
    for start in range(0, len(rows), 10_000):
        part = rows[start : start + 10_000]
        values = ", ".join(
            f"({start + place}, {', '.join('NULL' if value is None else text(value) for value in row)})"
            for place, row in enumerate(part)
        )
        connection.execute(f"INSERT INTO partition_values VALUES {values}")
    columns = ", ".join(
        f"CAST(k{place} AS {kind.duckdb()}) AS {quoted(key)}"
        for place, (key, kind) in enumerate(zip(keys, kinds, strict=True))
    )
    found = connection.execute(
        f"SELECT place FROM (SELECT place, {columns} FROM partition_values) AS {use.alias} "
        f"WHERE {' AND '.join(filters)} ORDER BY place"
    ).fetchall()
    return [place for (place,) in found]


def projected(
    connection: Any, use: TableUse, kinds: Sequence[Type], glue: dict[str, Any], now: datetime
) -> list[Partition]:
    """Return the partitions of a table with partition projection, pruned.

    Raises:
        QueryError: a property is missing or wrong, or an injected column has no condition.
    """
    properties = glue.get("Parameters") or {}
    keys = use.schema.partition_keys
    choices: list[list[str]] = []
    for key, kind in zip(keys, kinds, strict=True):
        filters = [condition for condition, columns in use.filters if columns == {key}]
        values = _values(key, properties, filters, now)
        if filters:
            places = _matching(connection, use, [key], [kind], [(value,) for value in values], filters)
            values = [values[place] for place in places]
        choices.append(values)
    total = 1
    for values in choices:
        total *= len(values)
    if total > _MOST:
        raise not_supported(f"a projection to {total} partitions; add conditions on the partition columns")
    template = properties.get("storage.location.template")
    base = glue["StorageDescriptor"]["Location"].rstrip("/")
    partitions = []
    for row in itertools.product(*choices):
        if template:
            location = template
            for key, value in zip(keys, row, strict=True):
                location = location.replace(f"${{{key}}}", value)
        else:
            location = f"{base}/{'/'.join(f'{key}={value}' for key, value in zip(keys, row, strict=True))}"
        partitions.append(Partition(row, location))
    return prune(connection, use, kinds, partitions)


def _values(key: str, properties: dict[str, str], filters: Sequence[str], now: datetime) -> list[str]:
    def need(name: str) -> str:
        value = properties.get(f"projection.{key}.{name}")
        if value is None:
            raise QueryError("INVALID_TABLE_PROPERTY", f"Table property projection.{key}.{name} is missing")
        return value

    kind = need("type").lower()
    if kind == "enum":
        return [value.strip() for value in need("values").split(",")]
    if kind == "injected":
        found = re.findall(r"'((?:[^']|'')*)'", " ".join(filters))
        if not found:
            raise QueryError(
                "CONSTRAINT_VIOLATION",
                f"For the injected projected partition column {key}, the WHERE clause must contain only static "
                "equality "
                "conditions, and at least one such condition must be present.",
            )
        return list(dict.fromkeys(value.replace("''", "'") for value in found))
    first, _, last = need("range").partition(",")
    if kind == "integer":
        step = int(properties.get(f"projection.{key}.interval", "1"))
        digits = int(properties.get(f"projection.{key}.digits", "0"))
        return [f"{number:0{digits}d}" for number in range(int(first), int(last) + 1, step)]
    if kind != "date":
        raise QueryError("INVALID_TABLE_PROPERTY", f"Unknown projection type {kind!r} of column {key}")
    form = _strftime(need("format"))
    unit = properties.get(f"projection.{key}.interval.unit", _unit(form)).upper().rstrip("S")
    step = int(properties.get(f"projection.{key}.interval", "1"))
    return list(_dates(_moment(first, form, now), _moment(last, form, now), unit, step, form))


_LETTERS = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}


def _strftime(pattern: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[0].startswith("'"):
            return match[0].strip("'")
        if match[0] not in _LETTERS:
            raise not_supported(f"the projection's date format {pattern!r}")
        return _LETTERS[match[0]]

    return re.sub(r"([A-Za-z])\1*|'[^']*'", one, pattern.replace("%", "%%"))


def _unit(form: str) -> str:
    return next(
        unit
        for mark, unit in (
            ("%S", "SECOND"),
            ("%M", "MINUTE"),
            ("%H", "HOUR"),
            ("%d", "DAY"),
            ("%m", "MONTH"),
            ("", "YEAR"),
        )
        if mark in form
    )


def _moment(given: str, form: str, now: datetime) -> datetime:
    given = given.strip()
    relative = re.fullmatch(r"NOW(?:\s*([+-])\s*(\d+)\s*([A-Z]+?)S?)?", given.upper())
    if not relative:
        try:
            return datetime.strptime(given, form).replace(tzinfo=UTC)
        except ValueError:
            raise QueryError("INVALID_TABLE_PROPERTY", f"{given!r} is not a date of the projection's format") from None
    if not relative[1]:
        return now
    count = int(relative[2]) * (1 if relative[1] == "+" else -1)
    return _later(now, relative[3], count)


def _later(moment: datetime, unit: str, count: int) -> datetime:
    if unit in ("MONTH", "YEAR"):
        months = moment.year * 12 + moment.month - 1 + count * (12 if unit == "YEAR" else 1)
        year, month = divmod(months, 12)
        last = (date(year + month // 11, (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
        return moment.replace(year=year, month=month + 1, day=min(moment.day, last))
    seconds = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400, "WEEK": 604800}.get(unit)
    if seconds is None:
        raise QueryError("INVALID_TABLE_PROPERTY", f"Unknown interval unit {unit!r} of a projection")
    return moment + timedelta(seconds=seconds * count)


def _dates(first: datetime, last: datetime, unit: str, step: int, form: str) -> Iterator[str]:
    for count in range(_MOST):
        moment = _later(first, unit, count * step)
        if moment > last:
            return
        yield moment.strftime(form)
    raise not_supported("a projection to more than a million dates")
