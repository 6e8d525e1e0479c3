"""Renders the official Airflow chart with Taxiway's values, once for each combination, and gives back what came out."""

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from configparser import RawConfigParser
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from cluster.chart import chart_path
from console.errors import UserError
from tests.tools import absent, tool

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = ROOT / "helm/airflow"
FEATURES = tuple(sorted(path.stem for path in (OVERLAY / "features").glob("*.yaml")))
ENVIRONMENTS = ("kind", "eks")
TAG = "0123456789ab"
NAMESPACE = "taxiway"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What a person gives besides the overlay, according to helm/airflow/eks.yaml, features/eta.yaml and lineage.yaml.
OWN_VALUES = {
    "kind": {"global": {"taxiway": {"lineageUrl": "http://marquez.example.org:5000"}}},
    "eks": {
        "global": {
            "taxiway": {
                "account": "123456789012",
                "bucketPrefix": "taxiway-123456789012",
                "lineageUrl": "https://lineage.example.org",
                "kafka": "b-1.example.org:9098,b-2.example.org:9098",
            }
        },
        "dags": {"gitSync": {"repo": "https://git.example.org/taxiway.git"}},
    },
}

# helm shows a chart's notes after an installation only: this template adds them to the manifests.
NOTES_TEMPLATE = """{{- define "taxiway.notes" }}%s{{ end }}
apiVersion: v1
kind: ConfigMap
metadata: {name: rendered-notes}
data:
  notes: {{ include "taxiway.notes" . | toJson }}
"""

# helm lives for a second: collecting garbage would be a quarter of it.
HASTY = {**os.environ, "GOGC": "off"}

Values = Mapping[str, Any]


class RenderError(Exception):
    """helm refused the values; the text is its message."""


@dataclass(frozen=True)
class Container:
    """One container of a pod; ``role`` is ``main`` or ``init``."""

    spec: dict[str, Any]
    role: str

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def env(self) -> dict[str, Any]:
        """Variables by name: the literal value, or the source as a map."""
        return {each["name"]: each.get("value", each.get("valueFrom")) for each in self.spec.get("env") or []}


@dataclass(frozen=True)
class Pod:
    """The pod of a workload, or of the Kubernetes executor's template."""

    kind: str
    name: str
    workload: dict[str, Any]
    template: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        return self.template.get("metadata", {}).get("labels") or {}

    @property
    def long_running(self) -> bool:
        return self.kind in ("Deployment", "StatefulSet")

    @property
    def component(self) -> str:
        return "kubernetes" if self.kind == "Pod" else self.labels.get("component", "")

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        return (
            *(Container(each, "init") for each in self.spec.get("initContainers") or []),
            *(Container(each, "main") for each in self.spec["containers"]),
        )

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Rendered:
    """What the chart makes of one combination of values.

    Attributes:
        environment: ``kind`` or ``eks``.
        features: names of the feature files.
        text: all manifests, as helm wrote them.
        documents: the same, parsed.
        notes: what helm prints after an installation.
    """

    environment: str
    features: tuple[str, ...]
    text: str = field(repr=False)
    documents: tuple[dict[str, Any], ...] = field(repr=False)
    notes: str = field(repr=False)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.documents if each["kind"] == kind]

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """Return one object; raises KeyError if it is not there."""
        for each in self.of_kind(kind):
            if each["metadata"]["name"] == name:
                return each
        raise KeyError(f"{kind}/{name}")

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        return tuple(self._pods())

    def _pods(self) -> Iterator[Pod]:
        for each in self.documents:
            kind, name = each["kind"], each["metadata"]["name"]
            if kind in ("Deployment", "StatefulSet", "Job", "DaemonSet", "ReplicaSet"):
                yield Pod(kind, name, each, each["spec"]["template"])
            elif kind == "CronJob":
                yield Pod(kind, name, each, each["spec"]["jobTemplate"]["spec"]["template"])
            elif kind == "Pod":
                yield Pod(kind, name, each, each)
        template = yaml.load(self.settings_map["pod_template_file.yaml"], LOADER)
        yield Pod("Pod", "pod_template_file.yaml", template, template)

    @cached_property
    def settings_map(self) -> dict[str, str]:
        return next(each["data"] for each in self.of_kind("ConfigMap") if "airflow.cfg" in each["data"])

    @cached_property
    def config(self) -> dict[str, dict[str, str]]:
        """Return airflow.cfg: section → key → value."""
        parser = RawConfigParser()
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(self.settings_map["airflow.cfg"])
        return {section: dict(parser.items(section)) for section in parser.sections()}

    def pods_of(self, component: str) -> list[Pod]:
        """Return the long-running pods of a component (one for each set of workers), or the executor's."""
        return [each for each in self.pods if each.component == component and (each.long_running or each.kind == "Pod")]

    def pod(self, component: str) -> Pod | None:
        """Return the first long-running pod of a component, or the executor's (``kubernetes``)."""
        return next(iter(self.pods_of(component)), None)

    def __str__(self) -> str:
        return "+".join((self.environment, *self.features))


