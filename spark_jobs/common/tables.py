"""Partitions of the lake's tables: how they are read and written."""

from pathlib import Path

from pyspark.errors import UnsupportedOperationException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import TimestampNTZType

from spark_jobs.common.program import ENGINE_ERRORS, JobError, first_line

# Sail: decode a column's values only for rows that pass the filter. Apache Spark does not know the option.
_READING = {"pushdown_filters": "true"}


def read(spark: SparkSession, path: str) -> DataFrame:
    """Read a Parquet file or folder.

    Raises:
        JobError: there is nothing, or it is not Parquet.
    """
    try:
        rows = spark.read.options(**_READING).parquet(path)
        if not _is_there(rows):
            raise JobError(f"There is no Parquet file at {path}; an earlier step writes it, or it must be put there.")
    except ENGINE_ERRORS as error:
        raise unreadable(path, error) from error
    return rows


def unreadable(path: str, error: Exception) -> JobError:
    """Return the error that tells why a path could not be read."""
    return JobError(f"{path} cannot be read as Parquet: {first_line(error)}.")


def write(rows: DataFrame, path: str) -> None:
    """Write a partition, a file for each of the engine's tasks; what the folder held before is replaced.

    Where there are no rows, one file still carries the schema.
    """
    writer = rows.write.mode("overwrite").option("compression", "zstd")
    for field in rows.schema:
        if isinstance(field.dataType, TimestampNTZType):
            # Times hardly repeat: Apache Spark would look each of them up in a dictionary that it then throws away.
            writer = writer.option(f"parquet.enable.dictionary#{field.name}", "false")
    writer.parquet(path)
    # Apache Spark leaves such a file by itself; Sail leaves none, and reads that as a frame without columns.
    if not _is_there(rows.sparkSession.read.parquet(path)):
        _write_schema(rows, path)


def write_one_file(rows: DataFrame, path: str) -> None:
    """Write a small partition as one file."""
    # repartition, not coalesce: the work before it stays parallel.
    write(rows.repartition(1), path)


def _is_there(rows: DataFrame) -> bool:
    try:
        return bool(rows.columns)
    except UnsupportedOperationException:  # columns of a type that Sail has no Spark name for
        return True


def _write_schema(rows: DataFrame, path: str) -> None:
    from pyarrow import fs, parquet  # every Spark Connect client has it; a cluster's Python need not
    from pyspark.sql.pandas.types import to_arrow_schema

    files, folder = fs.FileSystem.from_uri(path if "://" in path else Path(path).absolute().as_uri())
    if isinstance(files, fs.LocalFileSystem):  # S3 has no folders; one would become an object
        files.create_dir(folder)
    with files.open_output_stream(f"{folder}/part-0.parquet") as file:
        parquet.write_table(to_arrow_schema(rows.schema).empty_table(), file)
