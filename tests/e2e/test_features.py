"""Optional features on a real cluster: installed from nothing, taken away, and added to a platform that runs.

``make e2e-full FEATURES="https-git ssh-git+big-workers"`` names those to try: a platform for each word, in a namespace
of its own that is removed first; ``+`` joins features of one platform. The cluster's local AWS endpoint stands in for
AWS, git_host/ for a private git host.
"""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from playwright.sync_api import sync_playwright

from cluster.access import open_airflow
from cluster.target import remove_namespace
from console.airflow import Airflow
from console.aws import local_client
from tests.e2e.conftest import (
    PICTURES,
    PROBE,
    Platform,
    check_out,
    run_demo,
    run_to_end,
    skip_unless_possible,
    start_six_tasks,
    wait_for,
)
from tests.tools import tool

pytestmark = pytest.mark.full
CHOSEN = os.environ.get("FEATURES", "").replace(",", " ").split()
DAGS = PROBE.parent
GIT_HOST = Path(__file__).parent / "git_host"
GIT_HOST_IMAGE = "taxiway/e2e-git-host:e2e"


def nothing(platform: Platform, folder: Path) -> dict[str, str]:
    """Prepare nothing: the feature is all that is asked for."""
    return {}


@dataclass(frozen=True)
class Trial:
    """How a feature is tried.

    Attributes:
        proof: shows that the feature does what it says.
        prepare: makes what the feature needs before the installation, in a folder for files; returns variables.
        can_be_added: whether a platform that runs may get it.
    """

    proof: Callable[[Platform, Airflow], None]
    prepare: Callable[[Platform, Path], dict[str, str]] = field(default=nothing)
    can_be_added: bool = True


