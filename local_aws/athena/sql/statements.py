"""Which statement a text is: queries are Trino's, what changes or shows the catalogue is Hive's."""

import re
from dataclasses import dataclass, field
from typing import Any

from local_aws.athena.sql.parsing import InvalidSqlError, parse

_BLANK = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)+", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<string>'(?:[^'\\]|''|\\.)*')|(?P<name>`(?:[^`]|``)*`|"(?:[^"]|"")*")|(?P<word>[A-Za-z_0-9$]+)|(?P<sign><>|!=|<=|>=|.)""",
    re.DOTALL,
)
_QUERIES = {"SELECT", "WITH", "VALUES", "TABLE", "("}
_REFUSED = {
    "MERGE",
    "UPDATE",
    "DELETE",
    "OPTIMIZE",
    "VACUUM",
    "TRUNCATE",
    "ANALYZE",
    "GRANT",
    "REVOKE",
    "USE",
    "SET",
    "CALL",
}


@dataclass
class Statement:
    """A statement.

    Attributes:
        action: what to do, e.g. "create_table".
        type: DML, DDL or UTILITY.
        subtype: e.g. CREATE_TABLE.
        args: what the action needs.
    """

    action: str
    type: str
    subtype: str
    args: dict[str, Any] = field(default_factory=dict)


class Scanner:
    """Reads the words of a text one after another."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self._skip()

    def _skip(self) -> None:
        if match := _BLANK.match(self.text, self.place):
            self.place = match.end()

    @property
    def done(self) -> bool:
        """Whether nothing is left but a semicolon."""
        return self.text[self.place :].strip() in ("", ";")

    def peek(self) -> str:
        """Return the next token as it is written; "" at the end."""
        match = _TOKEN.match(self.text, self.place)
        return match[0] if match else ""

    def next(self) -> str:
        """Return the next token and go on."""
        token = self.peek()
        if not token:
            raise self.wrong()
        self.place += len(token)
        self._skip()
        return token

    def wrong(self) -> InvalidSqlError:
        """Return the error about the next token."""
        before = self.text[: self.place]
        at = f"line {before.count(chr(10)) + 1}:{self.place - (before.rfind(chr(10)) + 1) + 1}"
        return InvalidSqlError(f"{at}: mismatched input '{self.peek() or '<EOF>'}'")

    def accept(self, *words: str) -> bool:
        """Go past these words if they come next."""
        start = self.place
        for word in words:
            if self.peek().upper() != word:
                self.place = start
                return False
            self.next()
        return True

    def expect(self, *words: str) -> None:
        """Go past these words, which must come next."""
        for word in words:
            if not self.accept(word):
                raise self.wrong()

    def name(self) -> str:
        """Return a name in lower case, without its quotes."""
        token = self.peek()
        if token[:1] in '`"':
            self.next()
            return token[1:-1].replace(token[0] * 2, token[0]).lower()
        if not re.fullmatch(r"[A-Za-z_0-9$]+", token):
            raise self.wrong()
        return self.next().lower()

    def names(self) -> list[str]:
        """Return a name with dots, as its parts without the catalogue."""
        parts = [self.name()]
        while self.accept("."):
            parts.append(self.name())
        if len(parts) == 1 and "." in parts[0]:
            parts = parts[0].split(".")  # `db.table`
        if len(parts) == 3 and parts[0] == "awsdatacatalog":
            parts = parts[1:]
        if len(parts) > 2:
            raise InvalidSqlError(f"line 1:1: Catalog '{parts[0]}' does not exist")
        return parts

    def string(self) -> str:
        """Return the value of a string."""
        token = self.peek()
        if not token.startswith("'"):
            raise self.wrong()
        self.next()
        inner = token[1:-1].replace("''", "'")
        return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[0] if m[1].isdigit() else m[1]), inner)

    def rest(self) -> str:
        """Return what is left, with blanks in place of what was before it: places in it stay the same."""
        left = self.text[self.place :].rstrip().removesuffix(";")
        if not left.strip():
            raise self.wrong()
        return re.sub(r"[^\n]", " ", self.text[: self.place]) + left

    def end(self) -> None:
        """Fail if something is left."""
        if not self.done:
            raise self.wrong()

    def properties(self) -> dict[str, Any]:
        """Return ('name' = 'value', …)."""
        found: dict[str, Any] = {}
        self.expect("(")
        while True:
            key = self.string() if self.peek().startswith("'") else self.name()
            self.expect("=")
            found[key] = self._property()
            if not self.accept(","):
                break
        self.expect(")")
        return found

    def _property(self) -> Any:
        if self.accept("ARRAY", "["):
            items = []
            while not self.accept("]"):
                items.append(self.string())
                self.accept(",")
            return items
        return self.string() if self.peek().startswith("'") else self.next()

    def columns(self) -> list[dict[str, str]]:
        """Return (name type [COMMENT 'text'], …) as columns of Glue."""
        found = []
        self.expect("(")
        while True:
            name, kind, depth = self.name(), "", 0
            while self.peek() and not (depth == 0 and (self.peek() in (",", ")") or self.peek().upper() == "COMMENT")):
                token = self.next()
                depth += {"(": 1, "<": 1, ")": -1, ">": -1}.get(token, 0)
                kind += token.strip("`").lower() if token not in ("<>",) else token
            if not kind:
                raise self.wrong()
            column = {"Name": name, "Type": kind}
            if self.accept("COMMENT"):
                column["Comment"] = self.string()
            found.append(column)
            if not self.accept(","):
                break
        self.expect(")")
        return found

    def partition(self) -> dict[str, str]:
        """Return (key = 'value', …) of PARTITION."""
        found = {}
        self.expect("(")
        while True:
            key = self.name()
            if not self.accept("="):
                raise self.wrong()
            sign = "-" if self.accept("-") else ""
            found[key] = self.string() if self.peek().startswith("'") else sign + self.next()
            if not self.accept(","):
                break
        self.expect(")")
        return found


