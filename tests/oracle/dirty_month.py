"""November 2022 with every fault that the quarantine knows, in three schema versions, made from real trips."""

from collections import Counter
from pathlib import Path

import duckdb

MONTH = "2022-11"
ROWS = 4
"""Rows that get each fault."""

_SUNDAY = "TIMESTAMP '2022-11-06"  # the clocks go back at 02:00
_OTHER_SUNDAY = "TIMESTAMP '2022-11-13"


def _ride(pickup: str, dropoff: str, seconds: str, day: str = _SUNDAY) -> str:
    return (
        f"request_datetime = {day} 00:55:00', on_scene_datetime = NULL, "
        f"pickup_datetime = {day} {pickup}', dropoff_datetime = {day} {dropoff}', trip_time = {seconds}"
    )


# What is set in some real rows, and the reason for which they must then be rejected (None: they must be kept).
FAULTS: list[tuple[str, str | None]] = [
    ("hvfhs_license_num = NULL", "missing_key"),
    ("request_datetime = NULL", "missing_key"),
    ("pickup_datetime = NULL", "missing_key"),
    ("dropoff_datetime = NULL", "missing_key"),
    ("PULocationID = NULL", "missing_key"),
    ("DOLocationID = NULL, hvfhs_license_num = 'HV9999'", "missing_key"),
    ("hvfhs_license_num = 'HV9999'", "unknown_company"),
    ("hvfhs_license_num = 'hv0003', PULocationID = 999", "unknown_company"),
    ("hvfhs_license_num = 'HV0002'", None),
    ("hvfhs_license_num = 'HV0004'", None),
    ("pickup_datetime = pickup_datetime - INTERVAL 1 YEAR", "outside_month"),
    ("pickup_datetime = '2022-12-01 00:00:00', dropoff_datetime = '2022-12-01 00:10:00'", "outside_month"),
    ("pickup_datetime = '2022-10-31 23:59:59.999999', trip_miles = -1", "outside_month"),
    ("pickup_datetime = '2022-11-01 00:00:00', request_datetime = '2022-10-31 23:55:00'", None),
    ("pickup_datetime = '2022-11-30 23:59:59.999999', dropoff_datetime = '2022-12-01 00:10:00'", None),
    ("PULocationID = 999", "unknown_zone"),
    ("DOLocationID = 266", "unknown_zone"),
    ("PULocationID = 0, trip_miles = 600", "unknown_zone"),
    ("PULocationID = 264, DOLocationID = 265", None),
    ("PULocationID = 265, DOLocationID = 264", None),
    ("trip_miles = 600", "impossible_distance"),
    ("trip_miles = 500.01, dropoff_datetime = pickup_datetime", "impossible_distance"),
    ("trip_miles = -0.01", "impossible_distance"),
    ("trip_miles = 500", None),
    ("trip_miles = 0", None),
    ("trip_miles = NULL, trip_time = NULL", None),
    # What is no number is missing; infinite miles are too many.
    ("trip_miles = 'NaN'", None),
    ("trip_miles = 'Infinity'", "impossible_distance"),
    ("trip_miles = '-Infinity'", "impossible_distance"),
    ("trip_miles = 'Infinity', PULocationID = 999", "unknown_zone"),
    ("base_passenger_fare = 'NaN', driver_pay = 'NaN', tips = '-NaN'::DOUBLE", None),
    ("base_passenger_fare = 'Infinity', driver_pay = '-Infinity', airport_fee = 'NaN'", None),
    ("dropoff_datetime = pickup_datetime", "dropoff_not_after_pickup"),
    ("dropoff_datetime = pickup_datetime - INTERVAL 50 MINUTE, trip_time = 600", "dropoff_not_after_pickup"),
    (_ride("01:50:00", "01:10:00", "1200"), None),
    (_ride("01:50:01", "01:10:00", "1259"), None),
    (_ride("01:50:00", "01:10:00", "1140"), None),
    (_ride("01:50:00", "01:10:00", "1261"), "dropoff_not_after_pickup"),
    (_ride("01:50:00", "01:10:00", "1139"), "dropoff_not_after_pickup"),
    (_ride("01:50:00", "01:10:00", "NULL"), "dropoff_not_after_pickup"),
    (_ride("01:59:59", "01:00:00", "1"), None),
    (_ride("02:00:00", "01:59:59", "3599"), "dropoff_not_after_pickup"),
    (_ride("01:00:00", "00:59:59", "3599"), "dropoff_not_after_pickup"),
    (_ride("01:50:00", "01:10:00", "1200", _OTHER_SUNDAY), "dropoff_not_after_pickup"),
    # The limits of "timed" and of "late", and fractions of a second.
    ("request_datetime = pickup_datetime", None),
    ("request_datetime = pickup_datetime + INTERVAL 500 MILLISECOND", None),
    ("request_datetime = pickup_datetime - INTERVAL 600 SECOND", None),
    ("request_datetime = pickup_datetime - INTERVAL 600500 MILLISECOND", None),
    ("request_datetime = pickup_datetime - INTERVAL 601 SECOND", None),
    ("request_datetime = pickup_datetime - INTERVAL 3600900 MILLISECOND", None),
    ("request_datetime = pickup_datetime - INTERVAL 3601 SECOND", None),
    ("on_scene_datetime = request_datetime - INTERVAL 1500 MILLISECOND", None),
    # A borough and day whose revenue is nothing.
    ("PULocationID = 1, base_passenger_fare = 0", None),
]


