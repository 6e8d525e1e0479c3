"""The declaration of the arrival model's demo: its months as a platform sees them, what runs, and what it shows."""

import hashlib
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from console.airflow import Airflow
from console.demo import choose, given_input
from console.errors import UserError
from console.follow import Goal
from demos.eta import DEMO, SAMPLE, TRAINING
from demos.eta.summary import candidates, groups, verdict
from demos.hvfhv import DEMO as HVFHV
from taxiway.core.dataset_list import read_list
from taxiway.eta.registry import Live
from tests.dags.eta.models import NEW, OLD, measured

MONTHS = [f"2023-0{month}" for month in range(1, 7)]
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_sample_is_six_months_three_of_them_those_of_hvfhv() -> None:
    data = DEMO.read_input(None, str)
    assert data.months == MONTHS
    assert all(Path(dataset.url.removeprefix("file://")).is_file() for dataset in data.datasets)
    # The same data sets: one demo after the other changes nothing in the catalogue.
    assert data.datasets[:3] == HVFHV.read_input(None, str).datasets


def test_the_sample_is_what_its_readme_says() -> None:
    readme = (SAMPLE.parent / "README.md").read_text()
    own = [Path(dataset.url.removeprefix("file://")) for _, dataset in read_list(SAMPLE)]
    for file in (file for file in own if file.parent == SAMPLE.parent):
        checksum = hashlib.sha256(file.read_bytes()).hexdigest()
        assert f"| `{file.name}` | {pq.read_metadata(file).num_rows:,} | `{checksum}` |" in readme
    assert len(list(SAMPLE.parent.glob("*.parquet"))) == 3


def test_a_list_of_other_months_is_given_by_catalog(tmp_path: Path) -> None:
    file = tmp_path / "my.csv"
    file.write_text("name,month,url\nb,2024-02,b.parquet\na,2023-11,https://e.com/a.parquet\n")
    given = {"PIPELINE": "eta", "CATALOG": str(file)}
    (demo,) = choose(given)
    data = demo.read_input(given_input(demo, given), str)

    assert demo is not None
    assert data.months == ["2023-11", "2024-02"]
    with pytest.raises(UserError, match="cannot be read"):
        demo.read_input(str(tmp_path / "none.csv"), str)


def test_each_month_is_collected_and_the_model_is_tested_on_the_newest() -> None:
    plan = DEMO.plan(DEMO.read_input(None, str), BEGAN)

    *collections, training = plan.runs
    assert [run.conf for run in collections] == [{"month": month} for month in MONTHS], "not again: it may be there"
    assert (training.dag, training.run_id) == (TRAINING, "demo__2023-06__20260102T030405")
    assert training.conf == {"month": "2023-06", "months": MONTHS}
    assert plan.goals == {Goal(TRAINING, "gate", "2023-06")}, "a refused model is a result too"


def test_the_card_of_the_runs_version_is_copied() -> None:
    class Planned:
        def xcom(self, dag_id: str, run_id: str, task_id: str) -> object:
            assert (dag_id, run_id, task_id) == (TRAINING, "demo__2023-06__20260102T030405", "plan")
            return {"version": "20260102T030410-2023-06", "tables": {}}

    reports: Any = DEMO.plan(DEMO.read_input(None, str), BEGAN).reports
    assert reports(cast(Airflow, Planned())) == ["20260102T030410-2023-06/card.html"]


def test_the_summary_shows_both_candidates_beside_both_baselines() -> None:
    figures = {"mae_s": 113.0, "baseline_mae_s": 121.7, "pinball_p50": 56.5, "pinball_p90": 31.2, "p90_coverage": 0.9}
    metrics = {
        **figures,
        "test_month": "2023-06",
        "global_median_mae_s": 126.1,
        "winner": "lightgbm",
        "candidates": {
            "spark-ml": {"test": figures | {"mae_s": 114.0}},
            "lightgbm": {"test": figures | {"mae_s": 113.5}},
        },
        "by_company": {"uber": figures | {"rows": 25_000}},
        "by_borough": {"Queens": figures | {"rows": 9_000}},
    }
    console = Console(file=StringIO(), width=80)
    console.print(candidates(metrics), groups(metrics))
    lines = [" ".join(line.split()) for line in cast(StringIO, console.file).getvalue().splitlines()]

    assert "global median 126.1 s" in lines
    assert "median by zone and hour 121.7 s" in lines
    assert "lightgbm 113.5 s 6.7% 56.5 31.2 90.0%" in lines
    assert "served (lightgbm) 113.0 s 7.1% 56.5 31.2 90.0%" in lines
    assert "spark-ml 114.0 s 6.3% 56.5 31.2 90.0%" in lines
    assert "Queens 9,000 113.0 s 121.7 s 90.0%" in lines


def test_the_summary_says_why_a_version_is_not_live() -> None:
    registry: Any = SimpleNamespace(versions=lambda: [OLD, NEW], metrics=measured)
    live = Live(OLD, None, "2026-01-01T00:00:00+00:00", "test", "It is good.")

    assert verdict(registry, measured(OLD), live) == "It is good."
    refused = verdict(registry, measured(NEW, mae_s=121.0), live)
    assert refused.startswith(f"{NEW} is not promoted: its error of 121.0 s is not 3.0% below the 121.7 s")
    assert refused.endswith(f" Live is {OLD}.")
    assert verdict(registry, measured(NEW, mae_s=127.0), None).endswith(" No version is live.")
