"""Validation of a file of HVFHV trips before it is stored in the lake: schema by its contract, completeness, month.

What passes, the Spark program reads on both engines, so every value of a column that it reads is decoded here once.
Other columns are accepted whatever they hold: TLC adds one now and then.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from taxiway.core import zones
from taxiway.core.contracts import Column
from taxiway.core.month import Month
from taxiway.hvfhv.tables import TRIP_FILE

LONGEST = 600  # letters of a message
MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
BATCH = 1 << 17  # rows; with BUFFER it bounds the memory, whatever the size of the file's row groups
BUFFER = 1 << 20  # bytes
# What both engines decode. Not BROTLI, LZO and Hadoop's own LZ4, for which Apache Spark needs native libraries.
CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4")
ENCODINGS = (
    *("PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED", "BYTE_STREAM_SPLIT"),
    *("DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"),
)
REWRITE = "write the file anew with zstd compression and default encodings"
# Apache Spark 4.0 cannot read even the footer of a file that has a column of these types.
UNKNOWN_TYPES = re.compile(
    r"^ +(?:required|optional|repeated) .*\((Variant|Geometry|Geography|Undefined)\b.*\)(?: \{|;)$"
)
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - wall clock
# Microseconds since 1970 of the years 1 to 9999, which are Spark's, and of those that INT96 has in all readers.
YEARS = (-62_135_596_800_000_000, 253_402_300_800_000_000)
YEARS_OF_INT96 = (-(1 << 63) // 1000 + 1, (1 << 63) // 1000)
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}  # per second
SECONDS_A_YEAR = 31_556_952


class TripFileError(ValueError):
    """A file is not a complete file of HVFHV trips of its month; the text continues a sentence that names the file."""

    def __init__(self, text: str) -> None:
        line = " ".join(text.split())[:LONGEST]  # names of columns may hold anything
        super().__init__("".join(letter if letter.isprintable() else "\ufffd" for letter in line))


def _value_type(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if types.is_dictionary(type_) else type_


def _is_text(type_: pa.DataType) -> bool:
    # Old writers do not mark text as such: it is binary then.
    return any(is_(type_) for is_ in (*_STRINGS, *_BINARIES))


_STRINGS = (types.is_string, types.is_large_string, types.is_string_view)
_BINARIES = (types.is_binary, types.is_large_binary, types.is_binary_view)


def _is_number(type_: pa.DataType) -> bool:
    if types.is_decimal(type_):
        return bool(type_.precision <= 38)  # Spark's limit
    return bool(types.is_integer(type_) or types.is_float32(type_) or types.is_float64(type_))


# The types that a column's kind in the contract accepts: the same column is INT32, INT64 or DOUBLE in different months,
# and a time is in microseconds, nanoseconds or INT96. Spark reads neither half floats nor decimals of 39 digits.
KINDS: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
    "string": ("text", _is_text),
    "integer": ("a number of up to 64 bits or 38 digits", _is_number),
    "number": ("a number of up to 64 bits or 38 digits", _is_number),
    "timestamp": ("a timestamp", types.is_timestamp),
}
ARROW_TYPES = {"int": pa.int32(), "bigint": pa.int64(), "double": pa.float64()}  # of the contract's numbers


def check_trip_file(file: BinaryIO, month: str) -> int:
    """Check that a file is a complete Parquet file of HVFHV trips, some of them picked up in its month.

    Args:
        file: open for reading in binary, seekable.
        month: ``YYYY-MM``.

    Returns:
        the number of its rows.

    Raises:
        TripFileError: it is not such a file.
    """
    _check_ends(file)
    with _damage("it is a damaged Parquet file, or has a column of an unknown type"):
        parquet = pq.ParquetFile(
            file, buffer_size=BUFFER, page_checksum_verification=True, coerce_int96_timestamp_unit="us"
        )
        _check_types(parquet)
        columns = _check_columns(parquet.schema_arrow)
        if not parquet.metadata.num_rows:
            raise TripFileError("it has no rows")
        instants = zones.of_instants(parquet)
    found = _Pickups(month, _is_new_york(columns, instants))
    for name, column in columns.items():
        _check_values(parquet, name, column, found)
    found.check(parquet.metadata.num_rows)
    return int(parquet.metadata.num_rows)


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Report as damage whatever the reader raises: a file may hold any bytes, and so any invalid name or number."""
    try:
        yield
    except TripFileError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TripFileError(f"{what} ({str(error)[:200].strip()})") from None