def parse_statement(sql: str) -> Statement:
    """Parse a text.

    Raises:
        InvalidSqlError: it is no statement of Athena.
    """
    scanner = Scanner(sql)
    first = scanner.peek().upper()
    if first in _QUERIES:
        query = sql.rstrip().removesuffix(";")
        parse(query)
        return Statement("select", "DML", "SELECT", {"query": query})
    if first in _REFUSED:
        return Statement("refused", "DML", first, {"what": f"statement {first}"})
    parser = _PARSERS.get(first)
    if parser is None:
        raise InvalidSqlError(
            f"{str(scanner.wrong()).split(' mismatched')[0]} mismatched input '{scanner.peek() or '<EOF>'}'. "
            "Expecting: <statement>"
        )
    scanner.next()
    return parser(scanner)


def check(sql: str) -> tuple[str, str]:
    """Return (StatementType, SubstatementType) of a text.

    Raises:
        InvalidSqlError: it does not parse.
    """
    statement = parse_statement(sql)
    return statement.type, statement.subtype


def _query(scanner: Scanner) -> str:
    if scanner.peek().upper() not in _QUERIES:
        raise scanner.wrong()
    query = scanner.rest()
    parse(query)
    return query


def _create(scanner: Scanner) -> Statement:
    if scanner.accept("DATABASE") or scanner.accept("SCHEMA"):
        args: dict[str, Any] = {
            "exists": scanner.accept("IF", "NOT", "EXISTS"),
            "name": scanner.name(),
            "comment": None,
            "location": None,
        }
        while not scanner.done:
            if scanner.accept("COMMENT"):
                args["comment"] = scanner.string()
            elif scanner.accept("LOCATION"):
                args["location"] = scanner.string()
            else:
                scanner.expect("WITH", "DBPROPERTIES")
                args["properties"] = scanner.properties()
        return Statement("create_database", "DDL", "CREATE_DATABASE", args)
    replace = scanner.accept("OR", "REPLACE")
    if scanner.accept("VIEW"):
        name = scanner.names()
        scanner.expect("AS")
        return Statement(
            "create_view", "DDL", "CREATE_VIEW", {"name": name, "replace": replace, "query": _query(scanner)}
        )
    if replace:
        raise scanner.wrong()
    if scanner.accept("EXTERNAL", "TABLE"):
        return _create_table(scanner)
    scanner.expect("TABLE")
    exists = scanner.accept("IF", "NOT", "EXISTS")
    name = scanner.names()
    if scanner.peek() == "(":
        return Statement("refused", "DDL", "CREATE_TABLE", {"what": "CREATE TABLE without EXTERNAL (an Iceberg table)"})
    properties = {}
    if scanner.accept("COMMENT"):
        scanner.string()
    if scanner.accept("WITH"):
        properties = scanner.properties()
    scanner.expect("AS")
    if scanner.peek().upper() not in _QUERIES:
        raise scanner.wrong()
    query = scanner.rest()
    match = re.search(r"\s+WITH\s+(NO\s+)?DATA\s*$", query, re.IGNORECASE)
    empty = bool(match and match[1])
    query = query[: match.start()] if match else query
    parse(query)
    args = {
        "name": name,
        "exists": exists,
        "properties": {k.lower(): v for k, v in properties.items()},
        "query": query,
        "empty": empty,
    }
    return Statement("create_table_as", "DDL", "CREATE_TABLE_AS_SELECT", args)


