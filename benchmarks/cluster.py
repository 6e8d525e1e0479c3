"""How soon commits and tasks arrive on a cluster, beside the chart's defaults: ``python -m benchmarks.cluster``.

Needs a platform of ``make kind-up`` (KUBE_CONTEXT, NAMESPACE as there). The chart with its defaults, changed only where
it could not run here, is installed in a namespace of its own while our pods are scaled to zero, and measured in the
same way; then it is removed and our pods are scaled back. The cluster's network policies must let that namespace reach
our git server.
"""

import argparse
import contextlib
import datetime
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.measure import keep, machine
from cluster import git, images, manifests, releases
from cluster.access import admin, open_airflow
from cluster.chart import chart_path
from cluster.config import Config
from cluster.helm import Helm
from cluster.kubectl import Kubectl
from console.airflow import Airflow
from console.options import ROOT

PROBE = ROOT / "tests/e2e/dags/e2e_probe.py"
DEFAULTS = "taxiway-defaults"
EXECUTORS = {"celery": "on_celery", "kubernetes": "on_kubernetes"}
AT_ONCE = 24
LIMIT_S = 600
# New DAG and changed DAG (s), parsing (cores), one task on each executor at p95 (s).
GOALS = {"new DAG listed": 20.0, "changed DAG parsed": 15.0, "parsing": 0.1, "celery, one": 1.0, "kubernetes, one": 5.0}


@dataclass(frozen=True)
class Place:
    """One Airflow on the cluster, and where commits for it are pushed."""

    airflow: Airflow
    kubectl: Kubectl
    git_server: Kubectl
    processor: str


def main() -> None:
    """Measure both, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pushes", type=int, default=5, help="pushed commits (of the defaults 1)")
    parser.add_argument("--singles", type=int, default=20, help="single tasks on each executor")
    parser.add_argument("--ours-only", action="store_true", help="leave the chart's defaults out")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # so that our pods are scaled back
    config = Config.from_environment()
    assert config.context
    kubectl = Kubectl(config.context, config.namespace)
    manifest = releases.helm_for(config, kubectl).manifest("airflow")
    tag = manifests.airflow_image(manifest).rpartition(":")[2]
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "taxiway"
        subprocess.run(["git", "clone", "--quiet", "--no-local", str(ROOT), str(checkout)], check=True)
        for name, value in (("user.name", "benchmark"), ("user.email", "benchmark@localhost")):
            subprocess.run(["git", "config", name, value], cwd=checkout, check=True)
        with opened(kubectl, kubectl, admin(kubectl)) as place:
            results = {"ours": measure(place, checkout, arguments.pushes, arguments.singles)}
        say("\n".join(table(results)))
        results["ours"] |= rollouts(config, kubectl, tag)
        if not arguments.ours_only:
            with the_defaults(config, kubectl, tag) as place:
                # A new DAG is listed after minutes: one push is enough.
                results["the chart's defaults"] = measure(place, checkout, 1, arguments.singles)
        git.push(kubectl)  # the commit that is checked out
    text = "\n".join([f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}.", "", *table(results)])
    print(text)
    if arguments.write:
        keep("python -m benchmarks.cluster --write", text)


def measure(place: Place, checkout: Path, pushes: int, singles: int) -> dict[str, list[float]]:
    """Return the seconds (parsing: cores) of every measurement, by name."""
    found = deliveries(place, checkout, pushes)
    found["parsing"] = [parsing_cores(place)]
    for kind in EXECUTORS:
        for number in range(singles + 1):  # the first is a warm-up
            [start] = starts(place, {"celery": 0, "kubernetes": 0} | {kind: 1})
            if number:
                found.setdefault(f"{kind}, one", []).append(start)
        found[f"{kind}, {AT_ONCE} at once"] = starts(place, {"celery": 0, "kubernetes": 0} | {kind: AT_ONCE})
    return found


def rollouts(config: Config, kubectl: Kubectl, tag: str) -> dict[str, list[float]]:
    """Roll a new image tag out and back, and return how long each took until all was ready."""
    following = f"{tag}-next"
    names = [f"{config.repository('airflow')}:{each}" for each in (tag, following)]
    subprocess.run(["docker", "tag", *names], check=True)
    images.load(config, names[1:], say)
    helm, release = releases.helm_for(config, kubectl), releases.airflow(config, following)
    before = int(helm.history(release.name)[-1]["revision"])
    began = time.monotonic()
    helm.upgrade(release.name, release.chart, release.arguments, say)
    upgraded = time.monotonic()
    helm.rollback(release.name, before, say)
    return {"upgrade": [upgraded - began], "rollback": [time.monotonic() - upgraded]}


def deliveries(place: Place, checkout: Path, repeat: int) -> dict[str, list[float]]:
    """Push new DAGs and changed DAGs, and return how long each took to be listed, parsed and run."""
    found: dict[str, list[float]] = {"new DAG listed": [], "changed DAG parsed": [], "changed task runs": []}
    text = PROBE.read_text()
    names = [f"e2e_probe_{time.time_ns()}_{number}" for number in range(repeat)]
    for name in names:
        pushed = push(place, checkout, name, text.replace("e2e_probe", name))
        wait(f"{name} is listed", lambda name=name: place.airflow.has_dag(name))
        found["new DAG listed"].append(time.monotonic() - pushed)
    name = names[-1]
    place.airflow.unpause(name)
    for number in range(repeat):
        says = f"change-{number}"
        pushed = push(place, checkout, name, text.replace("e2e_probe", name).replace('"first"', f'"{says}"'))
        wait(f"{name} is parsed", lambda says=says: says in tags(place.airflow, name))
        found["changed DAG parsed"].append(time.monotonic() - pushed)
        said = None
        while said != says:  # a worker's git-sync may be seconds behind the DAG processor's
            run = f"{says}-{time.time_ns()}"
            place.airflow.trigger(name, run, {})
            wait(f"{run} ends", lambda run=run: place.airflow.run_state(name, run) in ("success", "failed"))
            said = place.airflow.xcom(name, run, "on_celery", 0)
        found["changed task runs"].append(time.monotonic() - pushed)
    for old in names[:-1]:
        (checkout / f"dags/{old}.py").unlink()
    (checkout / f"dags/{name}.py").rename(checkout / "dags/e2e_probe.py")
    push(place, checkout, "e2e_probe", text)
    wait("e2e_probe is listed", lambda: place.airflow.has_dag("e2e_probe"))
    place.airflow.unpause("e2e_probe")
    return found


def push(place: Place, checkout: Path, name: str, text: str) -> float:
    """Commit a DAG file, push it, and return the moment after."""
    (checkout / f"dags/{name}.py").write_text(text)
    subprocess.run(["git", "add", "--all"], cwd=checkout, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "-m", name], cwd=checkout, check=True)
    git.push(place.git_server, checkout)
    return time.monotonic()


def tags(airflow: Airflow, dag: str) -> set[str]:
    """Return the tags of a DAG."""
    return {tag["name"] for each in airflow.dags() if each["dag_id"] == dag for tag in each["tags"]}


def parsing_cores(place: Place, seconds: float = 90) -> float:
    """Return the cores that the DAG processor uses while nothing is pushed."""
    time.sleep(30)
    before, began = cpu_seconds(place), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(place) - before) / (time.monotonic() - began)


def cpu_seconds(place: Place) -> float:
    """Return the processor time (s) of the DAG processor's container since its start, from its control group."""
    script = (
        "if [ -f /sys/fs/cgroup/cpu.stat ]; then awk '/usage_usec/ {print $2 / 1e6}' /sys/fs/cgroup/cpu.stat; "
        "else awk '{print $1 / 1e9}' /sys/fs/cgroup/cpuacct/cpuacct.usage; fi"
    )
    result = place.kubectl.execute(place.processor, "sh", "-c", script, container="dag-processor")
    return float(result.stdout)


