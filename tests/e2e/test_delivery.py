"""A pushed commit is what runs, and no DAG runs with the programs of another commit."""

import time

from console.airflow import Airflow
from tests.e2e.conftest import PROBE, Platform, run_to_end, wait_for


def test_a_pushed_dag_is_listed_and_a_changed_one_runs_as_changed(platform: Platform, airflow: Airflow) -> None:
    run = f"e2e-{time.time_ns()}"
    text = PROBE.read_text()
    platform.commit({"dags/e2e_probe.py": text}, "Add a probe")
    assert platform.type("dags-push").returncode == 0
    wait_for("the new DAG is listed", lambda: airflow.has_dag("e2e_probe"))
    airflow.unpause("e2e_probe")
    run_to_end(airflow, "e2e_probe", f"{run}-1", {})
    assert airflow.xcom("e2e_probe", f"{run}-1", "on_celery", 0) == "first"

    platform.commit({"dags/e2e_probe.py": text.replace('SAYS = "first"', 'SAYS = "second"')}, "Change the probe")
    assert platform.type("dags-push").returncode == 0
    runs: list[tuple[dict[str, int], str]] = [({}, "on_celery"), ({"celery": 0, "kubernetes": 1}, "on_kubernetes")]
    for kinds, task in runs:
        run_to_end(airflow, "e2e_probe", f"{run}-{task}", kinds)
        assert airflow.xcom("e2e_probe", f"{run}-{task}", task, 0) == "second"

    again = platform.type("dags-push")
    assert again.returncode == 0
    assert "the git server has" in again.stdout


def test_a_dag_with_an_error_is_reported_and_the_others_stay(platform: Platform, airflow: Airflow) -> None:
    platform.commit({"dags/e2e_broken.py": "from airflow.sdk import dag\nimport nothing_of_the_kind\n"}, "Break a DAG")
    result = platform.type("dags-push")
    assert result.returncode == 1
    assert (
        "e2e_broken.py cannot be imported: ModuleNotFoundError: No module named 'nothing_of_the_kind'" in result.stdout
    )
    assert {"hvfhv_collection", "hvfhv_analysis"} <= {dag["dag_id"] for dag in airflow.dags()}
    (platform.checkout / "dags/e2e_broken.py").write_text("")
    platform.commit({"dags/e2e_broken.py": ""}, "Fix it")
    assert platform.type("dags-push").returncode == 0
