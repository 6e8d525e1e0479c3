"""Validation of a file of HVFHV trips before it is stored in the lake: schema by its contract, completeness, month."""

from collections.abc import Callable
from datetime import datetime
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from taxiway.core.month import Month
from taxiway.hvfhv.tables import TRIP_FILE

MAGIC = b"PAR1"


class TripFileError(ValueError):
    """A file is not a complete file of HVFHV trips of its month; the text continues a sentence that names the file."""


def _is_text(type_: pa.DataType) -> bool:
    if types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return bool(types.is_string(type_) or types.is_large_string(type_))


def _is_number(type_: pa.DataType) -> bool:
    return bool(types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_))


# The types that a column's kind in the contract accepts: the same column is INT32, INT64 or DOUBLE in different months,
# and a time is in microseconds, nanoseconds or INT96.
KINDS: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
    "string": ("text", _is_text),
    "integer": ("a number", _is_number),
    "number": ("a number", _is_number),
    "timestamp": ("a timestamp", types.is_timestamp),
}


def check_trip_file(file: BinaryIO, month: str) -> int:
    """Check that a file is a complete Parquet file of HVFHV trips, some of them picked up in its month.

    Unknown columns are accepted: TLC adds one now and then.

    Args:
        file: open for reading in binary, seekable.
        month: ``YYYY-MM``.

    Returns:
        the number of its rows.

    Raises:
        TripFileError: it is not such a file.
    """
    size = _check_ends(file)
    try:
        parquet = pq.ParquetFile(file)
        _check_complete(parquet.metadata, size)
        _check_columns(parquet.schema_arrow)
        if not parquet.metadata.num_rows:
            raise TripFileError("it has no rows")
        _check_month(parquet, month)
    except (pa.ArrowException, OSError) as error:
        raise TripFileError(f"it is a damaged Parquet file ({' '.join(str(error).split())[:200]})") from None
    return int(parquet.metadata.num_rows)


def _check_ends(file: BinaryIO) -> int:
    file.seek(0)
    start = file.read(60)
    size = file.seek(0, 2)
    if not size:
        raise TripFileError("it is empty")
    if start.lstrip()[:1] == b"<":
        page = " ".join(start.decode(errors="replace").split())
        raise TripFileError(f"it is an HTML or XML page, not a Parquet file; it begins with {page!r}")
    if not start.startswith(MAGIC):
        raise TripFileError(f"it is not a Parquet file; it begins with {start[:16]!r}")
    file.seek(max(0, size - 4))
    if size < 12 or file.read(4) != MAGIC:
        raise TripFileError(f"it is a truncated Parquet file: its end is missing after {size:,} bytes")
    return size


def _check_complete(metadata: pq.FileMetaData, size: int) -> None:
    """Detect a file with bytes missing in the middle: it has both ends, but its footer points beyond its size."""
    end = size - metadata.serialized_size - len(MAGIC) - 4
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            start = column.dictionary_page_offset or column.data_page_offset
            if start + column.total_compressed_size > end:
                raise TripFileError("it is a truncated Parquet file: its footer describes more bytes than it has")


def _check_columns(schema: pa.Schema) -> None:
    columns = {field.name.lower(): field for field in schema}
    agreed = sorted(TRIP_FILE.contract.columns.values(), key=lambda column: not column.required)
    if len(columns) != len(schema):
        raise TripFileError("it has two columns of the same name")
    if missing := [column.source for column in agreed if column.source not in columns and not column.optional]:
        named = f"{', '.join(missing[:3])}{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}"
        raise TripFileError(
            f"it lacks {'columns' if len(missing) > 1 else 'a column'} of HVFHV trips ({named}); "
            f"it has {', '.join(schema.names[:4])}{', …' if len(schema) > 4 else ''}"
        )
    for column in agreed:
        kind, fits = KINDS[column.kind]
        field = columns.get(column.source)
        # A column that has only nulls may have the null type.
        if field is None or fits(field.type) or (types.is_null(field.type) and not column.required):
            continue
        raise TripFileError(f"its column {field.name} is of type {field.type}, but must be {kind}")


def _check_month(parquet: pq.ParquetFile, month: str) -> None:
    """Require at least one pickup in the month; a few outside it are common, and quarantined later."""
    start, end = Month.parse(month).start, Month.parse(month).end  # New York's wall clock, like the column
    found: list[datetime] = []
    name = next(name for name in parquet.schema_arrow.names if name.lower() == "pickup_datetime")
    for batch in parquet.iter_batches(batch_size=1 << 20, columns=[name]):
        pickups = batch.column(0).cast(pa.timestamp("us"), safe=False)
        if pc.any(pc.and_(pc.greater_equal(pickups, start), pc.less(pickups, end))).as_py():
            return
        found += [pickup for pickup in pc.min_max(pickups).as_py().values() if pickup]
    pickups_found = f"they began between {min(found)} and {max(found)}" if found else "they have no pickup time"
    raise TripFileError(f"none of its {parquet.metadata.num_rows:,} trips is of {month}: {pickups_found}")
