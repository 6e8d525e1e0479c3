"""What each command of ``python -m cluster`` does."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from cluster import credentials, git, images, manifests, programs, releases, status
from cluster.access import ADMIN_SECRET, admin, open_airflow, secret
from cluster.chart import chart_path
from cluster.config import Config
from cluster.helm import choose_revision
from cluster.kubectl import Forward, Kubectl
from cluster.platform import PROCESSOR, checkout_path, find_checkout, open_platform, run_in_pod, run_module
from cluster.shell import require
from cluster.target import open_target, remove_namespace, require_context
from console import demo as demos
from console.airflow import import_sentence
from console.errors import UserError
from console.options import ROOT
from console.output import Reporter
from console.patience import NotNowError, patiently
from console.ports import require_free

VISIBLE_TIMEOUT_S = 120
REPORTS = ROOT / ".local/cluster/reports"


def kind_up(config: Config, console: Console) -> int:
    """Bring the whole platform of the checkout to a kind cluster, or to the one-node cluster of KUBE_CONTEXT."""
    report = Reporter(console)
    _require_environment(config, "kind", "kind-up")
    require("docker", "helm", "kubectl", "git", *(["kind"] if config.own_kind_cluster else []))
    images.require_docker()
    commit, tag = git.head(), config.tag or git.image_tag()
    chart_path()  # an unavailable chart is reported before the long steps
    if config.own_kind_cluster and "taxiway" not in images.kind_clusters():
        report("makes the kind cluster 'taxiway' (some minutes the first time: its node's image is downloaded)")
        images.create_kind_cluster()
    elif config.own_kind_cluster:
        images.export_context()
    if not config.own_kind_cluster and not config.loader:
        images.load(config, [], report)  # raises: there is no way to load what would be built
    releases.require_same_database(config, Kubectl(require_context(config), config.namespace))
    _note_uncommitted(report)
    built = images.build(config, tag, report)
    images.load(config, built, report)
    kubectl = open_target(config, make_namespace=True)
    _make_secrets(config, kubectl, report)
    helm = releases.helm_for(config, kubectl)
    platform = releases.platform(config, tag)
    report("installs the databases, the git server and the local AWS endpoint; waits until they are ready")
    helm.upgrade(platform.name, platform.chart, platform.arguments, report)
    _deliver(kubectl, config, commit, report)
    airflow = releases.airflow(config, tag)
    releases.require_secrets(config, kubectl, [helm.template(airflow.name, airflow.chart, airflow.arguments)])
    report(f"installs Airflow ({config.repository('airflow')}:{tag}); waits until all of it is ready")
    helm.upgrade(airflow.name, airflow.chart, airflow.arguments, report)
    report("creates or upgrades the tables of the dataset catalogue")
    run_module(kubectl, "taxiway.catalogue", "migrate")
    report("everything is ready\n")
    _show_pages(config, report)
    for each in demos.discover().values():
        report.plain(f"Demo      {config.make('kind-demo', PIPELINE=each.name)}   {each.title}")
    report.plain(f"Metrics   {config.make('monitoring')}   adds Prometheus, Alertmanager and Grafana")
    return 0


def kind_down(config: Config, console: Console) -> int:
    """Remove the kind cluster; from another cluster, only the platform's namespace."""
    report = Reporter(console)
    _require_environment(config, "kind", "kind-down")
    if config.own_kind_cluster:
        images.require_docker()
        if "taxiway" not in images.kind_clusters():
            report.plain("There is no kind cluster 'taxiway': nothing to remove.")
            return 0
        report("removes the kind cluster 'taxiway' with everything that it stored")
        images.delete_kind_cluster()
        return 0
    kubectl = open_target(config)
    report(f"removes the namespace {config.namespace} of {config.context} with everything that it stored")
    remove_namespace(kubectl)
    return 0


