"""The programs as steps run them: processes of their own, with arguments, files in and files out."""

import io
import math
import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.spark_jobs.conftest import ROOT, Programs
from tests.spark_jobs.trips import MONTH, at, folder, rows, table, write

pytestmark = pytest.mark.slow  # runs programs on Sail and on Spark

SAMPLE = ROOT / "demos/hvfhv/sample"
VERSION = "20261121T101112123456Z.1"
TABLES = (
    "curated/hvfhv_trips",
    "quarantine/hvfhv_trips",
    "marts/hvfhv/service_quality",
    "marts/hvfhv/market_share",
    "marts/hvfhv/popular_zones",
    "marts/hvfhv/trend",
    "marts/hvfhv/eta_training",
    "marts/hvfhv/rising_zones",
)
BUILD, RANK = "hvfhv/build_month.py", "hvfhv/rank_rising_zones.py"


def _partition(lake: object, month: object = MONTH, version: str = "v1") -> list[object]:
    return ["--month", month, "--lake", lake, "--version", version]


def _run_month(programs: Programs, lake: object, *inputs: object) -> None:
    programs(BUILD, *_partition(lake), *(word for path in inputs for word in ("--input", path)))
    popular = f"{lake}/marts/hvfhv/popular_zones/year={MONTH.year}/month={MONTH.month:02d}/version=v1"
    programs(RANK, "--lake", lake, "--target", f"{MONTH}=v1", "--popular", f"{MONTH}={popular}")


def test_every_trip_is_accepted_or_quarantined(on_sail: Programs, tmp_path: Path) -> None:
    first = write(table({}, {}, {"trip_miles": 600.0}), tmp_path / "a.parquet")
    second = write(table({}, {"tips": 1.0}, {"pickup_datetime": at("2023-04-01")}), tmp_path / "b.parquet")
    on_sail(BUILD, *_partition(tmp_path), "--input", first, "--input", second)
    assert rows(folder(tmp_path, "curated/hvfhv_trips"), "company, tips, wait_s") == [
        ("uber", 0, 300),
        ("uber", 1, 300),
    ]
    assert rows(folder(tmp_path, "quarantine/hvfhv_trips"), "reject_reason") == [
        ("duplicate",),
        ("duplicate",),
        ("impossible_distance",),
        ("outside_month",),
    ]


def test_columns_of_the_trips(on_sail: Programs, tmp_path: Path) -> None:
    on_sail(BUILD, *_partition(tmp_path), "--input", write(table({}, {"trip_miles": -1.0}), tmp_path / "a.parquet"))
    source = {
        "hvfhs_license_num": "string",
        "dispatching_base_num": "string",
        "originating_base_num": "string",
        "request_datetime": "timestamp[us]",
        "on_scene_datetime": "timestamp[us]",
        "pickup_datetime": "timestamp[us]",
        "dropoff_datetime": "timestamp[us]",
        "pickup_zone_id": "int32",
        "dropoff_zone_id": "int32",
        "trip_miles": "double",
        "trip_time": "int64",
        "base_passenger_fare": "double",
        "tolls": "double",
        "bcf": "double",
        "sales_tax": "double",
        "congestion_surcharge": "double",
        "airport_fee": "double",
        "cbd_congestion_fee": "double",
        "tips": "double",
        "driver_pay": "double",
        "shared_request_flag": "string",
        "shared_match_flag": "string",
        "access_a_ride_flag": "string",
        "wav_request_flag": "string",
        "wav_match_flag": "string",
    }
    assert _schema(tmp_path, "quarantine/hvfhv_trips") == {**source, "reject_reason": "string"}
    assert _schema(tmp_path, "curated/hvfhv_trips") == {
        "company": "string",
        **source,
        "wait_s": "int32",
        "arrival_s": "int32",
    }


def _schema(lake: Path, table_path: str) -> dict[str, str]:
    [file] = folder(lake, table_path).glob("*.parquet")
    return {field.name: str(field.type) for field in pq.read_schema(file)}


@pytest.mark.parametrize("engine", ["on_sail", pytest.param("on_spark", marks=pytest.mark.spark)])
def test_month_without_an_accepted_trip_leaves_empty_tables(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    programs = request.getfixturevalue(engine)
    _run_month(programs, tmp_path, write(table({"trip_miles": -1.0}), tmp_path / "a.parquet"))
    for path in TABLES:
        counts = rows(folder(tmp_path, path), "count(*)")
        assert counts == [(1 if path.startswith("quarantine") else 0,)], path


def test_empty_table_on_s3(s3: Any, sail: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", s3.meta.endpoint_url)  # the server's name of AWS_ENDPOINT_URL
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    raw = write(table({}), tmp_path / "a.parquet")
    Programs({"SPARK_REMOTE": sail})(BUILD, *_partition("s3://artifacts/lake"), "--input", raw)
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="artifacts")["Contents"]]
    assert not [key for key in keys if key.endswith("/")]
    [key] = [key for key in keys if key.startswith("lake/quarantine/hvfhv_trips/year=2023/month=03/version=v1/")]
    empty = pq.read_table(io.BytesIO(s3.get_object(Bucket="artifacts", Key=key)["Body"].read()))
    assert empty.num_rows == 0
    assert empty.column_names[-1] == "reject_reason"


