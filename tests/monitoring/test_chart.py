"""The chart monitoring, rendered: all that its switches make, locked down, and understood by those who read it."""

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tools import absent, tool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/monitoring"
AIRFLOW_CHART = Path.home() / ".cache/taxiway/airflow-1.22.0.tgz"
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
Manifest = dict[str, Any]

EVERYTHING: Manifest = {
    "runbooks": "https://git.example.com/taxiway/docs/runbooks/",
    "images": {"pullSecrets": ["registry"]},
    "operator": {"enabled": True},
    "targets": {"flower": True},
    "prometheus": {"enabled": True},
    "alertmanager": {"enabled": True},
    "grafana": {"enabled": True},
    "redisExporter": {"enabled": True},
    "kubeStateMetrics": {"enabled": True},
    "collector": {"enabled": True, "endpoint": "http://tempo.monitoring:4318", "secretName": "traces"},
    "networkPolicies": {
        "tracesTo": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "scrapeFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "pagesFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}],
        "redis": {"cidrs": ["10.0.0.0/16"]},
    },
}


def run_helm(values: Manifest, *arguments: str, namespace: str = "taxiway") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("helm"), "template", "monitoring", CHART, "--namespace", namespace, *arguments, "--values", "-"],
        input=json.dumps(values), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def render(values: Manifest, *arguments: str, namespace: str = "taxiway") -> tuple[Manifest, ...]:
    done = run_helm(values, *arguments, namespace=namespace)
    assert done.returncode == 0, done.stderr
    return tuple(each for each in yaml.safe_load_all(done.stdout) if each)


@cache
def case(name: str) -> tuple[Manifest, ...]:
    if name == "defaults":
        return render({})
    if name == "everything":
        return render(EVERYTHING)
    return render({}, "--values", str(CHART / f"{name}.yaml"))


CASES = ("defaults", "kind", "eks", "everything")


