"""CAST as Trino does it: what DuckDB would read from a text, or round, in another way is checked or done here."""

from local_aws.athena.sql.errors import QueryError, not_supported
from local_aws.athena.sql.scope import Value
from local_aws.athena.sql.types import INTEGERS, Type, text

_INTEGER = r"[+-]?[0-9]+"
_NUMBER = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*|NaN|[+-]?Infinity"
_DECIMAL = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)"
_DATE = r"\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}\s*"
_TIMESTAMP = r"\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}( [0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}(\.[0-9]{1,12})?)?)?\s*"
_PATTERNS = {"real": _NUMBER, "double": _NUMBER, "decimal": _DECIMAL, "date": _DATE, "timestamp": _TIMESTAMP}
# Most values have none to round, which is quicker to see than to do.
MILLISECONDS = (
    "(CASE WHEN epoch_us({0}) % 1000 = 0 THEN {0} ELSE date_trunc('millisecond', {0} + INTERVAL 500 MICROSECOND) END)"
)


def cast(sql: str, source: Type, target: Type, *, safe: bool) -> str:
    """Return the SQL that casts.

    Args:
        sql: the value.
        source: its type.
        target: the type that is wanted.
        safe: null where the cast fails (TRY_CAST).

    Raises:
        QueryError: Trino has no such cast, or it is not done here.
    """
    if source == target:
        return sql
    if source.base == "unknown":
        return f"CAST(NULL AS {target.duckdb()})"
    word = "TRY_CAST" if safe else "CAST"
    plain = f"{word}({sql} AS {target.duckdb()})"
    if source.base == "varchar":
        return _from_text(sql, target, safe, plain)
    if source.base == target.base == "array":
        return f"list_transform({sql}, lambda _c: {cast('_c', source.args[0], target.args[0], safe=safe)})"
    if source.base == target.base == "row" and len(source.args) == len(target.args):
        parts = [
            f"{_field(name)} := {cast(f'struct_extract({sql}, {text(field)})', a, b, safe=safe)}"
            for name, field, a, b in zip(target.fields(), source.fields(), source.args, target.args, strict=True)
        ]
        return f"(CASE WHEN {sql} IS NOT NULL THEN struct_pack({', '.join(parts)}) END)"
    if source.base == "json":
        return _from_json(sql, target, safe)
    if source.numeric and target.numeric:
        if source.base in ("real", "double") and target.base in INTEGERS:
            return f"{word}(round({sql}) AS {target.duckdb()})"
        if source.base in ("real", "double") and target.base == "decimal":
            return f"{word}(round({sql}, {target.args[1]}) AS {target.duckdb()})"
        return plain
    if source.base == "boolean" and target.numeric:
        return plain
    if source.numeric and target.base == "boolean":
        return f"({sql} <> 0)"
    if target.base == "varchar":
        if source.base in (*INTEGERS, "decimal", "boolean", "date"):
            return plain
        if source.base == "timestamp":
            return f"strftime({sql}, '%Y-%m-%d %H:%M:%S.%g')"
        raise not_supported(f"cast of {source} to varchar")
    if (source.base, target.base) in {("date", "timestamp"), ("timestamp", "date")}:
        return plain
    if source.base == target.base == "map":
        raise not_supported(f"cast of {source} to {target}")
    if target.base == "json":
        raise not_supported(f"cast of {source} to json")
    raise QueryError("TYPE_MISMATCH", f"line 1:1: Cannot cast {source} to {target}")


