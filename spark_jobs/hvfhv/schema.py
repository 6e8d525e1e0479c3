"""The columns of HVFHV trips, and the conversion of all versions of TLC's files (2019 to 2026) to them.

TLC's files differ in the case of names (Airport_fee, airport_fee) and in types (INT32, INT64 or DOUBLE for one column,
timestamps in micro- or nanoseconds or INT96), and columns were added over the years. So every file is read separately,
its columns are converted from the type in the file to the type in the contract, and then the files are combined.
"""

from functools import reduce

from pyspark.errors import AnalysisException, UnsupportedOperationException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.common import tables
from spark_jobs.common.program import ENGINE_ERRORS, ProgramError
from spark_jobs.hvfhv.contracts import contract
from taxiway.core.contracts import Column

# A wall-clock time, which Glue calls a timestamp, is one without a zone in Spark.
SPARK_TYPES = {"timestamp": "timestamp_ntz"}
FIELDS = tuple(contract("trip_file").columns.values())
NAMES = [field.name for field in FIELDS]


def spark_type(field: Column) -> str:
    """Return the Spark type of a contract's column."""
    return SPARK_TYPES.get(field.type, field.type)


# A type that Sail reads but cannot name in Spark's terms: TIMESTAMP(NANOS), and dictionary-encoded strings.
_UNNAMED = "unnamed"
_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_REALS = ("float", "double")


def read_trips(spark: SparkSession, paths: list[str]) -> DataFrame:
    """Read TLC's files as one frame with the columns of :data:`FIELDS`, whatever their schema versions.

    Raises:
        ProgramError: a file is unreadable, lacks a column, or has one of a type that cannot be converted without loss.
    """
    return reduce(DataFrame.unionByName, [_read_file(spark, path) for path in paths])


def _read_file(spark: SparkSession, path: str) -> DataFrame:
    source = tables.read(spark, path)
    try:
        types = _types(source)
    except ENGINE_ERRORS as error:
        raise tables.unreadable(path, error) from error
    missing = [field.source for field in FIELDS if field.source not in types and not field.optional]
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more columns" if len(missing) > 3 else "")
        raise ProgramError(f"{path} lacks {names}, which every file of HVFHV trips has; is it another data set?")
    return source.select(*(_normalised(field, types, path).alias(field.name) for field in FIELDS))


def _types(source: DataFrame) -> dict[str, str]:
    """Return the type of each column by its name in lower case."""
    try:
        return {name.lower(): type_ for name, type_ in source.dtypes}
    except UnsupportedOperationException:
        # Sail cannot name one of the types; query each column separately.
        return {field.source: type_ for field in FIELDS if (type_ := _type(source, field.source))}


def _type(source: DataFrame, name: str) -> str | None:
    try:
        return source.select(name).dtypes[0][1]
    except UnsupportedOperationException:
        return _UNNAMED
    except AnalysisException:
        return None


def _normalised(field: Column, types: dict[str, str], path: str) -> SparkColumn:
    column = _converted(field, types, path)
    # -0.0 becomes 0.0: the engines disagree on whether the two are equal, and so on which rows are duplicates.
    return column + F.lit(0.0) if field.type == "double" else column


def _converted(field: Column, types: dict[str, str], path: str) -> SparkColumn:
    """Return the field's column, converted to its type without loss."""
    wanted, found = spark_type(field), types.get(field.source, "void")
    if found == "void":
        return F.lit(None).cast(wanted)
    column = F.col(field.source)
    if found == wanted:
        return column
    wrong = f"{path}: column {field.source} is {found}, which has no exact {wanted}"
    if wanted == "timestamp_ntz":
        if found in ("timestamp", _UNNAMED):
            return column.cast("timestamp_ntz")
        if found == "bigint":  # TIMESTAMP(NANOS) on Apache Spark: nanosAsLong
            return F.timestamp_micros(F.expr(f"{field.source} div 1000")).cast("timestamp_ntz")
    if wanted == "string" and found == _UNNAMED:
        return column.cast("string")
    if found in _INTEGERS and wanted in _INTEGERS:
        return column.cast(wanted)  # a number that is too large is an error: ANSI mode
    if wanted in (*_INTEGERS, *_REALS) and (found in (*_INTEGERS, *_REALS) or found.startswith("decimal")):
        # Exact if converting back gives the same number; any other value is an error.
        converted = column.try_cast(wanted)
        exact = converted.cast(found).eqNullSafe(column)
        return F.when(exact, converted).otherwise(_refusal(column, wrong).cast(wanted))
    if found == "int":  # Apache Spark's type for a column of the null type
        return F.when(column.isNotNull(), _refusal(column, wrong)).cast(wanted)
    raise ProgramError(f"{wrong}; is it another data set, or a new version of the schema?")


def _refusal(column: SparkColumn, wrong: str) -> SparkColumn:
    return F.raise_error(F.concat(F.lit(f"{wrong}: "), column.cast("string")))
