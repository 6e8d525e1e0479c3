"""What each kind of statement does. Nothing is changed here: files, operations of Glue and the like are returned, and
the endpoint carries them out when the statement has succeeded (so that a statement that is killed has done nothing)."""

import base64
import fnmatch
import json
import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from local_aws.athena.sql.errors import QueryError, not_supported
from local_aws.athena.sql.execution import Execution
from local_aws.athena.sql.request import Outcome
from local_aws.athena.sql.scope import Query, Value
from local_aws.athena.sql.statements import Statement, parse_statement
from local_aws.athena.sql.tables import KEY, GlueError, Table, partitions_of
from local_aws.athena.sql.types import Type, common, quoted, text

_NULL = "__HIVE_DEFAULT_PARTITION__"
_MOST_PARTITIONS = 100  # that a statement may write, as in Athena
_PAGE = 100  # partitions in one request to Glue

PARQUET = (
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
)
TEXT = (
    "org.apache.hadoop.mapred.TextInputFormat",
    "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
    "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
)
_FORMATS = {
    "parquet": PARQUET,
    "textfile": TEXT,
    "json": (*TEXT[:2], "org.openx.data.jsonserde.JsonSerDe"),
    "orc": (
        "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat",
        "org.apache.hadoop.hive.ql.io.orc.OrcOutputFormat",
        "org.apache.hadoop.hive.ql.io.orc.OrcSerde",
    ),
}


class HiveError(QueryError):
    """A failure with the text of Hive, which runs Athena's DDL."""

    def __init__(self, message: str) -> None:
        super().__init__("FAILED", message)


def _task(message: str) -> HiveError:
    return HiveError(f"Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. {message}")


def execute(execution: Execution) -> Outcome:
    """Run the statement of an execution."""
    return _run(execution, parse_statement(execution.request.sql), execution.request.parameters)


def _run(execution: Execution, statement: Statement, parameters: Sequence[str]) -> Outcome:
    if statement.action == "refused":
        raise not_supported(statement.args["what"])
    if statement.action == "execute":
        prepared = execution.request.statements.get(statement.args["name"])
        if prepared is None:
            raise QueryError("NOT_FOUND", f"Prepared statement not found: {statement.args['name']}")
        return _run(execution, parse_statement(prepared), statement.args["values"] or parameters)
    if statement.action == "select":
        return execution.select(statement.args["query"], parameters)
    outcome = _ACTIONS[statement.action](execution, statement, parameters)
    outcome.statement, outcome.substatement = statement.type, statement.subtype
    outcome.scanned = execution.scanned
    return outcome


def _place(execution: Execution, names: Sequence[str]) -> tuple[str, str]:
    """Return database and table."""
    return (names[0], names[1]) if len(names) == 2 else (execution.request.database, names[0])


def _table(execution: Execution, names: Sequence[str]) -> tuple[str, str, dict[str, Any]]:
    """Return database, name and Glue's table."""
    database, name = _place(execution, names)
    try:
        return database, name, execution.backend.glue("GetTable", DatabaseName=database, Name=name)["Table"]
    except GlueError as error:
        if error.code != "EntityNotFoundException":
            raise
        raise HiveError(f"SemanticException [Error 10001]: Table not found {database}.{name}") from None


def _input(glue: dict[str, Any]) -> dict[str, Any]:
    """Return Glue's table as what UpdateTable takes."""
    names = (
        "Name", "Description", "Owner", "Retention", "StorageDescriptor", "PartitionKeys", "ViewOriginalText",
        "ViewExpandedText", "TableType", "Parameters",
    )  # fmt: skip
    return {name: glue[name] for name in names if glue.get(name) is not None}


def _lines(execution: Execution, columns: Sequence[str], lines: Sequence[str]) -> Outcome:
    """Return the outcome of a statement that shows lines."""
    path = execution.folder / "result.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    info = [
        {
            "CatalogName": "hive", "SchemaName": "", "TableName": "", "Name": name, "Label": name, "Type": "string",
            "Precision": 0, "Scale": 0, "Nullable": "UNKNOWN", "CaseSensitive": False,
        }
        for name in columns
    ]  # fmt: skip
    return Outcome("", "", info, str(path))


def _done(execution: Execution, *glue: tuple[str, dict[str, Any]]) -> Outcome:
    path = execution.folder / "result.txt"
    path.write_text("")
    return Outcome("", "", [], str(path), glue=list(glue))


# Databases, tables, views


def _exists(execution: Execution, operation: str, **request: Any) -> bool:
    try:
        execution.backend.glue(operation, **request)
    except GlueError as error:
        if error.code != "EntityNotFoundException":
            raise
        return False
    return True


