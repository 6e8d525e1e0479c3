"""Functions that need more than a template: their SQL depends on the types or on the text of an argument."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from local_aws.athena.sql import functions
from local_aws.athena.sql.casts import cast, divide_decimals, local
from local_aws.athena.sql.errors import QueryError, not_supported
from local_aws.athena.sql.scope import Scope, Value
from local_aws.athena.sql.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGERS,
    JSON,
    TIMESTAMP,
    UNKNOWN,
    VARCHAR,
    Type,
    array,
    common,
    decimal,
    text,
    with_zone,
)

if TYPE_CHECKING:
    from local_aws.athena.sql.expressions import Expressions

NOW = "date_trunc('millisecond', CAST(getvariable('now') AS TIMESTAMPTZ))"
_UNITS = ("millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year")
_MOMENTS = ("date", "timestamp", "timestamp with time zone")

_ERROR, _FAIL = "error('", "athena_fail('"
# What every connection needs: a failure that is not volatile, for TRY; the message is not seen.
MACROS = "CREATE MACRO athena_fail(m) AS list_extract([NULL], CAST(concat(m, '!') AS BIGINT))"

Call = Callable[["Expressions", Any, Scope], Value]


def _values(t: "Expressions", node: exp.Anonymous, scope: Scope, *counts: int) -> list[Value]:
    if counts and len(node.expressions) not in counts:
        raise t.fail(
            node, "FUNCTION_NOT_FOUND",
            f"Unexpected number of arguments ({len(node.expressions)}) for function {node.name.lower()}",
        )  # fmt: skip
    return [t.value(part, scope) for part in node.expressions]


def _unexpected(t: "Expressions", node: exp.Expr, name: str, values: Sequence[Value]) -> QueryError:
    return t.fail(
        node,
        "FUNCTION_NOT_FOUND",
        f"Unexpected parameters ({', '.join(str(v.type) for v in values)}) for function {name}",
    )


def _constant(value: Value, what: str) -> str:
    if not isinstance(value.literal, str):
        raise not_supported(f"{what} that is not a literal")
    return value.literal


# Conditions


def _if(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    if len(node.expressions) not in (2, 3):
        raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", "Invalid number of arguments for 'if' function")
    condition = t.condition(node.expressions[0], scope, "IF condition")
    values = [t.value(part, scope) for part in node.expressions[1:]]
    kind = t.unify(node, values, "Result types for IF must be the same")
    otherwise = f" ELSE {t.convert(values[1], kind)}" if len(values) == 2 else ""
    return t.made(
        f"(CASE WHEN {condition.sql} THEN {t.convert(values[0], kind)}{otherwise} END)", kind, condition, *values
    )


def _coalesce(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    values = _values(t, node, scope)
    if len(values) < 2:
        raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", "The 'coalesce' function must have at least two arguments")
    kind = t.unify(node, values, "All COALESCE operands must be the same type or coercible to a common type")
    return t.made(f"coalesce({', '.join(t.convert(value, kind) for value in values)})", kind, *values)


def _nullif(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    left, right = _values(t, node, scope, 2)
    equal = t.compare(node, "=", left, right)
    return t.made(f"(CASE WHEN {equal.sql} THEN NULL ELSE {left.sql} END)", left.type, left, right)


def tried(sql: str) -> str:
    """Return the SQL that is null where `sql` fails."""
    return f"TRY({sql.replace(_ERROR, _FAIL)})"  # TRY takes no function that is volatile, as DuckDB's error() is


def _try(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    (value,) = _values(t, node, scope, 1)
    return t.made(tried(value.sql), value.type, value)


def _extreme(word: str) -> Call:
    def call(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
        values = _values(t, node, scope)
        kind = t.unify(node, values, f"Unexpected parameters for function {word}")
        parts = [t.convert(value, kind) for value in values]
        if kind.base in ("map", "row", "array"):
            raise not_supported(f"{word} of {kind}")
        missing = " OR ".join(f"{part} IS NULL" for part in parts)
        if kind.base in ("double", "real"):
            missing += "".join(f" OR isnan({part})" for part in parts)
            nan = " OR ".join(f"isnan({part})" for part in parts)
            unsure = f"error('NOT_SUPPORTED: not supported by the local Athena: {word} of NaN')"
            sql = f"(CASE WHEN {nan} THEN {unsure} WHEN {missing} THEN NULL ELSE {word}({', '.join(parts)}) END)"
        else:
            sql = f"(CASE WHEN {missing} THEN NULL ELSE {word}({', '.join(parts)}) END)"
        return t.made(sql, kind, *values)

    return call


# Numbers


def _rounding(word: str) -> Call:
    def call(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
        values = _values(t, node, scope, *((1, 2) if word == "round" else (1,)))
        value = values[0]
        if value.type.base != "decimal":
            return t.apply(node, word, functions.scalar()[word], node.expressions, scope)
        precision, scale = value.type.args
        if len(values) == 1:
            kind = decimal(precision - scale + min(scale, 1), 0)
            return t.made(f"CAST({word}({value.sql}) AS {kind.duckdb()})", kind, value)
        places = values[1].literal
        if not isinstance(places, int) or not 0 <= places <= scale:
            raise not_supported("round of a decimal to this number of places")
        kind = decimal(precision + 1, scale)
        return t.made(f"CAST(round({value.sql}, {places}) AS {kind.duckdb()})", kind, value)

    return call


def _log(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    values = _values(t, node, scope, 2)
    if not all(value.type.numeric for value in values):
        raise _unexpected(t, node, "log", values)
    b, x = (t.convert(value, DOUBLE) for value in values)
    return t.made(f"(ln({x}) / ln({b}))", DOUBLE, *values)


# Texts, arrays, maps


def concat(t: "Expressions", node: exp.Expr, values: Sequence[Value]) -> Value:
    """Translate `||` and concat()."""
    kinds = {value.type.base for value in values} - {"unknown"}
    if kinds <= {"varchar"}:
        return t.made(f"({' || '.join(value.sql for value in values)})", VARCHAR, *values)
    if kinds == {"varbinary"}:
        return t.made(f"({' || '.join(value.sql for value in values)})", values[0].type, *values)
    if "array" in kinds:
        arrays = [value.type for value in values if value.type.base == "array"]
        element: Type | None = UNKNOWN
        for value in values:
            part = value.type.args[0] if value.type.base == "array" and arrays else value.type
            element = common(element, part) if element else None
        if element is None:
            raise _unexpected(t, node, "concat", values)
        parts = [
            t.convert(value, array(element)) if value.type.base == "array" else f"[{t.convert(value, element)}]"
            for value in values
        ]
        missing = " OR ".join(
            f"{part} IS NULL" for part, value in zip(parts, values, strict=True) if value.type.base == "array"
        )
        joined = parts[0]
        for part in parts[1:]:
            joined = f"list_concat({joined}, {part})"
        return t.made(f"(CASE WHEN {missing} THEN NULL ELSE {joined} END)", array(element), *values)
    raise _unexpected(t, node, "concat", values)


def _concat(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    values = _values(t, node, scope)
    if len(values) < 2:
        raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", "There must be two or more concatenation arguments")
    return concat(t, node, values)


def _concat_ws(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    values = _values(t, node, scope)
    if len(values) == 2 and values[1].type.base == "array":
        return t.apply(node, "concat_ws", functions.scalar()["concat_ws"], node.expressions, scope)
    if {value.type.base for value in values} - {"varchar", "unknown"} or len(values) < 2:
        raise _unexpected(t, node, "concat_ws", values)
    return t.made(f"concat_ws({', '.join(value.sql for value in values)})", VARCHAR, *values)


def _array_set(word: str) -> Call:
    """array_union, array_intersect, array_except: the first mention of each, in order."""

    def call(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
        left, right = _values(t, node, scope, 2)
        kind = common(left.type, right.type)
        if kind is None or kind.base != "array":
            raise _unexpected(t, node, f"array_{word}", [left, right])
        a, b = t.convert(left, kind), t.convert(right, kind)
        both = f"list_concat({a}, {b})" if word == "union" else a
        inside = f"len(list_filter({b}, lambda _g: _g IS NOT DISTINCT FROM _e)) > 0"
        keep = {"union": "", "intersect": f"{inside} AND ", "except": f"NOT ({inside}) AND "}[word]
        first = f"len(list_filter(list_slice({both}, 1, _i - 1), lambda _f: _f IS NOT DISTINCT FROM _e)) = 0"
        sql = (
            f"(CASE WHEN {a} IS NOT NULL AND {b} IS NOT NULL THEN list_filter({both}, lambda _e, _i: "
            f"{keep}{first}) END)"
        )
        return t.made(sql, kind, left, right)

    return call


def _reduce(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    if len(node.expressions) != 4 or not all(isinstance(part, exp.Lambda) for part in node.expressions[2:]):
        raise t.fail(node, "FUNCTION_NOT_FOUND", "Unexpected parameters for function reduce")
    items, start = t.value(node.expressions[0], scope), t.value(node.expressions[1], scope)
    if items.type.base != "array":
        raise _unexpected(t, node, "reduce", [items, start])
    element, state = items.type.args[0], start.type
    step = node.expressions[2]
    bound = {"T": element, "S": state}
    param = Type("function", (state, element, Type("U")))
    sql, body = t.lambda_of(step, param, dict(bound), scope)
    wider = common(state, body.type)
    if wider is None:
        raise _unexpected(t, node, "reduce", [items, start])
    if wider != state:
        state = wider
        sql, body = t.lambda_of(step, Type("function", (state, element, Type("U"))), {}, scope)
    final: dict[str, Type] = {}
    last, result = t.lambda_of(node.expressions[3], Type("function", (state, Type("U"))), final, scope)
    if element.duckdb() != state.duckdb():
        raise not_supported("reduce whose state has another type than the elements")
    first = f"CAST({start.sql} AS {state.duckdb()})"
    reduced = f"list_reduce({items.sql}, {sql}, {first})"
    return t.made(f"list_transform([{reduced}], {last})[1]", result.type, items, start)


def _zip(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    values = _values(t, node, scope)
    if len(values) < 2 or any(value.type.base != "array" for value in values):
        raise _unexpected(t, node, "zip", values)
    row = Type("row", tuple(value.type.args[0] for value in values), (None,) * len(values))
    fields = ", ".join(f"field{place} := _z[{place + 1}]" for place in range(len(values)))
    zipped = f"list_zip({', '.join(value.sql for value in values)})"
    return t.made(f"list_transform({zipped}, lambda _z: struct_pack({fields}))", array(row), *values)


def _map_entries(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    (value,) = _values(t, node, scope, 1)
    if value.type.base != "map":
        raise _unexpected(t, node, "map_entries", [value])
    row = Type("row", value.type.args, (None, None))
    each = "struct_pack(field0 := _m.key, field1 := _m.value)"
    return t.made(f"list_transform(map_entries({value.sql}), lambda _m: {each})", array(row), value)


# Regular expressions

_RISKY = re.compile(r"\(\?[=!<>]|\\[1-9GZzAKRXkQE]|[*+?}]\+|\[[^\]]*(&&|\[)|\\[hHvV]")


def _pattern(value: Value) -> str:
    """Return a pattern that means the same in Java and in RE2."""
    pattern = _constant(value, "a regular expression")
    if _RISKY.search(pattern) or re.search(r"(?<!\\)\$(?!$)", pattern):
        raise not_supported(f"regular expression {pattern!r}")
    return pattern


def _group(pattern: str, group: int) -> None:
    """Refuse a group that may be absent from a match: it would be null in Trino and is '' in DuckDB."""
    if group and re.search(r"\)[?*]|\)\{0|\|", pattern):
        raise not_supported(f"a group of regular expression {pattern!r}, which may be absent from a match")


def _regexp_extract(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    values = _values(t, node, scope, 2, 3)
    if any(v.type.base not in (k, "unknown") for v, k in zip(values, ("varchar", "varchar"), strict=False)):
        raise _unexpected(t, node, node.name.lower(), values)
    pattern, group = _pattern(values[1]), 0
    if len(values) == 3:
        if not isinstance(values[2].literal, int):
            raise not_supported("the number of a group that is not a literal")
        group = values[2].literal
    groups = re.compile(pattern).groups
    if group > groups:
        raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", f"Pattern has {groups} groups. Cannot access group {group}")
    _group(pattern, group)
    s, p = values[0].sql, text(pattern)
    if node.name.lower() == "regexp_extract_all":
        return t.made(f"regexp_extract_all({s}, {p}, {group})", array(VARCHAR), *values)
    return t.made(f"(CASE WHEN regexp_matches({s}, {p}) THEN regexp_extract({s}, {p}, {group}) END)", VARCHAR, *values)


def _regexp_simple(template: str, kind: Type) -> Call:
    def call(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
        values = _values(t, node, scope, 2)
        if any(value.type.base not in ("varchar", "unknown") for value in values):
            raise _unexpected(t, node, node.name.lower(), values)
        return t.made(template.format(values[0].sql, text(_pattern(values[1]))), kind, *values)

    return call


def _regexp_replace(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    if len(node.expressions) == 3 and isinstance(node.expressions[2], exp.Lambda):
        raise not_supported("regexp_replace with a lambda")
    values = _values(t, node, scope, 2, 3)
    if any(value.type.base not in ("varchar", "unknown") for value in values):
        raise _unexpected(t, node, "regexp_replace", values)
    replacement = ""
    if len(values) == 3:
        given = _constant(values[2], "a replacement")
        if re.search(r"\$\{|\$\d\d", given):
            raise not_supported(f"replacement {given!r}")
        replacement = re.sub(
            r"\\(.)|\$(\d)|(\\)", lambda m: m[1] if m[1] and m[1] != "\\" else (f"\\{m[2]}" if m[2] else r"\\"), given
        )
    pattern = _pattern(values[1])
    if re.search(r"\\\d", replacement):
        _group(pattern, 1)
    return t.made(f"regexp_replace({values[0].sql}, {text(pattern)}, {text(replacement)}, 'g')", VARCHAR, *values)


# Times


def _unit(t: "Expressions", node: exp.Expr, value: Value) -> str:
    unit = _constant(value, "a unit").lower()
    if unit not in _UNITS:
        raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", f"'{unit}' is not a valid field")
    return unit


def _back(value: Value, sql: str) -> str:
    """Return the SQL of a changed local time as a value of the type that `value` has."""
    if value.type.base == "date":
        return f"CAST({sql} AS DATE)"
    return f"({sql} AT TIME ZONE {value.type.zone})" if value.type.zone else sql


def _date(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    (value,) = _values(t, node, scope, 1)
    return t.made(cast(local(value), TIMESTAMP if value.type.zone else value.type, DATE, safe=False), DATE, value)


def _date_trunc(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    unit, value = _values(t, node, scope, 2)
    name = _unit(t, node, unit)
    if value.type.base not in _MOMENTS:
        raise _unexpected(t, node, "date_trunc", [unit, value])
    if value.type.base == "date" and name in ("millisecond", "second", "minute", "hour"):
        raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", f"'{name}' is not a valid DATE field")
    return t.made(_back(value, f"date_trunc('{name}', {local(value)})"), value.type, value)


def _date_add(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    unit, count, value = _values(t, node, scope, 3)
    name = _unit(t, node, unit)
    if value.type.base not in _MOMENTS or count.type.base not in INTEGERS:
        raise _unexpected(t, node, "date_add", [unit, count, value])
    if value.type.base == "date" and name in ("millisecond", "second", "minute", "hour"):
        raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", f"'{name}' is not a valid DATE field")
    step = (
        f"to_{name}s(CAST({count.sql} AS "
        f"{'BIGINT' if name in ('second', 'minute', 'hour', 'millisecond') else 'INTEGER'}))"
    )
    if name == "quarter":
        step = f"to_months(CAST({count.sql} AS INTEGER) * 3)"
    if value.type.zone and name in ("millisecond", "second", "minute", "hour"):
        return t.made(f"({value.sql} + {step})", value.type, count, value)
    return t.made(_back(value, f"({local(value)} + {step})"), value.type, count, value)


def _date_diff(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    unit, first, second = _values(t, node, scope, 3)
    name = _unit(t, node, unit)
    kinds = {first.type.base, second.type.base}
    if not kinds <= {*_MOMENTS} or (len(kinds) > 1 and "timestamp with time zone" in kinds):
        raise _unexpected(t, node, "date_diff", [unit, first, second])
    if kinds == {"date"} and name in ("millisecond", "second", "minute", "hour"):
        raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", f"'{name}' is not a valid DATE field")
    a, b = (f"CAST({local(value)} AS TIMESTAMP)" for value in (first, second))
    if name in ("second", "minute", "hour", "millisecond") and "timestamp with time zone" in kinds:
        a, b = first.sql, second.sql
    return t.made(f"date_sub('{name}', {a}, {b})", BIGINT, first, second)


_MYSQL = {
    "a": "%a", "b": "%b", "c": "%-m", "d": "%d", "e": "%-d", "f": "%f", "H": "%H", "h": "%I", "I": "%I", "i": "%M",
    "j": "%j", "k": "%-H", "l": "%-I", "M": "%B", "m": "%m", "p": "%p", "r": "%I:%M:%S %p", "S": "%S", "s": "%S",
    "T": "%H:%M:%S", "v": "%V", "x": "%G", "W": "%A", "Y": "%Y", "y": "%y", "%": "%%",
}  # fmt: skip


def _mysql_format(t: "Expressions", node: exp.Expr, value: Value, allowed: str = "".join(_MYSQL)) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1] not in _MYSQL:
            raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", f"%{match[1]} not supported in date format string")
        if match[1] not in allowed:
            raise not_supported(f"date format %{match[1]}")
        return _MYSQL[match[1]]

    return text(re.sub("%(.)", one, _constant(value, "a date format")))


def _date_format(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    value, pattern = _values(t, node, scope, 2)
    if value.type.base not in _MOMENTS:
        raise _unexpected(t, node, "date_format", [value, pattern])
    return t.made(f"strftime({local(value)}, {_mysql_format(t, node, pattern)})", VARCHAR, value)


def _date_parse(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    value, pattern = _text_and_pattern(t, node, scope, "date_parse")
    return t.made(_parsed(value, _mysql_format(t, node, pattern, "bcdeHhIikMlmprSsTYf%")), TIMESTAMP, value)


def _text_and_pattern(t: "Expressions", node: exp.Anonymous, scope: Scope, name: str) -> tuple[Value, Value]:
    value, pattern = _values(t, node, scope, 2)
    if value.type.base not in ("varchar", "unknown"):
        raise _unexpected(t, node, name, [value, pattern])
    return value, pattern


def _parsed(value: Value, form: str) -> str:
    """Return the SQL of a timestamp that is read from a text; NULL is NULL, another text than the form's an error."""
    wrong = f"error('INVALID_FUNCTION_ARGUMENT: Invalid format: ' || chr(34) || {value.sql} || chr(34))"
    return f"(CASE WHEN {value.sql} IS NOT NULL THEN coalesce(try_strptime({value.sql}, {form}), {wrong}) END)"


