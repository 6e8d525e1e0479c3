"""The columns of HVFHV trips, and how each version of TLC's files (2019 to 2026) is brought to them.

TLC's files agree neither in the case of names (Airport_fee, airport_fee) nor in types (INT32, INT64 or DOUBLE for one
column, timestamps in micro- or nanoseconds or INT96), and columns came with the years. So every file is read by itself,
its columns are converted by the type that is found, and only then are files put together.
"""

from dataclasses import dataclass
from functools import reduce

from pyspark.errors import AnalysisException, UnsupportedOperationException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.common import tables
from spark_jobs.common.program import ENGINE_ERRORS, JobError


@dataclass(frozen=True)
class Field:
    """A column of the trips: its name and type here, its name in TLC's files, and whether a file may lack it."""

    name: str
    type: str
    source: str = ""
    optional: bool = False

    @property
    def source_name(self) -> str:
        """The column's name in TLC's files, in lower case; engines compare names without case."""
        return self.source or self.name


FIELDS = (
    Field("hvfhs_license_num", "string"),
    Field("dispatching_base_num", "string"),
    Field("originating_base_num", "string"),
    Field("request_datetime", "timestamp_ntz"),
    Field("on_scene_datetime", "timestamp_ntz", optional=True),
    Field("pickup_datetime", "timestamp_ntz"),
    Field("dropoff_datetime", "timestamp_ntz"),
    Field("pickup_zone_id", "int", source="pulocationid"),
    Field("dropoff_zone_id", "int", source="dolocationid"),
    Field("trip_miles", "double"),
    Field("trip_time", "bigint"),
    Field("base_passenger_fare", "double"),
    Field("tolls", "double"),
    Field("bcf", "double"),
    Field("sales_tax", "double"),
    Field("congestion_surcharge", "double"),
    Field("airport_fee", "double", optional=True),
    Field("cbd_congestion_fee", "double", optional=True),
    Field("tips", "double"),
    Field("driver_pay", "double"),
    Field("shared_request_flag", "string"),
    Field("shared_match_flag", "string"),
    Field("access_a_ride_flag", "string"),
    Field("wav_request_flag", "string"),
    Field("wav_match_flag", "string"),
)
NAMES = [field.name for field in FIELDS]

# A type that Sail reads but has no Spark name for: TIMESTAMP(NANOS), and strings kept as a dictionary.
_UNNAMED = "unnamed"
_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_REALS = ("float", "double")


def read_trips(spark: SparkSession, paths: list[str]) -> DataFrame:
    """Read TLC's files as one frame with the columns of :data:`FIELDS`, whatever their schema versions.

    Raises:
        JobError: a file is not readable, lacks a column, or has one of a type that cannot be converted without loss.
    """
    return reduce(DataFrame.unionByName, [_read_file(spark, path) for path in paths])


def _read_file(spark: SparkSession, path: str) -> DataFrame:
    source = tables.read(spark, path)
    try:
        types = _types(source)
    except ENGINE_ERRORS as error:
        raise tables.unreadable(path, error) from error
    missing = [field.source_name for field in FIELDS if field.source_name not in types and not field.optional]
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more columns" if len(missing) > 3 else "")
        raise JobError(f"{path} lacks {names}, which every file of HVFHV trips has; is it another data set?")
    return source.select(*(_normalised(field, types, path).alias(field.name) for field in FIELDS))


def _types(source: DataFrame) -> dict[str, str]:
    """Return the type of each column by its name in lower case."""
    try:
        return {name.lower(): type_ for name, type_ in source.dtypes}
    except UnsupportedOperationException:
        # Sail cannot name one of the types; ask for each column by itself.
        return {field.source_name: type_ for field in FIELDS if (type_ := _type(source, field.source_name))}


def _type(source: DataFrame, name: str) -> str | None:
    try:
        return source.select(name).dtypes[0][1]
    except UnsupportedOperationException:
        return _UNNAMED
    except AnalysisException:
        return None


def _normalised(field: Field, types: dict[str, str], path: str) -> Column:
    column = _converted(field, types, path)
    # -0.0 becomes 0.0: the engines disagree on whether the two are equal, and so on what a duplicate is.
    return column + F.lit(0.0) if field.type == "double" else column


def _converted(field: Field, types: dict[str, str], path: str) -> Column:
    """Return the field's column as its type, converted without loss."""
    found = types.get(field.source_name, "void")
    if found == "void":
        return F.lit(None).cast(field.type)
    column = F.col(field.source_name)
    if found == field.type:
        return column
    wrong = f"{path}: column {field.source_name} is {found}, which has no exact {field.type}"
    if field.type == "timestamp_ntz":
        if found in ("timestamp", _UNNAMED):
            return column.cast("timestamp_ntz")
        if found == "bigint":  # TIMESTAMP(NANOS) on Apache Spark: nanosAsLong
            return F.timestamp_micros(F.expr(f"{field.source_name} div 1000")).cast("timestamp_ntz")
    if field.type == "string" and found == _UNNAMED:
        return column.cast("string")
    if found in _INTEGERS and field.type in _INTEGERS:
        return column.cast(field.type)  # a number that is too large ends the program: ANSI
    if field.type in (*_INTEGERS, *_REALS) and (found in (*_INTEGERS, *_REALS) or found.startswith("decimal")):
        # Exact if the way back gives the same number; a value for which it does not ends the program.
        converted = column.try_cast(field.type)
        exact = converted.cast(found).eqNullSafe(column)
        return F.when(exact, converted).otherwise(_refusal(column, wrong).cast(field.type))
    if found == "int":  # what Apache Spark takes a column for that has nothing but nulls and no type
        return F.when(column.isNotNull(), _refusal(column, wrong)).cast(field.type)
    raise JobError(f"{wrong}; is it another data set, or a new version of the schema?")


def _refusal(column: Column, wrong: str) -> Column:
    return F.raise_error(F.concat(F.lit(f"{wrong}: "), column.cast("string")))
