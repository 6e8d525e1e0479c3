"""Reads some columns of a Parquet file that another system wrote: whatever its other columns are, on both engines.

Apache Spark infers the schema of a file as a whole, and fails at a single column of a type that it does not know. So
the footer is read first, and the schema given explicitly.
"""

import base64
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructField, StructType
from pyspark.sql.utils import is_remote

from spark_jobs.common import tables
from spark_jobs.common.program import ENGINE_ERRORS
from taxiway.core import zones

# Encodings that only Apache Spark's slower reader, which is not vectorised, can decode.
_NOT_VECTORISED = ("BYTE_STREAM_SPLIT",)


@dataclass(frozen=True)
class RawColumn:
    """A column of a file.

    Attributes:
        column: its values; times in microseconds.
        type: their Spark type; the file's own name of it if Spark has none.
        zone: of instants (type ``timestamp``), ``UTC`` if the file names none; None for other types.
    """

    column: Column
    type: str
    zone: str | None = None


def read(spark: SparkSession, path: str, names: Collection[str]) -> tuple[DataFrame, dict[str, RawColumn]]:
    """Read the columns of a Parquet file that have certain names.

    Args:
        spark: session.
        path: of the file.
        names: in lower case; case does not matter in the file.

    Returns:
        the file's rows, and its columns by their name in lower case.

    Raises:
        ProgramError: there is no file, or it is not Parquet.
    """
    return _read_with_arrow(spark, path, names) if is_remote() else _read_with_java(spark, path, names)


# ── Spark Connect: its client needs pyarrow ─────────────────────────────────────────────────────────────────────────


def _read_with_arrow(spark: SparkSession, path: str, names: Collection[str]) -> tuple[DataFrame, dict[str, RawColumn]]:
    import pyarrow as pa
    from pyarrow import fs, parquet

    with _faults(path, (pa.ArrowException, OSError, ValueError)):
        files, place = fs.FileSystem.from_uri(path if "://" in path else Path(path).absolute().as_uri())
        with files.open_input_file(place) as stream, parquet.ParquetFile(stream) as file:
            instants, schema = zones.of_instants(file), file.schema_arrow
            if any(_may_hide_nan(file.metadata, column) for column in range(file.metadata.num_columns)):
                # Sail replaces a column by its minimum where that is also its maximum, though neither counts NaN.
                spark.sql("SET datafusion.execution.collect_statistics = false")
    columns = {}
    for field in schema:
        if field.name.lower() in names:
            type_ = "timestamp" if field.name in instants else _spark_type(field.type)
            column = F.col(f"`{field.name}`")
            known = type_ != str(field.type) and type_ != "void"
            # Sail has types that Spark has not, such as unsigned integers, nanoseconds and dictionaries.
            columns[field.name.lower()] = RawColumn(
                column.cast(type_) if known else column, type_, instants.get(field.name)
            )
    with _faults(path, ENGINE_ERRORS):
        return spark.read.options(**tables.READING).parquet(path), columns


def _may_hide_nan(metadata: Any, column: int) -> bool:
    """Return whether a column has no null, and all its floating-point numbers but NaN are equal, by its statistics."""
    if metadata.schema.column(column).physical_type not in ("FLOAT", "DOUBLE"):
        return False
    extremes = set()
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        if statistics and statistics.has_null_count and statistics.null_count:
            return False
        if statistics and statistics.has_min_max:
            extremes |= {statistics.min, statistics.max}
    return len(extremes) == 1


def _spark_type(type_: Any) -> str:
    """Return the name of an Arrow type in Spark, or Arrow's if Spark has none."""
    from pyarrow import types

    if types.is_dictionary(type_):
        return _spark_type(type_.value_type)
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return "string"
    if types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_):
        return "binary"
    if types.is_timestamp(type_):
        return "timestamp_ntz"
    if types.is_decimal(type_) and type_.precision <= 38:
        return f"decimal({type_.precision},{type_.scale})"
    return _NUMBERS.get(str(type_), str(type_))