def _check_ends(file: BinaryIO) -> None:
    file.seek(0)
    start = file.read(60)
    size = file.seek(0, 2)
    if not size:
        raise TripFileError("it is empty")
    if start.lstrip()[:1] == b"<":
        page = " ".join(start.decode(errors="replace").split())
        raise TripFileError(f"it is an HTML or XML page, not a Parquet file; it begins with {page!r}")
    if start.startswith(ENCRYPTED_MAGIC):
        raise TripFileError("it is an encrypted Parquet file; write it anew without encryption")
    if not start.startswith(MAGIC):
        raise TripFileError(f"it is not a Parquet file; it begins with {start[:16]!r}")
    file.seek(max(0, size - 4))
    if size < 12 or file.read(4) != MAGIC:
        raise TripFileError(f"it is a truncated Parquet file: its end is missing after {size:,} bytes")


def _check_types(parquet: pq.ParquetFile) -> None:
    name = ""
    for line in str(parquet.schema).splitlines()[2:]:
        if line.startswith("  ") and not line.startswith("   "):  # a column; those below are its parts
            name = re.sub(r"^.* field_id=-?\d+ (.*?)(?: \(.*)?(?: \{|;)$", r"\1", line)
        if unknown := UNKNOWN_TYPES.match(line):
            raise TripFileError(
                f"its column {name} is of the type {unknown[1].upper()}, which makes the file unreadable for "
                "Apache Spark; write the file anew without it"
            )


def _check_columns(schema: pa.Schema) -> dict[str, Column]:
    """Return the contract's columns by their name in the file."""
    agreed = sorted(TRIP_FILE.contract.columns.values(), key=lambda column: not column.required)
    sources = {column.source for column in agreed}
    columns: dict[str, pa.Field] = {}
    for field in schema:
        if (name := field.name.lower()) in sources and columns.setdefault(name, field) is not field:
            raise TripFileError(f"it has two columns of the same name ({columns[name].name}, {field.name})")
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
        if field is None or fits(_value_type(field.type)) or (types.is_null(field.type) and not column.required):
            continue
        raise TripFileError(f"its column {field.name} is of type {field.type}, but must be {kind}")
    return {columns[column.source].name: column for column in agreed if column.source in columns}


def _is_new_york(columns: dict[str, Column], instants: dict[str, str]) -> bool:
    """Return whether pickup times are instants to be converted to New York's wall clock, and check all zones."""
    convert = False
    for name, column in columns.items():
        if column.kind == "timestamp" and name in instants:
            try:
                is_new_york = zones.is_new_york(instants[name])
            except ValueError as error:
                raise TripFileError(f"its column {name} {error}") from None
            convert |= is_new_york and column.name == "pickup_datetime"
    return convert


def _check_values(parquet: pq.ParquetFile, name: str, column: Column, pickups: "_Pickups") -> None:
    """Read a column, page by page: its pages must be whole, and its values fit the contract's type."""
    [index] = [i for i in range(len(parquet.schema)) if parquet.schema.column(i).path == name]
    years = YEARS_OF_INT96 if parquet.schema.column(index).physical_type == "INT96" else YEARS
    rows = 0
    with _damage(f"its column {name} is damaged, or encoded in a way that is not supported"):
        for batch in parquet.iter_batches(batch_size=BATCH, columns=[name], use_threads=False):
            values = batch.column(0)
            rows += len(values)
            if types.is_dictionary(values.type):
                values.validate(full=True)  # an index beyond the dictionary
                values = values.dictionary_decode()
            if column.kind == "string":
                _check_text(name, values)
            elif column.kind != "timestamp":
                _check_numbers(name, values, column.type)
            elif not types.is_null(values.type):
                found = _microseconds(name, values, years)
                if column.name == "pickup_datetime":
                    pickups.add(found)
    if rows != parquet.metadata.num_rows:
        raise TripFileError(f"its column {name} is damaged: it has {rows:,} values, not {parquet.metadata.num_rows:,}")
    # After reading: what is wrong with a chunk's metadata ends the process if pyarrow is asked for it.
    _check_coding(parquet.metadata, name, index)


