"""The dbt project: what is generated, its models on DuckDB, its SQL for Redshift."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from docs import generate_dbt
from taxiway.warehouse import dbt_sources
from tests.tools import ROOT, absent
from tests.warehouse.conftest import Dbt

PROJECT = dbt_sources.PROJECT


def test_generated_files_are_current() -> None:
    for path, text in generate_dbt.render(generate_dbt.CONTRACTS).items():
        assert (generate_dbt.MODELS / path).read_text() == text, f"run make docs: {path}"


def test_every_mart_has_a_contract_and_every_contract_a_mart() -> None:
    named = {model["name"] for model in yaml.safe_load((PROJECT / "models/marts/marts.yml").read_text())["models"]}
    assert named == {file.stem for file in (PROJECT / "models/marts").glob("*.sql")}


def test_every_source_that_a_model_names_has_a_contract() -> None:
    assert {"hvfhv.trend", "warehouse.ride_ratings", "access_logs.hourly_traffic"} <= dbt_sources.tables().keys()
    for table in dbt_sources.tables().values():
        assert table.columns


@pytest.mark.slow
def test_everything_passes(built: Dbt) -> None:
    assert set(built.results.values()) <= {"success", "pass", "no-op"}
    assert {"zone_summary", "a_lift_has_welchs_interval", "zone_months_count_every_rating"} <= built.results.keys()


@pytest.mark.slow
def test_summaries_are_what_the_rows_say(built: Dbt) -> None:
    assert built.query(
        "SELECT month, zone_id, trips, timed_trips, wait_s_mean, late_share, ratings FROM taxiway.zone_month "
        "ORDER BY month, zone_id"
    ) == [
        ("2023-01", 4, 10, 9, 200.0, 2 / 9, 9), ("2023-01", 7, 10, 9, 200.0, 2 / 9, 18),
        ("2023-02", 4, 10, 9, 200.0, 2 / 9, 3), ("2023-02", 7, 10, 9, 200.0, 2 / 9, 6),
    ]  # fmt: skip
    assert built.query("SELECT zone_id, month, previous_trips FROM taxiway.zone_summary ORDER BY zone_id") == [
        (4, "2023-02", 10), (7, "2023-02", 10),
    ]  # fmt: skip
    assert built.query("SELECT sum(ratings), count(*) FROM taxiway.company_month") == [(36, 4)]
    assert built.query("SELECT gender, names FROM taxiway.name_gender_summary ORDER BY gender") == [
        ("F", 1), ("M", 1), ("Unisex", 1),
    ]  # fmt: skip
    assert built.query(
        "SELECT metric, control_assigned, treatment_assigned, control_riders + treatment_riders "
        "FROM taxiway.ab_summary ORDER BY metric"
    ) == [("ratings_per_rider", 20, 20, 30), ("stars_mean", 20, 20, 27)]
    assert built.query("SELECT count(*) FROM taxiway.daily_traffic") == [(0,)]  # nothing of it is published


@pytest.mark.slow
def test_a_model_that_breaks_its_contract_is_stopped_and_others_are_built(
    sources: Callable[[Path], Dbt], tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project)
    model = project / "models/marts/zone_month.sql"
    model.write_text(
        re.sub(r"months\.low_ratings\n", "cast(months.low_ratings as varchar) as low_ratings\n", model.read_text())
    )
    database = sources(tmp_path)
    words = ("build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
    said = database.run(*words, status=1, project=project)
    assert "low_ratings" in said
    assert "data type mismatch" in said
    assert {name: database.results[name] for name in ("zone_month", "zone_summary", "company_month")} == {
        "zone_month": "error", "zone_summary": "skipped", "company_month": "success",
    }  # fmt: skip


@pytest.mark.slow
def test_sql_for_redshift_parses(tmp_path: Path) -> None:
    """Nothing of it has run on Redshift."""
    dbt = Dbt(tmp_path)
    dbt.run("compile", "--target", "redshift", "--no-populate-cache", "--no-introspect", "--quiet")
    compiled = tmp_path / "target/compiled/warehouse"
    program = (
        "import pathlib, sqlglot, sys\n"
        "files = sorted(pathlib.Path(sys.argv[1]).rglob('*.sql'))\n"
        "for file in files:\n"
        "    (statement,) = sqlglot.parse(file.read_text(), read='redshift')\n"
        "    assert isinstance(statement, sqlglot.exp.Query), file\n"
        "print(len(files))\n"
    )
    python = ROOT / ".local/venvs/warehouse/bin/python"
    if not python.exists():
        absent("tool", f"{python} is not installed: make test installs it")
    done = subprocess.run(
        [python, "-c", program, compiled], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == 0, done.stderr
    models = len(list((PROJECT / "models").rglob("*.sql")))
    assert int(done.stdout) > models
    assert "double precision" in (compiled / "models/marts/zone_month.sql").read_text()