def _create_table(scanner: Scanner) -> Statement:
    args: dict[str, Any] = {"exists": scanner.accept("IF", "NOT", "EXISTS"), "name": scanner.names()}
    args["columns"] = scanner.columns()
    serde: dict[str, Any] = {}
    while not scanner.done:
        if scanner.accept("COMMENT"):
            args["comment"] = scanner.string()
        elif scanner.accept("PARTITIONED", "BY"):
            args["keys"] = scanner.columns()
        elif scanner.accept("ROW", "FORMAT", "SERDE"):
            serde["library"] = scanner.string()
        elif scanner.accept("WITH", "SERDEPROPERTIES"):
            serde["parameters"] = scanner.properties()
        elif scanner.accept("ROW", "FORMAT", "DELIMITED"):
            serde["delimited"] = _delimited(scanner)
        elif scanner.accept("STORED", "AS", "INPUTFORMAT"):
            serde["input"] = scanner.string()
            scanner.expect("OUTPUTFORMAT")
            serde["output"] = scanner.string()
        elif scanner.accept("STORED", "AS"):
            serde["format"] = scanner.name()
        elif scanner.accept("LOCATION"):
            args["location"] = scanner.string()
        elif scanner.accept("TBLPROPERTIES"):
            args["properties"] = scanner.properties()
        else:
            raise scanner.wrong()
    if "location" not in args:
        raise InvalidSqlError("line 1:1: mismatched input '<EOF>'. Expecting: LOCATION")
    return Statement("create_table", "DDL", "CREATE_TABLE", {**args, "serde": serde})


def _delimited(scanner: Scanner) -> dict[str, str]:
    found: dict[str, str] = {}
    while True:
        if scanner.accept("FIELDS", "TERMINATED", "BY"):
            found["field.delim"] = scanner.string()
        elif scanner.accept("ESCAPED", "BY"):
            found["escape.delim"] = scanner.string()
        elif scanner.accept("LINES", "TERMINATED", "BY"):
            found["line.delim"] = scanner.string()
        elif scanner.accept("COLLECTION", "ITEMS", "TERMINATED", "BY"):
            found["collection.delim"] = scanner.string()
        elif scanner.accept("MAP", "KEYS", "TERMINATED", "BY"):
            found["mapkey.delim"] = scanner.string()
        elif scanner.accept("NULL", "DEFINED", "AS"):
            found["serialization.null.format"] = scanner.string()
        else:
            return found