def starts(place: Place, counts: dict[str, int]) -> list[float]:
    """Run tasks, and return the seconds from queued to running of each."""
    run = f"starts-{time.time_ns()}"
    place.airflow.trigger("e2e_probe", run, {**counts, "seconds": 0})
    wait(f"{run} ends", lambda: place.airflow.run_state("e2e_probe", run) in ("success", "failed"))
    tasks = [each for each in place.airflow.task_instances("e2e_probe", run) if each["task_id"] in EXECUTORS.values()]
    assert sum(counts.values()) == len([task for task in tasks if task["state"] == "success"]), "a task failed"
    return [moment(task["start_date"]) - moment(task["queued_when"]) for task in tasks if task["state"] == "success"]


def moment(text: str | None) -> float:
    """Return a time of Airflow's API as seconds."""
    assert text, "a task that ran has its times"
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@contextlib.contextmanager
def opened(kubectl: Kubectl, git_server: Kubectl, login: tuple[str, str]) -> Iterator[Place]:
    """Reach an Airflow for the length of a ``with`` block."""
    with open_airflow(kubectl, login) as airflow:
        yield Place(airflow, kubectl, git_server, "deployment/airflow-dag-processor")


@contextlib.contextmanager
def the_defaults(config: Config, ours: Kubectl, tag: str) -> Iterator[Place]:
    """Install the chart with its defaults while our Airflow is scaled to zero."""
    assert config.context
    kubectl = Kubectl(config.context, DEFAULTS)
    replicas = {
        f"{kind}/{item['metadata']['name']}": item["spec"]["replicas"]
        for kind in ("deployment", "statefulset")
        for item in ours.items(kind, "-l", "release=airflow")
    }
    subprocess.run(kubectl.command("delete", "namespace", DEFAULTS, "--ignore-not-found"), check=True, timeout=300)
    ours.run("create", "namespace", DEFAULTS)
    try:
        scale(ours, dict.fromkeys(replicas, 0))
        helm = Helm(kubectl, config.wait_s, "")
        postgres(kubectl)
        git_address = f"git://git-server.{ours.namespace}/taxiway.git"
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as values:
            yaml.safe_dump(least_values(config, tag, git_address), values)
            values.flush()
            helm.upgrade("airflow", chart_path(), ["-f", values.name, "--timeout", "900s"], say)
        with opened(kubectl, ours, ("admin", "admin")) as place:
            yield place
    finally:
        subprocess.run(kubectl.command("delete", "namespace", DEFAULTS, "--wait=false"), check=True, timeout=60)
        scale(ours, replicas)


