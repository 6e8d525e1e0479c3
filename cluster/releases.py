"""The releases of an environment: our chart ``platform``, the official chart ``airflow``, our chart ``monitoring``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cluster import git, manifests
from cluster.access import secret
from cluster.chart import chart_path
from cluster.config import Config
from cluster.helm import Helm, values_arguments
from cluster.kubectl import Kubectl
from console.demo import discover
from console.errors import UserError
from console.options import ROOT

NAMES = ("platform", "airflow", "monitoring")
NEEDED = ("platform", "airflow")  # monitoring is a choice
OPERATOR = "monitoring.coreos.com"
# What make secrets does not know by itself: where each comes from.
BY_HAND = {
    "git-ssh-key": "make secrets FEATURES=ssh-git GIT_SSH_KEY=<private key file>",
    "git-credentials": "make secrets FEATURES=https-git GIT_USERNAME=… GIT_PASSWORD=…",
    "git-ca": "make secrets FEATURES=https-git GIT_CA=<file>",
    "kafka-client": "kubectl create secret generic kafka-client --from-file=client.properties=<file>",
    "alertmanager-notify": (
        "kubectl create secret generic alertmanager-notify --from-file=slack-url=<file> --from-file=pager-key=<file>"
    ),
}


@dataclass(frozen=True)
class Release:
    """A release as it is to be deployed: chart and helm's further arguments."""

    name: str
    chart: str
    arguments: list[str]


def image_tag(config: Config) -> str:
    """Return the tag of our images: ``IMAGE_TAG``, or on kind that of the checkout.

    Raises:
        UserError: EKS, and none was named.
    """
    if config.environment == "eks" and not (config.registry and config.tag):
        raise UserError(
            f"ENV={config.environment} needs IMAGE_REGISTRY=… and IMAGE_TAG=…: make deploy never builds an image."
        )
    return config.tag or git.image_tag()


def platform(config: Config, tag: str) -> Release:
    """Return the release of our own chart."""
    chart = ROOT / "helm/platform"
    settings = {}
    ours = {"services": "services"} if "eta" in config.features else {}
    if config.environment == "kind":
        ours |= {"localAws": "local-aws", "gitServer": "git-server", "spark": "spark"}
        settings["localAws.engine"] = config.engine
    for key, image in ours.items():
        settings[f"images.{key}.repository"] = config.repository(image)
        settings[f"images.{key}.tag"] = tag
    files = _existing([chart / f"{config.environment}.yaml"])
    files += _features(chart, config)
    return Release("platform", str(chart), values_arguments([*files, *config.platform_values], settings))


def airflow(config: Config, tag: str) -> Release:
    """Return the release of the official chart with the overlay; fetches the chart where it is missing."""
    overlay = ROOT / "helm/airflow"
    pipelines = [_pipeline_settings()] if config.environment == "kind" else []
    files = _existing(
        [
            overlay / "base.yaml",
            overlay / "mappings.yaml",
            overlay / f"{config.environment}.yaml",
            *pipelines,
            *_features(overlay, config),
        ]
    )
    repository = config.repository("airflow")
    settings = {
        "defaultAirflowRepository": repository,
        "defaultAirflowTag": tag,
        "images.airflow.repository": repository,
        "images.airflow.tag": tag,
    }
    return Release("airflow", chart_path(), values_arguments([*files, *config.values], settings))


def _pipeline_settings() -> Path:
    """Write the settings that pipelines' demos have for kind to a values file, which a person's own values follow."""
    env = {name: value for demo in discover().values() for name, value in demo.settings.items()}
    path = ROOT / ".local/cluster/pipelines.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"global": {"taxiway": {"env": env}}}), encoding="utf-8")
    return path


def monitoring(config: Config) -> Release:
    """Return the release of our chart of scraping, rules and dashboards."""
    chart = ROOT / "helm/monitoring"
    files = _existing([chart / f"{config.environment}.yaml"]) + _features(chart, config)
    return Release("monitoring", str(chart), values_arguments([*files, *config.monitoring_values], {}))


def require_operator(config: Config, kubectl: Kubectl, manifest: str) -> None:
    """Check that the cluster knows the Prometheus operator's kinds where a manifest has objects of them.

    Raises:
        UserError: it does not; the text says what to install.
    """
    wanted = sorted({each["kind"] for each in manifests.parse(manifest) if each["apiVersion"].startswith(OPERATOR)})
    if not wanted:
        return
    known = kubectl.ask("api-resources", f"--api-group={OPERATOR}", "-o", "name")
    missing = [kind for kind in wanted if f"{kind.lower()}s.{OPERATOR}" not in known.split()]
    if missing:
        raise UserError(
            f"{config.context} has no Prometheus operator (it does not know {' and '.join(missing)}): install "
            "kube-prometheus-stack first, as helm/monitoring/README.md says."
        )


