"""dbt in tasks: what is built, what is left out, what a retry does."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from pyarrow import parquet

from taxiway.catalogue.checks import Result
from taxiway.core.s3 import split
from taxiway.core.settings import settings
from taxiway.lake import Lake, TableSet
from taxiway.operations import lineage, quality
from taxiway.warehouse import dbt, dbt_sources
from taxiway.warehouse.dbt_settings import dbt_settings
from tests.dags.runs import prepared_aws, run_once
from tests.tools import ROOT, absent
from tests.warehouse import rows

PROGRAM = ROOT / ".local/venvs/warehouse/bin/dbt"
TREND, ZONES, RATINGS = (rows.table(name) for name in ("hvfhv.trend", "warehouse.taxi_zones", "warehouse.ride_ratings"))


# ── Which months ────────────────────────────────────────────────────────────────────────────────────────────────────

PLACES = {"hvfhv_trend": {"2023-01": "a", "2023-02": "b"}, "taxi_zones": {"": "z"}, "ride_ratings": {"2023-03": "r"}}


@pytest.mark.parametrize(
    ("now", "months"),
    [
        ({}, []),
        ({"hvfhv_trend": {"2023-01": "a", "2023-02": "new", "2023-03": "c"}}, ["2023-02", "2023-03"]),
        ({"hvfhv_trend": {"2023-02": "b"}}, None),  # a month is gone
        ({"taxi_zones": {"": "other"}}, None),
        # Ratings that were there, and those that are: a ride's month is not that of the partition.
        ({"ride_ratings": {"2023-03": "later"}}, ["2023-01", "2023-02"]),
        ({"ride_ratings": {"2023-03": "pruned"}}, None),
    ],
    ids=["nothing", "two", "gone", "zones", "ratings", "unreadable"],
)
def test_months_that_changed(now: dict[str, dict[str, str]], months: list[str] | None) -> None:
    rides = {"r": {"2023-01"}, "later": {"2023-01", "2023-02"}}
    tables = (TREND, ZONES, RATINGS)
    found = dbt_sources.changed_months(PLACES, {**PLACES, **now}, tables, lambda place, _: rides[place])
    assert found == months
    assert dbt_sources.changed_months(None, PLACES, tables, lambda place, _: rides[place]) is None


# ── What failed ─────────────────────────────────────────────────────────────────────────────────────────────────────


def node(kind: str, name: str, *parents: str, owner: str = "", layer: str = "marts") -> dict[str, Any]:
    node_id = f"{kind}.warehouse.{name}"
    return {
        "unique_id": node_id, "resource_type": kind, "name": name, "depends_on": {"nodes": [*parents]},
        "original_file_path": f"models/{layer}/{name}.sql",
        "config": {"materialized": "table", "meta": {"owner": owner} if owner else {}},
    }  # fmt: skip


STAGED, SUMMED = "model.warehouse.staged", "model.warehouse.summed"
NODES = [
    node("model", "staged", layer="staging"), node("model", "summed", STAGED, owner="rides"),
    node("test", "no_nulls", SUMMED), node("model", "other", owner="names"),
]  # fmt: skip
MANIFEST = {
    "metadata": {}, "nodes": {each["unique_id"]: each for each in NODES},
    "child_map": {STAGED: [SUMMED], SUMMED: ["test.warehouse.no_nulls"]},
}  # fmt: skip


def results(**statuses: str) -> dbt.Results:
    ids = {each["name"]: each["unique_id"] for each in NODES}
    found = [{"unique_id": ids[name], "status": status, "message": "no\nway."} for name, status in statuses.items()]
    return dbt.Results(MANIFEST, found)


def test_a_fault_names_the_model_its_owner_and_the_reason() -> None:
    assert results(staged="error", no_nulls="fail", other="success").faults() == [
        "staged (owner rides) failed: no way.",
        "the test no_nulls of summed (owner rides) failed: no way.",
    ]


def test_what_an_earlier_layer_lacks_is_left_out_and_due_on_the_next_try() -> None:
    assert dbt._descendants(results(), ["staged"], "marts") == {SUMMED}
    first = dbt.Results(MANIFEST, []).merged(results(other="success"), [SUMMED])
    assert {each["unique_id"]: each["status"] for each in first.results} == {
        SUMMED: "skipped", "model.warehouse.other": "success",
    }  # fmt: skip
    second = first.merged(results(summed="success"))
    assert {each["status"] for each in second.results} == {"success"}


def test_a_failed_test_is_missing_its_model() -> None:
    assert dbt._missing(results(no_nulls="fail", other="success")) == {SUMMED.rpartition(".")[2]}


def test_a_retry_selects_what_has_not_passed() -> None:
    assert dbt.selection("marts", again=False) == ["path:models/marts"]
    assert dbt.selection("marts", again=True) == [
        "result:error+,path:models/marts", "1+result:fail+,path:models/marts",
        "result:skipped+,path:models/marts", "state:modified+,path:models/marts",
    ]  # fmt: skip


# ── On local AWS ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if not PROGRAM.exists():
        absent("tool", f"{PROGRAM} is not installed: make test installs it")
    with prepared_aws(tmp_path_factory.mktemp("aws"), dbt_settings, TAXIWAY_DBT=str(PROGRAM)):
        yield


def mart(name: str) -> list[dict[str, Any]]:
    """Return the rows of a mart as readers find them: by Glue."""
    found = boto3.client("glue").get_table(DatabaseName="taxiway", Name=name)["Table"]["StorageDescriptor"]["Location"]
    lake = Lake(settings(), boto3.Session(), TableSet("warehouse"))
    assert found.startswith(f"{settings().lake}/marts/warehouse/{name}/")
    bucket, _ = split(found)
    keys = lake.data_files(found.rstrip("/"))  # Athena's files have no suffix
    files = [lake.files.open_input_file(f"{bucket}/{key}") for key in keys]
    found_rows = (row for file in files for row in parquet.read_table(file).to_pylist())
    return sorted(found_rows, key=str)


def context(run_id: str, planned: Any = None, number: int = 1) -> Any:
    ti = SimpleNamespace(try_number=number, xcom_pull=lambda **_: planned, task_id="marts", dag_id="d", run_id=run_id)
    return {"params": {"full_refresh": False}, "dag_run": SimpleNamespace(run_id=run_id), "ti": ti}


def test_the_dag_builds_every_layer_and_a_retry_only_what_failed(
    local_aws: None, airflow_db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorded: list[Result] = []
    caplog.set_level(logging.INFO)
    for (name, period), sql in rows.ROWS.items():
        rows.publish(name, period, sql, "1")
    state, tasks = run_once("warehouse_summaries", {})
    assert (state, {state for states in tasks.values() for state in states}) == ("success", {"success"})
    assert [(each["zone_id"], each["month"], each["ratings"]) for each in mart("zone_summary")] == [
        (4, "2023-02", 3), (7, "2023-02", 6),
    ]  # fmt: skip
    # Nothing of the access logs is published: what depends on it is left out.
    with pytest.raises(boto3.client("glue").exceptions.EntityNotFoundException):
        mart("daily_traffic")

    # A month changes: only it is built anew, and a mart with a row out of bounds stops what depends on it alone.
    before = boto3.client("glue").get_table(DatabaseName="taxiway", Name="company_month")["Table"]
    first = sorted(map(str, mart("company_month")))
    rows.publish("hvfhv.trend", "2023-02", rows.ROWS["hvfhv.trend", "2023-02"].replace("0.5 AS", "1.5 AS"), "2")
    caplog.clear()
    planned = dbt.plan(context("second"))
    assert "hvfhv_trend is older than its contract says: what is published ends on 2023-03-01 00:00 UTC" in caplog.text
    assert "taxi_zones is older" not in caplog.text
    assert planned == {"absent": ["access_logs.hourly_traffic"], "months": ["2023-02"]}
    with monkeypatch.context() as patch:
        patch.setattr(quality, "record", lambda found, _: recorded.extend(found))
        patch.setattr(dbt, "open_lake", lambda shared, tables: Lake(shared, boto3.Session(), tables))
        dbt.build("staging", context("second", planned))
        dbt.build("intermediate", context("second", planned))
        caplog.clear()
        with pytest.raises(dbt.FinalDbtError) as raised:
            dbt.build("marts", context("second", planned))
        assert str(raised.value).startswith("The test company_month_is_within_bounds of company_month")
        assert "of company_month (owner data-platform) failed: Got 2 results" in str(raised.value)
        failed = {(each.table, each.check, each.rows, each.owner) for each in recorded if not each.passed}
        assert failed == {("company_month", "company_month_is_within_bounds", 2, "data-platform")}
        assert "Registered adapter: athena" in caplog.text
        assert "Unable to do partial parsing" not in caplog.text, "the layer before has parsed the project"
        assert {each.table for each in recorded if each.check == "dbt_build"} >= {"int_zone_months", "zone_month"}
        after = boto3.client("glue").get_table(DatabaseName="taxiway", Name="company_month")["Table"]
        assert after["StorageDescriptor"]["Location"] != before["StorageDescriptor"]["Location"]

        # The model is put right: the next try builds it and its tests, and nothing else.
        rows.publish("hvfhv.trend", "2023-02", rows.ROWS["hvfhv.trend", "2023-02"], "3")
        dbt.build("staging", context("third", planned))
        dbt.build("intermediate", context("third", planned))
        caplog.clear()
        statuses = dbt.build("marts", context("second", planned, number=2))
        assert statuses["success"] == 1
        assert "company_month" in caplog.text
        assert "ab_summary" not in caplog.text
    assert sorted(map(str, mart("company_month"))) == first, "the same data again, the same rows"


def test_a_run_that_is_cleared_as_a_whole_builds_what_was_published_since(
    local_aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbt, "open_lake", lambda shared, tables: Lake(shared, boto3.Session(), tables))
    _, artefacts = dbt._open()
    rows.publish("hvfhv.trend", "2023-02", rows.ROWS["hvfhv.trend", "2023-02"], "4")
    dbt.plan(context("cleared"))
    for name in ("manifest.json", "run_results.json"):
        artefacts.write({**MANIFEST, "results": []}, "cleared", "intermediate", name)
    dbt.plan(context("cleared"))
    assert dbt._kept(artefacts, "cleared", "intermediate"), "nothing else is published: what has passed is not built"
    rows.publish("hvfhv.trend", "2023-02", rows.ROWS["hvfhv.trend", "2023-02"], "5")
    dbt.plan(context("cleared"))
    assert not dbt._kept(artefacts, "cleared", "intermediate")


def test_a_parsed_project_of_another_state_costs_time_alone(
    local_aws: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(dbt_sources.PROJECT, project)
    for name, value in (
        ("PROJECT", project), ("open_lake", lambda shared, tables: Lake(shared, boto3.Session(), tables)),
    ):  # fmt: skip
        monkeypatch.setattr(dbt, name, value)
    monkeypatch.setattr(lineage, "for_dbt", lambda _: {})
    monkeypatch.setattr(quality, "record", lambda *_: None)
    rows.publish("warehouse.taxi_zones", "", rows.ROWS["warehouse.taxi_zones", ""], "parsed")
    others = [name for name in dbt_sources.tables() if name != "warehouse.taxi_zones"]
    kept = {"Bucket": "taxiway-lake", "Key": "dbt/latest/partial_parse.msgpack"}

    def build(run: str) -> int:
        """Build the view of zones and its tests; return how many nodes they are."""
        statuses = dbt.build("staging", context(run, {"absent": others, "months": None}))
        assert statuses.keys() == {"success", "pass"}
        return sum(statuses.values())

    nodes = build("a")
    s3 = boto3.client("s3")
    state = s3.head_object(**kept)["Metadata"]
    # Another file of the same time, as two checkouts may have it: dbt alone would not look into it.
    models = project / "models/staging/staging.yml"
    times = models.stat().st_atime_ns, models.stat().st_mtime_ns
    text = models.read_text()
    zones = "TLC taxi zone, data_tests: [unique, not_null"
    models.write_text(
        text.replace(zones, f"{zones}, {{accepted_values: {{arguments: {{values: [4, 7], quote: false}}}}}}")
    )
    assert models.read_text() != text
    os.utime(models, ns=times)
    assert build("b") == nodes + 1
    assert s3.head_object(**kept)["Metadata"] != state
    # What dbt cannot read is parsed anew.
    s3.put_object(**kept, Body=b"cut", Metadata=s3.head_object(**kept)["Metadata"])
    assert build("c") == nodes + 1
    assert s3.get_object(**kept)["Body"].read() != b"cut"


def test_a_parsed_project_follows_from_files_variables_and_packages(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.sql").write_text("select 1")
    (tmp_path / "profiles.yml").write_text("schema: \"{{ env_var('A_DATABASE', 'taxiway') }}\"")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/dbt").touch(0o755)
    packages = tmp_path / "lib/python3.11/site-packages"
    (packages / "dbt_athena-1.0.0.dist-info").mkdir(parents=True)

    def state(**environment: str) -> str:
        return dbt._parsed_from(tmp_path, tmp_path / "bin/dbt", environment)

    found = [state(), state(A_DATABASE="other")]
    (tmp_path / "models/a.sql").write_text("select 2")
    found.append(state())
    (packages / "dbt_athena-1.0.0.dist-info").rename(packages / "dbt_athena-1.0.1.dist-info")
    found.append(state())
    assert len(set(found)) == len(found)
    assert state(UNNAMED="x") == state()


@contextmanager
def other_dbt(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Iterator[None]:
    """Have a shell script in the place of dbt."""
    (folder / "dbt").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "dbt").chmod(0o755)
    monkeypatch.setenv("TAXIWAY_DBT", str(folder / "dbt"))
    monkeypatch.setattr(lineage, "for_dbt", lambda _: {})
    monkeypatch.setattr(dbt, "open_lake", lambda shared, tables: Lake(shared, boto3.Session(), tables))
    dbt_settings.cache_clear()
    try:
        yield
    finally:
        dbt_settings.cache_clear()


@pytest.mark.parametrize(
    ("script", "final", "words"),
    [
        ("echo Running; kill -9 $$", False, "dbt built nothing of staging: it ended with status -9. Running"),
        ("echo Database Error; exit 2", False, "it ended with status 2. Database Error"),
        ("echo Compilation Error; exit 2", True, "it ended with status 2. Compilation Error"),
    ],
    ids=["killed", "no answer", "no project"],
)
def test_a_build_without_results_is_tried_again_unless_the_project_is_wrong(
    local_aws: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, final: bool, words: str
) -> None:
    with other_dbt(tmp_path, monkeypatch, script), pytest.raises(dbt.DbtError, match=words) as raised:
        dbt.build("staging", context("without", {"absent": [], "months": None}))
    assert isinstance(raised.value, dbt.FinalDbtError) is final


def test_nothing_is_built_upon_a_layer_without_results(
    local_aws: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A layer whose every try was killed may have left a month half replaced, and none of its tests ran."""
    with other_dbt(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/words'):
        _, artefacts = dbt._open()
        for name in ("manifest.json", "run_results.json"):
            artefacts.write({**MANIFEST, "results": []}, "half", "staging", name)
        with pytest.raises(dbt.DbtError):
            dbt.build("marts", context("half", {"absent": [], "months": ["2023-02"]}))
    excluded = (tmp_path / "words").read_text().partition("--exclude ")[2].partition(" --")[0].split()
    assert excluded == ["int_company_months+", "int_rider_metrics+", "int_zone_months+"]


def test_without_a_published_table_the_run_is_skipped(local_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbt_sources, "published", lambda *_: {})
    assert dbt.plan(context("empty")) is None


def test_a_program_that_is_not_there_is_named(local_aws: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAXIWAY_DBT", str(tmp_path / "dbt"))
    monkeypatch.setattr(lineage, "for_dbt", lambda _: {})
    dbt_settings.cache_clear()
    planned: dict[str, Any] = {"absent": [], "months": None}
    try:
        with pytest.raises(
            dbt.FinalDbtError, match=r"cannot be started \(No such file or directory\): set TAXIWAY_DBT"
        ):
            dbt.build("staging", context("none", planned))
    finally:
        dbt_settings.cache_clear()
