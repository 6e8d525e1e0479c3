"""make dbt: what is copied, what is built, and what is said."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from rich.console import Console

from console.errors import UserError
from console.output import Reporter
from console.ports import free_port
from laptop import dbt
from laptop.config import Config
from taxiway.warehouse import dbt_sources
from tests.dags.runs import local_aws as an_aws
from tests.laptop.person import Person
from tests.tools import ROOT, absent
from tests.warehouse import rows

PROGRAM = ROOT / ".local/venvs/warehouse/bin/dbt"


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def program() -> Path:
    if not PROGRAM.exists():
        absent("tool", f"{PROGRAM} is not installed: make test installs it")
    return PROGRAM


@pytest.fixture
def report() -> Reporter:
    return Reporter(Console(record=True, width=200))


def config(folder: Path, aws: str = "http://127.0.0.1:9") -> Config:
    return Config(folder / "platform", ROOT / ".local/venvs", 8080, int(aws.rpartition(":")[2]), "sail")


def test_nothing_to_read_is_one_sentence(tmp_path: Path, report: Reporter) -> None:
    with pytest.raises(UserError, match="does not run, and nothing was copied from it yet: say make up"):
        dbt.run(config(tmp_path), "", report)
    with pytest.raises(UserError, match=r"No closing quotation.*close its quotes"):
        dbt.run(config(tmp_path), "build -s 'zone", report)


def copied(folder: Path) -> Config:
    """Return a platform that does not run, of whose tables there is a copy."""
    here = config(folder)
    list(rows.write(folder / "dbt/lake"))
    (folder / "dbt" / dbt.COPIED).write_text(json.dumps({"taxi_zones": {"": "s3://taxiway-lake/somewhere"}}))
    return here


@pytest.mark.parametrize("words", ["build --target athena", "build --target=athena", "build -t athena"])
def test_the_target_of_the_platform_needs_the_platform(tmp_path: Path, report: Reporter, words: str) -> None:
    with pytest.raises(UserError, match="target athena is that of the platform, which does not run: say make up"):
        dbt.run(copied(tmp_path), words, report)


def test_what_cannot_be_used_is_named(tmp_path: Path, report: Reporter) -> None:
    here = copied(tmp_path)
    database = tmp_path / "dbt/warehouse.duckdb"
    elsewhere = Config(here.state, tmp_path / "venvs", 8080, here.aws_port, "sail")
    with pytest.raises(UserError, match=r"warehouse/bin/dbt cannot be started \(No such file or directory\): remove"):
        dbt.run(elsewhere, "", report)
    hold = f"import duckdb; held = duckdb.connect({str(database)!r}); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=r"is open in another program .*: close it, then make dbt again"):
            dbt.run(here, "", report)
        other.communicate(b"\n")
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"duckdb cannot be used \(.*\): remove .*/dbt, which make up, then make dbt"):
        dbt.run(here, "", report)
    (tmp_path / "dbt" / dbt.COPIED).write_text('{"taxi_zones": ')  # cut
    assert not dbt.is_copied(here)
    with pytest.raises(UserError, match="nothing was copied from it yet"):
        dbt.run(here, "", report)


@pytest.mark.slow
@pytest.mark.usefixtures("program")
def test_faults_of_the_project_are_told_and_what_was_due_stays_due(
    tmp_path: Path, report: Reporter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here, project, folder = copied(tmp_path), tmp_path / "project", tmp_path / "dbt"
    shutil.copytree(dbt_sources.PROJECT, project)
    monkeypatch.setattr(dbt, "PROJECT", project)
    marts = project / "models/marts"
    originals = {name: (marts / f"{name}.sql").read_text() for name in ("daily_traffic", "zone_month", "company_month")}

    # A project that cannot be parsed: results of another command are not taken for those of this build.
    (folder / "target").mkdir()
    (folder / "target/run_results.json").write_text("{}")
    (folder / "pending.json").write_text('["taxi_zones"]')
    (marts / "zone_month.sql").write_text("select * from {{ ref('nowhere') }}")
    assert dbt.run(here, "", report) == 2
    said = capfd.readouterr()
    assert "depends on a node named 'nowhere' which was not found" in said.out
    assert "Traceback" not in said.out + said.err
    assert (folder / "pending.json").exists()
    assert not (folder / "state").exists()

    # SQL that does not run, a contract that is broken, and rows that break a test.
    (marts / "daily_traffic.sql").write_text("select no_such_column from {{ ref('stg_hourly_traffic') }}")
    low = re.sub(
        r"months\.low_ratings\n", "cast(months.low_ratings as varchar) as low_ratings\n", originals["zone_month"]
    )
    (marts / "zone_month.sql").write_text(low)
    assert low != originals["zone_month"]
    (marts / "company_month.sql").write_text(f"{originals['company_month']}\nunion all\n{originals['company_month']}")
    assert dbt.run(here, "build --exclude resource_type:unit_test", report) == 1
    said = capfd.readouterr()
    for words in ("no_such_column", "data type mismatch", "FAIL 4 company_month_key_is_unique", "ERROR=4"):
        assert words in said.out
    assert "Traceback" not in said.out + said.err


@pytest.mark.slow
@pytest.mark.usefixtures("program")
def test_after_make_down_the_lake_is_reached_by_an_own_start(tmp_path: Path) -> None:
    person = Person(tmp_path / "platform", free_port(), free_port())
    status, output = person.type("dbt")
    assert (status, output.strip()) == (1, "There is no lake yet: run make demo first.")
    with an_aws(person.state / "aws") as endpoint:
        config(tmp_path, endpoint).apply_aws_environment()
        boto3.client("s3").create_bucket(Bucket="taxiway-lake")
        for (name, period), sql in rows.ROWS.items():
            rows.publish(name, period, sql, "1")
    status, output = person.type("dbt", ARGS="build -s +name_gender_summary")
    assert status == 0, output
    assert "Copied taxi_zones: the table." in output
    assert "PASS name_gender_summary_key_is_unique" in output
    assert "The platform does not run" not in output
    assert not person.left_after(10)
    # The copy is there: nothing needs to be started.
    asked = "show --quiet --inline 'select sum(names) as everybody from {{ ref(\"name_gender_summary\") }}'"
    status, output = person.type("dbt", ARGS=asked)
    assert status == 0, output
    assert re.search(r"The platform does not run: dbt reads the copy in .*/dbt, of \d{4}-\d\d-\d\d \d\d:\d\d;", output)
    assert re.search(r"everybody.*\| +3 ", output, re.DOTALL)


@pytest.mark.slow
@pytest.mark.usefixtures("program")
def test_only_what_changed_is_copied_and_built(
    tmp_path: Path, report: Reporter, capfd: pytest.CaptureFixture[str]
) -> None:
    with an_aws(tmp_path / "aws") as endpoint:
        here = config(tmp_path, endpoint)
        with pytest.raises(UserError, match="Nothing is published yet: run make demo PIPELINE=warehouse first"):
            dbt.run(here, "", report)
        boto3.client("s3").create_bucket(Bucket="taxiway-lake")
        for (name, period), sql in rows.ROWS.items():
            rows.publish(name, period, sql, "1")
        assert dbt.run(here, "", report) == 0
        assert "a_lift_has_welchs_interval" in capfd.readouterr().out
        # Nothing has changed.
        assert dbt.run(here, "", report) == 0
        assert "Nothing to do" in capfd.readouterr().out
        # A month of the trips has: only it is copied, and only what depends on it is built.
        trips = rows.ROWS["hvfhv.trend", "2023-02"].replace("10 AS trips", "11 AS trips")
        rows.publish("hvfhv.trend", "2023-02", trips, "2")
        assert dbt.run(here, "run -s +company_month", report) == 0
        said = capfd.readouterr().out
        assert "company_month" in said
        assert "ab_summary" not in said
    # The platform has ended: the copy is there.
    assert dbt.run(here, "show --quiet --inline 'select sum(trips) from {{ ref(\"company_month\") }}'", report) == 0
    assert "42" in capfd.readouterr().out
    assert dbt.run(here, "bild", report) == 2
    assert "No such command 'bild'" in capfd.readouterr().err
    assert dbt.run(here, "build -s zone_month zone_mouth", report) == 2
    assert "The selection criterion 'zone_mouth' does not match any enabled nodes" in capfd.readouterr().out
    assert dbt.run(here, "--version", report) == 0
    assert "duckdb:" in capfd.readouterr().out
    # A source that is late is a warning; those that no model names are not copied, and not looked at.
    assert dbt.run(here, "source freshness", report) == 0
    said = capfd.readouterr().out
    assert "WARN freshness of hvfhv." in said
    assert "ERROR" not in said
    told = report.console.export_text()
    assert "Copied hvfhv_trend: 2023-01, 2023-02." in told
    assert "Copied hvfhv_trend: 2023-02." in told
    assert "The platform does not run: dbt reads the copy" in told
