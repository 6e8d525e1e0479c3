"""Tables of Glue as views of DuckDB over the files of their S3 objects, which are on this machine.

The objects are linked into the query's folder: what the query reads stays what it was at its start, and the folders'
names carry the values of the partition keys.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from local_aws.athena.sql.casts import MILLISECONDS, cast
from local_aws.athena.sql.errors import QueryError, not_supported
from local_aws.athena.sql.partitions import Partition, projected, prune
from local_aws.athena.sql.translate import TableUse
from local_aws.athena.sql.types import INTEGERS, VARCHAR, Type, from_hive, quoted, text

_NULL = "__HIVE_DEFAULT_PARTITION__"
# Names of DuckDB's columns that no file has.
KEY, _FILE = "athena_partition_key_", "athena_file_name"
_NOWHERE = "\x02"  # where DuckDB wants a character that never comes


@dataclass(frozen=True)
class Object:
    """An object of S3: its address, its size in bytes, and the file that has its content."""

    uri: str
    size: int
    path: str


class Backend(Protocol):
    """What a query asks the endpoint for."""

    def glue(self, operation: str, **request: Any) -> dict[str, Any]:
        """Call Glue; raises GlueError."""
        ...

    def objects(self, locations: Sequence[str]) -> list[list[Object]]:
        """Return the objects below each s3:// folder."""
        ...


class GlueError(Exception):
    """An operation of Glue failed: its error code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Table:
    """A table or view of Glue.

    Attributes:
        glue: as Glue has it.
        columns: their types; partition columns are the last.
        partition_keys: their names.
        view: the text of a view, else None.
    """

    glue: dict[str, Any]
    columns: dict[str, Type] = field(default_factory=dict)
    partition_keys: list[str] = field(default_factory=list)
    view: str | None = None

    @property
    def kinds(self) -> list[Type]:
        """The types of the partition keys."""
        return [self.columns[key] for key in self.partition_keys]


class Catalogue:
    """The tables of Glue that a query names."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._found: dict[tuple[str, str], Table | None] = {}

    def find(self, database: str, name: str) -> Table | None:
        """Return a table.

        Raises:
            QueryError: the database does not exist.
        """
        place = (database, name)
        if place not in self._found:
            self._found[place] = self._load(database, name)
        return self._found[place]

    def _load(self, database: str, name: str) -> Table | None:
        try:
            glue = self._backend.glue("GetTable", DatabaseName=database, Name=name)["Table"]
        except GlueError as error:
            if error.code != "EntityNotFoundException":
                raise
            try:
                self._backend.glue("GetDatabase", Name=database)
            except GlueError:
                raise QueryError("SCHEMA_NOT_FOUND", f"line 1:1: Schema '{database}' does not exist") from None
            return None
        if glue.get("TableType") == "VIRTUAL_VIEW":
            return Table(glue, view=glue.get("ViewOriginalText") or "")
        if (glue.get("Parameters") or {}).get("table_type", "").upper() in ("ICEBERG", "DELTA", "HUDI"):
            raise not_supported(f"{glue['Parameters']['table_type']} table {database}.{name}")
        columns = {
            column["Name"].lower(): from_hive(column.get("Type") or "string")
            for column in glue["StorageDescriptor"]["Columns"]
        }
        keys = [key["Name"].lower() for key in glue.get("PartitionKeys") or []]
        columns |= {
            key["Name"].lower(): from_hive(key.get("Type") or "string") for key in glue.get("PartitionKeys") or []
        }
        return Table(glue, columns, keys)


def partitions_of(backend: Backend, database: str, name: str) -> list[Partition]:
    """Return all partitions that Glue has of a table."""
    found: list[Partition] = []
    token: dict[str, str] = {}
    while True:
        page = backend.glue("GetPartitions", DatabaseName=database, TableName=name, **token)
        for partition in page["Partitions"]:
            values = tuple(None if value == _NULL else value for value in partition["Values"])
            found.append(Partition(values, partition["StorageDescriptor"]["Location"]))
        if not page.get("NextToken"):
            return found
        token = {"NextToken": page["NextToken"]}