def kind_demo(config: Config, console: Console) -> int:
    """Run the demo that PIPELINE names on the cluster, or one after the other, and follow them."""
    report = Reporter(console)
    _require_environment(config, "kind", "kind-demo")
    chosen = demos.choose(config.given)
    given = {each.name: demos.given_input(each, config.given) for each in chosen}
    for each in chosen:  # what cannot be used is refused before the cluster is asked anything
        each.read_input(given[each.name], checkout_path)
    kubectl = open_target(config)
    _require_airflow(config, kubectl)
    for each in [each for each in chosen if each.pod and not kubectl.find("deployment", each.pod)]:
        sentence = (
            f"The demo of {each.name} needs the deployment {each.pod}, which is not there: "
            f"{config.make('kind-up', ENGINE='spark', FEATURES=each.feature)} brings it."
        )
        if len(chosen) == 1:
            raise UserError(sentence)
        report(f"leaves out {each.name}. {sentence}")
        chosen.remove(each)
    seen_as = partial(checkout_path, checkout=find_checkout(kubectl))
    inputs = [each.read_input(given[each.name], seen_as) for each in chosen]
    report("upgrades the tables of the dataset catalogue")
    run_module(kubectl, "taxiway.catalogue", "migrate")
    with open_platform(kubectl, report) as platform:
        demos.prepare(platform, chosen, report)
        for each, data in zip(chosen, inputs, strict=True):
            plan = demos.run(platform, each, data, report, since=datetime.now(UTC))
            report(f"the demo of {each.name} is complete")
            for command in each.in_pod(platform, data):
                report(f"in a pod of {each.pod}: {' '.join(command)}")
                report.plain(run_in_pod(kubectl, each.pod, command, report))
            demos.show_reports(demos.copy_reports(platform, each, plan, REPORTS / each.name, report), report)
    return 0


def make_images(config: Config, console: Console) -> int:
    """Build the images of the checkout and load them, if the cluster is there."""
    report = Reporter(console)
    tag = config.tag or git.image_tag()
    built = images.build(config, tag, report)
    if config.environment == "kind" and (config.loader or _kind_cluster_runs(config)):
        images.load(config, built, report)
    for name in built:
        report.plain(name)
    return 0


def make_secrets(config: Config, console: Console) -> int:
    """Make the secrets that are missing, and the namespace where it is."""
    kubectl = open_target(config, make_namespace=True)
    releases.require_same_database(config, kubectl)
    _make_secrets(config, kubectl, Reporter(console))
    return 0


def deploy(config: Config, console: Console) -> int:
    """Install or upgrade both releases with images that are there already."""
    report = Reporter(console)
    require("helm", "kubectl")
    tag = releases.image_tag(config)
    kubectl = open_target(config)
    releases.require_same_database(config, kubectl)
    helm = releases.helm_for(config, kubectl)
    wanted = [releases.platform(config, tag), releases.airflow(config, tag)]
    rendered = [helm.template(each.name, each.chart, each.arguments) for each in wanted]
    releases.require_secrets(config, kubectl, rendered)
    if config.environment == "kind" and config.tag is None:
        _note_uncommitted(report)
    for release in wanted:
        report(f"deploys {release.name} to {config.namespace} of {config.context}; waits until all of it is ready")
        helm.upgrade(release.name, release.chart, release.arguments, report)
    report(f"ready, with {config.repository('airflow')}:{tag}")
    return 0


def diff(config: Config, console: Console) -> int:
    """Show what a deployment would change; no value of a secret is shown."""
    report = Reporter(console)
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
        report.plain("Nothing would change.")
    return 0


def rollback(config: Config, console: Console) -> int:
    """Take a release back to the revision before, or to ``REVISION``."""
    report = Reporter(console)
    require("helm", "kubectl")
    name = config.given.get("RELEASE") or "airflow"
    if name not in releases.NAMES:
        raise UserError(f"RELEASE={name} is not known: use RELEASE={' or RELEASE='.join(releases.NAMES)}.")
    kubectl = open_target(config)
    helm = releases.helm_for(config, kubectl)
    history = helm.history(name)
    target = choose_revision(name, history, config.given.get("REVISION"))
    current = int(history[-1]["revision"])
    before, after = (_image_of(helm.manifest(name, revision)) for revision in (current, target))
    report(
        f"takes {name} from revision {current} ({before}) back to {target} ({after}); waits until all of it is ready"
    )
    helm.rollback(name, target, report)
    now = helm.history(name)[-1]["revision"]
    report(f"ready: revision {now} is revision {target} again ({after}). The database's tables stay as they are.")
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
    login = f"user and password: {config.make('password')}"
    return _serve(kubectl, "service/airflow-api-server", 8080, config.ui_port, "UI_PORT", login, console)


