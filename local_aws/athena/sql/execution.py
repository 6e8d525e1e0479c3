"""One query from its text to its result: translated, its tables opened, run by DuckDB, printed into a file."""

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from local_aws.athena.sql.errors import QueryError, from_duckdb
from local_aws.athena.sql.rendering import MACROS as RENDERING
from local_aws.athena.sql.rendering import render, rendered
from local_aws.athena.sql.request import Outcome, Request
from local_aws.athena.sql.scope import Query
from local_aws.athena.sql.special import MACROS
from local_aws.athena.sql.tables import Backend, Catalogue, Reader
from local_aws.athena.sql.translate import Translator
from local_aws.athena.sql.types import Type, text

_ROWS = 2000  # fetched at a time


def connect() -> Any:
    """Return a new connection to DuckDB with what all queries need; it may be made before there is a query.

    It has no threads until a query gives it some: the process may fork. It never has those that read ahead, which a
    forked process would wait for in vain: local files are read as fast without.
    """
    settings: Any = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "threads": "1",
        "async_threads": "0",
    }
    connection = duckdb.connect(config=settings)
    connection.execute(f"SET TimeZone = 'UTC'; {MACROS};{RENDERING}")
    return connection


class CutoffError(QueryError):
    """The query would read more than its workgroup allows."""

    def __init__(self) -> None:
        super().__init__("CUTOFF", "Bytes scanned limit was exceeded")


class Execution:
    """One statement."""

    def __init__(self, request: Request, backend: Backend, connection: Any = None) -> None:
        """Prepare to run; `connection` is a new one to DuckDB, if there is one."""
        self.request = request
        self.backend = backend
        self.folder = Path(request.folder)
        self.now = datetime.fromtimestamp(request.started, UTC)
        self.catalogue = Catalogue(backend)
        self.connection: Any = connection or connect()
        self._configure()
        self.scanned = 0

    def _configure(self) -> None:
        settings = {
            "memory_limit": f"'{self.request.memory // 1024**2}MiB'",
            "threads": str(self.request.threads),
            "temp_directory": text(str(self.folder / "spill")),
            "allowed_directories": f"[{text(f'{self.folder}/')}]",
            "enable_external_access": "false",  # the last: it forbids some of those above
        }
        now = f"SET VARIABLE now = TIMESTAMPTZ '{self.now.isoformat(' ')}'"
        self.connection.execute("; ".join([*(f"SET {name} = {value}" for name, value in settings.items()), now]))

    def translate(self, sql: str, parameters: Sequence[str] = ()) -> tuple[Query, Translator]:
        """Translate a query and open its tables."""
        translator = Translator(sql, self.request.database, self.catalogue.find, parameters)
        query = translator.translate()
        reader = Reader(self.connection, self.backend, self.folder, self.now)
        for use in translator.tables:
            table = self.catalogue.find(use.database, use.name)
            assert table is not None
            reader.open(use, table)
        self.scanned = reader.scanned
        if self.request.cutoff is not None and self.scanned > self.request.cutoff:
            raise CutoffError
        return query, translator

    def rows(self, query: Query) -> Iterator[list[str | None]]:
        """Yield the rows of a translated query as texts."""
        sql = query.sql
        if any(kind.zone for kind in query.types):
            items = [f"c{n} AT TIME ZONE {kind.zone}" if kind.zone else f"c{n}" for n, kind in enumerate(query.types)]
            sql = f"SELECT {', '.join(items)} FROM ({sql})"
        cursor = self.connection.execute(sql)
        prints = [render(kind) for kind in query.types]
        while rows := cursor.fetchmany(_ROWS):
            for row in rows:
                yield [one(value) for one, value in zip(prints, row, strict=True)]

    def select(self, sql: str, parameters: Sequence[str] = ()) -> Outcome:
        """Run a query; its result is a CSV file with a header."""
        begun = datetime.now(UTC)
        query, _ = self.translate(sql, parameters)
        planned_s = (datetime.now(UTC) - begun).total_seconds()
        path = self.folder / "result.csv"
        items = [rendered(f"c{place}", kind) for place, kind in enumerate(query.types)]
        printed = [item for item in items if item is not None]
        if len(printed) == len(items):
            body = self.folder / "body.csv"
            listed = ", ".join(f"{item} AS c{place}" for place, item in enumerate(printed))
            self.connection.execute(
                f"COPY (SELECT {listed} FROM ({query.sql})) TO {text(str(body))} "
                "(FORMAT csv, HEADER false, QUOTE '\"', ESCAPE '\"', FORCE_QUOTE *, NULLSTR '')"
            )
            with path.open("wb") as file, body.open("rb") as rows:
                file.write(csv_line(query.names).encode())
                shutil.copyfileobj(rows, file)
        else:
            with path.open("w", encoding="utf-8", newline="") as lines:
                lines.write(csv_line(query.names))
                lines.writelines(csv_line(row) for row in self.rows(query))
        columns = [column_info(name, kind) for name, kind in zip(query.names, query.types, strict=True)]
        return Outcome("DML", "SELECT", columns, str(path), self.scanned, planned_s=planned_s)


def csv_line(values: Sequence[str | None]) -> str:
    """Return a line of a result: every value in quotes, null as nothing."""
    return ",".join("" if value is None else '"' + value.replace('"', '""') + '"' for value in values) + "\n"


def column_info(name: str, kind: Type) -> dict[str, Any]:
    """Return a `ColumnInfo` of the API."""
    precision, scale = {
        "boolean": (0, 0), "tinyint": (3, 0), "smallint": (5, 0), "integer": (10, 0), "bigint": (19, 0),
        "real": (17, 0), "double": (17, 0), "varchar": (2147483647, 0), "timestamp": (3, 0),
        "timestamp with time zone": (3, 0), "varbinary": (1073741824, 0),
    }.get(kind.base, kind.args if kind.base == "decimal" else (0, 0))  # fmt: skip
    return {
        "CatalogName": "hive", "SchemaName": "", "TableName": "", "Name": name, "Label": name,
        "Type": "float" if kind.base == "real" else kind.base, "Precision": precision, "Scale": scale,
        "Nullable": "UNKNOWN", "CaseSensitive": kind.base == "varchar",
    }  # fmt: skip


def run(request: Request, backend: Backend, connection: Any = None) -> Outcome:
    """Run a statement.

    Raises:
        QueryError: it fails.
    """
    from local_aws.athena.sql.commands import execute

    execution = Execution(request, backend, connection)
    try:
        return execute(execution)
    except duckdb.Error as error:
        raise from_duckdb(error) from None
