"""Which kind of statement a text is."""

import re

from local_aws.athena.sql.parsing import parse

_COMMENT = re.compile(r"\s+|--[^\n]*(\n|$)|/\*.*?\*/", re.DOTALL)


def strip(sql: str) -> str:
    """Return a text without the comments and blanks before it and the semicolon after it."""
    place = 0
    while match := _COMMENT.match(sql, place):
        place = match.end()
    return sql[place:].rstrip().removesuffix(";").rstrip()


def check(sql: str) -> tuple[str, str]:
    """Return (StatementType, SubstatementType) of a text.

    Raises:
        InvalidSqlError: it does not parse.
    """
    parse(sql)
    return "DML", "SELECT"
