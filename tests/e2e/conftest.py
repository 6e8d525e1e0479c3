"""The platform on a real cluster, brought up as a person would; only where TAXIWAY_E2E=1 asks for it (make e2e).

KUBE_CONTEXT, IMAGE_LOADER and the base images mean what they mean for make kind-up. Everything is in a namespace of its
own, which is removed first, and stays for a look afterwards; TAXIWAY_E2E_REUSE=1 takes the platform that is there.
"""

import csv
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from cluster.access import open_airflow
from cluster.chart import chart_path
from cluster.config import Config
from cluster.git import image_tag
from cluster.kubectl import Kubectl
from cluster.target import remove_namespace
from console.airflow import Airflow, TaskInstance
from console.errors import UserError
from console.options import ROOT
from tests.tools import absent, tool

PROBE = Path(__file__).parent / "dags/e2e_probe.py"
RECEIVER = Path(__file__).parent / "receiver.py"
NAMESPACE = "taxiway-e2e"
MONTH = "2023-02"
# What is disabled has images that are unavailable without an image registry. Alerts and traces go to a pod of ours.
MONITORING = {
    "grafana": {"enabled": False},
    "kubeStateMetrics": {"enabled": False},
    "targets": {"flower": True},
    "alertmanager": {"notify": "webhook", "webhook": "http://receiver:8080/alerts"},
    "collector": {"enabled": True, "endpoint": "http://receiver:8080"},
    "networkPolicies": {
        "webhookTo": [{"podSelector": {"matchLabels": {"app": "receiver"}}}],
        "notify": {"ports": [8080]},
        "tracesTo": [{"podSelector": {"matchLabels": {"app": "receiver"}}}],
        "tracesPorts": [8080],
    },
}
PICTURES = ROOT / ".local/e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(2400))
    # Last: other tests look at what nobody has disturbed.
    items.sort(key=lambda item: item.path.name == "test_kills.py")


@dataclass
class Platform:
    """A checkout of its own, whose commits go to the cluster, and the commands that a person types there."""

    checkout: Path
    environment: dict[str, str]
    kubectl: Kubectl
    tag: str
    began: float  # Unix time before anything of it was there

    def type(self, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run ``make command`` as the Makefile does, and print what it says."""
        process = self.start(command, **variables)
        try:
            output, _ = process.communicate(timeout=2000)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        print(output)
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def start(self, command: str, **variables: str) -> "subprocess.Popen[str]":
        """Start such a command; its standard output has all that it says."""
        return subprocess.Popen(
            [str(ROOT / ".local/venvs/cluster/bin/python"), "-m", "cluster", command],
            cwd=self.checkout,
            env=self.environment | {"PYTHONUNBUFFERED": "1"} | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def posted(self) -> list[dict[str, Any]]:
        """Return what Alertmanager and the collector have posted to the receiver, oldest first."""
        with self.kubectl.forward("service/receiver", 8080) as forward:
            return [json.loads(line) for line in requests.get(forward.url, timeout=30).text.splitlines()]

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
        absent("cluster", "needs a cluster to build up: make e2e KUBE_CONTEXT=… asks for it")
    for program in ("docker", "helm", "kubectl"):
        tool(program)
    try:
        chart_path()
    except UserError as error:
        absent("chart", str(error))
    return Config.from_environment(os.environ | {"NAMESPACE": NAMESPACE, "FEATURES": ""})


def check_out(folder: Path, context: str, namespace: str, **variables: str) -> Platform:
    """Return a platform that is yet to be brought up, with a checkout of its own."""
    checkout = folder / "taxiway"
    subprocess.run(["git", "clone", "--quiet", "--no-local", str(ROOT), str(checkout)], check=True)
    for name, value in (("user.name", "e2e"), ("user.email", "e2e@localhost")):
        subprocess.run(["git", "config", name, value], cwd=checkout, check=True)
    path = f"{checkout}{os.pathsep}{checkout / 'dags'}"
    environment = os.environ | {"NAMESPACE": namespace, "PYTHONPATH": path, "COLUMNS": "200"} | variables
    tag = environment.get("IMAGE_TAG") or image_tag(checkout)
    return Platform(checkout, environment, Kubectl(context, namespace), tag, time.time())


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Bring the platform up from nothing."""
    config = skip_unless_possible()
    assert config.context
    values = tmp_path_factory.mktemp("values") / "monitoring.yaml"
    values.write_text(yaml.safe_dump(MONITORING))
    folder = tmp_path_factory.mktemp("checkout")
    variables = {"FEATURES": "opentelemetry", "MONITORING_VALUES": str(values)}
    platform = check_out(folder, config.context, NAMESPACE, **variables)
    if os.environ.get("TAXIWAY_E2E_REUSE") == "1":
        deployment = platform.kubectl.get("deployment", "airflow-api-server")
        platform.began = datetime.fromisoformat(deployment["metadata"]["creationTimestamp"]).timestamp()
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        platform.tag = platform.environment["IMAGE_TAG"] = image.rpartition(":")[2]
        commands = ["dags-push", "monitoring"]
    else:
        remove_namespace(platform.kubectl)
        commands = ["kind-up", "monitoring"]
    for command in commands:
        result = platform.type(command)
        assert result.returncode == 0, result.stdout
    start_receiver(platform)
    return platform


def start_receiver(platform: Platform) -> None:
    """Run the program that takes alerts and traces in a pod, which those two may reach."""
    labels = {"app": "receiver"}
    container = {
        "name": "receiver",
        "image": f"taxiway/local-aws:{platform.tag}",
        "command": ["python", "-c", RECEIVER.read_text()],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    secure = {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}}
    port = {"protocol": "TCP", "port": 8080}
    names = {
        "matchExpressions": [
            {"key": "app.kubernetes.io/name", "operator": "In", "values": ["alertmanager", "collector"]}
        ]
    }
    objects = {
        ("v1", "Pod"): {"automountServiceAccountToken": False, "securityContext": secure, "containers": [container]},
        ("v1", "Service"): {"selector": labels, "ports": [{"port": 8080}]},
        ("networking.k8s.io/v1", "NetworkPolicy"): {
            "podSelector": {"matchLabels": labels},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": names}], "ports": [port]}],
        },
    }
    platform.kubectl.run("delete", "pod", "receiver", "--ignore-not-found", seconds=90)
    documents = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": "receiver", "labels": labels}, "spec": spec}
        for (version, kind), spec in objects.items()
    ]
    platform.kubectl.run("apply", "-f", "-", text_in=yaml.safe_dump_all(documents))
    platform.kubectl.run("wait", "--for=condition=Ready", "pod/receiver", "--timeout=120s", seconds=150)


