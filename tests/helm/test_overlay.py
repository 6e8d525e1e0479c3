"""Every environment with every feature, rendered by the real chart and held against the whole policy."""

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations, permutations
from typing import Any

import pytest
import yaml

from cluster import credentials
from taxiway.core.settings import Settings
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

# Features that exclude each other, and what is said of them.
EXCLUSIVE = {
    ("https-git", "ssh-git"): "take one of the features ssh-git and https-git",
    ("git-dag-bundle", "https-git"): "with git-dag-bundle .* is in the connection git_default",
    ("git-dag-bundle", "ssh-git"): "with git-dag-bundle .* is in the connection git_default",
}
GIT = ("git-dag-bundle", "https-git", "ssh-git")


def mixtures() -> Iterator[tuple[str, ...]]:
    """Yield few sets of features: any two are together in one, and each of them is without the other in another.

    Every feature is in three of six sets, no two in the same three; and all are together, with each way to reach Git.
    """
    others = [feature for feature in FEATURES if feature not in GIT]
    places = dict(zip(others, combinations(range(6), 3), strict=False))
    for row in range(6):
        yield tuple(feature for feature in others if row in places[feature])
    for git in GIT:
        yield (*others, git)


# Each feature alone on kind; mixtures, and what goes together in practice, on EKS.
COMBINATIONS: list[tuple[str, tuple[str, ...]]] = [
    *((environment, ()) for environment in ENVIRONMENTS),
    *(("kind", (feature,)) for feature in FEATURES),
    *(("eks", features) for features in mixtures()),
    *(("eks", (git,)) for git in GIT),
    ("eks", ("keda", "mysql-metadata", "big-workers")),
    ("eks", ("https-git", "ingress", "oidc", "team-roles", "argocd", "keda", "secrets-manager", "big-workers")),
]


def name(combination: tuple[str, tuple[str, ...]]) -> str:
    return "+".join((combination[0], *combination[1]))


@pytest.fixture(scope="module")
def rendered() -> None:
    """All combinations, rendered side by side."""
    render_all([(environment, features, {}) for environment, features in COMBINATIONS])


@pytest.mark.usefixtures("rendered")
@pytest.mark.parametrize("combination", COMBINATIONS, ids=name)
def test_every_combination_keeps_every_rule(combination: tuple[str, tuple[str, ...]]) -> None:
    assert check(render(*combination)) == []


def test_any_two_features_are_rendered_together_and_apart() -> None:
    sets = [set(features) for environment, features in COMBINATIONS if environment == "eks"]
    for first, second in permutations(FEATURES, 2):
        assert any(first in each and second not in each for each in sets), f"{first} without {second}"
        if tuple(sorted((first, second))) not in EXCLUSIVE:
            assert any({first, second} <= each for each in sets), f"{first} with {second}"


@pytest.mark.parametrize(("pair", "sentence"), EXCLUSIVE.items(), ids=str)
def test_features_that_exclude_each_other_are_refused(pair: tuple[str, str], sentence: str) -> None:
    with pytest.raises(RenderError, match=sentence):
        render("eks", pair)


