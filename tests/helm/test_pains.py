"""What chart users suffer from: each is prevented by a setting, and spoiling that setting is noticed.

The numbers are those of helm/airflow/README.md. A case breaks the values as people do (or keeps the chart's default)
and names the rule that must detect it; a case whose rule is ``refused`` must not even render.
"""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.helm.policy import RULES, check
from tests.helm.rendering import OVERLAY, RenderError, merged, nested, render, render_all

pytestmark = pytest.mark.slow  # renders a hundred times

REFUSED = "refused"


@dataclass(frozen=True)
class Case:
    """One way to break the overlay: values by dotted path."""

    pain: int
    what: str
    rule: str
    changes: dict[str, Any]
    features: tuple[str, ...] = ()
    environment: str = "kind"

    @property
    def values(self) -> dict[str, Any]:
        return merged(*(nested(path, value) for path, value in self.changes.items()))

    def __str__(self) -> str:
        return f"{self.pain}: {self.what}"


CASES = [
    Case(1, "no known_hosts", "git_access", {"dags.gitSync.knownHosts": None}, ("ssh-git",)),
    Case(
        1,
        "somebody else's host key",
        "git_access",
        {"dags.gitSync.knownHosts": "github.com ssh-ed25519 AAAA"},
        ("ssh-git",),
    ),
    Case(
        1,
        "the key in the values",
        "no_secret_value",
        {"dags.gitSync.sshKey": "a2V5", "dags.gitSync.sshKeySecret": None},
        ("ssh-git",),
    ),
    Case(1, "https without a Secret", "git_access", {"dags.gitSync.credentialsSecret": None}, ("https-git",)),
    Case(
        1,
        "a Secret of another name",
        "known_secrets",
        {"dags.gitSync.credentialsSecret": "git-password"},
        ("https-git",),
    ),
    Case(2, "no failure tolerated", "dags_by_git_only", {"dags.gitSync.maxFailures": 0}),
    Case(2, "the whole history", "dags_by_git_only", {"dags.gitSync.depth": 0}),
    Case(2, "no probe", "dags_by_git_only", {"dags.gitSync.livenessProbe.enabled": False}),
    Case(3, "a volume for DAGs", "dags_by_git_only", {"dags.persistence.enabled": True}),
    Case(4, "the deprecated wait", "dags_by_git_only", {"dags.gitSync.wait": 60}),
    Case(4, "a long period", "dags_by_git_only", {"dags.gitSync.period": "60s"}),
    Case(4, "a minute for a DAG that is late", "dags_by_git_only", {"config.workers.missing_dag_retry_delay": None}),
    Case(4, "no ref", "dags_by_git_only", {"dags.gitSync.ref": "HEAD"}),
    Case(
        4, "the chart's repository", "dags_by_git_only", {"dags.gitSync.repo": "https://github.com/apache/airflow.git"}
    ),
    Case(5, "the chart's mappings alone", REFUSED, {"statsd.extraMappings": []}),
    Case(
        5,
        "a mapping of one's own in place of ours",
        "metrics",
        {"statsd.extraMappings": [{"match": "a.b", "name": "c"}]},
    ),
    Case(6, "series for ever", "metrics", {"statsd.cache.ttl": "0s"}),
    Case(5, "names that StatsD refuses", "metrics", {"config.metrics.stat_name_handler": None}),
    Case(6, "run ids as labels", "metrics", {"config.metrics.statsd_disabled_tags": "job_id"}),
    Case(7, "an API secret of the chart's", "no_secret_value", {"apiSecretKeySecretName": None}),
    Case(7, "host names of pods", "logs_are_read", {"config.core.hostname_callable": "airflow.utils.net.getfqdn"}),
    Case(8, "a JWT secret of the chart's", "no_secret_value", {"jwtSecretName": None}),
    Case(8, "tokens that end in the queue", "executor_pods", {"config.execution_api.jwt_expiration_time": 600}),
    Case(9, "a Fernet key of the chart's", "no_secret_value", {"fernetKeySecretName": None}),
    Case(
        9, "a Fernet key in the values", "no_secret_value", {"fernetKeySecretName": None, "fernetKey": "k" * 43 + "="}
    ),
    Case(
        9,
        "a Redis password of the chart's",
        "no_secret_value",
        {"redis.passwordSecretName": None, "data.brokerUrlSecretName": None},
    ),
    Case(9, "Redis's Secret without the broker's", REFUSED, {"data.brokerUrlSecretName": None}),
    Case(10, "the migration as a hook", "no_hooks", {"migrateDatabaseJob.useHelmHooks": True}),
    Case(10, "a migration job that stays", "no_hooks", {"migrateDatabaseJob.ttlSecondsAfterFinished": 86400}),
    Case(10, "no time for the migration", "no_hooks", {"images.migrationsWaitTimeout": 60}),
    Case(10, "a job that ArgoCD misses", "no_hooks", {"migrateDatabaseJob.ttlSecondsAfterFinished": 60}, ("argocd",)),
    Case(11, "the chart's PostgreSQL", "pinned_images", {"postgresql.enabled": True}),
    Case(12, "the chart's network policies", "own_network_policies", {"networkPolicies.enabled": True}),
    Case(13, "ten minutes' grace", "grace", {"workers.celery.terminationGracePeriodSeconds": 600}),
    Case(13, "ten minutes' grace for pods", "grace", {"workers.kubernetes.terminationGracePeriodSeconds": 600}),
    Case(13, "evicted by the autoscaler", "grace", {"workers.celery.safeToEvict": True}),
    Case(13, "old workers first", "grace", {"workers.celery.strategy.rollingUpdate.maxUnavailable": "50%"}),
    Case(13, "redelivered by Redis", "grace", {"config.celery_broker_transport_options.visibility_timeout": 3600}),
    Case(13, "no disruption budget", "disruptions", {"workers.celery.podDisruptionBudget.enabled": False}),
    Case(
        13,
        "a budget that blocks drains",
        "disruptions",
        {"scheduler.podDisruptionBudget.config": {"maxUnavailable": 0}},
    ),
    Case(13, "scaled to none", "scaling", {"workers.celery.keda.minReplicaCount": 0}, ("keda",)),
    Case(
        13,
        "KEDA without its connection",
        "scaling",
        {"enableBuiltInSecretEnvVars.AIRFLOW_CONN_AIRFLOW_DB": False},
        ("keda",),
    ),
    Case(13, "PostgreSQL's words to MySQL", "scaling", {"workers.celery.keda.query": None}, ("keda", "mysql-metadata")),
    Case(
        13, "all sets by one number of tasks", "scaling", {"workers.celery.keda.query": None}, ("keda", "big-workers")
    ),
    Case(
        13,
        "two budgets for a pod",
        "disruptions",
        {"workers.celery.sets": [{"name": "big", "queue": "big"}]},
    ),
    Case(14, "no probe of the worker", "worker_is_asked", {"workers.celery.livenessProbe.enabled": False}),
    Case(
        14,
        "a probe that sees a process",
        "worker_is_asked",
        {"workers.celery.livenessProbe.command": ["pgrep", "celery"]},
    ),
    Case(15, "pods one by one", "executor_pods", {"config.kubernetes_executor.worker_pods_creation_batch_size": 1}),
    Case(15, "failed pods stay", "executor_pods", {"cleanup.enabled": False}),
    Case(15, "finished pods stay", "executor_pods", {"config.kubernetes_executor.delete_worker_pods": "False"}),
    Case(15, "pending for ever", "executor_pods", {"config.scheduler.task_queued_timeout": 86400}),
    Case(15, "the quota fails tasks", "executor_pods", {"config.kubernetes_executor.task_publish_max_retries": 0}),
    Case(
        16,
        "memory that is not reserved",
        "memory_is_reserved",
        {"workers.celery.resources.requests.memory": "512Mi"},
        (),
        "eks",
    ),
    Case(17, "workers never renewed", "api_server", {"config.api.server_type": "uvicorn"}),
    Case(
        17,
        "too little memory",
        "memory_is_reserved",
        {"apiServer.resources.limits.memory": "1Gi", "apiServer.resources.requests.memory": "1Gi"},
        (),
        "eks",
    ),
    Case(18, "the default of five minutes", "parsing", {"config.dag_processor.refresh_interval": 300}),
    Case(18, "parsed over and over", "parsing", {"config.dag_processor.min_file_process_interval": 5}),
    Case(18, "changes written late", "parsing", {"config.core.min_serialized_dag_update_interval": 30}),
    Case(
        19,
        "the chart's migration alone",
        "migration_job",
        {"migrateDatabaseJob.args": ["bash", "-c", "exec airflow db migrate"]},
    ),
    Case(
        19,
        "two that write permissions",
        "migration_job",
        {
            "migrateDatabaseJob.args": [
                "bash",
                "-c",
                "airflow db migrate; pools set emr_steps 1 --include-deferred; airflow users create",
            ]
        },
    ),
    Case(20, "local logs", "logs_are_read", {"config.logging.remote_logging": "False"}),
    Case(20, "a connection that nobody has", "logs_are_read", {"config.logging.remote_log_conn_id": "s3"}),
    Case(20, "no connection in the pods", "logs_are_read", {"global.taxiway.env.AIRFLOW_CONN_AWS_DEFAULT": ""}),
    Case(
        20,
        "no role",
        "logs_are_read",
        {"workers.celery.serviceAccount.annotations": {"eks.amazonaws.com/role-arn": ""}},
        (),
        "eks",
    ),
    Case(21, "no PgBouncer", "database", {"pgbouncer.enabled": False}),
    Case(
        20,
        "workers under an account of their own",
        "logs_are_read",
        {"workers.celery.sets": [{"name": "big", "queue": "big"}]},
        (),
        "eks",
    ),
    Case(22, "workers with volumes", "no_worker_volume", {"workers.celery.persistence.enabled": True}),
    Case(23, "no seccomp profile", "restricted", {"securityContexts.pod": {"seccompProfile": None}}),
    Case(23, "perhaps root", "restricted", {"securityContexts.pod": {"runAsNonRoot": None}}),
    Case(23, "git-sync by default", "restricted", {"dags.gitSync.securityContexts.container": None}),
    Case(23, "Redis as root", "restricted", {"redis.securityContexts.pod": {"runAsUser": 0, "runAsNonRoot": False}}),
    Case(23, "a writable image", "read_only_root", {"securityContexts.containers": {"readOnlyRootFilesystem": False}}),
    Case(23, "a groomer that checks for a database", "no_second_check", {"scheduler.logGroomerSidecar.env": None}),
    Case(23, "a volume of the node", "restricted", {"volumes": [{"name": "tmp", "hostPath": {"path": "/tmp"}}]}),
    Case(24, "rows for ever", "database", {"databaseCleanup.enabled": False}),
    Case(24, "rows archived", "database", {"databaseCleanup.skipArchive": False}),
    Case(25, "one triggerer", "two_of_each", {"triggerer.replicas": 1}, (), "eks"),
    Case(
        26,
        "variables only for Celery",
        "executor_pods",
        {"global.taxiway.env.TAXIWAY_LAKE": None, "workers.celery.env": [{"name": "TAXIWAY_LAKE", "value": "s3://x"}]},
    ),
]

