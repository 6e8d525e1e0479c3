"""What metrics cost for 50 DAGs of 20 tasks: series and memory of the exporter, and time of the scheduler's process.

The same events go to two real exporters in one run: with the overlay's mappings and Airflow's settings, and with the
chart's defaults. The lines of both are made by Airflow's own client from the same calls. On its own:
``python -m benchmarks.metrics --write``.
"""

import argparse
import datetime
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import yaml

from benchmarks.measure import keep, machine
from cluster.chart import chart_path
from monitoring.capture import CHART, settings, write_local_settings
from monitoring.exporter import exporter, program
from monitoring.metrics import ROOT

DAGS, TASKS = 50, 20
DEFAULTS = {
    **CHART,
    "statsd_influxdb_enabled": "False",
    "legacy_names_on": "True",
    "statsd_disabled_tags": "job_id,run_id",
}
OFF = {"statsd_on": "False"}
OVERLAY = ("helm/airflow/base.yaml", "helm/airflow/mappings.yaml", "helm/airflow/kind.yaml")
# Sends the events of a day through Airflow's own client: prints the lines, or the processor time of a minute.
EVENTS = Path(__file__).with_name("metrics_events.py")
REPEAT = 5


@dataclass(frozen=True)
class Figures:
    """What an exporter holds after all events."""

    lines: int
    series: int
    baked: int
    bytes: int
    empty_bytes: int


def compare() -> dict[str, Figures]:
    """Send the events of both configurations to their exporters and return what those held, by name."""
    return {
        "ours": _figures(settings(), OVERLAY),
        "the chart's defaults": _figures(DEFAULTS, ()),
    }


def _figures(metrics: Mapping[str, str], values: tuple[str, ...]) -> Figures:
    lines = _run(metrics, "lines").splitlines()
    with exporter(mappings(values), "--statsd.cache-size=5000") as running:
        process = psutil.Process(running.pid)
        running.page()
        empty = process.memory_info().rss
        running.send(lines)
        page = running.page()
        time.sleep(1)
        held = process.memory_info().rss
    baked = sum("dag_0" in each.name or "task_0" in each.name for each in page.sent)
    return Figures(len(lines), len(page.sent), baked, held, empty)


def mappings(values: tuple[str, ...]) -> str:
    """Return the exporter's mappings as the chart renders them with some values files."""
    given = [word for file in values for word in ("--values", str(ROOT / file))]
    command = [program("helm"), "template", "airflow", str(chart_path()), "--show-only"]
    command += ["templates/configmaps/statsd-configmap.yaml", "--set", "defaultAirflowTag=benchmark", *given]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return str(yaml.safe_load(result.stdout)["data"]["mappings.yml"])


def loop_cost() -> dict[str, float]:
    """Return the processor seconds of the scheduler's metrics in a minute, by configuration.

    A minute: 60 rounds with timers and executors' gauges, pools every 5 s, and tasks by state every 30 s with each of
    the tasks in one state. The median of several runs, alternating between the configurations.
    """
    found: dict[str, list[float]] = {"off": [], "ours": [], "the chart's defaults": []}
    for _ in range(REPEAT):
        for name, metrics in (("off", OFF), ("ours", settings()), ("the chart's defaults", DEFAULTS)):
            found[name].append(float(_run(metrics, "minute")))
    return {name: median(each) for name, each in found.items()}


def _run(metrics: Mapping[str, str], what: str) -> str:
    """Run the events in Airflow's environment with its section [metrics]."""
    python = ROOT / ".local/venvs/airflow/bin/python"
    with tempfile.TemporaryDirectory() as folder:
        write_local_settings(Path(folder))
        environment = {f"AIRFLOW__METRICS__{key.upper()}": value for key, value in metrics.items()}
        result = subprocess.run(
            [str(python), str(EVENTS), what, json.dumps([DAGS, TASKS])],
            env={"PATH": "/usr/bin:/bin", "AIRFLOW_HOME": folder, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        raise RuntimeError(f"Airflow's client failed: {(result.stderr.strip().splitlines() or ['no message'])[-1]}")
    return result.stdout


def report() -> Iterator[str]:
    """Measure, and yield the lines of the report."""
    found = compare()
    yield f"Metrics of {DAGS} DAGs of {TASKS} tasks, each of which ran once, in one exporter each:"
    yield ""
    yield "| | lines | series | with an id in the name | memory of the exporter |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, each in found.items():
        grown = (each.bytes - each.empty_bytes) / 1e6
        yield (
            f"| {name} | {each.lines:,} | {each.series:,} | {each.baked:,} | "
            f"{each.bytes / 1e6:.0f} MB, {grown:.0f} of them for the series |"
        )
    yield ""
    cost = loop_cost()
    yield (
        "Metrics in a minute of the scheduler's process, processor time: "
        + ", ".join(f"{name} {seconds * 1000:.1f} ms ({seconds / 60:.2%})" for name, seconds in cost.items())
        + "."
    )


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    arguments = parser.parse_args()
    text = "\n".join([f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}.", "", *report()])
    print(text)
    if arguments.write:
        keep("python -m benchmarks.metrics --write", text)


if __name__ == "__main__":
    main()
