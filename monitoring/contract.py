"""The contract of the mappings: what lines become, held against the table of metrics.

Every function returns complaints, a sentence each; none means that the contract is kept.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monitoring.catalogue import Catalogue, Metric
from monitoring.exporter import Page

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


def of_names(template: Iterable[Mapping[str, Any]], catalogue: Catalogue) -> list[str]:
    """Say which of Airflow's own names the table lacks, and which it has that Airflow's list lacks."""
    names = {each["name"] for each in template}
    said = [
        f"Airflow's metric {name} is new: add a line to helm/monitoring/metrics.yaml, and a mapping if it needs one."
        for name in sorted(names)
        if not catalogue.has_origin(name)
    ]
    gone = {metric.origin for metric in catalogue.metrics if metric.origin} | catalogue.dropped_origins
    said += [f"Airflow's list has no {name} any more: remove it from the table." for name in sorted(gone - names)]
    return said


def of_page(page: Page, catalogue: Catalogue) -> list[str]:
    """Say what is wrong with what the exporter shows: unknown names, other types or labels, ids, refused lines."""
    said: list[str] = []
    sets: dict[str, set[frozenset[str]]] = defaultdict(set)
    for sample in page.sent:
        metric = catalogue.of(sample.name)
        if metric is None:
            said.append(f"{sample.name} is in no line of the table: it is not mapped, or has an id in its name.")
            continue
        labels = frozenset(name for name, _ in sample.labels) - ({"le"} if metric.type == "histogram" else set())
        sets[metric.name].add(labels)
        if page.types.get(metric.name) != metric.type:
            said.append(f"{metric.name} is a {page.types.get(metric.name)}, in the table a {metric.type}.")
        if labels != set(metric.labels):
            said.append(f"{sample.name} has the labels {sorted(labels)}, in the table {sorted(metric.labels)}.")
        said += [
            f"{sample.name} has an id in its label {label}: {value}."
            for label, value in sample.labels
            if any(each.search(value) for each in _IDS)
        ]
    said += [f"{name} has {len(each)} sets of labels." for name, each in sets.items() if len(each) > 1]
    for what in _REFUSALS:
        if count := page.own(f"statsd_exporter_{what}_total"):
            said.append(f"The exporter refused {count:.0f} events ({what}).")
    return list(dict.fromkeys(said))


def of_examples(page: Page, catalogue: Catalogue) -> list[str]:
    """Say which metric does not show its example's value and labels, once and no more; the page has all examples."""
    said = []
    for metric in catalogue.metrics:
        shown = [sample for sample in page.sent if sample.name == _measured(metric)]
        total = sum(sample.value for sample in shown)
        if not shown:
            said.append(f"{metric.name} is not there after its example: {metric.example}")
        elif abs(total - metric.value) > 1e-9 * max(1, abs(metric.value)):
            said.append(f"{metric.name} shows {total:g} after its example, not {metric.value:g}.")
    return said


def of_counts(lines: Sequence[str], page: Page, catalogue: Catalogue) -> list[str]:
    """Say which metric counts more or less than was sent: as many events as lines, under each of Airflow's names.

    Args:
        lines: as sent, in one form alone (a name has no second form with labels inside).
    """
    wanted: dict[str, float] = defaultdict(float)
    origins = {metric.origin: metric for metric in catalogue.metrics if metric.origin and "{" not in metric.origin}
    for line in lines:
        found = LINE.fullmatch(line)
        if found is None:
            continue
        metric = origins.get(found["name"].removeprefix("airflow."))
        if metric and metric.type != "gauge":
            wanted[metric.name] += float(found["value"]) if metric.type == "counter" else 1
    said = []
    for name, events in wanted.items():
        metric = next(each for each in catalogue.metrics if each.name == name)
        series = metric.name if metric.type == "counter" else f"{metric.name}_count"
        shown = sum(sample.value for sample in page.sent if sample.name == series)
        if shown != events:
            said.append(f"{name} counts {shown:g} where {events:g} were sent.")
    return said


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
    """Say which series have the value of a variable in their name."""
    return sorted({f"{each.name} has a variable in its name." for each in page.sent if MARKER in each.name})
