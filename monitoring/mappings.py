"""The StatsD exporter's mappings: ``python -m monitoring.mappings`` writes ``helm/airflow/mappings.yaml``.

Each part of the platform has a file of its own, ``helm/airflow/mappings/<part>.yaml``: Airflow, the platform's own
code, and each pipeline with metrics that only it sends. They become one list here, because Helm does not merge lists.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from cluster.chart import chart_path
from monitoring.exporter import program
from monitoring.metrics import AIRFLOW, PLATFORM, ROOT

OVERLAY = ROOT / "helm" / "airflow"
TEMPLATE = "templates/configmaps/statsd-configmap.yaml"
HEAD = """# Written by `python -m monitoring.mappings` from helm/airflow/mappings/*.yaml; do not edit.
# How StatsD names become metrics. Globs are tried before regular expressions, and those in the order of this list.
# The comment above a mapping has a line as it is sent.
statsd:
  extraMappings:
"""


class MappingsError(ValueError):
    """A file of mappings cannot be used; the text is one clear sentence."""


def compose(overlay: Path = OVERLAY) -> str:
    """Return the text of ``mappings.yaml``: the pipelines' mappings by name, the platform's, Airflow's.

    Airflow's end with one that matches everything.

    Raises:
        MappingsError: a file is not a list of mappings, or a mapping matches names that are not its part's.
    """
    files = {path.stem: path for path in sorted((overlay / "mappings").glob("*.yaml"))}
    pipelines = [part for part in files if part not in (PLATFORM, AIRFLOW)]
    parts = [*pipelines, PLATFORM, AIRFLOW]
    shared = {each["match"].split(".")[2] for each in yaml.safe_load(files[PLATFORM].read_text(encoding="utf-8"))}
    if taken := shared.intersection(pipelines):
        raise MappingsError(f"{min(taken)}.yaml would map what {PLATFORM}.yaml maps: give the pipeline another name.")
    return HEAD + "\n".join("".join(_lines(part, files[part])) for part in parts)


def _lines(part: str, path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    mappings = yaml.safe_load(text)
    if not isinstance(mappings, list) or not all(isinstance(each, dict) and "match" in each for each in mappings):
        raise MappingsError(f"{path.name} is not a list of mappings: write one '- match: …' each.")
    prefix = "airflow." if part == AIRFLOW else "airflow.taxiway." if part == PLATFORM else f"airflow.taxiway.{part}."
    for each in mappings:
        match = re.sub(r"\\(.)", r"\1", each["match"].removeprefix("^"))
        if not match.startswith(prefix):
            raise MappingsError(f"{path.name} maps {each['match']!r}: a mapping of {part} must begin with {prefix!r}.")
    for line in text.splitlines():
        yield f"    {line}\n" if line else "\n"


def rendered(environment: str = "kind") -> str:
    """Return the exporter's mappings file in an environment, as helm renders it.

    Raises:
        ProgramError: helm is not installed.
        UserError: the chart is unavailable.
        subprocess.CalledProcessError: helm refuses the values.
    """
    values = [f"--values={OVERLAY / name}.yaml" for name in ("base", "mappings", environment)]
    done = subprocess.run(
        [program("helm"), "template", "airflow", str(Path(chart_path())), f"--show-only={TEMPLATE}", *values,
         "--set=defaultAirflowTag=any"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return str(yaml.safe_load(done.stdout)["data"]["mappings.yml"])


def main() -> None:
    """Write the file."""
    try:
        (OVERLAY / "mappings.yaml").write_text(compose(), encoding="utf-8")
    except MappingsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