def of_kind(manifests: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, dict[str, str], Manifest]]:
    for each in manifests:
        if each["kind"] in ("Deployment", "StatefulSet"):
            template = each["spec"]["template"]
            yield each["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def rule_files() -> dict[str, list[Manifest]]:
    found = {}
    for file in (CHART / "rules").glob("*.yaml"):
        found[file.name] = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    return found


def alerts_of(groups: list[Manifest]) -> list[str]:
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


# -- What there is ----------------------------------------------------------------------------------------------------


def test_by_default_there_are_dashboards_alone() -> None:
    assert {each["kind"] for each in case("defaults")} <= {"ConfigMap"}
    assert of_kind(case("defaults"), "ConfigMap").keys() == {
        f"dashboard-{file.stem.replace('_', '-')}" for file in (CHART / "dashboards").glob("*.json")
    }


def test_kind_has_a_prometheus_with_all_around_it_of_its_own() -> None:
    assert {name for name, _, _ in pods(case("kind"))} == {
        "prometheus", "alertmanager", "grafana", "redis-exporter", "kube-state-metrics",
    }  # fmt: skip
    assert not of_kind(case("kind"), "PrometheusRule")


def test_eks_leaves_running_to_the_operator() -> None:
    assert list(pods(case("eks"))) == []
    assert of_kind(case("eks"), "ServiceMonitor").keys() == {"airflow-statsd", "airflow-pgbouncer"}
    assert len(of_kind(case("eks"), "PrometheusRule")) == len(rule_files())


def test_everything_can_be_turned_on() -> None:
    assert {name for name, _, _ in pods(case("everything"))} == {
        "prometheus", "alertmanager", "grafana", "redis-exporter", "kube-state-metrics", "collector",
    }  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_no_two_objects_have_the_same_name(name: str) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in case(name)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", CASES)
def test_no_secret_is_made(name: str) -> None:
    assert not of_kind(case(name), "Secret")


def test_dashboards_carry_the_label_that_grafana_looks_for_and_are_whole() -> None:
    found = [each for name, each in of_kind(case("defaults"), "ConfigMap").items() if name.startswith("dashboard-")]
    values = yaml.safe_load((CHART / "kube-prometheus-stack.yaml").read_text(encoding="utf-8"))
    sidecar = values["grafana"]["sidecar"]["dashboards"]
    for each in found:
        assert each["metadata"]["labels"][sidecar["label"]] == sidecar["labelValue"]
        assert sidecar["folderAnnotation"] in each["metadata"]["annotations"]
        ((name, text),) = each["data"].items()
        assert json.loads(text) == json.loads((CHART / "dashboards" / name).read_text(encoding="utf-8"))
    assert found


# -- Rules ------------------------------------------------------------------------------------------------------------


def test_both_ways_bring_the_same_rules() -> None:
    by_operator = of_kind(case("everything"), "PrometheusRule")
    plain = of_kind(case("everything"), "ConfigMap")["prometheus-rules"]["data"]
    assert plain.keys() == rule_files().keys()
    for name, groups in rule_files().items():
        made = by_operator[f"taxiway-{name.removesuffix('.yaml')}"]["spec"]["groups"]
        assert made == yaml.safe_load(plain[name])["groups"]
        for group in groups:
            for rule in group["rules"]:
                if "alert" in rule:
                    page = f"https://git.example.com/taxiway/docs/runbooks/{rule['alert']}.md"
                    rule["annotations"]["runbook_url"] = page
        assert made == groups


def test_rules_are_for_the_namespace_of_the_release() -> None:
    texts = json.dumps([each.get("spec") for each in render({"operator": {"enabled": True}}, namespace="data")])
    assert 'namespace=\\"data\\"' in texts
    assert 'namespace=\\"taxiway\\"' not in texts


def test_alerts_that_are_not_wanted_are_left_out_and_no_other() -> None:
    everything = [name for groups in rule_files().values() for name in alerts_of(groups)]
    values = yaml.safe_load((CHART / "kind.yaml").read_text(encoding="utf-8"))
    plain = of_kind(case("kind"), "ConfigMap")["prometheus-rules"]["data"].values()
    left = [name for text in plain for name in alerts_of(yaml.safe_load(text)["groups"])]
    assert set(everything) - set(left) == set(values["rules"]["without"])


@pytest.mark.parametrize("name", ["kind", "everything"])
def test_promtool_takes_what_prometheus_is_given(name: str, tmp_path: Path) -> None:
    maps = of_kind(case(name), "ConfigMap")
    (tmp_path / "prometheus.yaml").write_text(maps["prometheus"]["data"]["prometheus.yaml"], encoding="utf-8")
    (tmp_path / "rules").mkdir()
    for file, text in maps["prometheus-rules"]["data"].items():
        (tmp_path / "rules" / file).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [tool("promtool"), "check", "config", "--lint=all", "--lint-fatal", tmp_path / "prometheus.yaml"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rule_files())} rule files found" in done.stdout
    # And the pod has them at the paths of the configuration.
    spec = of_kind(case(name), "StatefulSet")["prometheus"]["spec"]["template"]["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "config"]
    paths = [item["path"] for source in volume["projected"]["sources"] for item in source["configMap"].get("items", [])]
    assert sorted(paths) == sorted(f"rules/{file}" for file in rule_files())


def test_promtool_takes_the_plain_configuration_as_it_stands() -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "config", CHART / "prometheus.yaml"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rule_files())} rule files found" in done.stdout


# -- Targets ----------------------------------------------------------------------------------------------------------


