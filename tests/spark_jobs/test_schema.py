"""Every version of TLC's files becomes the same columns, or is refused in one sentence."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Row, SparkSession

from spark_jobs.common.program import ProgramError
from spark_jobs.hvfhv.schema import FIELDS, read_trips, spark_type
from tests.spark_jobs.trips import TIMES, TRIP, at, retyped, table, write

DATA = Path(__file__).parent / "data"
TYPES = [(field.name, spark_type(field)) for field in FIELDS]


def _read(spark: SparkSession, path: str) -> list[Row]:
    frame = read_trips(spark, [path])
    assert frame.dtypes == TYPES
    return frame.collect()


def _assert_is_the_trip(row: Row) -> None:
    renamed = {"PULocationID": "pickup_zone_id", "DOLocationID": "dropoff_zone_id"}
    expected = {renamed.get(name, name): value for name, value in TRIP.items()} | {"cbd_congestion_fee": None}
    assert row.asDict() == expected


@pytest.mark.parametrize(
    "types",
    [
        {},
        {"PULocationID": pa.int32(), "DOLocationID": pa.int16(), "trip_time": pa.int32()},
        {"PULocationID": pa.float64(), "DOLocationID": pa.float64(), "trip_time": pa.float64()},
        {"PULocationID": pa.decimal128(21, 2), "trip_time": pa.decimal128(19, 0), "trip_miles": pa.decimal128(9, 3)},
        {"trip_miles": pa.float32(), "tolls": pa.int32(), "airport_fee": pa.int64()},
        dict.fromkeys(TIMES, pa.timestamp("ns")),
        dict.fromkeys(TIMES, pa.timestamp("ms")),
        dict.fromkeys(TIMES, pa.timestamp("us", "UTC")),
        dict.fromkeys(TIMES, pa.timestamp("ns", "UTC")),
        {"hvfhs_license_num": pa.large_string(), "wav_match_flag": pa.dictionary(pa.int8(), pa.string())},
    ],
    ids=lambda types: ",".join(sorted({str(type_) for type_ in types.values()})) or "as in 2023",
)
def test_type_drift(spark: SparkSession, tmp_path: Path, types: dict[str, pa.DataType]) -> None:
    [row] = _read(spark, write(retyped(table({}), types), tmp_path / "a.parquet"))
    _assert_is_the_trip(row)


def test_int96_timestamps(spark: SparkSession, tmp_path: Path) -> None:
    path = write(table({}), tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    [row] = _read(spark, path)
    _assert_is_the_trip(row)


def test_fractions_of_seconds_are_kept(spark: SparkSession, tmp_path: Path) -> None:
    pickup = at("2023-03-08 10:00:00.123456")
    trips = retyped(table({"pickup_datetime": pickup}), dict.fromkeys(TIMES, pa.timestamp("ns")))
    [row] = _read(spark, write(trips, tmp_path / "a.parquet"))
    assert row.pickup_datetime == pickup


def test_names_are_compared_without_case(spark: SparkSession, tmp_path: Path) -> None:
    trips = table({"airport_fee": 2.5})
    [row] = _read(
        spark,
        write(
            trips.rename_columns(["Airport_fee" if name == "airport_fee" else name for name in trips.column_names]),
            tmp_path / "a.parquet",
        ),
    )
    assert row.airport_fee == 2.5


def test_columns_that_came_later_are_null_before(spark: SparkSession, tmp_path: Path) -> None:
    trips = table({}).drop_columns(["on_scene_datetime", "airport_fee"])
    [row] = _read(spark, write(trips, tmp_path / "a.parquet"))
    assert (row.on_scene_datetime, row.airport_fee, row.cbd_congestion_fee) == (None, None, None)


def test_columns_without_a_value_or_type(spark: SparkSession, tmp_path: Path) -> None:
    trips = retyped(table({}), dict.fromkeys(["airport_fee", "originating_base_num", "on_scene_datetime"], pa.null()))
    [row] = _read(spark, write(trips, tmp_path / "a.parquet"))
    assert (row.airport_fee, row.originating_base_num, row.on_scene_datetime) == (None, None, None)


def test_real_file_with_nanoseconds(spark: SparkSession) -> None:
    path = DATA / "fhvhv_tripdata_2022-01_100rows.parquet"
    found = sorted(row.pickup_datetime for row in _read(spark, str(path)))
    assert found == sorted(value.to_pydatetime() for value in pq.read_table(path)["pickup_datetime"].to_pylist())


@pytest.mark.parametrize(("name", "fee"), [("2020-04", None), ("2025-01", 0.0)])
def test_real_rows_of_other_years(spark: SparkSession, tmp_path: Path, name: str, fee: float | None) -> None:
    trips = pyarrow.csv.read_csv(
        DATA / f"fhvhv_tripdata_{name}_200rows.csv",
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(TIMES, pa.timestamp("us")), strings_can_be_null=True
        ),
    )
    found = _read(spark, write(trips, tmp_path / "a.parquet"))
    assert len(found) == 200
    assert {row.cbd_congestion_fee for row in found} == {fee}
    assert sum(row.base_passenger_fare for row in found) == pytest.approx(sum(trips["base_passenger_fare"].to_pylist()))


def test_files_of_one_month_may_differ(spark: SparkSession, tmp_path: Path) -> None:
    older = table({"trip_miles": 1.0}).drop_columns(["airport_fee"])
    newer = table({"trip_miles": 2.0}).append_column("cbd_congestion_fee", pa.array([1.5]))
    nanos = retyped(table({"trip_miles": 3.0}), dict.fromkeys(TIMES, pa.timestamp("ns")))
    paths = [write(trips, tmp_path / f"{i}.parquet") for i, trips in enumerate((older, newer, nanos))]
    frame = read_trips(spark, paths)
    assert frame.dtypes == TYPES
    found = {(row.trip_miles, row.airport_fee, row.cbd_congestion_fee, row.pickup_datetime) for row in frame.collect()}
    pickup = TRIP["pickup_datetime"]
    assert found == {(1.0, None, None, pickup), (2.0, 0.0, 1.5, pickup), (3.0, 0.0, None, pickup)}


def test_number_that_has_no_exact_integer_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    zones = pa.array([132.5])
    trips = table({})
    trips = trips.set_column(trips.column_names.index("PULocationID"), "PULocationID", zones)
    frame = read_trips(spark, [write(trips, tmp_path / "a.parquet")])
    with pytest.raises(Exception, match=r"column pulocationid is double, which has no exact int: 132\.5"):
        frame.collect()


@pytest.mark.parametrize("type_", [pa.float32(), pa.float64()])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_missing_in_integers_too(
    spark: SparkSession, tmp_path: Path, value: float, type_: pa.DataType
) -> None:
    trips = table({}, {})
    for name in ("PULocationID", "DOLocationID", "trip_time"):
        trips = trips.set_column(trips.column_names.index(name), name, pa.array([value, 7], type_))
    rows = _read(spark, write(trips, tmp_path / "a.parquet"))
    found = Counter((row.pickup_zone_id, row.dropoff_zone_id, row.trip_time) for row in rows)
    assert found == {(None, None, None): 1, (7, 7, 7): 1}


def test_number_too_large_for_its_type_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    frame = read_trips(spark, [write(table({"PULocationID": 2**32 + 1}), tmp_path / "a.parquet")])
    with pytest.raises(Exception, match="4294967297"):
        frame.collect()


@pytest.mark.parametrize(
    ("column", "type_", "value"),
    [
        ("trip_miles", pa.string(), "4.5"),
        ("pickup_datetime", pa.string(), "2023-03-08 10:00:00"),
        ("pickup_datetime", pa.date32(), None),
        ("wav_match_flag", pa.bool_(), True),
        ("PULocationID", pa.timestamp("us"), None),
    ],
)
def test_other_type_is_refused(
    spark: SparkSession, tmp_path: Path, column: str, type_: pa.DataType, value: object
) -> None:
    trips = table({})
    trips = trips.set_column(trips.column_names.index(column), column, pa.array([value], type_))
    with pytest.raises(ProgramError, match=rf"a\.parquet: column {column.lower()} is \w+, which has no exact"):
        read_trips(spark, [write(trips, tmp_path / "a.parquet")])


def test_missing_columns_are_named(spark: SparkSession, tmp_path: Path) -> None:
    trips = table({}).drop_columns(["request_datetime", "tips"])
    with pytest.raises(ProgramError, match=r"a\.parquet lacks request_datetime, tips, which every file"):
        read_trips(spark, [write(trips, tmp_path / "a.parquet")])