def _check_coding(metadata: pq.FileMetaData, name: str, index: int) -> None:
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(index)
        for found, readable, how in (
            ([chunk.compression], CODECS, "compressed with"),
            (chunk.encodings, ENCODINGS, "encoded as"),
        ):
            if unknown := [one for one in found if one not in readable]:
                raise TripFileError(f"its column {name} is {how} {unknown[0]}, which not every engine reads; {REWRITE}")


def _check_text(name: str, values: pa.Array) -> None:
    try:
        if any(is_(values.type) for is_ in _BINARIES):
            values.cast(pa.large_string())  # fails if it is not UTF-8
        values.validate(full=True)
    except pa.ArrowException:
        raise TripFileError(f"its column {name} has text that is not in UTF-8") from None


def _check_numbers(name: str, values: pa.Array, wanted: str) -> None:
    """Require that each number has an exact equivalent of the contract's type; NaN and infinity count as missing."""
    target = ARROW_TYPES[wanted]
    if values.type == target or types.is_null(values.type):
        return
    try:
        if types.is_floating(values.type):
            values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
        converted = values.cast(target)
        if types.is_decimal(values.type) and not converted.cast(values.type).equals(values):
            raise pa.ArrowInvalid("too many digits")
    except pa.ArrowException as error:
        raise TripFileError(
            f"its column {name} of type {values.type} has a value without an exact {wanted} "
            f"({str(error)[:200].strip()})"
        ) from None


def _microseconds(name: str, values: pa.Array, years: tuple[int, int]) -> pa.Array:
    """Return times as microseconds since 1970, after a check that all engines have them."""
    unit = UNITS[values.type.unit]
    for extreme in pc.min_max(values.cast(pa.int64())).as_py().values():
        if extreme is not None and not years[0] <= extreme * 1_000_000 // unit < years[1]:
            raise TripFileError(
                f"its column {name} has times of about the year {1970 + extreme // (unit * SECONDS_A_YEAR)}; "
                f"its numbers seem to be in another unit than that of {values.type}"
            )
    # Digits beyond microseconds are dropped, as Spark does.
    return values.cast(pa.timestamp("us", values.type.tz), safe=False).cast(pa.int64())


class _Pickups:
    """Search for a pickup in the month; a few outside it are common, and quarantined later."""

    def __init__(self, month: str, convert: bool) -> None:
        """``convert``: times are instants, to be converted to New York's wall clock."""
        self.month = month
        self.zone = ZoneInfo(zones.NEW_YORK) if convert else None
        parsed = Month.parse(month)
        self.start, self.end = self._microseconds(parsed.start), self._microseconds(parsed.end)
        self.found = False
        self.first: int | None = None
        self.last: int | None = None

    def _microseconds(self, wall_clock: datetime) -> int:
        if self.zone:
            wall_clock = wall_clock.replace(tzinfo=self.zone).astimezone(UTC).replace(tzinfo=None)
        return (wall_clock - EPOCH) // timedelta(microseconds=1)

    def _wall_clock(self, microseconds: int) -> datetime:
        time = EPOCH + timedelta(microseconds=microseconds)
        with suppress(OverflowError):  # within hours of the year 1 there is no other zone
            time = time.replace(tzinfo=UTC).astimezone(self.zone).replace(tzinfo=None) if self.zone else time
        return time

    def add(self, microseconds: pa.Array) -> None:
        """Search further times."""
        if self.found or microseconds.null_count == len(microseconds):
            return
        inside = pc.and_(pc.greater_equal(microseconds, self.start), pc.less(microseconds, self.end))
        self.found = bool(pc.any(inside).as_py())
        first, last = pc.min_max(microseconds).as_py().values()
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)

    def check(self, rows: int) -> None:
        """Raise TripFileError if there was none."""
        if self.found:
            return
        if self.first is None or self.last is None:
            began = "they have no pickup time"
        else:
            began = f"they began between {self._wall_clock(self.first)} and {self._wall_clock(self.last)}"
        raise TripFileError(f"none of its {rows:,} trips is of {self.month}: {began}")
