"""Other people's checkers over what the chart makes: kubeconform, kube-score, pluto, and an API server."""

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.helm.rendering import ENVIRONMENTS, ROOT, helm, render
from tests.tools import absent, find, tool

# As much as goes together, so that each kind of object is looked at once.
FEATURES = ("big-workers", "https-git", "ingress", "keda", "oidc", "secrets-manager", "team-roles")
KUBERNETES = "1.34.0"
SCHEMAS = "https://raw.githubusercontent.com/yannh/kubernetes-json-schema/master"

# What kube-score recommends and we do not follow: check → object (or * for all) → why.
EXCUSED = {
    "container-image-pull-policy": {"*": "tags are never used twice (a commit's), and kind has no registry to ask"},
    "container-security-context-user-group-id": {"*": "the images' own users; Airflow's image wants group 0"},
    "cronjob-has-deadline": {"*": "the chart has no key for it; a missed run is made up for by the next"},
    "deployment-replicas": {
        "airflow-flower": "a page to look at; the chart has no key for more",
        "airflow-statsd": "counts in memory: two would each have half",
        "airflow-worker": "KEDA decides",
        "airflow-worker-big": "one is the default of the feature",
        "airflow-dag-processor": "one parses; tasks do not wait for it",
        "*kind": "one node",
    },
    "pod-probes": {
        "placeholder-name": "a pod of the executor: it runs one task, and no service leads to it",
        "airflow-triggerer": "nobody connects to it but for logs: readiness means nothing",
        "airflow-worker": "as above",
        "airflow-worker-big": "as above",
        "airflow-redis": "the chart has no key for one",
    },
    "pod-probes-identical": {"*": "the chart's paths; ours differ in their limits"},
    "statefulset-has-host-podantiaffinity": {"airflow-redis": "one replica"},
    "statefulset-has-poddisruptionbudget": {"airflow-redis": "the chart has no key for one; on EKS it is ElastiCache"},
    "statefulset-has-servicename": {"airflow-redis": "the chart's service is no headless one"},
}


@cache
def manifests(environment: str) -> str:
    """Return the chart's manifests, and the executor's pod."""
    rendered = render(environment, FEATURES)
    template = rendered.settings_map["pod_template_file.yaml"]
    return f"{rendered.text}\n---\n{template}"


@cache
def platform(environment: str) -> str:
    """Return the manifests of our own chart, whose network policies apply to the pods of both."""
    folder = ROOT / "helm/platform"
    command = [helm(), "template", "platform", str(folder), "--namespace", "taxiway"]
    command += ["--values", str(folder / f"{environment}.yaml")]
    for image in ("gitServer", "localAws", "spark"):
        command += ["--set-string", f"images.{image}.tag=0123456789ab"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_kube_score_has_nothing_to_say_that_is_not_excused(environment: str) -> None:
    both = "\n---\n".join((manifests(environment), platform(environment)))
    result = subprocess.run(
        [tool("kube-score"), "score", "-", "--output-format", "json", "--kubernetes-version", "v1.34"],
        input=both,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    faults = []
    for each in json.loads(result.stdout):
        name = each["object_meta"]["name"]
        if not name.startswith("airflow") and name != "placeholder-name":
            continue
        for check in each["checks"] or []:
            excuses = EXCUSED.get(check["check"]["id"], {})
            excused = excuses.keys() & {name, "*", f"*{environment}"}
            if not check["skipped"] and check["grade"] < 10 and not excused:
                faults.append(f"{name}: {check['check']['id']}: {[c['summary'] for c in check['comments'] or []]}")
    assert faults == []


def test_kube_score_would_notice_a_pod_without_limits() -> None:
    changes = {"triggerer": {"resources": {"limits": None}}}
    result = subprocess.run(
        [tool("kube-score"), "score", "-", "--output-format", "ci"],
        input=render("kind", (), changes).text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.search(r"CRITICAL\] airflow-triggerer .*Memory limit is not set", result.stdout)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_kubeconform_finds_no_key_that_kubernetes_does_not_know(environment: str) -> None:
    try:  # kubeconform itself tries for 40 s
        requests.head(f"{SCHEMAS}/v{KUBERNETES}-standalone-strict/service-v1.json", timeout=5).raise_for_status()
    except requests.RequestException:
        absent("schemas", f"kubeconform's schemas are at {SCHEMAS}, which cannot be reached from here")
    result = subprocess.run(
        [tool("kubeconform"), "-strict", "-output", "json", "-kubernetes-version", KUBERNETES, "-skip", "ScaledObject"],
        input=manifests(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    faults = json.loads(result.stdout).get("resources") or []
    assert faults == []


def test_pluto_finds_no_api_version_that_goes_away() -> None:
    if not (pluto := find("pluto")):
        absent("pluto", "helm/tools/install.sh pluto has not built it")
    result = subprocess.run(
        [pluto, "detect", "-", "--output", "json", "--target-versions", f"k8s=v{KUBERNETES}"],
        input=manifests("eks"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    found: list[Any] = json.loads(result.stdout).get("items") or [] if result.stdout.strip() else []
    assert found == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_api_server_takes_everything(environment: str, tmp_path: Path) -> None:
    """A real API server's strict dry run: unknown keys, wrong types, and pods that it would not let in."""
    if not os.environ.get("KUBECONFIG"):
        absent("cluster", "KUBECONFIG names no cluster whose API server could be asked.")
    rendered = render(environment, tuple(each for each in FEATURES if each != "keda"))
    file = tmp_path / "all.yaml"
    # Into a namespace that is always there; a pod's service account must be there too, and a dry run makes none.
    pod = rendered.settings_map["pod_template_file.yaml"].replace(
        "serviceAccountName: airflow-worker", "serviceAccountName: default"
    )
    file.write_text(
        f"{rendered.text}\n---\n{pod}".replace("taxiway\n", "default\n").replace(
            'namespace: "taxiway"', 'namespace: "default"'
        )
    )
    result = subprocess.run(
        [tool("kubectl"), "--namespace", "default", "create", "--dry-run=server", "--validate=strict", "-f", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "Unable to connect" in result.stderr or "refused" in result.stderr:
        absent("cluster", f"The cluster of KUBECONFIG does not answer: {result.stderr.strip()[-200:]}")
    faults = [line for line in result.stderr.splitlines() if "rendered-notes" not in line]
    assert result.returncode == 0, "\n".join(faults)
    assert not [line for line in faults if line.startswith("Warning")], faults
