"""What the endpoint and the process of a query tell each other; the endpoint loads no engine for it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a statement is run with.

    Attributes:
        id: of the query execution.
        sql: its text.
        database: where tables without a database are.
        parameters: SQL of the values for `?`.
        folder: for the files of this query, on the disk of the objects; exists.
        memory: bytes that DuckDB may use.
        threads: that DuckDB may use.
        cutoff: bytes of data that may be scanned, None for any.
        output: the s3:// folder of results, where a CTAS without a location puts its table.
        started: epoch seconds.
        statements: prepared statements of the workgroup, by name.
    """

    id: str
    sql: str
    database: str
    parameters: list[str]
    folder: str
    memory: int
    threads: int
    cutoff: int | None
    output: str
    started: float
    statements: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a statement did.

    Attributes:
        statement: DML, DDL or UTILITY.
        substatement: e.g. SELECT.
        columns: names and types of the result.
        file: with the result as the API returns it, None if the statement has none.
        scanned: bytes of data that were read.
        rows: that were written to a table.
        objects: files to be put on S3, all or none: (address, file).
        manifest: whether the statement has a manifest of `objects`.
        glue: operations for Glue after that: (operation, request).
        prepared: changes of prepared statements: ("save" or "delete", statement).
        planned_s: seconds until the query ran.
    """

    statement: str
    substatement: str
    columns: list[dict[str, Any]] = field(default_factory=list)
    file: str | None = None
    scanned: int = 0
    rows: int = 0
    objects: list[tuple[str, str]] = field(default_factory=list)
    manifest: bool = False
    glue: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    prepared: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    planned_s: float = 0.0
