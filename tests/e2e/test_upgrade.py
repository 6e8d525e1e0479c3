"""A new image is rolled out, and back, while tasks of both executors run: none fails, none runs twice."""

import subprocess
import time
from functools import partial

from console.airflow import Airflow, TaskInstance
from tests.e2e.conftest import Platform, wait_for

SECONDS = 60


def test_an_upgrade_and_a_rollback_lose_no_running_task(platform: Platform, probe: str, airflow: Airflow) -> None:
    _retag(platform, "e2e-next")

    before = _start(airflow, probe, "before")
    upgraded = platform.type("deploy", IMAGE_TAG="e2e-next")
    assert upgraded.returncode == 0, upgraded.stdout
    _check(airflow, probe, before)
    _wait_for_image(platform, "taxiway/airflow:e2e-next")

    during = _start(airflow, probe, "during")
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


def _start(airflow: Airflow, probe: str, name: str) -> str:
    """Start tasks on both executors, and return their run once all of them run."""
    run = f"e2e-{name}-{time.time_ns()}"
    airflow.trigger(probe, run, {"celery": 4, "kubernetes": 2, "seconds": SECONDS})

    def running() -> bool:
        return sum(task["state"] == "running" for task in _work(airflow, probe, run)) == 6

    wait_for("six tasks run", running, 180)
    return run


def _work(airflow: Airflow, probe: str, run: str) -> list[TaskInstance]:
    return [task for task in airflow.task_instances(probe, run) if task["task_id"].startswith("on_")]


def _check(airflow: Airflow, probe: str, run: str) -> None:
    wait_for("the run ends", lambda: airflow.run_state(probe, run) in ("success", "failed"), 300)
    assert [(task["state"], task["try_number"]) for task in _work(airflow, probe, run)] == [("success", 1)] * 6
    # A task has succeeded before its log is uploaded, and a worker that ends no longer serves it from its disk.
    for task in _work(airflow, probe, run):
        assert wait_for(f"the log of {task['task_id']} is readable", partial(_said, airflow, task), 60) == 1


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
