"""Translation of a query of Athena (Trino's SQL) to DuckDB's: names, types and rules are checked as Trino does.

Whatever is not known to give the same answer ends in a `NOT_SUPPORTED` failure: a kind of expression or a function
that this does not name is not passed on.
"""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlglot import exp

from local_aws.athena.sql.errors import QueryError, not_supported
from local_aws.athena.sql.expressions import Expressions
from local_aws.athena.sql.parsing import InvalidSqlError, parse, position
from local_aws.athena.sql.scope import Column, Query, Relation, Scope, Value
from local_aws.athena.sql.types import BIGINT, VARCHAR, Type, common, quoted

CATALOG = "awsdatacatalog"
_CTE_DEPTH = 60


class Schema(Protocol):
    """What a table has."""

    @property
    def columns(self) -> dict[str, Type]:
        """The types of the columns by name; partition columns are the last."""
        ...

    @property
    def partition_keys(self) -> Sequence[str]:
        """The names of the partition columns."""
        ...

    @property
    def view(self) -> str | None:
        """The text of a view, None of a table."""
        ...


@dataclass
class TableUse:
    """One mention of a table in a query.

    Attributes:
        number: among those of the query; DuckDB knows it as t<number>.
        database: of the table.
        name: of the table.
        schema: its columns.
        used: the columns that the query reads.
        filters: conditions that all rows which count fulfil, over partition columns alone, with the alias `alias`;
            and the columns of each.
        alias: of the table in the SQL.
    """

    number: int
    database: str
    name: str
    schema: Schema
    alias: str
    used: set[str] = field(default_factory=set)
    filters: list[tuple[str, frozenset[str]]] = field(default_factory=list)


