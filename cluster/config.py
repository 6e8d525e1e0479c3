"""Which environment, cluster and images a command means: read once from the environment's variables."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from console.errors import UserError
from console.options import ROOT, engine, number, port

ENVIRONMENTS = ("kind", "eks")
KIND_CLUSTER = "taxiway"
KIND_CONTEXT = f"kind-{KIND_CLUSTER}"


@dataclass(frozen=True)
class Config:
    """What the person asked for.

    Attributes:
        environment: ``kind`` or ``eks``.
        features: names of files in ``helm/airflow/features``, in the order of their values.
        context: context of KUBECONFIG; None where an environment has no default and none was named.
        namespace: where everything lives.
        registry: host (and path) of the image registry, None for local images.
        tag: of our images, None for that of the checkout.
        loader: command that takes ``NAME:TAG…`` and loads them into a cluster that is not kind's.
        values: further values files for the Airflow release, which win over the overlay.
        platform_values: the same for our own chart.
        monitoring_values: the same for the chart monitoring.
        engine: what runs Spark programs on the local AWS endpoint.
        ui_port: local port of Airflow's page.
        flower_port: local port of Flower's page.
        grafana_port: local port of Grafana's page.
        prometheus_port: local port of Prometheus' page.
        alertmanager_port: local port of Alertmanager's page.
        wait_s: seconds that a rollout may take.
        given: all variables, for what only one command reads.
    """

    environment: str
    features: tuple[str, ...]
    context: str | None
    namespace: str
    registry: str | None
    tag: str | None
    loader: str | None
    values: tuple[Path, ...]
    platform_values: tuple[Path, ...]
    monitoring_values: tuple[Path, ...]
    engine: str
    ui_port: int
    flower_port: int
    grafana_port: int
    prometheus_port: int
    alertmanager_port: int
    wait_s: int
    given: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_environment(cls, given: Mapping[str, str] = os.environ, root: Path = ROOT) -> "Config":
        """Read ENV, FEATURES, KUBE_CONTEXT, NAMESPACE, IMAGE_REGISTRY, IMAGE_TAG and the rest; most have a default.

        Raises:
            UserError: a value cannot be used.
        """
        environment = given.get("ENV") or "kind"
        if environment not in ENVIRONMENTS:
            raise UserError(f"ENV={environment} is not known: use ENV=kind (default) or ENV=eks.")
        namespace = given.get("NAMESPACE") or "taxiway"
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", namespace):
            raise UserError(f"NAMESPACE={namespace} cannot be the name of a namespace: use a-z, 0-9 and -.")
        features, runs_on = _features(given.get("FEATURES") or "", root / "helm/airflow/features"), engine(given)
        if environment == "kind" and "eta" in features and runs_on != "spark":
            raise UserError("FEATURES=eta needs Apache Spark, for training and stream: say ENGINE=spark too.")
        return cls(
            environment=environment,
            features=features,
            context=given.get("KUBE_CONTEXT") or (KIND_CONTEXT if environment == "kind" else None),
            namespace=namespace,
            registry=(given.get("IMAGE_REGISTRY") or "").rstrip("/") or None,
            tag=_tag(given.get("IMAGE_TAG")),
            loader=given.get("IMAGE_LOADER") or None,
            values=_files(given, "VALUES"),
            platform_values=_files(given, "PLATFORM_VALUES"),
            monitoring_values=_files(given, "MONITORING_VALUES"),
            engine=runs_on,
            ui_port=port(given, "UI_PORT", 8080),
            flower_port=port(given, "FLOWER_PORT", 5555),
            grafana_port=port(given, "GRAFANA_PORT", 3000),
            prometheus_port=port(given, "PROMETHEUS_PORT", 9090),
            alertmanager_port=port(given, "ALERTMANAGER_PORT", 9093),
            wait_s=number(given, "WAIT_S", 900, 30, 7200),
            given=given,
        )

    @property
    def metadata_kind(self) -> str:
        """What Airflow's own tables are to be in: the scheme of its database's address."""
        return "mysql" if "mysql-metadata" in self.features else "postgresql"

    @property
    def own_kind_cluster(self) -> bool:
        """Whether the cluster is the one that ``make kind-up`` makes by kind."""
        return self.environment == "kind" and self.context == KIND_CONTEXT

    def repository(self, image: str) -> str:
        """Return the full name, without a tag, of one of our images."""
        return f"{self.registry}/taxiway/{image}" if self.registry else f"taxiway/{image}"

    def make(self, target: str, **variables: object) -> str:
        """Return what a person types for a target in this environment."""
        words = ["make", target, f"ENV={self.environment}"]
        if not self.own_kind_cluster and self.context:
            words.append(f"KUBE_CONTEXT={self.context}")
        if self.namespace != "taxiway":
            words.append(f"NAMESPACE={self.namespace}")
        return " ".join([*words, *(f"{name}={value}" for name, value in variables.items())])


def _features(text: str, folder: Path) -> tuple[str, ...]:
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    features = tuple(dict.fromkeys(text.replace(",", " ").split()))
    for feature in features:
        if feature not in known:
            raise UserError(f"FEATURES: {feature!r} is not known; there are: {', '.join(known) or 'none'}.")
    return features


def _tag(tag: str | None) -> str | None:
    if not tag:
        return None
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", tag):
        raise UserError(f"IMAGE_TAG={tag} cannot be an image's tag: use letters, digits, '.', '_' and '-'.")
    if tag == "latest":
        raise UserError("IMAGE_TAG=latest says nothing and cannot be rolled back: name a commit or version.")
    return tag


def _files(given: Mapping[str, str], name: str) -> tuple[Path, ...]:
    files = tuple(Path(word) for word in (given.get(name) or "").split())
    for file in files:
        if not file.is_file():
            raise UserError(f"{name}: {file} is not a file.")
    return files
