"""Reads and writes partitions of the lake's tables."""

from pathlib import Path

from pyspark.errors import UnsupportedOperationException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import TimestampNTZType

from spark_jobs.common.program import ENGINE_ERRORS, ProgramError, first_line

# Sail: decode a column's values only for rows that pass the filter. Apache Spark ignores the option.
READING = {"pushdown_filters": "true"}

_WRITING = {
    "compression": "zstd",
    # A quarter of the default: columns with many different values give up their dictionary sooner, and those with few
    # keep theirs. Each engine ignores the other's name of the option.
    "dictionary_page_size_limit": "262144",
    "parquet.dictionary.page.size": "262144",
    # Sail's level, so that both write alike; Apache Spark's default is 3.
    "parquet.compression.codec.zstd.level": "1",
}


def read(spark: SparkSession, path: str) -> DataFrame:
    """Read a Parquet file or folder.

    Raises:
        ProgramError: there is no file, or it is not Parquet.
    """
    try:
        rows = spark.read.options(**READING).parquet(path)
        if not _exists(rows):
            raise ProgramError(f"There is no Parquet file at {path}; run the step that writes it, or upload the file.")
    except ENGINE_ERRORS as error:
        raise unreadable(path, error) from error
    return rows


def unreadable(path: str, error: Exception) -> ProgramError:
    """Return the error for a path that could not be read."""
    return ProgramError(f"{path} cannot be read as Parquet: {first_line(error)}.")


def write(rows: DataFrame, path: str) -> None:
    """Write a partition, one file for each of the engine's tasks, replacing the content of the folder.

    Without rows, one file is written with the schema only.
    """
    writer = rows.write.mode("overwrite").options(**_WRITING)
    for field in rows.schema:
        if isinstance(field.dataType, TimestampNTZType):
            # Times hardly repeat: Apache Spark would build a dictionary and then discard it.
            writer = writer.option(f"parquet.enable.dictionary#{field.name}", "false")
    writer.parquet(path)
    # Apache Spark writes such a file by itself; Sail does not, and reads the folder as a frame without columns.
    if not _exists(rows.sparkSession.read.parquet(path)):
        _write_schema(rows, path)


def write_one_file(rows: DataFrame, path: str) -> None:
    """Write a small partition as one file."""
    # repartition, not coalesce: the computation before it stays parallel.
    write(rows.repartition(1), path)


def in_memory(rows: DataFrame) -> DataFrame:
    """Return a small frame computed once, for several others to be made from it; Sail does not persist frames."""
    return rows.sparkSession.createDataFrame(rows.collect(), rows.schema)


def _exists(rows: DataFrame) -> bool:
    try:
        return bool(rows.columns)
    except UnsupportedOperationException:  # columns of a type for which Sail has no Spark name
        return True


def _write_schema(rows: DataFrame, path: str) -> None:
    from pyarrow import fs, parquet  # installed with every Spark Connect client, but not on every cluster
    from pyspark.sql.pandas.types import to_arrow_schema

    files, folder = fs.FileSystem.from_uri(path if "://" in path else Path(path).absolute().as_uri())
    if isinstance(files, fs.LocalFileSystem):  # S3 has no folders; one would become an object
        files.create_dir(folder)
    with files.open_output_stream(f"{folder}/part-0.parquet") as file:
        parquet.write_table(to_arrow_schema(rows.schema).empty_table(), file)
