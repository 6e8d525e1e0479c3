"""The one table of metrics, ``helm/monitoring/metrics.yaml``, and where each of them is used."""

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
TABLE = FOLDER / "metrics.yaml"
TYPES = ("counter", "gauge", "histogram")
# A name of ours or of Airflow's in a PromQL expression, with its label matchers; recording rules have colons.
_USE = re.compile(r"(?<![\w:])((?:airflow|taxiway)_\w+)(?![\w:])\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"""(\w+)\s*(?:=~|!~|!=|=)\s*(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_GROUPING = re.compile(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)")
_LITERAL = re.compile(r"""\{[^{}]*\}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")


class CatalogueError(Exception):
    """The table cannot be used; the text is one clear sentence."""


@dataclass(frozen=True)
class Metric:
    """A metric as Prometheus sees it.

    Attributes:
        origin: its name in Airflow's own list of metrics; None where that lacks it, or the metric is ours.
        example: a line as it is sent.
        value: what the exporter shows of the example.
        silent: why the installed Airflow never sends it; empty for what it sends.
    """

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
class Catalogue:
    """All metrics, what the mappings drop (lines, and Airflow's names of them), and prefixes of what is not used."""

    metrics: tuple[Metric, ...]
    dropped: tuple[str, ...]
    dropped_origins: frozenset[str]
    unused: tuple[str, ...]

    def of(self, name: str) -> Metric | None:
        """Return the metric that has a series of this name."""
        return self._by_series().get(name)

    def has_origin(self, name: str) -> bool:
        """Tell whether one of Airflow's names is in the table, dropped, or of a part that is not used."""
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


def read(path: Path = TABLE) -> Catalogue:
    """Read the table.

    Raises:
        CatalogueError: an entry is wrong.
    """
    table = yaml.safe_load(path.read_text())
    metrics = tuple(_metric(each) for each in table["metrics"])
    for kind, seen in (
        ("metric", [metric.name for metric in metrics]),
        ("example", [metric.example for metric in metrics]),
        ("name of Airflow's", [metric.origin for metric in metrics if metric.origin]),
    ):
        if twice := sorted({each for each in seen if seen.count(each) > 1}):
            raise CatalogueError(f"{path.name} has the {kind} {twice[0]} twice: leave one.")
    return Catalogue(
        metrics,
        tuple(each["example"] for each in table["dropped"]),
        frozenset(each["from"] for each in table["dropped"] if "from" in each),
        tuple(each["prefix"] for each in table["unused"]),
    )


def _metric(entry: dict[str, Any]) -> Metric:
    name = str(entry.get("name", "an entry without a name"))
    wanted = {"name", "type", "labels", "unit", "meaning", "example"}
    if missing := sorted(wanted - entry.keys()):
        raise CatalogueError(f"{name} in metrics.yaml lacks {', '.join(missing)}.")
    if other := sorted(entry.keys() - wanted - {"from", "value", "silent"}):
        raise CatalogueError(f"{name} in metrics.yaml has {', '.join(other)}, which nobody reads: remove it.")
    if entry["type"] not in TYPES:
        raise CatalogueError(f"{name} in metrics.yaml is a {entry['type']}: it must be one of {', '.join(TYPES)}.")
    shown = re.fullmatch(r"[^:]+:(-?[\d.]+)\|(c|g|ms)", entry["example"])
    if shown is None:
        raise CatalogueError(f"The example of {name} in metrics.yaml is no StatsD line: write name:value|c, |g or |ms.")
    value = float(shown[1]) / (1000 if shown[2] == "ms" else 1)
    return Metric(
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


def complaints(catalogue: Catalogue, found: Iterable[Use]) -> list[str]:
    """Say of each use whose metric is not in the table, is never sent, or lacks a label that it names."""
    said = []
    for use in found:
        metric = catalogue.of(use.series)
        if metric is None:
            said.append(f"{use.place} uses {use.series}, which is in no line of helm/monitoring/metrics.yaml.")
        elif metric.silent:
            said.append(f"{use.place} uses {use.series}, which is never sent. {metric.silent}")
        else:
            more = {"le"} if use.series.endswith("_bucket") else set()
            if lacking := sorted(use.labels - set(metric.labels) - more - _FROM_SCRAPE):
                said.append(f"{use.place} uses {', '.join(lacking)} of {use.series}, whose labels are {metric.labels}.")
    return said


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
