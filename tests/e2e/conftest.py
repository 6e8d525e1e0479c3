"""The platform on a real cluster, brought up as a person would; only where TAXIWAY_E2E=1 asks for it (make e2e).

KUBE_CONTEXT, IMAGE_LOADER and the base images mean what they mean for make kind-up. Everything is in a namespace of its
own, which is removed first, and stays for a look afterwards; TAXIWAY_E2E_REUSE=1 takes the platform that is there.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.airflow_api import ClusterAirflow, open_airflow
from cluster.chart import chart_path
from cluster.config import ROOT, ClusterError, Config
from cluster.git import image_tag
from cluster.kubectl import Kubectl

PROBE = Path(__file__).parent / "dags/e2e_probe.py"
NAMESPACE = "taxiway-e2e"
PICTURES = ROOT / ".local/e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(2400))


@dataclass
class Platform:
    """A checkout of its own, whose commits go to the cluster, and the commands that a person types there."""

    checkout: Path
    environment: dict[str, str]
    kubectl: Kubectl
    tag: str
    came_up_s: float = 0

    def type(self, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run ``make command`` as the Makefile does, and print what it says."""
        result = subprocess.run(
            [str(ROOT / ".local/venvs/cluster/bin/python"), "-m", "cluster", command],
            cwd=self.checkout,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2000,
        )
        print(result.stdout)
        return result

    def commit(self, files: dict[str, str], message: str) -> str:
        """Write files of the checkout, commit them, and return the commit."""
        for name, text in files.items():
            (self.checkout / name).write_text(text)
        for words in (["add", "--", *files], ["commit", "--quiet", "-m", message]):
            subprocess.run(["git", *words], cwd=self.checkout, check=True)
        result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=self.checkout, check=True, capture_output=True)
        return result.stdout.decode().strip()


def skip_unless_possible() -> Config:
    """Skip with the reason why there can be no cluster; return what the variables ask for."""
    if os.environ.get("TAXIWAY_E2E") != "1":
        pytest.skip("needs a cluster to build up: make e2e KUBE_CONTEXT=… asks for it")
    for program in ("docker", "helm", "kubectl"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not on the PATH")
    try:
        chart_path()
    except ClusterError as error:
        pytest.skip(f"the chart cannot be had: {error}")
    return Config.from_environment(os.environ | {"NAMESPACE": NAMESPACE})


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Bring the platform up from nothing."""
    config = skip_unless_possible()
    assert config.context
    checkout = tmp_path_factory.mktemp("checkout") / "taxiway"
    subprocess.run(["git", "clone", "--quiet", "--no-local", str(ROOT), str(checkout)], check=True)
    for name, value in (("user.name", "e2e"), ("user.email", "e2e@localhost")):
        subprocess.run(["git", "config", name, value], cwd=checkout, check=True)
    environment = os.environ | {"NAMESPACE": NAMESPACE, "PYTHONPATH": str(checkout), "COLUMNS": "200"}
    platform = Platform(checkout, environment, Kubectl(config.context, NAMESPACE), image_tag(checkout))
    if os.environ.get("TAXIWAY_E2E_REUSE") == "1":
        deployment = platform.kubectl.get("deployment", "airflow-api-server")
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        platform.tag = environment["IMAGE_TAG"] = image.rpartition(":")[2]
        assert platform.type("dags-push").returncode == 0
        return platform
    subprocess.run(
        platform.kubectl.command("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=240s"),
        check=True,
        timeout=300,
    )
    began = time.monotonic()
    result = platform.type("kind-up")
    platform.came_up_s = time.monotonic() - began
    assert result.returncode == 0, result.stdout
    return platform


@pytest.fixture
def airflow(platform: Platform) -> Iterator[ClusterAirflow]:
    """Reach Airflow's REST API as its first administrator."""
    with open_airflow(platform.kubectl) as api:
        yield api


def wait_for(what: str, look: Callable[[], Any], seconds: float = 240, pause: float = 1) -> Any:
    """Return what ``look`` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(pause)
    return found


def run_to_end(airflow: ClusterAirflow, dag: str, run: str, conf: dict[str, Any]) -> list[dict[str, Any]]:
    """Trigger a run, wait for its end, and return its task instances."""
    airflow.trigger(dag, run, conf)
    state = wait_for(f"{dag} {run}", lambda: _ended(airflow.run_state(dag, run)), 600)
    tasks = airflow.task_instances(dag, run)
    assert state == "success", [(task["task_id"], task["map_index"], task["state"]) for task in tasks]
    return tasks


def _ended(state: str) -> str | None:
    return state if state in ("success", "failed") else None