def _drop(scanner: Scanner) -> Statement:
    if scanner.accept("DATABASE") or scanner.accept("SCHEMA"):
        args: dict[str, Any] = {"exists": scanner.accept("IF", "EXISTS"), "name": scanner.name()}
        args["cascade"] = scanner.accept("CASCADE")
        scanner.accept("RESTRICT")
        scanner.end()
        return Statement("drop_database", "DDL", "DROP_DATABASE", args)
    kind = "VIEW" if scanner.accept("VIEW") else "TABLE"
    if kind == "TABLE":
        scanner.expect("TABLE")
    args = {"exists": scanner.accept("IF", "EXISTS"), "name": scanner.names(), "view": kind == "VIEW"}
    scanner.end()
    return Statement("drop_table", "DDL", f"DROP_{kind}", args)


def _alter(scanner: Scanner) -> Statement:
    if scanner.accept("DATABASE") or scanner.accept("SCHEMA") or scanner.accept("VIEW"):
        return Statement("refused", "DDL", "ALTER", {"what": "ALTER of something else than a table"})
    scanner.expect("TABLE")
    args: dict[str, Any] = {"name": scanner.names()}

    def made(action: str) -> Statement:
        scanner.end()
        return Statement(action, "DDL", "ALTER_TABLE", args)

    if scanner.accept("ADD", "COLUMNS"):
        args["columns"] = scanner.columns()
        return made("add_columns")
    if scanner.accept("REPLACE", "COLUMNS"):
        args["columns"] = scanner.columns()
        args["replace"] = True
        return made("add_columns")
    if scanner.accept("ADD"):
        args["exists"] = scanner.accept("IF", "NOT", "EXISTS")
        args["partitions"] = []
        while scanner.accept("PARTITION"):
            values = scanner.partition()
            args["partitions"].append((values, scanner.string() if scanner.accept("LOCATION") else None))
        if not args["partitions"]:
            raise scanner.wrong()
        return made("add_partitions")
    if scanner.accept("DROP"):
        args["exists"] = scanner.accept("IF", "EXISTS")
        args["partitions"] = []
        while scanner.accept("PARTITION"):
            args["partitions"].append(scanner.partition())
            scanner.accept(",")
        if not args["partitions"]:
            raise scanner.wrong()
        return made("drop_partitions")
    if scanner.accept("SET", "TBLPROPERTIES"):
        args["properties"] = scanner.properties()
        return made("set_properties")
    args["partition"] = scanner.partition() if scanner.accept("PARTITION") else None
    if scanner.accept("SET", "LOCATION"):
        args["location"] = scanner.string()
        return made("set_location")
    return Statement("refused", "DDL", "ALTER_TABLE", {"what": f"ALTER TABLE … {scanner.peek().upper()}"})


def _msck(scanner: Scanner) -> Statement:
    scanner.expect("REPAIR", "TABLE")
    name = scanner.names()
    scanner.end()
    return Statement("repair", "DDL", "MSCK_REPAIR", {"name": name})


def _insert(scanner: Scanner) -> Statement:
    scanner.expect("INTO")
    name, columns = scanner.names(), None
    start = scanner.place
    if scanner.accept("("):
        if scanner.peek().upper() in _QUERIES - {"TABLE"}:
            scanner.place = start
        else:
            columns = [scanner.name()]
            while scanner.accept(","):
                columns.append(scanner.name())
            scanner.expect(")")
    return Statement("insert", "DML", "INSERT", {"name": name, "columns": columns, "query": _query(scanner)})


def _unload(scanner: Scanner) -> Statement:
    rest = scanner.rest()
    match = re.search(r"\)\s*TO\s*('(?:[^']|'')*')\s*(WITH\s*\(.*\))?\s*$", rest, re.IGNORECASE | re.DOTALL)
    if scanner.peek() != "(" or not match:
        raise scanner.wrong()
    query = rest[: match.start()].replace("(", " ", 1)
    parse(query)
    properties: dict[str, Any] = {}
    if match[2]:
        inner = Scanner(match[2])
        inner.expect("WITH")
        properties = {key.lower(): value for key, value in inner.properties().items()}
    return Statement(
        "unload", "DML", "UNLOAD", {"query": query, "location": Scanner(match[1]).string(), "properties": properties}
    )