def _field(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _from_text(sql: str, target: Type, safe: bool, plain: str) -> str:
    name = {"integer": "INT"}.get(target.base, str(target).upper() if target.base == "decimal" else target.base.upper())
    wrong = (
        "NULL"
        if safe
        else f"error('INVALID_CAST_ARGUMENT: Cannot cast ''' || {sql} || ''' to {name}')"
    )  # fmt: skip
    if target.base == "boolean":
        return (
            f"(CASE WHEN lower({sql}) IN ('t', 'true', '1') THEN true WHEN lower({sql}) IN ('f', 'false', '0') "
            f"THEN false WHEN {sql} IS NOT NULL THEN {wrong} END)"
        )
    pattern = _INTEGER if target.base in INTEGERS else _PATTERNS.get(target.base)
    if pattern is None:
        raise not_supported(f"cast of varchar to {target}")
    value = f"TRY_CAST({sql} AS {target.duckdb()})"
    if target.base in ("date", "timestamp"):
        value = f"TRY_CAST(trim({sql}) AS {target.duckdb()})"
    if target.base == "timestamp":
        value = MILLISECONDS.format(value)
    if target.base == "decimal":
        # Digits beyond the scale are rounded in Trino as in DuckDB.
        value = f"TRY_CAST({sql} AS {target.duckdb()})"
    del plain
    return (
        f"(CASE WHEN {sql} IS NULL THEN NULL WHEN regexp_full_match({sql}, {text(pattern)}) "
        f"THEN coalesce({value}, {wrong}) ELSE {wrong} END)"
    )


def _from_json(sql: str, target: Type, safe: bool) -> str:
    kind = f"json_type({sql})"
    wrong = "NULL" if safe else f"error('INVALID_CAST_ARGUMENT: Cannot cast JSON to {target}')"
    if target.base == "varchar":
        return (
            f"(CASE WHEN {kind} IN ('ARRAY', 'OBJECT') THEN {wrong} WHEN {kind} = 'DOUBLE' THEN "
            f"error('NOT_SUPPORTED: not supported by the local Athena: cast of a JSON number to varchar') "
            f"ELSE json_extract_string({sql}, '$') END)"
        )
    if target.base in INTEGERS:
        return (
            f"(CASE WHEN {kind} IN ('BIGINT', 'UBIGINT') THEN CAST(json_extract_string({sql}, '$') AS "
            f"{target.duckdb()}) "
            f"WHEN {kind} IS NULL OR {kind} = 'NULL' THEN NULL ELSE "
            f"error('NOT_SUPPORTED: not supported by the local Athena: cast of this JSON to {target}') END)"
        )
    if target.base in ("double", "boolean"):
        kinds = "('BIGINT', 'UBIGINT', 'DOUBLE')" if target.base == "double" else "('BOOLEAN')"
        return (
            f"(CASE WHEN {kind} IN {kinds} THEN CAST(json_extract_string({sql}, '$') AS {target.duckdb()}) "
            f"WHEN {kind} IS NULL OR {kind} = 'NULL' THEN NULL ELSE "
            f"error('NOT_SUPPORTED: not supported by the local Athena: cast of this JSON to {target}') END)"
        )
    if target.base == "array":
        return (
            f"(CASE WHEN {kind} = 'ARRAY' THEN list_transform(CAST({sql} AS JSON[]), lambda _j: "
            f"{cast('_j', Type('json'), target.args[0], safe=safe)}) WHEN {kind} IS NULL OR {kind} = 'NULL' THEN NULL "
            f"ELSE {wrong} END)"
        )
    raise not_supported(f"cast of json to {target}")


def local(value: Value) -> str:
    """Return the SQL of a date or timestamp as it is on the clock of its zone."""
    if value.type.base == "timestamp with time zone":
        return f"({value.sql} AT TIME ZONE {value.type.zone})"
    return value.sql


def divide_decimals(x: str, y: str, s1: int, s2: int, kind: Type) -> str:
    """Return SQL that divides decimals of scales s1 and s2 exactly, rounding half away from zero."""
    scale = kind.args[1]
    top = f"CAST({x} * CAST(1e{s1} AS DECIMAL({s1 + 1},0)) AS HUGEINT) * CAST('1{'0' * (scale - s1 + s2)}' AS HUGEINT)"
    bottom = f"CAST({y} * CAST(1e{s2} AS DECIMAL({s2 + 1},0)) AS HUGEINT)"
    whole = (
        f"(({top}) // ({bottom}) + CASE WHEN abs(({top}) % ({bottom})) * 2 >= abs({bottom}) THEN sign({top}) * "
        f"sign({bottom}) ELSE 0 END)"
    )
    result = (
        f"CAST(CAST(CAST({whole} AS HUGEINT) AS DECIMAL({38 - scale},0)) * "
        f"CAST('{'0.' + '0' * (scale - 1) + '1' if scale else '1'}' AS DECIMAL({max(scale, 1)},{scale})) AS "
        f"{kind.duckdb()})"
    )
    return f"(CASE WHEN {y} = 0 THEN error('DIVISION_BY_ZERO: Division by zero') ELSE {result} END)"
