"""What every rendering of the Airflow chart must keep, as rules that name each fault.

A rule is a function from a rendering to sentences about what is wrong, none if nothing is. ``RULES`` has them all by
name; ``test_overlay`` holds every combination of environment and features against all of them, and ``test_pains``
breaks the values in the ways that people do and checks that the rule detects it.
"""

import argparse
import ast
import base64
import hashlib
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import yaml

from taxiway.core.settings import Settings
from tests.helm.rendering import ROOT, Container, Pod, Rendered

Rule = Callable[[Rendered], Iterator[str]]
RULES: dict[str, Rule] = {}

# Every Secret that the overlay may name, with its keys: as in the docs and in make secrets.
SECRETS = {
    "airflow-fernet-key": {"fernet-key"},
    "airflow-api-secret-key": {"api-secret-key"},
    "airflow-jwt-secret": {"jwt-secret"},
    "airflow-metadata": {"connection", "async-connection", "kedaConnection"},
    "airflow-result-backend": {"connection"},
    "airflow-broker-url": {"connection"},
    "airflow-redis-password": {"password"},
    "airflow-pgbouncer-config": {"pgbouncer.ini", "users.txt"},
    "airflow-pgbouncer-stats": {"connection"},
    "airflow-flower-auth": {"basicAuth"},
    "airflow-connections": {"tlc-catalog", "slack"},  # slack by you, if at all
    "ride-service": {"connection"},
    "airflow-admin": {"username", "password"},
    "airflow-oidc": {"client-id", "client-secret", "metadata-url"},
    "lineage-server": {"auth"},  # by you, if the server wants a key
    "git-credentials": {"GIT_SYNC_USERNAME", "GIT_SYNC_PASSWORD", "GITSYNC_USERNAME", "GITSYNC_PASSWORD"},
    "git-ssh-key": {"gitSshKey"},
}
# Only these talk to Kubernetes: the scheduler starts pods, the API server reads their logs, the clean-up ends them.
TOKEN_HOLDERS = {"airflow-scheduler", "airflow-api-server", "airflow-cleanup"}
# No probe: what these do is seen from outside, and the chart has no key for one.
WITHOUT_PROBE = {
    "redis": "the chart offers none; the workers' and the scheduler's probes fail with it",
    "scheduler-log-groomer": "a loop of find and sleep, which restarts when it ends",
    "dag-processor-log-groomer": "as above",
    "triggerer-log-groomer": "as above",
    "worker-log-groomer": "as above",
}
RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
STABLE = {
    "v1", "apps/v1", "batch/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1",
    "keda.sh/v1alpha1",
}  # fmt: skip
GITHUB_KEYS = {  # as GitHub publishes them: docs.github.com, "GitHub's SSH key fingerprints"
    "+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
    "p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
}


def rule(function: Rule) -> Rule:
    """Enter a rule under its name."""
    RULES[function.__name__] = function
    return function


def check(rendered: Rendered, *names: str) -> list[str]:
    """Return what is wrong, as ``rule: sentence``; only by the rules named, if any are."""
    return [f"{name}: {fault}" for name in names or RULES for fault in RULES[name](rendered)]


def each_container(rendered: Rendered) -> Iterator[tuple[Pod, Container, str]]:
    """Yield all containers and init containers of all pods, with their full name."""
    for pod in rendered.pods:
        for container in pod.containers:
            yield pod, container, f"{pod} {container.name}"


def runs_airflow(container: Container) -> bool:
    return "taxiway/airflow" in container.spec["image"]


# -- Security ------------------------------------------------------------------------------------------------------


@rule
def restricted(rendered: Rendered) -> Iterator[str]:
    """Pod security "restricted", as Kubernetes' documentation lists it."""
    for pod in rendered.pods:
        spec = pod.spec
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{pod} sets {key}"
        for volume in spec.get("volumes") or []:
            if not set(volume) - {"name"} <= RESTRICTED_VOLUMES:
                yield f"{pod} has the volume {volume}"
        context = spec.get("securityContext") or {}
        if context.get("sysctls") or context.get("seLinuxOptions", {}).get("type"):
            yield f"{pod} sets sysctls or an SELinux type"
    for pod, container, name in each_container(rendered):
        pod_context, own = pod.spec.get("securityContext") or {}, container.spec.get("securityContext") or {}
        both = {**pod_context, **own}
        if both.get("runAsNonRoot") is not True:
            yield f"{name} may run as root (runAsNonRoot)"
        if not both.get("runAsUser"):
            yield f"{name} names no user, or root (runAsUser)"
        if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name} has no seccomp profile"
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{name} may gain privileges"
        if (own.get("capabilities") or {}).get("drop") != ["ALL"] or (own.get("capabilities") or {}).get("add"):
            yield f"{name} keeps capabilities"
        if own.get("procMount", "Default") != "Default":
            yield f"{name} unmasks /proc"
        if any(port.get("hostPort") for port in container.spec.get("ports") or []):
            yield f"{name} takes a port of the node"


