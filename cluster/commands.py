"""What each command of ``python -m cluster`` does."""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster import credentials, demo, git, images, jobs, manifests, releases, status
from cluster.airflow_api import ADMIN_SECRET, admin, import_error, open_airflow, secret
from cluster.chart import chart_path
from cluster.config import ROOT, ClusterError, Config
from cluster.helm import choose_revision
from cluster.kubectl import Kubectl
from cluster.shell import require
from cluster.target import open_target, require_context

VISIBLE_S = 120
REPORTS = ROOT / ".local/cluster/reports"


class Teller:
    """Says each step, and what it waits for, with the time since the command began."""

    def __init__(self, console: Console) -> None:
        self.console, self.began = console, time.monotonic()

    def __call__(self, text: str) -> None:
        """Print a line."""
        self.console.print(f"[dim]{time.monotonic() - self.began:7.1f} s[/dim]  ", end="", highlight=False)
        self.plain(text)

    def plain(self, text: str = "") -> None:
        """Print a line without the time."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def kind_up(config: Config, console: Console) -> int:
    """Bring the whole platform of the checkout to a kind cluster, or to the one-node cluster of KUBE_CONTEXT."""
    say = Teller(console)
    _require_environment(config, "kind", "kind-up")
    require("docker", "helm", "kubectl", "git", *(["kind"] if config.own_kind_cluster else []))
    images.require_docker()
    commit, tag = git.head(), config.tag or git.image_tag()
    chart_path()  # a chart that cannot be had is told before the long steps
    if config.own_kind_cluster and "taxiway" not in images.kind_clusters():
        say("makes the kind cluster 'taxiway' (some minutes the first time: its node's image is downloaded)")
        images.create_kind_cluster()
    elif config.own_kind_cluster:
        images.export_context()
    if not config.own_kind_cluster and not config.loader:
        images.load(config, [], say)  # raises: there is no way to load what would be built
    require_context(config)
    _tell_uncommitted(say)
    built = images.build(config, tag, say)
    images.load(config, built, say)
    kubectl = open_target(config, make_namespace=True)
    _make_secrets(config, kubectl, say)
    helm = releases.helm_for(config, kubectl)
    platform = releases.platform(config, tag)
    say("installs the databases, the git server and the local AWS endpoint; waits until they are ready")
    helm.upgrade(platform.name, platform.chart, platform.arguments, say)
    _deliver(kubectl, config, commit, say)
    airflow = releases.airflow(config, tag)
    releases.require_secrets(config, kubectl, [helm.template(airflow.name, airflow.chart, airflow.arguments)])
    say(f"installs Airflow ({config.repository('airflow')}:{tag}); waits until all of it is ready")
    helm.upgrade(airflow.name, airflow.chart, airflow.arguments, say)
    say("makes the tables of the dataset catalogue")
    demo.migrate_catalogue(kubectl)
    say("everything is ready\n")
    _tell_pages(config, say)
    say.plain(f"Main job  {config.make('kind-demo')}   collects and analyses three real months here")
    say.plain(f"Metrics   {config.make('monitoring')}   adds Prometheus, Alertmanager and Grafana")
    return 0


def kind_down(config: Config, console: Console) -> int:
    """Remove the kind cluster; from another cluster, only the platform's namespace."""
    say = Teller(console)
    _require_environment(config, "kind", "kind-down")
    if config.own_kind_cluster:
        images.require_docker()
        if "taxiway" not in images.kind_clusters():
            say.plain("There is no kind cluster 'taxiway': nothing to remove.")
            return 0
        say("removes the kind cluster 'taxiway' with everything that it stored")
        images.delete_kind_cluster()
        return 0
    kubectl = open_target(config)
    say(f"removes the namespace {config.namespace} of {config.context} with everything that it stored")
    kubectl.run("delete", "namespace", config.namespace, "--wait=true", "--timeout=240s", seconds=300)
    return 0


def kind_demo(config: Config, console: Console) -> int:
    """Run the main job on the cluster for the months of a list, by default the sample's, and follow it."""
    say = Teller(console)
    _require_environment(config, "kind", "kind-demo")
    file = Path(config.given.get("CATALOG") or demo.SAMPLE)
    text, months = demo.cluster_list(file)
    kubectl = open_target(config)
    _require_airflow(config, kubectl)
    say(f"loads {file.name} into the dataset catalogue: {', '.join(months)}")
    demo.migrate_catalogue(kubectl)
    say(demo.load_catalogue(kubectl, text))
    since = datetime.now(UTC)
    with open_airflow(kubectl) as airflow:
        demo.run_months(airflow, months, console)
    copied = _copy_reports(kubectl, months, since)
    say(f"{', '.join(months)}: collected, analysed and published")
    if copied:
        say.plain("\nReports (open them in a browser):\n" + "\n".join(f"  {path}" for path in copied))
    return 0


