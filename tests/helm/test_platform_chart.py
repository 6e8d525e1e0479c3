"""Our own chart, rendered by helm: what it makes, that all of it is locked down, and what it refuses."""

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.helm.rendering import nested, render
from tests.tools import tool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/platform"
TAG = "0123456789ab"
OURS = ("gitServer", "localAws", "services")

EVERYTHING: dict[str, Any] = {
    "images": {"pullSecrets": ["registry"], "spark": {"repository": "registry.example.com/taxiway/spark"}},
    "localAws": {"engine": "spark", "maxSteps": 2, "stepMemory": "2500m"},
    "metadataMysql": {"enabled": True},
    "kafka": {"enabled": True},
    "etaScorer": {
        "enabled": True,
        "bootstrap": "kafka:9092",
        "lake": "s3://taxiway-lake",
        "createTopics": True,
        "kafkaConfigSecret": "kafka-client",
        "serviceAccountAnnotations": {
            "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/taxiway-eta-scorer"
        },
        "env": {"AWS_DEFAULT_REGION": "us-east-1"},
        "keda": {"enabled": True, "authentication": "kafka"},
    },
    "quota": {"enabled": True},
    "limitRange": {"enabled": True},
    "externalSecrets": {"enabled": True},
    "networkPolicies": {
        "dns": {"cidrs": ["169.254.20.10/32"], "ports": [53, 5353]},
        "https": {"ports": [443, 8443]},
        "http": True,
        "httpPorts": [80, 9000],
        "gitSsh": True,
        "gitSshPorts": [22, 7999],
        "outside": [{"name": "smtp", "from": ["worker", "task"], "cidrs": ["0.0.0.0/0"], "ports": [587]}],
        "kedaNamespace": "keda",
        "webFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    },
    "teams": [
        {"name": "analysts", "subjects": [{"kind": "Group", "name": "analysts"}]},
        {"name": "engineers", "push": True, "subjects": [{"kind": "ServiceAccount", "name": "ci"}]},
    ],
}
CASES = ("defaults", "eks", "kind", "everything")
Manifest = dict[str, Any]


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("helm"), *arguments], capture_output=True, text=True, check=False, timeout=60)


def template(chart: Path, release: str, *arguments: str) -> tuple[Manifest, ...]:
    done = run_helm("template", release, str(chart), "--namespace", "taxiway", *arguments)
    assert done.returncode == 0, done.stderr
    return tuple(each for each in yaml.safe_load_all(done.stdout) if each)


