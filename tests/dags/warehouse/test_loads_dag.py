"""Runs of ``warehouse_loads`` against a local AWS: from sources to published tables."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from services.ride_ratings.history import create, play
from services.ride_ratings.schema import ride_ratings
from taxiway.core.databases import open_engine
from taxiway.core.settings import settings
from taxiway.lake import Lake
from taxiway.warehouse import run
from taxiway.warehouse.loads import Loaded
from taxiway.warehouse.settings import warehouse_settings
from taxiway.warehouse.tables import REJECTED, TABLES, alone, raw_tables
from tests.dags.runs import empty_lake, prepared_aws, run_once

pytestmark = pytest.mark.timeout(600)

FIRST, LAST = datetime(2023, 1, 1), datetime(2023, 3, 1)  # noqa: DTZ001
ASSIGNED = {"table.load", "table.check", "table.publish"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write small sources; return their folder."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "names.csv").write_text("name,gender\nAnn,F\nBob,M\nAnn,M\n")
    (folder / "zones.csv").write_text("LocationID,Borough,Zone,service_zone\n1,EWR,Newark Airport,EWR\n")
    (folder / "bases.csv").write_text("base_number,base_name,dba,dba_category\nB1,ANN INC,,uber\n")
    return folder


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, airflow_db: None, sources: Path) -> Iterator[Path]:
    """Point AWS clients at a local AWS of the module's own, and settings and connection at the sources."""
    database = tmp_path_factory.mktemp("service") / "rides.db"
    with prepared_aws(
        tmp_path_factory.mktemp("aws"),
        warehouse_settings,
        AIRFLOW_CONN_RIDE_SERVICE=json.dumps({"conn_type": "sqlite", "host": str(database)}),
        TAXIWAY_WAREHOUSE_SCHEDULED="False",
        TAXIWAY_WAREHOUSE_NAMES=(sources / "names.csv").as_uri(),
        TAXIWAY_WAREHOUSE_ZONES=(sources / "zones.csv").as_uri(),
        TAXIWAY_WAREHOUSE_BASES=(sources / "bases.csv").as_uri(),
        TAXIWAY_WAREHOUSE_SAMPLE_SLICES="1",
        TAXIWAY_WAREHOUSE_COMPARE_KEYS_DAYS="0",
    ):
        create(open_engine(f"sqlite:///{database}"), seed=1, rows=300, first=FIRST, last=LAST)
        empty_lake()
        yield database


def published(name: str) -> list[dict[str, Any]]:
    table = {**raw_tables(), REJECTED.name: REJECTED}[name]
    lake = Lake(settings(), boto3.Session(), alone(table))
    return [row for part in lake.partitions(table).values() for row in lake.read(part.location).to_pylist()]


def versions() -> dict[str, list[str]]:
    lake = Lake(settings(), boto3.Session(), TABLES)
    return {table.name: [part.location for part in lake.partitions(table).values()] for table in TABLES}


