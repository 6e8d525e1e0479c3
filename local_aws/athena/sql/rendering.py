"""Values as Athena prints them in results."""

import json
import math
import struct
from collections.abc import Callable
from typing import Any

from local_aws.athena.sql.errors import not_supported
from local_aws.athena.sql.types import Type

Render = Callable[[Any], str | None]


def render(kind: Type) -> Render:
    """Return the function that prints the values of a type; it returns None for null."""
    one = _value(kind)
    return lambda value: None if value is None else one(value)


def _value(kind: Type) -> Callable[[Any], str]:
    base = kind.base
    if base == "boolean":
        return lambda value: "true" if value else "false"
    if base == "double":
        return double
    if base == "real":
        return real
    if base == "decimal":
        return lambda value: f"{value:f}"
    if base == "timestamp":
        return _timestamp
    if base == "timestamp with time zone":
        zone = kind.zone.strip("'")
        return lambda value: f"{_timestamp(value)} {zone}"
    if base.startswith("interval"):
        raise not_supported(f"a result of type {kind}")
    if base == "varbinary":
        return lambda value: bytes(value).hex(" ")
    if base == "json" and kind.sorted:
        return lambda value: json.dumps(json.loads(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if base == "array":
        item = _nested(kind.args[0])
        return lambda value: f"[{', '.join(map(item, value))}]"
    if base == "map":
        key, item = _nested(kind.args[0]), _nested(kind.args[1])
        return lambda value: f"{{{', '.join(f'{key(k)}={item(v)}' for k, v in _pairs(value))}}}"
    if base == "row":
        items = [_nested(part) for part in kind.args]
        return lambda value: (
            "{"
            + ", ".join(f"{name}={item(v)}" for name, item, v in zip(kind.fields(), items, value.values(), strict=True))
            + "}"
        )
    return str


def _nested(kind: Type) -> Callable[[Any], str]:
    one = _value(kind)
    return lambda value: "null" if value is None else one(value)


def _pairs(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"key", "value"} and isinstance(value["key"], list):
        return zip(value["key"], value["value"], strict=True)  # DuckDB's form of a map whose keys are not hashable
    return value.items()


def _timestamp(value: Any) -> str:
    return (
        f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}"
        if value.year > 999
        else f"{value.isoformat(' ', 'milliseconds')}"
    )


def double(value: float) -> str:
    """Print a number as Java does."""
    return _java(value, repr(value))


def real(value: float) -> str:
    """Print a number of 32 bits as Java does."""
    if not math.isfinite(value):
        return _java(value, "")
    for digits in range(1, 10):
        short = f"{value:.{digits}g}"
        if struct.pack("f", float(short)) == struct.pack("f", value):
            return _java(float(short), repr(float(short)))
    return _java(value, repr(value))


def _java(value: float, shortest: str) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        if "e" not in shortest:
            return shortest
        return f"{value:.20f}".rstrip("0")
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = shortest.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits, point = whole + ("" if fraction == "0" else fraction), len(whole) + int(exponent or 0)
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0") or "0"
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{point - 1}"


_TIME = "strftime({}, '%Y-%m-%d %H:%M:%S.%g')"
# What connections need for :func:`rendered`: a number as Java prints it, by DuckDB's shortest text of it.
MACROS = """
CREATE MACRO java_digits(digits, exponent) AS
  digits[1] || '.' || coalesce(nullif(rtrim(digits[2:], '0'), ''), '0') || 'E' || CAST(exponent AS VARCHAR);
CREATE MACRO java_far(s) AS CASE
  WHEN contains(s, 'e')
  THEN java_digits(replace(split_part(s, 'e', 1), '.', ''), CAST(split_part(s, 'e', 2) AS INTEGER))
  WHEN starts_with(s, '0.') THEN java_digits(ltrim(s[3:], '0'), length(ltrim(s[3:], '0')) - length(s) + 1)
  ELSE java_digits(replace(s, '.', ''), length(split_part(s, '.', 1)) - 1) END;
CREATE MACRO java_number(x) AS CASE
  WHEN x IS NULL THEN NULL WHEN isnan(x) THEN 'NaN'
  WHEN isinf(x) THEN CASE WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END
  WHEN x = 0 OR (abs(x) >= 0.001 AND abs(x) < 10000000) THEN CAST(x AS VARCHAR)
  ELSE CASE WHEN x < 0 THEN '-' ELSE '' END || java_far(CAST(abs(x) AS VARCHAR)) END;
"""


def rendered(sql: str, kind: Type) -> str | None:
    """Return the SQL that prints a value, None of a type of which only :func:`render` prints values."""
    if kind.base in ("boolean", "tinyint", "smallint", "integer", "bigint", "decimal", "varchar", "date", "unknown"):
        return f"CAST({sql} AS VARCHAR)"
    if kind.base == "json" and not kind.sorted:
        return f"CAST({sql} AS VARCHAR)"
    if kind.base == "double":
        return f"java_number({sql})"
    if kind.base == "timestamp":
        return _TIME.format(sql)
    if kind.base == "timestamp with time zone":
        return f"{_TIME.format(f'{sql} AT TIME ZONE {kind.zone}')} || ' ' || {kind.zone}"
    return None
