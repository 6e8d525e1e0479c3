"""The data-docs page: gathered from a small lake, rendered, and used in a real browser."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
import sqlalchemy as sa

from taxiway import catalogue
from taxiway.catalogue import checks
from taxiway.core import contracts, lineage
from taxiway.core.settings import Settings
from taxiway.data_docs import gathering
from taxiway.data_docs import page as pages
from taxiway.data_docs.gathering import Graph, Page, gather
from taxiway.data_docs.settings import DataDocsSettings
from taxiway.operations import incidents
from taxiway.operations.lineage import keep
from tests.aws_in_memory import aws_in_memory
from tests.tools import tool

NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)
LAKE = "s3://taxiway-lake"
TRIPS, TREND = contracts.read("hvfhv", "trips"), contracts.read("hvfhv", "trend")


def _glue_table(contract: contracts.Contract, **parts: dict[str, str]) -> None:
    glue = boto3.client("glue")
    keys = [{"Name": key, "Type": "string"} for key in contract.partition_keys]
    table = {"Name": contract.table, "PartitionKeys": keys, "StorageDescriptor": {"Columns": []}}
    glue.create_table(DatabaseName="taxiway", TableInput=table)
    for period, parameters in parts.items():
        values = period.removeprefix("of_").split("_")
        part = {"Values": values, "Parameters": parameters, "StorageDescriptor": {"Columns": []}}
        glue.create_partition(DatabaseName="taxiway", TableName=contract.table, PartitionInput=part)


def _tell(job: str, inputs: list[Any], outputs: list[Any], kind: str = "SPARK") -> None:
    event = lineage.run_event(
        state="COMPLETE",
        at="2026-11-26T09:00:00+00:00",
        run_id="0192f6a8-0000-7000-8000-000000000000",
        namespace="taxiway",
        job=job,
        inputs=inputs,
        outputs=outputs,
        kind=kind,
    )
    keep(boto3.client("s3"), event, LAKE)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    database = catalogue.open_engine(f"sqlite:///{tmp_path_factory.mktemp('catalogue')}/catalogue.db")
    catalogue.migrate(database)
    with aws_in_memory():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="taxiway-lake")
        boto3.client("glue").create_database(DatabaseInput={"Name": "taxiway"})
        at = {"published_at": "2026-11-20T08:00:00+00:00"}
        _glue_table(TRIPS, of_2023_01=at | {"rows": "40"}, of_2023_02=at | {"rows": "2"})
        _glue_table(TREND, of_2023_01=at)
        s3.put_object(
            Bucket="taxiway-lake", Key=f"{TRIPS.path}/year=2023/month=01/version=1/a.parquet", Body=b"x" * 2_000_000
        )
        s3.put_object(Bucket="taxiway-lake", Key=f"{TRIPS.path}/year=2023/month=01/version=1/_SUCCESS", Body=b"x" * 500)
        source = lineage.Read(lineage.Dataset("https://example.org", "trips.parquet"))
        described = [lineage.described(contract, LAKE) for contract in (TRIPS, TREND)]
        made_from = {
            "fields": {"wait_s_mean": {"inputFields": [{**described[0].dataset._asdict(), "field": "wait_s"}]}}
        }
        _tell(
            "hvfhv_collection.collect",
            [source],
            [lineage.described(contracts.read("hvfhv", "trip_file"), LAKE)],
            "AIRFLOW",
        )
        _tell("spark.curate", [lineage.described(contracts.read("hvfhv", "trip_file"), LAKE)], described[:1])
        _tell("spark.marts", described[:1], [described[1]._replace(facets={"columnLineage": made_from})])
        staged = lineage.Read(lineage.Dataset("awsathena://athena", "catalog.dbt.stg_x"))
        model = "catalog.dbt.warehouse.stg_x.build"
        _tell(f"{model}.run", [described[1]], [staged], "DBT")
        _tell(f"{model}.test", [staged], [], "DBT")
        _tell("w.serve", [staged], [lineage.Read(lineage.Dataset("sqlite:///srv/rides.sqlite", "ratings"))], "AIRFLOW")
        _tell("w.emit", [], [lineage.Read(lineage.Dataset(LAKE, "marts/hvfhv"))], "AIRFLOW")
        manifest = {
            "nodes": {"model.w.trend": {"alias": "hvfhv_trend"}},
            "exposures": {
                "exposure.w.report": {
                    "name": "report",
                    "label": "</script><b>Report",
                    "depends_on": {"nodes": ["model.w.trend"]},
                }
            },
        }
        s3.put_object(Bucket="taxiway-lake", Key="dbt/run/marts/manifest.json", Body=json.dumps(manifest).encode())
        results = [
            checks.Result(pipeline="hvfhv", table=TREND.table, check="unique_key", passed=True, period="2023-01"),
            checks.Result(
                pipeline="hvfhv",
                table=TREND.table,
                check="rows_in_out",
                passed=False,
                period="2023-01",
                rows=3,
                observed="3 rows <lost>",
                expected="none",
                owner="data-platform",
            ),
        ]
        results = [checks.Result(**{**vars(each), "checked_at": NOW}) for each in results]
        checks.write(database, results)
        incidents.follow(database, results, None)
        yield gather(Settings(), boto3.Session(), DataDocsSettings(), now=NOW, database=database)


def table(found: Page, name: str) -> dict[str, Any]:
    (one,) = (each for each in found.tables if each["name"] == name)
    return one


def test_every_contract_is_on_the_page_with_its_owner(found: Page) -> None:
    known = {
        contracts.read(pipeline, name).table for pipeline in contracts.pipelines() for name in contracts.names(pipeline)
    }
    assert {each["name"] for each in found.tables} == known
    assert all(each["owners"] and each["requester"] and each["purpose"] for each in found.tables)
    assert found.faults == []


def test_what_is_published_comes_from_the_catalogue(found: Page) -> None:
    published = table(found, TRIPS.table)["published"]
    assert (published["periods"], published["newest"], published["rows"]) == (2, "2023-02", 42)
    assert published["at"] == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert published["late_by"].endswith(" days")  # the contract promises months, and 2023-02 ended years ago
    assert table(found, TREND.table)["published"]["rows"] is None
    assert table(found, "access_requests")["published"] is None


def test_cost_is_that_of_the_data_that_is_stored(found: Page) -> None:
    trips = table(found, TRIPS.table)
    assert trips["bytes"] == 2_000_000
    assert trips["usd"] == pytest.approx(0.002 * DataDocsSettings().storage_usd)


def test_the_graph_joins_airflow_spark_and_dbt(found: Page) -> None:
    assert {
        ("data:https://example.org/trips.parquet", "job:hvfhv_collection.collect"),
        ("job:hvfhv_collection.collect", "table:hvfhv_trip_file"),
        ("table:hvfhv_trip_file", "job:spark.curate"),
        ("job:spark.curate", f"table:{TRIPS.table}"),
        (f"table:{TRIPS.table}", "job:spark.marts"),
        ("job:spark.marts", f"table:{TREND.table}"),
        (f"table:{TREND.table}", "exposure:exposure.w.report"),
        (f"table:{TREND.table}", "job:catalog.dbt.warehouse.stg_x.build.run"),
        ("job:catalog.dbt.warehouse.stg_x.build.run", "data:awsathena://athena/catalog.dbt.stg_x"),
        ("data:awsathena://athena/catalog.dbt.stg_x", "job:w.serve"),
        ("job:w.serve", "data:sqlite:///srv/rides.sqlite/ratings"),
    } == set(found.edges)
    assert "job:catalog.dbt.warehouse.stg_x.build.test" not in found.nodes, "a test makes nothing"
    assert "data:s3://taxiway-lake/marts/hvfhv" not in found.nodes, "the folder of tables that jobs name"
    labels = {node: each["label"] for node, each in found.nodes.items()}
    assert labels["job:catalog.dbt.warehouse.stg_x.build.run"] == "dbt: stg_x"
    assert labels["data:awsathena://athena/catalog.dbt.stg_x"] == "stg_x"
    assert labels["data:sqlite:///srv/rides.sqlite/ratings"] == "rides.sqlite/ratings"
    kinds = {node: found.nodes[node]["kind"] for node, _ in found.edges}
    assert kinds["job:hvfhv_collection.collect"] == "airflow"
    assert kinds["job:spark.marts"] == "spark"
    assert table(found, TREND.table)["origins"] == {"wait_s_mean": [f"{TRIPS.table}.wait_s"]}


def test_last_checks_and_open_incidents_are_shown(found: Page) -> None:
    trend = table(found, TREND.table)
    assert {check["check"]: check["passed"] for check in trend["checks"]} == {"unique_key": True, "rows_in_out": False}
    assert [(each["state"], each["check"]) for each in trend["incidents"]] == [("open", "rows_in_out")]
    assert [each["table"] for each in found.incidents] == [TREND.table]


def test_what_cannot_be_read_is_named_and_does_not_hold_up_the_page(found: Page) -> None:
    with aws_in_memory():
        found = gather(
            Settings(lake="s3://nobody-s-lake"),
            boto3.Session(),
            DataDocsSettings(),
            now=NOW,
            database=sa.create_engine("sqlite://"),
        )
    assert [fault.split(" could")[0] for fault in found.faults] == [
        *("The lineage", "dbt's project", "The results of checks", "The incidents", "The sizes of tables")
    ]
    assert "The lineage could not be read (NoSuchBucket)." in pages.render(found)


def test_checks_and_incidents_without_a_catalogue_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_TLC_CATALOG", raising=False)
    with aws_in_memory():
        boto3.client("s3").create_bucket(Bucket="taxiway-lake")
        found = gather(Settings(), boto3.Session(), DataDocsSettings(), now=NOW)
    assert found.faults == [
        f"{what} could not be read (CatalogueError)." for what in ("The results of checks", "The incidents")
    ]


def test_the_last_run_of_a_job_is_its_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"namespace": "s3://a", "name": "a"}
    events = [
        {"job": {"name": "collect"}, "eventTime": f"2026-{month}-01T00:00:00Z", "inputs": [data], "outputs": [data]}
        for month in ("11", "02")
    ]
    monkeypatch.setattr("taxiway.data_docs.gathering.told.events", lambda *_: iter(events))
    with aws_in_memory():
        boto3.client("s3").create_bucket(Bucket="taxiway-lake")
        found = gather(Settings(), boto3.Session(), DataDocsSettings(), now=NOW, database=sa.create_engine("sqlite://"))
    assert found.nodes["job:collect"]["at"] == "2026-11-01T00:00:00Z"


def test_a_table_that_is_dropped_meanwhile_does_not_hold_up_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"Name": "hvfhv_trend", "PartitionKeys": [{"Name": "year"}, {"Name": "month"}]}
    monkeypatch.setattr(gathering, "_glue_tables", lambda *_: {table["Name"]: table})
    with aws_in_memory():
        boto3.client("s3").create_bucket(Bucket="taxiway-lake")
        found = gather(Settings(), boto3.Session(), DataDocsSettings(), now=NOW, database=sa.create_engine("sqlite://"))
    assert "What is published of hvfhv_trend could not be read (EntityNotFoundException)." in found.faults


def test_a_table_of_dbt_or_athena_is_the_same_node() -> None:
    graph = Graph(LAKE, [TREND])
    name = lineage.canonical("awsathena://athena.us-east-1.amazonaws.com", "awsdatacatalog.taxiway.hvfhv_trend", LAKE)
    graph.add_event({"job": {"name": "model"}, "eventTime": "", "outputs": [name._asdict()]})
    assert graph.edges == {("job:model", f"table:{TREND.table}")}


def test_a_topic_is_the_same_node_whatever_the_broker() -> None:
    requests, predictions = (contracts.read("eta", name) for name in ("ride_requests", "eta_predictions"))
    graph = Graph(LAKE, [requests, predictions])
    inputs, outputs = (
        [lineage.address(lineage.topic_address(broker, each.path))._asdict()]
        for broker, each in (("a:9092,b:9092", requests), ("c:9092", predictions))
    )
    graph.add_event({"job": {"name": "stream"}, "eventTime": "", "inputs": inputs, "outputs": outputs})
    assert graph.edges == {("table:ride_requests", "job:stream"), ("job:stream", "table:eta_predictions")}
    assert graph.nodes.keys() == {"table:ride_requests", "table:eta_predictions", "job:stream"}


# ── In a browser ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def seen(found: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield the page in a browser that has no network; and what went wrong there must be nothing."""
    from playwright.sync_api import sync_playwright

    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(pages.render(found), encoding="utf-8")
    wrong, asked = list[str](), list[str]()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=tool("chromium", "google-chrome"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(file.as_uri())
        yield tab
        browser.close()
    assert wrong == []
    assert {*asked} == {file.as_uri()}


def test_search_finds_a_table_by_its_columns_and_people(seen: Any, found: Page) -> None:
    def entries(text: str) -> list[str]:
        seen.fill("#search", text)
        return [each.get_attribute("data-name") for each in seen.query_selector_all("li.entry:not([hidden])")]

    assert entries("late_trips") == ["hvfhv_service_quality"]
    assert entries("web-operations sessions") != []
    assert all(table(found, name)["requester"] == "web-operations" for name in entries("web-operations"))
    assert entries("qwertz") == []
    assert seen.inner_text("#found") == f"0 of {len(found.tables)} tables"
    assert len(entries("")) == len(found.tables)


def test_a_table_s_page_has_all_of_it_and_its_graph(seen: Any) -> None:
    seen.click(f"li.entry[data-name={TREND.table}] a")
    section = f"section#{TREND.table}"
    text = seen.inner_text(section)
    for part in (
        "data-platform@taxiway.example",
        "mobility-analytics",
        "rows_in_out",
        "3 rows <lost>",
        f"{TRIPS.table}.wait_s",
        "open",
    ):
        assert part in text
    seen.wait_for_selector("section#graph", state="hidden")
    nodes = {each.get_attribute("data-node") for each in seen.query_selector_all(f"{section} svg g")}
    assert nodes == {
        *("data:https://example.org/trips.parquet", "job:hvfhv_collection.collect", "table:hvfhv_trip_file"),
        *(
            "job:spark.curate",
            "job:spark.marts",
            f"table:{TRIPS.table}",
            f"table:{TREND.table}",
            "exposure:exposure.w.report",
        ),
        *("job:catalog.dbt.warehouse.stg_x.build.run", "data:awsathena://athena/catalog.dbt.stg_x"),
        *("job:w.serve", "data:sqlite:///srv/rides.sqlite/ratings"),
    }


def test_the_graph_leads_on_and_reads_from_left_to_right(seen: Any) -> None:
    seen.goto(f"{seen.url.partition('#')[0]}#{TREND.table}")
    seen.click(f"section#{TREND.table} svg a[href='#{TRIPS.table}']")
    assert seen.is_visible(f"section#{TRIPS.table} svg")
    seen.click("nav a.whole")
    places = {
        each.get_attribute("data-node"): float(each.query_selector("rect").get_attribute("x"))
        for each in seen.query_selector_all("section#graph svg g")
    }
    way = (
        "table:hvfhv_trip_file",
        "job:spark.curate",
        f"table:{TRIPS.table}",
        "job:spark.marts",
        f"table:{TREND.table}",
    )
    assert [places[node] for node in way] == sorted(places[node] for node in way)
    assert len({places[node] for node in way}) == len(way)
    assert "</script><b>Report" in (seen.text_content("section#graph svg") or "")


def test_the_page_is_written_where_reports_are(found: Page) -> None:
    with aws_in_memory():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="taxiway-lake")
        uri = pages.write(found, Settings(), s3)
        assert uri == f"{LAKE}/reports/data-docs/index.html"
        stored = s3.get_object(Bucket="taxiway-lake", Key="reports/data-docs/index.html")
        assert stored["ContentType"].startswith("text/html")
        assert TREND.table in stored["Body"].read().decode()
