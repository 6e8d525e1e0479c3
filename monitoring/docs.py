"""Writes ``docs/metrics.md`` and the list of ``docs/runbooks/README.md``: ``python -m monitoring.docs``."""

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import yaml

from monitoring.metrics import AIRFLOW, FOLDER, PLATFORM, ROOT, MetricsError, MetricTable, Use, read, uses

PAGE = ROOT / "docs" / "metrics.md"
HEAD = """# Metrics

Written by `make docs` from `helm/monitoring/metrics/*.yaml`, the dashboards and the rules; do not edit.

Airflow's processes and our tasks send them by StatsD to the exporter beside Airflow; Prometheus scrapes that. The names
and labels apply with the settings and mappings of `helm/airflow`, with which `tests/monitoring` tries every line. A
histogram's series are `…_bucket`, `…_sum` and `…_count`. *Used by* names dashboards (with the panel), alerts and rules.

Ids of DAGs and tasks, queues and teams may have any characters and length: what is not an ASCII letter, a digit or one
of `_.-~/` is percent-encoded as in an address (`stat_name_handler`), so that the DAG `ventes_été` has the label
`dag_id="ventes_%C3%A9t%C3%A9"`, and no two become the same. In the platform's own metrics a dot is encoded too (`%2E`).
Two things are Airflow's and cannot be set: in a pool's name it replaces all but ASCII letters, digits and `_.-` by `_`,
and says so in the scheduler's log; a label whose value has a comma or `=`, such as a queue's, it leaves out, and says
`Dropping invalid tag`.
"""
RUNBOOKS = ROOT / "docs" / "runbooks" / "README.md"
RUNBOOKS_HEAD = """# Runbooks

Written by `make docs` from `helm/monitoring/rules/*.yaml`; do not edit.

One page for each alert: symptom, check, fix, prevention. Commands are for the namespace `taxiway` and the names of a
standard installation; on EKS choose your context first (`kubectl config use-context …`). `make status ENV=eks` gives
an overview, `make ui` opens Airflow's page. With the feature `git-dag-bundle` what a worker has on its `PYTHONPATH` is
`/tmp/dag-bundles/taxiway/tracking_repo/dags`. The sections are the files of
[helm/monitoring/rules](../../helm/monitoring/rules). Who is notified is defined in
[alertmanager.yaml](../../helm/monitoring/alertmanager.yaml): *page* wakes somebody, *ticket* waits for working hours,
*info* is only shown.

If several alerts fire, begin with *Exporters* and *Storage*, then *Airflow*; the others mostly follow from them."""


def render(table: MetricTable, found: Iterable[Use]) -> str:
    """Return the page: Airflow's metrics, the platform's, and those of each pipeline that has its own."""
    places: dict[str, list[str]] = defaultdict(list)
    for use in found:
        metric = table.of(use.series)
        if metric and use.place not in places[metric.name]:
            places[metric.name].append(use.place)
    lines = [HEAD]
    titles = {metric.part: f"Pipeline {metric.part}" for metric in table.metrics}
    for part, title in (titles | {AIRFLOW: "Airflow", PLATFORM: "The platform"}).items():
        lines += [
            f"## {title}",
            "",
            "| metric | type | labels | unit | meaning | used by |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| `{metric.name}` | {metric.type} | {', '.join(metric.labels)} | {metric.unit} | {metric.meaning} | "
            f"{'; '.join(places[metric.name]) or (f'never sent. {metric.silent}' if metric.silent else '')} |"
            for metric in table.metrics
            if metric.part == part
        ]
        lines.append("")
    lines += ["## As they are sent", "", "| metric | a line |", "|---|---|"]
    # A bar would end the cell, even in code.
    lines += [f"| `{metric.name}` | `{metric.example.replace('|', chr(92) + '|')}` |" for metric in table.metrics]
    return "\n".join([*lines, ""])


def runbooks(folder: Path = FOLDER / "rules") -> str:
    """Return the page that lists the runbooks: a section for each file of rules that has alerts."""
    lines = [RUNBOOKS_HEAD]
    for path in sorted(folder.glob("*.yaml")):
        severities: dict[str, set[str]] = defaultdict(set)
        for group in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("groups", []):
            for rule in group["rules"]:
                if "alert" in rule:
                    severities[rule["alert"]].add(rule["labels"]["severity"])
        if severities:
            lines += ["", f"## {'Objectives' if path.stem == 'slo' else path.stem.replace('_', ' ').capitalize()}", ""]
            lines += [f"- [{name}]({name}.md) ({' or '.join(sorted(each))})" for name, each in severities.items()]
    return "\n".join([*lines, ""])


def main() -> None:
    """Write both pages."""
    try:
        table = read()
    except MetricsError as error:
        sys.exit(str(error))
    PAGE.write_text(render(table, uses()), encoding="utf-8")
    RUNBOOKS.write_text(runbooks(), encoding="utf-8")


if __name__ == "__main__":
    main()