def test_partition_is_replaced_and_other_versions_stay(on_sail: Programs, tmp_path: Path) -> None:
    raw = write(table({}, {"tips": 1.0}), tmp_path / "a.parquet")
    for version in ("v1", "v2"):
        on_sail(BUILD, *_partition(tmp_path, version=version), "--input", raw)
    raw = write(table({"tips": 2.0}), tmp_path / "a.parquet")
    on_sail(BUILD, *_partition(tmp_path, version="v2"), "--input", raw)
    tips = {v: rows(folder(tmp_path, "curated/hvfhv_trips", version=v), "tips") for v in ("v1", "v2")}
    assert tips == {"v1": [(0,), (1,)], "v2": [(2,)]}


@pytest.mark.parametrize("engine", ["on_sail", pytest.param("on_spark", marks=pytest.mark.spark)])
def test_restart_leaves_what_is_finished(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> None:
    programs = request.getfixturevalue(engine)
    raw = write(table({}, {"tips": 1.0}, {"trip_miles": -1.0}), tmp_path / "a.parquet")
    programs(BUILD, *_partition(tmp_path), "--input", raw)
    first, found = _files(tmp_path), {path: rows(folder(tmp_path, path)) for path in TABLES[:-1]}
    shutil.rmtree(folder(tmp_path, "marts/hvfhv/service_quality"))

    programs(BUILD, *_partition(tmp_path), "--input", raw)

    again = _files(tmp_path)
    assert {path for path in first if first[path] != again[path]} == {
        "marts/hvfhv/service_quality",
        "marts/hvfhv/eta_training",  # of several files: all or some may be there
    }
    assert {path: rows(folder(tmp_path, path)) for path in TABLES[:-1]} == found


def test_restart_with_a_part_of_the_trips_begins_anew(on_sail: Programs, tmp_path: Path) -> None:
    raw = write(table({}, {"tips": 1.0}, {"trip_miles": -1.0}), tmp_path / "a.parquet")
    on_sail(BUILD, *_partition(tmp_path), "--input", raw)
    first = _files(tmp_path)
    [trips] = folder(tmp_path, "curated/hvfhv_trips").glob("*.parquet")
    pq.write_table(pq.read_table(trips).slice(1), trips)

    on_sail(BUILD, *_partition(tmp_path), "--input", raw)

    assert rows(folder(tmp_path, "curated/hvfhv_trips"), "tips") == [(0,), (1,)]
    again = _files(tmp_path)
    assert not [path for path in first if first[path] == again[path]]


def _files(lake: Path) -> dict[str, set[tuple[str, int]]]:
    """Return the files of each table of the month, with their times."""
    return {
        path: {(file.name, file.stat().st_mtime_ns) for file in folder(lake, path).glob("*.parquet")}
        for path in TABLES[:-1]
    }


def test_log_says_how_long_each_table_took(on_sail: Programs, tmp_path: Path) -> None:
    on_sail(BUILD, *_partition(tmp_path), "--input", write(table({}), tmp_path / "a.parquet"))
    lines = [re.fullmatch(r"(\w[\w ]*): \d+\.\d s", line) for line in on_sail.output.splitlines()]
    assert all(lines)
    parts = {line[1] for line in lines if line}
    assert parts > {path.rpartition("/")[2] for path in TABLES if path.startswith("marts") and "rising" not in path}
    assert parts > {"start", "search for duplicates", "trips_quarantine", "trips", "everything"}


def test_rising_zones_take_the_three_months_before(on_sail: Programs, tmp_path: Path) -> None:
    arguments: list[object] = []
    for month in ("2022-11", "2022-12", "2023-01", "2023-03"):
        lines = (
            "SELECT DATE '2023-01-01' AS pickup_date, unnest([1, 2])::INT AS zone_id, unnest([1, {}])::BIGINT AS trips"
        )
        trips = 99 if month == "2022-11" else 1 if month == "2023-03" else 3
        duckdb.execute(f"COPY ({lines.format(trips)}) TO '{tmp_path}/{month}.parquet'")
        arguments += ["--popular", f"{month}={tmp_path}/{month}.parquet"]
    on_sail(RANK, "--lake", tmp_path, "--target", "2023-03=v1", "--target", "2022-11=v7", *arguments)
    found = rows(folder(tmp_path, "marts/hvfhv/rising_zones"), "zone_id, share, baseline_share, growth, rank")
    assert found == [(1, 0.5, 0.25, 1.0, 1), (2, 0.5, 0.75, pytest.approx(-1 / 3), 2)]
    path = tmp_path / "marts/hvfhv/rising_zones/year=2022/month=11/version=v7"
    assert rows(path, "zone_id, trips, baseline_share, rank") == [(1, 1, None, None), (2, 99, None, None)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--month", "2023-13", "--lake", "x", "--version", "v1", "--input", "a"], "'2023-13' is not a month"),
        (["--month", "2023-03", "--lake", "x", "--version", "../v1", "--input", "a"], "'../v1' is not a version"),
        (["--month", "2023-03", "--lake", "x", "--version", "v1"], "arguments are required: --input"),
    ],
)
def test_wrong_argument(on_sail: Programs, arguments: list[str], sentence: str) -> None:
    error = on_sail(BUILD, *arguments, status=2)
    assert sentence in error
    assert error.count("\n") == 1


