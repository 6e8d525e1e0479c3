"""Every environment with every feature, rendered by the real chart and held against the whole policy."""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml

from cluster import credentials
from tests.helm.policy import RULES, check
from tests.helm.rendering import (
    ENVIRONMENTS,
    FEATURES,
    LOADER,
    OVERLAY,
    OWN_VALUES,
    TAG,
    Rendered,
    RenderError,
    chart,
    feature_files,
    files,
    helm,
    merged,
    nested,
    packed_chart,
    render,
    render_all,
)

pytestmark = pytest.mark.slow  # renders every combination

# Features that go together in practice, besides each alone.
TOGETHER = (
    ("keda", "mysql-metadata"),
    ("https-git", "ingress", "oidc", "team-roles", "argocd", "keda", "secrets-manager", "big-workers"),
)
COMBINATIONS = [
    (environment, features)
    for environment in ENVIRONMENTS
    for features in ((), *((feature,) for feature in FEATURES), *TOGETHER)
]


def name(combination: tuple[str, tuple[str, ...]]) -> str:
    return "+".join((combination[0], *combination[1]))


@pytest.fixture(scope="module")
def combinations() -> None:
    """All combinations, rendered side by side."""
    render_all([(environment, features, {}) for environment, features in COMBINATIONS])


@pytest.mark.usefixtures("combinations")
@pytest.mark.parametrize("combination", COMBINATIONS, ids=name)
def test_every_combination_keeps_every_rule(combination: tuple[str, tuple[str, ...]]) -> None:
    assert check(render(*combination)) == []


def test_all_features_asked_for_are_there() -> None:
    assert {"mysql-metadata", "keda", "git-dag-bundle", "oidc", "ssh-git", "https-git"} <= set(FEATURES)


@pytest.mark.parametrize("feature", FEATURES)
def test_each_feature_changes_something_and_is_explained(feature: str) -> None:
    assert render("kind", (feature,)).text != render("kind").text
    readme = (OVERLAY / "README.md").read_text()
    assert re.search(rf"^\*\*`{feature}`", readme, re.MULTILINE), f"README.md has no paragraph on {feature}"


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_takes_nothing_away_by_replacing_a_list(feature: str) -> None:
    for environment in ENVIRONMENTS:
        before, its = files(environment), feature_files(environment, feature)
        earlier, later = (merged(*(yaml.safe_load(file.read_text()) or {} for file in each)) for each in (before, its))
        assert lost(earlier, later) == [], "a list replaces the earlier file's: repeat what that one has"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_takes_nothing_away_by_replacing_a_list(environment: str) -> None:
    *shared, own = (yaml.safe_load(file.read_text()) for file in files(environment))
    base = merged(*shared)
    assert lost(base, own) == []


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Return the lists and texts of several lines in ``before`` that ``after`` replaces without having all of them."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            each
            for key in before.keys() & after.keys()
            for each in lost(before[key], after[key], f"{path}.{key}".strip("."))
        ]
    if isinstance(before, list) and isinstance(after, list):
        return [f"{path}: {each}" for each in before if each not in after]
    if isinstance(before, str) and "\n" in before.strip():
        return [path] if after != before else []
    return []


def test_the_environment_of_a_process_is_merged_from_all_files() -> None:
    worker = render("kind").pod("worker")
    assert worker is not None
    env = next(each for each in worker.containers if each.name == "worker").env
    assert env["TAXIWAY_LAKE"] == "s3://taxiway-lake"
    assert env["TAXIWAY_SPARK_JOBS"] == "s3://taxiway-artifacts/spark_jobs/{commit}"
    assert env["TAXIWAY_EMR_LOGS"] == "s3://taxiway-logs/emr"
    assert env["AWS_ENDPOINT_URL"] == "http://local-aws:4566"
    assert env["TAXIWAY_POLL_S"] == "2"
    own = render("kind", (), nested("global.taxiway.env.TAXIWAY_EMR_SUBNETS", "subnet-1,subnet-2")).pod("kubernetes")
    assert own is not None
    assert own.containers[0].env["TAXIWAY_EMR_SUBNETS"] == "subnet-1,subnet-2"


def test_eks_uses_the_accounts_own_names() -> None:
    eks = render("eks")
    account = eks.named("ServiceAccount", "airflow-worker")["metadata"]["annotations"]
    assert account["eks.amazonaws.com/role-arn"] == "arn:aws:iam::123456789012:role/taxiway-airflow-worker"
    assert eks.config["logging"]["remote_base_log_folder"] == "s3://taxiway-123456789012-logs/airflow"
    assert eks.pod("redis") is None


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({}, "Set "),
        ({"global": {"taxiway": {"bucketPrefix": "x", "account": 123456789012}}}, "12 digits, in quotes"),
        ({"global": {"taxiway": {"bucketPrefix": "x", "account": "123456789012"}}}, "Set dags.gitSync.repo"),
    ],
    ids=["nothing given", "an account as a number", "no repository"],
)
def test_eks_without_what_is_its_own_is_refused_in_one_sentence(
    own: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OWN_VALUES, "eks", own)
    with pytest.raises(RenderError, match=sentence):
        render("eks", (), {"revisionHistoryLimit": 3, "labels": {"test": sentence.replace(" ", "-").strip("-")[:20]}})