class Reader:
    """Makes the views of one query."""

    def __init__(self, connection: Any, backend: Backend, folder: Path, now: datetime) -> None:
        """Prepare to read.

        Args:
            connection: of DuckDB.
            backend: Glue and S3.
            folder: of the query, on the disk of the objects.
            now: the time of the query.
        """
        self._connection = connection
        self._backend = backend
        self._folder = folder
        self._now = now
        self.scanned = 0  # bytes

    def open(self, use: TableUse, table: Table) -> None:
        """Make the view that the translated query reads for one mention of a table."""
        folder = self._folder / f"t{use.number}"
        partitions = self._partitions(use, table)
        listed = self._backend.objects([partition.location for partition in partitions])
        serde = _Serde(table.glue)
        files: list[str] = []
        uris: dict[str, str] = {}
        for partition, objects in zip(partitions, listed, strict=True):
            parts = [
                f"{KEY}{place}={_NULL if value is None else quote(value, safe='')}"
                for place, value in enumerate(partition.values)
            ]
            place = folder.joinpath(*parts)
            for found in objects:
                name = found.uri.rsplit("/", 1)[1]
                if not name or name.startswith(("_", ".")):
                    continue
                if found.size == 0 and serde.format != "parquet":
                    continue
                place.mkdir(parents=True, exist_ok=True)
                link = place / f"f{len(files)}{_extension(name, serde.format)}"
                os.link(found.path, link)
                files.append(str(link))
                uris[str(link)] = found.uri
                self.scanned += found.size if serde.format != "parquet" else 0
        used = [column for column in table.columns if column in use.used]
        keys = {key: f"{KEY}{place}" for place, key in enumerate(table.partition_keys)}
        hidden = [name for name in ("$path", "$file_size") if name in use.used]
        if not files:
            items = [f"CAST(NULL AS {table.columns[column].duckdb()}) AS {quoted(column)}" for column in used]
            items += [
                f"CAST(NULL AS {'VARCHAR' if name == '$path' else 'BIGINT'}) AS {quoted(name)}" for name in hidden
            ]
            self._connection.execute(
                f"CREATE VIEW t{use.number} AS SELECT {', '.join(items or ['1 AS one'])} WHERE false"
            )
            return
        own = [column for column in used if column not in keys]
        source, items = serde.source(
            self,
            files,
            uris,
            {column: table.columns[column] for column in own},
            list(table.columns)[: len(table.columns) - len(keys)],
        )
        for key, column in keys.items():
            if key in used:
                items.append(f"{cast(column, VARCHAR, table.columns[key], safe=False)} AS {quoted(key)}")
        if hidden:
            self._connection.execute(f"CREATE TEMP TABLE u{use.number} (link VARCHAR, uri VARCHAR, size BIGINT)")
            rows = ", ".join(f"({text(link)}, {text(uri)}, {Path(link).stat().st_size})" for link, uri in uris.items())
            self._connection.execute(f"INSERT INTO u{use.number} VALUES {rows}")
            source += f" JOIN u{use.number} ON u{use.number}.link = {_FILE}"
            items += [f"{'uri' if name == '$path' else 'size'} AS {quoted(name)}" for name in hidden]
        try:
            self._connection.execute(
                f"CREATE VIEW t{use.number} AS SELECT {', '.join(items or ['1 AS one'])} FROM {source}"
            )
        except Exception as error:
            raise self.blame(error, uris) from None

    def _partitions(self, use: TableUse, table: Table) -> list[Partition]:
        if not table.partition_keys:
            return [Partition((), table.glue["StorageDescriptor"]["Location"])]
        if (table.glue.get("Parameters") or {}).get("projection.enabled", "").lower() == "true":
            return projected(self._connection, use, table.kinds, table.glue, self._now)
        found = partitions_of(self._backend, use.database, use.name)
        return prune(self._connection, use, table.kinds, found)

    def blame(self, error: Exception, uris: dict[str, str]) -> Exception:
        """Return the error with the addresses of objects in place of their files."""
        message = str(error)
        for link, uri in uris.items():
            message = message.replace(link, uri)
        return type(error)(message)

    def parquet(
        self, files: Sequence[str], uris: dict[str, str], columns: dict[str, Type], partitioned: bool
    ) -> tuple[str, list[str]]:
        """Return the source and the items of a view over Parquet files; count the bytes of the columns it reads."""
        listed = f"[{', '.join(map(text, files))}]"
        options = f"union_by_name = true, filename = {text(_FILE)}"
        options += (
            ", hive_partitioning = true, hive_types_autocast = false" if partitioned else ", hive_partitioning = false"
        )
        source = f"read_parquet({listed}, {options})"
        try:
            described = self._connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        except Exception as error:
            raise self.blame(error, uris) from None
        stored = {
            name.lower(): (name, kind) for name, kind, *_ in described if name != _FILE and not name.startswith(KEY)
        }
        items = []
        for column, kind in columns.items():
            if column not in stored:
                items.append(f"CAST(NULL AS {kind.duckdb()}) AS {quoted(column)}")
                continue
            name, found = stored[column]
            sql = _stored(quoted(name), found, kind)
            if sql is None:
                raise QueryError(
                    "HIVE_BAD_DATA",
                    f"Field {column}'s type {found} in parquet file {next(iter(uris.values()))} is incompatible with "
                    f"type {kind} defined in table schema",
                )
            items.append(f"{sql} AS {quoted(column)}")
        if columns:
            names = ", ".join(text(stored[column][0]) for column in columns if column in stored) or "''"
            (size,) = self._connection.execute(
                f"SELECT coalesce(sum(total_compressed_size), 0) FROM parquet_metadata({listed}) "
                f"WHERE split_part(path_in_schema, ', ', 1) IN ({names})"
            ).fetchone()
            self.scanned += int(size)
        return source, items

    def lines(self, files: Sequence[str], partitioned: bool, skip: int = 0) -> str:
        """Return the source of a view over the lines of text files, as column `line`."""
        return self.csv(files, partitioned, skip, ["line"], "\x1f", "", "")

    def contains(self, files: Sequence[str], partitioned: bool, character: str) -> bool:
        """Return whether a character is in text files."""
        source = self.lines(files, partitioned)
        (found,) = self._connection.execute(
            f"SELECT bool_or(contains(line, {text(character)})) FROM {source}"
        ).fetchone()
        return bool(found)

    def csv(
        self,
        files: Sequence[str],
        partitioned: bool,
        skip: int,
        names: Sequence[str],
        separator: str,
        quote_: str,
        escape: str,
    ) -> str:
        """Return the source of a view over CSV files, whose columns are all texts."""
        listed = f"[{', '.join(map(text, files))}]"
        columns = ", ".join(f"{text(name)}: 'VARCHAR'" for name in names)
        hive = "hive_partitioning = true, hive_types_autocast = false" if partitioned else "hive_partitioning = false"
        return (
            f"read_csv({listed}, auto_detect = false, header = false, skip = {skip}, delim = {text(separator)}, "
            f"quote = {text(quote_)}, escape = {text(escape)}, nullstr = {text(_NOWHERE)}, columns = {{{columns}}}, "
            f"null_padding = true, filename = {text(_FILE)}, max_line_size = 33554432, {hive})"
        )

    def json(
        self, files: Sequence[str], partitioned: bool, columns: dict[str, Type], ignore: bool
    ) -> tuple[str, list[str]]:
        """Return the source and the items of a view over JSON lines; names of keys match in any case."""
        listed = f"[{', '.join(map(text, files))}]"
        hive = "hive_partitioning = true, hive_types_autocast = false" if partitioned else "hive_partitioning = false"
        options = f"format = 'newline_delimited', ignore_errors = {str(ignore).lower()}, maximum_object_size = 33554432"
        keys = self._connection.execute(
            f"SELECT DISTINCT unnest(json_keys(json)) FROM read_ndjson_objects({listed}, {options}) ORDER BY 1"
        ).fetchall()
        spelled: dict[str, list[str]] = {}
        for (key,) in keys:
            spelled.setdefault(key.lower(), []).append(key)
        if any(len(spelled.get(column, ())) > 1 for column in columns):
            # DuckDB's columns differ in more than their case.
            source = f"read_ndjson_objects({listed}, {options}, filename = {text(_FILE)}, {hive})"
            return source, [
                f"{_from_json(spelled.get(column, []), kind)} AS {quoted(column)}" for column, kind in columns.items()
            ]
        wanted: dict[str, str] = {}
        items = []
        for column, kind in columns.items():
            names = spelled.get(column, [])
            stored = _JSON_TEXT if kind.base in _TEXTS else kind.duckdb()
            wanted |= dict.fromkeys(names, stored)
            items.append(
                f"{_of_json(quoted(names[0]) if names else f'CAST(NULL AS {stored})', kind)} AS {quoted(column)}"
            )
        given = ", ".join(f"{text(name)}: {text(kind)}" for name, kind in (wanted or {"one": _JSON_TEXT}).items())
        return f"read_json({listed}, {options}, columns = {{{given}}}, filename = {text(_FILE)}, {hive})", items


