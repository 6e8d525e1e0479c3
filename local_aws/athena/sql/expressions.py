"""Translation of expressions, with Trino's types and rules."""

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sqlglot import exp

from local_aws.athena.sql import functions, special
from local_aws.athena.sql.casts import cast, divide_decimals, local
from local_aws.athena.sql.errors import QueryError, not_supported
from local_aws.athena.sql.functions import Signature
from local_aws.athena.sql.parsing import Dialect
from local_aws.athena.sql.scope import Column, Query, Scope, Value
from local_aws.athena.sql.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DAY_TO_SECOND,
    DOUBLE,
    INTEGER,
    INTEGERS,
    TIMESTAMP,
    UNKNOWN,
    VARBINARY,
    VARCHAR,
    YEAR_TO_MONTH,
    Type,
    array,
    as_decimal,
    common,
    decimal,
    from_hive,
    text,
    with_zone,
)

_DIVISION = "error('DIVISION_BY_ZERO: Division by zero')"
_OPERATORS: dict[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%"}
_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_UNITS = {
    "second": "SECOND",
    "minute": "MINUTE",
    "hour": "HOUR",
    "day": "DAY",
    "month": "MONTH",
    "year": "YEAR",
}
_FIELDS = {
    **dict.fromkeys(("year", "quarter", "month", "week", "day", "day_of_month", "day_of_week", "dow"), ""),
    **dict.fromkeys(("day_of_year", "doy", "year_of_week", "yow", "hour", "minute", "second"), ""),
}


class Expressions:
    """The part of a translator that translates expressions."""

    def __init__(self, sql: str) -> None:
        self.text = sql
        self._lambdas = 0

    # What the translator of queries gives

    def query(self, node: exp.Expr, scope: Scope) -> Query:
        """Translate a subquery."""
        raise NotImplementedError

    def read(self, column: Column) -> Value:
        """Return the value of a column."""
        raise NotImplementedError

    def fail(self, node: exp.Expr, name: str, message: str) -> QueryError:
        """Return a failure at a node."""
        raise NotImplementedError

    # Shared by all

    @staticmethod
    def text_literal(value: str) -> str:
        """Return a string of SQL."""
        return text(value)

    def aggregate_in(self, node: exp.Expr) -> exp.Expr | None:
        """Return the first aggregate or window function below a node, subqueries left out."""
        for found in node.walk(prune=lambda inner: isinstance(inner, exp.Query)):
            if isinstance(found, exp.Query):
                continue
            if self.is_aggregate(found):
                return found
        return None

    @staticmethod
    def is_aggregate(node: exp.Expr) -> bool:
        """Return whether a node is an aggregate or window function."""
        return isinstance(node, exp.Window | exp.GroupConcat | exp.Filter) or (
            isinstance(node, exp.Anonymous) and node.name.lower() in {*functions.aggregate(), "grouping"}
        )

    def aggregate_only(self, node: exp.Expr) -> bool:
        """Return whether there is an aggregate below a node that makes its query one with groups (no window)."""
        if isinstance(node, exp.Window):
            call = (
                node.this.this if isinstance(node.this, exp.IgnoreNulls | exp.RespectNulls | exp.Filter) else node.this
            )
            inside = [
                *call.args.get("expressions", []),
                *(node.args.get("partition_by") or []),
                *([node.args["order"]] if node.args.get("order") else []),
            ]
            return any(map(self.aggregate_only, inside))
        if isinstance(node, exp.Query):
            return False
        return self.is_aggregate(node) or any(map(self.aggregate_only, node.iter_expressions()))

    def condition(self, node: exp.Expr, scope: Scope, place: str) -> Value:
        """Translate a condition."""
        value = self.value(node, scope)
        if value.type.base not in ("boolean", "unknown"):
            raise self.fail(node, "TYPE_MISMATCH", f"{place} must evaluate to a boolean: actual type {value.type}")
        return value

    def convert(self, value: Value, kind: Type) -> str:
        """Return the SQL of a value that Trino converts to this type by itself."""
        if value.type == kind or value.type.base == "unknown":
            return value.sql
        if value.type.duckdb() == kind.duckdb():
            return value.sql
        if kind.base == "timestamp with time zone" and value.type.base in ("date", "timestamp"):
            return f"(CAST({value.sql} AS TIMESTAMP) AT TIME ZONE {kind.zone or text('UTC')})"
        if value.type.base == "row" and kind.base == "row":
            return cast(value.sql, value.type, kind, safe=False)
        return f"CAST({value.sql} AS {kind.duckdb()})"

    def made(self, sql: str, kind: Type, *parts: Value) -> Value:
        """Return a value that is computed from others."""
        fields = frozenset[tuple[int, str]]().union(*(part.fields for part in parts))
        return Value(sql, kind, fields=fields, pure=all(part.pure for part in parts))

    def unify(self, node: exp.Expr, values: Sequence[Value], what: str) -> Type:
        """Return the type to which all values convert."""
        kind: Type = UNKNOWN
        for value in values:
            together = common(kind, value.type)
            if together is None:
                raise self.fail(node, "TYPE_MISMATCH", f"{what}: {kind} vs {value.type}")
            kind = together
        return kind

    # Expressions

    def value(self, node: exp.Expr, scope: Scope) -> Value:
        """Translate an expression."""
        translate = self._NODES.get(type(node))
        if translate is None:
            raise not_supported(f"expression {node.sql(dialect=Dialect)}")
        return translate(self, node, scope)

    def _paren(self, node: exp.Paren, scope: Scope) -> Value:
        return self.value(node.this, scope)

    def _literal(self, node: exp.Literal, scope: Scope) -> Value:  # noqa: ARG002
        if node.is_string:
            return Value(text(node.this), VARCHAR, node.this)
        return self._number(node, node.this)

    def _number(self, node: exp.Expr, digits: str) -> Value:
        digits = digits.replace("_", "")
        if re.fullmatch(r"\d+", digits):
            number = int(digits)
            if number > 2**63:
                raise self.fail(node, "NUMERIC_VALUE_OUT_OF_RANGE", f"Invalid numeric literal: {digits}")
            return Value(str(number), INTEGER if number < 2**31 else BIGINT, number)
        if re.search("[eE]", digits):
            return Value(f"CAST({digits} AS DOUBLE)", DOUBLE, float(digits))
        whole, _, fraction = digits.partition(".")
        precision = max(len(whole.lstrip("0")) + len(fraction), 1)
        if precision > 38:
            raise self.fail(node, "NUMERIC_VALUE_OUT_OF_RANGE", f"Invalid decimal literal: {digits}")
        kind = decimal(precision, len(fraction))
        return Value(f"CAST('{digits}' AS {kind.duckdb()})", kind, digits)

    def _boolean(self, node: exp.Boolean, scope: Scope) -> Value:  # noqa: ARG002
        return Value("true" if node.this else "false", BOOLEAN, bool(node.this))

    def _null(self, node: exp.Null, scope: Scope) -> Value:  # noqa: ARG002
        return Value("NULL", UNKNOWN)

    def _hex(self, node: exp.HexString, scope: Scope) -> Value:  # noqa: ARG002
        return Value(f"unhex({text(node.this)})", VARBINARY)

    def _column(self, node: exp.Column, scope: Scope) -> Value:
        return self._resolve(node, [part.name for part in node.parts], scope)

    def _identifier(self, node: exp.Identifier, scope: Scope) -> Value:
        return self._resolve(node, [node.name], scope)

    def _dot(self, node: exp.Dot, scope: Scope) -> Value:
        if not isinstance(node.expression, exp.Identifier):
            raise not_supported(f"expression {node.sql(dialect=Dialect)}")
        names: list[str] = []
        inner: exp.Expr = node
        while isinstance(inner, exp.Dot):
            names.insert(0, inner.expression.name)
            inner = inner.this
        if isinstance(inner, exp.Column):
            return self._resolve(node, [*(part.name for part in inner.parts), *names], scope)
        return self._field(node, self.value(inner, scope), names)

    def _field(self, node: exp.Expr, value: Value, names: Sequence[str]) -> Value:
        for name in names:
            if value.type.base != "row" or name.lower() not in value.type.names:
                raise self.fail(node, "TYPE_MISMATCH", f"Expression {node.sql(dialect=Dialect)} is not of type ROW")
            place = value.type.names.index(name.lower())
            kind: Type = value.type.args[place]
            value = self.made(f"struct_extract({value.sql}, {text(value.type.fields()[place])})", kind, value)
        return value

    def _resolve(self, node: exp.Expr, names: list[str], scope: Scope) -> Value:
        """Return the value of a name with dots: a lambda's parameter, or a column, and fields of it."""
        lower = [name.lower() for name in names]
        for place in scope.outward():
            if lower[0] in place.parameters:
                return self._field(node, place.parameters[lower[0]], names[1:])
            for used in (1, 2, 3):  # how many of the names are the column with what is before it
                if used > len(lower):
                    break
                found = [
                    column
                    for relation in place.relations
                    for column in relation.columns
                    if column.name == lower[used - 1]
                    and not (column.shared and used == 1)
                    and (used < 2 or relation.name == lower[used - 2])
                    and (used < 3 or relation.schema == lower[0])
                ]
                if len(found) > 1:
                    raise self.fail(node, "AMBIGUOUS_NAME", f"Column '{'.'.join(names[:used])}' is ambiguous")
                if found and (used == len(lower) or found[0].type.base == "row"):
                    return self._field(node, self.read(found[0]), names[used:])
        raise self.fail(node, "COLUMN_NOT_FOUND", f"Column '{'.'.join(names)}' cannot be resolved")

    # Operators

    def _arithmetic(self, node: exp.Binary, scope: Scope) -> Value:
        operator = _OPERATORS[type(node)]
        left, right = self.value(node.this, scope), self.value(node.expression, scope)
        if result := self._dates(operator, left, right):
            return result
        kind = common(left.type, right.type)
        if kind is None or not (kind.numeric or kind.base == "unknown"):
            raise self.fail(node, "TYPE_MISMATCH", f"Cannot apply operator: {left.type} {operator} {right.type}")
        if kind.base == "unknown":
            return self.made("NULL", UNKNOWN, left, right)
        if kind.base == "decimal":
            return self._decimals(operator, left, right)
        a, b = (
            f"CAST({v.sql} AS {kind.duckdb()})" if v.literal is not None else self.convert(v, kind)
            for v in (left, right)
        )
        if kind.base in INTEGERS and operator in "/%":
            sql = f"({a} {'//' if operator == '/' else '%'} {b})"
            if not (isinstance(right.literal, int) and right.literal != 0):
                sql = f"(CASE WHEN {b} = 0 THEN {_DIVISION} ELSE {sql} END)"
            return self.made(sql, kind, left, right)
        if operator == "%":
            return self.made(f"fmod({a}, {b})", kind, left, right)
        sql = f"({a} {operator} {b})"
        if kind.base == "real":
            sql = f"CAST({sql} AS FLOAT)"
        return self.made(sql, kind, left, right)

    def _decimals(self, operator: str, left: Value, right: Value) -> Value:
        a, b = (
            as_decimal(left.type if left.type.base != "unknown" else right.type),
            as_decimal(right.type if right.type.base != "unknown" else left.type),
        )
        (p1, s1), (p2, s2) = a.args, b.args
        x, y = self.convert(left, a), self.convert(right, b)
        if operator in "+-":
            kind = decimal(max(p1 - s1, p2 - s2) + max(s1, s2) + 1, max(s1, s2))
            return self.made(f"CAST(({x} {operator} {y}) AS {kind.duckdb()})", kind, left, right)
        if operator == "*":
            if s1 + s2 > 38:
                raise not_supported(f"{a} * {b}")
            kind = decimal(p1 + p2, s1 + s2)
            return self.made(f"CAST(({x} * {y}) AS {kind.duckdb()})", kind, left, right)
        if operator == "/":
            kind = decimal(p1 + s2 + max(0, s2 - s1), max(s1, s2))
            return self.made(divide_decimals(x, y, s1, s2, kind), kind, left, right)
        raise not_supported(f"{a} % {b}")

    def _dates(self, operator: str, left: Value, right: Value) -> Value | None:
        """Translate arithmetic of dates and intervals; return None if it is something else."""
        intervals = (DAY_TO_SECOND, YEAR_TO_MONTH)
        moments = ("date", "timestamp", "timestamp with time zone")
        if operator == "+" and left.type in intervals and right.type.base in moments:
            left, right = right, left
        if operator in "+-" and left.type.base in moments and right.type in intervals:
            if left.type.base == "date":
                if right.type == DAY_TO_SECOND and right.literal not in ("DAY", "WEEK"):
                    raise not_supported("a date with an interval of less than a day")
                return self.made(f"CAST(({left.sql} {operator} {right.sql}) AS DATE)", DATE, left, right)
            if left.type.base == "timestamp with time zone" and right.type == DAY_TO_SECOND:
                return self.made(f"({left.sql} {operator} {right.sql})", left.type, left, right)
            if left.type.base == "timestamp with time zone":
                moved = f"(({local(left)} {operator} {right.sql}) AT TIME ZONE {left.type.zone})"
                return self.made(moved, left.type, left, right)
            return self.made(f"({left.sql} {operator} {right.sql})", left.type, left, right)
        if left.type in intervals and right.type == left.type and operator in "+-":
            literal = left.literal if left.literal == right.literal else None
            return Value(f"({left.sql} {operator} {right.sql})", left.type, literal)
        if operator == "*" and left.type in intervals and right.type.base in INTEGERS:
            return Value(
                f"({left.sql} * CAST({right.sql} AS INTEGER))", left.type, left.literal, right.fields, right.pure
            )
        if operator == "*" and right.type in intervals and left.type.base in INTEGERS:
            return self._dates("*", right, left)
        if left.type.base in moments and right.type.base in moments:
            raise not_supported("the difference of two times as an interval; use date_diff")
        return None

    def _negative(self, node: exp.Neg, scope: Scope) -> Value:
        if isinstance(node.this, exp.Literal) and not node.this.is_string:
            value = self._number(node, node.this.this)
            if isinstance(value.literal, int):
                number = -value.literal
                return Value(f"({number})", INTEGER if number >= -(2**31) else BIGINT, number)
        value = self.value(node.this, scope)
        if value.type in (DAY_TO_SECOND, YEAR_TO_MONTH):
            return Value(f"(-{value.sql})", value.type, value.literal)
        if not value.type.numeric:
            raise self.fail(node, "TYPE_MISMATCH", f"Cannot negate {value.type}")
        return self.made(f"(-{value.sql})", value.type, value)

    def _compared(self, node: exp.Binary, scope: Scope) -> Value:
        operator = _COMPARISONS[type(node)]
        if isinstance(node.expression, exp.Any | exp.All):
            return self._quantified(node, operator, scope)
        return self.compare(node, operator, self.value(node.this, scope), self.value(node.expression, scope))

    def compare(self, node: exp.Expr, operator: str, left: Value, right: Value) -> Value:
        """Translate a comparison; NaN is equal to nothing and smaller or larger than nothing."""
        kind = common(left.type, right.type) if "time zone" not in left.type.base + right.type.base else None
        if kind is None and {left.type.base, right.type.base} <= {
            "timestamp with time zone",
            "timestamp",
            "date",
            "unknown",
        }:
            kind = next(v.type for v in (left, right) if v.type.base == "timestamp with time zone")
        if kind is None or (kind.base in ("map", "json") and operator not in ("=", "<>")):
            raise self.fail(node, "TYPE_MISMATCH", f"Cannot apply operator: {left.type} {operator} {right.type}")
        if kind.base in ("map", "json"):
            raise not_supported(f"comparison of values of type {kind}")
        a, b = self.convert(left, kind), self.convert(right, kind)
        sql = f"({a} {operator} {b})"
        if kind.base in ("double", "real") and operator != "<>":
            guards = [f"NOT isnan({s})" for s, v in ((a, left), (b, right)) if v.literal is None]
            if len(guards) == 1 and (
                operator == "="
                or (operator in "<=" and right.literal is not None)
                or (operator in ">=" and left.literal is not None)
            ):
                guards = []  # NaN is the largest value of DuckDB, so the answer is false anyhow
            if guards:
                sql = "(" + " AND ".join([sql, *(guards[:1] if operator == "=" else guards)]) + ")"
        elif kind.base in ("double", "real") and left.literal is None and right.literal is None:
            sql = f"({sql} OR isnan({a}))"
        return self.made(sql, BOOLEAN, left, right)

    def _quantified(self, node: exp.Binary, operator: str, scope: Scope) -> Value:
        left = self.value(node.this, scope)
        query = self._subquery(node.expression.this, scope)
        kind = common(left.type, query.types[0])
        if kind is None or kind != query.types[0] or kind.base in ("double", "real"):
            raise not_supported(f"{type(node.expression).__name__.upper()} of values of another type")
        word = "ALL" if isinstance(node.expression, exp.All) else "ANY"
        return Value(
            f"({self.convert(left, kind)} {operator} {word} ({query.sql}))", BOOLEAN, fields=left.fields, pure=False
        )

    def _distinct_from(self, node: exp.Binary, scope: Scope) -> Value:
        left, right = self.value(node.this, scope), self.value(node.expression, scope)
        kind = common(left.type, right.type)
        if kind is None:
            raise self.fail(node, "TYPE_MISMATCH", f"Cannot apply operator: {left.type} IS DISTINCT FROM {right.type}")
        word = "IS NOT DISTINCT FROM" if isinstance(node, exp.NullSafeEQ) else "IS DISTINCT FROM"
        return self.made(f"({self.convert(left, kind)} {word} {self.convert(right, kind)})", BOOLEAN, left, right)

    def _logical(self, node: exp.Connector, scope: Scope) -> Value:
        word = "AND" if isinstance(node, exp.And) else "OR"
        left, right = (self.value(side, scope) for side in (node.this, node.expression))
        for value in (left, right):
            if value.type.base not in ("boolean", "unknown"):
                raise self.fail(
                    node,
                    "TYPE_MISMATCH",
                    f"Logical expression term must evaluate to a boolean: actual type {value.type}",
                )
        return self.made(f"({left.sql} {word} {right.sql})", BOOLEAN, left, right)

    def _not(self, node: exp.Not, scope: Scope) -> Value:
        value = self.value(node.this, scope)
        if value.type.base not in ("boolean", "unknown"):
            raise self.fail(
                node,
                "TYPE_MISMATCH",
                f"Value of logical NOT expression must evaluate to a boolean: actual type {value.type}",
            )
        return self.made(f"(NOT {value.sql})", BOOLEAN, value)

    def _is(self, node: exp.Is, scope: Scope) -> Value:
        if not isinstance(node.expression, exp.Null):
            raise self.fail(node, "SYNTAX_ERROR", "IS is followed by NULL, NOT NULL or DISTINCT FROM")
        value = self.value(node.this, scope)
        return self.made(f"({value.sql} IS {'NOT ' if node.args.get('negate') else ''}NULL)", BOOLEAN, value)

    def _between(self, node: exp.Between, scope: Scope) -> Value:
        if node.args.get("symmetric"):
            raise not_supported("BETWEEN SYMMETRIC")
        value, low, high = (self.value(node.args[part], scope) for part in ("this", "low", "high"))
        above, below = self.compare(node, ">=", value, low), self.compare(node, "<=", value, high)
        return self.made(f"({above.sql} AND {below.sql})", BOOLEAN, value, low, high)

    def _in(self, node: exp.In, scope: Scope) -> Value:
        value = self.value(node.this, scope)
        if node.args.get("query") is not None:
            query = self._subquery(node.args["query"], scope)
            kind = common(value.type, query.types[0])
            if kind is None:
                raise self.fail(
                    node,
                    "TYPE_MISMATCH",
                    f"value and result of subquery must be of the same type for IN expression: {value.type} vs "
                    f"{query.types[0]}",
                )
            inner = f"SELECT {self.convert(Value('c0', query.types[0]), kind)} FROM ({query.sql})"
            return Value(f"({self.convert(value, kind)} IN ({inner}))", BOOLEAN, fields=value.fields, pure=False)
        if node.args.get("unnest") or node.args.get("field"):
            raise not_supported("IN of something else than a list or a query")
        values = [self.value(item, scope) for item in node.expressions]
        kind = self.unify(node, [value, *values], "IN value and list items must be the same type")
        listed = ", ".join(self.convert(item, kind) for item in values)
        return self.made(
            f"({self.convert(value, kind)} {'NOT ' if node.args.get('negate') else ''}IN ({listed}))",
            BOOLEAN,
            value,
            *values,
        )

    def _like(self, node: exp.Expr, scope: Scope) -> Value:
        escape = None
        if isinstance(node, exp.Escape):
            escape, node = self.value(node.expression, scope), node.this
        if not isinstance(node, exp.Like):
            raise not_supported(f"expression {node.sql(dialect=Dialect)}")
        value, pattern = self.value(node.this, scope), self.value(node.expression, scope)
        for each in (value, pattern):
            if each.type.base not in ("varchar", "unknown"):
                raise self.fail(
                    node,
                    "TYPE_MISMATCH",
                    f"Left side of LIKE expression must evaluate to a varchar (actual: {each.type})",
                )
        sql = f"{value.sql} {'NOT ' if node.args.get('negate') else ''}LIKE {pattern.sql}"
        if escape:
            sql += f" ESCAPE {escape.sql}"
        return self.made(f"({sql})", BOOLEAN, value, pattern)

    def _concat(self, node: exp.DPipe, scope: Scope) -> Value:
        return special.concat(self, node, [self.value(node.this, scope), self.value(node.expression, scope)])

    def _case(self, node: exp.Case, scope: Scope) -> Value:
        operand = self.value(node.this, scope) if node.this else None
        conditions, results = [], []
        for branch in node.args["ifs"]:
            if operand:
                conditions.append(self.compare(branch, "=", operand, self.value(branch.this, scope)))
            else:
                conditions.append(self.condition(branch.this, scope, "CASE WHEN clause"))
            results.append(self.value(branch.args["true"], scope))
        if node.args.get("default") is not None:
            results.append(self.value(node.args["default"], scope))
        kind = self.unify(node, results, "All CASE results must be the same type or coercible to a common type")
        sql = " ".join(f"WHEN {c.sql} THEN {self.convert(r, kind)}" for c, r in zip(conditions, results, strict=False))
        if node.args.get("default") is not None:
            sql += f" ELSE {self.convert(results[-1], kind)}"
        return self.made(f"(CASE {sql} END)", kind, *conditions, *results)

    def _cast(self, node: exp.Cast, scope: Scope) -> Value:
        kind = self.type_of(node.to)
        value = self.value(node.this, scope)
        safe = isinstance(node, exp.TryCast)
        length = node.to.expressions[0].this.name if kind.base == "varchar" and node.to.expressions else None
        if node.to.this == exp.DType.DECIMAL and not node.to.expressions and isinstance(value.literal, str):
            return (
                self._number(node, value.literal.strip())
                if not value.literal.strip().startswith("-")
                else self._negative_decimal(node, value.literal)
            )
        if kind.base == "timestamp with time zone":
            return special.cast_with_zone(self, node, value, safe)
        source = value
        if value.type.base == "timestamp with time zone" and kind.base in ("timestamp", "date"):
            source = Value(local(value), TIMESTAMP)
        if value.literal is not None and value.type.base == "varchar" and kind.base in ("date", "timestamp"):
            special.check_literal(self, node, value, kind, safe)
        if safe and (source.type.base in ("array", "row", "json") or (length and source.type.base != "varchar")):
            strict = _sized(cast(source.sql, source.type, kind, safe=False), length, source.type)
            return self.made(special.tried(strict), kind, value)  # null as a whole
        sql = _sized(cast(source.sql, source.type, kind, safe=safe), length, source.type)
        return self.made(sql, kind, value)

    def _negative_decimal(self, node: exp.Expr, digits: str) -> Value:
        value = self._number(node, digits.strip()[1:])
        return Value(f"(-{value.sql})", value.type)

    def type_of(self, node: exp.DataType) -> Type:
        """Return the type that a CAST names."""
        name = node.this
        if name == exp.DType.STRUCT:
            kinds, names = [], []
            for part in node.expressions:
                named = isinstance(part, exp.ColumnDef)
                names.append(part.name.lower() if named else None)
                kinds.append(self.type_of(part.args["kind"] if named else part))
            return Type("row", tuple(kinds), tuple(names))
        if name in (exp.DType.ARRAY, exp.DType.MAP):
            return Type(name.value.lower(), tuple(map(self.type_of, node.expressions)))
        parameters = [int(part.this.name) for part in node.expressions if isinstance(part, exp.DataTypeParam)]
        if name == exp.DType.DECIMAL:
            return decimal(*([*parameters, 0])[:2]) if parameters else decimal(38, 0)
        if name in (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ):
            if parameters and parameters[0] > 3:
                raise not_supported(f"type timestamp({parameters[0]})")
            return TIMESTAMP if name == exp.DType.TIMESTAMP else with_zone(text("UTC"))
        simple = {
            exp.DType.INT: "int", exp.DType.FLOAT: "float", exp.DType.TEXT: "varchar", exp.DType.VARBINARY: "varbinary",
            exp.DType.JSON: "json",
        }  # fmt: skip
        plain = ("BOOLEAN", "TINYINT", "SMALLINT", "BIGINT", "DOUBLE", "VARCHAR", "DATE")
        if name in simple:
            return from_hive(simple[name])
        if isinstance(name, exp.DType) and name.value in plain:
            return from_hive(name.value.lower())
        raise not_supported(f"type {node.sql(dialect=Dialect)}")

    def _interval(self, node: exp.Interval, scope: Scope) -> Value:  # noqa: ARG002
        unit = node.args.get("unit")
        if not isinstance(unit, exp.Var) or not isinstance(node.this, exp.Literal) or unit.name.lower() not in _UNITS:
            raise not_supported(f"interval {node.sql(dialect=Dialect)}")
        amount = node.this.this.strip()
        if not re.fullmatch(r"[+-]?\d+", amount):
            raise self.fail(node, "INVALID_LITERAL", f"'{amount}' is not a valid INTERVAL literal")
        word = _UNITS[unit.name.lower()]
        kind = YEAR_TO_MONTH if word in ("MONTH", "YEAR") else DAY_TO_SECOND
        return Value(f"(INTERVAL ({int(amount)}) {word})", kind, word)

    # Constructors and access

    def _array(self, node: exp.Array, scope: Scope) -> Value:
        values = [self.value(item, scope) for item in node.expressions]
        kind = self.unify(node, values, "All ARRAY elements must be the same type or coercible to a common type")
        return self.made(f"[{', '.join(self.convert(item, kind) for item in values)}]", array(kind), *values)

    def _bracket(self, node: exp.Bracket, scope: Scope) -> Value:
        value = self.value(node.this, scope)
        if len(node.expressions) != 1 or isinstance(node.expressions[0], exp.Slice):
            raise not_supported(f"expression {node.sql(dialect=Dialect)}")
        index = self.value(node.expressions[0], scope)
        if value.type.base == "map":
            key: Type = value.type.args[0]
            if common(key, index.type) != key:
                raise self.fail(node, "TYPE_MISMATCH", f"Cannot apply operator: {value.type}[{index.type}]")
            found, wanted = f"map_extract({value.sql}, {self.convert(index, key)})", self.convert(index, key)
            missing = f"error('INVALID_FUNCTION_ARGUMENT: Key not present in map: ' || CAST({wanted} AS VARCHAR))"
            sql = f"(CASE WHEN {value.sql} IS NULL THEN NULL WHEN len({found}) = 0 THEN {missing} ELSE {found}[1] END)"
            return self.made(sql, value.type.args[1], value, index)
        if value.type.base == "row" and isinstance(index.literal, int):
            if not 1 <= index.literal <= len(value.type.args):
                raise self.fail(node, "INVALID_FUNCTION_ARGUMENT", f"ROW index out of bounds: {index.literal}")
            return self.made(
                f"struct_extract({value.sql}, {text(value.type.fields()[index.literal - 1])})",
                value.type.args[index.literal - 1], value,
            )  # fmt: skip
        if value.type.base != "array" or index.type.base not in INTEGERS:
            raise self.fail(node, "TYPE_MISMATCH", f"Cannot apply operator: {value.type}[{index.type}]")
        a, i = value.sql, index.sql
        sql = (
            f"(CASE WHEN {a} IS NULL OR {i} IS NULL THEN NULL "
            f"WHEN {i} = 0 THEN error('INVALID_FUNCTION_ARGUMENT: SQL array indices start at 1') "
            f"WHEN {i} < 0 THEN error('INVALID_FUNCTION_ARGUMENT: Array subscript is negative: ' || CAST({i} AS "
            "VARCHAR)) "
            f"WHEN {i} > len({a}) THEN error('INVALID_FUNCTION_ARGUMENT: Array subscript must be less than or equal to "
            f"array length: ' || CAST({i} AS VARCHAR) || ' > ' || CAST(len({a}) AS VARCHAR)) ELSE {a}[{i}] END)"
        )
        return self.made(sql, value.type.args[0], value, index)

    def _row(self, node: exp.Expr, scope: Scope) -> Value:
        values = [self.value(item, scope) for item in node.expressions]
        fields = ", ".join(f"field{place} := {value.sql}" for place, value in enumerate(values))
        kind = Type("row", tuple(value.type for value in values), (None,) * len(values))
        return self.made(f"struct_pack({fields})", kind, *values)

    # Subqueries

    def _subquery(self, node: exp.Expr, scope: Scope) -> Query:
        query = self.query(node, scope)
        if len(query.types) != 1:
            raise self.fail(
                node,
                "NOT_SUPPORTED",
                f"Multiple columns returned by subquery are not yet supported. Found {len(query.types)}",
            )
        return query

    def _scalar_subquery(self, node: exp.Expr, scope: Scope) -> Value:
        query = self._subquery(node, scope)
        return Value(f"({query.sql})", query.types[0], pure=False)

    def _exists(self, node: exp.Exists, scope: Scope) -> Value:
        return Value(f"EXISTS ({self.query(node.this, scope).sql})", BOOLEAN, pure=False)

    # Calls

    def _call(self, node: exp.Anonymous, scope: Scope) -> Value:
        name = node.name.lower()
        if name == "row":
            return self._row(node, scope)
        if name in functions.aggregate() or name in special.AGGREGATES:
            return self._aggregate(node, scope)
        if name == "grouping":
            values = [self.value(part, scope) for part in node.expressions]
            return Value(f"CAST(grouping({', '.join(v.sql for v in values)}) AS INTEGER)", INTEGER, pure=False)
        if name in functions.window():
            raise self.fail(node, "MISSING_OVER", f"Window function {name} requires an OVER clause")
        if name in special.SCALARS:
            return special.SCALARS[name](self, node, scope)
        return self.apply(node, name, functions.scalar().get(name), node.expressions, scope)

    def apply(
        self,
        node: exp.Expr,
        name: str,
        signatures: Sequence[Signature] | None,
        arguments: Sequence[exp.Expr],
        scope: Scope,
    ) -> Value:
        """Translate a call by the first signature that fits."""
        if signatures is None:
            raise not_supported(f"function {name}")
        values = [None if isinstance(part, exp.Lambda) else self.value(part, scope) for part in arguments]
        types = [value.type if value else None for value in values]
        for convert in (False, True):
            for signature in signatures:
                bound = functions.fit(signature, types, convert=convert)
                if bound is not None:
                    return self._fill(signature, bound, arguments, values, scope)
        given = ", ".join(str(kind) if kind else "<lambda>" for kind in types)
        expected = ", ".join(map(str, signatures))
        raise self.fail(
            node, "FUNCTION_NOT_FOUND", f"Unexpected parameters ({given}) for function {name}. Expected: {expected}"
        )

    def _fill(
        self,
        signature: Signature,
        bound: dict[str, Type],
        arguments: Sequence[exp.Expr],
        values: Sequence[Value | None],
        scope: Scope,
    ) -> Value:
        parts: list[str] = []
        used: list[Value] = []
        depth = sum(bool(place.parameters) for place in scope.outward())
        for param, node, value in zip(signature.params, arguments, values, strict=True):
            if value is None:
                assert isinstance(node, exp.Lambda)
                entries = signature.name in ("map_filter", "transform_values")
                if signature.name == "zip_with":
                    sql, inner = self.lambda_of(node, param, bound, scope, element="_z", parts=("_z[1]", "_z[2]"))
                elif entries:
                    sql, inner = self.lambda_of(
                        node,
                        param,
                        bound,
                        scope,
                        element="_m",
                        parts=("_m.key", "_m.value"),
                        bare=signature.name == "transform_values",
                    )
                else:
                    sql, inner = self.lambda_of(node, param, bound, scope)
                parts.append(sql)
                used.append(inner)
                continue
            kind = functions.resolve(param, bound)
            used.append(value)
            if param.base in ("when", "moment"):
                parts.append(local(value) if value.type.base != "unknown" else "CAST(NULL AS DATE)")
            elif value.type.base == "unknown" and kind.base != "unknown":
                parts.append(f"CAST(NULL AS {kind.duckdb()})")
            else:
                parts.append(self.convert(value, kind))
        sql = signature.template.format(*parts, entry=f"_m{depth}")
        return self.made(f"({sql})" if " " in sql else sql, functions.resolve(signature.result, bound), *used)

    def lambda_of(
        self,
        node: exp.Lambda,
        param: Type,
        bound: dict[str, Type],
        scope: Scope,
        *,
        element: str | None = None,
        parts: Sequence[str] = (),
        bare: bool = False,
    ) -> tuple[str, Value]:
        """Translate a lambda.

        Args:
            node: it.
            param: its type in the signature.
            bound: what the letters stand for; that of its result is added.
            scope: around it.
            element: the name of DuckDB's only parameter, if `parts` of it are Trino's parameters.
            parts: see `element`.
            bare: return the body alone.
        """
        kinds = [functions.resolve(kind, bound) for kind in param.args[:-1]]
        names = [part.name.lower() for part in node.expressions]
        if len(names) != len(kinds):
            raise self.fail(
                node,
                "FUNCTION_NOT_FOUND",
                f"Expected a lambda that takes {len(kinds)} argument(s) but got {len(names)}",
            )
        depth = sum(bool(place.parameters) for place in scope.outward())
        internal = [f"_p{depth}_{place}" for place in range(len(names))]
        if element:
            element = f"{element}{depth}"
            internal = [part.replace(part[:2], element, 1) for part in parts]
        inner = Scope([], scope, parameters={n: Value(s, k) for n, s, k in zip(names, internal, kinds, strict=True)})
        body = self.value(node.this, inner)
        result = param.args[-1]
        if len(result.base) == 1:
            bound.setdefault(result.base, body.type)
        elif common(body.type, result) != result:
            raise self.fail(
                node, "TYPE_MISMATCH", f"Expected a lambda with a result of type {result} but got {body.type}"
            )
        if bare:
            return body.sql, body
        return f"lambda {element or ', '.join(internal)}: {body.sql}", body

    def _aggregate(self, node: exp.Expr, scope: Scope, condition: exp.Expr | None = None, over: str = "") -> Value:
        """Translate an aggregate function, also as a window function."""
        name, arguments = node.name.lower(), list(node.expressions)
        distinct, order = False, ""
        if arguments and isinstance(arguments[0], exp.Distinct):
            distinct, arguments = True, list(arguments[0].expressions)
        if arguments and isinstance(arguments[-1], exp.Order):
            ordered = arguments[-1]
            arguments[-1] = ordered.this
            if isinstance(arguments[0], exp.Distinct):
                distinct, arguments = True, list(arguments[0].expressions)
            order = self._window_order(ordered, scope)
        if name == "count" and len(arguments) == 1 and isinstance(arguments[0], exp.Star):
            arguments = []
        if any(self.aggregate_in(argument) for argument in arguments) and not over:
            raise self.fail(
                node,
                "NESTED_AGGREGATION",
                f"Cannot nest aggregations inside aggregation '{name}': [{node.sql(dialect=Dialect)}]",
            )
        values = [self.value(argument, scope) for argument in arguments]
        filter_ = f" FILTER (WHERE {self.condition(condition, scope, 'FILTER clause').sql})" if condition else ""

        def call(sql: str) -> str:
            """Add DISTINCT, ORDER BY, FILTER and OVER to the first call in a template."""
            match = re.match(r"(CAST\(|map_from_entries\()?(\w+)\(", sql)
            assert match, sql
            start, depth, end = match.end(), 1, match.end()
            while depth:
                depth += {"(": 1, ")": -1}.get(sql[end], 0)
                end += 1
            inner = sql[start : end - 1]
            if distinct:
                inner = f"DISTINCT {inner}"
            if order:
                inner += order
            return f"{sql[:start]}{inner}){filter_}{over}{sql[end:]}"

        if name in special.AGGREGATES:
            return special.AGGREGATES[name](self, node, values, call)
        result = self.apply_aggregate(node, name, functions.aggregate()[name], values)
        sql = result.sql
        if distinct and "DISTINCT" in sql:
            raise not_supported(f"{name} of DISTINCT values")
        return Value(call(sql), result.type, fields=result.fields, pure=False)

    def apply_aggregate(
        self, node: exp.Expr, name: str, signatures: Sequence[Signature], values: Sequence[Value]
    ) -> Value:
        """Return the template of an aggregate or window function, filled."""
        types = [value.type for value in values]
        for convert in (False, True):
            for signature in signatures:
                bound = functions.fit(signature, types, convert=convert)
                if bound is None:
                    continue
                parts = []
                for param, value in zip(signature.params, values, strict=True):
                    kind = functions.resolve(param, bound)
                    null = value.type.base == "unknown" and kind.base != "unknown"
                    parts.append(f"CAST(NULL AS {kind.duckdb()})" if null else self.convert(value, kind))
                return self.made(signature.template.format(*parts), functions.resolve(signature.result, bound), *values)
        given, expected = ", ".join(map(str, types)), ", ".join(map(str, signatures))
        raise self.fail(
            node, "FUNCTION_NOT_FOUND", f"Unexpected parameters ({given}) for function {name}. Expected: {expected}"
        )

    def _filtered(self, node: exp.Filter, scope: Scope) -> Value:
        call = node.this
        if not isinstance(call, exp.Anonymous) or call.name.lower() not in {
            *functions.aggregate(),
            *special.AGGREGATES,
        }:
            raise self.fail(node, "FUNCTION_NOT_AGGREGATE", "Filter is only valid for aggregation functions")
        return self._aggregate(call, scope, condition=node.expression.this)

    def _listagg(self, node: exp.GroupConcat, scope: Scope) -> Value:
        inner, order = node.this, ""
        if isinstance(inner, exp.Order):
            order, inner = self._window_order(inner, scope), inner.this
        if isinstance(inner, exp.Distinct) or node.args.get("on_overflow"):
            raise not_supported("listagg with DISTINCT or ON OVERFLOW")
        value = self.value(inner, scope)
        separator = self.value(node.args["separator"], scope).sql if node.args.get("separator") else "''"
        if value.type != VARCHAR:
            raise self.fail(
                node, "TYPE_MISMATCH", f"Expected expression of varchar, but '{inner.sql()}' has {value.type} type"
            )
        return Value(f"string_agg({value.sql}, {separator}{order})", VARCHAR, pure=False)

    def _window(self, node: exp.Window, scope: Scope) -> Value:
        call, nulls, condition = node.this, "", None
        if isinstance(call, exp.IgnoreNulls | exp.RespectNulls):
            nulls = " IGNORE NULLS" if isinstance(call, exp.IgnoreNulls) else ""
            call = call.this
        if isinstance(call, exp.Filter):
            call, condition = call.this, call.expression.this
        if not isinstance(call, exp.Anonymous):
            raise not_supported(f"expression {node.sql(dialect=Dialect)}")
        name = call.name.lower()
        over = f" OVER ({self._window_spec(node, scope)})"
        if name in functions.window():
            if condition:
                raise self.fail(node, "FUNCTION_NOT_AGGREGATE", "Filter is only valid for aggregation functions")
            values = [self.value(argument, scope) for argument in call.expressions]
            result = self.apply_aggregate(call, name, functions.window()[name], values)
            sql = result.sql.removesuffix(")") + f"{nulls}){over}"
            return Value(f"({sql})", result.type, pure=False)
        if nulls or (name not in functions.aggregate() and name not in special.AGGREGATES):
            if name in functions.scalar() or name in special.SCALARS or nulls:
                raise self.fail(node, "FUNCTION_NOT_WINDOW", f"Not a window function: {name}")
            raise not_supported(f"function {name}")
        return self._aggregate(call, scope, condition, over)

    def _window_spec(self, node: exp.Window, scope: Scope) -> str:
        named = node.alias.lower() if node.args.get("alias") else ""
        if not named and isinstance(node.args.get("over"), exp.Identifier):
            named = node.args["over"].name.lower()
        if named:
            for place in scope.outward():
                if named in place.windows:
                    return self._window_spec_parts(place.windows[named], scope)
            raise self.fail(node, "INVALID_WINDOW_REFERENCE", f"Cannot resolve WINDOW name {named}")
        return self._window_spec_parts(node, scope)

    def _window_spec_parts(self, node: exp.Expr, scope: Scope) -> str:
        parts = []
        if node.args.get("partition_by"):
            parts.append("PARTITION BY " + ", ".join(self.value(part, scope).sql for part in node.args["partition_by"]))
        if node.args.get("order"):
            parts.append(self._window_order(node.args["order"], scope).strip())
        spec = node.args.get("spec")
        if spec is not None:
            if spec.args.get("exclude") or (spec.args.get("kind") or "").upper() not in ("ROWS", "RANGE"):
                raise not_supported(f"window frame {spec.sql()}")
            ends = []
            for side in ("start", "end"):
                edge, direction = spec.args.get(side), spec.args.get(f"{side}_side") or ""
                if edge is None and side == "end":
                    edge = "CURRENT ROW"
                edge = edge if isinstance(edge, str) else self.value(edge, scope).sql
                ends.append(f"{edge} {direction}".strip())
            parts.append(f"{spec.args['kind'].upper()} BETWEEN {ends[0]} AND {ends[1]}")
        return " ".join(parts)

    def _window_order(self, order: exp.Order, scope: Scope) -> str:
        parts = []
        for item in order.expressions:
            sql = self.value(item.this, scope).sql
            direction = "DESC" if item.args.get("desc") else "ASC"
            parts.append(f"{sql} {direction} NULLS {'FIRST' if item.args.get('nulls_first') else 'LAST'}")
        return f" ORDER BY {', '.join(parts)}"

    def _extract(self, node: exp.Extract, scope: Scope) -> Value:
        name = node.this.name.lower()
        if name not in _FIELDS:
            raise not_supported(f"EXTRACT of {name}")
        return self.apply(node, name, functions.scalar()[name], [node.expression], scope)

    def _trim(self, node: exp.Trim, scope: Scope) -> Value:
        name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or "").upper(), "trim")
        if node.expression is None:
            return self.apply(node, name, functions.scalar()[name], [node.this], scope)
        value, characters = self.value(node.this, scope), self.value(node.expression, scope)
        if {value.type.base, characters.type.base} - {"varchar", "unknown"}:
            raise self.fail(
                node, "FUNCTION_NOT_FOUND", f"Unexpected parameters ({value.type}, {characters.type}) for function trim"
            )
        return self.made(f"{name}({value.sql}, {characters.sql})", VARCHAR, value, characters)

    def _substring(self, node: exp.Substring, scope: Scope) -> Value:
        parts = [node.args[part] for part in ("this", "start", "length") if node.args.get(part) is not None]
        return self.apply(node, "substring", functions.scalar()["substr"], parts, scope)

    def _position(self, node: exp.StrPosition, scope: Scope) -> Value:
        return self.apply(node, "position", functions.scalar()["strpos"], [node.this, node.args["substr"]], scope)

    def _at_time_zone(self, node: exp.AtTimeZone, scope: Scope) -> Value:
        return special.at_timezone(self, node, self.value(node.this, scope), self.value(node.args["zone"], scope))

    def _now(self, node: exp.Expr, scope: Scope) -> Value:  # noqa: ARG002
        if isinstance(node, exp.CurrentDate):
            return Value(f"CAST({special.NOW} AT TIME ZONE 'UTC' AS DATE)", DATE)
        if isinstance(node, exp.CurrentTimestamp):
            return Value(special.NOW, with_zone(text("UTC")))
        return Value(f"({special.NOW} AT TIME ZONE 'UTC')", TIMESTAMP)

    def _json_literal(self, node: exp.ParseJSON, scope: Scope) -> Value:
        return special.SCALARS["json_parse"](self, exp.Anonymous(this="json_parse", expressions=[node.this]), scope)

    _NODES: ClassVar[dict[type[exp.Expr], Callable[[Any, Any, Scope], Value]]] = {
        exp.Paren: _paren,
        exp.Literal: _literal,
        exp.Boolean: _boolean,
        exp.Null: _null,
        exp.HexString: _hex,
        exp.Column: _column,
        exp.Identifier: _identifier,
        exp.Dot: _dot,
        **dict.fromkeys(_OPERATORS, _arithmetic),
        **dict.fromkeys(_COMPARISONS, _compared),
        exp.Neg: _negative,
        exp.NullSafeEQ: _distinct_from,
        exp.NullSafeNEQ: _distinct_from,
        exp.And: _logical,
        exp.Or: _logical,
        exp.Not: _not,
        exp.Is: _is,
        exp.Between: _between,
        exp.In: _in,
        exp.Like: _like,
        exp.Escape: _like,
        exp.DPipe: _concat,
        exp.Case: _case,
        exp.Cast: _cast,
        exp.TryCast: _cast,
        exp.Interval: _interval,
        exp.Array: _array,
        exp.Bracket: _bracket,
        exp.Tuple: _row,
        exp.Subquery: _scalar_subquery,
        exp.Select: _scalar_subquery,
        exp.Exists: _exists,
        exp.Anonymous: _call,
        exp.Filter: _filtered,
        exp.GroupConcat: _listagg,
        exp.Window: _window,
        exp.Extract: _extract,
        exp.Trim: _trim,
        exp.Substring: _substring,
        exp.StrPosition: _position,
        exp.AtTimeZone: _at_time_zone,
        exp.CurrentDate: _now,
        exp.CurrentTimestamp: _now,
        exp.Localtimestamp: _now,
        exp.ParseJSON: _json_literal,
    }


def _sized(sql: str, length: str | None, source: Type) -> str:
    """Return the SQL of a text as varchar(length): a longer text is cut, anything else that is longer is an error."""
    if not length:
        return sql
    if source.base in ("varchar", "unknown"):
        return f"substr({sql}, 1, {length})"
    wrong = f"error('INVALID_CAST_ARGUMENT: Value ' || {sql} || ' cannot be represented as varchar({length})')"
    return f"(CASE WHEN length({sql}) > {length} THEN {wrong} ELSE {sql} END)"
