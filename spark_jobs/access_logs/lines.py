"""Reads the lines of log files as text that keeps every byte, on both engines.

Apache Spark's text may hold any bytes; Sail's is UTF-8, and reading a file with other bytes fails. Such files, which
are rare (Apache and nginx escape what is not ASCII), are rewritten for Sail with the same escapes that lines get here.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.utils import is_remote

from spark_jobs.common.program import ENGINE_ERRORS, ProgramError, first_line

ESCAPE = "\ufffd"  # then two upper-case hexadecimal digits: a byte that is not UTF-8, or one of this character itself
BYTE_ORDER_MARK = "\ufeff"
_ESCAPED_ESCAPE = "".join(f"{ESCAPE}{byte:02X}" for byte in ESCAPE.encode())
_SAIL_REFUSES = "invalid UTF-8"
_BYTES_AT_ONCE = 16 << 20

# Well-formed UTF-8 in hexadecimal (Unicode 16, table 3-7) without EFBFBD, which is ESCAPE.
_TAIL = "[89AB][0-9A-F]"
_CHARACTERS = "|".join(
    (
        "[0-7][0-9A-F]",
        f"(?:C[2-9A-F]|D[0-9A-F]){_TAIL}",
        f"E0[AB][0-9A-F]{_TAIL}",
        f"(?:E[1-9A-CE]){_TAIL}{_TAIL}",
        f"ED[89][0-9A-F]{_TAIL}",
        f"EF(?:[89A][0-9A-F]{_TAIL}|B[0-9A-E]{_TAIL}|BF(?:[89A][0-9A-F]|B[0-9A-CEF]))",
        f"F0[9AB][0-9A-F]{_TAIL}{_TAIL}",
        f"F[1-3]{_TAIL}{_TAIL}{_TAIL}",
        f"F48[0-9A-F]{_TAIL}{_TAIL}",
    )
)
# At most so many at once: Java's regular expressions recurse for each.
_TEXT = f"(?:{_CHARACTERS}){{1,200}}"


def read(spark: SparkSession, files: Mapping[str, str], rewritten: Mapping[str, str]) -> DataFrame:
    """Return the lines of files as a frame of source_file, line and length (bytes); blank lines are among them.

    Args:
        spark: session.
        files: path by name; ``.gz`` is decompressed.
        rewritten: the result of :func:`rewrite`, by name.

    Raises:
        ProgramError: a file is missing.
    """
    return reduce(
        DataFrame.unionByName,
        [
            (spark.read.parquet(rewritten[name]) if name in rewritten else _read_text(spark, path)).select(
                F.lit(name).alias("source_file"), "line", "length"
            )
            for name, path in files.items()
        ],
    )


def _read_text(spark: SparkSession, path: str) -> DataFrame:
    if is_remote():
        files, place = _place(path)
        if files.get_file_info(place).type.name != "File":  # in which Sail would find no line
            raise ProgramError(f"{path} cannot be read: there is no such file.")
    try:
        text = spark.read.text(path, lineSep="\n")
    except ENGINE_ERRORS as error:
        raise ProgramError(f"{path} cannot be read: {first_line(error)}.") from error
    value = F.col("value")
    ended = F.when(F.endswith(value, F.lit("\r")), F.expr("left(value, length(value) - 1)")).otherwise(value)
    bare = text.select(ended.alias("value"))
    start = F.startswith(value, F.lit(BYTE_ORDER_MARK))  # Apache Spark itself skips one, at the start of a file
    bare = bare.select(F.when(start, F.substring(value, 2, 2**31 - 1)).otherwise(value).alias("value"))
    # Sail, whose text is UTF-8, would compile the long regular expression anew for each batch of rows.
    line = F.replace(value, F.lit(ESCAPE), F.lit(_ESCAPED_ESCAPE)) if is_remote() else escaped(value)
    return bare.select(line.alias("line"), F.octet_length(value).alias("length"))


def escaped(value: Column) -> Column:
    """Return text as UTF-8 in which each byte that is not UTF-8 is ESCAPE and two hexadecimal digits."""
    bytes_ = F.hex(value.cast("binary"))
    marked = F.replace(F.regexp_replace(bytes_, f"({_TEXT})|(..)", "$1<$2>"), F.lit("<>"), F.lit(""))
    # <FF> → the bytes of ESCAPE, F and F.
    first = {f"<{digit}": f"{ESCAPE.encode().hex().upper()}{ord(digit):X}[" for digit in "89ABCDEF"}
    second = {f"[{digit}>": f"{ord(digit):X}" for digit in "0123456789ABCDEF"}
    written = reduce(lambda text, pair: F.replace(text, *map(F.lit, pair)), (first | second).items(), marked)
    plain = F.is_valid_utf8(value) & ~F.contains(value, F.lit(ESCAPE))
    return F.when(plain, value).otherwise(F.decode(F.unhex(written), "UTF-8"))


def unreadable(spark: SparkSession, files: Mapping[str, str], error: Exception) -> list[str]:
    """Find out why an engine failed while it read the files: return the names of those that must be rewritten.

    Raises:
        ProgramError: a file cannot be read; the text names it.
        Exception: ``error``, if the engine reads every file by itself.
    """
    names = []
    for name, path in files.items():
        try:
            spark.read.text(path, lineSep="\n").agg(F.sum(F.octet_length("value"))).collect()
        except ENGINE_ERRORS as fault:
            if is_remote() and _SAIL_REFUSES in str(fault):
                names.append(name)
            else:
                raise _damaged(path, first_line(fault)) from fault
    if not names:
        raise error
    return names


def rewrite(path: str, folder: str) -> None:
    """Write a file's lines to Parquet with the columns line and length, as :func:`read` returns them.

    Args:
        path: of the file; ``.gz`` is decompressed.
        folder: to write to.

    Raises:
        ProgramError: the file's gzip data is cut short or damaged.
    """
    import pyarrow as pa  # installed with every Spark Connect client, which alone comes here
    from pyarrow import fs, parquet

    codecs.register_error("access_logs", _escape)
    columns = pa.schema([("line", pa.string()), ("length", pa.int64())])
    files, place = _place(path)
    target, to = _place(f"{folder}/part-0.parquet")
    if isinstance(target, fs.LocalFileSystem):
        target.create_dir(to.rpartition("/")[0])
    with files.open_input_file(place) as stored, target.open_output_stream(to) as out:
        lines: Any = gzip.GzipFile(fileobj=stored) if path.endswith(".gz") else io.BufferedReader(stored)
        with parquet.ParquetWriter(out, columns, compression="zstd") as writer:
            try:
                for rows in _batches(lines):
                    writer.write_table(pa.Table.from_pylist(rows, columns))
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise _damaged(path, str(error)) from error


def remove(folder: str) -> None:
    """Remove a folder of what :func:`rewrite` wrote."""
    files, place = _place(folder)
    files.delete_dir(place)


def _place(path: str) -> tuple[Any, str]:
    from pyarrow import fs

    files, place = fs.FileSystem.from_uri(path if "://" in path else Path(path).absolute().as_uri())
    return files, place


def _batches(lines: Any) -> Iterator[list[dict[str, Any]]]:
    while batch := lines.readlines(_BYTES_AT_ONCE):
        rows = []
        for ended in batch:
            value = ended.removesuffix(b"\n").removesuffix(b"\r").removeprefix(codecs.BOM_UTF8)
            # What is ESCAPE in the file is decoded piece by piece around it.
            pieces = (piece.decode(errors="access_logs") for piece in value.split(ESCAPE.encode()))
            rows.append({"line": _ESCAPED_ESCAPE.join(pieces), "length": len(value)})
        yield rows


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"{ESCAPE}{byte:02X}" for byte in error.object[error.start : error.end]), error.end


def _damaged(path: str, why: str) -> ProgramError:
    if path.endswith(".gz"):
        return ProgramError(
            f"{path} cannot be read to its end: its gzip data is cut short or damaged ({why}); "
            "deliver the whole file again."
        )
    return ProgramError(f"{path} cannot be read: {why}.")