def _show(scanner: Scanner) -> Statement:
    def made(action: str, subtype: str, **args: Any) -> Statement:
        scanner.end()
        return Statement(action, "UTILITY", subtype, args)

    def pattern() -> str | None:
        scanner.accept("LIKE")
        return scanner.string() if scanner.peek().startswith("'") else None

    if scanner.accept("DATABASES") or scanner.accept("SCHEMAS"):
        return made("show_databases", "SHOW_DATABASES", pattern=pattern())
    for words, subtype in (("TABLES", "SHOW_TABLES"), ("VIEWS", "SHOW_VIEWS")):
        if scanner.accept(words):
            database = scanner.name() if scanner.accept("IN") or scanner.accept("FROM") else None
            return made("show_tables", subtype, database=database, pattern=pattern(), views=words == "VIEWS")
    if scanner.accept("PARTITIONS"):
        return made("show_partitions", "SHOW_PARTITIONS", name=scanner.names())
    if scanner.accept("COLUMNS"):
        if not (scanner.accept("IN") or scanner.accept("FROM")):
            raise scanner.wrong()
        name = scanner.names()
        if scanner.accept("IN") or scanner.accept("FROM"):
            name = [scanner.name(), name[-1]]
        return made("show_columns", "SHOW_COLUMNS", name=name)
    if scanner.accept("CREATE", "TABLE"):
        return made("show_create", "SHOW_CREATE_TABLE", name=scanner.names(), view=False)
    if scanner.accept("CREATE", "VIEW"):
        return made("show_create", "SHOW_CREATE_VIEW", name=scanner.names(), view=True)
    scanner.expect("TBLPROPERTIES")
    name, key = scanner.names(), None
    if scanner.accept("("):
        key = scanner.string()
        scanner.expect(")")
    return made("show_properties", "SHOW_TBLPROPERTIES", name=name, key=key)


def _describe(scanner: Scanner) -> Statement:
    extended = scanner.accept("EXTENDED") or scanner.accept("FORMATTED")
    scanner.accept("TABLE")
    name = scanner.names()
    if extended or not scanner.done:
        return Statement(
            "refused", "UTILITY", "DESCRIBE_TABLE", {"what": "DESCRIBE with EXTENDED, FORMATTED or a partition"}
        )
    return Statement("describe", "UTILITY", "DESCRIBE_TABLE", {"name": name})


def _explain(scanner: Scanner) -> Statement:
    if scanner.accept("ANALYZE") or (
        scanner.peek() == "(" and re.match(r"\(\s*(TYPE|FORMAT)\b", scanner.text[scanner.place :], re.IGNORECASE)
    ):
        return Statement("refused", "UTILITY", "EXPLAIN", {"what": "EXPLAIN with ANALYZE, TYPE or FORMAT"})
    return Statement("explain", "UTILITY", "EXPLAIN", {"query": _query(scanner)})


def _prepare(scanner: Scanner) -> Statement:
    name = scanner.name()
    scanner.expect("FROM")
    statement = scanner.rest().strip()
    check(statement)
    return Statement("prepare", "UTILITY", "PREPARE", {"name": name, "statement": statement})


def _execute(scanner: Scanner) -> Statement:
    name, values = scanner.name(), []
    if scanner.accept("USING"):
        tree = parse("SELECT " + scanner.rest().strip())
        values = [item.sql(dialect="trino") for item in tree.args["expressions"]]
    else:
        scanner.end()
    return Statement("execute", "DML", "EXECUTE", {"name": name, "values": values})


def _deallocate(scanner: Scanner) -> Statement:
    scanner.expect("PREPARE")
    name = scanner.name()
    scanner.end()
    return Statement("deallocate", "UTILITY", "DEALLOCATE", {"name": name})


_PARSERS = {
    "CREATE": _create,
    "DROP": _drop,
    "ALTER": _alter,
    "MSCK": _msck,
    "INSERT": _insert,
    "UNLOAD": _unload,
    "SHOW": _show,
    "DESCRIBE": _describe,
    "DESC": _describe,
    "EXPLAIN": _explain,
    "PREPARE": _prepare,
    "EXECUTE": _execute,
    "DEALLOCATE": _deallocate,
}