def require_same_database(config: Config, kubectl: Kubectl) -> None:
    """Check that Airflow's own tables stay in the kind of database that they are in.

    Raises:
        UserError: they would be looked for in another one, and be missing there.
    """
    values = helm_for(config, kubectl).values("airflow")
    connection = secret(kubectl, "airflow-metadata").get("connection", "")
    found = set()
    if values is not None:
        found.add((values.get("data") or {}).get("metadataConnection", {}).get("protocol") or "postgresql")
    if connection:
        found.add(re.split("[+:]", connection, maxsplit=1)[0])
    if others := sorted(found - {config.metadata_kind}):
        raise UserError(other_database_sentence(config, others[0]))


def other_database_sentence(config: Config, running: str) -> str:
    """Return what a person is told whose tables are in another kind of database than the features ask for."""
    names = {"mysql": "MySQL", "postgresql": "PostgreSQL"}
    mysql = config.metadata_kind == "mysql"
    if config.environment == "kind":
        away = f"{config.make('kind-down')} removes it with all that it stored"
    else:
        away = "uninstall the release airflow and delete the secrets airflow-metadata and airflow-result-backend"
    return (
        f"Airflow's own tables in {config.namespace} of {config.context} are in {names.get(running, running)}; "
        f"{'with' if mysql else 'without'} the feature mysql-metadata they would be in {names[config.metadata_kind]}, "
        f"empty, for nothing moves them. Nothing was changed. {'' if mysql else 'Add FEATURES=mysql-metadata; or t'}"
        f"{'T' if mysql else ''}ake another NAMESPACE=…, or give up what is there: {away}."
    )


def require_secrets(config: Config, kubectl: Kubectl, rendered: Sequence[str]) -> None:
    """Check that the namespace has every secret that manifests need, and none of them makes.

    Raises:
        UserError: some are missing; the text names them and how they are made.
    """
    # Together: External Secrets are in the chart platform, and who needs them in the chart airflow.
    needed = manifests.needed_secrets("\n---\n".join(rendered))
    # Names and keys only: the values stay in the cluster.
    template = '{{range .items}}{{.metadata.name}}{{range $key, $value := .data}} {{$key}}{{end}}{{"\\n"}}{{end}}'
    listed = kubectl.ask("get", "secrets", "-o", f"go-template={template}")
    there = {words[0]: set(words[1:]) for line in listed.splitlines() if (words := line.split())}
    if missing := manifests.missing_secrets(needed, there):
        raise UserError(secrets_sentence(config, missing))


def secrets_sentence(config: Config, missing: Sequence[str]) -> str:
    """Return a sentence that names missing secrets and how each is made."""
    by_hand = [name for name in missing if name.split()[0] in BY_HAND]
    others = [name for name in missing if name not in by_hand]
    one = len(missing) == 1
    names = f"The secret{'' if one else 's'} {', '.join(missing)} {'is' if one else 'are'} missing"
    parts = [f"{names} in the namespace {config.namespace!r}:"]
    where = f"kubectl --context {config.context} -n {config.namespace}"
    for name in by_hand:
        way = BY_HAND[name.split()[0]]
        parts.append(way.replace("make secrets", config.make("secrets"), 1).replace("kubectl", where, 1))
    if others:
        parts.append(f"{config.make('secrets')} makes {'what is missing' if by_hand else 'it' if one else 'them'}.")
    return " ".join(parts)


def helm_for(config: Config, kubectl: Kubectl) -> Helm:
    """Return helm for the environment; UserError if it is missing or too old."""
    helm = Helm(kubectl, config.wait_s, config.make("rollback"))
    helm.require_version()
    return helm


def _features(folder: Path, config: Config) -> list[Path]:
    """Return the files with what features need of a chart, everywhere or in one environment; few have the second."""
    names = (Path(where, f"{feature}.yaml") for feature in config.features for where in ("", config.environment))
    return [file for name in names if (file := folder / "features" / name).is_file()]


def _existing(files: Sequence[Path]) -> list[Path]:
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is missing: the checkout is not whole.")
    return list(files)