def test_runs_load_publish_and_stop_where_they_must(platform: Path, sources: Path) -> None:
    """One story, because each run of a DAG takes seconds: first load, nothing new, changes with one source away."""
    state, states = run_once("warehouse_loads", {})
    assert state == "success"
    assert all(states[task] == ["success"] * 6 for task in ASSIGNED)
    assert states["emit"] == ["success"]
    assert sorted(row["name"] for row in published("name_gender")) == ["Ann", "Bob"]
    assert [row["reject_reason"] for row in published(REJECTED.name) if row["row_key"] == '["Ann"]'] == [
        "duplicate_key"
    ]
    assert len(published("taxi_zones")) == len(published("fhv_bases")) == 1
    assert (
        len(published("ride_ratings")) + sum(row["reject_column"] == "stars" for row in published(REJECTED.name)) == 300
    )
    assert len(published("experiment_assignments")) == 30
    told = Lake(settings(), boto3.Session(), alone(raw_tables()["ride_ratings"])).parameters(
        raw_tables()["ride_ratings"]
    )
    assert {"mark", "loaded_until", "keys_compared_at"} <= told.keys()

    before = versions()
    state, states = run_once("warehouse_loads", {"tables": ["taxi_zones", "experiment_assignments"]})
    assert state == "success"
    assert states["emit"] == ["skipped"], "the summaries have nothing to do"
    assert versions() == before

    engine = open_engine(f"sqlite:///{platform}")
    counts = play(engine, seed=1, changes=60)
    names = sources / "others.csv"
    names.write_text("forename\nAnn\n")
    state, states = run_once("warehouse_loads", {"tables": ["name_gender", "ride_ratings"], "names": names.as_uri()})
    assert state == "failed", "the run says that a table failed"
    assert states["table.load"] == ["failed", "success"]
    assert states["table.publish"] == ["upstream_failed", "success"]
    assert states["emit"] == ["success"]
    assert sorted(row["name"] for row in published("name_gender")) == ["Ann", "Bob"], "it stays as it was"
    with engine.connect() as connection:
        keys = {row.rating_id for row in connection.execute(ride_ratings.select()) if row.stars}
    assert {row["rating_id"] for row in published("ride_ratings")} == keys
    assert counts["removed"]
    later = versions()
    assert {name for name in later if later[name] != before[name]} == {"ride_ratings", REJECTED.name}


def test_a_table_that_is_unknown_is_refused(platform: Path) -> None:
    state, states = run_once("warehouse_loads", {"tables": ["trips"]})
    assert (state, states["plan"]) == ("failed", ["failed"])


def test_two_loads_at_once_are_told(platform: Path) -> None:
    """The second waits in its first task; a task of it that somebody clears publishes nothing."""
    holder = json.dumps({"dag_id": "warehouse_loads", "run_id": "other"}).encode()
    boto3.client("s3").put_object(Bucket="taxiway-lake", Key="leases/warehouse_loads.json", Body=holder)
    ti: Any = SimpleNamespace(
        dag_id="warehouse_loads", run_id="mine", get_dr_count=lambda **asked: len(asked["run_ids"])
    )
    context: Any = {"params": {"tables": [], "rebuild": False, "force": False}, "ti": ti}
    assert run.plan(context) is None
    loaded = Loaded(table="taxi_zones", parts=[], reasons={}, changes={}, annotations={}, began=0, note="")
    with pytest.raises(run.BusyError, match="The run other loads the tables now: this task waits for its end"):
        run.publish(loaded, ti)


def test_a_publication_that_is_cleared_later_takes_nothing_back(platform: Path, sources: Path) -> None:
    """Its run failed there, and another run has published since."""
    boto3.client("s3").delete_object(Bucket="taxiway-lake", Key="leases/warehouse_loads.json")
    engine = open_engine(f"sqlite:///{platform}")

    def loaded(name: str, run_id: str, minute: int) -> tuple[Loaded, Any]:
        source = (sources / "names.csv").as_uri() if name == "name_gender" else "ride_service"
        job = run.Job(table=name, source=source, version=f"20261121T10{minute:02d}00000000Z", interval=[],
                      rebuild=True, force=True)  # fmt: skip
        ti: Any = SimpleNamespace(dag_id="warehouse_loads", run_id=run_id, try_number=1, get_dr_count=lambda **_: 0)
        return run.load(job, ti), ti

    for name in ("name_gender", "ride_ratings"):
        first = loaded(name, "failed", 1)
        play(engine, seed=2, changes=30)
        assert run.publish(*loaded(name, "later", 2))
        table = raw_tables()[name]
        lake = Lake(settings(), boto3.Session(), alone(table))
        before = versions(), lake.parameters(table)
        assert not run.publish(*first)
        assert (versions(), lake.parameters(table)) == before, "the mark too"
        # Cleared from its load on, it has seen what was published.
        play(engine, seed=3, changes=30)
        assert run.publish(*loaded(name, "failed", 1))