def flower(config: Config, console: Console) -> int:
    """Open Flower's page on loopback until Ctrl-C."""
    kubectl = open_target(config)
    _require_airflow(config, kubectl)
    login = f"user and password: {config.make('password')}"
    return _serve(kubectl, "service/airflow-flower", 5555, config.flower_port, "FLOWER_PORT", login, console)


def deploy_monitoring(config: Config, console: Console) -> int:
    """Install or upgrade what reads the metrics: Prometheus and Grafana on kind, objects for the operator on EKS."""
    report = Reporter(console)
    require("helm", "kubectl")
    kubectl = open_target(config)
    _require_airflow(config, kubectl)
    helm = releases.helm_for(config, kubectl)
    release = releases.monitoring(config)
    rendered = helm.template(release.name, release.chart, release.arguments)
    releases.require_operator(config, kubectl, rendered)
    releases.require_secrets(config, kubectl, [rendered])
    report(f"deploys {release.name} to {config.namespace} of {config.context}; waits until all of it is ready")
    helm.upgrade(release.name, release.chart, release.arguments, report)
    report("ready\n")
    services = {each["metadata"]["name"] for each in manifests.parse(rendered) if each["kind"] == "Service"}
    for title, port in (
        ("grafana", config.grafana_port),
        ("prometheus", config.prometheus_port),
        ("alertmanager", config.alertmanager_port),
    ):
        if title in services:
            report.plain(f"{title.capitalize():13}{config.make(title)}   then http://127.0.0.1:{port}")
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
    report = Reporter(console)
    kubectl = open_target(config)
    found = False
    if secret(kubectl, ADMIN_SECRET):
        name, word = admin(kubectl)
        report.plain(f"Airflow  user {name}  password {word}")
        found = True
    user, _, word = secret(kubectl, "airflow-flower-auth").get("basicAuth", "").partition(":")
    if word:
        report.plain(f"Flower   user {user}  password {word}")
        found = True
    if not found:
        raise UserError(f"There is no secret {ADMIN_SECRET} or airflow-flower-auth: {config.make('secrets')}.")
    return 0


def dags_push(config: Config, console: Console) -> int:
    """Bring the commit that is checked out into the cluster, and wait until Airflow has read it."""
    report = Reporter(console)
    if config.environment != "kind":
        raise UserError(
            f"ENV={config.environment}: DAGs come from your Git repository. git push there, and "
            f"{config.make('status')} shows when they have arrived."
        )
    commit = git.head()
    kubectl = open_target(config)
    _note_uncommitted(report)
    # Files of a commit that is there already are parsed by the clock alone, minutes later: their last time counts.
    pushed = datetime.now(UTC) if _deliver(kubectl, config, commit, report) else datetime.min.replace(tzinfo=UTC)
    report("waits until it has come to the DAG processor")
    deadline = time.monotonic() + VISIBLE_TIMEOUT_S
    while status.synced_commit(kubectl) != commit:
        if time.monotonic() > deadline:
            raise UserError(
                f"{commit[:12]} has not come within {VISIBLE_TIMEOUT_S} s: kubectl --context {config.context} "
                f"-n {config.namespace} logs {PROCESSOR} --all-containers shows why."
            )
        time.sleep(1)
    report("waits until Airflow has parsed its DAGs")
    with open_airflow(kubectl, say=report) as airflow:
        while True:
            dags, errors = airflow.dags(), airflow.import_faults()
            files = {dag["relative_fileloc"] for dag in dags if _time(dag["last_parsed_time"]) >= pushed}
            files |= {Path(error["filename"] or "").name for error in errors if _time(error["timestamp"]) >= pushed}
            if not (behind := sorted(git.dag_files(commit) - files)):
                break
            if time.monotonic() > deadline:
                raise UserError(f"Not parsed within {VISIBLE_TIMEOUT_S} s: {', '.join(behind)}.")
            time.sleep(1)
        if errors:
            raise UserError("\n".join(import_sentence(error) for error in errors))
    report(f"Airflow runs {commit[:12]}: {', '.join(sorted(dag['dag_id'] for dag in dags))}")
    return 0