def test_the_chart_of_these_tests_is_the_whole_one() -> None:
    """It lacks the sub-chart, which is off, and documentation; helm must make the same of the one that it came as."""
    command = [helm(), "template", "airflow", str(packed_chart()), "--namespace", "taxiway", "--kube-version", "1.34.0"]
    command += [word for file in files("kind") for word in ("--values", str(file))]
    whole = subprocess.run([*command, "--set-string", f"defaultAirflowTag={TAG}"], capture_output=True, check=True)
    documents = [each for each in yaml.load_all(whole.stdout, LOADER) if each]
    assert documents == list(render("kind").documents)


def test_without_a_tag_nothing_renders() -> None:
    with pytest.raises(RenderError, match="Set defaultAirflowTag"):
        render("kind", (), {"defaultAirflowTag": ""})


def test_images_named_the_other_way_are_used_everywhere() -> None:
    image = {"repository": "reg.example.org/taxiway/airflow", "tag": "v1"}
    rendered = render("kind", (), {"images": {"airflow": image}})
    images = {
        container.spec["image"]
        for pod in rendered.pods
        for container in pod.containers
        if container.name in ("scheduler", "worker", "api-server", "run-airflow-migrations")
    }
    assert images == {"reg.example.org/taxiway/airflow:v1"}


@pytest.mark.parametrize(
    "path",
    ["scheduler.replica", "workers.replica", "dags.gitSync.components", "apiServer.resource", "redis.secret"],
)
def test_unknown_keys_are_refused(path: str) -> None:
    with pytest.raises(RenderError, match=r"(?i)additional propert"):
        render("kind", (), nested(path, {}))


def unknown_keys(schema: dict[str, Any], values: Any, path: str = "") -> list[str]:
    """Return keys that the chart does not list, where its schema lets them pass: a slip there would be silent."""
    properties = schema.get("properties")
    if not isinstance(values, dict) or properties is None:
        return []
    ours = {"global"} if not path else set()
    closed = "additionalProperties" not in schema
    faults = [f"{path}.{key}".strip(".") for key in values.keys() - properties.keys() - ours if closed]
    for key in values.keys() & properties.keys():
        faults += unknown_keys(properties[key], values[key], f"{path}.{key}")
    return faults


def test_the_overlay_has_no_key_that_the_chart_does_not_know() -> None:
    schema = json.loads((chart() / "values.schema.json").read_text())
    for file in (*OVERLAY.glob("*.yaml"), *OVERLAY.glob("features/*.yaml")):
        assert unknown_keys(schema, yaml.safe_load(file.read_text())) == [], file.name


@pytest.mark.parametrize(
    "path",
    [
        "dagProccessor.replicas",
        "workers.celery.replica",
        "securityContexts.container",
        "flower.serviceAccount.annotation",
    ],
)
def test_slips_that_the_charts_schema_lets_pass_are_noticed(path: str) -> None:
    schema = json.loads((chart() / "values.schema.json").read_text())
    assert render("kind", (), nested(path, {})), "the chart lets it pass"
    assert unknown_keys(schema, nested(path, {})) != []


def test_pgbouncer_has_room_for_every_process() -> None:
    """Its sizes are in a Secret that make secrets writes: clients for all replicas, few enough for the server."""
    given = {
        "METADATA_URL": "postgresql://airflow:x@db.example.org:5432/airflow",
        "CATALOG_URL": "mysql://tlc:x@db.example.org:3306/tlc",
        "BROKER_URL": "rediss://:x@redis.example.org:6379/0",
    }
    ini = credentials.eks_secrets("taxiway", {}, given, oidc=False)["airflow-pgbouncer-config"]["pgbouncer.ini"]
    clients = int(re.findall(r"^max_client_conn = (\d+)", ini, re.MULTILINE)[0])
    pools = [int(each) for each in re.findall(r"pool_size=(\d+)", ini)]
    eks = render("eks")
    assert connections(eks) <= clients
    bouncer = eks.pod("pgbouncer")
    assert bouncer is not None
    # db.t4g.medium, the least that PostgreSQL on RDS is sensible on: about 400 connections.
    assert sum(pools) * bouncer.workload["spec"]["replicas"] <= 300


def connections(rendered: Rendered) -> int:
    """Return the connections that all processes together can open, on one PgBouncer that is left alone."""
    config = rendered.config
    each = int(config["database"]["sql_alchemy_pool_size"]) + int(config["database"]["sql_alchemy_max_overflow"])
    total = 0
    # Processes with a pool: scheduler and its health server; API workers, each with a second pool for asyncpg; the
    # triggerer's two; the DAG processor.
    processes = {"scheduler": 2, "api-server": 2 * int(config["api"]["workers"]), "triggerer": 2, "dag-processor": 1}
    for component, number in processes.items():
        pod = rendered.pod(component)
        assert pod is not None
        total += number * each * int(pod.workload["spec"].get("replicas", 1))
    worker = rendered.pod("worker")
    assert worker is not None
    # Celery's results: one connection a process of the pool. Tasks themselves have none: they ask the API server.
    return total + int(config["celery"]["worker_concurrency"]) * int(worker.workload["spec"]["replicas"])


def test_each_rule_says_what_it_is_for() -> None:
    assert len(RULES) > 20
