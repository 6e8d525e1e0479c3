"""A pipeline's own files are found by everything that needs them, without a change to a file that others share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from monitoring.exporter import Page
from tests.helm.rendering import ROOT, chart, helm

FILES = {
    "helm/monitoring/metrics/rides.yaml": """
metrics:
  - name: taxiway_rides_surge_total
    type: counter
    labels: [zone]
    unit: times
    meaning: Prices rose.
    example: "airflow.taxiway.rides.surge.132:3|c"
""",
    "helm/airflow/mappings/rides.yaml": """
# airflow.taxiway.rides.surge.132:3|c
- match: airflow.taxiway.rides.surge.*
  match_metric_type: counter
  name: taxiway_rides_surge_total
  labels: {zone: "$1"}
""",
    "helm/monitoring/rules/rides.yaml": """
groups:
  - name: rides
    rules:
      - alert: RidesSurge
        expr: sum(increase(taxiway_rides_surge_total[1h])) > 100
        labels: {severity: info, team: rides-team}
        annotations: {summary: "{{ $value }}.", description: Prices rose., runbook_url: docs/runbooks/RidesSurge.md}
""",
    "monitoring/dashboards/rides.py": '''
"""Where do prices rise?"""

from monitoring.dashboards.build import Page, Query

page = Page(uid="taxiway-rides", title="Taxiway: rides", description="Where?", time="now-1d", variables=[])
page.row("Now")
page.stat("Surges", "Times that prices rose.", Query("sum(taxiway_rides_surge_total)"), unit="short")
''',
    "contracts/rides/trips.yaml": """
team: {name: rides-team}
schema: [{physicalName: rides_trips}]
slaProperties: [{property: freshness, value: 2, unit: h}]
""",
    "helm/monitoring/slo/rides_analysis.yaml": """
dag_id: rides_analysis
pipeline: rides
page: false
freshness: {target: 0.99, window: 30d}
""",
    "aws/pipelines/rides.yaml": """
Resources:
  RidesSparkPolicy:
    Type: AWS::IAM::Policy
    Properties: {PolicyName: rides}
""",
}
# Written by `make docs`, with what each file must hold of the pipeline.
GENERATED = {
    "aws/platform.yaml": "RidesSparkPolicy",
    "docs/metrics.md": "| counter | zone | times | Prices rose. | dashboard rides: Surges; alert RidesSurge |",
    "docs/runbooks/README.md": "## Rides\n\n- [RidesSurge](RidesSurge.md) (info)",
    "helm/airflow/mappings.yaml": "- match: airflow.taxiway.rides.surge.*",
    "helm/monitoring/dashboards/rides.json": "taxiway_rides_surge_total",
    "helm/monitoring/rules/slo.yaml": 'dag_id:taxiway_data_stale:share{dag_id="rides_analysis"',
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the pipeline's files, where everything that is generated was generated."""
    folder = tmp_path_factory.mktemp("root")
    for name in ("aws", "contracts", "docs", "helm", "monitoring"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.lstrip("\n"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    for module in ("monitoring.mappings", "monitoring.dashboards", "monitoring.slo", "monitoring.docs", "aws.template"):
        subprocess.run([sys.executable, "-m", module], cwd=folder, env=environment, check=True, timeout=60)
    return folder


def test_only_generated_files_change(root: Path) -> None:
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    changed = {name for name in files if not (ROOT / name).exists() or not same(root / name, ROOT / name)}
    links = {name for name in changed if name.startswith("helm/monitoring/dashboards/")}  # from each page to the others
    assert changed - links - FILES.keys() == GENERATED.keys() - links
    for name, wanted in GENERATED.items():
        assert wanted in (root / name).read_text(encoding="utf-8"), name


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def test_the_exporter_knows_the_pipelines_metric(root: Path, page_of: Callable[..., Page]) -> None:
    values = [f"--values={root}/helm/airflow/{name}.yaml" for name in ("base", "mappings", "kind")]
    template = "--show-only=templates/configmaps/statsd-configmap.yaml"
    rendered = output([helm(), "template", "airflow", str(chart()), template, *values, "--set=defaultAirflowTag=any"])
    shown = page_of(["airflow.taxiway.rides.surge.132:3|c"], yaml.safe_load(rendered)["data"]["mappings.yml"]).sent
    assert [(each.name, each.labels, each.value) for each in shown] == [
        ("taxiway_rides_surge_total", (("zone", "132"),), 3.0)
    ]


@pytest.mark.parametrize("environment", ["kind", "eks"])
def test_the_chart_brings_its_rules_and_its_dashboard(root: Path, environment: str) -> None:
    folder = root / "helm/monitoring"
    values = f"--values={folder}/{environment}.yaml"
    manifests = yaml.safe_load_all(output([helm(), "template", "monitoring", str(folder), values]))
    objects = {each["metadata"]["name"]: each for each in manifests if each}
    assert "rides.json" in objects["dashboard-rides"]["data"]
    rules = objects["prometheus-rules" if environment == "kind" else "taxiway-rides"]
    assert "alert: RidesSurge" in yaml.safe_dump(rules)


def output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
