"""One graph, of the events of real runs: Airflow's tasks, Spark programs on local EMR, dbt on local Athena, SQL."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taxiway.core import contracts
from tests.dags.operations.lineage_run import DBT

pytestmark = pytest.mark.timeout(900)  # two minutes or so of two cores on a quiet machine

ROOT = Path(__file__).parents[3]
Edges = set[tuple[str, str]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the events of all runs, and what the stream's job run was asked for."""
    if not DBT.exists():
        pytest.skip("the environment warehouse is not installed: make dbt installs it")
    folder = tmp_path_factory.mktemp("lineage")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")}
    command = [sys.executable, "-m", "tests.dags.operations.lineage_run", str(folder)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "dags")])
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert (folder / "result.json").exists(), done.stderr[-3000:]
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert {state for state, _ in result["states"].values()} == {"success"}, (result["states"], done.stderr[-3000:])
    return result


@pytest.fixture(scope="module")
def everything(ran: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of collection and analysis of a month, the warehouse, and hours of API logs."""
    events: list[dict[str, Any]] = ran["events"]
    return events


def edges(events: list[dict[str, Any]]) -> Edges:
    """Return the graph: data set → job → data set, by their names."""
    found = set()
    for event in events:
        found |= {(each["name"], event["job"]["name"]) for each in event["inputs"]}
        found |= {(event["job"]["name"], each["name"]) for each in event["outputs"]}
    return found


def reached(graph: Edges, start: str) -> set[str]:
    found, new = {start}, {start}
    while new:
        new = {to for at, to in graph if at in new} - found
        found |= new
    return found


def test_a_source_s_file_leads_to_every_table_and_to_the_report(everything: list[dict[str, Any]]) -> None:
    graph = edges(everything)
    (source,) = {at for at, to in graph if to == "hvfhv_collection.collect"}
    tables = {contracts.read("hvfhv", name).path for name in contracts.names("hvfhv")}
    assert source.endswith("fhvhv_tripdata_sample_2023-01.parquet")
    assert reached(graph, source) >= tables | {"reports/hvfhv"}


def test_trips_and_ratings_lead_through_dbt_to_the_warehouse_s_marts(everything: list[dict[str, Any]]) -> None:
    graph = edges(everything)
    (source,) = {at for at, to in graph if to == "hvfhv_collection.collect"}
    marts = {f"marts/warehouse/{name}" for name in ("zone_month", "company_month", "zone_summary")}
    assert reached(graph, source) >= marts
    assert reached(graph, "ride_ratings") >= {"raw/warehouse/ride_ratings", *marts, "marts/warehouse/ab_summary"}


def test_encrypted_objects_lead_to_events_and_their_report(everything: list[dict[str, Any]]) -> None:
    graph = edges(everything)
    names = ("api_events_staged", "api_events", "api_events_quarantine")
    tables = {contracts.read("api_logs", name).path for name in names}
    found = reached(graph, contracts.read("api_logs", "api_event_object").path)
    assert found >= tables | {"curated/api_events_daily", "reports/api_logs"}
    jobs = {each for each in found if each.startswith("api_logs_etl.")}
    assert jobs == {f"api_logs_etl.{task}" for task in ("convert", "build", "quarantine", "compact", "summarise")}


def test_a_stream_s_program_is_told_the_task_that_started_it(ran: dict[str, Any]) -> None:
    words = ran["stream"]["sparkSubmit"]["sparkSubmitParameters"].split()
    told = dict(word.split("=", 1) for word in words if word.startswith("spark.openlineage."))
    assert told.pop("spark.openlineage.parentRunId")
    assert told == {
        "spark.openlineage.parentJobNamespace": "taxiway",
        "spark.openlineage.parentJobName": "eta_stream.keep",
    }


@pytest.mark.parametrize(
    ("model", "source"), [("stg_ride_ratings", "raw/warehouse/ride_ratings"), ("stg_trend", "marts/hvfhv/trend")]
)
def test_dbt_tells_which_columns_a_model_is_made_from(
    model: str, source: str, everything: list[dict[str, Any]]
) -> None:
    (made,) = (event for event in everything if event["job"]["name"].endswith(f"{model}.build.run"))
    (output,) = made["outputs"]
    columns = output["facets"]["columnLineage"]["fields"].values()
    assert {each["name"] for each in made["inputs"]} == {source}
    assert {each["name"] for column in columns for each in column["inputFields"]} == {source}


def test_a_program_names_the_task_that_it_ran_for(everything: list[dict[str, Any]]) -> None:
    programs = {
        event["job"]["name"]: event["run"]["facets"]["parent"]["job"]["name"]
        for event in everything
        if event["job"]["name"].startswith("spark.")
    }
    assert programs == {
        "spark.hvfhv.build_month.curate": "hvfhv_analysis.analyse.build_month",
        "spark.hvfhv.build_month.marts": "hvfhv_analysis.analyse.build_month",
        "spark.hvfhv.rank_rising_zones": "hvfhv_analysis.rising_zones",
    }


def test_a_program_s_tables_have_the_columns_of_their_contracts(everything: list[dict[str, Any]]) -> None:
    outputs = {each["name"]: each["facets"] for event in everything for each in event["outputs"] if each["facets"]}
    trips = contracts.read("hvfhv", "trips")
    columns = [field["name"] for field in outputs[trips.path]["schema"]["fields"]]
    assert columns == [*trips.columns, *trips.partition_keys]
    assert outputs[trips.path]["ownership"]["owners"][0]["name"] == "data-platform@taxiway.example"
