"""The mappings that the StatsD exporter gets from Airflow's chart with the overlay, as helm renders them."""

import subprocess
from pathlib import Path

import yaml

from cluster.chart import chart_path
from monitoring.catalogue import ROOT
from monitoring.exporter import program

OVERLAY = ROOT / "helm" / "airflow"
TEMPLATE = "templates/configmaps/statsd-configmap.yaml"


def rendered(environment: str = "kind") -> str:
    """Return the text of the mappings file in an environment.

    Raises:
        ProgramError: helm is not installed.
        ClusterError: the chart cannot be had.
        subprocess.CalledProcessError: helm refuses the values.
    """
    values = [f"--values={OVERLAY / name}.yaml" for name in ("base", environment)]
    done = subprocess.run(
        [program("helm"), "template", "airflow", str(Path(chart_path())), f"--show-only={TEMPLATE}", *values,
         "--set=defaultAirflowTag=any"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return str(yaml.safe_load(done.stdout)["data"]["mappings.yml"])