@rule
def read_only_root(rendered: Rendered) -> Iterator[str]:
    """No program can change its own image; what it may write to is mounted."""
    for _, container, name in each_container(rendered):
        if (container.spec.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
            yield f"{name} may write to its root file system"
        places = [mount["mountPath"] for mount in container.spec.get("volumeMounts") or []]
        if (runs_airflow(container) or container.name.startswith("git-sync")) and "/tmp" not in places:
            yield f"{name} has no /tmp to write to"
        if len(places) != len(set(places)):
            yield f"{name} mounts one path twice: {places}"


@rule
def no_second_check(rendered: Rendered) -> Iterator[str]:
    """The image's entry point checks the database only where nothing else does; it cannot under a groomer's mounts."""
    for pod, container, name in each_container(rendered):
        if (
            runs_airflow(container)
            and pod.kind in ("Deployment", "StatefulSet")
            and not container.name.startswith("git-sync")
            and container.env.get("CONNECTION_CHECK_MAX_COUNT") != "0"
        ):
            yield f"{name} lets the entry point check the database (CONNECTION_CHECK_MAX_COUNT is not 0)"


@rule
def mounts_exist(rendered: Rendered) -> Iterator[str]:
    for pod, container, name in each_container(rendered):
        volumes = [volume["name"] for volume in pod.spec.get("volumes") or []]
        claims = [claim["metadata"]["name"] for claim in pod.workload["spec"].get("volumeClaimTemplates") or []]
        for mount in container.spec.get("volumeMounts") or []:
            if mount["name"] not in (*volumes, *claims):
                yield f"{name} mounts {mount['name']}, which is no volume of the pod"
        if len(volumes) != len(set(volumes)):
            yield f"{pod} has a volume twice: {volumes}"


@rule
def no_token(rendered: Rendered) -> Iterator[str]:
    """Only who talks to the Kubernetes API gets a token for it."""
    accounts = {each["metadata"]["name"]: each for each in rendered.of_kind("ServiceAccount")}
    for pod in rendered.pods:
        account = pod.spec.get("serviceAccountName", "default")
        if account not in accounts:
            yield f"{pod} uses the service account {account}, which the chart does not make"
            continue
        automount = pod.spec.get("automountServiceAccountToken", accounts[account].get("automountServiceAccountToken"))
        if (automount is not False) != (account in TOKEN_HOLDERS):
            yield f"{pod} {'gets' if automount is not False else 'lacks'} a token of {account}"


@rule
def no_secret_value(rendered: Rendered) -> Iterator[str]:
    """Secrets are named, never made or written down."""
    for each in rendered.of_kind("Secret"):
        yield f"the chart makes the Secret {each['metadata']['name']}"
    for match in re.finditer(r"[a-z+0-9]+://[^/\s:@'\"]*:[^@\s/'\"]+@|-----BEGIN [A-Z ]*PRIVATE KEY", rendered.text):
        yield f"the manifests contain a password or key: {match.group()[:12]}…"
    for _, container, name in each_container(rendered):
        for variable, value in container.env.items():
            looks_secret = re.search(r"PASS|SECRET|TOKEN|_KEY$|CREDENTIAL|SQL_ALCHEMY_CONN|FERNET", variable)
            local = rendered.environment == "kind" and value == "local"
            if looks_secret and isinstance(value, str) and not local:
                yield f"{name} has {variable} written down"
    for section, keys in rendered.config.items():
        for key, value in keys.items():
            if value and re.search(
                r"password|secret_key|fernet|jwt_secret|sql_alchemy_conn$|broker_url|basic_auth", key
            ):
                yield f"airflow.cfg has [{section}] {key} written down"


@rule
def known_secrets(rendered: Rendered) -> Iterator[str]:
    """A Secret of another name, or a key that it has not, would only show when a pod does not start."""
    for pod, container, name in each_container(rendered):
        for source in container.env.values():
            ref = source.get("secretKeyRef") if isinstance(source, dict) else None
            if ref and ref["key"] not in SECRETS.get(ref["name"], ()):
                yield f"{name} wants {ref['name']}/{ref['key']}, which nobody makes"
            if ref and ref["key"] in ("slack", "auth") and not ref.get("optional"):
                yield f"{name} does not start without {ref['name']}/{ref['key']}, which is not everybody's"
        for volume in pod.spec.get("volumes") or []:
            if (secret := volume.get("secret")) and secret["secretName"] not in SECRETS:
                yield f"{pod} mounts the Secret {secret['secretName']}, which nobody makes"


@rule
def least_secrets(rendered: Rendered) -> Iterator[str]:
    """The catalogue's password is for tasks, triggers and callbacks; Airflow's own are not for a task's own pod."""
    for pod, container, name in each_container(rendered):
        env = container.env
        those = ("worker", "kubernetes", "triggerer", "dag-processor")
        if "AIRFLOW_CONN_TLC_CATALOG" in env and pod.component not in those:
            yield f"{name} has the catalogue's password"
        if "AIRFLOW_CONN_RIDE_SERVICE" in env and pod.component not in ("worker", "kubernetes"):
            yield f"{name} has the password of the service's database"
        if "AIRFLOW_CONN_AIRFLOW_DB" in env and not rendered.of_kind("ScaledObject"):
            yield f"{name} offers Airflow's own database to DAGs"
        if pod.component in ("worker", "kubernetes", "triggerer") and "AIRFLOW__API_AUTH__JWT_SECRET" in env:
            yield f"{name} could sign tokens"
        if pod.component == "kubernetes":
            for variable, source in env.items():
                secret = source.get("secretKeyRef", {}).get("name", "") if isinstance(source, dict) else ""
                named = re.match(r"AIRFLOW__(DATABASE|CELERY)__|AIRFLOW__CORE__FERNET|AIRFLOW__API__SECRET", variable)
                if named or (secret in SECRETS and secret.startswith("airflow-") and secret != "airflow-connections"):
                    yield f"{name} has {variable}, which no task needs"


@rule
def logged_in(rendered: Rendered) -> Iterator[str]:
    """Nobody comes in without a log-in, and no default user has one."""
    flower = rendered.pod("flower")
    if flower and "AIRFLOW__CELERY__FLOWER_BASIC_AUTH" not in flower.containers[0].env:
        yield "Flower is open to everybody"
    if any(each["metadata"]["name"].endswith("create-user") for each in rendered.of_kind("Job")):
        yield "the chart makes its default user admin/admin"
    config = rendered.config
    if not config["core"]["auth_manager"].endswith("FabAuthManager"):
        yield "[core] auth_manager is not FAB's, which knows people and roles"
    for section, key, wanted in (
        ("core", "test_connection", "Disabled"),
        ("api", "expose_config", "False"),
        ("api", "expose_stacktrace", "False"),
    ):
        if config[section].get(key) != wanted:
            yield f"[{section}] {key} is {config[section].get(key)}, not {wanted}"
    behind_tls = rendered.of_kind("Ingress") or rendered.environment == "eks"
    if behind_tls and config["fab"].get("cookie_secure") != "True":
        yield "[fab] cookie_secure is not set, though the page is behind TLS"


# -- Pods ----------------------------------------------------------------------------------------------------------


@rule
def requests_and_limits(rendered: Rendered) -> Iterator[str]:
    for _, container, name in each_container(rendered):
        resources = container.spec.get("resources") or {}
        for resource in ("cpu", "memory", "ephemeral-storage"):
            least = (resources.get("requests") or {}).get(resource)
            most = (resources.get("limits") or {}).get(resource)
            if least is None or most is None:
                yield f"{name} lacks a request or limit of {resource}"
            elif amount(least) > amount(most):
                yield f"{name} requests more {resource} than its limit"


@rule
def memory_is_reserved(rendered: Rendered) -> Iterator[str]:
    """On EKS nothing that runs for people or tasks loses its memory to a neighbour; the API server has 2 GiB."""
    for component in ("scheduler", "api-server", "dag-processor", "triggerer", "worker", "kubernetes"):
        if not rendered.pods_of(component):
            yield f"there is no {component}"
        for pod in rendered.pods_of(component):
            main = next(each for each in pod.containers if each.role == "main")
            resources = main.spec.get("resources") or {}
            least, most = (amount((resources.get(each) or {}).get("memory") or "0") for each in ("requests", "limits"))
            if rendered.environment == "eks" and least != most:
                yield f"{pod} may be given more memory than is kept for it"
            if component == "api-server" and most < 2 * 1024**3:
                yield "the API server has less than 2 GiB of memory"


@rule
def fits_a_laptop(rendered: Rendered) -> Iterator[str]:
    """On kind all long-running pods together leave capacity for the services, the main job and pods of the executor."""
    if rendered.environment != "kind" or "big-workers" in rendered.features:
        return
    cpu = memory = 0.0
    for pod in rendered.pods:
        if pod.long_running:
            for container in pod.containers:
                if container.role == "main":
                    requests = (container.spec.get("resources") or {}).get("requests") or {}
                    cpu += amount(requests.get("cpu", "0"))
                    memory += amount(requests.get("memory", "0"))
    if cpu > 1 or memory > 5 * 1024**3:
        yield f"the requests come to {cpu:.2f} cores and {memory / 1024**3:.1f} GiB: more than 1 core and 5 GiB"


@rule
def pinned_images(rendered: Rendered) -> Iterator[str]:
    for _, container, name in each_container(rendered):
        image = container.spec["image"]
        tag = image.rpartition("/")[2].partition(":")[2]
        if ("@sha256:" not in image and not tag) or tag == "latest":
            yield f"{name} runs {image}: no version"
        if "bitnami" in image:
            yield f"{name} runs {image}, which its registry no longer has"
        if container.spec.get("imagePullPolicy") != "IfNotPresent":
            yield f"{name} has the pull policy {container.spec.get('imagePullPolicy')}"


@rule
def probes(rendered: Rendered) -> Iterator[str]:
    for pod, container, name in each_container(rendered):
        if pod.long_running and container.role == "main" and container.name not in WITHOUT_PROBE:
            probe = container.spec.get("livenessProbe") or {}
            if not set(probe) & {"httpGet", "exec", "tcpSocket", "grpc"}:
                yield f"{name} has no liveness probe that checks anything"


@rule
def disruptions(rendered: Rendered) -> Iterator[str]:
    """What people or tasks wait for goes away one by one when nodes are drained, and nothing keeps a node from it."""
    budgets = rendered.of_kind("PodDisruptionBudget")
    task = rendered.pod("kubernetes")
    components = ("scheduler", "api-server", "dag-processor", "triggerer", "worker", "pgbouncer")
    for pod in (pod for component in components for pod in rendered.pods_of(component)):
        mine = [each for each in budgets if each["spec"]["selector"]["matchLabels"].items() <= pod.labels.items()]
        if not mine:
            yield f"{pod} has no PodDisruptionBudget"
        if len(mine) > 1:
            yield f"{pod} can never be moved: Kubernetes evicts no pod with {len(mine)} PodDisruptionBudgets"
        for each in mine:
            replicas = pod.workload["spec"].get("replicas", 1)
            if task and each["spec"]["selector"]["matchLabels"].items() <= task.labels.items():
                yield f"{task} counts as healthy in the PodDisruptionBudget of {pod}, which then lets too many go"
            if each["spec"].get("maxUnavailable") == 0 or each["spec"].get("minAvailable", 0) in (replicas, "100%"):
                yield f"{pod} can never be moved: its PodDisruptionBudget lets no pod go"


@rule
def two_of_each(rendered: Rendered) -> Iterator[str]:
    if rendered.environment != "eks":
        return
    for component in ("scheduler", "triggerer", "api-server", "worker", "pgbouncer"):
        pod = rendered.pod(component)
        scaled = {each["spec"]["scaleTargetRef"]["name"] for each in rendered.of_kind("ScaledObject")}
        if pod and pod.name not in scaled and pod.workload["spec"].get("replicas", 1) < 2:
            yield f"{pod} is alone"


@rule
def no_hooks(rendered: Rendered) -> Iterator[str]:
    """Nothing waits for a hook: --wait, ArgoCD, Flux and Terraform all come to an end."""
    for each in rendered.documents:
        if any(key.startswith("helm.sh/hook") for key in each["metadata"].get("annotations") or {}):
            yield f"{each['kind']}/{each['metadata']['name']} is a hook of helm's"
    ttl = rendered.named("Job", "airflow-run-airflow-migrations")["spec"].get("ttlSecondsAfterFinished")
    if "argocd" in rendered.features:
        hooks = rendered.named("Job", "airflow-run-airflow-migrations")["metadata"].get("annotations") or {}
        if hooks.get("argocd.argoproj.io/hook") != "Sync" or ttl is not None:
            yield "ArgoCD would find the migration job changed or gone"
    elif ttl is None or ttl > 120:
        yield "the migration job stays, and an upgrade cannot change it"
    for pod, container, name in each_container(rendered):
        if container.name == "wait-for-airflow-migrations":
            words = " ".join(container.spec["args"])
            if (found := re.search(r"--migration-wait-timeout=(\d+)", words)) and int(found.group(1)) < 300:
                yield f"{name} of {pod} waits {found.group(1)} s for the migration, too short for a first start"


# -- Tasks ---------------------------------------------------------------------------------------------------------


@cache
def longest_task() -> float:
    """Return the longest execution_timeout in the DAG files, in seconds, with the settings' defaults.

    That of a deferrable task does not count: it waits in the triggerer, and keeps a worker for seconds.
    """
    longest = timedelta()
    for file in (ROOT / "dags").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            pairs: list[tuple[Any, ast.expr]] = []
            if isinstance(node, ast.Call):
                pairs = [(each.arg, each.value) for each in node.keywords]
            elif isinstance(node, ast.Dict):
                pairs = [(getattr(key, "value", None), each) for key, each in zip(node.keys, node.values, strict=True)]
            if any(name == "deferrable" for name, _ in pairs):
                continue
            for name, value in pairs:
                if name == "execution_timeout":
                    names = {"timedelta": timedelta, "settings": lambda: Settings.model_construct()}
                    code = compile(ast.Expression(value), str(file), "eval")
                    longest = max(longest, eval(code, {"__builtins__": {}}, names))
    assert longest > timedelta(minutes=1), "No DAG sets execution_timeout any more: how long may a task take?"
    return longest.total_seconds()


@rule
def grace(rendered: Rendered) -> Iterator[str]:
    """A worker that is terminated finishes what it runs, as long as the DAGs' own limits allow."""
    for component in ("worker", "kubernetes"):
        for pod in rendered.pods:
            if pod.component != component or not (pod.long_running or pod.kind == "Pod"):
                continue
            if pod.spec["terminationGracePeriodSeconds"] < longest_task():
                yield f"{pod} is killed {pod.spec['terminationGracePeriodSeconds']} s after SIGTERM"
            if pod.template["metadata"]["annotations"].get("cluster-autoscaler.kubernetes.io/safe-to-evict") != "false":
                yield f"{pod} may be evicted by the cluster's autoscaler"
    for worker in (pod for pod in rendered.pods if pod.component == "worker" and pod.long_running):
        rolling = worker.workload["spec"].get("strategy", {}).get("rollingUpdate", {})
        if worker.kind == "Deployment" and rolling.get("maxUnavailable") != 0:
            yield f"{worker} ends old workers before there are new ones"
    scheduler = rendered.pod("scheduler")
    if scheduler and scheduler.spec["terminationGracePeriodSeconds"] < 30:
        yield "the scheduler is killed before it has handed over"
    if float(rendered.config["celery_broker_transport_options"].get("visibility_timeout", 0)) <= longest_task():
        yield "Redis hands a long task out again while it runs: visibility_timeout"


@rule
def scaling(rendered: Rendered) -> Iterator[str]:
    """KEDA can read what it queries, keeps a worker, and starts as many as the tasks of their queues need."""
    for each in rendered.of_kind("ScaledObject"):
        spec = each["spec"]
        if spec["minReplicaCount"] < 1 and spec["cooldownPeriod"] < longest_task():
            yield f"{each['metadata']['name']} may scale to none under a task"
        if rendered.of_kind("HorizontalPodAutoscaler"):
            yield "KEDA and an autoscaler of Kubernetes would fight"
        target = rendered.named(spec["scaleTargetRef"].get("kind", "Deployment"), spec["scaleTargetRef"]["name"])
        main = Container(target["spec"]["template"]["spec"]["containers"][0], "main")
        for trigger in spec["triggers"]:
            meta = trigger["metadata"]
            variable = meta.get("connectionFromEnv") or meta.get("connectionStringFromEnv")
            if variable not in main.env:
                yield f"{each['metadata']['name']} reads {variable}, which the worker has not"
            if trigger["type"] == "mysql" and re.search(r"::|IS DISTINCT FROM", meta["query"]):
                yield f"{each['metadata']['name']} queries MySQL in PostgreSQL's dialect"
            queues, tasks = what_it_runs(main, rendered)
            divisor = re.search(r"/ *(\d+)", meta["query"])
            if divisor is None or int(divisor[1]) != tasks:
                yield f"{each['metadata']['name']} does not divide by {tasks}, what its workers run at a time"
            counted = re.search(r"queue (?:IN|=) *\(?([^)]*?)\)? +AND", meta["query"])
            if counted is None or set(re.findall(r"'([^']*)'", counted[1])) != queues:
                yield f"{each['metadata']['name']} counts tasks of {counted and counted[1]}, its workers take {queues}"


def what_it_runs(worker: Container, rendered: Rendered) -> tuple[set[str], int]:
    """Return a Celery worker's queues, and how many tasks it runs at a time, read as ``airflow celery worker`` does."""
    words = shlex.split(
        worker.spec["args"][-1] if worker.spec["args"][0] == "bash" else shlex.join(worker.spec["args"])
    )
    options = argparse.ArgumentParser()
    options.add_argument("-q", "--queues", default=rendered.config.get("operators", {}).get("default_queue", "default"))
    options.add_argument("-c", "--concurrency", type=int)
    options.add_argument("-a", "--autoscale")
    given, _ = options.parse_known_args(words)
    default = worker.env.get("AIRFLOW__CELERY__WORKER_CONCURRENCY", rendered.config["celery"]["worker_concurrency"])
    tasks = int(given.autoscale.split(",")[0]) if given.autoscale else int(given.concurrency or default)
    return {queue.strip() for queue in given.queues.split(",")}, tasks


@rule
def worker_is_asked(rendered: Rendered) -> Iterator[str]:
    """A worker that lost its broker for good still has a process: only its own answer shows it."""
    for worker in rendered.pods_of("worker"):
        main = next((each for each in worker.containers if each.name == "worker"), None)
        words = " ".join((main.spec.get("livenessProbe") or {}).get("exec", {}).get("command", [])) if main else ""
        if "inspect ping" not in words or "-d celery@" not in words:
            yield f"the probe of {worker} does not ask this worker"


@rule
def executor_pods(rendered: Rendered) -> Iterator[str]:
    """Pods of the Kubernetes executor start in number, are given up when they hang, and are cleaned away."""
    config = rendered.config
    kubernetes = config["kubernetes_executor"]
    if rendered.config["core"]["executor"] != "CeleryExecutor,KubernetesExecutor":
        yield "the executors are not Celery (default) and Kubernetes"
    if int(kubernetes.get("worker_pods_creation_batch_size", 1)) < 8:
        yield "the scheduler starts pods one by one"
    if kubernetes.get("delete_worker_pods") != "True":
        yield "pods of finished tasks stay"
    if int(kubernetes.get("task_publish_max_retries", 0)) < 1:
        yield "a full quota fails a task at once"
    if not 300 <= float(config["scheduler"].get("task_queued_timeout", 0)) <= 3600:
        yield "a task whose pod stays pending is never taken back, or too soon"
    token = float(config["execution_api"].get("jwt_expiration_time", 600))
    if token < float(config["scheduler"].get("task_queued_timeout", 600)):
        yield "a task that waits long is refused when it starts: its token is too old"
    if not any(each["metadata"]["name"] == "airflow-cleanup" for each in rendered.of_kind("CronJob")):
        yield "nothing cleans up failed pods"
    pod = rendered.pod("kubernetes")
    assert pod is not None
    main = next(each for each in pod.containers if each.role == "main")
    if main.name != "base":
        yield f"the executor would run tasks in the container {main.name}: it takes the first"
    if main.env.get("CONNECTION_CHECK_MAX_COUNT") != "0":
        yield "each pod checks the database before its task starts"
    if "git-dag-bundle" not in rendered.features:
        *_, program, folder, seconds = main.spec.get("command") or [None] * 3
        if program != "/opt/taxiway/start_task.py" or folder != config["core"]["dags_folder"]:
            yield "a task does not wait for its DAGs"
        elif float(seconds) <= float(config["scheduler"].get("task_queued_timeout", 600)):
            yield "a task that waits for its DAGs fails before it is taken back"
    for name in ("TAXIWAY_LAKE", "TAXIWAY_SPARK_JOBS", "AIRFLOW_CONN_TLC_CATALOG"):
        if name not in main.env:
            yield f"the executor's pods lack {name}"


@rule
def broker(rendered: Rendered) -> Iterator[str]:
    celery = rendered.config["celery"]
    if celery.get("worker_prefetch_multiplier") != "1" or celery.get("task_acks_late") != "True":
        yield "a worker takes tasks that it cannot run yet, or loses them when it dies"
    if celery.get("sync_parallelism") != "1":
        yield "the scheduler starts processes for each batch of tasks"
    redis = rendered.pod("redis")
    if redis and redis.containers[0].env.get("REDIS_PASSWORD") is None:
        yield "Redis has no password"


@rule
def logs_are_read(rendered: Rendered) -> Iterator[str]:
    """Logs of finished tasks are on S3, by a connection that all have; those of running ones are asked by address."""
    logging = rendered.config["logging"]
    if logging.get("remote_logging") != "True" or not logging.get("remote_base_log_folder", "").startswith("s3://"):
        yield "logs of finished tasks are not on S3"
    if logging.get("remote_log_conn_id") != "aws_default":
        yield "the connection for logs is not aws_default"
    accounts = {each["metadata"]["name"]: each for each in rendered.of_kind("ServiceAccount")}
    components = ("api-server", "scheduler", "dag-processor", "triggerer", "worker", "kubernetes")
    for pod in (pod for each in components for pod in rendered.pods_of(each)):
        mains = [each for each in pod.containers if each.role == "main" and runs_airflow(each)]
        if mains and mains[0].env.get("AIRFLOW_CONN_AWS_DEFAULT") != "aws://":
            yield f"{pod} lacks AIRFLOW_CONN_AWS_DEFAULT"
        if rendered.environment == "eks" and pod.component != "scheduler":
            name = pod.spec["serviceAccountName"]
            role = (accounts[name]["metadata"].get("annotations") or {}).get("eks.amazonaws.com/role-arn", "")
            # The template of aws/ makes a role for each service account, which trusts that one alone.
            if not re.fullmatch(rf"arn:aws:iam::\d{{12}}:role/[\w-]+-{name}", role):
                yield f"{pod} has no role of AWS that trusts its service account {name}"
    for pod in rendered.pods:
        by_address = rendered.config["core"].get("hostname_callable") == "airflow.utils.net.get_host_ip_address"
        if pod.component in ("worker", "triggerer") and pod.kind == "Deployment" and not by_address:
            yield f"the page cannot reach {pod} for the log of a running task: its name is not in DNS"


@rule
def no_worker_volume(rendered: Rendered) -> Iterator[str]:
    """Decided once: a StatefulSet cannot be made of a Deployment by an upgrade, nor the other way."""
    for pod in rendered.pods:
        if pod.component in ("worker", "triggerer") and pod.kind == "StatefulSet":
            yield f"{pod} keeps a volume"


# -- DAGs ----------------------------------------------------------------------------------------------------------


@rule
def dags_by_git_only(rendered: Rendered) -> Iterator[str]:
    """git-sync in every pod that runs tasks or parses; short period; survives an outage; no volume claim."""
    if rendered.of_kind("PersistentVolumeClaim"):
        yield "the chart claims a volume"
    if "git-dag-bundle" in rendered.features:
        if any("git-sync" in container.name for _, container, _ in each_container(rendered)):
            yield "git-sync and Airflow's own bundle both bring DAGs"
        bundles = rendered.config["dag_processor"]["dag_bundle_config_list"]
        if "git.example.org" not in bundles and "git-server" not in bundles:
            yield f"the bundle names no repository: {bundles}"
        return
    components = ("dag-processor", "triggerer", "worker", "kubernetes")
    for pod in (pod for each in components for pod in rendered.pods_of(each)):
        sync = next((each for each in pod.containers if each.role == "main" and each.name.startswith("git-sync")), None)
        if sync is None:
            yield f"{pod} gets no DAGs by git"
            continue
        env = sync.env
        if not env.get("GITSYNC_REPO") or "apache/airflow" in str(env["GITSYNC_REPO"]):
            yield f"{pod} reads the repository {env.get('GITSYNC_REPO')!r}"
        if env.get("GITSYNC_REF") in (None, "", "HEAD") or env.get("GIT_SYNC_BRANCH") != env.get("GITSYNC_REF"):
            yield f"{pod} follows no branch or tag in particular"
        if "GIT_SYNC_WAIT" in env or duration(str(env.get("GITSYNC_PERIOD"))) > 5:
            yield f"{pod} checks for commits less often than every 5 s"
        if env.get("GITSYNC_DEPTH") != "1":
            yield f"{pod} fetches the whole history"
        if int(str(env.get("GITSYNC_MAX_FAILURES"))) < 60:
            yield f"{pod} loses git-sync soon after the git host"
        if pod.component == "kubernetes":
            if env.get("GITSYNC_ONE_TIME") != "true":
                yield "git-sync keeps the pod of a finished task"
        elif "httpGet" not in (sync.spec.get("livenessProbe") or {}):
            yield f"{pod}'s git-sync has no probe of its own"
    workers = rendered.config["workers"]
    delay, tries = (int(workers.get(f"missing_dag_{key}", 0)) for key in ("retry_delay", "retries"))
    if not 0 < delay <= 10 or delay * tries < 60:
        yield f"a task whose DAG its worker does not have yet is put back {tries} times for {delay} s"


@rule
def git_access(rendered: Rendered) -> Iterator[str]:
    """ssh with a known host, or https with both versions' variables."""
    for _, container, name in each_container(rendered):
        if not container.name.startswith("git-sync"):
            continue
        env = container.env
        if env.get("GITSYNC_SSH") == "true":
            if env.get("GITSYNC_SSH_KNOWN_HOSTS") != "true":
                yield f"{name} talks to whoever answers for the git host"
            mounts = {each["mountPath"]: each.get("subPath") for each in container.spec["volumeMounts"]}
            if mounts.get("/etc/git-secret/ssh") != "gitSshKey":
                yield f"{name} has no key"
        for variable in SECRETS["git-credentials"] if "https-git" in rendered.features else ():
            if not isinstance(env.get(variable), dict):
                yield f"{name} lacks {variable}"
    if "ssh-git" in rendered.features:
        lines = rendered.settings_map.get("known_hosts", "").splitlines()
        found = {fingerprint(line.split()[2]) for line in lines if len(line.split()) == 3}
        if not found or not found <= GITHUB_KEYS:
            yield "known_hosts has not the keys that GitHub publishes"


@rule
def parsing(rendered: Rendered) -> Iterator[str]:
    """A changed DAG is seen soon, a new one too, and files that did not change are left alone."""
    processor, core = rendered.config["dag_processor"], rendered.config["core"]
    if processor.get("file_parsing_sort_mode") != "modified_time":
        yield "changed files wait for min_file_process_interval"
    if not 60 <= int(processor.get("min_file_process_interval", 30)) <= 600:
        yield "files are parsed over and over, or one that was missed for long"
    if int(processor.get("refresh_interval", 300)) > 10 or int(processor.get("bundle_refresh_check_interval", 5)) > 5:
        yield "new files are found late"
    if int(core.get("min_serialized_dag_update_interval", 30)) > 5:
        yield "a second change within half a minute is not written"


@rule
def api_server(rendered: Rendered) -> Iterator[str]:
    api = rendered.config["api"]
    if api.get("server_type") != "gunicorn" or int(api.get("worker_refresh_interval", 0)) < 600:
        yield "the API server's workers are never renewed, and its memory grows with each version of a DAG"
    if not int(api.get("dag_cache_size", 64)) or not int(api.get("dag_cache_ttl", 3600)):
        yield "the API server keeps every version of every DAG, or none"


# -- Database, metrics, the rest -----------------------------------------------------------------------------------


@rule
def database(rendered: Rendered) -> Iterator[str]:
    """PgBouncer before PostgreSQL, with a pool of its own for asyncpg; rows go after a while."""
    mysql = "mysql-metadata" in rendered.features
    if (rendered.pod("pgbouncer") is None) != mysql:
        yield "PgBouncer belongs before PostgreSQL, and only there"
    for pod, container, name in each_container(rendered):
        prefix = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
        if (
            prefix in container.env
            and f"{prefix}_ASYNC" not in container.env
            and pod.component != "airflow-cleanup-pods"
        ):
            yield f"{name} would send asyncpg's prepared statements through transaction pooling"
    jobs = {each["metadata"]["name"]: each for each in rendered.of_kind("CronJob")}
    if "airflow-database-cleanup" not in jobs:
        yield "the metadata database grows for ever"
    else:
        template = jobs["airflow-database-cleanup"]["spec"]["jobTemplate"]["spec"]["template"]
        words = str(template["spec"]["containers"][0]["args"])
        if "--skip-archive" not in words or "--batch-size" not in words:
            yield "cleaned rows only move to another table, or lock theirs for long"


@rule
def migration_job(rendered: Rendered) -> Iterator[str]:
    job = rendered.named("Job", "airflow-run-airflow-migrations")
    container = Container(job["spec"]["template"]["spec"]["containers"][0], "main")
    words = " ".join(container.spec["args"])
    if "airflow db migrate" not in words:
        yield "the database is not migrated"
    if not re.search(r"pools set emr_steps \d+ .*--include-deferred", words):
        yield "deferred steps on EMR do not count in their pool"
    for variable in ("ADMIN_USERNAME", "ADMIN_PASSWORD"):
        if "users create" in words and not (container.env.get(variable) or {}).get("secretKeyRef", {}).get("optional"):
            yield f"{variable} is not from an optional Secret"
    if "users create" in words and not re.search(r"UPDATE_FAB_PERMS=False[\s\\]+airflow users create", words):
        yield "the job writes permissions while the API server does"


@rule
def metrics(rendered: Rendered) -> Iterator[str]:
    statsd = rendered.pod("statsd")
    if statsd is None:
        yield "there is no StatsD exporter"
        return
    settings = yaml.safe_load(rendered.named("ConfigMap", "airflow-statsd")["data"]["mappings.yml"])
    if duration(str(settings.get("defaults", {}).get("ttl", "0s"))) == 0:
        yield "the exporter keeps every series for ever"
    config = rendered.config["metrics"]
    if not {"job_id", "run_id"} <= set(config.get("statsd_disabled_tags", "").split(",")):
        yield "run ids become labels: a series for each run"
    if config.get("statsd_influxdb_enabled") != "True" or config.get("legacy_names_on") != "False":
        yield "Airflow sends labels as parts of names, or everything twice"
    if config.get("stat_name_handler") != "airflow_local_settings.stat_name":
        yield "a DAG whose name is not ASCII has no metrics"
    for _, container, name in each_container(rendered):
        mounts = [mount["mountPath"].rpartition("/")[2] for mount in container.spec.get("volumeMounts") or []]
        if ("airflow.cfg" in mounts) != ("airflow_local_settings.py" in mounts):
            yield f"{name} lacks what names its metrics"
    # tests/monitoring sends every name through the exporter; here a few, for each combination of features.
    for name, wanted in (
        ("airflow.dagrun.duration.success", ("airflow_dagrun_duration", {})),
        ("airflow.task.duration", ("airflow_task_duration", {})),
        ("airflow.executor.open_slots.CeleryExecutor", ("airflow_executor_open_slots", {"executor": "CeleryExecutor"})),
        ("airflow.dagrun.rides.first_task_scheduling_delay", ("dropped", {})),
        ("airflow.taxiway.emr.cost_usd.rides", ("taxiway_emr_cost_usd_total", {"dag_id": "rides"})),
    ):
        found = mapped(settings["mappings"], name)
        if found is None or found[0] != wanted[0] or not wanted[1].items() <= found[1].items():
            yield f"{name} becomes {found}"


@rule
def names(rendered: Rendered) -> Iterator[str]:
    """Standard names from the first day: they are part of selectors, which cannot be changed."""
    wanted = {"airflow-scheduler", "airflow-api-server", "airflow-dag-processor", "airflow-triggerer", "airflow-worker"}
    if missing := wanted - {pod.name for pod in rendered.pods}:
        yield f"there is no {', '.join(sorted(missing))}"
    if rendered.config["kubernetes_executor"]["namespace"] != "taxiway":
        yield "the executor starts pods in another namespace"
    for _, container, name in each_container(rendered):
        names = [each["name"] for each in container.spec.get("env") or []]
        if twice := {each for each in names if names.count(each) > 1}:
            yield f"{name} is given {', '.join(sorted(twice))} twice"


@rule
def no_warning(rendered: Rendered) -> Iterator[str]:
    for line in rendered.notes.splitlines():
        if "WARNING" in line:
            following = rendered.notes.partition(line)[2].strip().splitlines()
            yield f"the chart's notes warn: {following[0].strip() if following else line}"


@rule
def api_versions(rendered: Rendered) -> Iterator[str]:
    """Only versions of Kubernetes' API that are there to stay; KEDA's is its only one."""
    for each in rendered.documents:
        if each["apiVersion"] not in STABLE:
            yield f"{each['kind']}/{each['metadata']['name']} is of {each['apiVersion']}"


@rule
def own_network_policies(rendered: Rendered) -> Iterator[str]:
    """helm/platform has them, default-deny; the chart's own would add to what is allowed."""
    for each in rendered.of_kind("NetworkPolicy"):
        yield f"the chart's NetworkPolicy {each['metadata']['name']} adds to ours"


def mapped(mappings: list[dict[str, Any]], name: str) -> tuple[str, dict[str, str]] | None:
    """Return the metric and labels that the exporter gives a name: globs win, then regular expressions in order."""
    for kind in ("glob", "regex"):
        for each in mappings:
            if each.get("match_type", "glob") != kind:
                continue
            pattern = each["match"]
            if kind == "glob":
                pattern = "^" + re.escape(pattern).replace(r"\*", r"([^.]*)") + "$"
            if found := re.search(pattern, name):
                texts = [each["name"], *each.get("labels", {}).values()]
                filled = [re.sub(r"\$\{?(\d)\}?", r"\\\1", text) for text in texts]
                filled = [found.expand(text) for text in filled]
                return filled[0].replace(".", "_"), dict(zip(each.get("labels", {}), filled[1:], strict=True))
    return None


def amount(text: object) -> float:
    """Return a quantity of Kubernetes' as a number: ``100m`` is 0.1, ``1Ki`` is 1024."""
    found = re.fullmatch(r"([0-9.]+)(m|[kMGT]i?|)", str(text).replace("Ki", "ki"))
    assert found, f"{text} is no quantity"
    factor = {"m": 0.001, "": 1}
    for power, letter in enumerate("kMGT", start=1):
        factor |= {letter: 1000**power, f"{letter}i": 1024**power}
    return float(found.group(1)) * factor[found.group(2)]


def duration(text: str) -> float:
    """Return ``5s``, ``1h`` or ``250ms`` in seconds."""
    found = re.findall(r"(\d+)(ms|s|m|h)", text)
    return sum(int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for number, unit in found)


def fingerprint(key: str) -> str:
    """Return a public ssh key's SHA-256, as ssh prints it."""
    return base64.b64encode(hashlib.sha256(base64.b64decode(key)).digest()).decode().rstrip("=")
