"""Each check lets sound outputs pass and names what is wrong with others."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pytest

from taxiway import lake
from taxiway.hvfhv.checks import Outputs, failures
from taxiway.hvfhv.tables import (
    ETA_TRAINING,
    MARKET_SHARE,
    POPULAR_ZONES,
    QUARANTINE,
    RISING_ZONES,
    SERVICE_QUALITY,
    TABLES,
    TREND,
    TRIPS,
)

ARROW_TYPES = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
FIRST, SECOND = date(2023, 1, 1), date(2023, 1, 2)
SOURCE = "s3://taxiway-lake/raw/hvfhv/year=2023/month=01/trips.parquet"


def schema(table: lake.Table) -> pa.Schema:
    return pa.schema([(name, ARROW_TYPES[type_]) for name, type_ in table.columns.items()])


def rows(table: lake.Table, *values: tuple[object, ...]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(table.columns, row, strict=True)) for row in values], schema=schema(table))


@pytest.fixture
def outputs() -> Outputs:
    """Ten trips of two companies, nine of them timed, and two quarantined rows."""
    return Outputs(
        month="2023-01",
        logged_rows={SOURCE: 12},
        source_rows={SOURCE: 12},
        rows={TRIPS: 10, ETA_TRAINING: 9},
        quarantined={"unknown_zone": 2},
        schemas={table: schema(table) for table in (TRIPS, QUARANTINE, ETA_TRAINING)},
        marts={
            SERVICE_QUALITY: rows(
                SERVICE_QUALITY,
                ("uber", 7, 8, 5, 61.5, 60, 90, 95, 0, 30.0, 30, 40),
                ("lyft", 7, 8, 4, 61.5, 60, 90, 95, 0, None, None, None),
            ),
            MARKET_SHARE: rows(
                MARKET_SHARE,
                ("uber", "Queens", FIRST, 4, 0.8, 40.0, 2 / 3, 30.0),
                ("lyft", "Queens", FIRST, 1, 0.2, 20.0, 1 / 3, 10.0),
                ("uber", "Queens", SECOND, 2, 0.4, 0.0, None, 0.0),
                ("lyft", "Queens", SECOND, 3, 0.6, 0.0, None, 0.0),
            ),
            POPULAR_ZONES: rows(
                POPULAR_ZONES,
                (FIRST, 7, 5, 1, "Astoria", "Queens"),
                (SECOND, 7, 3, 1, "Astoria", "Queens"),
                (SECOND, 8, 2, 2, "Astoria Park", "Queens"),
            ),
            RISING_ZONES: rows(RISING_ZONES, (7, 8, 0.8, None, None, None, None), (8, 2, 0.2, None, None, None, None)),
            TREND: rows(
                TREND,
                ("uber", 6, 61.5, 60, 90, 40.0, 30.0, 0.6),
                ("lyft", 4, 61.5, 60, 90, 20.0, 10.0, 0.4),
            ),
        },
    )


def with_mart(outputs: Outputs, table: lake.Table, mart: pa.Table) -> Outputs:
    return replace(outputs, marts={**outputs.marts, table: mart})


def changed(table: lake.Table, row: int, **values: object) -> Callable[[Outputs], Outputs]:
    """Return a function that changes values of a row of a mart."""

    def change(outputs: Outputs) -> Outputs:
        data = outputs.marts[table].to_pylist()
        data[row] |= values
        return with_mart(outputs, table, pa.Table.from_pylist(data, schema=schema(table)))

    return change


DOUBLES = [
    (table, name)
    for table in (SERVICE_QUALITY, MARKET_SHARE, POPULAR_ZONES, RISING_ZONES, TREND)
    for name, type_ in table.columns.items()
    if type_ == "double"
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("table", "name"), DOUBLES, ids=lambda part: getattr(part, "name", part))
def test_a_number_that_is_none_is_refused(outputs: Outputs, table: lake.Table, name: str, value: float) -> None:
    found = failures(changed(table, 0, **{name: value})(outputs))
    assert f"{name} of {table.name} is NaN or infinite in 1 row." in found


def test_a_number_that_is_none_is_refused_in_a_large_mart(outputs: Outputs) -> None:
    found = failures(replace(outputs, not_finite={ETA_TRAINING: {"trip_miles": 2}}))
    assert found == ["trip_miles of hvfhv_eta_training is NaN or infinite in 2 rows."]


def test_sound_outputs_pass(outputs: Outputs) -> None:
    assert set(outputs.schemas) | set(outputs.marts) == set(TABLES), "every table is checked"
    assert failures(outputs) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            lambda outputs: replace(outputs, source_rows={SOURCE: 13}, rows={TRIPS: 11, ETA_TRAINING: 9}),
            [
                f"{SOURCE} has 13 rows, but the ingestion log has 12.",
                "hvfhv_market_share counts 10 trips, but hvfhv_trips has 11 rows.",
                "hvfhv_popular_zones counts 10 trips, but hvfhv_trips has 11 rows.",
                "hvfhv_rising_zones counts 10 trips, but hvfhv_trips has 11 rows.",
                "hvfhv_trend counts 10 trips, but hvfhv_trips has 11 rows.",
            ],
            id="another source file than the log says",
        ),
        pytest.param(
            lambda outputs: replace(outputs, quarantined={"unknown_zone": 1}),
            ["Of 12 source rows 10 were accepted and 1 quarantined: 1 too few."],
            id="a row is lost",
        ),
        pytest.param(
            lambda outputs: replace(outputs, quarantined={"unknown_zone": 2, "duplicate": 3}),
            ["Of 12 source rows 10 were accepted and 5 quarantined: 3 too many."],
            id="rows are doubled",
        ),
        pytest.param(
            lambda outputs: replace(
                outputs, rows={TRIPS: 0, ETA_TRAINING: 0}, quarantined={"missing_key": 3, "outside_month": 9000}
            ),
            [
                (
                    "All 9,003 rows of 2023-01 were quarantined (outside_month 9,000, missing_key 3): "
                    f"check its source, {SOURCE}."
                )
            ],
            id="all rows are quarantined",
        ),
        pytest.param(
            lambda outputs: replace(outputs, rows={TRIPS: 10, ETA_TRAINING: 8}),
            ["hvfhv_service_quality counts 9 trips, but hvfhv_eta_training has 8 rows."],
            id="timed trips differ",
        ),
        pytest.param(
            lambda outputs: changed(SERVICE_QUALITY, 0, trips=8)(replace(outputs, rows={TRIPS: 10, ETA_TRAINING: 12})),
            ["hvfhv_eta_training has 12 rows, but hvfhv_trips has only 10."],
            id="more timed trips than trips",
        ),
        *(
            pytest.param(
                changed(table, 0, trips=0),
                [
                    f"trips of {table.name} is below 1 in 1 row.",
                    f"{table.name} counts {others} trips, but hvfhv_trips has 10 rows.",
                ],
                id=f"{table.name}'s trips differ",
            )
            for table, others in ((MARKET_SHARE, 6), (POPULAR_ZONES, 5), (RISING_ZONES, 2), (TREND, 4))
        ),
        pytest.param(
            changed(SERVICE_QUALITY, 1, company="uber"),
            [
                (
                    "Keys of hvfhv_service_quality (company, pickup_zone_id, request_hour) that are null or not "
                    "unique: 1, such as (uber, 7, 8) in 2 rows."
                )
            ],
            id="service_quality's key",
        ),
        pytest.param(
            changed(MARKET_SHARE, 0, pickup_borough=None, trip_share=1.0, revenue_share=1.0),
            [
                (
                    "Keys of hvfhv_market_share (company, pickup_borough, pickup_date) that are null or not unique: 1, "
                    "such as (uber, None, 2023-01-01) in 1 rows."
                ),
                (
                    "Groups of hvfhv_market_share whose trip_share does not add up to 1: 1, "
                    "such as Queens, 2023-01-01 with 0.2."
                ),
                (
                    "Groups of hvfhv_market_share whose revenue_share does not add up to 1: 1, "
                    "such as Queens, 2023-01-01 with 0.333333333."
                ),
            ],
            id="market_share's key is null",
        ),
        pytest.param(
            changed(POPULAR_ZONES, 2, zone_id=7),
            [
                (
                    "Keys of hvfhv_popular_zones (pickup_date, zone_id) that are null or not unique: 1, "
                    "such as (2023-01-02, 7) in 2 rows."
                )
            ],
            id="popular_zones' key",
        ),
        pytest.param(
            changed(RISING_ZONES, 1, zone_id=7),
            ["Keys of hvfhv_rising_zones (zone_id) that are null or not unique: 1, such as (7) in 2 rows."],
            id="rising_zones' key",
        ),
        pytest.param(
            changed(TREND, 1, company="uber"),
            ["Keys of hvfhv_trend (company) that are null or not unique: 1, such as (uber) in 2 rows."],
            id="trend's key",
        ),
        pytest.param(
            changed(MARKET_SHARE, 2, trip_share=0.5),
            [
                (
                    "Groups of hvfhv_market_share whose trip_share does not add up to 1: 1, "
                    "such as Queens, 2023-01-02 with 1.1."
                )
            ],
            id="market_share's trip_share",
        ),
        pytest.param(
            changed(MARKET_SHARE, 0, revenue_share=None),
            [
                (
                    "Groups of hvfhv_market_share whose revenue_share does not add up to 1: 1, "
                    "such as Queens, 2023-01-01 with 0.333333333."
                )
            ],
            id="market_share's revenue_share",
        ),
        pytest.param(
            changed(MARKET_SHARE, 2, trip_share=None),
            [
                "trip_share of hvfhv_market_share is null in 1 row.",
                (
                    "Groups of hvfhv_market_share whose trip_share does not add up to 1: 1, "
                    "such as Queens, 2023-01-02 with 0.6."
                ),
            ],
            id="a trip_share is null",
        ),
        pytest.param(
            changed(TREND, 0, trip_share=0.6001),
            ["Groups of hvfhv_trend whose trip_share does not add up to 1: 1, such as the month with 1.0001."],
            id="trend's trip_share",
        ),
        pytest.param(
            changed(RISING_ZONES, 0, share=0.7),
            ["Groups of hvfhv_rising_zones whose share does not add up to 1: 1, such as the month with 0.9."],
            id="rising_zones' share",
        ),
    ],
)
def test_faults_are_named(outputs: Outputs, change: Callable[[Outputs], Outputs], expected: list[str]) -> None:
    found = failures(change(outputs))

    assert found == expected


def test_all_faults_are_named_at_once(outputs: Outputs) -> None:
    broken = changed(TREND, 1, company="uber")(replace(outputs, quarantined={}))
    broken = changed(RISING_ZONES, 0, share=0.7)(broken)

    assert [sentence.split(" of ")[0] for sentence in failures(broken)] == [
        "Of 12 source rows 10 were accepted and 0 quarantined: 2 too few.",
        "Groups",
        "Keys",
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda fields: fields[:-1], "trip_share is missing"),
        (lambda fields: [*fields, pa.field("more", pa.string())], "more is unknown"),
        (lambda fields: [fields[0], pa.field("trips", pa.int32()), *fields[2:]], "trips is int instead of bigint"),
        (
            lambda fields: [fields[1], fields[0], *fields[2:]],
            "their order is trips, company, wait_s_mean, wait_s_p50, wait_s_p90, fare_revenue, driver_pay, trip_share",
        ),
    ],
)
def test_columns_and_types_are_as_agreed(
    outputs: Outputs, change: Callable[[list[pa.Field]], list[pa.Field]], fault: str
) -> None:
    other = pa.schema(change(list(schema(TREND)))).empty_table()

    assert failures(with_mart(outputs, TREND, other)) == [
        f"The columns of hvfhv_trend differ from its contract: {fault}."
    ]


def test_times_with_a_zone_are_not_wall_clock_times(outputs: Outputs) -> None:
    zoned = schema(TRIPS).set(
        schema(TRIPS).get_field_index("pickup_datetime"), pa.field("pickup_datetime", pa.timestamp("us", "UTC"))
    )

    (found,) = failures(replace(outputs, schemas={TRIPS: zoned}))
    assert found.endswith("contract: pickup_datetime is timestamp[us, tz=UTC] instead of timestamp.")
