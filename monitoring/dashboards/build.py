"""What all pages use: variables, panels of the same style, and their layout, made of Grafana's own types.

A panel cannot be made without a description and a unit. Its queries use Grafana's variables: ``$__range`` is the time
that the page shows, ``$__rate_interval`` one step of a graph and one scrape more, so that no increase is lost between
two steps.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "text"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
ALIVE = "count(statsd_exporter_build_info)"

# One colour for one meaning on every page. The names are those of the series.
COLOURS = {
    "success": GREEN,
    "accepted": GREEN,
    "running": GREEN,
    "open": GREY,
    "failed": RED,
    "quarantined": RED,
    "starving": RED,
    "up_for_retry": ORANGE,
    "idle": ORANGE,
    "queued": YELLOW,
    "scheduled": BLUE,
    "deferred": PURPLE,
    "skipped": "pink",
}

Steps = Sequence[tuple[float | None, str]]


@dataclass(frozen=True)
class Query:
    """One PromQL expression of a panel.

    ``name`` is the series' legend, or in a table the column's title. A missing series may mean "it never
    happened" instead of "unknown": then the panel shows 0 wherever ``zero`` has a series, such as :data:`ALIVE`
    while the exporter is there.
    ``unseen`` is why a run of the main job on one machine gives it no data; tests hold it against such a run.
    """

    expr: str
    name: str = ""
    zero: str = ""
    unit: str = ""  # in a table: the column's, if it is not the panel's
    unseen: str = ""

    @property
    def shown(self) -> str:
        """Return the expression that the panel has."""
        return f"({self.expr}) or 0 * {self.zero}" if self.zero else self.expr


@dataclass
class Page:
    """A dashboard in the making."""

    uid: str
    title: str
    description: str
    time: str
    variables: list[Builder[model.VariableModel]]
    queries: dict[str, list[Query]] = field(default_factory=dict)  # by the panel's title
    _panels: list[tuple[Any, int, int]] = field(default_factory=list)

    def row(self, title: str) -> Self:
        """Begin a row of panels."""
        self._panels.append((dashboard.Row(title), 24, 1))
        return self

    def stat(
        self,
        title: str,
        description: str,
        query: Query,
        *,
        unit: str,
        steps: Steps = ((None, BLUE),),
        size: tuple[int, int] = (4, 4),
        graph: bool = False,
        decimals: int | None = None,
        unseen: str = "",
    ) -> Self:
        """Add one number, coloured by ``steps``: (from which value, colour), the first from None."""
        panel = (
            stat.Panel()
            .color_mode(shapes.BigValueColorMode.VALUE)
            .graph_mode(shapes.BigValueGraphMode.AREA if graph else shapes.BigValueGraphMode.NONE)
            .text_mode(shapes.BigValueTextMode.VALUE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .thresholds(_thresholds(steps))
        )
        return self._add(panel, title, description, [query], unit, size, unseen, instant=not graph, decimals=decimals)

    def lines(
        self,
        title: str,
        description: str,
        *queries: Query,
        unit: str,
        steps: Steps = (),
        size: tuple[int, int] = (12, 8),
        stacked: bool = False,
        highest: float | None = None,
        unseen: str = "",
    ) -> Self:
        """Add lines over time; ``steps`` are drawn as dashed lines."""
        panel = _over_time().line_width(2).fill_opacity(25 if stacked else 8).show_points(shapes.VisibilityMode.AUTO)
        if stacked:
            panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
        if steps:
            panel.thresholds(_thresholds(steps)).thresholds_style(
                common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
            )
        if highest is not None:
            panel.max(highest)
        return self._add(panel.min(0), title, description, queries, unit, size, unseen)

    def bars(
        self,
        title: str,
        description: str,
        *queries: Query,
        unit: str,
        size: tuple[int, int] = (12, 8),
        interval: str = "1m",
        unseen: str = "",
    ) -> Self:
        """Add stacked counts, a bar a step."""
        panel = (
            _over_time()
            .draw_style(shapes.GraphDrawStyle.BARS)
            .fill_opacity(80)
            .line_width(0)
            .bar_width_factor(0.8)
            .stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
            .min(0)
            .interval(interval)
        )
        return self._add(panel, title, description, queries, unit, size, unseen)

    def ranking(
        self,
        title: str,
        description: str,
        query: Query,
        *,
        unit: str,
        steps: Steps = ((None, BLUE),),
        size: tuple[int, int] = (12, 8),
        highest: float | None = None,
        unseen: str = "",
    ) -> Self:
        """Add a bar for each of a few things, longest first as the query sorts them."""
        panel = (
            bargauge.Panel()
            .orientation(shapes.VizOrientation.HORIZONTAL)
            .display_mode(shapes.BarGaugeDisplayMode.BASIC)
            .value_mode(shapes.BarGaugeValueMode.TEXT)
            .show_unfilled(True)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .thresholds(_thresholds(steps))
            .min(0)
        )
        if highest is not None:
            panel.max(highest)
        return self._add(panel, title, description, [query], unit, size, unseen, instant=True)

    def table(
        self,
        title: str,
        description: str,
        *queries: Query,
        labels: dict[str, str],
        unit: str,
        size: tuple[int, int] = (24, 9),
        links: dict[str, tuple[str, str]] | None = None,
        colours: dict[str, Steps] | None = None,
        unseen: str = "",
    ) -> Self:
        """Add a table: a row for each combination of ``labels`` (label → column title), a column for each query.

        ``links`` are (title, address) by column, ``colours`` the steps by column. The first query's column sorts.
        """
        panel = (
            table.Panel()
            .cell_height(shapes.TableCellHeight.SM)
            .show_header(True)
            .align(shapes.FieldTextAlignment.AUTO)
            .inspect(False)
        )
        names = {f"Value #{_ref(number)}": query.name for number, query in enumerate(queries)} | labels
        if len(queries) == 1:
            names["Value"] = queries[0].name
        panel.transformations(
            [
                model.DataTransformerConfig(id_val="merge", options={}),
                model.DataTransformerConfig(
                    id_val="organize",
                    options={
                        "excludeByName": {"Time": True},
                        "indexByName": {name: place for place, name in enumerate(dict.fromkeys([*labels, *names]))},
                        "renameByName": names,
                    },
                ),
            ]
        )
        panel.sort_by([common.TableSortByFieldState().display_name(queries[0].name).desc(True)])
        for query in queries:
            properties = [_value("unit", query.unit or unit)]
            if steps := (colours or {}).get(query.name):
                properties.append(_value("thresholds", _thresholds(steps).build()))
                properties.append(_value("custom.cellOptions", {"type": "color-text"}))
                properties.append(_value("color", {"mode": "thresholds"}))
            panel.override_by_name(query.name, properties)
        for column in labels.values():
            properties = [_value("unit", "string"), _value("custom.minWidth", 160)]
            if column in (links or {}):
                text, url = (links or {})[column]
                properties.append(_value("links", [{"title": text, "url": url, "targetBlank": True}]))
            panel.override_by_name(column, properties)
        return self._add(panel, title, description, queries, unit, size, unseen, instant=True, as_table=True)

    def _add(
        self,
        panel: Any,
        title: str,
        description: str,
        queries: Sequence[Query],
        unit: str,
        size: tuple[int, int],
        unseen: str,
        *,
        instant: bool = False,
        as_table: bool = False,
        decimals: int | None = None,
    ) -> Self:
        width, height = size
        panel.title(title).description(description).datasource(SOURCE).unit(unit).span(width).height(height)
        if decimals is not None:
            panel.decimals(decimals)
        for number, query in enumerate(queries):
            target = prometheus.Dataquery().ref_id(_ref(number)).datasource(SOURCE).expr(query.shown)
            target = target.instant() if instant else target.range()
            if as_table:
                target.format(PromQueryFormat.TABLE)
            else:
                target.legend_format(query.name or "__auto")
            panel.with_target(target)
        if title in self.queries:
            raise ValueError(f"{self.title} has two panels {title!r}: give one another title.")
        self.queries[title] = [replace(query, unseen=query.unseen or unseen) for query in queries]
        self._panels.append((panel, width, height))
        return self

    def build(self, pages: Sequence["Page"]) -> model.Dashboard:
        """Return Grafana's dashboard, with links to the other ``pages``."""
        result = (
            dashboard.Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags(["taxiway"])
            .time(self.time, "now")
            .refresh("1m")
            .timezone("browser")
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .readonly()
        )
        result.variables([*_source_and_airflow(), *self.variables])
        result.link(
            dashboard.DashboardLink("Airflow")
            .type(model.DashboardLinkType.LINK)
            .icon("external link")
            .tooltip("Airflow's own pages")
            .url("${airflow}")
            .target_blank(True)
        )
        for page in pages:
            if page.uid != self.uid:
                name = page.title.removeprefix("Taxiway: ")
                result.link(
                    dashboard.DashboardLink(name[0].upper() + name[1:])
                    .type(model.DashboardLinkType.LINK)
                    .icon("dashboard")
                    .tooltip(page.description)
                    .url(f"/d/{page.uid}")
                    .keep_time(False)
                )
        for number, (panel, _, _) in enumerate(self._panels, start=1):
            panel.id(number)
            if isinstance(panel, dashboard.Row):
                result.with_row(panel)
            else:
                result.with_panel(panel)
        return result.build()

    def text(self, pages: Sequence["Page"]) -> str:
        """Return the page as JSON: sorted keys, two spaces."""
        built = json.dumps(self.build(pages), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        return built + "\n"


def label_variable(name: str, title: str, metric: str, label: str) -> Builder[model.VariableModel]:
    """Return a choice of any number of the values that ``label`` has on ``metric``, all of them at first."""
    return (
        dashboard.QueryVariable(name)
        .label(title)
        .datasource(SOURCE)
        .query({"query": f"label_values({metric}, {label})", "refId": name, "qryType": 1})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _source_and_airflow() -> list[Builder[model.VariableModel]]:
    return [
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        dashboard.TextBoxVariable("airflow").label("Airflow's address").default_value("http://localhost:8080"),
    ]


def _over_time() -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .legend(
            common.VizLegendOptions()
            .display_mode(shapes.LegendDisplayMode.LIST)
            .placement(shapes.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
    )
    for name, colour in COLOURS.items():
        panel.override_by_name(name, [_value("color", {"fixedColor": colour, "mode": "fixed"})])
    return panel


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _value(name: str, value: Any) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=name, value=value)


def _ref(number: int) -> str:
    return chr(ord("A") + number)