def write(real: Path, folder: Path) -> tuple[list[Path], Counter[str]]:
    """Write the month as three Parquet files below ``folder``.

    Args:
        real: the real trips of March 2023, which are moved by 120 days into November 2022.
        folder: an existing folder.

    Returns:
        The files (schema of 2022 with nanoseconds, of 2019, of 2025) and the number of rows by reject reason.
    """
    reasons: Counter[str] = Counter()
    with duckdb.connect() as connection:
        connection.execute(
            """
            CREATE TABLE trips AS
            SELECT
                row_number() OVER () AS id,
                id % 3 AS part,
                * REPLACE (
                    request_datetime - INTERVAL 120 DAY AS request_datetime,
                    on_scene_datetime - INTERVAL 120 DAY AS on_scene_datetime,
                    pickup_datetime - INTERVAL 120 DAY AS pickup_datetime,
                    dropoff_datetime - INTERVAL 120 DAY AS dropoff_datetime
                ),
                1.5::DOUBLE AS cbd_congestion_fee
            FROM read_parquet(?)
            WHERE pickup_datetime < '2023-03-31'
            """,
            [str(real)],
        )
        for number, (change, reason) in enumerate(FAULTS):
            first = number * ROWS + 1
            connection.execute(f"UPDATE trips SET {change} WHERE id BETWEEN {first} AND {first + ROWS - 1}")
            if reason:
                reasons[reason] += ROWS
        _add_duplicates(connection, reasons)
        return _write_parts(connection, folder), reasons


def _add_duplicates(connection: duckdb.DuckDBPyConnection, reasons: Counter[str]) -> None:
    untouched = len(FAULTS) * ROWS

    def copy(rows: str, column: str, value: str) -> int:
        """Add copies of some rows with one column changed, and return their number."""
        query = f"INSERT INTO trips SELECT * REPLACE ({value} AS {column}) FROM trips WHERE {rows}"
        return int(connection.execute(query).fetchall()[0][0])

    # Equal in all columns, many of them null: in one file, and in all three.
    reasons["duplicate"] += copy(f"id BETWEEN {untouched + 1} AND {untouched + 9}", "part", "part")
    reasons["duplicate"] += copy("trip_miles IS NULL AND trip_time IS NULL", "part", "part")
    connection.execute(
        "UPDATE trips SET part = 0, on_scene_datetime = NULL, airport_fee = NULL, cbd_congestion_fee = NULL "
        "WHERE id % 1000 = 999"
    )
    reasons["duplicate"] += copy("id % 1000 = 999 AND part = 0", "part", "1")
    reasons["duplicate"] += copy("id % 1000 = 999 AND part = 0", "part", "2")
    # Nearly equal: null is not the empty text, and one cent counts.
    copy("id % 1000 = 500 AND originating_base_num IS NOT NULL", "originating_base_num", "NULL")
    copy("id % 1000 = 501", "originating_base_num", "''")
    copy("id % 1000 = 502", "tips", "tips + 0.01")
    # What is rejected anyway keeps its own reason.
    reasons["impossible_distance"] += copy("trip_miles = 600 AND PULocationID <> 0", "part", "part")


def _write_parts(connection: duckdb.DuckDBPyConnection, folder: Path) -> list[Path]:
    times = ("request_datetime", "on_scene_datetime", "pickup_datetime", "dropoff_datetime")
    nanoseconds = ", ".join(f"{time}::TIMESTAMP_NS AS {time}" for time in times)
    versions = {
        "2022": f"* EXCLUDE (id, part, cbd_congestion_fee) REPLACE ({nanoseconds})",
        "2019": """* EXCLUDE (id, part, cbd_congestion_fee, on_scene_datetime) REPLACE (
            coalesce(PULocationID::DOUBLE, 'NaN') AS PULocationID,
            coalesce(DOLocationID::DOUBLE, 'NaN') AS DOLocationID,
            coalesce(trip_time::FLOAT, 'NaN') AS trip_time, NULL::INTEGER AS airport_fee)""",
        "2025": """* EXCLUDE (id, part) REPLACE (
            PULocationID::INTEGER AS PULocationID, DOLocationID::INTEGER AS DOLocationID)""",
    }
    files = []
    for part, (version, columns) in enumerate(versions.items()):
        files.append(folder / f"fhvhv_tripdata_{MONTH}_as_of_{version}.parquet")
        connection.execute(f"COPY (SELECT {columns} FROM trips WHERE part = {part}) TO '{files[-1]}'")
    return files