def least_values(config: Config, tag: str, git_address: str) -> dict[str, Any]:
    """Return the values that the chart needs to run here; whatever is measured keeps its default."""
    connection = {"user": "airflow", "pass": "airflow", "host": "postgres", "port": 5432, "db": "airflow"}
    environment = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "TAXIWAY_HVFHV_CATCHUP": "False",
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
    }
    return {
        "executor": "CeleryExecutor,KubernetesExecutor",
        "airflowVersion": "3.3.2",
        "defaultAirflowRepository": config.repository("airflow"),
        "defaultAirflowTag": tag,
        "images": {"airflow": {"repository": config.repository("airflow"), "tag": tag}},
        "useStandardNaming": True,
        "postgresql": {"enabled": False},
        "data": {"metadataConnection": {**connection, "protocol": "postgresql", "sslmode": "disable"}},
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "flower": {"enabled": True},
        "migrateDatabaseJob": {"useHelmHooks": False},
        "createUserJob": {"useHelmHooks": False},
        "dags": {
            "gitSync": {
                "enabled": True,
                "repo": git_address,
                "branch": "main",
                "ref": "main",
                "rev": "HEAD",
                "subPath": "dags",
            }
        },
    }


def postgres(kubectl: Kubectl) -> None:
    """Deploy a PostgreSQL for the chart with its defaults."""
    container = {
        "name": "postgres",
        "image": "postgres:16",
        "env": [
            {"name": name, "value": value}
            for name, value in (
                ("POSTGRES_USER", "airflow"),
                ("POSTGRES_PASSWORD", "airflow"),
                ("POSTGRES_DB", "airflow"),
            )
        ],
        "readinessProbe": {"tcpSocket": {"port": 5432}, "periodSeconds": 2},
    }
    labels = {"app": "postgres"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    objects = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "postgres"},
            "spec": {"selector": {"matchLabels": labels}, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "postgres"},
            "spec": {"selector": labels, "ports": [{"port": 5432}]},
        },
    ]
    kubectl.run("apply", "-f", "-", text_in=yaml.safe_dump_all(objects))
    kubectl.run("rollout", "status", "deployment/postgres", "--timeout=120s", seconds=150)


def scale(kubectl: Kubectl, replicas: dict[str, int]) -> None:
    """Scale workloads, and wait until their pods are ready or gone."""
    for name, count in replicas.items():
        kubectl.run("scale", name, f"--replicas={count}")
    for name, count in replicas.items():
        if count:
            kubectl.run("rollout", "status", name, "--timeout=600s", seconds=620)
    if not any(replicas.values()):
        wait("our pods are gone", lambda: not any(runs(pod) for pod in kubectl.items("pods", "-l", "release=airflow")))


def runs(pod: dict[str, Any]) -> bool:
    """Return whether a pod belongs to a workload and has not ended."""
    return "job-name" not in pod["metadata"]["labels"] and pod["status"]["phase"] != "Succeeded"


def wait(what: str, look: Any) -> None:
    """Wait until a condition holds.

    Raises:
        SystemExit: it does not within the limit.
    """
    deadline = time.monotonic() + LIMIT_S
    while not look():
        if time.monotonic() > deadline:
            sys.exit(f"Timed out after {LIMIT_S} s: {what}.")
        time.sleep(0.25)


def table(results: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    """Yield the lines of a table: p50 and p95 of each measurement, and whether ours meets the goal."""
    yield "| | " + " | ".join(results) + " | goal |"
    yield "| --- | " + "---: | " * len(results) + "--- |"
    for what, values in results["ours"].items():
        cells = [cell(each.get(what, [])) for each in results.values()]
        goal = GOALS.get(what)
        value = max(values) if "DAG" in what else p95(values)
        verdict = "" if goal is None else f"{goal:g}: {'met' if value <= goal else '**missed**'}"
        yield f"| {LABELS.get(what, f'queued → running: {what}')} | " + " | ".join(cells) + f" | {verdict} |"


LABELS = {
    "new DAG listed": "push → new DAG listed (s)",
    "changed DAG parsed": "push → changed DAG parsed (s)",
    "changed task runs": "push → changed task has run on a worker (s)",
    "parsing": "cores of the DAG processor at rest",
    "upgrade": "make deploy with a new image tag, until all is ready (s)",
    "rollback": "make rollback, until all is ready (s)",
}


def cell(values: Sequence[float]) -> str:
    """Return a measurement as p50 / p95, or the only value there is."""
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{median(values):.2f} / {p95(values):.2f}" if values else "–"


def p95(values: Sequence[float]) -> float:
    """Return the 95th percentile by nearest rank."""
    return sorted(values)[-(-len(values) * 95 // 100) - 1]


def say(text: str) -> None:
    """Report progress on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if not shutil.which("kubectl"):
        sys.exit("kubectl is not on the PATH: install it first.")
    main()
