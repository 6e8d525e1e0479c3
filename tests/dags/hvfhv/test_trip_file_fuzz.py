"""Whatever a file holds, the check accepts it or refuses it in one sentence; it never ends in another error."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taxiway.hvfhv.tables import TRIP_FILE
from taxiway.hvfhv.trip_file import TripFileError, check_trip_file

ROWS = 4
NAMES = [column.source for column in TRIP_FILE.contract.columns.values()]
ZONES = [None, "UTC", "America/New_York", "US/Eastern", "+00:00", "-05:00", "Europe/Berlin", "no zone", ""]
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]
OTHERS = [
    *(
        pa.null(),
        pa.bool_(),
        pa.date32(),
        pa.date64(),
        pa.time32("ms"),
        pa.time64("us"),
        pa.duration("us"),
        pa.binary(3),
    ),
    *(pa.list_(pa.int64()), pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8()), pa.uuid(), pa.json_()),
]
FLOATS = {pa.float16(): pa.uint16(), pa.float32(): pa.uint32(), pa.float64(): pa.uint64()}
DECIMALS = [pa.decimal32(9, 2), pa.decimal128(38, 6), pa.decimal256(60, 3)]
ENCODED = [pa.string(), pa.large_string(), pa.int64(), pa.float64(), pa.timestamp("us")]
PER_SECOND = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
JANUARY = 1672531200  # seconds


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """Return a column of any type, its values any bits or null."""
    times = [pa.timestamp(unit, draw(st.sampled_from(ZONES))) for unit in PER_SECOND]
    type_ = draw(st.sampled_from([*INTEGERS, *FLOATS, *DECIMALS, *TEXTS, *OTHERS, *times * 4]))
    bits = draw(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=ROWS, max_size=ROWS))
    if pa.types.is_timestamp(type_):
        near = JANUARY * draw(st.sampled_from(list(PER_SECOND.values())))
        if draw(st.booleans()):
            bits = [None if bit is None else near + bit % 10**6 for bit in bits]
        return pa.array(bits, pa.int64()).view(type_)
    if type_ in TEXTS:
        texts = [None if bit is None else repr(bit).encode() + b"\xff" * (bit % 9 == 0) for bit in bits]
        return pa.array(texts, pa.binary()).cast(type_, safe=False)
    if type_ in FLOATS:
        width = type_.bit_width
        return pa.array([None if bit is None else bit % 2**width for bit in bits], FLOATS[type_]).view(type_)
    if type_ in DECIMALS:
        return pa.array([None if bit is None else bit % 10**6 for bit in bits], pa.decimal128(9, 2)).cast(type_)
    if type_ in INTEGERS:
        return pa.array(bits, pa.int64()).cast(type_, safe=False)
    return pa.nulls(ROWS, type_)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Return a file of the contract's columns, some of them replaced, and some of its bytes too."""
    table = {column.source: GOOD[column.kind] for column in TRIP_FILE.contract.columns.values()}
    for name in draw(st.lists(st.sampled_from([*NAMES, "another"]), max_size=3)):
        column = draw(columns())
        table[name] = column.dictionary_encode() if draw(st.booleans()) and column.type in ENCODED else column
    options: dict[str, Any] = {
        "compression": draw(st.sampled_from(["none", "snappy", "gzip", "zstd", "lz4", "brotli"])),
        "use_dictionary": draw(st.booleans()),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        "store_schema": draw(st.booleans()),
        "write_page_checksum": draw(st.booleans()),
        "use_deprecated_int96_timestamps": draw(st.booleans()),
    }
    stream = io.BytesIO()
    try:
        pq.write_table(pa.table(table), stream, **options)
    except (pa.ArrowException, OSError):  # the writer refuses it
        return b""
    content = bytearray(stream.getvalue())
    for place, byte in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=3)):
        content[place] = byte
    start, end = sorted(draw(st.tuples(st.integers(0, len(content)), st.integers(0, len(content)))))
    if draw(st.integers(0, 4)) == 0:
        del content[start:end]
    return bytes(content)


GOOD = {
    "string": pa.array(["HV0003"] * ROWS),
    "integer": pa.array([1] * ROWS),
    "number": pa.array([1.0] * ROWS),
    "timestamp": pa.array([JANUARY * 10**6] * ROWS, pa.timestamp("us")),
}


@pytest.mark.slow
@pytest.mark.timeout(60)
@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
@given(files())
def test_any_file_is_accepted_or_refused_in_a_sentence(content: bytes) -> None:
    sentence = "it is accepted"
    try:
        assert check_trip_file(io.BytesIO(content), "2023-01") == ROWS
    except TripFileError as error:
        sentence = str(error)
    assert len(sentence.splitlines()) == 1
