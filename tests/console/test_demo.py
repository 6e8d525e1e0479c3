"""Demos: found by their folder, run on any platform, without a change to a shared file for the next pipeline."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from console import demo as demos
from console.errors import UserError
from console.options import ROOT
from console.output import Reporter
from tests.console.airflow_server import AirflowServer
from tests.console.conftest import TestPlatform
from tests.console.parcels import declare

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "demos.parcels", raising=False)


def test_a_demo_is_there_because_its_folder_is(parcels: None) -> None:
    assert {"hvfhv", "parcels"} <= demos.discover().keys()
    assert [demo.name for demo in demos.choose({"PIPELINE": "parcels"})] == ["parcels"]
    assert [demo.name for demo in demos.choose({})] == [demos.DEFAULT]
    assert [demo.name for demo in demos.choose({"PIPELINE": demos.ALL})] == sorted(
        demos.discover(), key=lambda name: (name != demos.DEFAULT, name)
    )


def test_an_unknown_pipeline_is_one_sentence_with_those_that_exist(parcels: None) -> None:
    with pytest.raises(UserError, match=r"^PIPELINE=letters has no demo; there are: .*hvfhv, .*parcels.*\.$"):
        demos.choose({"PIPELINE": "letters"})


def test_two_demos_of_one_name_are_an_error(parcels: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, "post")
    monkeypatch.delitem(sys.modules, "demos.post", raising=False)
    with pytest.raises(UserError, match="demos/parcels and demos/post are both named 'parcels'"):
        demos.discover()


def test_demos_that_take_the_same_kind_of_input_share_its_variable(
    parcels: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(tmp_path, "letters")
    file = tmp_path / "demos/letters/__init__.py"
    file.write_text(file.read_text().replace('name = "parcels"', 'name = "letters"'))
    monkeypatch.delitem(sys.modules, "demos.letters", raising=False)
    found = demos.discover()

    assert [found[name].option for name in ("letters", "parcels")] == ["NAMES", "NAMES"]
    given = {"PIPELINE": "letters", "NAMES": "towns.txt"}
    assert [demos.given_input(demo, given) for demo in demos.choose(given)] == ["towns.txt"], "the one that is chosen"
    assert demos.given_input(found["hvfhv"], given) is None


@pytest.mark.parametrize(
    ("declaration", "sentence"),
    [
        ("DEMO = 3", "DEMO of demos/letters is"),
        ("import nowhere", r"demos/letters cannot be imported \(ModuleNotFoundError: No module named 'nowhere'\)"),
        ("name = 'parcels'", "The demo of demos/letters lacks title, option, dags: see console.demo.Demo"),
    ],
    ids=["no demo", "no import", "incomplete"],
)
def test_a_bad_declaration_is_one_sentence_that_names_it(
    parcels: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declaration: str, sentence: str
) -> None:
    if "name" in declaration:
        declaration = (
            f"from console.demo import Demo\nclass Letters(Demo):\n    {declaration}\n"
            "Letters.__abstractmethods__ = frozenset()\nDEMO = Letters()"
        )
    (tmp_path / "demos/letters").mkdir()
    (tmp_path / "demos/letters/__init__.py").write_text(declaration)
    monkeypatch.delitem(sys.modules, "demos.letters", raising=False)
    with pytest.raises(UserError, match=sentence):
        demos.discover()


def test_a_demo_of_any_pipeline_is_prepared_loaded_run_and_followed(
    parcels: None,
    server: AirflowServer,
    platform: TestPlatform,
    report: Reporter,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [demo] = demos.choose({"PIPELINE": "parcels"})
    data = demo.read_input(demos.given_input(demo, {"NAMES": " "}), str)
    server.dags = {"parcels_load": True, "parcels_count": True}
    server.states["parcels_count", "left"] = "running"

    def happen(dag: str, run: str) -> None:
        server.states[dag, run] = server.states["parcels_count", "asset"] = "success"
        server.add_task(dag, run, "fetch", "success")
        for index in range(2):
            server.add_task("parcels_count", "asset", "count", "success", index=index)

    server.triggered = happen
    ignored = demos.prepare(platform, [demo], report, fresh=True)
    assert ignored == {"left"}
    assert server.states["parcels_count", "left"] == "failed", "a fresh platform has no runs of its own yet"
    assert server.dags == {"parcels_load": False, "parcels_count": False}
    assert server.pools.keys() == {"scales"}

    plan = demos.run(platform, demo, data, report, since=BEGAN, ignored=ignored)
    assert platform.ran == [("taxiway.parcels", "put", ("towns.txt", "york\nhull"))]
    output = capsys.readouterr().out
    for words in ("towns: 2 added.", "Gave up 1 run that", "✓ towns: fetch", "✓ york: count", "✓ hull: count"):
        assert words in output

    s3 = platform.client("s3")
    s3.create_bucket(Bucket="taxiway-lake")
    s3.put_object(Bucket="taxiway-lake", Key="reports/parcels/towns.html", Body=b"<html>")
    demos.show_reports(demos.copy_reports(platform, demo, plan, tmp_path / "reports"), report)
    assert (tmp_path / "reports/towns.html").read_text() == "<html>"
    assert f"  {tmp_path / 'reports/towns.html'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("desktop", "is_terminal", "names", "opened"),
    [
        ({"DISPLAY": ":0"}, True, ["a.html"], ["a.html"]),
        ({"DISPLAY": ":0"}, True, ["a.html", "b.html"], []),
        ({"DISPLAY": ":0"}, False, ["a.html"], []),
        ({}, True, ["a.html"], []),
        ({"DISPLAY": ":0"}, True, [], []),
    ],
    ids=["desktop", "several", "pipe", "no desktop", "none"],
)
def test_a_single_report_is_opened_where_somebody_sits(
    desktop: dict[str, str],
    is_terminal: bool,
    names: list[str],
    opened: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[str] = []
    monkeypatch.setattr("webbrowser.open", found.append)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in desktop.items():
        monkeypatch.setenv(name, value)
    report = Reporter(Console(file=StringIO(), force_terminal=is_terminal))
    demos.show_reports([tmp_path / name for name in names], report)
    assert found == [(tmp_path / name).as_uri() for name in opened]


def test_a_dag_that_is_not_listed_is_one_sentence_with_where_to_look(
    parcels: None, platform: TestPlatform, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demos, "DAG_TIMEOUT_S", 0.1)
    with pytest.raises(UserError, match=r"The DAG parcels_load is not listed after 0\.1 s: see the parser\."):
        demos.prepare(platform, demos.choose({"PIPELINE": "parcels"}), report)


@pytest.mark.parametrize(
    ("command", "variables", "sentence"),
    [
        (["laptop", "demo"], {"PIPELINE": "letters"}, "PIPELINE=letters has no demo; there are: access_logs"),
        (
            ["laptop", "results", "--to", "x"],
            {"PIPELINE": "letters"},
            "PIPELINE=letters has no demo; there are: access_logs",
        ),
        (["cluster", "kind-demo"], {"PIPELINE": "letters"}, "PIPELINE=letters has no demo; there are: access_logs"),
        (["laptop", "demo"], {"PIPELINE": "parcels", "NAMES": "no"}, "NAMES=no is not there: name a file of towns."),
        (["laptop", "up"], {"NAMES": "no"}, "NAMES=no is not there: name a file of towns."),
        (["cluster", "kind-demo"], {"PIPELINE": "parcels", "NAMES": "no"}, "NAMES=no is not there: name a file of tow"),
    ],
)
def test_both_platforms_take_any_pipelines_variables_and_refuse_them_before_anything_starts(
    tmp_path: Path, command: list[str], variables: dict[str, str], sentence: str
) -> None:
    declare(tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TAXIWAY_"))}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "dags")))
    environment["STATE"] = str(tmp_path / "state")
    result = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "state").exists()
