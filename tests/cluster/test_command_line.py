"""Bad input on the command line: one clear sentence each, no traceback; with the real kubectl where there is one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster import commands
from cluster.chart import SHA256, VERSION
from cluster.config import Config
from cluster.images import load, wanted
from cluster.kubectl import Kubectl, connection_problem
from cluster.releases import image_tag, require_operator, secrets_sentence
from console.errors import UserError
from console.options import ROOT
from tests.cluster.kubernetes import api_server, write_kubeconfig

needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not on this machine")


def type_command(tmp_path: Path, *words: str, **variables: str) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KUBE"))}
    for name in ("ENV", "FEATURES", "CHART", "IMAGE_TAG", "IMAGE_REGISTRY", "NAMESPACE"):
        environment.pop(name, None)
    environment |= {"KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-m", "cluster", *words],
        cwd=ROOT,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "Traceback" not in result.stderr
    return result.returncode, (result.stdout + result.stderr).strip()


def path_with(tmp_path: Path, *programs: str) -> str:
    folder = tmp_path / "programs"
    folder.mkdir()
    for program in programs:
        (folder / program).symlink_to(shutil.which(program) or f"/nowhere/{program}")
    return str(folder)


def test_unknown_names_are_one_sentence_each(tmp_path: Path) -> None:
    assert type_command(tmp_path, "status", ENV="gke") == (
        1,
        "ENV=gke is not known: use ENV=kind (default) or ENV=eks.",
    )
    status, output = type_command(tmp_path, "deploy", FEATURES="nonsense")
    assert (status, output.count("\n")) == (1, 0)
    assert "FEATURES: 'nonsense' is not known; there are:" in output


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ENGINE": "flink"}, "ENGINE=flink"),
        ({"NAMESPACE": "Not A Name"}, "NAMESPACE=Not A Name"),
        ({"IMAGE_TAG": "latest"}, "cannot be rolled back"),
        ({"IMAGE_TAG": "a b"}, "IMAGE_TAG=a b"),
        ({"UI_PORT": "80"}, "UI_PORT=80"),
        ({"VALUES": "no/such.yaml"}, "VALUES: no/such.yaml"),
    ],
)
def test_values_that_cannot_be_used(given: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Config.from_environment(given)


def test_features_keep_their_order(tmp_path: Path) -> None:
    folder = tmp_path / "helm/airflow/features"
    folder.mkdir(parents=True)
    for name in ("oidc", "keda"):
        (folder / f"{name}.yaml").write_text("")
    assert Config.from_environment({"FEATURES": "oidc,keda oidc"}, tmp_path).features == ("oidc", "keda")


@pytest.mark.parametrize("program", ["docker", "helm", "kubectl", "kind"])
def test_a_missing_program_is_named_with_where_to_get_it(tmp_path: Path, program: str) -> None:
    others = [each for each in ("docker", "helm", "kubectl", "kind", "git") if each != program]
    folder = tmp_path / "programs"
    folder.mkdir()
    for each in others:
        (folder / each).write_text("#!/bin/sh\nexit 0\n")
        (folder / each).chmod(0o755)
    status, output = type_command(tmp_path, "kind-up", PATH=str(folder))
    assert status == 1
    assert f"The program '{program}' is needed" in output
    assert "https://" in output


@needs_kubectl
def test_no_cluster(tmp_path: Path) -> None:
    status, output = type_command(tmp_path, "ui")
    assert status == 1
    assert output == (
        "There is no cluster: KUBECONFIG has no context 'kind-taxiway' (it has: none). make kind-up makes it; "
        "KUBE_CONTEXT=… names another."
    )


@needs_kubectl
def test_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", "kind-taxiway", "https://127.0.0.1:1")
    status, output = type_command(tmp_path, "secrets")
    assert status == 1
    assert "The cluster of the context 'kind-taxiway' does not answer" in output


@needs_kubectl
def test_contexts_that_are_not_the_environments(tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", "kind-taxiway", "https://127.0.0.1:1")
    assert "name it by KUBE_CONTEXT" in type_command(tmp_path, "secrets", ENV="eks")[1]
    assert "no such context; it has: kind-taxiway" in type_command(tmp_path, "ui", KUBE_CONTEXT="prod")[1]
    assert "does not go to the kind cluster" in type_command(tmp_path, "ui", ENV="eks", KUBE_CONTEXT="kind-taxiway")[1]
    write_kubeconfig(tmp_path / "kubeconfig", "prod", "https://x.eu-central-1.eks.amazonaws.com")
    assert "does not go to the EKS cluster" in type_command(tmp_path, "ui", KUBE_CONTEXT="prod")[1]


def namespace(**labels: str) -> dict[str, Any]:
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "taxiway", "labels": labels}}


@needs_kubectl
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, namespace(**{"taxiway.io/environment": "eks"})), "is that of ENV=eks, not of ENV=kind"),
        ((200, namespace()), "kubectl --context one label namespace taxiway taxiway.io/environment=kind"),
        ((404, {"kind": "Status", "reason": "NotFound", "code": 404, "message": "no"}), "has no namespace 'taxiway'"),
        ((401, {"kind": "Status", "reason": "Unauthorized", "code": 401, "message": "Unauthorized"}), "log in again"),
    ],
)
def test_the_namespace_must_be_the_environments(tmp_path: Path, answer: tuple[int, dict[str, Any]], words: str) -> None:
    with api_server({"/api/v1/namespaces/taxiway": answer}, tmp_path / "kubeconfig", "one"):
        status, output = type_command(tmp_path, "flower", KUBE_CONTEXT="one")
    assert status == 1
    assert words in output
    assert output.count("\n") == 0


@needs_kubectl
def test_password_is_shown_only_by_its_own_command(tmp_path: Path) -> None:
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "airflow-flower-auth"}}
    answers = {
        "/api/v1/namespaces/taxiway": (200, namespace(**{"taxiway.io/environment": "kind"})),
        "/api/v1/namespaces/taxiway/secrets/airflow-flower-auth": (200, {**secret, "data": {"basicAuth": "YTpiYg=="}}),
    }
    with api_server(answers, tmp_path / "kubeconfig", "one"):
        status, output = type_command(tmp_path, "password", KUBE_CONTEXT="one")
    assert (status, output) == (0, "Flower   user a  password bb")


@needs_kubectl
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ("kind", "Grafana is not deployed in taxiway of one: make monitoring ENV=kind KUBE_CONTEXT=one does it."),
        ("eks", "on EKS it is kube-prometheus-stack's own (helm/monitoring/README.md)."),
    ],
)
def test_a_page_that_is_not_there_is_named_with_who_brings_it(tmp_path: Path, environment: str, words: str) -> None:
    labelled = {"/api/v1/namespaces/taxiway": (200, namespace(**{"taxiway.io/environment": environment}))}
    with api_server(labelled, tmp_path / "kubeconfig", "one"):
        status, output = type_command(tmp_path, "grafana", KUBE_CONTEXT="one", ENV=environment)
    assert status == 1
    assert output.endswith(words)
    assert output.count("\n") == 0


@needs_kubectl
def test_a_cluster_without_the_operator_is_reported_before_helm_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.from_environment({"ENV": "eks", "KUBE_CONTEXT": "one"})
    manifest = "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\n---\napiVersion: v1\nkind: ConfigMap\n"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with (
        api_server({}, tmp_path / "kubeconfig", "one"),
        pytest.raises(UserError, match=r"no Prometheus operator .it does not know ServiceMonitor.*install kube-prom"),
    ):
        require_operator(config, Kubectl("one", "taxiway"), manifest)


def test_eks_never_builds_and_needs_an_image() -> None:
    with pytest.raises(UserError, match="needs IMAGE_REGISTRY=… and IMAGE_TAG=…"):
        image_tag(Config.from_environment({"ENV": "eks", "IMAGE_TAG": "1"}))
    config = Config.from_environment({"ENV": "eks", "IMAGE_TAG": "1", "IMAGE_REGISTRY": "r.example.com/"})
    assert (image_tag(config), config.repository("airflow")) == ("1", "r.example.com/taxiway/airflow")


def test_missing_secrets_are_named_with_how_each_is_made() -> None:
    config = Config.from_environment({"ENV": "eks", "KUBE_CONTEXT": "prod"})
    output = secrets_sentence(config, ["airflow-metadata", "alertmanager-notify", "git-ssh-key"])
    assert "The secrets airflow-metadata, alertmanager-notify, git-ssh-key are missing in the namespace" in output
    assert "kubectl --context prod -n taxiway create secret generic alertmanager-notify --from-file=slack-url" in output
    assert "make secrets ENV=eks KUBE_CONTEXT=prod FEATURES=ssh-git GIT_SSH_KEY=<private key file>" in output
    assert "make secrets ENV=eks KUBE_CONTEXT=prod makes what is missing" in output


def test_images_are_chosen_by_name() -> None:
    assert wanted(Config.from_environment({})) == ["airflow", "local-aws", "git-server"]
    spark = wanted(Config.from_environment({"ENGINE": "spark"}))
    assert spark.index("local-aws") < spark.index("spark"), "Spark's image is built on the other"
    assert "services" in wanted(Config.from_environment({"ENGINE": "spark", "FEATURES": "eta"}))
    assert wanted(Config.from_environment({"IMAGES": "services"})) == ["services"]
    with pytest.raises(UserError, match="IMAGES: 'nginx'"):
        wanted(Config.from_environment({"IMAGES": "nginx"}))


def test_the_arrival_model_needs_apache_spark_on_kind() -> None:
    with pytest.raises(UserError, match="FEATURES=eta needs Apache Spark, for training and stream: say ENGINE=spark"):
        Config.from_environment({"FEATURES": "eta"})
    assert Config.from_environment({"FEATURES": "eta", "ENV": "eks"}).features == ("eta",)


def test_a_demo_whose_deployment_is_missing_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        def find(self, *_: str) -> None: ...

    monkeypatch.setattr(commands, "open_target", lambda _: Nothing())
    monkeypatch.setattr(commands, "_require_airflow", lambda *_: None)
    wanted = (
        "needs the deployment eta-scorer, which is not there: make kind-up ENV=kind ENGINE=spark FEATURES=eta brings"
    )
    with pytest.raises(UserError, match=wanted):
        commands.kind_demo(Config.from_environment({"PIPELINE": "eta"}), Console(quiet=True))


def test_a_cluster_that_is_not_kinds_needs_a_loader() -> None:
    with pytest.raises(UserError, match="IMAGE_LOADER="):
        load(Config.from_environment({"KUBE_CONTEXT": "mine"}), ["a:1"], lambda _: None)
    with pytest.raises(UserError, match="were not loaded: no such image"):
        load(
            Config.from_environment({"KUBE_CONTEXT": "mine", "IMAGE_LOADER": "sh -c 'echo no such image >&2; false'"}),
            ["a:1"],
            lambda _: None,
        )


def chart_command(tmp_path: Path, **variables: str) -> str:
    code = "from cluster.chart import chart_path\nfrom cluster.config import UserError\ntry:\n  print(chart_path())\n"
    code += "except UserError as error:\n  print(error)\n"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | variables
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout.strip()


def test_the_chart(tmp_path: Path) -> None:
    empty = path_with(tmp_path)
    assert "'helm' is needed" in chart_command(tmp_path, PATH=empty)
    (tmp_path / "programs" / "helm").write_text("#!/bin/sh\necho 'dial tcp: no such host' >&2; exit 1\n")
    (tmp_path / "programs" / "helm").chmod(0o755)
    output = chart_command(tmp_path, PATH=empty + os.pathsep + os.environ["PATH"])
    assert f"The Airflow chart {VERSION} cannot be downloaded" in output
    assert "no such host" in output
    assert "does not exist" in chart_command(tmp_path, CHART=str(tmp_path / "none"))
    assert chart_command(tmp_path, CHART=str(tmp_path)) == str(tmp_path)
    kept = tmp_path / f".cache/taxiway/airflow-{VERSION}.tgz"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(b"something else")
    assert "its SHA-256 differs" in chart_command(tmp_path)
    assert len(SHA256) == 64


def test_what_kubectl_says_of_a_cluster() -> None:
    for text, words in (
        ("The connection to the server 127.0.0.1:6443 was refused", "does not answer"),
        ("error: You must be logged in to the server (Unauthorized)", "log in again"),
        ('error: context "c" does not exist', "no context 'c'"),
    ):
        assert words in str(connection_problem(text, "c"))
    assert connection_problem('Error from server (NotFound): pods "x" not found', "c") is None


def test_ctrl_c_leaves_no_port_forward_behind(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "$$" >"$0.pid"\necho "Forwarding from 127.0.0.1:5 -> 8080"\nexec sleep 600\n')
    program.chmod(0o755)
    code = (
        "import sys, time\nfrom cluster.kubectl import Kubectl\n"
        "with Kubectl('c', 'n').forward('service/x', 8080) as forward:\n"
        "  print(forward.url, flush=True)\n  time.sleep(600)\n"
    )
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    assert process.stdout.readline().strip() == "http://127.0.0.1:5"
    forward = int((tmp_path / "kubectl.pid").read_text())
    process.send_signal(signal.SIGINT)
    process.wait(60)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and os.path.exists(f"/proc/{forward}"):  # noqa: PTH110
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{forward}")  # noqa: PTH110


def test_a_forward_that_cannot_be_made_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "kubectl"
    program.write_text(
        "#!/bin/sh\necho 'error: unable to listen on any of the requested ports: address already in use'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with (
        pytest.raises(UserError, match="local port for service/x is taken"),
        Kubectl("c", "n").forward("service/x", 1),
    ):
        pass