class Translator(Expressions):
    """Translates one statement."""

    def __init__(
        self, sql: str, database: str, find: Callable[[str, str], Schema | None], parameters: Sequence[str] = ()
    ) -> None:
        """Prepare a translation.

        Args:
            sql: the text.
            database: where tables without a database are.
            find: returns the schema of a table by database and name, None if there is none.
            parameters: the SQL of the values for `?`, in order.
        """
        super().__init__(sql)
        self._database = database
        self._find = find
        self._parameters = list(parameters)
        self.tables: list[TableUse] = []
        self.ordered: list[str] = []  # what the ORDER BY that was translated last is made of
        self._aliases = 0
        self._views: list[str] = []

    def translate(self) -> Query:
        """Translate the text, which is one query."""
        tree = parse(self.text)
        self._bind_parameters(tree)
        return self.query(tree, Scope())

    def _bind_parameters(self, tree: exp.Expr) -> None:
        places = sorted(tree.find_all(exp.Placeholder), key=lambda node: int(node.name))
        if len(places) != len(self._parameters):
            raise QueryError(
                "INVALID_PARAMETER_USAGE",
                f"line 1:1: Incorrect number of parameters: expected {len(places)} but found {len(self._parameters)}",
            )
        for node, given in zip(places, self._parameters, strict=True):
            value = parse(f"SELECT {given}")
            alone = {name for name, part in value.args.items() if part} == {"expressions"}
            if not alone or len(value.expressions) != 1:
                raise QueryError("INVALID_PARAMETER_USAGE", f"line 1:1: A parameter is one expression, not {given}")
            node.replace(value.expressions[0])

    def fail(self, node: exp.Expr, name: str, message: str) -> QueryError:
        """Return a failure at a node."""
        return QueryError(name, f"{position(node, self.text)}: {message}")

    def alias(self) -> str:
        """Return an unused name for a relation."""
        self._aliases += 1
        return f"r{self._aliases}"

    # Queries

    def query(self, node: exp.Expr, scope: Scope) -> Query:
        """Translate a query; `scope` is what is around it."""
        if isinstance(node, exp.Subquery) and not node.alias:
            inner = node.this
            if any(node.args.get(part) for part in ("order", "limit", "offset", "with_")):
                return self._modified(node, lambda around: self.query(inner, around), scope)
            return self.query(inner, scope)
        if isinstance(node, exp.SetOperation):
            return self._modified(node, lambda around: self._set_operation(node, around), scope)
        if isinstance(node, exp.Values):
            return self._values(node, scope)
        if isinstance(node, exp.Select):
            return self._select(node, scope)
        raise not_supported(f"statement {type(node).__name__}")

    def _with(self, node: exp.Expr, scope: Scope) -> tuple[str, Scope]:
        """Translate WITH; return its SQL and the scope for the query."""
        clause = node.args.get("with_")
        inner = Scope(parent=scope)
        if clause is None:
            return "", inner
        parts = []
        for cte in clause.expressions:
            name, columns = cte.alias.lower(), [column.name for column in cte.args["alias"].args.get("columns") or []]
            if name in inner.ctes:
                raise self.fail(cte, "DUPLICATE_NAMED_QUERY", f"WITH query name '{name}' specified more than once")
            internal = f"w{self._aliases}_{len(inner.ctes)}"
            self._aliases += 1
            if clause.args.get("recursive") and any(
                table.name.lower() == name and not table.db for table in cte.this.find_all(exp.Table)
            ):
                if not isinstance(cte.this, exp.Union):
                    raise not_supported("a recursive query that is not a UNION ALL")
                if not columns:
                    raise self.fail(
                        cte, "MISSING_COLUMN_ALIASES", "Column aliases are not provided for recursive query"
                    )
                anchor = self.query(cte.this.this, inner)
                inner.ctes[name] = (internal, Query("", columns, anchor.types))
            body = self.query(cte.this, inner)
            if columns:
                if len(columns) != len(body.names):
                    raise self.fail(
                        cte,
                        "MISMATCHED_COLUMN_ALIASES",
                        f"Column alias list has {len(columns)} entries but relation has {len(body.names)} columns",
                    )
                body = Query(body.sql, columns, body.types)
            inner.ctes[name] = (internal, body)
            parts.append(f"{internal}({', '.join(f'c{place}' for place in range(len(body.names)))}) AS ({body.sql})")
        return f"WITH {'RECURSIVE ' if clause.args.get('recursive') else ''}{', '.join(parts)} ", inner

    def _modified(self, node: exp.Expr, translate: Callable[[Scope], Query], scope: Scope) -> Query:
        """Translate a set operation or a query in parentheses that has ORDER BY, LIMIT or WITH of its own."""
        clause, inner = self._with(node, scope)
        body = translate(inner)
        alias = self.alias()
        columns = body.columns(alias)
        around = Scope([Relation(None, columns)], scope, inner.ctes)
        sql = f"{clause}SELECT * FROM ({body.sql}) AS {alias}" if clause or node.args.get("order") else body.sql
        if node.args.get("order"):
            sql += self._order(node.args["order"], around, [])
        elif node.args.get("limit") or node.args.get("offset"):
            sql = f"SELECT * FROM ({sql}) AS {alias}"
        return Query(sql + self._limit(node), body.names, body.types)

    def _set_operation(self, node: exp.SetOperation, scope: Scope) -> Query:
        left, right = self.query(node.left, scope), self.query(node.right, scope)
        word = {exp.Union: "UNION", exp.Except: "EXCEPT", exp.Intersect: "INTERSECT"}.get(type(node))
        if word is None or node.args.get("by_name") or node.args.get("on") or node.args.get("side"):
            raise not_supported(f"set operation {type(node).__name__}")
        if len(left.types) != len(right.types):
            raise self.fail(
                node,
                "TYPE_MISMATCH",
                f"{word} query has different number of fields: {len(left.types)}, {len(right.types)}",
            )
        types = []
        for place, (a, b) in enumerate(zip(left.types, right.types, strict=True)):
            together = common(a, b)
            if together is None:
                raise self.fail(
                    node, "TYPE_MISMATCH", f"column {place + 1} in {word} query has incompatible types: {a}, {b}"
                )
            types.append(together)
        if not node.args.get("distinct"):
            word += " ALL"
        sides = [self._as(query, types) for query in (left, right)]
        return Query(f"({sides[0]}) {word} ({sides[1]})", left.names, types)

    def _as(self, query: Query, types: list[Type]) -> str:
        """Return the SQL of a query with its columns converted to these types."""
        if query.types == types:
            return query.sql
        alias = self.alias()
        items = [
            f"{self.convert(Value(column.sql, column.type), kind)} AS c{place}"
            for place, (column, kind) in enumerate(zip(query.columns(alias), types, strict=True))
        ]
        return f"SELECT {', '.join(items)} FROM ({query.sql}) AS {alias}"

    def _values(self, node: exp.Values, scope: Scope) -> Query:
        rows = []
        for item in node.expressions:
            parts = item.expressions if isinstance(item, exp.Tuple) else [item]
            rows.append([self.value(part, scope) for part in parts])
        width = len(rows[0])
        if any(len(row) != width for row in rows):
            raise self.fail(node, "TYPE_MISMATCH", "Values rows have mismatched types")
        types: list[Type] = []
        for place in range(width):
            kind: Type | None = rows[0][place].type
            for row in rows[1:]:
                kind = common(kind, row[place].type) if kind else None
            if kind is None:
                raise self.fail(node, "TYPE_MISMATCH", "Values rows have mismatched types")
            types.append(kind)
        lines = ", ".join(f"({', '.join(self.convert(v, t) for v, t in zip(row, types, strict=True))})" for row in rows)
        names = ", ".join(f"c{place}" for place in range(width))
        sql = f"SELECT * FROM (VALUES {lines}) AS {self.alias()}({names})"
        return Query(sql, [f"_col{place}" for place in range(width)], types)

    def _select(self, node: exp.Select, outer: Scope) -> Query:
        allowed = {"with_", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "distinct"}
        allowed |= {"expressions", "windows", "laterals", "kind", "hint", "operation_modifiers"}
        other = [name for name, value in node.args.items() if value and name not in allowed]
        if other:
            raise not_supported(f"clause {other[0].strip('_').upper()}")
        clause, around = self._with(node, outer)
        scope = Scope([], outer, around.ctes)
        source = self._from(node, scope)
        for window in node.args.get("windows") or []:
            scope.windows[window.name.lower()] = window
        conditions = []
        if node.args.get("where"):
            self._check_no_aggregate(node.args["where"], "WHERE clause")
            for part in _conjuncts(node.args["where"].this):
                value = self.condition(part, scope, "WHERE clause")
                conditions.append(value.sql)
                self._prune(value)
        items = self._items(node, scope)
        names, values = [name for name, _ in items], [value for _, value in items]
        group = self._group(node.args.get("group"), scope, values)
        if group or any(
            map(self.aggregate_only, [*node.expressions, *([node.args["having"]] if node.args.get("having") else [])])
        ):
            self._check_grouped(node, scope, values)
        having = ""
        if node.args.get("having"):
            having = f" HAVING {self.condition(node.args['having'].this, scope, 'HAVING clause').sql}"
        order = ""
        if node.args.get("order"):
            order = self._order(node.args["order"], scope, [*zip(names, values, strict=True)])
        distinct = ""
        if node.args.get("distinct") and order and not all(part.isdecimal() for part in self.ordered):
            text = "For SELECT DISTINCT, ORDER BY expressions must appear in select list"
            raise self.fail(node.args["order"], "EXPRESSION_NOT_IN_DISTINCT", text)
        if node.args.get("distinct"):
            if node.args["distinct"].args.get("on"):
                raise not_supported("DISTINCT ON")
            distinct = "DISTINCT "
        columns = ", ".join(f"{value.sql} AS c{place}" for place, value in enumerate(values))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"{clause}SELECT {distinct}{columns}{source}{where}{group}{having}{order}{self._limit(node)}"
        return Query(sql, names, [value.type for value in values])

    def _check_no_aggregate(self, node: exp.Expr, place: str) -> None:
        if found := self.aggregate_in(node):
            raise self.fail(
                found,
                "EXPRESSION_NOT_SCALAR",
                f"{place} cannot contain aggregations, window functions or grouping operations: [{found.sql()}]",
            )

    def _prune(self, value: Value) -> None:
        """Note a condition that only reads the partition columns of one table."""
        numbers = {number for number, _ in value.fields}
        if len(numbers) == 1 and value.pure and (number := numbers.pop()) >= 0:
            table = self.tables[number]
            columns = frozenset(column for _, column in value.fields)
            if columns <= set(table.schema.partition_keys):
                table.filters.append((value.sql, columns))

    def _items(self, node: exp.Select, scope: Scope) -> list[tuple[str, Value]]:
        """Translate the list of SELECT, with * replaced by the columns."""
        items: list[tuple[str, Value]] = []
        for item in node.expressions:
            if isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
                if any(item.args.get(part) for part in ("except_", "replace", "rename", "except")):
                    raise not_supported("* EXCEPT")
                items += self._star(item, scope)
                continue
            name = f"_col{len(items)}"
            if isinstance(item, exp.Alias):
                name, item = item.alias, item.this
            elif isinstance(item, exp.Column | exp.Dot):
                name = item.name
            elif isinstance(item, exp.Aliases):
                raise not_supported("several aliases of one expression")
            items.append((name, self.value(item, scope)))
        return items

    def _star(self, item: exp.Expr, scope: Scope) -> list[tuple[str, Value]]:
        wanted = item.table.lower() if isinstance(item, exp.Column) else None
        if not scope.relations:
            raise self.fail(item, "SYNTAX_ERROR", "SELECT * not allowed in queries without FROM clause")
        relations = [relation for relation in scope.relations if wanted is None or relation.name == wanted]
        if not relations:
            raise self.fail(item, "TABLE_NOT_FOUND", f"Unable to resolve reference {wanted}")
        return [
            (column.name, self.read(column))
            for relation in relations
            for column in relation.columns
            if not column.hidden and not column.shared
        ]

    def _check_grouped(self, node: exp.Select, scope: Scope, values: list[Value]) -> None:
        """Refuse a column that is neither grouped nor in an aggregate."""
        group = node.args.get("group")
        grouped = set()
        for part in group.walk() if group else ():
            if part.parent is group or isinstance(
                part.parent, exp.Tuple | exp.Paren | exp.Rollup | exp.Cube | exp.GroupingSets
            ):
                if isinstance(part, exp.Literal) and not part.is_string:
                    grouped.add(values[int(part.this) - 1].sql)
                elif not isinstance(part, exp.Tuple | exp.Paren | exp.Rollup | exp.Cube | exp.GroupingSets):
                    grouped.add(self.value(part, scope).sql)

        def check(part: exp.Expr) -> None:
            if isinstance(part, exp.Query | exp.Lambda | exp.Interval) or (
                self.is_aggregate(part) and not isinstance(part, exp.Window)
            ):
                return
            if isinstance(part, exp.Star):
                raise self.fail(
                    part, "EXPRESSION_NOT_AGGREGATE", "'*' must be an aggregate expression or appear in GROUP BY clause"
                )
            if isinstance(part, exp.Window):
                call = (
                    part.this.this
                    if isinstance(part.this, exp.IgnoreNulls | exp.RespectNulls | exp.Filter)
                    else part.this
                )
                inner = [
                    *call.args.get("expressions", []),
                    *(part.args.get("partition_by") or []),
                    *([part.args["order"]] if part.args.get("order") else []),
                ]
                for argument in inner:
                    if not isinstance(argument, exp.Star):
                        check(argument)
                return
            if isinstance(part, exp.Condition) and not isinstance(part, exp.Ordered):
                if (
                    isinstance(
                        part, exp.Column | exp.Anonymous | exp.Extract | exp.Binary | exp.Cast | exp.Case | exp.Paren
                    )
                    and grouped
                ) and self.value(part, scope).sql in grouped:
                    return
                if isinstance(part, exp.Column):
                    raise self.fail(
                        part, "EXPRESSION_NOT_AGGREGATE",
                        f"'{part.sql()}' must be an aggregate expression or appear in GROUP BY clause",
                    )  # fmt: skip
            for inner_part in part.iter_expressions():
                check(inner_part)

        for item in node.expressions:
            check(item.this if isinstance(item, exp.Alias) else item)
        if node.args.get("having"):
            check(node.args["having"].this)

    def _group(self, group: exp.Group | None, scope: Scope, values: list[Value]) -> str:
        if group is None:
            return ""

        def one(node: exp.Expr) -> str:
            if isinstance(node, exp.Literal) and not node.is_string:
                place = int(node.this)
                if not 1 <= place <= len(values):
                    raise self.fail(
                        node, "INVALID_COLUMN_REFERENCE", f"GROUP BY position {place} is not in select list"
                    )
                return values[place - 1].sql
            if found := self.aggregate_in(node):
                raise self.fail(
                    found,
                    "EXPRESSION_NOT_SCALAR",
                    "GROUP BY clause cannot contain aggregations, window functions or grouping operations: "
                    f"[{found.sql()}]",
                )
            return self.value(node, scope).sql

        def many(node: exp.Expr) -> str:
            if isinstance(node, exp.Rollup | exp.Cube):
                return f"{type(node).__name__.upper()} ({', '.join(map(many, node.expressions))})"
            if isinstance(node, exp.GroupingSets):
                return f"GROUPING SETS ({', '.join(map(many, node.expressions))})"
            if isinstance(node, exp.Tuple):
                return f"({', '.join(map(one, node.expressions))})"
            if isinstance(node, exp.Paren):
                return f"({one(node.this)})"
            return one(node)

        if any(group.args.get(part) for part in ("all", "totals")):
            raise not_supported("GROUP BY ALL")
        kinds = ("grouping_sets", "rollup", "cube")
        parts = [
            many(node)
            for node in [*group.expressions, *(each for kind in kinds for each in group.args.get(kind) or [])]
        ]
        return f" GROUP BY {', '.join(parts)}"

    def _order(self, order: exp.Order, scope: Scope, items: list[tuple[str, Value]]) -> str:
        """Translate ORDER BY: a name is first that of an item, then that of a column."""
        outputs: dict[str, list[Value]] = {}
        for name, value in items:
            outputs.setdefault(name.lower(), []).append(value)
        named = [
            Column(name, found[0].type, found[0].sql)
            for name, found in outputs.items()
            if len({v.sql for v in found}) == 1
        ]
        inner = Scope([Relation(None, named)], scope, windows=scope.windows) if named else scope
        width = len(items) or len(scope.relations[0].columns)
        self.ordered = []
        parts = []
        for item in order.expressions:
            node = item.this
            if isinstance(node, exp.Literal) and not node.is_string:
                if not 1 <= int(node.this) <= width:
                    raise self.fail(
                        node, "INVALID_COLUMN_REFERENCE", f"ORDER BY position {node.this} is not in select list"
                    )
                sql = node.this
            else:
                if (
                    isinstance(node, exp.Column)
                    and not node.table
                    and len({v.sql for v in outputs.get(node.name.lower(), ())}) > 1
                ):
                    raise self.fail(node, "AMBIGUOUS_NAME", f"Column '{node.name}' is ambiguous")
                value = self.value(node, inner)
                if value.type.base in ("map", "json"):
                    raise self.fail(node, "TYPE_MISMATCH", f"Type {value.type} is not orderable")
                sql = next((str(place) for place, (_, v) in enumerate(items, 1) if v.sql == value.sql), value.sql)
                if value.literal is not None:
                    continue  # a constant orders nothing, and DuckDB would take it for a position
            direction = "DESC" if item.args.get("desc") else "ASC"
            parts.append(f"{sql} {direction} NULLS {'FIRST' if item.args.get('nulls_first') else 'LAST'}")
            self.ordered.append(sql)
        return f" ORDER BY {', '.join(parts)}" if parts else ""

    def _limit(self, node: exp.Expr) -> str:
        sql = ""
        limit, offset = node.args.get("limit"), node.args.get("offset")
        if isinstance(limit, exp.Fetch):
            options = limit.args.get("limit_options")
            if options is not None and options.args.get("with_ties"):
                raise not_supported("FETCH FIRST … WITH TIES")
            count = limit.args.get("count")
            sql += f" LIMIT {self._count(count) if count else 1}"
        elif limit is not None and not (
            isinstance(limit.expression, exp.Var) and limit.expression.name.upper() == "ALL"
        ):
            sql += f" LIMIT {self._count(limit.expression)}"
        if offset is not None:
            sql += f" OFFSET {self._count(offset.expression)}"
        return sql

    def _count(self, node: exp.Expr) -> int:
        if not isinstance(node, exp.Literal) or node.is_string or not node.this.isdecimal():
            raise self.fail(node, "SYNTAX_ERROR", "LIMIT and OFFSET take a whole number")
        return int(node.this)

    # FROM

    def _from(self, node: exp.Select, scope: Scope) -> str:
        source = node.args.get("from_")
        if source is None:
            return ""
        sql = f" FROM {self._relation(source.this, scope, scope.relations)}"
        for join in [*(source.this.args.get("joins") or []), *(node.args.get("joins") or [])]:
            sql += self._join(join, scope)
        if node.args.get("laterals"):
            raise not_supported("LATERAL VIEW")
        return sql

    def _join(self, join: exp.Join, scope: Scope) -> str:
        method, side, kind = (join.args.get(part) or "" for part in ("method", "side", "kind"))
        if method:
            raise self.fail(join, "NOT_SUPPORTED", "Natural join not supported")
        words = {"": "JOIN", "LEFT": "LEFT JOIN", "RIGHT": "RIGHT JOIN", "FULL": "FULL JOIN"}
        if side.upper() not in words or kind.upper() not in ("", "INNER", "OUTER", "CROSS"):
            raise not_supported(f"{side} {kind} JOIN".strip())
        condition, using = join.args.get("on"), join.args.get("using")
        before = list(scope.relations)
        added: list[Relation] = []
        relation = self._relation(join.this, scope, added)
        scope.relations += added
        if kind.upper() == "CROSS" or not (condition or using or side):
            if condition or using:
                raise self.fail(join, "SYNTAX_ERROR", "A cross join has no condition")
            return f" CROSS JOIN {relation}"
        if using:
            scope.relations[:] = before + added
            return f" {words[side.upper()]} {relation} ON {self._using(using, side.upper(), before, added[0], scope)}"
        if condition is None:
            raise self.fail(join, "SYNTAX_ERROR", "A join needs a condition")
        self._check_no_aggregate(condition, "JOIN clause")
        parts = [self.condition(part, scope, "JOIN ON clause") for part in _conjuncts(condition)]
        if not side:
            for part in parts:
                self._prune(part)
        return f" {words[side.upper()]} {relation} ON {' AND '.join(part.sql for part in parts)}"

    def _using(
        self, using: Sequence[exp.Expr], side: str, before: list[Relation], added: Relation, scope: Scope
    ) -> str:
        merged, conditions = [], []
        for name in using:
            word = name.name.lower()
            lefts = [
                column
                for relation in before
                for column in relation.columns
                if column.name == word and not column.shared
            ]
            rights = [column for column in added.columns if column.name == word]
            if len(lefts) != 1 or len(rights) != 1:
                missing = "left" if len(lefts) != 1 else "right"
                raise self.fail(name, "COLUMN_NOT_FOUND", f"Column '{word}' is missing from {missing} side of join")
            left, right = self.read(lefts[0]), self.read(rights[0])
            equal = self.compare(name, "=", left, right)
            conditions.append(equal.sql)
            kind = common(left.type, right.type)
            assert kind is not None
            a, b = self.convert(left, kind), self.convert(right, kind)
            sql = {"FULL": f"coalesce({a}, {b})", "RIGHT": b}.get(side, a)
            merged.append(Column(word, kind, sql))
            for relation in (*before, added):
                relation.columns = [
                    Column(c.name, c.type, c.sql, c.table, c.hidden, shared=True) if c in (lefts[0], rights[0]) else c
                    for c in relation.columns
                ]
        names = {column.name for column in merged}
        for relation in before:
            if relation.name is None:
                relation.columns = [column for column in relation.columns if column.name not in names]
        scope.relations.insert(0, Relation(None, merged))
        return " AND ".join(conditions)

    def _relation(self, node: exp.Expr, scope: Scope, relations: list[Relation]) -> str:
        """Translate one relation of FROM; add it to `relations` and return its SQL."""
        if node.args.get("sample") or node.args.get("pivots"):
            raise not_supported("TABLESAMPLE" if node.args.get("sample") else "PIVOT")
        if isinstance(node, exp.Table):
            return self._table(node, scope, relations)
        if isinstance(node, exp.Unnest):
            return self._unnest(node, scope, relations)
        if isinstance(node, exp.Lateral) and isinstance(node.this, exp.Subquery):
            query = self.query(node.this, scope)
            return f"LATERAL ({query.sql}) AS {self._name(node, query, relations)}"
        if isinstance(node, exp.Values):
            query = self._values(node, scope)
            return f"({query.sql}) AS {self._name(node, query, relations)}"
        if isinstance(node, exp.Subquery):
            if isinstance(node.this, exp.Table) or (node.this.args.get("joins") and isinstance(node.this, exp.Table)):
                inner = Scope([], scope.parent, scope.ctes)
                sql = self._relation(node.this, inner, inner.relations)
                for join in node.this.args.get("joins") or []:
                    sql += self._join(join, inner)
                relations += inner.relations
                return f"({sql})"
            outside = Scope([], scope.parent, scope.ctes)  # a subquery does not see what is beside it
            query = self.query(node.this, outside)
            return f"({query.sql}) AS {self._name(node, query, relations)}"
        raise not_supported(f"{type(node).__name__} in FROM")

    def _name(self, node: exp.Expr, query: Query, relations: list[Relation]) -> str:
        """Add the relation of a query with the alias of its node; return its name in the SQL."""
        alias = self.alias()
        given = node.args.get("alias")
        names = [column.name for column in (given.args.get("columns") or [])] if given else []
        if names and len(names) != len(query.names):
            raise self.fail(
                node,
                "MISMATCHED_COLUMN_ALIASES",
                f"Column alias list has {len(names)} entries but '{node.alias}' has {len(query.names)} columns "
                "available",
            )
        relations.append(Relation(node.alias.lower() or None, query.columns(alias, names or None)))
        return alias

    def _table(self, node: exp.Table, scope: Scope, relations: list[Relation]) -> str:
        if isinstance(node.this, exp.Func):
            raise not_supported(f"table function {node.this.name}")
        name, database, catalog = node.name.lower(), node.db.lower(), node.catalog.lower()
        if not database and (found := scope.cte(name)):
            internal, query = found
            alias = self._name(node, query, relations)
            relations[-1].name = relations[-1].name or name
            return f"{internal} AS {alias}"
        if catalog not in ("", CATALOG):
            raise self.fail(node, "CATALOG_NOT_FOUND", f"Catalog '{catalog}' does not exist")
        database = database or self._database
        if database == "information_schema":
            raise not_supported("information_schema")
        schema = self._find(database, name)
        if schema is None:
            raise self.fail(node, "TABLE_NOT_FOUND", f"Table '{CATALOG}.{database}.{name}' does not exist")
        if schema.view is not None:
            query = self._view(schema.view, f"{database}.{name}")
            alias = self._name(node, query, relations)
            relations[-1].name, relations[-1].schema = relations[-1].name or name, database
            return f"({query.sql}) AS {alias}"
        alias = self.alias()
        use = TableUse(len(self.tables), database, name, schema, alias)
        self.tables.append(use)
        columns = [
            Column(column, kind, f"{alias}.{quoted(column)}", use.number) for column, kind in schema.columns.items()
        ]
        given = node.args.get("alias")
        if given and given.args.get("columns"):
            names = [column.name.lower() for column in given.args["columns"]]
            if len(names) != len(columns):
                raise self.fail(
                    node,
                    "MISMATCHED_COLUMN_ALIASES",
                    f"Column alias list has {len(names)} entries but '{node.alias}' has {len(columns)} columns "
                    "available",
                )
            raise not_supported("column aliases of a table")
        for hidden, kind in (("$path", VARCHAR), ("$file_size", BIGINT)):
            columns.append(Column(hidden, kind, f"{alias}.{quoted(hidden)}", use.number, hidden=True))
        relations.append(Relation(node.alias.lower() or name, columns, None if node.alias else database))
        return f"t{use.number} AS {alias}"

    def _view(self, text: str, name: str) -> Query:
        """Translate the query of a view."""
        prefix, suffix = "/* Presto View: ", " */"
        if not text.startswith(prefix):
            raise not_supported(f"view {name}, which was not made by Athena")
        document = json.loads(base64.b64decode(text.removeprefix(prefix).removesuffix(suffix)))
        if len(self._views) > 20 or name in self._views:
            raise QueryError("VIEW_IS_RECURSIVE", f"line 1:1: Statement would create a recursive view: {name}")
        outer = (self.text, self._database)
        self._views.append(name)
        self.text, self._database = document["originalSql"], (document.get("schema") or self._database)
        try:
            query = self.query(parse(self.text), Scope())
        except (QueryError, InvalidSqlError) as error:
            if isinstance(error, QueryError) and error.name == "NOT_SUPPORTED":
                raise
            raise QueryError(
                "INVALID_VIEW", f"line 1:1: Failed analyzing stored view '{CATALOG}.{name}': {error}"
            ) from None
        finally:
            self._views.pop()
            self.text, self._database = outer
        return query

    def _unnest(self, node: exp.Unnest, scope: Scope, relations: list[Relation]) -> str:
        items: list[tuple[str, Type]] = []
        lengths = []
        around = Scope(scope.relations, scope.parent, scope.ctes)
        for part in node.expressions:
            value = self.value(part, around)
            lengths.append(f"coalesce(len({value.sql if value.type.base == 'array' else f'map_keys({value.sql})'}), 0)")
            if value.type.base == "map":
                items.append((f"unnest(map_keys({value.sql}))", value.type.args[0]))
                items.append((f"unnest(map_values({value.sql}))", value.type.args[1]))
            elif value.type.base == "array" and value.type.args[0].base == "row":
                row = value.type.args[0]
                for field_name, kind in zip(row.fields(), row.args, strict=True):
                    each = (
                        f"list_transform({value.sql}, lambda _r: struct_extract(_r, {self.text_literal(field_name)}))"
                    )
                    items.append((f"unnest({each})", kind))
            elif value.type.base == "array":
                items.append((f"unnest({value.sql})", value.type.args[0]))
            else:
                raise self.fail(part, "TYPE_MISMATCH", f"Cannot unnest type: {value.type}")
        given = node.args.get("alias")
        names = [column.name for column in (given.args.get("columns") or [])] if given else []
        offset = node.args.get("offset")
        if offset:
            longest = lengths[0] if len(lengths) == 1 else f"greatest({', '.join(lengths)})"
            items.append((f"unnest(range(1, {longest} + 1))", BIGINT))
            if isinstance(offset, exp.Identifier):
                names.append(offset.name)
        if names and len(names) != len(items):
            raise self.fail(
                node,
                "MISMATCHED_COLUMN_ALIASES",
                f"Column alias list has {len(names)} entries but '{node.alias}' has {len(items)} columns available",
            )
        names = names or [f"_unnest{place}" for place in range(len(items))]
        alias = self.alias()
        select = ", ".join(f"{sql} AS c{place}" for place, (sql, _) in enumerate(items))
        query = Query("", names, [kind for _, kind in items])
        relations.append(Relation(node.alias.lower() or None, query.columns(alias)))
        return f"LATERAL (SELECT {select}) AS {alias}"

    def read(self, column: Column) -> Value:
        """Return the value of a column, and note that it is read."""
        if column.table is not None:
            self.tables[column.table].used.add(column.name)
            return Value(column.sql, column.type, fields=frozenset({(column.table, column.name)}))
        return Value(column.sql, column.type, fields=frozenset({(-1, column.name)}))


def _conjuncts(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.And):
        return [*_conjuncts(node.this), *_conjuncts(node.expression)]
    if isinstance(node, exp.Paren):
        return _conjuncts(node.this)
    return [node]
