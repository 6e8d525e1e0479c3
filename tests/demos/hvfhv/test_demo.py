"""The declaration of HVFHV's demo: its list of data sets as a platform sees it, and what runs for it."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from console.airflow import Airflow
from console.errors import UserError
from console.follow import Goal
from console.options import ROOT
from demos.datasets import ANALYSIS, COLLECTION
from demos.hvfhv import DEMO, SAMPLE
from taxiway.core.dataset_list import read_list

MONTHS = ["2023-01", "2023-02", "2023-03"]


def in_pods(file: Path) -> str:
    return f"/pods/{file.name}"


def test_the_sample_is_named_by_where_the_platform_sees_it(tmp_path: Path) -> None:
    data = DEMO.read_input(None, in_pods)
    assert data.months == MONTHS
    copy = tmp_path / "list.csv"
    copy.write_text(data.as_csv())
    read = [dataset for _, dataset in read_list(copy)]
    assert read == list(data.datasets)
    assert read[0].url == "file:///pods/fhvhv_tripdata_sample_2023-01.parquet"
    assert [Path(dataset.url[7:]).exists() for dataset in DEMO.read_input(None, str).datasets] == [True] * 3


def test_web_addresses_and_what_is_known_of_a_file_stay(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(f"name,month,url,expected_bytes,expected_sha256\na,2024-01,https://e.com/a.parquet,7,{'a' * 64}\n")
    [dataset] = DEMO.read_input(str(file), in_pods).datasets
    assert (dataset.url, dataset.expected_bytes) == ("https://e.com/a.parquet", 7)
    copy = tmp_path / "copy.csv"
    copy.write_text(DEMO.read_input(str(file), in_pods).as_csv())
    assert [each for _, each in read_list(copy)] == [dataset]


def test_a_list_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    def refuse(file: Path) -> str:
        raise UserError(f"{file.name} is not seen there.")

    file = tmp_path / "list.csv"
    file.write_text("name,month,url\nb,2024-01,b.parquet\n")
    with pytest.raises(UserError, match=r"list\.csv: b\.parquet is not seen there\."):
        DEMO.read_input(str(file), refuse)
    file.write_text("name,url\n")
    with pytest.raises(UserError, match="the column 'month' is missing"):
        DEMO.read_input(str(file), refuse)
    with pytest.raises(UserError, match="cannot be read"):
        DEMO.read_input(str(tmp_path / "none.csv"), refuse)


def test_each_month_is_collected_and_has_to_be_published() -> None:
    plan = DEMO.plan(DEMO.read_input(None, in_pods), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert [run.run_id for run in plan.runs] == [f"demo__{month}__20260102T030405" for month in MONTHS]
    assert [(run.dag, run.label) for run in plan.runs] == [(COLLECTION, month) for month in MONTHS]
    assert [run.conf for run in plan.runs] == [{"month": month, "again": True} for month in MONTHS]
    assert plan.goals == {Goal(ANALYSIS, "release.publish", month) for month in MONTHS}
    assert plan.reports == ["2023-01.html", "2023-02.html", "2023-03.html"]


def test_the_mapped_tasks_of_an_analysis_read_by_the_months_of_its_plan() -> None:
    class Planned:
        plan: list[dict[str, str]] | None = None

        def xcom(self, dag_id: str, run_id: str, task_id: str) -> object:
            assert (dag_id, run_id, task_id) == (ANALYSIS, "run", "plan")
            return self.plan

    airflow, labels = Planned(), DEMO.plan(DEMO.read_input(None, in_pods), datetime.now(UTC)).followers[ANALYSIS]
    assert labels(cast(Airflow, airflow), "run") == []
    airflow.plan = [{"month": "2023-02"}, {"month": "2023-01"}]
    assert labels(cast(Airflow, airflow), "run") == ["2023-02", "2023-01"]


def test_a_cluster_reads_it_without_the_libraries_of_the_dags() -> None:
    program = (
        "import sys\n"
        "for name in ('airflow', 'alembic', 'duckdb', 'numpy', 'pyarrow', 'pydantic', 'sqlalchemy'):\n"
        "    sys.modules[name] = None\n"
        "from console.demo import discover\n"
        "for demo in discover().values():\n"
        "    print(demo.name, bool(demo.read_input(None, str)))\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "hvfhv True" in result.stdout.splitlines(), result.stderr


def test_the_sample_is_listed_with_its_files() -> None:
    listed = {Path(dataset.url).name for _, dataset in read_list(SAMPLE)}
    assert listed == {path.name for path in SAMPLE.parent.glob("*.parquet")}