def publish_programs(config: Config, console: Console) -> int:
    """Publish the Spark programs of the commit that is checked out."""
    report = Reporter(console)
    commit = git.head()
    if config.environment == "kind":
        kubectl = open_target(config)
        with programs.local_aws(kubectl) as url:
            programs.ensure_buckets(url)
            report(f"published {programs.publish(commit, programs.destination(config), url)}")
    else:
        report(f"published {programs.publish(commit, programs.destination(config), None)}")
    _note_uncommitted(report)
    return 0


def _deliver(kubectl: Kubectl, config: Config, commit: str, report: Callable[[str], None]) -> bool:
    """Publish the commit's Spark programs, then its DAGs, which need them; return whether the git server had others."""
    with programs.local_aws(kubectl) as url:
        if made := programs.ensure_buckets(url):
            report(f"made the buckets {', '.join(made)}")
        folder = programs.publish(commit, programs.destination(config), url)
        report(f"published the Spark programs of {commit[:12]} to {folder}")
    before, now = git.push(kubectl)
    if before == now:
        report(f"the git server has {now[:12]} already")
    else:
        report(f"pushed {now[:12]} to the git server" + (f", which had {before[:12]}" if before else ""))
    return before != now


def _make_secrets(config: Config, kubectl: Kubectl, report: Callable[[str], None]) -> None:
    made, kept = credentials.ensure_secrets(config, kubectl)
    report(f"secrets: made {', '.join(made) or 'none'}; kept {', '.join(kept) or 'none'}")


def _note_uncommitted(report: Callable[[str], None]) -> None:
    if changed := git.uncommitted():
        names = ", ".join(changed[:4]) + (" …" if len(changed) > 4 else "")
        report(f"note: not committed, so not delivered (DAGs, Spark programs): {names} ({len(changed)} in all)")


def _show_pages(config: Config, report: Reporter) -> None:
    report.plain(f"Airflow   {config.make('ui')}       then http://127.0.0.1:{config.ui_port}")
    report.plain(f"Flower    {config.make('flower')}   then http://127.0.0.1:{config.flower_port}")
    report.plain(
        f"Log-in    {config.make('password')} shows users and passwords (secrets {ADMIN_SECRET}, airflow-flower-auth)"
    )


def _require_environment(config: Config, environment: str, target: str) -> None:
    if config.environment != environment:
        raise UserError(f"make {target} is for ENV={environment}, not for ENV={config.environment}: use make deploy.")


def _require_airflow(config: Config, kubectl: Kubectl) -> None:
    if not kubectl.find("deployment", "airflow-api-server"):
        hint = config.make("kind-up") if config.environment == "kind" else config.make("deploy")
        raise UserError(f"Airflow is not deployed in {config.namespace} of {config.context}: {hint} does it.")


def _kind_cluster_runs(config: Config) -> bool:
    return config.own_kind_cluster and "taxiway" in images.kind_clusters()


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


def _image_of(manifest: str) -> str:
    return manifests.airflow_image(manifest) or ", ".join(sorted(manifests.images(manifest))) or "no image"


def _print_diff(console: Console, text: str) -> None:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in text.splitlines():
        console.print(line, style=styles.get(line[:1], ""), markup=False, highlight=False, soft_wrap=True)


def _serve_monitoring(config: Config, name: str, port: int, local: int, note: str, console: Console) -> int:
    kubectl = open_target(config)
    if not kubectl.find("service", name):
        raise UserError(
            f"{name.capitalize()} is not deployed in {config.namespace} of {config.context}: "
            + (
                f"{config.make('monitoring')} does it."
                if config.environment == "kind"
                else "on EKS it is kube-prometheus-stack's own (helm/monitoring/README.md)."
            )
        )
    return _serve(kubectl, f"service/{name}", port, local, f"{name.upper()}_PORT", note, console)


def _serve(kubectl: Kubectl, target: str, port: int, local: int, variable: str, note: str, console: Console) -> int:
    report = Reporter(console)
    require_free(local, variable, f"the page of {target}")
    with kubectl.forward(target, port, local) as forward:
        report.plain(f"{forward.url}   ({note})\nCtrl-C ends it.")
        while True:
            if forward.wait(1):
                report("the pod behind it is gone; opens it again")
                _again(forward, report)


def _again(forward: Forward, report: Reporter) -> None:
    def attempt() -> None:
        try:
            forward.ensure()
        except UserError as error:
            raise NotNowError(str(error)) from None

    patiently(attempt, of="The page", hint="make status shows what runs.", say=report)