def make_images(config: Config, console: Console) -> int:
    """Build the images of the checkout and load them, if the cluster is there."""
    say = Teller(console)
    tag = config.tag or git.image_tag()
    built = images.build(config, tag, say)
    if config.environment == "kind" and (config.loader or _kind_cluster_runs(config)):
        images.load(config, built, say)
    for name in built:
        say.plain(name)
    return 0


def make_secrets(config: Config, console: Console) -> int:
    """Make the secrets that are missing, and the namespace where it is."""
    _make_secrets(config, open_target(config, make_namespace=True), Teller(console))
    return 0


def deploy(config: Config, console: Console) -> int:
    """Install or upgrade both releases with images that are there already."""
    say = Teller(console)
    require("helm", "kubectl")
    tag = releases.image_tag(config)
    kubectl = open_target(config)
    helm = releases.helm_for(config, kubectl)
    wanted = [releases.platform(config, tag), releases.airflow(config, tag)]
    rendered = [helm.template(each.name, each.chart, each.arguments) for each in wanted]
    releases.require_secrets(config, kubectl, rendered)
    if config.environment == "kind" and config.tag is None:
        _tell_uncommitted(say)
    for release in wanted:
        say(f"deploys {release.name} to {config.namespace} of {config.context}; waits until all of it is ready")
        helm.upgrade(release.name, release.chart, release.arguments, say)
    say(f"ready, with {config.repository('airflow')}:{tag}")
    return 0


def diff(config: Config, console: Console) -> int:
    """Show what a deployment would change; no value of a secret is shown."""
    say = Teller(console)
    require("helm", "kubectl")
    tag = releases.image_tag(config)
    kubectl = open_target(config)
    helm = releases.helm_for(config, kubectl)
    changed = False
    for release in (releases.platform(config, tag), releases.airflow(config, tag)):
        after = helm.template(release.name, release.chart, release.arguments)
        if text := manifests.difference(helm.manifest(release.name), after):
            changed = True
            console.print(f"[bold]{release.name}[/bold]", highlight=False)
            _print_diff(console, text)
    if not changed:
        say.plain("Nothing would change.")
    return 0


def rollback(config: Config, console: Console) -> int:
    """Take a release back to the revision before, or to ``REVISION``."""
    say = Teller(console)
    require("helm", "kubectl")
    name = config.given.get("RELEASE") or "airflow"
    if name not in releases.NAMES:
        raise ClusterError(f"RELEASE={name} is not known: use RELEASE={' or RELEASE='.join(releases.NAMES)}.")
    kubectl = open_target(config)
    helm = releases.helm_for(config, kubectl)
    history = helm.history(name)
    target = choose_revision(name, history, config.given.get("REVISION"))
    current = int(history[-1]["revision"])
    before, after = (_image_of(helm.manifest(name, revision)) for revision in (current, target))
    say(f"takes {name} from revision {current} ({before}) back to {target} ({after}); waits until all of it is ready")
    helm.rollback(name, target, say)
    now = helm.history(name)[-1]["revision"]
    say(f"ready: revision {now} is revision {target} again ({after}). The database's tables stay as they are.")
    return 0


def show_status(config: Config, console: Console) -> int:
    """Show releases, pods, images and the commit that runs."""
    require("helm", "kubectl")
    kubectl = open_target(config)
    return status.show(config, kubectl, releases.helm_for(config, kubectl), console)


def ui(config: Config, console: Console) -> int:
    """Open Airflow's page on loopback until Ctrl-C."""
    kubectl = open_target(config)
    _require_airflow(config, kubectl)
    said = f"user and password: {config.make('password')}"
    return _serve(kubectl, "service/airflow-api-server", 8080, config.ui_port, "UI_PORT", said, console)


def flower(config: Config, console: Console) -> int:
    """Open Flower's page on loopback until Ctrl-C."""
    kubectl = open_target(config)
    _require_airflow(config, kubectl)
    said = f"user and password: {config.make('password')}"
    return _serve(kubectl, "service/airflow-flower", 5555, config.flower_port, "FLOWER_PORT", said, console)


def deploy_monitoring(config: Config, console: Console) -> int:
    """Install or upgrade what reads the metrics: Prometheus and Grafana on kind, objects for the operator on EKS."""
    say = Teller(console)
    require("helm", "kubectl")
    kubectl = open_target(config)
    _require_airflow(config, kubectl)
    helm = releases.helm_for(config, kubectl)
    release = releases.monitoring(config)
    rendered = helm.template(release.name, release.chart, release.arguments)
    releases.require_operator(config, kubectl, rendered)
    releases.require_secrets(config, kubectl, [rendered])
    say(f"deploys {release.name} to {config.namespace} of {config.context}; waits until all of it is ready")
    helm.upgrade(release.name, release.chart, release.arguments, say)
    say("ready\n")
    services = {each["metadata"]["name"] for each in manifests.parse(rendered) if each["kind"] == "Service"}
    for title, port in (
        ("grafana", config.grafana_port),
        ("prometheus", config.prometheus_port),
        ("alertmanager", config.alertmanager_port),
    ):
        if title in services:
            say.plain(f"{title.capitalize():13}{config.make(title)}   then http://127.0.0.1:{port}")
    return 0


