"""The table of metrics, ``helm/monitoring/metrics/*.yaml``, and where each of them is used.

Each part of the platform has a file of its own: Airflow, the platform's own code, and a pipeline with metrics that only
it sends.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "helm/monitoring"
AIRFLOW, PLATFORM = "airflow", "platform"
TYPES = ("counter", "gauge", "histogram")
# A name of ours or of Airflow's in a PromQL expression, with its label matchers; recording rules have colons.
_USE = re.compile(r"(?<![\w:])((?:airflow|taxiway)_\w+)(?![\w:])\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"""(\w+)\s*(?:=~|!~|!=|=)\s*(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_GROUPING = re.compile(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)")
_LITERAL = re.compile(r"""\{[^{}]*\}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")


class MetricsError(Exception):
    """The table cannot be used; the text is one clear sentence."""


@dataclass(frozen=True)
class Metric:
    """A metric as Prometheus sees it.

    Attributes:
        part: whose file it is in: airflow, platform, or a pipeline's name.
        origin: its name in Airflow's own list of metrics; None where that lacks it, or the metric is ours.
        example: a line as it is sent.
        value: what the exporter shows of the example.
        silent: why the installed Airflow never sends it; empty for what it sends.
    """

    part: str
    name: str
    type: str
    labels: tuple[str, ...]
    unit: str
    meaning: str
    example: str
    value: float
    origin: str | None = None
    silent: str = ""

    @property
    def series(self) -> frozenset[str]:
        """Names of its series: a histogram has several, and none of its own name."""
        if self.type == "histogram":
            return frozenset(f"{self.name}_{each}" for each in ("bucket", "sum", "count"))
        return frozenset({self.name})


@dataclass(frozen=True)
class MetricTable:
    """All metrics, what the mappings drop (lines, and Airflow's names of them), and prefixes of what is not used."""

    metrics: tuple[Metric, ...]
    dropped: tuple[str, ...]
    dropped_origins: frozenset[str]
    unused: tuple[str, ...]

    def of(self, name: str) -> Metric | None:
        """Return the metric that has a series of this name."""
        return self._by_series().get(name)

    def has_origin(self, name: str) -> bool:
        """Return whether one of Airflow's names is in the table, dropped, or belongs to a part that is not used."""
        return (
            name in self.dropped_origins
            or name.startswith(self.unused)
            or any(metric.origin == name for metric in self.metrics)
        )

    @cache  # noqa: B019 (a handful of tables in a process)
    def _by_series(self) -> dict[str, Metric]:
        return {series: metric for metric in self.metrics for series in metric.series}


@dataclass(frozen=True)
class Use:
    """A use of a metric by a panel, an alert or a recording rule; ``labels`` are those it names."""

    place: str
    series: str
    labels: frozenset[str]


def read(folder: Path = FOLDER) -> MetricTable:
    """Read the table from a folder's ``metrics/<part>.yaml``.

    Raises:
        MetricsError: an entry is wrong.
    """
    metrics: list[Metric] = []
    dropped: list[dict[str, str]] = []
    unused: list[dict[str, str]] = []
    for path in sorted((folder / "metrics").glob("*.yaml")):
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict) or not isinstance(table.get("metrics"), list):
            raise MetricsError(f"{path.name} in {folder.name}/metrics has no list 'metrics': write one entry for each.")
        metrics += [_metric(path.stem, each) for each in table["metrics"]]
        dropped += table.get("dropped", [])
        unused += table.get("unused", [])
    for kind, seen in (
        ("metric", [metric.name for metric in metrics]),
        ("example", [metric.example for metric in metrics]),
        ("name of Airflow's", [metric.origin for metric in metrics if metric.origin]),
    ):
        if twice := sorted({each for each in seen if seen.count(each) > 1}):
            raise MetricsError(f"The tables in {folder.name}/metrics have the {kind} {twice[0]} twice: leave one.")
    return MetricTable(
        tuple(metrics),
        tuple(each["example"] for each in dropped),
        frozenset(each["from"] for each in dropped if "from" in each),
        tuple(each["prefix"] for each in unused),
    )


def prefix(part: str) -> str:
    """Return what the names of a part's metrics begin with."""
    return {AIRFLOW: "airflow_", PLATFORM: "taxiway_"}.get(part, f"taxiway_{part}_")


def _metric(part: str, entry: dict[str, Any]) -> Metric:
    file = f"metrics/{part}.yaml"
    name = str(entry.get("name", "An entry without a name"))
    required = {"name", "type", "labels", "unit", "meaning", "example"}
    if missing := sorted(required - entry.keys()):
        raise MetricsError(f"{name} in {file} lacks {', '.join(missing)}: add it.")
    if other := sorted(entry.keys() - required - {"from", "value", "silent"}):
        raise MetricsError(f"{name} in {file} has {', '.join(other)}, which nothing reads: remove it.")
    if not name.startswith(prefix(part)):
        raise MetricsError(f"{name} in {file} must begin with {prefix(part)}: rename it, or move it to its own part.")
    if entry["type"] not in TYPES:
        raise MetricsError(f"{name} in {file} is a {entry['type']}: it must be one of {', '.join(TYPES)}.")
    shown = re.fullmatch(r"[^:]+:(-?[\d.]+)\|(c|g|ms)", entry["example"])
    if shown is None:
        raise MetricsError(f"The example of {name} in {file} is no StatsD line: write name:value|c, |g or |ms.")
    value = float(shown[1]) / (1000 if shown[2] == "ms" else 1)
    return Metric(
        part,
        name,
        entry["type"],
        tuple(entry["labels"]),
        entry["unit"],
        entry["meaning"],
        entry["example"],
        float(entry.get("value", value)),
        entry.get("from"),
        entry.get("silent", ""),
    )


def uses(folder: Path = FOLDER) -> list[Use]:
    """Return every use of a metric by the dashboards and rules in a folder; none where there are none yet."""
    return [*_of_dashboards(folder / "dashboards"), *_of_rules(folder / "rules")]


def problems(table: MetricTable, found: Iterable[Use]) -> list[str]:
    """Return a sentence for each use of a metric that is not in the table, is never sent, or lacks a label."""
    problems = []
    for use in found:
        metric = table.of(use.series)
        if metric is None:
            problems.append(f"{use.place} uses {use.series}, which no file of helm/monitoring/metrics has.")
        elif metric.silent:
            problems.append(f"{use.place} uses {use.series}, which is never sent. {metric.silent}")
        else:
            more = {"le"} if use.series.endswith("_bucket") else set()
            if lacking := sorted(use.labels - set(metric.labels) - more - _FROM_SCRAPE):
                problems.append(
                    f"{use.place} uses {', '.join(lacking)} of {use.series}, whose labels are {metric.labels}."
                )
    return problems


# Labels that Prometheus adds when it scrapes, or that a vector match may name for the other side of it.
_FROM_SCRAPE = {"job", "instance", "namespace", "pod", "service", "container", "endpoint", "cluster"}


def _of_dashboards(folder: Path) -> Iterator[Use]:
    for path in sorted(folder.glob("*.json")):
        for title, text in _texts(json.loads(path.read_text()), path.stem):
            yield from _in_expression(f"dashboard {path.stem}: {title}", text)


def _texts(node: Any, title: str) -> Iterator[tuple[str, str]]:
    """Yield each query of a dashboard, with the title of its panel or the name of its variable."""
    if isinstance(node, dict):
        own = node.get("title") if isinstance(node.get("title"), str) and node.get("title") else node.get("name")
        title = own if isinstance(own, str) and own else title
        for key, value in node.items():
            if key in ("expr", "query", "definition") and isinstance(value, str):
                yield title, value
            else:
                yield from _texts(value, title)
    elif isinstance(node, list):
        for each in node:
            yield from _texts(each, title)


def _of_rules(folder: Path) -> Iterator[Use]:
    for path in sorted(folder.glob("*.yaml")):
        for group in (yaml.safe_load(path.read_text()) or {}).get("groups", []):
            for rule in group["rules"]:
                place = f"alert {rule['alert']}" if "alert" in rule else f"rule {rule['record']}"
                yield from _in_expression(place, str(rule["expr"]))


def _in_expression(place: str, expression: str) -> Iterator[Use]:
    """Yield the metrics in an expression.

    A label of by (…) must be one of a metric's if the expression has no other metric.
    """
    found = list(_USE.finditer(expression))
    bare = _LITERAL.sub(" ", expression)
    grouped = {label for each in _GROUPING.finditer(bare) for label in re.split(r"[,\s]+", each[1]) if label}
    alone = len({each[1] for each in found}) == 1 and not re.search(
        r"label_(?:replace|join)|group_(?:left|right)", bare
    )
    for each in found:
        named = {matcher[1] for matcher in _MATCHER.finditer(each[2] or "")} - {"__name__"}
        yield Use(place, each[1], frozenset(named | (grouped if alone else set())))
