"""One name for a data set, whoever names it."""

import pytest

from taxiway.core import contracts, lineage
from taxiway.core.lineage import Dataset

LAKE = "s3://taxiway-lake"
TREND = Dataset(LAKE, "marts/hvfhv/trend")


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        (LAKE, "marts/hvfhv/trend"),
        ("s3a://taxiway-lake", "/marts/hvfhv/trend/"),
        (LAKE, "marts/hvfhv/trend/year=2023/month=01/version=20261121T101112123456Z.1"),
        (LAKE, "marts/hvfhv/trend/year=2023/month=01/version=1/part-0.parquet"),
        ("awsathena://athena.us-east-1.amazonaws.com", "AwsDataCatalog.taxiway.hvfhv_trend"),
        ("awsathena://athena.us-east-1.amazonaws.com", 'awsdatacatalog.taxiway."hvfhv_trend"'),
        ("awsathena://athena.us-east-1.amazonaws.com", "awsdatacatalog.taxiway.trend"),  # dbt's source of that name
        ("arn:aws:glue:us-east-1:123456789012", "table/taxiway/hvfhv_trend"),
        ("duckdb:///somewhere/warehouse.duckdb", "warehouse.main.hvfhv_trend"),
    ],
)
def test_a_table_has_one_name(namespace: str, name: str) -> None:
    assert lineage.canonical(namespace, name, LAKE) == TREND == lineage.table(contracts.read("hvfhv", "trend"), LAKE)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://taxiway-lake/reports/hvfhv/2023-01.html", (LAKE, "reports/hvfhv")),
        ("s3://taxiway-lake/raw/hvfhv/year=2023/month=01/a.parquet", (LAKE, "raw/hvfhv")),
        ("s3://taxiway-lake/marts/hvfhv/trend_of_another", (LAKE, "marts/hvfhv/trend_of_another")),
        ("s3://elsewhere/marts/hvfhv/trend/year=2023", ("s3://elsewhere", "marts/hvfhv/trend/year=2023")),
        ("https://me:secret@example.org/names.csv?signature=secret", ("https://example.org", "names.csv")),
        ("/tmp/names.csv", ("file", "/tmp/names.csv")),
    ],
)
def test_what_is_no_table_keeps_its_address_without_partitions_and_secrets(uri: str, expected: tuple[str, str]) -> None:
    assert lineage.canonical(*lineage.address(uri), LAKE) == expected


@pytest.mark.parametrize(
    ("lake", "namespace", "prefix"), [("s3://b/some/place", "s3://b", "some/place/"), ("/x", "file", "x/")]
)
def test_a_lake_below_a_prefix(lake: str, namespace: str, prefix: str) -> None:
    trend = lineage.table(contracts.read("hvfhv", "trend"), lake)
    assert trend == (namespace, f"{prefix}marts/hvfhv/trend")
    file = lineage.address(f"{lake}/marts/hvfhv/trend/year=2023/month=01/version=1/part-0.parquet")
    assert lineage.canonical(*file, lake) == trend
    assert lineage.canonical("s3://b", "elsewhere/x/year=2023", "s3://b/some/place").name == "elsewhere/x/year=2023"


def test_no_two_tables_have_one_name() -> None:
    found = [lineage.table(each, LAKE) for each in lineage.tables().values() if not lineage.is_topic(each)]
    assert len({*found}) == len(found)


def test_a_topic_is_named_by_its_first_broker_and_known_by_its_name() -> None:
    address = lineage.topic_address("b-1.msk.example:9098, b-2.msk.example:9098", "ride_requests")
    name = lineage.canonical(*lineage.address(address), LAKE)
    assert name == ("kafka://b-1.msk.example:9098", "ride_requests")
    contract = contracts.read("eta", "ride_requests")
    assert lineage.finder(LAKE)(name) is contract
    assert lineage.finder(LAKE)(Dataset("kafka://other:9092", "ride_requests")) is contract
    assert lineage.finder(LAKE)(Dataset("kafka://other:9092", "payments")) is None
    assert lineage.finder(LAKE)(Dataset(LAKE, "ride_requests")) is None
    assert lineage.finder(LAKE)(TREND) is contracts.read("hvfhv", "trend")
    assert lineage.described(contract, LAKE, name).dataset == name


def test_an_event_is_kept_once_for_a_job_and_its_data_sets() -> None:
    def event(run: str, *inputs: Dataset) -> dict[str, object]:
        return lineage.run_event(
            state="COMPLETE",
            at="2026-11-26T10:00:00+00:00",
            run_id=run,
            namespace="taxiway",
            job="spark.hvfhv/build month",
            inputs=[lineage.Read(each) for each in inputs],
            outputs=[lineage.Read(TREND)],
        )

    trips, zones = Dataset(LAKE, "curated/hvfhv_trips"), Dataset(LAKE, "raw/zones")
    assert lineage.key(event("1", trips, zones)) == lineage.key(event("2", zones, trips))
    assert lineage.key(event("1", trips)) != lineage.key(event("1", zones))
    assert lineage.place(event("1", trips), LAKE).startswith(f"{LAKE}/lineage/taxiway.spark.hvfhv_build_month/")


@pytest.mark.parametrize("pipeline", contracts.pipelines())
def test_columns_that_others_are_made_from_exist(pipeline: str) -> None:
    for name in contracts.names(pipeline):
        (table,) = contracts.read(pipeline, name).raw["schema"]
        for column in table["properties"]:
            for source in column.get("transformSourceObjects", ()):
                made_from, _, field = source.rpartition(".")
                assert field in lineage.tables()[made_from].columns, f"{name} is made from {source}"


def test_where_a_column_comes_from_is_told_as_the_contract_says() -> None:
    columns = lineage.described(contracts.read("hvfhv", "trips"), LAKE).facets["columnLineage"]["fields"]
    assert [(each["name"], each["field"]) for each in columns["wait_s"]["inputFields"]] == [
        ("raw/hvfhv", "pickup_datetime"),
        ("raw/hvfhv", "request_datetime"),
    ]
    assert {*columns} == {"company", "wait_s", "arrival_s"}