_JSON_TEXT = "VARCHAR"
_TEXTS = ("varchar", "timestamp", "date", "varbinary")  # what a JSON text is converted to here and not by DuckDB


def _of_json(sql: str, kind: Type) -> str:
    if kind.base in ("timestamp", "date"):
        return cast(sql, VARCHAR, kind, safe=False)
    return f"from_base64({sql})" if kind.base == "varbinary" else sql


def _from_json(names: Sequence[str], kind: Type) -> str:
    """Return the SQL of a column of objects whose key is spelled in several ways."""
    structure = json.dumps(_structure(kind))
    found = [f"from_json(json_extract(json, {text(f'$.{json.dumps(name)}')}), {text(structure)})" for name in names]
    stored = _JSON_TEXT if kind.base in _TEXTS else kind.duckdb()
    return _of_json(f"coalesce({', '.join(found)})" if found else f"CAST(NULL AS {stored})", kind)


def _structure(kind: Type) -> Any:
    if kind.base == "array":
        return [_structure(kind.args[0])]
    if kind.base == "row":
        return {name: _structure(part) for name, part in zip(kind.fields(), kind.args, strict=True)}
    return _JSON_TEXT if kind.base in _TEXTS else kind.duckdb()


class _Serde:
    """How the files of a table are read."""

    def __init__(self, glue: dict[str, Any]) -> None:
        storage = glue["StorageDescriptor"]
        info = storage.get("SerdeInfo") or {}
        library = (info.get("SerializationLibrary") or "").rsplit(".", 1)[-1]
        self._parameters = {name.lower(): value for name, value in (info.get("Parameters") or {}).items()}
        table = {name.lower(): value for name, value in (glue.get("Parameters") or {}).items()}
        self._skip = int(table.get("skip.header.line.count") or self._parameters.get("skip.header.line.count") or 0)
        formats = {
            "ParquetHiveSerDe": "parquet",
            "JsonSerDe": "json",
            "LazySimpleSerDe": "delimited",
            "OpenCSVSerde": "csv",
            "RegexSerDe": "regex",
        }
        if library not in formats:
            raise not_supported(f"serde {info.get('SerializationLibrary')!r}")
        self.format = formats[library]
        self._partitioned = bool(glue.get("PartitionKeys"))

    def source(
        self,
        reader: Reader,
        files: Sequence[str],
        uris: dict[str, str],
        columns: dict[str, Type],
        declared: Sequence[str],
    ) -> tuple[str, list[str]]:
        """Return the FROM and the columns of the view."""
        if self.format == "parquet":
            return reader.parquet(files, uris, columns, self._partitioned)
        if self.format == "json":
            ignore = self._parameters.get("ignore.malformed.json", "").lower() == "true"
            return reader.json(files, self._partitioned, columns, ignore)
        if self.format == "csv":
            one = {
                name: self._parameters.get(name.lower(), default)
                for name, default in (("separatorChar", ","), ("quoteChar", '"'), ("escapeChar", "\\"))
            }
            # Two quotes are one quote whatever the escape character is; DuckDB takes either, so the files decide.
            escaped = (
                reader.contains(files, self._partitioned, one["escapeChar"]) and one["escapeChar"] != one["quoteChar"]
            )
            escape = one["escapeChar"] if escaped else one["quoteChar"]
            source = reader.csv(
                files,
                self._partitioned,
                self._skip,
                [f"c{n}" for n in range(len(declared))],
                one["separatorChar"],
                one["quoteChar"],
                escape,
            )
            items = []
            for column, kind in columns.items():
                name = f"c{list(declared).index(column)}"
                if kind.base == "date":
                    raise not_supported("a date column of an OpenCSVSerde table")
                # Athena splits lines before it looks at quotes.
                broken = (
                    "error('NOT_SUPPORTED: not supported by the local Athena: a line break in a value of a CSV file')"
                )
                name = f"CASE WHEN contains({name}, chr(10)) THEN {broken} ELSE {name} END"
                value = name if kind == VARCHAR else cast(f"({name})", VARCHAR, kind, safe=False)
                items.append(f"{value} AS {quoted(column)}")
            return source, items
        source = reader.lines(files, self._partitioned, self._skip)
        items = []
        if self.format == "regex":
            pattern = self._parameters.get("input.regex", "")
            if re.search(r"\(\?[=!<]|\\[1-9]|[*+?}]\+", pattern):
                raise not_supported(f"regular expression {pattern!r}")
            for column, kind in columns.items():
                group = list(declared).index(column) + 1
                value = (
                    f"(CASE WHEN regexp_full_match(line, {text(pattern)}) THEN regexp_extract(line, "
                    f"{text(f'^(?:{pattern})$')}, {group}) END)"
                )
                items.append(f"{value if kind == VARCHAR else _lazy(value, kind)} AS {quoted(column)}")
            return source, items
        separator = _character(
            self._parameters.get("field.delim") or self._parameters.get("serialization.format") or "\x01"
        )
        null = self._parameters.get("serialization.null.format", "\\N")
        if self._parameters.get("escape.delim"):
            raise not_supported("ESCAPED BY")
        for column, kind in columns.items():
            place = list(declared).index(column) + 1
            raw = f"string_split(line, {text(separator)})[{place}]"
            value = f"nullif({raw}, {text(null)})"
            items.append(f"{value if kind == VARCHAR else _lazy(value, kind)} AS {quoted(column)}")
        return source, items