@cache
def airflow() -> tuple[Manifest, ...]:
    if not AIRFLOW_CHART.is_file():
        absent("chart", f"the Airflow chart is not at {AIRFLOW_CHART}")
    done = subprocess.run(
        [tool("helm"), "template", "airflow", AIRFLOW_CHART, "--namespace", "taxiway",
         "--set", "useStandardNaming=true", "--set", "postgresql.enabled=false", "--set", "pgbouncer.enabled=true",
         "--set", "flower.enabled=true", "--set", "executor=CeleryExecutor",
         "--set", "data.metadataConnection.host=postgres"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tuple(each for each in yaml.safe_load_all(done.stdout) if each)


def services() -> dict[str, Manifest]:
    return of_kind(airflow(), "Service") | of_kind(case("everything"), "Service")


def test_scraped_names_are_services_with_these_ports() -> None:
    config = yaml.safe_load((CHART / "prometheus.yaml").read_text(encoding="utf-8"))
    for job in config["scrape_configs"]:
        ((target,),) = [each["targets"] for each in job["static_configs"]]
        host, port = target.split(":")
        if host != "localhost":
            assert job["job_name"] == host
            assert int(port) in {each["port"] for each in services()[host]["spec"]["ports"]}, target


def test_service_monitors_find_one_service_each_and_call_it_as_the_rules_do() -> None:
    monitors = of_kind(case("everything"), "ServiceMonitor")
    for name, monitor in monitors.items():
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [each for each in services().values() if wanted <= (each["metadata"].get("labels") or {}).items()]
        assert [each["metadata"]["name"] for each in found] == [name]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {each["name"] for each in found[0]["spec"]["ports"]}
        assert {"targetLabel": "job", "replacement": name} in endpoint["relabelings"]
    jobs = {each["job_name"] for each in yaml.safe_load((CHART / "prometheus.yaml").read_text())["scrape_configs"]}
    assert set(monitors) == jobs - {"prometheus", "alertmanager"}
    selected = set()
    for groups in rule_files().values():
        for rule in (rule for group in groups for rule in group["rules"]):
            for found_jobs in re.findall(r'job=~?"([^"]+)"', rule["expr"]):
                selected |= set(found_jobs.split("|"))
    assert selected
    assert selected <= jobs


def test_another_release_of_airflow_is_scraped_under_the_same_job() -> None:
    values = {"prometheus": {"enabled": True}, "airflow": {"release": "flow"}}
    text = of_kind(render(values), "ConfigMap")["prometheus"]["data"]["prometheus.yaml"]
    jobs = {each["job_name"]: each["static_configs"] for each in yaml.safe_load(text)["scrape_configs"]}
    assert jobs["airflow-statsd"] == [{"targets": ["flow-statsd:9102"]}]
    assert set(jobs) == {"airflow-statsd", "airflow-pgbouncer", "prometheus"}


def operator_schemas() -> Path:
    done = subprocess.run(
        [tool("go"), "mod", "download", "-json", OPERATOR],
        capture_output=True, text=True, check=False, cwd="/", timeout=280,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"the operator's CRDs are unavailable: {done.stderr.strip()[-200:]}")
    return Path(json.loads(done.stdout)["Dir"]) / "example/prometheus-operator-crd"


def test_the_operator_s_own_schemas_take_its_objects() -> None:
    import jsonschema

    folder = operator_schemas()
    seen = 0
    for kind in ("ServiceMonitor", "PrometheusRule"):
        crd = yaml.safe_load((folder / f"monitoring.coreos.com_{kind.lower()}s.yaml").read_text(encoding="utf-8"))
        (version,) = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
        schema = closed(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
        for name, each in of_kind(case("everything"), kind).items():
            seen += 1
            faults = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(each["spec"])]
            assert faults == [], name
    assert seen >= 10


def closed(schema: Any) -> Any:
    """Return a schema that refuses keys that it does not name, as an API server's strict validation does."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        copy.setdefault("additionalProperties", False)
    return copy


# -- Pods -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kind", "everything"])
def test_every_pod_passes_the_restricted_standard(name: str) -> None:
    for pod, _, spec in pods(case(name)):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod
        assert context["runAsUser"] > 0, pod
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod
        assert spec["automountServiceAccountToken"] is (pod == "kube-state-metrics"), pod
        assert spec["enableServiceLinks"] is False, pod
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), pod
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= {"emptyDir", "configMap", "projected"}, pod
            if "emptyDir" in volume:
                assert "sizeLimit" in volume["emptyDir"], pod
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, pod
            assert context["readOnlyRootFilesystem"] is True, pod
            assert context["capabilities"] == {"drop": ["ALL"]}, pod
            image, _, tag = container["image"].rpartition(":")
            assert image, pod
            assert tag not in ("", "latest"), pod
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), pod
            for part in ("requests", "limits"):
                assert set(container["resources"][part]) == {"cpu", "memory"}, pod
            mounted = {each["name"] for each in container.get("volumeMounts", [])}
            claims = {"data"} if pod == "prometheus" else set()
            assert mounted == {each["name"] for each in spec.get("volumes", [])} | claims, pod


@pytest.mark.parametrize("name", ["kind", "everything"])
def test_services_lead_to_a_port_of_a_pod(name: str) -> None:
    for service, each in of_kind(case(name), "Service").items():
        behind = [spec for _, labels, spec in pods(case(name)) if each["spec"]["selector"].items() <= labels.items()]
        assert len(behind) == 1, service
        (port,) = each["spec"]["ports"]
        (opened,) = [it for it in behind[0]["containers"][0]["ports"] if it["name"] == "http"]
        assert (port["targetPort"], port["port"]) == (opened["name"], opened["containerPort"]), service


def test_grafana_has_no_user_and_no_password() -> None:
    (spec,) = [spec for name, _, spec in pods(case("everything")) if name == "grafana"]
    variables = {each["name"]: each["value"] for each in spec["containers"][0]["env"]}
    assert variables["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert variables["GF_AUTH_BASIC_ENABLED"] == "false"
    assert variables["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert variables["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert not [name for name in variables if "PASSWORD" in name]


def test_kube_state_metrics_sees_its_namespace_alone_and_no_secrets() -> None:
    (role,) = of_kind(case("everything"), "Role").values()
    assert {word for rule in role["rules"] for word in rule["verbs"]} == {"list", "watch"}
    assert {word for rule in role["rules"] for word in rule["resources"]} == {"pods", "deployments", "statefulsets"}
    assert not of_kind(case("everything"), "ClusterRole")


# -- Network ----------------------------------------------------------------------------------------------------------


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def reaches(name: str, source: dict[str, str], target: dict[str, str], port: int) -> tuple[bool, bool]:
    out = let_in = False
    for policy in of_kind(case(name), "NetworkPolicy").values():
        spec = policy["spec"]
        for rule in spec.get("egress", []):
            if selects(spec["podSelector"], source) and {"protocol": "TCP", "port": port} in rule["ports"]:
                out |= any("podSelector" in peer and selects(peer["podSelector"], target) for peer in rule["to"])
        for rule in spec.get("ingress", []):
            if selects(spec["podSelector"], target) and {"protocol": "TCP", "port": port} in rule["ports"]:
                let_in |= any("podSelector" in peer and selects(peer["podSelector"], source) for peer in rule["from"])
    return out, let_in


def ours(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": "monitoring"}


def theirs(component: str) -> dict[str, str]:
    return {"tier": "airflow", "release": "airflow", "component": component}


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (ours("prometheus"), theirs("statsd"), 9102),
        (ours("prometheus"), theirs("pgbouncer"), 9127),
        (ours("prometheus"), theirs("flower"), 5555),
        (ours("prometheus"), ours("redis-exporter"), 9121),
        (ours("prometheus"), ours("kube-state-metrics"), 8080),
        (ours("prometheus"), ours("alertmanager"), 9093),
        (ours("grafana"), ours("prometheus"), 9090),
        (ours("redis-exporter"), theirs("redis"), 6379),
        (theirs("scheduler"), ours("collector"), 4318),
        (theirs("worker"), ours("collector"), 4318),
    ],
)
def test_what_is_needed_is_allowed_at_both_ends(source: dict[str, str], target: dict[str, str], port: int) -> None:
    assert reaches("everything", source, target, port) == (True, True)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (ours("prometheus"), theirs("pgbouncer"), 6543),
        (ours("prometheus"), theirs("redis"), 6379),
        (ours("alertmanager"), ours("prometheus"), 9090),
        (theirs("worker"), ours("prometheus"), 9090),
        (ours("grafana"), theirs("statsd"), 9102),
        (ours("prometheus"), ours("collector"), 4318),
    ],
)
def test_what_is_not_needed_is_not_allowed(source: dict[str, str], target: dict[str, str], port: int) -> None:
    assert reaches("everything", source, target, port) == (False, False)


def test_a_prometheus_outside_may_scrape_on_eks() -> None:
    policies = of_kind(case("eks"), "NetworkPolicy")
    assert policies.keys() == {"scrape-statsd", "scrape-pgbouncer"}
    for policy in policies.values():
        (rule,) = policy["spec"]["ingress"]
        assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_policies_of_both_charts_have_names_of_their_own() -> None:
    done = subprocess.run(
        [tool("helm"), "template", "platform", ROOT / "helm/platform", "--values", ROOT / "helm/platform/kind.yaml",
         "--set-string", "images.gitServer.tag=1", "--set-string", "images.localAws.tag=1",
         "--set", "networkPolicies.metricsFrom[0].podSelector.matchLabels.a=b"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    names = {(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(done.stdout) if each}
    assert not names & {(each["kind"], each["metadata"]["name"]) for each in case("everything")}


# -- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prometheus": {"enable": True}}, "enable"),
        ({"prometheus": {"retention": "45 days"}}, "retention"),
        ({"alertmanager": {"notify": "email"}}, "notify"),
        ({"images": {"prometheus": {"repository": "prom/prometheus", "tag": "latest"}}}, "tag"),
        ({"runbooks": "docs"}, "runbooks"),
        ({"redisExporter": {"address": "airflow-redis:6379"}}, "address"),
        ({"networkPolicies": {"notify": {"cidrs": ["everywhere"]}}}, "cidrs"),
        ({"rules": {"without": ["SchedulerHeartbeatMising"]}}, "is not an alert here"),
        ({"alertmanager": {"enabled": True, "notify": "webhook"}}, "set alertmanager.webhook"),
        ({"grafana": {"enabled": True}}, "needs prometheus.enabled"),
        ({"collector": {"enabled": True, "endpoint": "http://tempo:4318"}}, "networkPolicies.tracesTo"),
    ],
)
def test_wrong_values_are_refused_with_a_sentence(values: Manifest, message: str) -> None:
    done = run_helm(values)
    assert done.returncode != 0
    assert message in done.stderr


def test_lint_has_nothing_to_say() -> None:
    done = subprocess.run([tool("helm"), "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# kube-score's tests that are not for this chart, and why.
NOT_FOR_US = {
    "container-image-pull-policy": "tags are never moved, and images are loaded where there is no registry",
    "container-ephemeral-storage-request-and-limit": "all that is written is a volume, each with a limit",
    "container-security-context-user-group-id": "472 is the user that Grafana's image is made for",
    "deployment-replicas": "one each: what is lost in a restart is a minute",
    "deployment-strategy": "Recreate: two Alertmanagers that do not know each other would send everything twice",
    "networkpolicy-targets-pod": "Airflow's pods are of another chart",
    "pod-networkpolicy": "a page that nobody is let in to (pagesFrom) has no policy for it",
    "pod-probes-identical": "the liveness probes are the same request with far longer limits",
    "statefulset-has-servicename": "one replica, found by a stable address that outlives the pod",
}


@pytest.mark.parametrize("name", ["kind", "everything"])
def test_kube_score_has_nothing_to_say(name: str) -> None:
    ignored = [word for each in NOT_FOR_US for word in ("--ignore-test", each)]
    known = [each for each in case(name) if each["kind"] not in ("ServiceMonitor", "PrometheusRule")]
    done = subprocess.run(
        [tool("kube-score"), "score", "--kubernetes-version", "v1.34", "--output-format", "ci", *ignored, "-"],
        input=yaml.safe_dump_all(known), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    findings = [line for line in done.stdout.splitlines() if not line.startswith(("[OK]", "[SKIPPED]"))]
    assert findings == [], done.stderr
