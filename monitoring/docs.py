"""Writes ``docs/metrics.md`` from the table of metrics: ``python -m monitoring.docs``."""

from collections import defaultdict
from collections.abc import Iterable

from monitoring.metrics import AIRFLOW, PLATFORM, ROOT, MetricTable, Use, read, uses

PAGE = ROOT / "docs" / "metrics.md"
HEAD = """# Metrics

Written by `make docs` from `helm/monitoring/metrics/*.yaml`, the dashboards and the rules; do not edit.

Airflow's processes and our tasks send them by StatsD to the exporter beside Airflow; Prometheus scrapes that. The names
and labels apply with the settings and mappings of `helm/airflow`, with which `tests/monitoring` tries every line. A
histogram's series are `…_bucket`, `…_sum` and `…_count`. *Used by* names dashboards (with the panel), alerts and rules.
"""


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


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(read(), uses()))


if __name__ == "__main__":
    main()
