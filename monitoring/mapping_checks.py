"""Checks of the mappings: what StatsD lines become, compared with the table of metrics.

Every function returns the problems it found, a sentence each.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monitoring.exporter import Page
from monitoring.metrics import Metric, MetricTable

# What the exporter counts instead of showing a series.
_REFUSALS = ("events_error", "events_conflict", "tag_errors", "sample_errors", "events_unmapped")
# What an id of a single run, pod or process looks like in a label.
_IDS = (
    re.compile(r"\b(?:manual|scheduled|backfill|asset_triggered)__"),
    re.compile(r"\d{4}-\d\d-\d\dT\d\d"),
    re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-", re.IGNORECASE),
)
MARKER = "zzmarkerzz"
LINE = re.compile(r"(?P<name>[^:,]+)(?P<tags>,[^:]*)?:(?P<value>[-+]?[\d.e-]+)\|(?P<kind>c|g|ms)")


def of_names(template: Iterable[Mapping[str, Any]], table: MetricTable) -> list[str]:
    """Return which of Airflow's own names the table lacks, and which it has that Airflow's list lacks."""
    names = {each["name"] for each in template}
    problems = [
        f"Airflow's metric {name} is new: add it to helm/monitoring/metrics/airflow.yaml, with a mapping if needed."
        for name in sorted(names)
        if not table.has_origin(name)
    ]
    gone = {metric.origin for metric in table.metrics if metric.origin} | table.dropped_origins
    problems += [f"Airflow's list has no {name} any more: remove it from the table." for name in sorted(gone - names)]
    return problems


def of_page(page: Page, table: MetricTable) -> list[str]:
    """Check what the exporter shows: unknown names, other types or labels, ids, refused lines."""
    problems: list[str] = []
    sets: dict[str, set[frozenset[str]]] = defaultdict(set)
    for sample in page.sent:
        metric = table.of(sample.name)
        if metric is None:
            problems.append(f"{sample.name} is in no table: it is not mapped, or has an id in its name.")
            continue
        labels = frozenset(name for name, _ in sample.labels) - ({"le"} if metric.type == "histogram" else set())
        sets[metric.name].add(labels)
        if page.types.get(metric.name) != metric.type:
            problems.append(f"{metric.name} is a {page.types.get(metric.name)}, in the table a {metric.type}.")
        if labels != set(metric.labels):
            problems.append(f"{sample.name} has the labels {sorted(labels)}, in the table {sorted(metric.labels)}.")
        problems += [
            f"{sample.name} has an id in its label {label}: {value}."
            for label, value in sample.labels
            if any(each.search(value) for each in _IDS)
        ]
    problems += [f"{name} has {len(each)} sets of labels." for name, each in sets.items() if len(each) > 1]
    for what in _REFUSALS:
        if count := page.own(f"statsd_exporter_{what}_total"):
            problems.append(f"The exporter refused {count:.0f} events ({what}).")
    return list(dict.fromkeys(problems))


def of_examples(page: Page, table: MetricTable) -> list[str]:
    """Return which metrics do not show their example's value exactly once; the page has all examples."""
    problems = []
    for metric in table.metrics:
        shown = [sample for sample in page.sent if sample.name == _measured(metric)]
        total = sum(sample.value for sample in shown)
        if not shown:
            problems.append(f"{metric.name} is not there after its example: {metric.example}")
        elif abs(total - metric.value) > 1e-9 * max(1, abs(metric.value)):
            problems.append(f"{metric.name} shows {total:g} after its example, not {metric.value:g}.")
    return problems


def of_counts(lines: Sequence[str], page: Page, table: MetricTable) -> list[str]:
    """Return which metric counts more or less than was sent: as many events as lines, under each of Airflow's names.

    Args:
        lines: as sent, in one form alone (a name has no second form with labels inside).
    """
    wanted: dict[str, float] = defaultdict(float)
    origins = {metric.origin: metric for metric in table.metrics if metric.origin and "{" not in metric.origin}
    for line in lines:
        found = LINE.fullmatch(line)
        if found is None:
            continue
        metric = origins.get(found["name"].removeprefix("airflow."))
        if metric and metric.type != "gauge":
            wanted[metric.name] += float(found["value"]) if metric.type == "counter" else 1
    problems = []
    for name, events in wanted.items():
        metric = next(each for each in table.metrics if each.name == name)
        series = metric.name if metric.type == "counter" else f"{metric.name}_count"
        shown = sum(sample.value for sample in page.sent if sample.name == series)
        if shown != events:
            problems.append(f"{name} counts {shown:g} where {events:g} were sent.")
    return problems


def _measured(metric: Metric) -> str:
    return f"{metric.name}_sum" if metric.type == "histogram" else metric.name


def with_markers(entry: Mapping[str, Any]) -> str:
    """Return a line of an entry of Airflow's list, with a marker as value of each of its variables."""
    # Names of jobs are classes of Airflow's, not ids.
    markers = {name: "job" if name == "job_name" else MARKER for name in entry["name_variables"]}
    tags = "".join(f",{name}={MARKER}" for name in markers if f"{{{name}}}" not in entry["name"])
    kind = {"counter": "1|c", "gauge": "1|g", "timer": "1|ms"}[entry["type"]]
    return f"airflow.{entry['name'].format(**markers)}{tags}:{kind}"


def of_markers(page: Page) -> list[str]:
    """Return which series have the value of a variable in their name."""
    return sorted({f"{each.name} has a variable in its name." for each in page.sent if MARKER in each.name})
