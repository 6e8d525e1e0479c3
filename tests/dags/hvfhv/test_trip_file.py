"""Which files pass as HVFHV trips of a month, and what is said of those that do not."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from taxiway.hvfhv.tables import TRIP_FILE
from taxiway.hvfhv.trip_file import TripFileError, check_trip_file

SAMPLE = Path(__file__).parents[3] / "demos/hvfhv/sample"
JANUARY = SAMPLE / "fhvhv_tripdata_sample_2023-01.parquet"
TRIPS = pq.read_table(JANUARY).slice(0, 500)
# The columns of TLC's yellow-taxi files.
YELLOW = [
    *["VendorID", "tpep_pickup_datetime", "tpep_dropoff_datetime", "passenger_count", "trip_distance", "RatecodeID"],
    *["store_and_fwd_flag", "PULocationID", "DOLocationID", "payment_type", "fare_amount", "extra", "mta_tax"],
    *["tip_amount", "tolls_amount", "improvement_surcharge", "total_amount", "congestion_surcharge", "airport_fee"],
]


def parquet(table: pa.Table, **options: object) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


def replaced(name: str, column: pa.ChunkedArray | pa.Array) -> pa.Table:
    return TRIPS.set_column(TRIPS.schema.get_field_index(name), name, column)


def times(texts: list[str]) -> pa.Array:
    return pa.array(texts).cast(pa.timestamp("us"))


def check(content: bytes, month: str = "2023-01") -> int:
    return check_trip_file(io.BytesIO(content), month)


@pytest.mark.parametrize(("month", "rows"), [("2023-01", 14977), ("2023-02", 27308), ("2023-03", 27506)])
def test_real_months_pass(month: str, rows: int) -> None:
    with (SAMPLE / f"fhvhv_tripdata_sample_{month}.parquet").open("rb") as file:
        assert check_trip_file(file, month) == rows


def all_columns(type_: pa.DataType, *names: str) -> pa.Table:
    table = TRIPS
    for name in names:
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(type_))
    return table


VERSIONS = {
    "2019, no arrival yet": parquet(TRIPS.drop_columns(["on_scene_datetime", "airport_fee"])),
    "2019, a fee that no trip has": parquet(replaced("airport_fee", pa.nulls(500))),
    "nanoseconds": parquet(all_columns(pa.timestamp("ns"), "request_datetime", "pickup_datetime")),
    "INT96": parquet(TRIPS, use_deprecated_int96_timestamps=True),
    "zones as INT32": parquet(all_columns(pa.int32(), "PULocationID", "DOLocationID")),
    "zones as DOUBLE": parquet(all_columns(pa.float64(), "PULocationID", "DOLocationID", "trip_time")),
    "2025, the toll of the congestion zone": parquet(TRIPS.append_column("cbd_congestion_fee", TRIPS["tolls"])),
    "another case": parquet(TRIPS.rename_columns([name.upper() for name in TRIPS.column_names])),
    "a column of the future": parquet(TRIPS.append_column("robot_fee", TRIPS["tolls"])),
    "dictionaries, large strings": parquet(
        replaced("hvfhs_license_num", TRIPS["hvfhs_license_num"].dictionary_encode()).set_column(
            1, "dispatching_base_num", TRIPS["dispatching_base_num"].cast(pa.large_string())
        )
    ),
}


@pytest.mark.parametrize("content", VERSIONS.values(), ids=VERSIONS)
def test_every_version_of_the_schema_passes(content: bytes) -> None:
    assert check(content) == 500


WHOLE = parquet(TRIPS)
WRONG = {
    "nothing": (b"", "it is empty"),
    "an error page": (b"<!DOCTYPE html>\n<html><title>Gone</title>", "an HTML or XML page.*DOCTYPE html"),
    "an error page after a blank line": (b"\r\n <html>", "an HTML or XML page"),
    "an encrypted file": (b"PARE" + WHOLE[4:-4] + b"PARE", "an encrypted Parquet file; write it anew without"),
    "a CSV": (b"hvfhs_license_num,request_datetime\nHV0003,2023-01-01", "not a Parquet file; it begins with"),
    "only the magic": (b"PAR1", "truncated"),
    "the first half": (WHOLE[: len(WHOLE) // 2], "truncated Parquet file: its end is missing after [0-9,]+ bytes"),
    "all but a byte": (WHOLE[:-1], "truncated"),
    "a piece missing in the middle": (WHOLE[:2000] + WHOLE[-12000:], "its column request_datetime is damaged"),
    "a broken footer": (WHOLE[:-200] + b"\xff" * 192 + WHOLE[-8:], "damaged Parquet file"),
    "an absurd length of the footer": (WHOLE[:-8] + b"\xff\xff\xff\x7fPAR1", "damaged Parquet file"),
    "yellow taxis": (
        parquet(pa.table({name: ["1"] for name in YELLOW})),
        r"lacks columns of HVFHV trips \(.*, pickup_datetime and \d+ more\); it has VendorID, tpep_pickup_datetime",
    ),
    "two names that differ in case": (
        parquet(TRIPS.append_column("TIPS", TRIPS["tips"])),
        "two columns of the same name",
    ),
    "miles as text": (
        parquet(all_columns(pa.string(), "trip_miles")),
        "its column trip_miles is of type string, but must be a number",
    ),
    "pickups as text": (
        parquet(all_columns(pa.string(), "pickup_datetime")),
        "its column pickup_datetime is of type string, but must be a timestamp",
    ),
    "pickups as numbers": (parquet(all_columns(pa.int64(), "pickup_datetime")), "must be a timestamp"),
    "a flag as a number": (parquet(replaced("wav_match_flag", TRIPS["trip_time"])), "wav_match_flag.* must be text"),
    "a key without values or type": (parquet(replaced("PULocationID", pa.nulls(500))), "PULocationID is of type null"),
    "an empty month": (parquet(TRIPS.slice(0, 0)), "it has no rows"),
    "no pickup time at all": (
        parquet(replaced("pickup_datetime", pa.nulls(500, pa.timestamp("us")))),
        "none of its 500 trips is of 2023-01: they have no pickup time",
    ),
}


@pytest.mark.parametrize(("content", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_told_in_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(TripFileError, match=sentence) as caught:
        check(content)
    assert "\n" not in str(caught.value)


def chunk(content: bytes | bytearray, name: str) -> slice:
    """Return the place of a column's pages in a file of one row group."""
    group = pq.read_metadata(io.BytesIO(content)).row_group(0)
    [found] = [column for column in map(group.column, range(group.num_columns)) if column.path_in_schema == name]
    start = found.dictionary_page_offset or found.data_page_offset
    return slice(start, start + found.total_compressed_size)