def grafana(config: Config, console: Console) -> int:
    """Open Grafana's page on loopback until Ctrl-C."""
    return _serve_monitoring(
        config, "grafana", 3000, config.grafana_port, "anybody may look, nobody can sign in", console
    )


def prometheus(config: Config, console: Console) -> int:
    """Open Prometheus' page on loopback until Ctrl-C."""
    return _serve_monitoring(config, "prometheus", 9090, config.prometheus_port, "metrics, targets and rules", console)


def alertmanager(config: Config, console: Console) -> int:
    """Open Alertmanager's page on loopback until Ctrl-C."""
    return _serve_monitoring(config, "alertmanager", 9093, config.alertmanager_port, "alerts and silences", console)


def password(config: Config, console: Console) -> int:
    """Print users and passwords of the pages: only here, where somebody asks for them."""
    say = Teller(console)
    kubectl = open_target(config)
    found = False
    if secret(kubectl, ADMIN_SECRET):
        name, word = admin(kubectl)
        say.plain(f"Airflow  user {name}  password {word}")
        found = True
    user, _, word = secret(kubectl, "airflow-flower-auth").get("basicAuth", "").partition(":")
    if word:
        say.plain(f"Flower   user {user}  password {word}")
        found = True
    if not found:
        raise ClusterError(f"There is no secret {ADMIN_SECRET} or airflow-flower-auth: {config.make('secrets')}.")
    return 0


def dags_push(config: Config, console: Console) -> int:
    """Bring the commit that is checked out into the cluster, and wait until Airflow has read it."""
    say = Teller(console)
    if config.environment != "kind":
        raise ClusterError(
            f"ENV={config.environment}: DAGs come from your Git repository. git push there, and "
            f"{config.make('status')} tells when they have arrived."
        )
    commit = git.head()
    kubectl = open_target(config)
    _tell_uncommitted(say)
    # Files of a commit that is there already are parsed by the clock alone, minutes later: their last time counts.
    pushed = datetime.now(UTC) if _deliver(kubectl, config, commit, say) else datetime.min.replace(tzinfo=UTC)
    say("waits until git-sync has brought it to the DAG processor")
    deadline = time.monotonic() + VISIBLE_S
    while status.synced_commit(kubectl) != commit:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"git-sync has not brought {commit[:12]} within {VISIBLE_S} s: kubectl --context {config.context} -n "
                f"{config.namespace} logs {demo.PROCESSOR} -c git-sync tells why."
            )
        time.sleep(1)
    say("waits until Airflow has parsed its DAGs")
    with open_airflow(kubectl) as airflow:
        while True:
            dags, errors = airflow.dags(), airflow.import_errors()
            files = {dag["relative_fileloc"] for dag in dags if _time_of(dag, "last_parsed_time") >= pushed}
            files |= {Path(error["filename"]).name for error in errors if _time_of(error, "timestamp") >= pushed}
            if not (behind := sorted(git.dag_files(commit) - files)):
                break
            if time.monotonic() > deadline:
                raise ClusterError(f"Not parsed within {VISIBLE_S} s: {', '.join(behind)}.")
            time.sleep(1)
        if errors:
            raise ClusterError("\n".join(import_error(error) for error in errors))
    say(f"Airflow runs {commit[:12]}: {', '.join(sorted(dag['dag_id'] for dag in dags))}")
    return 0


def publish_jobs(config: Config, console: Console) -> int:
    """Publish the Spark programs of the commit that is checked out."""
    say = Teller(console)
    commit = git.head()
    if config.environment == "kind":
        kubectl = open_target(config)
        with jobs.local_aws(kubectl) as environment:
            jobs.make_buckets(environment)
            say(f"published {jobs.publish(commit, jobs.destination(config), environment)}")
    else:
        say(f"published {jobs.publish(commit, jobs.destination(config), None)}")
    _tell_uncommitted(say)
    return 0


def _deliver(kubectl: Kubectl, config: Config, commit: str, say: Callable[[str], None]) -> bool:
    """Publish the commit's Spark programs, then its DAGs, so that no run is without programs; tell if it is news."""
    with jobs.local_aws(kubectl) as environment:
        if made := jobs.make_buckets(environment):
            say(f"made the buckets {', '.join(made)}")
        folder = jobs.publish(commit, jobs.destination(config), environment)
        say(f"published the Spark programs of {commit[:12]} to {folder}")
    before, now = git.push(kubectl)
    if before == now:
        say(f"the git server has {now[:12]} already")
    else:
        say(f"pushed {now[:12]} to the git server" + (f", which had {before[:12]}" if before else ""))
    return before != now