def test_rising_zones_without_their_month(on_sail: Programs) -> None:
    error = on_sail(RANK, "--lake", "x", "--target", "2023-03=v1", "--popular", "2023-02=x", status=2)
    assert "--target 2023-03 has no --popular 2023-03=FOLDER" in error


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "raw.parquet"),
        (b"<html>Not found</html>" * 99, "raw.parquet cannot be read as Parquet"),
        ("truncated", "raw.parquet cannot be read as Parquet"),
        ("another table", "raw.parquet lacks hvfhs_license_num, "),
        ("half a zone", "column pulocationid is double, which has no exact int: 132.5"),
    ],
    ids=["missing", "html", "truncated", "other", "inexact"],
)
def test_unusable_input(on_sail: Programs, tmp_path: Path, content: str | bytes | None, sentence: str) -> None:
    raw = tmp_path / "raw.parquet"
    if content == "truncated":
        write(table({}), raw)
        raw.write_bytes(raw.read_bytes()[:-100])
    elif content == "another table":
        write(table({}).select(["tips", "tolls"]), raw)
    elif content == "half a zone":
        zone = table({}).schema.get_field_index("PULocationID")
        write(table({}).set_column(zone, "PULocationID", pa.array([132.5])), raw)
    elif isinstance(content, bytes):
        raw.write_bytes(content)
    _assert_one_sentence(on_sail, tmp_path, raw, sentence)


@pytest.mark.spark
def test_unusable_input_of_apache_spark(on_spark: Programs, tmp_path: Path) -> None:
    html, half = tmp_path / "html.parquet", tmp_path / "half.parquet"
    html.write_bytes(b"<html>Not found</html>" * 99)
    _assert_one_sentence(on_spark, tmp_path, html, "html.parquet cannot be read as Parquet")
    zone = table({}).schema.get_field_index("PULocationID")
    write(table({}).set_column(zone, "PULocationID", pa.array([132.5])), half)
    _assert_one_sentence(on_spark, tmp_path, half, "column pulocationid is double, which has no exact int: 132.5")


def _assert_one_sentence(programs: Programs, lake: Path, raw: Path, sentence: str) -> None:
    error = programs(BUILD, *_partition(lake), "--input", raw, status=1)
    last = error.rstrip("\n").splitlines()[-1]
    assert sentence in last
    assert last.endswith((".", "?"))
    assert "Traceback" not in error
    assert not folder(lake, "curated/hvfhv_trips").exists()


@pytest.mark.spark
def test_engines_agree(on_sail: Programs, on_spark: Programs, tmp_path: Path) -> None:
    """A real month, with duplicates and rejected trips added, has the same rows in all tables on both engines."""
    real = SAMPLE / f"fhvhv_tripdata_sample_{MONTH}.parquet"
    # In a seventh of them what is no number: missing money, infinite miles.
    faults = f"""(SELECT * REPLACE (trip_miles + if(trip_time % 7 = 0, 'Infinity'::DOUBLE, 500) AS trip_miles)
        FROM '{real}' LIMIT 20)
        UNION ALL (SELECT * REPLACE (if(trip_time % 7 = 0, 'NaN'::DOUBLE, driver_pay) AS driver_pay,
            'Infinity'::DOUBLE AS tips, if(trip_time % 7 = 1, 'NaN'::DOUBLE, PULocationID::DOUBLE) AS PULocationID)
        FROM '{real}' LIMIT 200)"""
    raw = str(tmp_path / "raw.parquet")
    duckdb.execute(f"COPY (FROM '{real}' UNION ALL (FROM '{real}' LIMIT 10) UNION ALL ({faults})) TO '{raw}'")
    for name, programs in (("sail", on_sail), ("spark", on_spark)):
        _run_month(programs, tmp_path / name, raw)
    for path in TABLES:
        sail, spark = (rows(folder(tmp_path / name, path)) for name in ("sail", "spark"))
        assert len(sail) == len(spark) > 0
        for one, other in zip(sail, spark, strict=True):
            assert all(map(_is_same, one, other)), path
        types = [
            duckdb.execute(f"DESCRIBE FROM '{folder(tmp_path / name, path)}/*.parquet'").fetchall()
            for name in ("sail", "spark")
        ]
        assert types[0] == types[1], path


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):  # sums of floats depend on their order
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other