def _create_database(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    args = statement.args
    if _exists(execution, "GetDatabase", Name=args["name"]):
        if args["exists"]:
            return _done(execution)
        raise _task(f"AlreadyExistsException(message:Database {args['name']} already exists)")
    database = {
        "Name": args["name"],
        "Description": args["comment"],
        "LocationUri": args["location"],
        "Parameters": args.get("properties"),
    }
    return _done(execution, ("CreateDatabase", {"DatabaseInput": {k: v for k, v in database.items() if v}}))


def _drop_database(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    name = statement.args["name"]
    if not _exists(execution, "GetDatabase", Name=name):
        if statement.args["exists"]:
            return _done(execution)
        raise HiveError(f"SemanticException [Error 10072]: Database does not exist: {name}")
    tables = execution.backend.glue("GetTables", DatabaseName=name)["TableList"]
    if tables and not statement.args["cascade"]:
        raise _task(f"InvalidOperationException(message:Database {name} is not empty. One or more tables exist.)")
    drops = [("DeleteTable", {"DatabaseName": name, "Name": table["Name"]}) for table in tables]
    return _done(execution, *drops, ("DeleteDatabase", {"Name": name}))


def _storage(columns: list[dict[str, str]], location: str, serde: dict[str, Any]) -> dict[str, Any]:
    kind = serde.get("format") or ("textfile" if not serde.get("input") else "")
    if kind and kind not in _FORMATS:
        raise not_supported(f"STORED AS {kind.upper()}")
    inputs, outputs, library = _FORMATS.get(kind, TEXT)
    parameters = serde.get("parameters") or serde.get("delimited") or {}
    if "delimited" in serde and "field.delim" in parameters:
        parameters = {**parameters, "serialization.format": parameters["field.delim"]}
    return {
        "Columns": columns,
        "Location": location,
        "InputFormat": serde.get("input") or inputs,
        "OutputFormat": serde.get("output") or outputs,
        "SerdeInfo": {
            "SerializationLibrary": serde.get("library") or library,
            "Parameters": parameters or {"serialization.format": "1"},
        },
        "Compressed": False,
        "NumberOfBuckets": -1,
        "StoredAsSubDirectories": False,
    }


def _create_table(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    from local_aws.athena.sql.types import from_hive

    args = statement.args
    database, name = _place(execution, args["name"])
    if not args["location"].startswith("s3"):
        raise _task(f"MetaException(message:{args['location']} is not an s3:// location)")
    for column in (*args["columns"], *args.get("keys", [])):
        from_hive(re.sub(r"\b(char|varchar)\(\d+\)", "string", column["Type"]))
    names = [column["Name"] for column in (*args["columns"], *args.get("keys", []))]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise HiveError(f"SemanticException [Error 10036]: Duplicate column name: {twice}")
    if not _exists(execution, "GetDatabase", Name=database):
        raise HiveError(f"SemanticException [Error 10072]: Database does not exist: {database}")
    if _exists(execution, "GetTable", DatabaseName=database, Name=name):
        if args["exists"]:
            return _done(execution)
        raise _task(f"AlreadyExistsException(message:Table {name} already exists.)")
    table = {
        "Name": name,
        "Description": args.get("comment", ""),
        "TableType": "EXTERNAL_TABLE",
        "StorageDescriptor": _storage(args["columns"], args["location"], args["serde"]),
        "PartitionKeys": args.get("keys", []),
        "Parameters": {"EXTERNAL": "TRUE", **args.get("properties", {})},
    }
    return _done(execution, ("CreateTable", {"DatabaseName": database, "TableInput": table}))


def _drop_table(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, name = _place(execution, statement.args["name"])
    if statement.args["exists"] and not _exists(execution, "GetTable", DatabaseName=database, Name=name):
        return _done(execution)
    _, _, glue = _table(execution, statement.args["name"])
    if (glue.get("TableType") == "VIRTUAL_VIEW") != statement.args["view"]:
        wanted, found = ("VIEW", "TABLE") if statement.args["view"] else ("TABLE", "VIEW")
        raise HiveError(f"SemanticException Cannot drop a {found.lower()} with DROP {wanted}")
    return _done(execution, ("DeleteTable", {"DatabaseName": database, "Name": name}))


def _create_view(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, name = _place(execution, statement.args["name"])
    query, translator = execution.translate(statement.args["query"])
    if any((use.database, use.name) == (database, name) for use in translator.tables):
        raise QueryError("VIEW_IS_RECURSIVE", "line 1:1: Statement would create a recursive view")
    _check_names(query)
    document = {
        "originalSql": statement.args["query"].strip(),
        "catalog": "awsdatacatalog",
        "schema": execution.request.database,
        "columns": [{"name": n.lower(), "type": str(kind)} for n, kind in zip(query.names, query.types, strict=True)],
    }
    table = {
        "Name": name,
        "TableType": "VIRTUAL_VIEW",
        "ViewOriginalText": f"/* Presto View: {base64.b64encode(json.dumps(document).encode()).decode()} */",
        "ViewExpandedText": "/* Presto View */",
        "Parameters": {"presto_view": "true", "comment": "Presto View"},
        "StorageDescriptor": {
            "Columns": [
                {"Name": n.lower(), "Type": kind.hive()} for n, kind in zip(query.names, query.types, strict=True)
            ],
            "Location": "",
        },
        "PartitionKeys": [],
    }
    if not _exists(execution, "GetTable", DatabaseName=database, Name=name):
        return _done(execution, ("CreateTable", {"DatabaseName": database, "TableInput": table}))
    _, _, glue = _table(execution, statement.args["name"])
    if not statement.args["replace"] or glue.get("TableType") != "VIRTUAL_VIEW":
        raise QueryError("TABLE_ALREADY_EXISTS", f"line 1:1: View already exists: 'awsdatacatalog.{database}.{name}'")
    return _done(execution, ("UpdateTable", {"DatabaseName": database, "TableInput": table}))


def _check_names(query: Query) -> None:
    seen = set()
    for place, name in enumerate(query.names, 1):
        if name == f"_col{place - 1}":
            raise QueryError("MISSING_COLUMN_NAME", f"line 1:1: Column name not specified at position {place}")
        if name.lower() in seen:
            raise QueryError(
                "DUPLICATE_COLUMN_NAME", f"line 1:1: Column name '{name.lower()}' specified more than once"
            )
        seen.add(name.lower())


def _add_columns(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, _name, glue = _table(execution, statement.args["name"])
    table = _input(glue)
    columns = [] if statement.args.get("replace") else table["StorageDescriptor"]["Columns"]
    known = {column["Name"].lower() for column in [*columns, *(glue.get("PartitionKeys") or [])]}
    for column in statement.args["columns"]:
        if column["Name"] in known:
            raise HiveError(f"SemanticException [Error 10036]: Duplicate column name: {column['Name']}")
    table["StorageDescriptor"] = {**table["StorageDescriptor"], "Columns": [*columns, *statement.args["columns"]]}
    return _done(execution, ("UpdateTable", {"DatabaseName": database, "TableInput": table}))


def _set_properties(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, _name, glue = _table(execution, statement.args["name"])
    table = _input(glue)
    table["Parameters"] = {**(table.get("Parameters") or {}), **statement.args["properties"]}
    return _done(execution, ("UpdateTable", {"DatabaseName": database, "TableInput": table}))


def _set_location(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, name, glue = _table(execution, statement.args["name"])
    if statement.args["partition"] is None:
        table = _input(glue)
        table["StorageDescriptor"] = {**table["StorageDescriptor"], "Location": statement.args["location"]}
        return _done(execution, ("UpdateTable", {"DatabaseName": database, "TableInput": table}))
    values = _values(glue, statement.args["partition"])
    partition = {
        "Values": values,
        "StorageDescriptor": {**glue["StorageDescriptor"], "Location": statement.args["location"]},
    }
    request = {"DatabaseName": database, "TableName": name, "PartitionValueList": values, "PartitionInput": partition}
    return _done(execution, ("UpdatePartition", request))


# Partitions


def _values(glue: dict[str, Any], given: dict[str, str]) -> list[str]:
    keys = [key["Name"].lower() for key in glue.get("PartitionKeys") or []]
    if set(given) != set(keys):
        raise HiveError(
            "SemanticException [Error 10098]: Non-Partition column appears in the partition specification: "
            f"{', '.join(given)}"
        )
    return [given[key] for key in keys]


def _create_partitions(
    database: str, name: str, glue: dict[str, Any], found: Sequence[tuple[Sequence[str], str]]
) -> list[tuple[str, dict[str, Any]]]:
    inputs = [
        {"Values": list(values), "StorageDescriptor": {**glue["StorageDescriptor"], "Location": location}}
        for values, location in found
    ]
    return [
        (
            "BatchCreatePartition",
            {"DatabaseName": database, "TableName": name, "PartitionInputList": inputs[start : start + _PAGE]},
        )
        for start in range(0, len(inputs), _PAGE)
    ]


def _folder(glue: dict[str, Any], values: Sequence[str]) -> str:
    keys = [key["Name"] for key in glue["PartitionKeys"]]
    parts = "/".join(f"{key}={_escaped(value)}" for key, value in zip(keys, values, strict=True))
    return f"{glue['StorageDescriptor']['Location'].rstrip('/')}/{parts}"


def _escaped(value: str) -> str:
    """Return a partition's value as Hive writes it into a path."""
    return re.sub(r"[\x00-\x1f\"#%'*/:=?\\\x7f{\[\]^]", lambda match: f"%{ord(match[0]):02X}", value)


def _add_partitions(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, name, glue = _table(execution, statement.args["name"])
    known = {partition.values for partition in partitions_of(execution.backend, database, name)}
    added = []
    for given, location in statement.args["partitions"]:
        values = _values(glue, given)
        if tuple(values) in known:
            if statement.args["exists"]:
                continue
            raise _task("AlreadyExistsException(message:Partition already exists.)")
        added.append((values, location or f"{_folder(glue, values)}/"))
    return _done(execution, *_create_partitions(database, name, glue, added))


def _drop_partitions(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, name, glue = _table(execution, statement.args["name"])
    keys = [key["Name"].lower() for key in glue.get("PartitionKeys") or []]
    known = [partition.values for partition in partitions_of(execution.backend, database, name)]
    drops = []
    for given in statement.args["partitions"]:
        if not set(given) <= set(keys):
            raise HiveError(
                "SemanticException [Error 10098]: Non-Partition column appears in the partition specification: "
                f"{', '.join(given)}"
            )
        found = [values for values in known if all(values[keys.index(key)] == value for key, value in given.items())]
        if not found and not statement.args["exists"]:
            raise HiveError(
                "SemanticException [Error 10006]: Partition not found "
                f"({', '.join(f'{k} = {v}' for k, v in given.items())})"
            )
        drops += [{"Values": [_NULL if value is None else value for value in values]} for values in found]
    requests = [
        (
            "BatchDeletePartition",
            {"DatabaseName": database, "TableName": name, "PartitionsToDelete": drops[start : start + 25]},
        )
        for start in range(0, len(drops), 25)
    ]
    return _done(execution, *requests)


def _repair(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, name, glue = _table(execution, statement.args["name"])
    keys = [key["Name"].lower() for key in glue.get("PartitionKeys") or []]
    if not keys:
        raise _task(f"Table {database}.{name} is not partitioned")
    base = glue["StorageDescriptor"]["Location"].rstrip("/")
    known = {
        tuple(_NULL if value is None else value for value in partition.values)
        for partition in partitions_of(execution.backend, database, name)
    }
    found: dict[tuple[str, ...], str] = {}
    for each in execution.backend.objects([base])[0]:
        parts = each.uri.removeprefix(f"{base}/").split("/")[: len(keys)]
        pairs = [part.partition("=") for part in parts]
        if len(parts) == len(keys) and all(
            key == pair[0].lower() and pair[1] for key, pair in zip(keys, pairs, strict=True)
        ):
            found.setdefault(tuple(unquote(pair[2]) for pair in pairs), f"{base}/{'/'.join(parts)}/")
    added = {values: location for values, location in found.items() if values not in known}
    outcome = _done(execution, *_create_partitions(database, name, glue, list(added.items())))
    if added:
        named = [location.removeprefix(f"{base}/").rstrip("/") for location in added.values()]
        lines = [f"Partitions not in metastore:\t{' '.join(f'{name}:{each}' for each in named)}"]
        lines += [f"Repair: Added partition to metastore {name}:{each}" for each in named]
        outcome.columns = _lines(execution, ["result"], lines).columns
    return outcome


# Writing


def _write(
    execution: Execution,
    query: Query,
    names: Sequence[str],
    kinds: Sequence[Type],
    keys: Sequence[str],
    properties: dict[str, Any],
    kind: str,
) -> tuple[int, list[tuple[tuple[str, ...], list[Path]]]]:
    """Write the rows of a query into files; return their number, and the files by the values of the keys.

    Args:
        execution: the statement's.
        query: translated.
        names: of its columns in the files.
        kinds: their types in the files.
        keys: the names of those that are partition keys.
        properties: of CTAS or UNLOAD.
        kind: parquet, json or csv.
    """
    items, columns = [], query.columns("q")
    for column, name, target in zip(columns, names, kinds, strict=True):
        sql = execution_value(column.sql, column.type, target)
        if name in keys:
            items.append(f"coalesce(CAST({sql} AS VARCHAR), '{_NULL}') AS {KEY}{keys.index(name)}")
        else:
            items.append(f"{sql} AS {quoted(name)}")
    source = f"SELECT {', '.join(items)} FROM ({query.sql}) AS q"
    folder = execution.folder / "out"
    folder.mkdir()
    compression = str(
        properties.get("write_compression")
        or properties.get("parquet_compression")
        or properties.get("compression")
        or "gzip"
    ).lower()
    if kind == "parquet":
        compression = {"none": "uncompressed"}.get(compression, compression)
        if compression not in ("gzip", "snappy", "zstd", "uncompressed"):
            raise not_supported(f"compression {compression}")
        options = f"FORMAT parquet, COMPRESSION {compression}"
    elif kind == "json":
        options = "FORMAT json, COMPRESSION gzip" if compression == "gzip" else "FORMAT json"
    else:
        options = (
            f"FORMAT csv, HEADER false, DELIMITER {text(properties.get('field_delimiter') or chr(1))}, QUOTE "
            "'', ESCAPE '', NULLSTR '\\N'"
        )
    suffix = ".gz" if kind == "json" and compression == "gzip" else ""
    if not keys:
        (rows,) = execution.connection.execute(
            f"COPY ({source}) TO {text(str(folder / f'f{suffix}'))} ({options})"
        ).fetchone()
        return int(rows), [((), [folder / f"f{suffix}"] if rows else [])]
    listed = ", ".join(f"{KEY}{place}" for place in range(len(keys)))
    execution.connection.execute(f"CREATE TEMP TABLE written AS {source}")
    (parts,) = execution.connection.execute(f"SELECT count(*) FROM (SELECT DISTINCT {listed} FROM written)").fetchone()
    if parts > _MOST_PARTITIONS:
        raise QueryError(
            "HIVE_TOO_MANY_OPEN_PARTITIONS",
            f"Exceeded limit of {_MOST_PARTITIONS} open writers for partitions/buckets.",
        )
    (rows,) = execution.connection.execute(
        f"COPY written TO {text(str(folder))} ({options}, PARTITION_BY ({listed}), OVERWRITE_OR_IGNORE true)"
    ).fetchone()
    found: dict[tuple[str, ...], list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        values = tuple(unquote(part.partition("=")[2]) for part in path.relative_to(folder).parts[:-1])
        found.setdefault(values, []).append(path)
    return int(rows), list(found.items())


def execution_value(sql: str, source: Type, target: Type) -> str:
    """Return the SQL of a value that is converted for a table's column."""
    from local_aws.athena.sql.expressions import Expressions

    return Expressions("").convert(Value(sql, source), target)


def _new_name(execution: Execution) -> str:
    return f"{execution.now:%Y%m%d_%H%M%S}_{execution.request.id[:8]}_{uuid.uuid4()}"


def _create_table_as(execution: Execution, statement: Statement, parameters: Sequence[str]) -> Outcome:
    args, properties = statement.args, statement.args["properties"]
    database, name = _place(execution, args["name"])
    known = {
        "format", "external_location", "partitioned_by", "write_compression", "parquet_compression", "field_delimiter",
        "is_external", "table_type", "bucketed_by", "bucket_count",
    }  # fmt: skip
    if unknown := next((key for key in properties if key not in known), None):
        raise QueryError(
            "INVALID_TABLE_PROPERTY", f"line 1:1: Catalog 'awsdatacatalog' table property '{unknown}' does not exist"
        )
    if str(properties.get("table_type", "hive")).lower() != "hive" or "bucketed_by" in properties:
        raise not_supported("CREATE TABLE AS of an Iceberg or bucketed table")
    if not _exists(execution, "GetDatabase", Name=database):
        raise QueryError("SCHEMA_NOT_FOUND", f"line 1:1: Schema '{database}' does not exist")
    if _exists(execution, "GetTable", DatabaseName=database, Name=name):
        if args["exists"]:
            return Outcome("", "")
        raise QueryError(
            "TABLE_ALREADY_EXISTS", f"line 1:1: Destination table 'awsdatacatalog.{database}.{name}' already exists"
        )
    form = str(properties.get("format", "parquet")).lower()
    if form not in ("parquet", "json", "textfile"):
        raise not_supported(f"CREATE TABLE AS with format {form.upper()}")
    location = (
        properties.get("external_location") or f"{execution.request.output.rstrip('/')}/tables/{execution.request.id}"
    )
    location = f"{location.rstrip('/')}/"
    if execution.backend.objects([location])[0]:
        raise QueryError(
            "HIVE_PATH_ALREADY_EXISTS",
            f"Target directory for table '{database}.{name}' already exists: {location}. You may need to manually "
            "clean the data "
            f"at location '{location}' before retrying. Athena will not delete data in your account.",
        )
    query, _ = execution.translate(args["query"], parameters)
    _check_names(query)
    names = [each.lower() for each in query.names]
    keys = [key.lower() for key in properties.get("partitioned_by") or []]
    if keys and names[-len(keys) :] != keys:
        raise QueryError(
            "HIVE_COLUMN_ORDER_MISMATCH",
            "Partition keys must be the last columns in the table and in the same order as the table properties: "
            f"{keys}",
        )
    if keys and len(keys) == len(names):
        raise QueryError("INVALID_TABLE_PROPERTY", "Table contains only partition columns")
    rows, written = (
        (0, [])
        if args["empty"]
        else _write(execution, query, names, query.types, keys, properties, {"textfile": "csv"}.get(form, form))
    )
    columns = [{"Name": each, "Type": kind.hive()} for each, kind in zip(names, query.types, strict=True)]
    serde: dict[str, Any] = {"format": form}
    if form == "textfile":
        serde["delimited"] = {"field.delim": properties.get("field_delimiter") or "\x01"}
    table: dict[str, Any] = {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "StorageDescriptor": _storage(columns[: len(columns) - len(keys)], location, serde),
        "PartitionKeys": columns[len(columns) - len(keys) :],
        "Parameters": {"EXTERNAL": "TRUE", "has_encrypted_data": "false"},
    }
    glue = [("CreateTable", {"DatabaseName": database, "TableInput": table})]
    objects, partitions = [], []
    for values, paths in written:
        folder = f"{_folder(table, values)}/" if keys else location
        objects += [
            (f"{folder}{_new_name(execution)}{path.suffix if path.suffix == '.gz' else ''}", str(path))
            for path in paths
        ]
        if keys:
            partitions.append((values, folder))
    glue += _create_partitions(database, name, table, partitions)
    return Outcome("", "", [_count_column()], None, rows=rows, objects=objects, manifest=True, glue=glue)


def _count_column() -> dict[str, Any]:
    from local_aws.athena.sql.execution import column_info
    from local_aws.athena.sql.types import BIGINT

    return column_info("rows", BIGINT)


def _insert(execution: Execution, statement: Statement, parameters: Sequence[str]) -> Outcome:
    args = statement.args
    database, name = _place(execution, args["name"])
    table: Table | None = execution.catalogue.find(database, name)
    if table is None:
        raise QueryError("TABLE_NOT_FOUND", f"line 1:1: Table 'awsdatacatalog.{database}.{name}' does not exist")
    if table.view is not None:
        raise QueryError("NOT_SUPPORTED", "line 1:1: Inserting into views is not supported")
    library = table.glue["StorageDescriptor"]["SerdeInfo"].get("SerializationLibrary", "").rsplit(".", 1)[-1]
    kind = {"ParquetHiveSerDe": "parquet", "JsonSerDe": "json"}.get(library)
    if kind is None:
        raise not_supported(f"INSERT into a table with serde {library}")
    query, _ = execution.translate(args["query"], parameters)
    names = args["columns"] or list(table.columns)
    for each in names:
        if each not in table.columns:
            raise QueryError("COLUMN_NOT_FOUND", f"line 1:1: Insert column name does not exist in target table: {each}")
    kinds = [table.columns[each] for each in names]
    fits = len(kinds) == len(query.types) and all(
        common(target, source) == target for target, source in zip(kinds, query.types, strict=True)
    )
    if not fits:
        raise QueryError(
            "TYPE_MISMATCH",
            f"line 1:1: Insert query has mismatched column types: Table: [{', '.join(map(str, kinds))}], Query: "
            f"[{', '.join(map(str, query.types))}]",
        )
    missing = [each for each in table.columns if each not in names]
    if missing:
        nulls = ", ".join(
            f"CAST(NULL AS {table.columns[each].duckdb()}) AS c{len(names) + n}" for n, each in enumerate(missing)
        )
        query = Query(
            f"SELECT *, {nulls} FROM ({query.sql})",
            [*query.names, *missing],
            [*query.types, *(table.columns[each] for each in missing)],
        )
        names, kinds = [*names, *missing], [*kinds, *(table.columns[each] for each in missing)]
    rows, written = _write(
        execution,
        query,
        names,
        kinds,
        table.partition_keys,
        {"compression": "snappy"} if kind == "parquet" else {},
        kind,
    )
    base = table.glue["StorageDescriptor"]["Location"].rstrip("/")
    places: dict[tuple[str, ...], str] = {}
    if table.partition_keys and (table.glue.get("Parameters") or {}).get("projection.enabled", "").lower() != "true":
        places = {
            tuple(_NULL if value is None else value for value in partition.values): partition.location
            for partition in partitions_of(execution.backend, database, name)
        }
    elif table.partition_keys and "storage.location.template" in table.glue["Parameters"]:
        raise not_supported("INSERT into a table with storage.location.template")
    objects, added = [], []
    for values, paths in written:
        folder = places.get(values) or (f"{_folder(table.glue, values)}/" if values else base)
        objects += [
            (f"{folder.rstrip('/')}/{_new_name(execution)}{path.suffix if path.suffix == '.gz' else ''}", str(path))
            for path in paths
        ]
        if (
            values
            and values not in places
            and (table.glue.get("Parameters") or {}).get("projection.enabled", "").lower() != "true"
        ):
            added.append((values, folder))
    glue = _create_partitions(database, name, table.glue, added)
    return Outcome("", "", [_count_column()], None, rows=rows, objects=objects, manifest=True, glue=glue)


def _unload(execution: Execution, statement: Statement, parameters: Sequence[str]) -> Outcome:
    properties = statement.args["properties"]
    form = str(properties.get("format", "")).lower()
    kind = {"parquet": "parquet", "json": "json", "textfile": "csv"}.get(form)
    if kind is None:
        raise not_supported(f"UNLOAD with format {form.upper() or '(none)'}")
    location = f"{statement.args['location'].rstrip('/')}/"
    if execution.backend.objects([location])[0]:
        raise QueryError(
            "HIVE_PATH_ALREADY_EXISTS",
            f"Target directory {location} already exists. Athena will not delete data in your account.",
        )
    query, _ = execution.translate(statement.args["query"], parameters)
    names = [each.lower() for each in query.names]
    keys = [key.lower() for key in properties.get("partitioned_by") or []]
    if keys and names[-len(keys) :] != keys:
        raise QueryError("HIVE_COLUMN_ORDER_MISMATCH", f"Partition keys must be the last columns: {keys}")
    rows, written = _write(execution, query, names, query.types, keys, properties, kind)
    objects = []
    for values, paths in written:
        parts = "".join(f"{key}={_escaped(value)}/" for key, value in zip(keys, values, strict=True))
        objects += [
            (f"{location}{parts}{_new_name(execution)}{path.suffix if path.suffix == '.gz' else ''}", str(path))
            for path in paths
        ]
    return Outcome("", "", [_count_column()], None, rows=rows, objects=objects, manifest=True)


# Showing


def _matches(name: str, pattern: str | None) -> bool:
    return pattern is None or any(
        fnmatch.fnmatchcase(name, part.strip().lower().replace("%", "*")) for part in pattern.split("|")
    )


def _all_pages(execution: Execution, operation: str, member: str, **request: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = execution.backend.glue(operation, **request, **token)
        found += page[member]
        if not page.get("NextToken"):
            return found
        token = {"NextToken": page["NextToken"]}


def _show_databases(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    names = sorted(one["Name"] for one in _all_pages(execution, "GetDatabases", "DatabaseList"))
    return _lines(execution, ["database_name"], [name for name in names if _matches(name, statement.args["pattern"])])


def _show_tables(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database = statement.args["database"] or execution.request.database
    if not _exists(execution, "GetDatabase", Name=database):
        raise HiveError(f"SemanticException [Error 10072]: Database does not exist: {database}")
    tables = _all_pages(execution, "GetTables", "TableList", DatabaseName=database)
    names = sorted(
        one["Name"] for one in tables if not statement.args["views"] or one.get("TableType") == "VIRTUAL_VIEW"
    )
    column = "views" if statement.args["views"] else "tab_name"
    return _lines(execution, [column], [name for name in names if _matches(name, statement.args["pattern"])])


def _show_partitions(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, name, glue = _table(execution, statement.args["name"])
    keys = [key["Name"] for key in glue.get("PartitionKeys") or []]
    if not keys:
        raise _task(f"Table {name} is not a partitioned table")
    found = partitions_of(execution.backend, database, name)
    lines = [
        "/".join(f"{key}={_escaped(_NULL if v is None else v)}" for key, v in zip(keys, p.values, strict=True))
        for p in found
    ]
    return _lines(execution, ["partition"], sorted(lines))


def _show_columns(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    _, _, glue = _table(execution, statement.args["name"])
    columns = [*glue["StorageDescriptor"]["Columns"], *(glue.get("PartitionKeys") or [])]
    return _lines(execution, ["field"], [f"{column['Name']:<20}" for column in columns])


def _show_properties(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    _, _, glue = _table(execution, statement.args["name"])
    parameters = glue.get("Parameters") or {}
    key = statement.args["key"]
    if key is not None:
        return _lines(
            execution,
            ["prpt_name", "prpt_value"],
            [parameters.get(key, f"Table {glue['Name']} does not have property: {key}")],
        )
    return _lines(
        execution, ["prpt_name", "prpt_value"], [f"{name}\t{value}" for name, value in sorted(parameters.items())]
    )


def _describe(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    _, _, glue = _table(execution, statement.args["name"])

    def line(column: dict[str, str]) -> str:
        return f"{column['Name']:<20}\t{column.get('Type') or '':<20}\t{column.get('Comment') or '':<20}"

    keys = glue.get("PartitionKeys") or []
    lines = [line(column) for column in [*glue["StorageDescriptor"]["Columns"], *keys]]
    if keys:
        lines += [
            "\t \t ",
            "# Partition Information\t \t ",
            f"{'# col_name':<20}\t{'data_type':<20}\t{'comment':<20}",
            "\t \t ",
        ]
        lines += map(line, keys)
    return _lines(execution, ["col_name", "data_type", "comment"], lines)


def _show_create(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    database, name, glue = _table(execution, statement.args["name"])
    if statement.args["view"]:
        original = glue.get("ViewOriginalText") or ""
        if not original.startswith("/* Presto View: "):
            raise HiveError(f"SemanticException {database}.{name} is not a view")
        document = json.loads(base64.b64decode(original.removeprefix("/* Presto View: ").removesuffix(" */")))
        return _lines(
            execution, ["Create View"], [f"CREATE VIEW {database}.{name} AS", *document["originalSql"].split("\n")]
        )
    storage = glue["StorageDescriptor"]
    serde = storage.get("SerdeInfo") or {}

    def columns(found: Sequence[dict[str, str]]) -> list[str]:
        each = [
            f"  `{c['Name']}` {c['Type']}" + (f" COMMENT {text(c['Comment'])}" if c.get("Comment") else "")
            for c in found
        ]
        return [f"{line}, " for line in each[:-1]] + [f"{each[-1]})"] if each else [")"]

    def properties(found: dict[str, str]) -> list[str]:
        each = [f"  {text(key)}={text(str(value))}" for key, value in sorted(found.items())]
        return [f"{line}, " for line in each[:-1]] + [f"{each[-1]})"]

    lines = [f"CREATE EXTERNAL TABLE `{database}.{name}`(", *columns(storage["Columns"])]
    if glue.get("Description"):
        lines.append(f"COMMENT {text(glue['Description'])}")
    if glue.get("PartitionKeys"):
        lines += ["PARTITIONED BY ( ", *columns(glue["PartitionKeys"])]
    lines += ["ROW FORMAT SERDE ", f"  {text(serde.get('SerializationLibrary', ''))} "]
    if serde.get("Parameters"):
        lines += ["WITH SERDEPROPERTIES ( ", *properties(serde["Parameters"])]
    lines += [
        "STORED AS INPUTFORMAT ",
        f"  {text(storage.get('InputFormat', ''))} ",
        "OUTPUTFORMAT ",
        f"  {text(storage.get('OutputFormat', ''))}",
    ]
    lines += ["LOCATION", f"  {text(storage['Location'])}"]
    parameters = {key: value for key, value in (glue.get("Parameters") or {}).items() if key != "EXTERNAL"}
    if parameters:
        lines += ["TBLPROPERTIES (", *properties(parameters)]
    return _lines(execution, ["createtab_stmt"], lines)


def _explain(execution: Execution, statement: Statement, parameters: Sequence[str]) -> Outcome:
    query, _ = execution.translate(statement.args["query"], parameters)
    plan = execution.connection.execute(f"EXPLAIN {query.sql}").fetchall()
    execution.scanned = 0
    lines = ["Query Plan of DuckDB, which runs the query here:", *"\n".join(row[1] for row in plan).split("\n")]
    return _lines(execution, ["Query Plan"], lines)


# Prepared statements


def _prepare(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    outcome = _done(execution)
    outcome.prepared = [
        ("save", {"StatementName": statement.args["name"], "QueryStatement": statement.args["statement"]})
    ]
    return outcome


def _deallocate(execution: Execution, statement: Statement, _: Sequence[str]) -> Outcome:
    if statement.args["name"] not in execution.request.statements:
        raise QueryError("NOT_FOUND", f"Prepared statement not found: {statement.args['name']}")
    outcome = _done(execution)
    outcome.prepared = [("delete", {"StatementName": statement.args["name"]})]
    return outcome


_ACTIONS: dict[str, Callable[[Execution, Statement, Sequence[str]], Outcome]] = {
    "create_database": _create_database,
    "drop_database": _drop_database,
    "create_table": _create_table,
    "drop_table": _drop_table,
    "create_view": _create_view,
    "add_columns": _add_columns,
    "set_properties": _set_properties,
    "set_location": _set_location,
    "add_partitions": _add_partitions,
    "drop_partitions": _drop_partitions,
    "repair": _repair,
    "create_table_as": _create_table_as,
    "insert": _insert,
    "unload": _unload,
    "show_databases": _show_databases,
    "show_tables": _show_tables,
    "show_partitions": _show_partitions,
    "show_columns": _show_columns,
    "show_properties": _show_properties,
    "show_create": _show_create,
    "describe": _describe,
    "explain": _explain,
    "prepare": _prepare,
    "deallocate": _deallocate,
}