@pytest.mark.parametrize(
    ("repository", "known", "missing"),
    [
        ("git@github.com:you/taxiway.git", None, None),
        ("ssh://git@github.com/you/taxiway.git", None, None),
        (
            "ssh://git@git.example.org:7999/you/taxiway.git",
            None,
            r"\[git.example.org\]:7999, .* -p 7999 git.example.org",
        ),
        ("ssh://git.example.org:7999/taxiway.git", "git.example.org ssh-ed25519 AAAA", r"\[git.example.org\]:7999"),
        ("ssh://git@git.example.org:7999/taxiway.git", "# ours\n[git.example.org]:7999 ssh-ed25519 AAAA\n", None),
        ("ssh://git@10.0.0.7:22/taxiway.git", "git.example.org,10.0.0.7 ssh-ed25519 AAAA", None),
        ("ssh://git@[fd00::7]:7999/taxiway.git", "[fd00::7]:7999 ssh-ed25519 AAAA", None),
        ("git@git.example.org:/srv/taxiway.git", None, "no key of git.example.org, .* -p 22 git.example.org"),
        ("git.example.org:taxiway.git", "|1|c2FsdA==|aGFzaA== ssh-ed25519 AAAA", None),
    ],
)
def test_the_host_of_a_repository_must_be_known(repository: str, known: str | None, missing: str | None) -> None:
    given = {"repo": repository} if known is None else {"repo": repository, "knownHosts": known}
    if missing is None:
        pod = render("eks", ("ssh-git",), nested("dags.gitSync", given)).pod("dag-processor")
        assert pod is not None
        assert repository in [each.env.get("GITSYNC_REPO") for each in pod.containers]
    else:
        with pytest.raises(RenderError, match=missing):
            render("eks", ("ssh-git",), nested("dags.gitSync", given))


def test_of_two_features_neither_replaces_what_the_other_sets() -> None:
    """Whichever is named last: lists and texts are kept, and no value is set in two ways."""
    values = {feature: yaml.safe_load((OVERLAY / f"features/{feature}.yaml").read_text()) for feature in FEATURES}
    for first, second in permutations(FEATURES, 2):
        if tuple(sorted((first, second))) not in EXCLUSIVE:
            assert lost(values[first], values[second]) == [], f"{second} replaces what {first} sets"
            assert contradictions(values[first], values[second]) == [], f"{first} and {second}"


def contradictions(one: Any, other: Any, path: str = "") -> list[str]:
    """Return what two maps set to different values of a single line."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = one.keys() & other.keys()
        return [each for key in both for each in contradictions(one[key], other[key], f"{path}.{key}".strip("."))]
    return [path] if one != other and not isinstance(one, list) else []


@pytest.mark.parametrize(
    ("own", "tasks"),
    [
        ({"args": ["bash", "-c", "exec airflow celery worker -q own -c 3"]}, 3),
        ({"args": ["airflow", "celery", "worker", "--queues", "own", "--concurrency=2"]}, 2),
        ({"args": ["airflow", "celery", "worker", "-q", "own", "-c", "2", "--autoscale", "6,1"]}, 6),
        ({"env": [{"name": "AIRFLOW__CELERY__WORKER_CONCURRENCY", "value": "5"}]}, 5),
        ({"queue": "own,a-c1", "args": ["airflow", "celery", "worker", "-q", "own,a-c1"]}, 8),
        ({}, 8),
    ],
    ids=str,
)
def test_keda_counts_by_what_a_set_of_ones_own_runs_at_a_time(own: dict[str, Any], tasks: int) -> None:
    shared = {"podDisruptionBudget": {"enabled": False}, "serviceAccount": {"create": False, "name": "airflow-worker"}}
    sets = [{"name": "own", "queue": "own", **shared, **own}]
    scaled = render("eks", ("keda",), nested("workers.celery.sets", sets))
    assert check(scaled, "scaling") == []
    query = scaled.named("ScaledObject", "airflow-worker-own")["spec"]["triggers"][0]["metadata"]["query"]
    assert f"COUNT(*) / {tasks}.0" in query


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


def test_lineage_is_sent_to_a_server_that_somebody_names() -> None:
    with pytest.raises(RenderError, match=r"set global\.taxiway\.lineageUrl to the server's address"):
        render("eks", ("lineage",), nested("global.taxiway.lineageUrl", ""))


@pytest.mark.parametrize(("environment", "told"), [("eks", "true"), ("kind", None)])
def test_old_data_is_an_incident_where_data_is_not_a_sample(environment: str, told: str | None) -> None:
    pod = render(environment).pod("kubernetes")
    assert pod is not None
    assert [
        each.env.get(Settings.variable("freshness_incidents")) for each in pod.containers if each.name == "base"
    ] == [told]


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
