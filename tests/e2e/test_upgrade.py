"""A new image is rolled out, and back, while tasks of both executors run: none fails, none runs twice."""

import subprocess
from functools import partial

from console.airflow import Airflow, TaskInstance
from tests.e2e.conftest import Platform, start_six_tasks, wait_for, work_of


def test_an_upgrade_and_a_rollback_lose_no_running_task(platform: Platform, probe: str, airflow: Airflow) -> None:
    _retag(platform, "e2e-next")

    before = start_six_tasks(airflow, probe, "before")
    upgraded = platform.type("deploy", IMAGE_TAG="e2e-next")
    assert upgraded.returncode == 0, upgraded.stdout
    _check(airflow, probe, before)
    _wait_for_image(platform, "taxiway/airflow:e2e-next")

    during = start_six_tasks(airflow, probe, "during")
    back = platform.type("rollback")
    assert back.returncode == 0, back.stdout
    _check(airflow, probe, during)
    _wait_for_image(platform, f"taxiway/airflow:{platform.tag}")


def _retag(platform: Platform, tag: str) -> None:
    names = [f"taxiway/{name}:{tag}" for name in ("airflow", "local-aws", "git-server")]
    for name in names:
        subprocess.run(["docker", "tag", name.replace(tag, platform.tag), name], check=True)
    loader = platform.environment.get("IMAGE_LOADER", "kind load docker-image --name taxiway")
    subprocess.run([*loader.split(), *names], check=True, timeout=300)


def _check(airflow: Airflow, probe: str, run: str) -> None:
    wait_for("the run ends", lambda: airflow.run_state(probe, run) in ("success", "failed"), 900)
    assert [(task["state"], task["try_number"]) for task in work_of(airflow, probe, run)] == [("success", 1)] * 6
    # A task has succeeded before its log is uploaded, and a worker that ends no longer serves it from its disk.
    for task in work_of(airflow, probe, run):
        assert wait_for(f"the log of {task['task_id']} is readable", partial(_said, airflow, task), 240) == 1


def _said(airflow: Airflow, task: TaskInstance) -> int:
    """Return how often a task's log has the line that the task writes once."""
    output = [str(entry.get("event")) for entry in airflow.task_log(task)]
    return sum("says " in line and line.startswith("task ") for line in output)


def _wait_for_image(platform: Platform, image: str) -> None:
    """Wait until all pods that Airflow keeps running are of an image, and the old ones gone."""

    def settled() -> bool:
        pods = platform.kubectl.items(
            "pods",
            "-l",
            "release=airflow,!kubernetes_executor,component in (scheduler,worker,api-server,triggerer,dag-processor)",
        )
        images = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
        return {name.removeprefix("docker.io/") for name in images if "taxiway/airflow" in name} == {image}

    wait_for(f"only {image} runs", settled, 300)