# Not among the 26, and seen as often.
MISTAKES = [
    Case(0, "the chart's template of pods", "least_secrets", {"podTemplate": None}),
    Case(0, "the chart's template of pods, and KEDA", "least_secrets", {"podTemplate": None}, ("keda",)),
    Case(0, "tasks among the workers", "disruptions", {"podTemplate": None}),
    Case(0, "no DAGs to wait for", "executor_pods", {"podTemplate": None}),
    Case(0, "a long time in the queue", "executor_pods", {"config.scheduler.task_queued_timeout": 1800}),
    Case(0, "the default user", "logged_in", {"createUserJob.enabled": True}),
    Case(0, "an open Flower", "logged_in", {"flower.secretName": None}),
    Case(0, "connections may be tried out", "logged_in", {"config.core.test_connection": "Enabled"}),
    Case(0, "the configuration on show", "logged_in", {"config.api.expose_config": "True"}),
    Case(0, "a password in env", "no_secret_value", {"global.taxiway.env.SLACK_TOKEN": "xoxb-1"}),
    Case(
        0, "a password in a connection", "no_secret_value", {"global.taxiway.env.AIRFLOW_CONN_X": "mysql://me:pw@db/x"}
    ),
    Case(0, "the tag latest", "pinned_images", {"images.redis.tag": "latest"}),
    Case(0, "pulled each time", "pinned_images", {"images.airflow.pullPolicy": "Always"}),
    Case(0, "no limits", "requests_and_limits", {"triggerer.resources": {"limits": None}}),
    Case(0, "requests above limits", "requests_and_limits", {"flower.resources.requests.memory": "64Gi"}),
    Case(0, "too much for a laptop", "fits_a_laptop", {"scheduler.resources.requests.cpu": "2"}),
    Case(0, "tokens for all", "no_token", {"triggerer.serviceAccount.automountServiceAccountToken": True}),
    Case(0, "no token for the scheduler", "no_token", {"scheduler.serviceAccount.automountServiceAccountToken": False}),
    Case(0, "other names", "names", {"fullnameOverride": "x"}),
    Case(0, "one scheduler on EKS", "two_of_each", {"scheduler.replicas": 1}, (), "eks"),
    Case(0, "a deprecated key", "no_warning", {"workers.replicas": 3}),
    Case(0, "another deprecated key", "no_warning", {"workers.resources": {"limits": {"cpu": "1"}}}),
    Case(0, "a deprecated probe", "no_warning", {"dags.gitSync.readinessProbe": {"periodSeconds": 5}}),
    Case(0, "a lost /tmp", "read_only_root", {"volumeMounts": []}),
    Case(0, "a mount without its volume", "mounts_exist", {"volumes": []}),
    Case(0, "tasks hoarded by a worker", "broker", {"config.celery.worker_prefetch_multiplier": 4}),
    Case(
        0,
        "the catalogue's password for the page",
        "least_secrets",
        {
            "apiServer.env": [
                {
                    "name": "AIRFLOW_CONN_TLC_CATALOG",
                    "valueFrom": {"secretKeyRef": {"name": "airflow-connections", "key": "tlc-catalog"}},
                }
            ]
        },
    ),
    Case(
        0,
        "the service's password for triggers",
        "least_secrets",
        {
            "triggerer.env": [
                {
                    "name": "AIRFLOW_CONN_RIDE_SERVICE",
                    "valueFrom": {"secretKeyRef": {"name": "ride-service", "key": "connection"}},
                }
            ]
        },
    ),
    Case(
        0,
        "no probe for git-sync alone",
        "probes",
        {"dags.gitSync.recommendedProbeSetting": False, "dags.gitSync.livenessProbe": None},
    ),
]