_NUMBERS = {
    "null": "void",
    "bool": "boolean",
    "date32[day]": "date",
    "int8": "tinyint",
    "int16": "smallint",
    "int32": "int",
    "int64": "bigint",
    "uint8": "smallint",
    "uint16": "int",
    "uint32": "bigint",
    "uint64": "decimal(20,0)",
}


# ── Apache Spark: pyarrow is not on every cluster, Spark's own classes are ──────────────────────────────────────────


def _read_with_java(spark: SparkSession, path: str, names: Collection[str]) -> tuple[DataFrame, dict[str, RawColumn]]:
    jvm: Any = spark._jvm
    session: Any = spark._jsparkSession
    with _faults(path, ENGINE_ERRORS):
        configuration = session.sessionState().newHadoopConf()
        source = jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath(
            jvm.org.apache.hadoop.fs.Path(path), configuration
        )
        reader = jvm.org.apache.parquet.hadoop.ParquetFileReader.open(source)
        try:
            footer = reader.getFooter()
        finally:
            reader.close()
        file = footer.getFileMetaData()
        metadata = dict(file.getKeyValueMetaData())
        if zones.ARROW_SCHEMA in metadata:
            named = dict(_zones_of_arrow(jvm, base64.b64decode(metadata[zones.ARROW_SCHEMA])))
        else:
            named = zones.of_pandas(metadata)
        parquet_fields = [field for field in file.getSchema().getFields() if field.getName().lower() in names]
        converter = jvm.org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter(
            session.sessionState().conf()
        )
        found = [(field, _converted(jvm, converter, field)) for field in parquet_fields]
        if any(encoding in footer.getBlocks().toString() for encoding in _NOT_VECTORISED):
            spark.conf.set("spark.sql.parquet.enableVectorizedReader", "false")
        schema = StructType([field for _, field in found if field])
        rows = spark.read.schema(schema).parquet(path)
        columns = {
            raw.getName().lower(): _raw_column(raw, field, named.get(raw.getName(), "UTC")) for raw, field in found
        }
    return rows, columns


def _converted(jvm: Any, converter: Any, field: Any) -> StructField | None:
    """Return a field of a Parquet schema as Spark reads it; None if Spark does not know its type."""
    try:
        schema = converter.convert(jvm.org.apache.parquet.schema.MessageType("file", [field]))
    except ENGINE_ERRORS:
        return None
    return StructType.fromJson(json.loads(schema.json())).fields[0]


def _raw_column(raw: Any, field: StructField | None, zone: str) -> RawColumn:
    if field is None:
        return RawColumn(F.lit(None), str(raw))
    column, type_ = F.col(f"`{field.name}`"), field.dataType.simpleString()
    logical = str(raw.getLogicalTypeAnnotation())
    if logical.startswith("TIMESTAMP(NANOS"):  # which Spark reads as integers: nanosAsLong
        type_ = "timestamp" if logical.endswith("true)") else "timestamp_ntz"
        column = F.timestamp_micros(F.expr(f"`{field.name}` div 1000")).cast(type_)
    elif logical in ("UNKNOWN", "NULL"):
        type_ = "void"
    return RawColumn(column, type_, zone if type_ == "timestamp" else None)


def _zones_of_arrow(jvm: Any, message: bytes) -> Iterator[tuple[str, str]]:
    """Yield the columns that have a zone in Arrow's schema, an encapsulated message of Arrow's IPC format."""
    flatbuf = jvm.org.apache.arrow.flatbuf
    prefix = 8 if message.startswith(b"\xff\xff\xff\xff") else 4  # before Arrow 0.15 without the continuation marker
    buffer = jvm.java.nio.ByteBuffer.wrap(message[prefix:])
    schema = flatbuf.Message.getRootAsMessage(buffer).header(flatbuf.Schema())
    for index in range(schema.fieldsLength()):
        field = schema.fields(index)
        if field.typeType() == flatbuf.Type.Timestamp and (zone := field.type(flatbuf.Timestamp()).timezone()):
            yield field.name(), zone


@contextmanager
def _faults(path: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise tables.unreadable(path, error) from error
