"""One real month on the cluster: same tables as anywhere, one task in a pod of its own, logs that outlive it."""

from pathlib import Path

from console.airflow import Airflow
from console.aws import local_client
from tests.e2e.conftest import Platform, wait_for
from tests.e2e.tables import require_equal_to_the_oracle


def test_every_table_equals_the_oracle(platform: Platform, demo: str, tmp_path: Path) -> None:
    require_equal_to_the_oracle(platform, tmp_path)


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
