"""The columns of HVFHV trips, and the conversion of all versions of TLC's files (2019 to 2026) to them.

TLC's files differ in the case of names (Airport_fee, airport_fee) and in types (INT32, INT64 or DOUBLE for one column,
timestamps in micro- or nanoseconds or INT96), and columns were added over the years. So every file is read separately,
its columns are converted from the type in the file to the type in the contract, and then the files are combined.
"""

from functools import reduce

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.common import raw_files
from spark_jobs.common.program import ProgramError
from spark_jobs.common.raw_files import RawColumn
from spark_jobs.hvfhv.contracts import contract
from taxiway.core import zones
from taxiway.core.contracts import Column

# A wall-clock time, which Glue calls a timestamp, is one without a zone in Spark.
SPARK_TYPES = {"timestamp": "timestamp_ntz"}
FIELDS = tuple(contract("trip_file").columns.values())
NAMES = [field.name for field in FIELDS]
KEEPS_INFINITY = ("trip_miles",)


def spark_type(field: Column) -> str:
    """Return the Spark type of a contract's column."""
    return SPARK_TYPES.get(field.type, field.type)


_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_REALS = ("float", "double")


def read_trips(spark: SparkSession, paths: list[str]) -> DataFrame:
    """Read TLC's files as one frame with the columns of :data:`FIELDS`, whatever their schema versions.

    Raises:
        ProgramError: a file is unreadable, lacks a column, or has one of a type that cannot be converted without loss.
    """
    return reduce(DataFrame.unionByName, [_read_file(spark, path) for path in paths])


def _read_file(spark: SparkSession, path: str) -> DataFrame:
    rows, columns = raw_files.read(spark, path, [field.source for field in FIELDS])
    missing = [field.source for field in FIELDS if field.source not in columns and not field.optional]
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more columns" if len(missing) > 3 else "")
        raise ProgramError(f"{path} lacks {names}, which every file of HVFHV trips has; is it another data set?")
    return rows.select(*(_normalised(field, columns.get(field.source), path).alias(field.name) for field in FIELDS))


def finite(column: SparkColumn) -> SparkColumn:
    """Return a floating-point column with null for NaN and infinity, which are no numbers."""
    return F.when(F.abs(column) < float("inf"), column)


def _normalised(field: Column, raw: RawColumn | None, path: str) -> SparkColumn:
    column = _converted(field, raw, path)
    # -0.0 becomes 0.0: the engines disagree on whether the two are equal, and so on which rows are duplicates.
    return column + F.lit(0.0) if field.type == "double" else column


def _converted(field: Column, raw: RawColumn | None, path: str) -> SparkColumn:
    """Return the field's column, converted to its type without loss."""
    wanted = spark_type(field)
    if raw is None or raw.type == "void":
        return F.lit(None).cast(wanted)
    column, found = raw.column, raw.type
    wrong = f"{path}: column {field.source} is {found}, which has no exact {wanted}"
    if wanted == "timestamp_ntz" and found == "timestamp":
        return _wall_clock(field, raw, path)
    if found in _REALS:
        # Infinite miles are not missing but impossible: the rules of the quarantine judge them.
        column = F.when(~F.isnan(column), column) if field.name in KEEPS_INFINITY else finite(column)
    if found == wanted:
        return column
    if wanted == "string" and found == "binary":
        return column.cast("string")
    if found in _INTEGERS and wanted in _INTEGERS:
        return column.cast(wanted)  # a number that is too large is an error: ANSI mode
    if wanted in (*_INTEGERS, *_REALS) and (found in (*_INTEGERS, *_REALS) or found.startswith("decimal(")):
        # Exact if converting back gives the same number; any other value is an error.
        converted = column.try_cast(wanted)
        exact = converted.cast(found).eqNullSafe(column)
        return F.when(exact, converted).otherwise(_refusal(column, wrong).cast(wanted))
    raise ProgramError(f"{wrong}; is it another data set, or a new version of the schema?")


def _wall_clock(field: Column, raw: RawColumn, path: str) -> SparkColumn:
    """Return instants as wall-clock times of New York; those labelled UTC as they are."""
    try:
        convert = zones.is_new_york(raw.zone or "UTC")
    except ValueError as error:
        raise ProgramError(f"{path}: column {field.source} {error}.") from None
    column = F.from_utc_timestamp(raw.column, zones.NEW_YORK) if convert else raw.column
    return column.cast("timestamp_ntz")


def _refusal(column: SparkColumn, wrong: str) -> SparkColumn:
    return F.raise_error(F.concat(F.lit(f"{wrong}: "), column.cast("string")))