_JODA = {
    "yyyy": "%Y", "YYYY": "%Y", "yy": "%y", "y": "%Y", "MM": "%m", "M": "%-m", "MMM": "%b", "MMMM": "%B", "dd": "%d",
    "d": "%-d",
    "HH": "%H", "H": "%-H", "hh": "%I", "h": "%-I", "mm": "%M", "m": "%-M", "ss": "%S", "s": "%-S", "SSS": "%g",
    "EEE": "%a", "E": "%a", "EEEE": "%A", "a": "%p", "DDD": "%j", "D": "%-j",
}  # fmt: skip


def _joda_format(value: Value) -> str:
    def one(match: re.Match[str]) -> str:
        letters, quoted = match["letters"], match["quoted"]
        if letters is None:
            return quoted or "'"
        if letters not in _JODA:
            raise not_supported(f"date pattern {letters!r}")
        return _JODA[letters]

    pattern = _constant(value, "a date pattern").replace("%", "%%")
    return text(re.sub(r"(?P<letters>([A-Za-z])\2*)|'(?P<quoted>[^']*)'", one, pattern))


def _format_datetime(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    value, pattern = _values(t, node, scope, 2)
    if value.type.base not in _MOMENTS:
        raise _unexpected(t, node, "format_datetime", [value, pattern])
    return t.made(f"strftime({local(value)}, {_joda_format(pattern)})", VARCHAR, value)


def _parse_datetime(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    value, pattern = _text_and_pattern(t, node, scope, "parse_datetime")
    return t.made(f"({_parsed(value, _joda_format(pattern))} AT TIME ZONE 'UTC')", with_zone(text("UTC")), value)


def _from_unixtime(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    values = _values(t, node, scope, 1, 2)
    if not values[0].type.numeric:
        raise _unexpected(t, node, "from_unixtime", values)
    zone = text(_zone(t, node, values[1])) if len(values) == 2 else text("UTC")
    seconds = t.convert(values[0], DOUBLE)
    return t.made(f"make_timestamptz(CAST(floor({seconds} * 1000 + 0.5) AS BIGINT) * 1000)", with_zone(zone), *values)


def _zone(t: "Expressions", node: exp.Expr, value: Value) -> str:
    from zoneinfo import ZoneInfo

    name = _constant(value, "a time zone")
    if re.fullmatch(r"[+-]\d\d:\d\d", name):
        raise not_supported(f"time zone {name!r}; use a region")
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise t.fail(node, "INVALID_FUNCTION_ARGUMENT", f"'{name}' is not a valid time zone") from None
    return name


def at_timezone(t: "Expressions", node: exp.Expr, value: Value, zone: Value) -> Value:
    """Translate AT TIME ZONE: the same moment on another clock."""
    kind = with_zone(text(_zone(t, node, zone)))
    if value.type.base == "timestamp":
        return t.made(f"({value.sql} AT TIME ZONE 'UTC')", kind, value)
    if value.type.base != "timestamp with time zone":
        raise t.fail(
            node,
            "TYPE_MISMATCH",
            f"Type of value must be a time or timestamp with or without time zone (actual {value.type})",
        )
    return t.made(value.sql, kind, value)


def _at_timezone(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    value, zone = _values(t, node, scope, 2)
    return at_timezone(t, node, value, zone)


def _with_timezone(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    value, zone = _values(t, node, scope, 2)
    if value.type.base not in ("date", "timestamp"):
        raise _unexpected(t, node, "with_timezone", [value, zone])
    name = text(_zone(t, node, zone))
    return t.made(f"(CAST({value.sql} AS TIMESTAMP) AT TIME ZONE {name})", with_zone(name), value)


def _now(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    _values(t, node, scope, 0)
    return Value(NOW, with_zone(text("UTC")))


def _now_of_precision(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:  # noqa: ARG001
    precisions = [part.name for part in node.expressions if isinstance(part, exp.Literal)]
    if precisions != ["3"]:
        raise not_supported(f"{node.name.lower()} of another precision than 3")
    if node.name.lower() == "localtimestamp":
        return Value(f"({NOW} AT TIME ZONE 'UTC')", TIMESTAMP)
    return Value(NOW, with_zone(text("UTC")))


_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|[+-]\d\d:\d\d)?)?")


def _from_iso8601(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    (value,) = _values(t, node, scope, 1)
    if value.type.base not in ("varchar", "unknown"):
        raise _unexpected(t, node, node.name.lower(), [value])
    wrong = f"error('INVALID_FUNCTION_ARGUMENT: Invalid format: ' || chr(34) || {value.sql} || chr(34))"
    if node.name.lower() == "from_iso8601_date":
        parsed = (
            f"CASE WHEN regexp_full_match({value.sql}, '[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}') THEN "
            f"coalesce(TRY_CAST({value.sql} AS DATE), {wrong}) ELSE {wrong} END"
        )
        return t.made(f"(CASE WHEN {value.sql} IS NOT NULL THEN {parsed} END)", DATE, value)
    pattern = "[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?Z?)?"
    parsed = f"TRY_CAST(rtrim({value.sql}, 'Z') AS TIMESTAMP)"
    rounded = f"(date_trunc('millisecond', {parsed} + INTERVAL 500 MICROSECOND) AT TIME ZONE 'UTC')"
    offset = "error('NOT_SUPPORTED: not supported by the local Athena: from_iso8601_timestamp with an offset')"
    known = f"WHEN regexp_full_match({value.sql}, {text(pattern)}) THEN coalesce({rounded}, {wrong})"
    return t.made(
        f"(CASE WHEN {value.sql} IS NULL THEN NULL {known} WHEN regexp_matches({value.sql}, "
        f"'[+-][0-9]{{2}}:?[0-9]{{2}}$') THEN {offset} ELSE {wrong} END)",
        with_zone(text("UTC")), value,
    )  # fmt: skip


def _to_iso8601(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    (value,) = _values(t, node, scope, 1)
    if value.type.base == "date":
        return t.made(f"strftime({value.sql}, '%Y-%m-%d')", VARCHAR, value)
    if value.type.base == "timestamp":
        return t.made(f"strftime({value.sql}, '%Y-%m-%dT%H:%M:%S.%g')", VARCHAR, value)
    if value.type.zone == text("UTC"):
        return t.made(f"strftime({local(value)}, '%Y-%m-%dT%H:%M:%S.%gZ')", VARCHAR, value)
    raise not_supported(f"to_iso8601 of {value.type}")


_STAMP = re.compile(
    r"(\d{4}-\d{1,2}-\d{1,2}(?:[ T]\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d{1,12})?)?)?)(?:\s*(Z|UTC|[A-Za-z_]+/[A-Za-z_/]+))?"
)


def cast_with_zone(t: "Expressions", node: exp.Cast, value: Value, safe: bool) -> Value:
    """Translate a cast or a literal of `timestamp with time zone`."""
    if isinstance(value.literal, str) and value.type.base == "varchar":
        match = _STAMP.fullmatch(value.literal.strip())
        if not match:
            raise not_supported(f"timestamp {value.literal!r}")
        zone = match[2] if match[2] and match[2] != "Z" else "UTC"
        kind = with_zone(text(_zone(t, node, Value("", VARCHAR, zone))))
        return t.made(f"({cast(text(match[1]), VARCHAR, TIMESTAMP, safe=safe)} AT TIME ZONE {kind.zone})", kind)
    if value.type.base in ("date", "timestamp"):
        kind = with_zone(text("UTC"))
        return t.made(t.convert(value, kind), kind, value)
    if value.type.base == "timestamp with time zone":
        return value
    raise not_supported(f"cast of {value.type} to timestamp with time zone")


def check_literal(t: "Expressions", node: exp.Cast, value: Value, kind: Type, safe: bool) -> None:
    """Refuse a date or timestamp literal that is none, and one with a zone."""
    given = str(value.literal).strip()
    match = _STAMP.fullmatch(given)
    if match and match[2] and kind.base == "timestamp":
        raise not_supported(f"cast of {given!r} to timestamp, which has a time zone")
    if not match and not safe and node.this.meta.get("start") is None and re.fullmatch(r"[\d: .T-]+", given) is None:
        raise t.fail(node, "INVALID_CAST_ARGUMENT", f"Value cannot be cast to {kind.base}: {given}")


# JSON


def _json_text(t: "Expressions", node: exp.Expr, value: Value, name: str) -> str:
    """Return the SQL of a JSON value or text as JSON, null if it is not valid."""
    if value.type == JSON:
        return value.sql
    if value.type.base not in ("varchar", "unknown"):
        raise _unexpected(t, node, name, [value])
    return f"(CASE WHEN json_valid({value.sql}) THEN TRY_CAST({value.sql} AS JSON) END)"


def _path(value: Value) -> str:
    path = _constant(value, "a JSON path")
    if not re.fullmatch(r"\$((\.[A-Za-z_][A-Za-z0-9_]*)|(\[\d+\])|(\[\"[^\"*]+\"\]))*", path):
        raise not_supported(f"JSON path {path!r}")
    return re.sub(r"\[\"([^\"]+)\"\]", r'."\1"', path)


_NUMBER_TEXT = (
    "error('NOT_SUPPORTED: not supported by the local Athena: a JSON number that is not in its shortest form')"
)


def _json_extract(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    values = _values(t, node, scope, 2)
    document, path = _json_text(t, node, values[0], node.name.lower()), text(_path(values[1]))
    found = f"json_extract({document}, {path})"
    if node.name.lower() == "json_extract":
        kind = values[0].type if values[0].type == JSON else JSON
        return t.made(_exact(found, values[0].sql), kind, *values)
    # DuckDB prints a number in its shortest form, Trino as it is in the text.
    number = f"json_extract_string({document}, {path})"
    token = (
        f"regexp_matches(CAST({values[0].sql} AS VARCHAR), '(^|[^0-9.eE+-])' || regexp_escape({number}) || "
        "'($|[^0-9.eE])')"
    )
    sql = (
        f"(CASE json_type({found}) WHEN 'OBJECT' THEN NULL WHEN 'ARRAY' THEN NULL WHEN 'DOUBLE' THEN "
        f"CASE WHEN {token} THEN {number} ELSE {_NUMBER_TEXT} END ELSE {number} END)"
    )
    return t.made(sql, VARCHAR, *values)


def _exact(found: str, original: str) -> str:
    """Return the SQL of JSON whose numbers are printed as Trino prints them, or that fails."""
    printed = f"CAST({found} AS VARCHAR)"
    fractions = f"regexp_matches({printed}, '[0-9](\\.[0-9]|[eE])')"
    odd = f"regexp_matches({printed}, '[0-9]{{8,}}\\.|(^|[^0-9])0\\.000|[0-9][eE]')"
    token = f"'(^|[^0-9.eE+-])' || regexp_escape({printed}) || '($|[^0-9.eE])'"
    same = f"regexp_matches(CAST({original} AS VARCHAR), {token}) AND NOT {odd}"
    return f"(CASE WHEN NOT {fractions} OR ({same}) THEN {found} WHEN {found} IS NOT NULL THEN {_NUMBER_TEXT} END)"


def _json_parse(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    (value,) = _values(t, node, scope, 1)
    if value.type.base not in ("varchar", "unknown"):
        raise _unexpected(t, node, "json_parse", [value])
    wrong = f"error('INVALID_FUNCTION_ARGUMENT: Cannot convert value to JSON: ''' || {value.sql} || '''')"
    parsed = _exact(f"TRY_CAST({value.sql} AS JSON)", value.sql)
    sql = f"(CASE WHEN {value.sql} IS NULL THEN NULL WHEN json_valid({value.sql}) THEN {parsed} ELSE {wrong} END)"
    return t.made(sql, Type("json", sorted=True), value)


def _json_size(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    values = _values(t, node, scope, 2)
    found = f"json_extract({_json_text(t, node, values[0], 'json_size')}, {text(_path(values[1]))})"
    sql = (
        f"(CASE json_type({found}) WHEN 'OBJECT' THEN len(json_keys({found})) WHEN 'ARRAY' THEN "
        f"json_array_length({found}) "
        f"ELSE CASE WHEN {found} IS NOT NULL THEN 0 END END)"
    )
    return t.made(sql, BIGINT, *values)


def _is_json_scalar(t: "Expressions", node: exp.Anonymous, scope: Scope) -> Value:
    (value,) = _values(t, node, scope, 1)
    return t.made(
        f"(json_type({_json_text(t, node, value, 'is_json_scalar')}) NOT IN ('OBJECT', 'ARRAY'))", BOOLEAN, value
    )


SCALARS: dict[str, Call] = {
    "if": _if,
    "coalesce": _coalesce,
    "nullif": _nullif,
    "try": _try,
    "greatest": _extreme("greatest"),
    "least": _extreme("least"),
    "round": _rounding("round"),
    "ceil": _rounding("ceil"),
    "ceiling": _rounding("ceil"),
    "floor": _rounding("floor"),
    "log": _log,
    "concat": _concat,
    "concat_ws": _concat_ws,
    "array_union": _array_set("union"),
    "array_intersect": _array_set("intersect"),
    "array_except": _array_set("except"),
    "reduce": _reduce,
    "zip": _zip,
    "map_entries": _map_entries,
    "regexp_extract": _regexp_extract,
    "regexp_extract_all": _regexp_extract,
    "regexp_replace": _regexp_replace,
    "regexp_like": _regexp_simple("regexp_matches({0}, {1})", BOOLEAN),
    "regexp_split": _regexp_simple("regexp_split_to_array({0}, {1})", array(VARCHAR)),
    "regexp_count": _regexp_simple("CAST(len(regexp_extract_all({0}, {1})) AS BIGINT)", BIGINT),
    "date": _date,
    "date_trunc": _date_trunc,
    "date_add": _date_add,
    "date_diff": _date_diff,
    "date_format": _date_format,
    "date_parse": _date_parse,
    "format_datetime": _format_datetime,
    "parse_datetime": _parse_datetime,
    "from_unixtime": _from_unixtime,
    "at_timezone": _at_timezone,
    "with_timezone": _with_timezone,
    "now": _now,
    "current_timestamp": _now_of_precision,
    "localtimestamp": _now_of_precision,
    "from_iso8601_date": _from_iso8601,
    "from_iso8601_timestamp": _from_iso8601,
    "to_iso8601": _to_iso8601,
    "json_extract": _json_extract,
    "json_extract_scalar": _json_extract,
    "json_parse": _json_parse,
    "json_size": _json_size,
    "is_json_scalar": _is_json_scalar,
}


# Aggregates


def _decimal_or(name: str) -> Callable[..., Value]:
    def call(t: "Expressions", node: exp.Expr, values: Sequence[Value], wrap: Callable[[str], str]) -> Value:
        if len(values) != 1 or values[0].type.base != "decimal":
            result = t.apply_aggregate(node, name, functions.aggregate()[f"{name}"], values)
            return Value(wrap(result.sql), result.type, pure=False)
        (value,) = values
        scale = value.type.args[1]
        total = wrap(f"sum({value.sql})")
        if name == "sum":
            kind = decimal(38, scale)
            return Value(f"CAST({total} AS {kind.duckdb()})", kind, pure=False)
        count = wrap(f"count({value.sql})")
        quotient = divide_decimals(
            f"CAST({total} AS DECIMAL(38,{scale}))", f"CAST({count} AS DECIMAL(19,0))", scale, 0, value.type
        )
        return Value(f"(CASE WHEN {count} = 0 THEN NULL ELSE {quotient} END)", value.type, pure=False)

    return call


AGGREGATES: dict[str, Callable[..., Value]] = {"sum": _decimal_or("sum"), "avg": _decimal_or("avg")}
