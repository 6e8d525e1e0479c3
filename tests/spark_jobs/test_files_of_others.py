"""What the collection accepts, both engines read, with equal values: types, zones, encodings, codecs, writers."""

import decimal
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxiway.hvfhv.trip_file import TripFileError, check_trip_file
from tests.spark_jobs.conftest import Programs
from tests.spark_jobs.trips import SCHEMA, TIMES, TRIP

NEW_YORK = ZoneInfo("America/New_York")
PROGRAM = Path(__file__).with_name("read_files.py")
MONTH = "2022-11"
ROWS = 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Variant = Callable[[Path], object]  # writes a file


def _trips() -> list[dict[str, Any]]:
    """Return trips around both changes of the clock; `fold` says which of two equal hours."""
    trips = []
    for number in range(ROWS):
        # Every half hour from the evening before; in UTC, so that the repeated hour comes twice.
        start = datetime(2022, 11, 6, 2, tzinfo=UTC) if number % 2 else datetime(2023, 3, 12, 2, tzinfo=UTC)
        pickup = start + timedelta(minutes=30 * (number // 2), microseconds=number)
        times = {name: pickup + timedelta(minutes=5 * place) for place, name in enumerate(TIMES)}
        if number % 7 == 0:
            times["on_scene_datetime"] = None  # type: ignore[assignment]
        changes = {
            "trip_miles": number / 2,
            "trip_time": number,
            "PULocationID": number + 1,
            "tips": None if number % 5 == 0 else number / 4,
            "originating_base_num": None if number % 3 == 0 else "Bé",
            "wav_match_flag": "NY"[number % 2],
        }
        trips.append({**TRIP, **changes, **times})
    return trips


INSTANTS = _trips()


def _wall_clock(time: datetime | None) -> datetime | None:
    return time and time.astimezone(NEW_YORK).replace(tzinfo=None)


TRIPS = pa.Table.from_pylist(
    [{**trip, **{name: _wall_clock(trip[name]) for name in TIMES}} for trip in INSTANTS], SCHEMA
)
RENAMED = {"PULocationID": "pickup_zone_id", "DOLocationID": "dropoff_zone_id"}


def _rows(trips: pa.Table) -> Any:
    rows = [{**{RENAMED.get(name, name): value for name, value in row.items()}} for row in trips.to_pylist()]
    return json.loads(
        json.dumps(sorted([{"cbd_congestion_fee": None, **row} for row in rows], key=_order), default=str)
    )


def _order(row: dict[str, Any]) -> Any:
    return row["pickup_zone_id"]


EXPECTED = _rows(TRIPS)


def _zoned(unit: str, zone: str, *names: str) -> pa.Table:
    """Return the trips with some times as instants that are labelled with a zone."""
    trips = TRIPS
    for name in names:
        micros = [trip[name] and (trip[name] - EPOCH) // timedelta(microseconds=1) for trip in INSTANTS]
        column = pa.array(micros, pa.timestamp("us", zone)).cast(pa.timestamp(unit, zone), safe=unit != "ms")
        trips = _with(name, column, trips)
    return trips


def _labelled(unit: str, zone: str) -> pa.Table:
    """Return the trips with wall-clock times that are labelled as instants."""
    trips = TRIPS
    for name in TIMES:
        trips = _with(name, trips[name].cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone)), trips)
    return trips


def _with(name: str, column: Any, trips: pa.Table = TRIPS) -> pa.Table:
    return trips.set_column(trips.column_names.index(name), name, column)


def _cast(type_: pa.DataType, *names: str) -> pa.Table:
    trips = TRIPS
    for name in names:
        trips = _with(name, trips[name].cast(type_), trips)
    return trips


def _extra(column: Any) -> pa.Table:
    return TRIPS.append_column("an extra column", column)


def _of_fastparquet(zone: str) -> Variant:
    """Write a file that names its zone as fastparquet does: not in Arrow's schema, but in the metadata of pandas."""
    columns = [{"name": name, "metadata": {"timezone": zone}} for name in TIMES]

    def write(path: Path) -> None:
        trips = _zoned("us", zone, *TIMES)
        with pq.ParquetWriter(path, trips.schema, store_schema=False) as writer:
            writer.write_table(trips)
            writer.add_key_value_metadata({"pandas": json.dumps({"columns": columns})})

    return write


def _arrow(trips: pa.Table, **options: Any) -> Variant:
    return lambda path: pq.write_table(trips, path, **options)


def _duckdb(select: str, options: str = "") -> Variant:
    def write(path: Path) -> None:
        with duckdb.connect() as database:
            database.register("trips", TRIPS)
            database.execute(f"COPY (SELECT {select} FROM trips) TO '{path}' (FORMAT parquet{options})")

    return write


def _bytes(values: list[bytes], size: int) -> pa.Array:
    return pa.array((values * ROWS)[:ROWS], pa.binary(size))


EXTRAS = {
    "half float": pa.array(np.arange(ROWS, dtype=np.float16)),
    "time of milliseconds": pa.array(range(ROWS), pa.time32("ms")),
    "time of microseconds": pa.array(range(ROWS), pa.time64("us")),
    "time of nanoseconds": pa.array(range(ROWS), pa.time64("ns")),
    "UUID": pa.array([uuid.UUID(int=1).bytes] * ROWS, pa.uuid()),
    "duration": pa.array(range(ROWS), pa.duration("us")),
    "unsigned": pa.array([2**64 - 1] * ROWS, pa.uint64()),
    "decimal of 60 digits": pa.array([decimal.Decimal(1)] * ROWS, pa.decimal256(60, 2)),
    "fixed bytes": _bytes([b"abc"], 3),
    "other bytes": pa.array([b"\xff"] * ROWS),
    "list": pa.array([[1]] * ROWS),
    "struct in list": pa.array([[{"a": [1]}]] * ROWS),
    "map": pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int32())),
    "null": pa.nulls(ROWS),
    "zone of elsewhere": pa.array(range(ROWS), pa.timestamp("us", "Europe/Berlin")),
}
INTEGERS = ("PULocationID", "DOLocationID", "trip_time")
TEXTS = ("hvfhs_license_num", "originating_base_num", "wav_match_flag")
ENCODINGS = {
    "PLAIN": [*INTEGERS, *TEXTS, *TIMES, "trip_miles"],
    "BYTE_STREAM_SPLIT": ["trip_miles", "tips", *INTEGERS, *TIMES],
    "DELTA_BINARY_PACKED": [*INTEGERS, *TIMES],
    "DELTA_LENGTH_BYTE_ARRAY": list(TEXTS),
    "DELTA_BYTE_ARRAY": list(TEXTS),
}
ACCEPTED: dict[str, Variant] = {
    "as it is": _arrow(TRIPS),
    # Zones.
    **{
        f"{zone}, {unit}": _arrow(_zoned(unit, zone, *TIMES))
        for zone, unit in (
            ("America/New_York", "us"),
            ("America/New_York", "ns"),
            ("US/Eastern", "us"),
            ("EST5EDT", "ns"),
        )
    },
    "America/New_York, INT96": _arrow(_zoned("ns", "America/New_York", *TIMES), use_deprecated_int96_timestamps=True),
    **{f"America/New_York, {name} alone": _arrow(_zoned("us", "America/New_York", name)) for name in TIMES},
    "America/New_York by pandas alone": _of_fastparquet("America/New_York"),
    "America/New_York, another case of names": _arrow(
        _zoned("us", "America/New_York", *TIMES).rename_columns([name.upper() for name in TRIPS.column_names])
    ),
    **{f"{zone} as a label, {unit}": _arrow(_labelled(unit, zone)) for zone, unit in (("UTC", "us"), ("+00:00", "ns"))},
    "no zone's name": _arrow(_labelled("us", "America/New_York"), store_schema=False),
    "DuckDB's TIMESTAMPTZ": _duckdb(
        "* REPLACE (" + ", ".join(f"timezone('UTC', {name}) AS {name}" for name in TIMES) + ")"
    ),
    "nanoseconds": _arrow(_cast(pa.timestamp("ns"), *TIMES)),
    "INT96": _arrow(TRIPS, use_deprecated_int96_timestamps=True),
    # Types.
    **{
        f"text as {type_}{'' if stored else ' by Parquet alone'}": _arrow(_cast(type_, *TEXTS), store_schema=stored)
        for type_ in (pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
        for stored in (True, False)
    },
    **{
        f"text as a dictionary with {index}": _arrow(
            _with("wav_match_flag", pa.DictionaryArray.from_arrays(pa.array([0, 1] * (ROWS // 2), index), values))
        )
        for index, values in (
            (pa.int8(), pa.array(["N", "Y"])),
            (pa.uint16(), pa.array(["N", "Y"], pa.large_string())),
            (pa.int64(), pa.array(["N", "Y"])),
        )
    },
    "numbers as a dictionary": _arrow(
        _with("PULocationID", TRIPS["PULocationID"].combine_chunks().dictionary_encode())
    ),
    "times as a dictionary": _arrow(
        _with("pickup_datetime", TRIPS["pickup_datetime"].combine_chunks().dictionary_encode())
    ),
    **{
        f"integers as {type_}": _arrow(_cast(type_, *INTEGERS))
        for type_ in (pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
    },
    **{
        f"numbers as {type_}": _arrow(_cast(type_, *INTEGERS, "trip_miles", "tips"))
        for type_ in (pa.float32(), pa.float64(), pa.decimal128(30, 3), pa.decimal256(38, 3))
    },
    "numbers as a small decimal": _arrow(_cast(pa.decimal32(9, 2), "trip_miles", "tips")),
    "a column without a type": _arrow(TRIPS.append_column("cbd_congestion_fee", pa.nulls(ROWS))),
    # Columns that nobody needs.
    **{f"an extra column: {name}": _arrow(_extra(column)) for name, column in EXTRAS.items()},
    **{
        f"an extra column of DuckDB: {name}": _duckdb(f"*, {value} AS extra")
        for name, value in {
            "INTERVAL": "INTERVAL 1 DAY",
            "TIMETZ": "TIMETZ '10:00:00+01'",
            "HUGEINT": "1::HUGEINT",
            "BIT": "'101'::BIT",
            "UNION": "union_value(a := 1)",
            "ENUM": "'a'::ENUM('a', 'b')",
            "ARRAY": "[1, 2]::INTEGER[2]",
        }.items()
    },
    "two extra columns whose names differ in case": _arrow(
        _extra(EXTRAS["null"]).append_column("AN EXTRA COLUMN", EXTRAS["null"])
    ),
    # Encodings, codecs, pages.
    **{
        f"{encoding} in pages of version {version}": _arrow(
            TRIPS, use_dictionary=False, column_encoding=dict.fromkeys(names, encoding), data_page_version=version
        )
        for encoding, names in ENCODINGS.items()
        for version in ("1.0", "2.0")
    },
    **{
        f"{codec} in pages of version {version}": _arrow(TRIPS, compression=codec, data_page_version=version)
        for codec in ("none", "snappy", "gzip", "zstd", "lz4")
        for version in ("1.0", "2.0")
    },
    "checksums": _arrow(TRIPS, write_page_checksum=True),
    "many row groups and pages": _arrow(TRIPS, row_group_size=7, data_page_size=64, write_batch_size=2),
    **{
        f"DuckDB's {version}, {codec}": _duckdb("*", f", PARQUET_VERSION {version}, COMPRESSION {codec}")
        for version in ("V1", "V2")
        for codec in ("uncompressed", "snappy", "gzip", "zstd", "lz4_raw")
    },
    "DuckDB's V2 without dictionaries": _duckdb("*", ", PARQUET_VERSION V2, DICTIONARY_SIZE_LIMIT 1"),
}
REFUSED: dict[str, tuple[Variant, str]] = {
    **{
        f"the zone {zone}": (
            _arrow(_zoned("us", zone, "dropoff_datetime")),
            f"its column dropoff_datetime is in the time zone '{re.escape(zone)}'",
        )
        for zone in ("Europe/Berlin", "America/Chicago", "-05:00", "EST", "Etc/GMT+5")
    },
    "a zone by INT96": (
        _arrow(_zoned("ns", "Asia/Tokyo", *TIMES), use_deprecated_int96_timestamps=True),
        "request_datetime is in the time zone 'Asia/Tokyo'",
    ),
    "a zone by pandas alone": (
        _of_fastparquet("Asia/Tokyo"),
        "request_datetime is in the time zone 'Asia/Tokyo'",
    ),
    "brotli": (_arrow(TRIPS, compression="brotli"), "is compressed with BROTLI, which not every engine reads; write"),
    "brotli in one column": (
        _arrow(TRIPS, compression={"tips": "brotli"}),
        "its column tips is compressed with BROTLI",
    ),
    "half floats": (_arrow(_cast(pa.float16(), "trip_miles")), "its column trip_miles is of type halffloat"),
    "decimals of 60 digits": (
        _arrow(_cast(pa.decimal256(60, 3), "tips")),
        r"its column tips is of type decimal256\(60",
    ),
    "VARIANT": (_duckdb("*, 1::VARIANT AS extra"), "its column extra is of the type VARIANT"),
    "half a zone": (_arrow(_with("PULocationID", pa.array([0.5] * ROWS))), "its column PULocationID .* exact int"),
    "a zone too large": (
        _arrow(_with("PULocationID", pa.array([2**40] * ROWS))),
        "its column PULocationID .* exact int",
    ),
    "text in Latin-1": (
        _arrow(_with("wav_match_flag", pa.array([b"\xe9"] * ROWS))),
        "wav_match_flag has text that is not",
    ),
    "absurd times": (
        _arrow(
            _with(
                "request_datetime",
                TRIPS["request_datetime"].cast(pa.timestamp("ns")).cast(pa.int64()).cast(pa.timestamp("us")),
            )
        ),
        r"its column request_datetime has times of about the year 548\d\d; its numbers seem",
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = {name: folder / f"{number}.parquet" for number, name in enumerate(ACCEPTED)}
    for name, path in paths.items():
        ACCEPTED[name](path)
    return paths


def test_the_collection_accepts_them(files: dict[str, Path]) -> None:
    refused = {}
    for name, path in files.items():
        try:
            with path.open("rb") as file:
                assert check_trip_file(file, MONTH) == ROWS
        except TripFileError as error:
            refused[name] = str(error)
    assert refused == {}


def _encodings(path: Path) -> set[str]:
    group = pq.ParquetFile(path).metadata.row_group(0)
    return {encoding for index in range(group.num_columns) for encoding in group.column(index).encodings}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["on_sail", pytest.param("on_spark", marks=pytest.mark.spark)])
def test_the_engine_reads_what_the_collection_accepts(
    request: pytest.FixtureRequest, files: dict[str, Path], tmp_path: Path, engine: str
) -> None:
    programs: Programs = request.getfixturevalue(engine)
    programs(str(PROGRAM), tmp_path / "out.json", *files.values())
    found = json.loads((tmp_path / "out.json").read_text())
    wrong = {}
    for name, path in files.items():
        rows, vectorised = found[str(path)]
        # Only a file that Apache Spark's fast reader cannot decode is read by the slow one.
        if vectorised != (engine == "on_sail" or "BYTE_STREAM_SPLIT" not in _encodings(path)):
            wrong[f"{name}, reader"] = f"vectorised: {vectorised}"
        if isinstance(rows, str):
            wrong[name] = rows
        elif sorted(rows, key=_order) != EXPECTED:
            wrong[name] = next(
                f"{one} instead of {other}"
                for row, expected in zip(sorted(rows, key=_order), EXPECTED, strict=True)
                for one, other in zip(sorted(row.items()), sorted(expected.items()), strict=True)
                if one != other
            )
    assert wrong == {}


@pytest.mark.parametrize(("variant", "sentence"), REFUSED.values(), ids=REFUSED)
def test_the_collection_refuses_the_rest(tmp_path: Path, variant: Variant, sentence: str) -> None:
    path = tmp_path / "trips.parquet"
    variant(path)
    with path.open("rb") as file, pytest.raises(TripFileError, match=sentence):
        check_trip_file(file, MONTH)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["on_sail", pytest.param("on_spark", marks=pytest.mark.spark)])
def test_a_program_refuses_another_zone(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> None:
    """A file may come into the lake by another way than the collection."""
    programs: Programs = request.getfixturevalue(engine)
    names = ["the zone Europe/Berlin", "the zone -05:00", "a zone by INT96", "a zone by pandas alone"]
    paths = [tmp_path / f"{number}.parquet" for number in range(len(names))]
    for name, path in zip(names, paths, strict=True):
        REFUSED[name][0](path)
    programs(str(PROGRAM), tmp_path / "out.json", *paths)
    for path, (sentence, _) in json.loads((tmp_path / "out.json").read_text()).items():
        assert sentence.startswith(f"{path}: column ")
        assert "_datetime is in the time zone '" in sentence
        assert sentence.endswith("convert it.")