def _character(given: str) -> str:
    """Return the delimiter that a serde's property means: a character, or its number."""
    if (re.fullmatch(r"\\?\d{1,3}", given) and given not in "123456789") or given == "1":
        return chr(int(given.lstrip("\\"), 8 if given.startswith("\\") else 10))
    return {"\\t": "\t", "\\001": "\x01"}.get(given, given)


def _extension(name: str, kind: str) -> str:
    last = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    if kind != "parquet" and last in ("bz2", "snappy", "lzo", "lz4", "deflate"):
        raise not_supported(f"files with {last} compression")
    return f".{last}" if kind != "parquet" and last in ("gz", "zst") else f".{kind}"


def _lazy(sql: str, kind: Type) -> str:
    """Return the SQL of a text in a delimited file as a value: null where it is none."""
    if kind.base in ("array", "map", "row", "varbinary"):
        raise not_supported(f"a column of type {kind} in a delimited file")
    return cast(sql, VARCHAR, kind, safe=True)


_RANK = {"TINYINT": 0, "SMALLINT": 1, "INTEGER": 2, "BIGINT": 3, "UTINYINT": 1, "USMALLINT": 2, "UINTEGER": 3}


def _stored(sql: str, found: str, kind: Type) -> str | None:
    """Return the SQL of a Parquet column as a value of the table's type; None if Athena does not read it so."""
    if kind.base in INTEGERS:
        return f"CAST({sql} AS {kind.duckdb()})" if _RANK.get(found, 9) <= INTEGERS.index(kind.base) else None
    if kind.base == "timestamp":
        if found == "TIMESTAMP WITH TIME ZONE":
            sql, found = f"({sql} AT TIME ZONE 'UTC')", "TIMESTAMP"
        if found == "TIMESTAMP_MS":
            return f"CAST({sql} AS TIMESTAMP)"
        return MILLISECONDS.format(f"CAST({sql} AS TIMESTAMP)") if found in ("TIMESTAMP", "TIMESTAMP_NS") else None
    if kind.base == "varchar":
        return (
            f"decode({sql})" if found == "BLOB" else (sql if found == "VARCHAR" or found.startswith("ENUM") else None)
        )
    if kind.base == "varbinary":
        return sql if found == "BLOB" else (f"encode({sql})" if found == "VARCHAR" else None)
    if kind.base == "double" and found == "FLOAT":
        return f"CAST({sql} AS DOUBLE)"
    if kind.base == "decimal":
        return f"CAST({sql} AS {kind.duckdb()})" if found.startswith("DECIMAL") else None
    if found == kind.duckdb():
        return sql
    if kind.base in ("array", "map", "row") and found.endswith("[]") == (kind.base == "array"):
        opening = {"map": "MAP(", "row": "STRUCT("}.get(kind.base, "")
        return f"CAST({sql} AS {kind.duckdb()})" if found.startswith(opening) else None
    return None