@cache
def helm() -> str:
    """Return where helm is; skips the test if it is nowhere."""
    return tool("helm")


@cache
def packed_chart() -> Path:
    """Return the chart as it came; skips the test if it is unavailable."""
    helm()
    try:
        return Path(chart_path())
    except UserError as error:
        absent("chart", str(error))


@cache
def chart(subchart: bool = True) -> Path:
    """Return the unpacked chart with an additional template that shows the notes, with or without its sub-chart."""
    source = packed_chart()
    folder = Path(tempfile.mkdtemp(prefix="taxiway-chart-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, folder / "airflow")
    else:
        with tarfile.open(source) as packed:
            packed.extractall(folder, filter="data")
    unpacked = folder / "airflow"
    # Two thirds of helm's time goes into what no template reads; a test sees that nothing is lost.
    for each in ("docs", "newsfragments", "dockerfiles"):
        shutil.rmtree(unpacked / each, ignore_errors=True)
    notes = (unpacked / "templates/NOTES.txt").read_text()
    (unpacked / "templates/taxiway-notes.yaml").write_text(NOTES_TEMPLATE % notes)
    if not subchart:
        shutil.rmtree(unpacked / "charts")
        description = yaml.safe_load((unpacked / "Chart.yaml").read_text())
        del description["dependencies"]
        (unpacked / "Chart.yaml").write_text(yaml.safe_dump(description))
    return unpacked


def feature_files(environment: str, feature: str) -> list[Path]:
    """Return a feature's file, and what it has for an environment alone."""
    found = (OVERLAY / "features" / where / f"{feature}.yaml" for where in ("", environment))
    return [file for file in found if file.is_file()]


def files(environment: str, features: tuple[str, ...] = ()) -> list[Path]:
    """Return the values files of a combination, in Helm's order."""
    return [
        OVERLAY / "base.yaml",
        OVERLAY / "mappings.yaml",
        OVERLAY / f"{environment}.yaml",
        *(file for feature in features for file in feature_files(environment, feature)),
    ]


def render(environment: str, features: tuple[str, ...] = (), changes: Values | None = None) -> Rendered:
    """Render a combination, with what a person adds or breaks last; None there is as if the overlay did not set it.

    Raises:
        RenderError: helm refused it.
    """
    return _render(environment, features, json.dumps(changes or {}, sort_keys=True))


@cache
def _render(environment: str, features: tuple[str, ...], changes: str) -> Rendered:
    folder_of_chart = str(chart(subchart='"postgresql"' in changes))
    command = [
        helm(),
        "template",
        "airflow",
        folder_of_chart,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.34.0",
    ]
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.json"
        own.write_text(json.dumps(OWN_VALUES[environment]))
        given = [*files(environment, features), own]
        if changed := json.loads(changes):
            # Helm cannot unset what an earlier file sets: so all are merged into one file without it.
            everything = merged(*(yaml.load(file.read_text(), LOADER) for file in given))
            given = [Path(folder) / "all.json"]
            given[0].write_text(json.dumps(without(merged(everything, changed), changed)))
        for file in given:
            command += ["--values", str(file)]
        command += ["--set-string", f"defaultAirflowTag={TAG}"] if "defaultAirflowTag" not in changes else []
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=HASTY)
    if result.returncode:
        raise RenderError(result.stderr.strip())
    documents = [each for each in yaml.load_all(result.stdout, LOADER) if each]
    notes = next(each["data"]["notes"] for each in documents if each["metadata"]["name"] == "rendered-notes")
    return Rendered(
        environment,
        features,
        result.stdout,
        tuple(each for each in documents if each["metadata"]["name"] != "rendered-notes"),
        notes,
    )


def without(values: dict[str, Any], changed: Values) -> dict[str, Any]:
    """Return values without what is None in ``changed``."""
    return {
        key: without(value, changed[key]) if isinstance(changed.get(key), dict) and isinstance(value, dict) else value
        for key, value in values.items()
        if not (key in changed and changed[key] is None)
    }


def render_all(wanted: Iterable[tuple[str, tuple[str, ...], Values]]) -> None:
    """Render combinations in parallel and cache them; what helm refuses is refused again when it is used."""

    def one(arguments: tuple[str, tuple[str, ...], Values]) -> None:
        with contextlib.suppress(RenderError):
            render(*arguments)

    chart(subchart=False)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, wanted))


def nested(path: str, value: object) -> dict[str, Any]:
    """Return ``{"a": {"b": value}}`` for ``a.b``."""
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def merged(*values: Values) -> dict[str, Any]:
    """Return maps merged as Helm merges values files: maps together, everything else replaced."""
    result: dict[str, Any] = {}
    for each in values:
        for key, value in each.items():
            old = result.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result