@cache
def platform(case: str) -> tuple[Manifest, ...]:
    tags = [word for image in OURS for word in ("--set-string", f"images.{image}.tag={TAG}")]
    kind = ["--values", str(CHART / "kind.yaml"), *tags]
    if case == "defaults":
        return template(CHART, "platform")
    if case == "eks":
        return template(CHART, "platform", "--values", str(CHART / "eks.yaml"))
    if case == "kind":
        return template(CHART, "platform", *kind)
    given = json.dumps(EVERYTHING)
    done = subprocess.run(
        [tool("helm"), "template", "platform", CHART, "--namespace", "taxiway", *kind, "--values", "-"],
        input=given, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tuple(each for each in yaml.safe_load_all(done.stdout) if each)


class Pod(NamedTuple):
    name: str
    labels: dict[str, str]
    spec: dict[str, Any]


def pods(manifests: tuple[Manifest, ...]) -> Iterator[Pod]:
    for each in manifests:
        spec = each.get("spec", {})
        if each["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec and "spec" in spec["template"]:
            labels = spec["template"]["metadata"]["labels"]
            yield Pod(f"{each['kind']} {each['metadata']['name']}", labels, spec["template"]["spec"])


def of_kind(manifests: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def container_ports(spec: dict[str, Any]) -> set[tuple[int, str]]:
    ports = (port for each in spec["containers"] for port in each.get("ports") or [])
    return {(port["containerPort"], port.get("protocol", "TCP")) for port in ports}


def test_by_default_there_is_nothing_but_network_policies() -> None:
    assert {each["kind"] for each in platform("defaults")} == {"NetworkPolicy"}
    assert {each["kind"] for each in platform("eks")} == {"NetworkPolicy"}


def test_kind_has_the_five_services_and_nothing_else() -> None:
    services = {"postgres": 5432, "mysql": 3306, "ride-service": 3306, "git-server": 9418, "local-aws": 4566}
    found = {name: each["spec"]["ports"][0]["port"] for name, each in of_kind(platform("kind"), "Service").items()}
    assert found == services
    assert set(of_kind(platform("kind"), "StatefulSet")) == set(services)
    assert {each["kind"] for each in platform("kind")} == {"NetworkPolicy", "Service", "StatefulSet"}


@pytest.mark.parametrize("file", sorted((CHART / "features").glob("*/*.yaml")), ids=lambda file: file.stem)
def test_what_features_need_is_rendered(file: Path) -> None:
    environment, feature = file.parent.name, file.stem
    assert (ROOT / f"helm/airflow/features/{feature}.yaml").is_file()
    tags = [word for image in OURS for word in ("--set-string", f"images.{image}.tag={TAG}")]
    files = [CHART / f"{environment}.yaml", *CHART.glob(f"features/{feature}.yaml"), file]
    made = template(CHART, "platform", *(word for each in files for word in ("--values", str(each))), *tags)
    others = {"mysql", "ride-service", "git-server", "local-aws"}
    if feature == "eta":
        assert set(of_kind(made, "StatefulSet")) == {"postgres", "kafka", *others}
        assert set(of_kind(made, "Deployment")) == {"eta-scorer"}
        (aws,) = [pod.spec["containers"][0] for pod in pods(made) if pod.name.endswith("local-aws")]
        assert "--max-steps=2" in aws["args"], "the stream would leave no room for training"
    if feature == "mysql-metadata":
        assert set(of_kind(made, "StatefulSet")) == {"metadata-mysql", *others}


def test_everything_can_be_turned_on() -> None:
    kinds = {each["kind"] for each in platform("everything")}
    assert kinds >= {"ResourceQuota", "LimitRange", "ExternalSecret", "Role", "RoleBinding"}


@pytest.mark.parametrize("case", CASES)
def test_no_two_objects_have_the_same_name(case: str) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in platform(case)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("case", ["kind", "everything"])
def test_every_pod_passes_the_restricted_standard(case: str) -> None:
    found = list(pods(platform(case)))
    assert len(found) == (8 if case == "everything" else 5)
    for name, _, spec in found:
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        for volume in spec["volumes"]:
            if "secret" in volume:  # Kafka's credentials, for the group of the process alone
                assert volume["secret"]["defaultMode"] == 0o440, name
                continue
            assert set(volume) == {"name", "emptyDir"}, name
            assert "sizeLimit" in volume["emptyDir"], f"{name}: {volume['name']} may fill the node's disk"
        for container in spec["containers"] + spec.get("initContainers", []):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert "privileged" not in context, name


@pytest.mark.parametrize("case", ["kind", "everything"])
def test_every_container_has_a_pinned_image_limits_and_probes(case: str) -> None:
    for name, _, spec in pods(platform(case)):
        for container in spec["containers"] + spec.get("initContainers", []):
            image, _, tag = container["image"].rpartition(":")
            assert image, name
            assert tag not in ("", "latest"), name
            assert container["imagePullPolicy"] == "IfNotPresent", name
            for part in ("requests", "limits"):
                assert set(container["resources"][part]) == {"cpu", "memory"}, name
        for container in spec["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name


@pytest.mark.parametrize("case", ["kind", "everything"])
def test_what_is_written_to_is_a_volume(case: str) -> None:
    written = {
        "postgres": "/var/lib/postgresql/data",
        "mysql": "/var/lib/mysql",
        "metadata-mysql": "/var/lib/mysql",
        "ride-service": "/var/lib/mysql",
        "git-server": "/srv/git",
        "local-aws": "/data",
        "kafka": "/var/lib/kafka/data",
    }
    for name, each in of_kind(platform(case), "StatefulSet").items():
        claims = each["spec"]["volumeClaimTemplates"]
        assert [claim["metadata"]["name"] for claim in claims] == ["data"]
        assert "storageClassName" not in claims[0]["spec"], "the default StorageClass"
        mounts = {
            mount["mountPath"]: mount for mount in each["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        }
        assert mounts[written[name]]["name"] == "data"
        assert mounts["/tmp"]["name"] == "tmp"


@pytest.mark.parametrize("case", CASES)
def test_no_secret_stands_in_a_manifest(case: str) -> None:
    assert not of_kind(platform(case), "Secret")
    for name, _, spec in pods(platform(case)):
        for container in spec["containers"] + spec.get("initContainers", []):
            for variable in container.get("env", []):
                if re.search("PASSWORD|SECRET|TOKEN|KEY", variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], f"{name}: {variable['name']}"


def test_databases_take_their_passwords_from_the_secrets_that_make_secrets_makes() -> None:
    wanted: set[tuple[str, str]] = set()
    for _, _, spec in pods(platform("kind")):
        for variable in spec["containers"][0].get("env", []):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                wanted.add((reference["name"], reference["key"]))
    mysql = {(name, key) for name in ("mysql", "ride-service") for key in ("password", "root-password")}
    assert wanted == {("postgres", "password"), *mysql}


@pytest.mark.parametrize("case", ["kind", "everything"])
def test_services_lead_to_a_port_of_a_pod(case: str) -> None:
    for name, service in of_kind(platform(case), "Service").items():
        selector = service["spec"]["selector"].items()
        behind = [pod for pod in pods(platform(case)) if selector <= pod.labels.items()]
        assert len(behind) == 1, name
        named = {port["name"] for port in behind[0].spec["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named, name


def test_local_aws_listens_beyond_loopback_and_keeps_what_it_is_given() -> None:
    (pod,) = [pod for pod in pods(platform("kind")) if pod.name.endswith("local-aws")]
    container = pod.spec["containers"][0]
    assert container["image"] == f"taxiway/local-aws:{TAG}"
    assert {"--host=0.0.0.0", "--listen-beyond-loopback", "--data=/data", "--engine=sail"} <= set(container["args"])


def test_local_aws_on_spark_takes_spark_s_image_and_a_copy_of_its_jars() -> None:
    (pod,) = [pod for pod in pods(platform("everything")) if pod.name.endswith("local-aws")]
    container, copy = pod.spec["containers"][0], pod.spec["initContainers"][0]
    assert container["image"] == copy["image"] == f"registry.example.com/taxiway/spark:{TAG}"
    assert {"--engine=spark", "--spark-python=/opt/spark/bin/python", "--max-steps=2"} <= set(container["args"])
    (jars,) = [mount for mount in container["volumeMounts"] if mount["name"] == "jars"]
    assert f"{jars['mountPath']}/spark-jars" == copy["command"][2], "Java knows its classes by the jars' paths"


# -- Kafka and the low-latency scorer ---------------------------------------------------------------------------------


def scorer(case: str) -> dict[str, Any]:
    (pod,) = [pod for pod in pods(platform(case)) if pod.name == "Deployment eta-scorer"]
    return pod.spec


def test_kafka_is_prepared_once_and_serves_the_namespace_alone() -> None:
    (pod,) = [pod for pod in pods(platform("everything")) if pod.name.endswith("kafka")]
    container = pod.spec["containers"][0]
    assert container["image"] == "apache/kafka:4.2.1"
    assert "--ignore-formatted" in container["command"][2], "a restart keeps what is stored"
    given = dict(line.split("=", 1) for line in environment(container)["SERVER_PROPERTIES"].splitlines())
    assert given["advertised.listeners"] == "PLAINTEXT://kafka:9092"
    assert given["listeners"].endswith("CONTROLLER://127.0.0.1:9093"), "nobody else may vote"
    assert given["auto.create.topics.enable"] == "false"
    assert given["log.dirs"] in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert int(given["log.segment.bytes"]) * 4 == int(given["log.retention.bytes"])


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def test_the_broker_of_kind_is_configured_as_that_of_the_laptop() -> None:
    """But for addresses, folders and what a container's memory decides."""
    (pod,) = [pod for pod in pods(platform("everything")) if pod.name.endswith("kafka")]
    given = dict(
        line.split("=", 1) for line in environment(pod.spec["containers"][0])["SERVER_PROPERTIES"].splitlines()
    )
    text = (ROOT / "local_kafka/broker.py").read_text(encoding="utf-8")
    laptop = dict(re.findall(r"^([a-z.]+)=(.+)$", text.split('_PROPERTIES = """')[1].split('"""')[0], re.MULTILINE))
    where = {"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}
    bounds = {"log.retention.bytes", "log.segment.bytes", "log.cleaner.dedupe.buffer.size"}
    threads = {"num.network.threads", "num.io.threads"}
    assert given.keys() | bounds | threads == laptop.keys() | bounds | threads
    for key in given.keys() - where - bounds - threads:
        assert given[key] == laptop[key], key


def test_the_scorer_takes_its_model_and_its_kafka_from_the_values() -> None:
    container = scorer("everything")["containers"][0]
    assert container["image"] == f"taxiway/services:{TAG}"
    assert "command" not in container, "tini ends it in order"
    assert container["args"][:3] == ["python", "-m", "services.eta.scorer"]
    assert {"--bootstrap=kafka:9092", "--lake=s3://taxiway-lake", "--group=eta-scorer", "--wait-for-model"} <= set(
        container["args"]
    )
    assert "--kafka-config=/etc/kafka/client.properties" in container["args"]
    assert {"name": "kafka", "mountPath": "/etc/kafka", "readOnly": True} in container["volumeMounts"]
    (topics,) = scorer("everything")["initContainers"]
    assert topics["args"][1:] == ["-m", "local_kafka", "topics", "eta", "--bootstrap=kafka:9092"]
    account = of_kind(platform("everything"), "ServiceAccount")["eta-scorer"]
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith("role/taxiway-eta-scorer")


def test_the_scorer_is_scaled_by_its_group_s_lag_or_a_fixed_number() -> None:
    """With both, each would undo what the other does."""
    scaled = of_kind(platform("everything"), "Deployment")["eta-scorer"]
    assert "replicas" not in scaled["spec"]
    scaling = of_kind(platform("everything"), "ScaledObject")["eta-scorer"]["spec"]
    assert scaling["scaleTargetRef"] == {"name": "eta-scorer"}
    (trigger,) = scaling["triggers"]
    assert trigger["type"] == "kafka"
    assert trigger["metadata"]["consumerGroup"] == "eta-scorer"
    assert trigger["metadata"]["topic"] == "ride_requests"
    assert trigger["authenticationRef"] == {"name": "kafka"}
    fixed = template(CHART, "platform", *SCORER)
    assert of_kind(fixed, "Deployment")["eta-scorer"]["spec"]["replicas"] == 1
    assert not of_kind(fixed, "ScaledObject")


def test_the_feature_keda_scales_the_scorer_too() -> None:
    made = template(CHART, "platform", *SCORER, "--values", str(CHART / "features/keda.yaml"))
    assert "eta-scorer" in of_kind(made, "ScaledObject")
    assert not of_kind(template(CHART, "platform", "--values", str(CHART / "features/keda.yaml")), "ScaledObject")


SCORER = (
    *("--set-string", f"images.services.tag={TAG}", "--set", "etaScorer.enabled=true"),
    *("--set", "etaScorer.bootstrap=b-1.msk:9098", "--set", "etaScorer.lake=s3://taxiway-lake"),
)


@pytest.mark.parametrize(("missing", "sentence"), [
    ("bootstrap", "name Kafka's bootstrap servers"), ("lake", "name the lake with the models"),
])  # fmt: skip
def test_a_scorer_without_an_address_is_refused_in_one_sentence(missing: str, sentence: str) -> None:
    done = run_helm("template", "platform", str(CHART), *SCORER, "--set", f"etaScorer.{missing}=")
    assert done.returncode != 0
    assert sentence in done.stderr


def test_who_talks_to_kafka() -> None:
    for name in ("local-aws", "eta-scorer"):
        assert reaches("everything", our_pod(name), our_pod("kafka"), 9092)
        assert reaches("everything", our_pod(name), airflow_pod("statsd"), 9125, "UDP")
    assert reaches("everything", our_pod("eta-scorer"), our_pod("local-aws"), 4566)
    assert reaches("everything", our_pod("kafka"), our_pod("kafka"), 9092), "its own address is the service's"
    for stranger in (airflow_pod("worker"), airflow_pod("flower"), our_pod("git-server"), {"app": "somebody-else"}):
        assert not reaches("everything", stranger, our_pod("kafka"), 9092)
    assert not reaches("everything", our_pod("kafka"), our_pod("local-aws"), 4566)
    assert not reaches("kind", our_pod("local-aws"), airflow_pod("statsd"), 9125, "UDP"), "without a stream it need not"


def test_the_scorer_reaches_msk_and_s3_and_nothing_else() -> None:
    made = of_kind(template(CHART, "platform", *SCORER), "NetworkPolicy")
    for cidr, port, allowed in (("10.0.0.0/8", 9098, True), ("0.0.0.0/0", 443, True), ("10.0.0.0/8", 3306, False)):
        assert permits(made, "Egress", our_pod("eta-scorer"), cidr, port, "TCP") is allowed
    assert made["https-scorer-clients"]["spec"]["egress"][0]["to"][0]["ipBlock"]["except"] == ["169.254.169.254/32"]


def test_keda_reaches_the_broker_of_kind() -> None:
    policy = of_kind(platform("everything"), "NetworkPolicy")["keda-kafka"]["spec"]
    assert selects(policy["podSelector"], our_pod("kafka"))
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 9092}]


# -- Network policies -------------------------------------------------------------------------------------------------

OUTSIDE = {22, 53, 80, 443, 587, 3306, 5432, 6379, 6380, 6443, 7999, 8443, 9000, 9094, 9096, 9098}


def airflow_pod(component: str) -> dict[str, str]:
    return {"tier": "airflow", "release": "airflow", "component": component}


def our_pod(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": "platform"}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def permits(
    policies: dict[str, Manifest], direction: str, here: dict[str, str], there: Any, port: int, protocol: str
) -> bool:
    """Whether policies let a pod with the labels `here` talk in a direction; `there` is labels or an address block."""
    key, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    for policy in policies.values():
        spec = policy["spec"]
        if direction not in spec["policyTypes"] or not selects(spec["podSelector"], here):
            continue
        for rule in spec.get(key, []):
            if {"port": port, "protocol": protocol} not in rule["ports"]:
                continue
            for peer in rule[peers]:
                if isinstance(there, str):
                    if peer.get("ipBlock", {}).get("cidr") == there:
                        return True
                elif set(peer) == {"podSelector"} and selects(peer["podSelector"], there):
                    return True
    return False


def reaches(case: str, source: dict[str, str], target: dict[str, str], port: int, protocol: str = "TCP") -> bool:
    policies = of_kind(platform(case), "NetworkPolicy")
    out = permits(policies, "Egress", source, target, port, protocol)
    let_in = permits(policies, "Ingress", target, source, port, protocol)
    assert out == let_in, f"{source} → {target} {port}: allowed at one end only"
    return out


@pytest.mark.parametrize("case", CASES)
def test_all_that_is_not_allowed_is_denied(case: str) -> None:
    deny = of_kind(platform(case), "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        *((airflow_pod(each), airflow_pod("pgbouncer"), 6543) for each in (
            "scheduler", "api-server", "dag-processor", "triggerer", "worker", "run-airflow-migrations",
            "database-cleanup", "create-user-job", "airflow-cleanup-pods")),
        *((airflow_pod(each), airflow_pod("redis"), 6379) for each in ("scheduler", "worker", "flower")),
        *((airflow_pod(each), airflow_pod("api-server"), 8080) for each in ("worker", "task")),
        (airflow_pod("api-server"), airflow_pod("worker"), 8793),
        (airflow_pod("api-server"), airflow_pod("triggerer"), 8794),
        (airflow_pod("pgbouncer"), our_pod("postgres"), 5432),
        *((airflow_pod(each), our_pod("mysql"), 3306) for each in ("worker", "task", "dag-processor")),
        *((airflow_pod(each), our_pod("ride-service"), 3306) for each in ("worker", "task")),
        *((airflow_pod(each), our_pod("git-server"), 9418)
          for each in ("worker", "task", "triggerer", "dag-processor")),
        *((airflow_pod(each), our_pod("local-aws"), 4566) for each in ("worker", "task", "triggerer", "api-server")),
    ],
)  # fmt: skip
def test_what_the_platform_needs_is_allowed(source: dict[str, str], target: dict[str, str], port: int) -> None:
    assert reaches("kind", source, target, port)


@pytest.mark.parametrize(
    "component", ["scheduler", "api-server", "worker", "run-airflow-migrations", "database-cleanup"]
)
def test_airflow_reaches_its_tables_in_mysql_and_tasks_do_not(component: str) -> None:
    assert reaches("everything", airflow_pod(component), our_pod("metadata-mysql"), 3306)
    assert not reaches("everything", airflow_pod("task"), our_pod("metadata-mysql"), 3306)


@pytest.mark.parametrize("component", ["scheduler", "api-server", "dag-processor", "triggerer", "worker", "task"])
def test_metrics_reach_statsd(component: str) -> None:
    assert reaches("kind", airflow_pod(component), airflow_pod("statsd"), 9125, "UDP")


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (airflow_pod("worker"), our_pod("postgres"), 5432),
        (airflow_pod("task"), airflow_pod("pgbouncer"), 6543),
        (airflow_pod("task"), airflow_pod("redis"), 6379),
        (airflow_pod("flower"), our_pod("mysql"), 3306),
        (airflow_pod("scheduler"), our_pod("mysql"), 3306),
        (airflow_pod("dag-processor"), our_pod("ride-service"), 3306),
        (airflow_pod("flower"), our_pod("local-aws"), 4566),
        (airflow_pod("redis"), our_pod("postgres"), 5432),
        (airflow_pod("redis"), our_pod("local-aws"), 4566),
        (our_pod("local-aws"), airflow_pod("pgbouncer"), 6543),
        (our_pod("git-server"), our_pod("local-aws"), 4566),
        ({"app": "somebody-else"}, our_pod("local-aws"), 4566),
        ({"app": "somebody-else"}, airflow_pod("redis"), 6379),
        (airflow_pod("worker") | {"release": "another"}, airflow_pod("redis"), 6379),
    ],
)
def test_what_nobody_needs_is_not_allowed(source: dict[str, str], target: dict[str, str], port: int) -> None:
    assert not reaches("kind", source, target, port)


@pytest.mark.parametrize(
    ("case", "component", "cidr", "port", "allowed"),
    [
        ("defaults", "worker", "0.0.0.0/0", 443, True),
        ("defaults", "api-server", "0.0.0.0/0", 443, True),
        ("defaults", "redis", "0.0.0.0/0", 443, False),
        ("defaults", "flower", "0.0.0.0/0", 443, False),
        ("defaults", "worker", "0.0.0.0/0", 80, False),
        ("everything", "worker", "0.0.0.0/0", 80, True),
        ("defaults", "dag-processor", "0.0.0.0/0", 22, False),
        ("everything", "dag-processor", "0.0.0.0/0", 22, True),
        ("defaults", "dag-processor", "0.0.0.0/0", 7999, False),
        ("everything", "dag-processor", "0.0.0.0/0", 7999, True),
        ("everything", "flower", "0.0.0.0/0", 7999, False),
        ("everything", "triggerer", "0.0.0.0/0", 8443, True),
        ("everything", "task", "0.0.0.0/0", 9000, True),
        ("defaults", "worker", "0.0.0.0/0", 587, False),
        ("everything", "worker", "0.0.0.0/0", 587, True),
        ("everything", "scheduler", "0.0.0.0/0", 587, False),
        ("eks", "scheduler", "10.0.0.0/8", 443, True),
        ("eks", "scheduler", "10.0.0.0/8", 6443, False),
        ("eks", "pgbouncer", "10.0.0.0/8", 5432, True),
        ("eks", "worker", "10.0.0.0/8", 3306, True),
        ("eks", "worker", "10.0.0.0/8", 6379, True),
        ("eks", "task", "10.0.0.0/8", 3306, True),
        ("eks", "task", "10.0.0.0/8", 6379, False),
        ("defaults", "task", "0.0.0.0/0", 443, True),
        ("kind", "scheduler", "0.0.0.0/0", 6443, True),
        ("kind", "flower", "0.0.0.0/0", 6443, False),
        ("kind", "worker", "10.0.0.0/8", 3306, False),
    ],
)
def test_the_world_outside(case: str, component: str, cidr: str, port: int, allowed: bool) -> None:
    policies = of_kind(platform(case), "NetworkPolicy")
    assert permits(policies, "Egress", airflow_pod(component), cidr, port, "TCP") is allowed


@pytest.mark.parametrize("case", CASES)
def test_nobody_reaches_the_node_s_own_credentials(case: str) -> None:
    for name, policy in of_kind(platform(case), "NetworkPolicy").items():
        for rule in policy["spec"].get("egress", []):
            for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
                if block["cidr"] == "0.0.0.0/0" and name != "kubernetes-api-clients":
                    assert block["except"] == ["169.254.169.254/32"], name


@pytest.mark.parametrize("case", CASES)
def test_every_pod_may_ask_for_names(case: str) -> None:
    dns = of_kind(platform(case), "NetworkPolicy")["dns"]["spec"]
    assert dns["podSelector"] == {}
    ports = [53, 5353] if case == "everything" else [53]
    assert {(each["protocol"], each["port"]) for each in dns["egress"][0]["ports"]} == set(
        product(("UDP", "TCP"), ports)
    )


def test_keda_reaches_the_database_that_it_queries() -> None:
    """PgBouncer before PostgreSQL; MySQL itself where that holds Airflow's tables."""
    mysql = of_kind(platform("everything"), "NetworkPolicy")["keda"]["spec"]
    assert selects(mysql["podSelector"], our_pod("metadata-mysql"))
    assert mysql["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 3306}]
    given = ("--set", "networkPolicies.kedaNamespace=keda")
    bouncer = of_kind(template(CHART, "platform", *given), "NetworkPolicy")["keda"]["spec"]
    assert selects(bouncer["podSelector"], airflow_pod("pgbouncer"))
    assert bouncer["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 6543}]


@pytest.mark.parametrize("case", CASES)
def test_every_port_and_pod_that_a_policy_names_exists(case: str) -> None:
    # Pods of both charts, which have the same attributes.
    there: list[Any] = [*pods(platform(case)), *render("kind", (), nested("createUserJob.enabled", True)).pods]

    def check(name: str, selector: dict[str, Any], ports: list[dict[str, Any]]) -> None:
        chosen = [pod for pod in there if selects(selector, pod.labels)]
        assert chosen, f"{name} is for pods that do not exist: {selector}"
        open_ports = set().union(*(container_ports(pod.spec) for pod in chosen))
        for port in ports:
            assert (port["port"], port["protocol"]) in open_ports, f"{name}: nobody listens on {port}"

    def check_components(name: str, selector: dict[str, Any]) -> None:
        for expression in selector.get("matchExpressions", []):
            assert set(expression["values"]) <= {pod.labels.get(expression["key"]) for pod in there}, name
        assert any(selects(selector, pod.labels) for pod in there), name

    for name, policy in of_kind(platform(case), "NetworkPolicy").items():
        spec = policy["spec"]
        if name in ("default-deny", "dns"):
            continue
        check_components(name, spec["podSelector"])
        for rule in spec.get("ingress", []):
            check(name, spec["podSelector"], rule["ports"])
            for peer in rule["from"]:
                if "namespaceSelector" not in peer:
                    check_components(name, peer["podSelector"])
        for rule in spec.get("egress", []):
            for peer in rule["to"]:
                if "podSelector" in peer:
                    check(name, peer["podSelector"], rule["ports"])
                else:
                    assert {port["port"] for port in rule["ports"]} <= OUTSIDE, name


# -- The optional rest ------------------------------------------------------------------------------------------------


def test_external_secrets_are_extracted_under_the_prefix() -> None:
    found = of_kind(platform("everything"), "ExternalSecret")
    assert {"airflow-metadata", "airflow-fernet-key", "airflow-connections"} <= set(found)
    for name, each in found.items():
        assert each["apiVersion"] == "external-secrets.io/v1"
        assert each["spec"]["target"]["name"] == name
        assert each["spec"]["dataFrom"] == [{"extract": {"key": f"taxiway/{name}"}}]
        assert each["spec"]["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "aws-secrets-manager"}


def test_teams_look_and_do_not_touch() -> None:
    roles = of_kind(platform("everything"), "Role")
    for name, role in roles.items():
        for rule in role["rules"]:
            assert "secrets" not in rule["resources"], name
            assert "*" not in rule["resources"] + rule["verbs"], name
            if "pods/exec" in rule["resources"]:
                assert rule["resourceNames"] == ["git-server-0"], name
            else:
                assert set(rule["verbs"]) <= {"get", "list", "watch"}, name
    assert not any("pods/exec" in rule["resources"] for rule in roles["team-analysts"]["rules"])
    assert any("pods/exec" in rule["resources"] for rule in roles["team-engineers"]["rules"])
    bindings = of_kind(platform("everything"), "RoleBinding")
    assert bindings["team-engineers"]["subjects"] == [{"kind": "ServiceAccount", "name": "ci", "namespace": "taxiway"}]
    assert bindings["team-analysts"]["roleRef"]["name"] == "team-analysts"


# -- What is refused --------------------------------------------------------------------------------------------------

KIND = ("--values", str(CHART / "kind.yaml"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("postgress.enabled=true", "postgress"),
        ("postgres.enable=true", "enable"),
        ("postgres.enabled=yes-please", "enabled"),
        ("postgres.password=secret", "password"),
        ("postgres.database=air flow", "database"),
        ("mysql.storage=lots", "storage"),
        ("mysql.resources.limits.memory=1GB", "memory"),
        ("images.localAws.tag=latest", "tag"),
        ("images.pullPolicy=Always", "pullPolicy"),
        ("localAws.engine=duckdb", "engine"),
        ("localAws.maxSteps=0", "maxSteps"),
        ("localAws.stepMemory=5Gi", "stepMemory"),
        ("networkPolicies.https.cidrs={everywhere}", "cidrs"),
        ("networkPolicies.kubernetesApi.ports={70000}", "ports"),
        ("networkPolicies.gitSshPorts=7999", "gitSshPorts"),
        ("networkPolicies.https.ports={}", "ports"),
        ("networkPolicies.outside[0].from={workers}", "from"),
        ("networkPolicies.webFrom[0].ipBlocks.cidr=10.0.0.0/8", "webFrom"),
        ("externalSecrets.store.kind=Vault", "kind"),
        ("kafka.retentionBytes=1GB", "retentionBytes"),
        ("etaScorer.bootstrap=kafka", "bootstrap"),
        ("etaScorer.replicas=two", "replicas"),
        ("teams[0].name=Data Team", "name"),
        ("teams[0].name=analysts", "subjects"),
    ],
)
def test_wrong_values_are_refused_by_the_schema(setting: str, message: str) -> None:
    done = run_helm("template", "platform", str(CHART), *KIND, "--set", setting)
    assert done.returncode != 0
    assert "don't meet the specifications of the schema" in done.stderr
    assert message in done.stderr


def test_an_image_of_ours_without_a_tag_is_refused_in_one_sentence() -> None:
    done = run_helm("template", "platform", str(CHART), *KIND)
    assert done.returncode != 0
    assert "tag is empty: name the tag that was built" in done.stderr


def test_steps_that_do_not_fit_the_pod_are_refused_in_one_sentence() -> None:
    tags = [word for image in OURS for word in ("--set-string", f"images.{image}.tag={TAG}")]
    done = run_helm("template", "platform", str(CHART), *KIND, *tags, "--set", "localAws.stepMemory=8g")
    assert done.returncode != 0
    assert "need 9216 MiB, and localAws.resources.limits.memory is 6Gi" in done.stderr


def test_lint_has_nothing_to_say() -> None:
    done = run_helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


# kube-score's tests that are not for this chart, and why.
NOT_FOR_US = {
    "networkpolicy-targets-pod": "Airflow's pods are of another chart; test_every_port_and_pod… looks at both",
    "container-image-pull-policy": "tags are never moved, and images are loaded where there is no registry",
    "container-ephemeral-storage-request-and-limit": "all that is written is a volume, each with a limit",
    "container-security-context-user-group-id": "999 is the user that the official database images are made for",
    "pod-probes-identical": "the liveness probes are the same request with far longer limits",
    "statefulset-has-servicename": "one replica each, found by a stable address that outlives the pod",
}


@pytest.mark.parametrize("case", ["defaults", "kind", "everything"])
def test_kube_score_has_nothing_to_say(case: str) -> None:
    ignored = [word for each in NOT_FOR_US for word in ("--ignore-test", each)]
    known = [each for each in platform(case) if each["kind"] not in ("ExternalSecret", "ScaledObject")]
    done = subprocess.run(
        [tool("kube-score"), "score", "--kubernetes-version", "v1.34", "--output-format", "ci", *ignored, "-"],
        input=yaml.safe_dump_all(known), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    findings = [line for line in done.stdout.splitlines() if not line.startswith(("[OK]", "[SKIPPED]"))]
    assert (done.returncode, findings) == (0, []), done.stderr