@pytest.fixture(scope="session")
def one_month(platform: Platform) -> Path:
    """Write a list with the data sets of one month of the sample."""
    return list_one_month(platform)


def list_one_month(platform: Platform) -> Path:
    """Write a list with the data sets of one month of the sample to the platform's checkout."""
    sample = platform.checkout / "demos/hvfhv/sample"
    rows = list(csv.DictReader((sample / "catalogue.csv").open()))
    one = sample / "one-month.csv"
    with one.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row["month"] == MONTH)
    return one


@pytest.fixture(scope="session")
def demo(platform: Platform) -> str:
    """Run the demo of HVFHV for one month, and return its output."""
    return run_demo(platform)


def run_demo(platform: Platform, **variables: str) -> str:
    """Run the demo of HVFHV for one month, and return its output."""
    result = platform.type("kind-demo", CATALOG=str(list_one_month(platform)), **variables)
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture
def airflow(platform: Platform) -> Iterator[Airflow]:
    """Reach Airflow's REST API as its first administrator."""
    with open_airflow(platform.kubectl) as api:
        yield api


@pytest.fixture
def probe(platform: Platform, airflow: Airflow) -> str:
    """Deliver the DAG whose tasks take as long as its parameters say, on both executors; return its name."""
    if not airflow.has_dag(PROBE.stem):
        platform.commit({f"dags/{PROBE.name}": PROBE.read_text()}, "Add a probe")
        result = platform.type("dags-push")
        assert result.returncode == 0, result.stdout
    airflow.unpause(PROBE.stem)
    return PROBE.stem


def wait_for(what: str, look: Callable[[], Any], seconds: float = 240, pause: float = 1) -> Any:
    """Return what ``look`` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(pause)
    return found


def work_of(airflow: Airflow, probe: str, run: str) -> list[TaskInstance]:
    """Return the task instances of a run of the probe that take as long as asked."""
    return [task for task in airflow.task_instances(probe, run) if task["task_id"].startswith("on_")]


def start_six_tasks(airflow: Airflow, probe: str, name: str) -> str:
    """Start tasks on both executors, and return their run while all of them run."""
    for seconds in (60, 180, 540):  # on a slow machine some may end before others have started
        run = f"e2e-{name}-{time.time_ns()}"
        airflow.trigger(probe, run, {"celery": 4, "kubernetes": 2, "seconds": seconds})

        def begun(run: str = run) -> list[str]:
            states = [str(task["state"]) for task in work_of(airflow, probe, run)]
            return states if len(states) == 6 and set(states) <= {"running", "success", "failed"} else []

        if set(wait_for("six tasks have started", begun, 600)) == {"running"}:
            return run
    raise AssertionError("The six tasks never ran at once.")


def run_to_end(airflow: Airflow, dag: str, run: str, conf: dict[str, Any]) -> list[TaskInstance]:
    """Trigger a run, wait for its end, and return its task instances."""
    airflow.trigger(dag, run, conf)
    state = wait_for(f"{dag} {run}", lambda: _ended(airflow.run_state(dag, run)), 600)
    tasks = airflow.task_instances(dag, run)
    assert state == "success", [(task["task_id"], task["map_index"], task["state"]) for task in tasks]
    return tasks


def _ended(state: str) -> str | None:
    return state if state in ("success", "failed") else None
