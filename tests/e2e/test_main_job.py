"""One real month on the cluster: same tables as anywhere, one task in a pod of its own, logs that outlive it."""

import os
from pathlib import Path

import pytest

from console.airflow import Airflow
from console.aws import local_client, local_environment
from console.options import ROOT
from tests.e2e.conftest import MONTH, Platform, wait_for
from tests.oracle.comparison import difference
from tests.oracle.oracle import KEYS, PATHS, compute, month_of
from tests.oracle.programs import ZONE_LOOKUP

TRIPS = "curated/hvfhv_trips"


def test_every_table_equals_the_oracle(
    platform: Platform, demo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from demos.hvfhv import DEMO
    from laptop.results import copy_results

    with platform.kubectl.forward("service/local-aws", 4566) as forward:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in local_environment(forward.url).items():
            monkeypatch.setenv(name, value)
        copy_results([DEMO], tmp_path)
    year, number = MONTH.split("-")
    published = sorted(f"{path.parent.name[5:]}-{path.name[6:]}" for path in (tmp_path / TRIPS).glob("year=*/month=*"))
    assert MONTH in published
    files = {each: [ROOT / f"demos/hvfhv/sample/fhvhv_tripdata_sample_{each}.parquet"] for each in published}
    with compute(files, ZONE_LOOKUP) as oracle:
        for table, keys in KEYS.items():
            folder = tmp_path / PATHS[table] / f"year={year}" / f"month={number}"
            actual = f"FROM read_parquet('{folder}/*.parquet', hive_partitioning := false)"
            found = difference(oracle, month_of(table, MONTH), actual, keys)
            assert not found, f"{table}: {found}"


def test_the_report_ran_in_a_pod_of_its_own_and_its_log_outlives_it(
    platform: Platform, demo: str, airflow: Airflow
) -> None:
    reports = [
        task
        for dag_run in airflow.runs("hvfhv_analysis")
        for task in airflow.task_instances("hvfhv_analysis", dag_run["dag_run_id"])
        if task["task_id"] == "report" and task["state"] == "success"
    ]
    assert reports
    assert {task["executor"] for task in reports} == {"KubernetesExecutor"}
    others = airflow.task_instances("hvfhv_analysis", reports[0]["dag_run_id"])
    assert {task["executor"] for task in others if task["task_id"] == "plan"} <= {None, "CeleryExecutor"}
    wait_for(
        "the pod of the report is gone",
        lambda: not platform.kubectl.items("pods", "-l", "dag_id=hvfhv_analysis,task_id=report"),
    )
    events = [str(entry.get("event")) for entry in airflow.task_log(reports[0])]
    assert any("s3://taxiway-logs/airflow/" in line for line in events), events
    assert any("hvfhv_analysis.py" in line for line in events[2:]), events


def test_the_steps_ran_the_programs_of_the_dags_commit(platform: Platform, demo: str) -> None:
    from cluster.git import head

    with platform.kubectl.forward("service/local-aws", 4566) as forward:
        s3 = local_client("s3", forward.url)
        found = s3.list_objects_v2(Bucket="taxiway-artifacts", Prefix="spark_jobs/", Delimiter="/")
    folders = {each["Prefix"] for each in found["CommonPrefixes"]}
    assert f"spark_jobs/{head(platform.checkout)}/" in folders


def test_no_container_was_restarted_and_log_groomers_groom(platform: Platform, demo: str) -> None:
    pods = platform.kubectl.items("pods", "-l", "release=airflow,!kubernetes_executor,!job-name")
    states = [(pod, each) for pod in pods for each in pod["status"]["containerStatuses"]]
    assert [(pod["metadata"]["name"], each["name"]) for pod, each in states if each["restartCount"]] == []
    groomers = [(pod["metadata"]["name"], each["name"]) for pod, each in states if "log-groomer" in each["name"]]
    assert len(groomers) == 4
    for pod, container in groomers:
        assert platform.kubectl.run("logs", pod, "-c", container), f"{pod}: {container} has not begun"