@pytest.fixture(scope="module")
def spoilt() -> None:
    """All cases, rendered side by side."""
    cases = (*CASES, *MISTAKES)
    render_all([(case.environment, case.features, case.values) for case in cases])


@pytest.mark.usefixtures("spoilt")
@pytest.mark.parametrize("case", [*CASES, *MISTAKES], ids=str)
def test_a_spoilt_value_is_noticed(case: Case) -> None:
    if case.rule == REFUSED:
        with pytest.raises(RenderError):
            render(case.environment, case.features, case.values)
        return
    assert check(render(case.environment, case.features), case.rule) == []
    assert check(render(case.environment, case.features, case.values), case.rule) != []


def test_every_pain_has_a_case() -> None:
    assert {case.pain for case in CASES} == set(range(1, 27))


def test_every_rule_is_seen_to_speak() -> None:
    spoken = {case.rule for case in (*CASES, *MISTAKES)} - {REFUSED}
    kind = render("kind")
    old = replace(kind, documents=({**kind.documents[0], "apiVersion": "policy/v1beta1"}, *kind.documents[1:]))
    if check(old, "api_versions"):
        spoken.add("api_versions")
    assert spoken == set(RULES)


def test_the_table_for_people_names_every_pain() -> None:
    readme = (OVERLAY / "README.md").read_text()
    for number in range(1, 27):
        assert f"| {number} |" in readme
