"""Parsing of Trino's SQL: sqlglot makes the tree, but leaves every function as name and arguments, as in the text."""

import re
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.trino import Trino
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

_PARSER = Trino.Parser
_SYNTAX = ("CAST", "TRY_CAST", "EXTRACT", "TRIM", "POSITION", "SUBSTRING", "LISTAGG")  # calls with keywords inside


class InvalidSqlError(Exception):
    """A text that does not parse; the message is Trino's, with line and column."""


class Dialect(Trino):
    """Trino without sqlglot's knowledge of functions, which is that of all databases together."""

    INDEX_OFFSET = 0  # subscripts stay as they are in the text

    class Parser(_PARSER):  # type: ignore[misc, valid-type]
        """The parser."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar = {name: _PARSER.FUNCTION_PARSERS[name] for name in _SYNTAX}
        NO_PAREN_FUNCTION_PARSERS: ClassVar = {"CASE": _PARSER.NO_PAREN_FUNCTION_PARSERS["CASE"]}
        ARRAY_CONSTRUCTORS: ClassVar = {"ARRAY": exp.Array}
        PLACEHOLDER_PARSERS: ClassVar = {
            **_PARSER.PLACEHOLDER_PARSERS,
            # Its place in the text, by which parameters are counted.
            TokenType.PLACEHOLDER: lambda self: self.expression(exp.Placeholder(this=str(self._prev.start))),
        }


def parse(sql: str) -> exp.Expr:
    """Return the tree of one query.

    Raises:
        InvalidSqlError: it is not one statement of Trino's SQL.
    """
    try:
        trees = [tree for tree in Dialect.get_or_raise(Dialect).parse(sql) if tree is not None]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        line, end, near = first.get("line") or 1, first.get("col") or 1, first.get("highlight") or ""
        raise InvalidSqlError(
            f"line {line}:{max(end - len(near) + 1, 1)}: mismatched input '{near or '<EOF>'}'"
        ) from None
    except TokenError as error:
        raise InvalidSqlError(f"line 1:1: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise InvalidSqlError("line 1:1: statement is too large (stack overflow during analysis)") from None
    _check_tokens(sql)
    if len(trees) != 1:
        raise InvalidSqlError(
            "line 1:1: mismatched input '<EOF>'" if not trees else "Only one sql statement is allowed. Got: " + sql
        )
    tree = trees[0]
    if not isinstance(tree, exp.Query | exp.Values | exp.Subquery):
        word = (re.match(r"\s*\(*\s*(\S+)", sql) or [sql, sql])[1]
        raise InvalidSqlError(f"line 1:1: mismatched input '{word}'. Expecting: <statement>")
    return tree


# What sqlglot takes and Trino does not: the token itself, or the token after it.
_FOREIGN = {
    "::",
    "==",
    "->>",
    "#>",
    "?|",
    "ILIKE",
    "RLIKE",
    "QUALIFY",
    "PIVOT",
    "UNPIVOT",
    "REGEXP",
    "GLOB",
    "SEMI",
    "ANTI",
    "ASOF",
}
_COMMA_BEFORE = {"FROM", "WHERE", ")", "]", "GROUP", "ORDER", "UNION", "LIMIT"}


def _check_tokens(sql: str) -> None:
    """Refuse what only other databases have."""
    found = Dialect.get_or_raise(Dialect).tokenize(sql)
    limited: set[int] = set()  # the depths of parentheses at which LIMIT was met
    depth = 0
    for place, token in enumerate(found):
        following = found[place + 1] if place + 1 < len(found) else None
        word = token.text.upper() if token.token_type not in (TokenType.STRING, TokenType.IDENTIFIER) else ""
        wrong = token if word in _FOREIGN else None
        depth += (word == "(") - (word == ")")
        if word == ")":
            limited.discard(depth + 1)
        elif word == "," and following is not None and following.text.upper() in _COMMA_BEFORE:
            wrong = following
        elif word == "LIMIT" and (following is None or following.text.upper() not in ("ALL", "?")):
            limited.add(depth)
            if following is None or following.token_type != TokenType.NUMBER:
                wrong = following or token
        elif word == "OFFSET" and depth in limited:
            wrong = token
        if wrong is not None:
            before = sql[: wrong.start]
            line = f"line {before.count(chr(10)) + 1}:{wrong.start - (before.rfind(chr(10)) + 1) + 1}"
            raise InvalidSqlError(f"{line}: mismatched input '{wrong.text}'")


def position(node: exp.Expr, sql: str) -> str:
    """Return "line L:C" of a node, as Trino puts it in front of a message; "line 1:1" if it is not known."""
    start = None
    for inner in node.walk(bfs=True):
        found = inner.meta.get("start")
        if found is not None and (start is None or found < start):
            start = found
    start = start or 0
    before = sql[:start]
    return f"line {before.count(chr(10)) + 1}:{start - (before.rfind(chr(10)) + 1) + 1}"