@dataclass(frozen=True)
class Tried:
    """A platform with features."""

    trials: dict[str, Trial]
    platform: Platform
    variables: dict[str, str]

    def deploy(self, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run ``make deploy`` with the images that are there."""
        return self.platform.type("deploy", IMAGE_TAG=self.platform.tag, **variables)

    def prove(self) -> None:
        """Check that each feature does what it says."""
        for trial in self.trials.values():
            with open_airflow(self.platform.kubectl) as airflow:
                trial.proof(self.platform, airflow)


@pytest.fixture(scope="module", params=CHOSEN or [""])
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """Bring a platform up from nothing with features."""
    if not request.param:
        pytest.skip("no feature is named: make e2e-full FEATURES=…")
    names = request.param.split("+")
    assert set(names) <= set(TRIALS), f"there are: {', '.join(TRIALS)}"
    config = skip_unless_possible()
    assert config.context
    folder = tmp_path_factory.mktemp("features")
    platform = check_out(folder, config.context, "taxiway-features", FEATURES=" ".join(names))
    tried = Tried({name: TRIALS[name] for name in names}, platform, {})
    if os.environ.get("TAXIWAY_E2E_REUSE") == "1":
        return tried
    remove_namespace(platform.kubectl)
    for trial in tried.trials.values():
        tried.variables.update(trial.prepare(platform, folder))
    result = platform.type("kind-up", **tried.variables)
    assert result.returncode == 0, result.stdout
    return tried


def test_the_main_job_runs_after_an_installation_from_nothing(tried: Tried) -> None:
    run_demo(tried.platform)


def test_the_features_do_what_they_say(tried: Tried) -> None:
    tried.prove()


def test_they_are_taken_away_and_added_while_the_platform_runs(tried: Tried) -> None:
    stay = [name for name, trial in tried.trials.items() if not trial.can_be_added]
    without = {"FEATURES": " ".join(stay), "VALUES": str(another_value(tried.platform.checkout.parent))}
    for variables in (without, tried.variables):
        result = tried.deploy(**variables)
        assert result.returncode == 0, result.stdout
    run_demo(tried.platform)
    tried.prove()


def test_another_kind_of_database_is_refused(tried: Tried) -> None:
    if "mysql-metadata" not in tried.trials:
        pytest.skip("that is a matter of mysql-metadata")
    kubectl = tried.platform.kubectl
    before = kubectl.run("get", "statefulsets,deployments,secrets", "-o", "name")
    for command in ("deploy", "kind-up", "secrets"):
        refused = tried.platform.type(command, FEATURES="", IMAGE_TAG=tried.platform.tag)
        assert refused.returncode == 1
        assert "are in MySQL; without the feature mysql-metadata they would be in PostgreSQL" in refused.stdout
    assert kubectl.run("get", "statefulsets,deployments,secrets", "-o", "name") == before


def another_value(folder: Path) -> Path:
    """Return a file with a value that has all of Airflow's pods replaced."""
    file = folder / "another.yaml"
    file.write_text(yaml.safe_dump({"global": {"taxiway": {"env": {"TAXIWAY_E2E_ANOTHER": "value"}}}}))
    return file


# -- What each feature says ------------------------------------------------------------------------------------------


def deliver(platform: Platform, airflow: Airflow, name: str, **replace: str) -> None:
    """Deliver a DAG of the tests, with words replaced, and switch it on."""
    text = (DAGS / f"{name}.py").read_text()
    for old, new in replace.items():
        text = text.replace(old, new)
    target = platform.checkout / f"dags/{name}.py"
    if not target.exists() or target.read_text() != text:
        platform.commit({f"dags/{name}.py": text}, f"Deliver {name}")
    result = platform.type("dags-push")
    assert result.returncode == 0, result.stdout
    airflow.unpause(name)


def new_run() -> str:
    return f"e2e-{time.time_ns()}"


def commits_arrive(platform: Platform, airflow: Airflow) -> None:
    """A pushed commit is what tasks of both executors run."""
    for _ in range(2):
        says, run = f"said {time.time_ns()}", new_run()
        deliver(platform, airflow, "e2e_probe", first=says)
        run_to_end(airflow, "e2e_probe", run, {"celery": 1, "kubernetes": 1})
        assert [airflow.xcom("e2e_probe", run, f"on_{kind}", 0) for kind in ("celery", "kubernetes")] == [says] * 2


def a_killed_mysql_loses_nothing(platform: Platform, airflow: Airflow) -> None:
    """Tasks of both executors run on while MySQL is killed, and every run is still there."""
    deliver(platform, airflow, "e2e_probe")
    run = start_six_tasks(airflow, "e2e_probe", "killed")
    runs = all_runs(airflow)
    platform.kubectl.run("delete", "pod", "metadata-mysql-0", "--grace-period=0", "--force", seconds=120)
    platform.kubectl.run("wait", "--for=condition=Ready", "pod/metadata-mysql-0", "--timeout=240s", seconds=260)
    with open_airflow(platform.kubectl) as again:
        wait_for("the run ends", lambda: again.run_state("e2e_probe", run) in ("success", "failed"), 900)
        states = [(each["state"], each["try_number"]) for each in again.task_instances("e2e_probe", run)]
        assert states == [("success", 1)] * len(states)
        assert len(states) == 8
        assert all_runs(again) == runs


def all_runs(airflow: Airflow) -> set[str]:
    """Return the runs of the tests' and the main job's DAGs, those that the calendar starts left out."""
    mine = [dag["dag_id"] for dag in airflow.dags() if dag["dag_id"].startswith(("e2e_", "hvfhv_"))]
    names = {each["dag_run_id"] for dag in mine for each in airflow.runs(dag)}
    return {name for name in names if not name.startswith("scheduled__")}


def big_tasks_run_on_the_big_set_alone(platform: Platform, airflow: Airflow) -> None:
    """Tasks of the queue run on the set, the others do not; while the set is gone, its tasks wait."""
    deliver(platform, airflow, "e2e_big")
    run = new_run()
    tasks = run_to_end(airflow, "e2e_big", run, {})
    ran = {
        (each["task_id"], str(airflow.xcom("e2e_big", run, each["task_id"], each["map_index"])).split()[1])
        for each in tasks
    }
    big = {pod for task, pod in ran if task == "on_big"}
    default = {pod for task, pod in ran if task == "on_default"}
    assert all(pod.startswith("airflow-worker-big-") for pod in big), ran
    assert not any(pod.startswith("airflow-worker-big-") for pod in default), ran

    platform.kubectl.run("scale", "deployment/airflow-worker-big", "--replicas=0")
    waits = new_run()
    try:
        wait_for("the set is gone", lambda: not big_pods(platform))
        airflow.trigger("e2e_big", waits, {})

        def states(task: str) -> set[str | None]:
            return {each["state"] for each in airflow.task_instances("e2e_big", waits) if each["task_id"] == task}

        wait_for("the others are done", lambda: states("on_default") == {"success"})
        time.sleep(15)
        assert states("on_big") == {"queued"}
    finally:
        platform.kubectl.run("scale", "deployment/airflow-worker-big", "--replicas=1")
    wait_for("the run ends", lambda: airflow.run_state("e2e_big", waits) == "success")


def big_pods(platform: Platform) -> list[str]:
    names = [pod["metadata"]["name"] for pod in platform.kubectl.items("pods", "-l", "component=worker")]
    return [name for name in names if name.startswith("airflow-worker-big-")]


def a_team_sees_its_own(platform: Platform, airflow: Airflow) -> None:
    """A user of the role sees and runs the team's DAG alone, by the API and in a browser."""
    deliver(platform, airflow, "e2e_team")
    login = ("ride", f"r{time.time_ns()}")
    words = ["--role", "team-rides", "--username", login[0], "--password", login[1]]
    words += ["--firstname", "R", "--lastname", "R", "--email", "r@localhost"]
    scheduler = ("deployment/airflow-scheduler", "airflow", "users")
    platform.kubectl.execute(*scheduler, "delete", "--username", login[0], container="scheduler")
    made = platform.kubectl.execute(*scheduler, "create", *words, container="scheduler")
    assert made.returncode == 0, made.stderr
    with open_airflow(platform.kubectl, login) as theirs:
        assert {dag["dag_id"] for dag in theirs.dags()} == {"e2e_team"}
        run_to_end(theirs, "e2e_team", new_run(), {})
    with platform.kubectl.forward("service/airflow-api-server", 8080) as forward:
        credentials = {"username": login[0], "password": login[1]}
        token = requests.post(f"{forward.url}/auth/token", json=credentials, timeout=60).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        for verb, path in (
            ("GET", "dags/hvfhv_analysis"),
            ("GET", "dags/hvfhv_analysis/dagRuns"),
            ("POST", "dags/hvfhv_analysis/dagRuns"),
            ("PATCH", "dags/hvfhv_analysis"),
            ("GET", "connections"),
            ("GET", "variables"),
            ("GET", "config"),
        ):
            body = {"logical_date": None, "is_paused": True} if verb == "PATCH" else {"logical_date": None}
            answer = requests.request(
                verb, f"{forward.url}/api/v2/{path}", headers=headers, json=None if verb == "GET" else body, timeout=60
            )
            assert answer.status_code == 403, (verb, path, answer.status_code, answer.text[:200])
        in_the_browser(forward.url, login)


def in_the_browser(url: str, login: tuple[str, str]) -> None:
    """Log in, look at the list of DAGs, and trigger the team's."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=tool("chromium", "google-chrome"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{url}/auth/login", timeout=120_000)
        page.fill("input[name=username]", login[0])
        page.fill("input[name=password]", login[1])
        page.click("input[type=submit], button[type=submit]")
        page.goto(f"{url}/dags", timeout=120_000)
        page.get_by_text("e2e_team").first.wait_for(timeout=120_000)
        page.screenshot(path=PICTURES / "team.png")
        assert not page.get_by_text("hvfhv_").count()
        page.goto(f"{url}/dags/e2e_team", timeout=120_000)
        page.get_by_role("button", name="Trigger").first.click(timeout=60_000)
        page.get_by_role("dialog").get_by_role("button", name="Trigger").click(timeout=60_000)
        page.screenshot(path=PICTURES / "team-dag.png")
        browser.close()


def secrets_come_from_the_backend(platform: Platform, airflow: Airflow) -> None:
    """Tasks of both executors read what AWS Secrets Manager has, changed without a deployment."""
    host, value = f"h{time.time_ns()}", f"v{time.time_ns()}"
    with platform.kubectl.forward("service/local-aws", 4566) as forward:
        manager = local_client("secretsmanager", forward.url)
        for name, text in (("connections", f"http://me:word@{host}"), ("variables", value)):
            secret = f"taxiway/airflow/{name}/e2e"
            try:
                manager.create_secret(Name=secret, SecretString=text)
            except manager.exceptions.ResourceExistsException:
                manager.put_secret_value(SecretId=secret, SecretString=text)
    deliver(platform, airflow, "e2e_secrets")
    run = new_run()
    run_to_end(airflow, "e2e_secrets", run, {})
    for task in ("on_celery", "on_kubernetes"):
        assert airflow.xcom("e2e_secrets", run, task) == f"{host} {value}"


# -- A private git host ----------------------------------------------------------------------------------------------


def over_ssh(platform: Platform, folder: Path) -> dict[str, str]:
    """Start the git host; git-sync reads it by a deploy key, and knows the host's."""
    for name in ("host_key", "deploy_key"):
        command = [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True)
    result = platform.type("secrets", GIT_SSH_KEY=str(folder / "deploy_key"))
    assert result.returncode == 0, result.stdout
    public = " ".join((folder / "host_key.pub").read_text().split()[:2])
    keys = {
        "host_key": (folder / "host_key").read_text(),
        "authorized_keys": (folder / "deploy_key.pub").read_text(),
    }
    start_git_host(platform, keys | certificate(folder))
    repository = "ssh://git@git-host:2222/srv/git/taxiway.git"
    return git_values(folder, {"repo": repository, "knownHosts": f"[git-host]:2222 {public}\n"})


def over_https(platform: Platform, folder: Path) -> dict[str, str]:
    """Start the git host; git-sync reads it by name and password, and trusts the CA of its own that it has."""
    password = f"p{time.time_ns()}"
    keys = certificate(folder)
    given = {"GIT_USERNAME": "reader", "GIT_PASSWORD": password, "GIT_CA": str(folder / "ca.crt")}
    result = platform.type("secrets", **given)
    assert result.returncode == 0, result.stdout
    subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key")], check=True)
    keys |= {"users": f"reader:{password}\n", "host_key": (folder / "host_key").read_text(), "authorized_keys": ""}
    start_git_host(platform, keys)
    values = yaml.safe_load((GIT_HOST / "ca-values.yaml").read_text())
    sync = values["dags"]["gitSync"] | {"repo": "https://git-host:8443/git/taxiway.git"}
    return git_values(folder, sync, values)


def git_values(folder: Path, sync: dict[str, Any], values: dict[str, Any] | None = None) -> dict[str, str]:
    file = folder / "git.yaml"
    file.write_text(yaml.safe_dump((values or {}) | {"dags": {"gitSync": sync}}))
    return {"VALUES": str(file)}


def certificate(folder: Path) -> dict[str, str]:
    """Return a certificate of the git host, signed by a CA that is made for it."""
    new = [tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    new += ["-days", "2"]
    authority = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=e2e CA"]
    host = ["-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", "tls.key", "-out", "tls.crt", "-subj", "/CN=git-host"]
    host += ["-addext", "subjectAltName=DNS:git-host", "-addext", "basicConstraints=critical,CA:FALSE"]
    for words in (authority, host):
        subprocess.run([*new, *words], cwd=folder, check=True, capture_output=True)
    return {name: (folder / name).read_text() for name in ("tls.crt", "tls.key")} | {"users": ""}


def start_git_host(platform: Platform, keys: dict[str, str]) -> None:
    """Build the git host, and run it where git-sync reaches it; it follows the cluster's git server."""
    base = platform.environment.get("DEBIAN_BASE_IMAGE", "debian:bookworm-slim")
    build = ["docker", "build", "--quiet", "--build-arg", f"BASE_IMAGE={base}", "--tag", GIT_HOST_IMAGE, str(GIT_HOST)]
    subprocess.run(build, check=True, timeout=600)
    loader = platform.environment.get("IMAGE_LOADER", "kind load docker-image --name taxiway")
    subprocess.run([*loader.split(), GIT_HOST_IMAGE], check=True, timeout=300)
    labels = {"app": "git-host"}
    container = {
        "name": "git-host",
        "image": GIT_HOST_IMAGE,
        "ports": [{"containerPort": 2222}, {"containerPort": 8443}],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "keys", "mountPath": "/etc/git-host/keys"},
            {"name": "data", "mountPath": "/srv/git"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "keys", "secret": {"secretName": "git-host"}},
            {"name": "data", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    ours, server = {"matchLabels": labels}, {"matchLabels": {"app.kubernetes.io/name": "git-server"}}
    airflow = {"matchLabels": {"release": "airflow"}}
    lets: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        (
            "git-host",
            ours,
            {"ingress": [{"from": [{"podSelector": airflow}]}], "egress": [{"to": [{"podSelector": server}]}]},
        ),
        ("git-host-clients", airflow, {"egress": [{"to": [{"podSelector": ours}]}]}),
        ("git-host-source", server, {"ingress": [{"from": [{"podSelector": ours}]}]}),
    ]
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git-host"}, "stringData": keys},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "git-host", "labels": labels}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "git-host"},
            "spec": {
                "selector": labels,
                "ports": [{"name": "ssh", "port": 2222}, {"name": "https", "port": 8443}],
            },
        },
    ]
    documents += [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name},
            "spec": {"podSelector": pods, "policyTypes": [each.capitalize() for each in rules], **rules},
        }
        for name, pods, rules in lets
    ]
    platform.kubectl.run("apply", "-f", "-", text_in=yaml.safe_dump_all(documents))
    platform.kubectl.run("wait", "--for=condition=Ready", "pod/git-host", "--timeout=120s", seconds=150)


TRIALS = {
    "mysql-metadata": Trial(a_killed_mysql_loses_nothing, can_be_added=False),
    "big-workers": Trial(big_tasks_run_on_the_big_set_alone),
    "git-dag-bundle": Trial(commits_arrive),
    "team-roles": Trial(a_team_sees_its_own),
    "ssh-git": Trial(commits_arrive, over_ssh),
    "https-git": Trial(commits_arrive, over_https),
    "secrets-manager": Trial(secrets_come_from_the_backend),
}