@pytest.mark.parametrize("name", TRIPS.column_names)
def test_a_damaged_page_of_any_column_is_found(name: str) -> None:
    content = bytearray(parquet(TRIPS, compression="none", use_dictionary=False, write_page_checksum=True))
    pages = chunk(content, name)
    content[(pages.start + pages.stop) // 2] ^= 0xFF
    with pytest.raises(TripFileError, match=f"its column {name} is damaged"):
        check(bytes(content))


@pytest.mark.parametrize("name", ["originating_base_num", "driver_pay", "on_scene_datetime"])
def test_a_damaged_page_without_a_checksum_is_found_where_it_cannot_be_decoded(name: str) -> None:
    content = bytearray(parquet(TRIPS, compression="zstd"))
    pages = chunk(content, name)
    content[pages] = bytes(pages.stop - pages.start)
    with pytest.raises(TripFileError, match=f"its column {name} is damaged"):
        check(bytes(content))


def test_damage_of_a_column_that_nobody_reads_does_not_matter() -> None:
    content = bytearray(parquet(TRIPS.append_column("robot_fee", TRIPS["tolls"])))
    pages = chunk(content, "robot_fee")
    content[pages] = b"\xff" * (pages.stop - pages.start)
    assert check(bytes(content)) == 500


PICKUPS = TRIPS["pickup_datetime"].cast(pa.int64())


@pytest.mark.parametrize(
    ("numbers", "type_", "year"),
    [
        (pc.multiply(PICKUPS, 1000), pa.timestamp("us"), "549\\d\\d"),
        (PICKUPS, pa.timestamp("ms"), "549\\d\\d"),
        (pc.multiply(PICKUPS, 1000), pa.timestamp("ms"), "53\\d{6}"),
        (pc.subtract(PICKUPS, 10**17), pa.timestamp("us"), "-1\\d\\d\\d"),
    ],
)
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("name", ["pickup_datetime", "dropoff_datetime"])
def test_times_in_another_unit_than_their_type_says(
    name: str, zone: str | None, numbers: pa.ChunkedArray, type_: pa.DataType, year: str
) -> None:
    column = numbers.cast(pa.timestamp(type_.unit, zone))
    with pytest.raises(TripFileError, match=f"its column {name} has times of about the year {year}; its numbers seem"):
        check(parquet(replaced(name, column)))


def test_the_month_is_that_of_the_wall_clock() -> None:
    """Five hours of New York's January are February in UTC."""
    pickups = times(["2023-02-01 00:00:00", "2023-02-01 04:59:59"] * 250).cast(pa.timestamp("us", "UTC"))
    late = parquet(replaced("pickup_datetime", pickups.cast(pa.timestamp("us", "America/New_York"))))
    assert check(late, "2023-01") == 500
    with pytest.raises(TripFileError, match="of 2023-02: they began between 2023-01-31 19:00:00 and 2023-01-31 23:59"):
        check(late, "2023-02")
    labelled = parquet(replaced("pickup_datetime", pickups))
    assert check(labelled, "2023-02") == 500


@pytest.mark.parametrize("zone", ["US/Eastern", "EST5EDT"])
def test_the_aliases_of_new_york_are_its_equals(zone: str) -> None:
    hours = [datetime(2019, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(12 * 365 * 24)]
    here, there = ZoneInfo("America/New_York"), ZoneInfo(zone)
    assert all(hour.astimezone(here).utcoffset() == hour.astimezone(there).utcoffset() for hour in hours)


@pytest.mark.parametrize(
    "name", [column.source for column in TRIP_FILE.contract.columns.values() if not column.optional]
)
def test_each_required_column_is_missed(name: str) -> None:
    table = TRIPS.drop_columns([column for column in TRIPS.column_names if column.lower() == name])
    with pytest.raises(TripFileError, match=rf"lacks a column of HVFHV trips \({name}\)"):
        check(parquet(table))


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("month", ["2022-12", "2023-02", "2022-01", "2024-01"])
def test_trips_of_another_month_only(month: str, statistics: bool) -> None:
    with pytest.raises(TripFileError, match=f"none of its 500 trips is of {month}: they began between 2023-01-"):
        check(parquet(TRIPS, write_statistics=statistics), month)


def test_trips_around_the_month_but_not_in_it() -> None:
    pickups = times(["2022-12-31 23:59:59", "2023-02-01 00:00:00"] * 250)
    with pytest.raises(TripFileError, match="between 2022-12-31 23:59:59 and 2023-02-01 00:00:00"):
        check(parquet(replaced("pickup_datetime", pickups)))


def test_one_trip_of_the_month_is_enough() -> None:
    pickups = times(["2022-12-31 00:00:00"] * 499 + ["2023-01-31 23:59:59"])
    assert check(parquet(replaced("pickup_datetime", pickups), row_group_size=100)) == 500


def test_december_ends_with_the_year() -> None:
    pickups = pc.add(TRIPS["pickup_datetime"], pa.scalar(timedelta(days=334)))
    assert check(parquet(replaced("pickup_datetime", pickups)), "2023-12") == 500