def _make_secrets(config: Config, kubectl: Kubectl, say: Callable[[str], None]) -> None:
    made, kept = credentials.ensure_secrets(config, kubectl)
    say(f"secrets: made {', '.join(made) or 'none'}; kept {', '.join(kept) or 'none'}")


def _tell_uncommitted(say: Callable[[str], None]) -> None:
    if changed := git.uncommitted():
        names = ", ".join(changed[:4]) + (" …" if len(changed) > 4 else "")
        say(f"note: not committed, so not delivered (DAGs, Spark programs): {names} ({len(changed)} in all)")


def _tell_pages(config: Config, say: Teller) -> None:
    say.plain(f"Airflow   {config.make('ui')}       then http://127.0.0.1:{config.ui_port}")
    say.plain(f"Flower    {config.make('flower')}   then http://127.0.0.1:{config.flower_port}")
    say.plain(
        f"Log-in    {config.make('password')} shows users and passwords (secrets {ADMIN_SECRET}, airflow-flower-auth)"
    )


def _require_environment(config: Config, environment: str, target: str) -> None:
    if config.environment != environment:
        raise ClusterError(
            f"make {target} is for ENV={environment}, not for ENV={config.environment}: use make deploy."
        )


def _require_airflow(config: Config, kubectl: Kubectl) -> None:
    if not kubectl.find("deployment", "airflow-api-server"):
        hint = config.make("kind-up") if config.environment == "kind" else config.make("deploy")
        raise ClusterError(f"Airflow is not deployed in {config.namespace} of {config.context}: {hint} does it.")


def _kind_cluster_runs(config: Config) -> bool:
    return config.own_kind_cluster and "taxiway" in images.kind_clusters()


def _time_of(thing: dict[str, Any], when: str) -> datetime:
    text = thing.get(when)
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


def _image_of(manifest: str) -> str:
    return manifests.airflow_image(manifest) or ", ".join(sorted(manifests.images(manifest))) or "no image"


def _print_diff(console: Console, text: str) -> None:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in text.splitlines():
        console.print(line, style=styles.get(line[:1], ""), markup=False, highlight=False, soft_wrap=True)


def _copy_reports(kubectl: Kubectl, months: list[str], since: datetime) -> list[Path]:
    """Copy the months' reports out of the cluster's lake."""
    copied = []
    with jobs.local_aws(kubectl) as environment:
        s3 = jobs.s3_client(environment)
        listed = s3.list_objects_v2(Bucket="taxiway-lake", Prefix="reports/").get("Contents") or []
        for each in listed:
            key = each["Key"]
            if (
                key.endswith(".html")
                and Path(key).stem in months
                and each["LastModified"] >= since.replace(microsecond=0)
            ):
                REPORTS.mkdir(parents=True, exist_ok=True)
                target = REPORTS / Path(key).name
                target.write_bytes(s3.get_object(Bucket="taxiway-lake", Key=key)["Body"].read())
                copied.append(target)
    return copied


def _serve_monitoring(config: Config, name: str, port: int, local: int, said: str, console: Console) -> int:
    kubectl = open_target(config)
    if not kubectl.find("service", name):
        raise ClusterError(
            f"{name.capitalize()} is not deployed in {config.namespace} of {config.context}: "
            + (
                f"{config.make('monitoring')} does it."
                if config.environment == "kind"
                else "on EKS it is kube-prometheus-stack's own (helm/monitoring/README.md)."
            )
        )
    return _serve(kubectl, f"service/{name}", port, local, f"{name.upper()}_PORT", said, console)


def _serve(kubectl: Kubectl, target: str, port: int, local: int, variable: str, said: str, console: Console) -> int:
    say = Teller(console)
    require_free(local, variable)
    with kubectl.forward(target, port, local) as forward:
        say.plain(f"{forward.url}   ({said})\nCtrl-C ends it.")
        while True:
            if forward.wait(1):
                say("the pod behind it is gone; opens it again")
                _again(forward.ensure)


def _again(ensure: Callable[[], None]) -> None:
    deadline = time.monotonic() + VISIBLE_S
    while True:
        try:
            ensure()
        except ClusterError:
            if time.monotonic() > deadline:
                raise
            time.sleep(2)
        else:
            return


def require_free(port: int, variable: str) -> None:
    """Check that a local port is free; ClusterError otherwise."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ClusterError(f"Port {port} is taken: end what listens there, or say {variable}=<another>.") from None
