"""The charts of the page as Vega-Lite specifications, which refer to their data by name.

The page embeds every data set once and gives each chart a copy. Legends are HTML next to the charts: they wrap on a
phone, and printers and screen readers get them as text.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from taxiway.hvfhv.report import text
from taxiway.hvfhv.report.summary import FEW_TRIPS, MIN_TIMED, NO_TRIPS, Summary

Spec = dict[str, Any]

# Okabe and Ito's palette, which colour-blind readers can distinguish; the sequential ones are ColorBrewer's.
_COMPANY_COLOURS = {"uber": "#0072B2", "lyft": "#D55E00", "via": "#009E73", "juno": "#CC79A7"}
_OTHER_COMPANY = "#56606B"
_SEQUENTIAL = {
    "demand": ("#d6efd0", "#a5dcc0", "#5fc0c2", "#2f97bf", "#2166ac", "#172d72"),
    "waits": ("#fff0b3", "#fed676", "#fdab43", "#ee7420", "#c2430b", "#7a2405"),
}
_NO_TRIPS_COLOUR = "#eceef0"
_FEW_TRIPS_COLOUR = "#c9ced4"
_INK = "#3d4854"
_GRID = "#e6e9ec"

CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": _INK, "titleColor": _INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500,
        "gridColor": _GRID, "domainColor": "#aab2ba", "tickColor": "#aab2ba", "labelOverlap": "parity",
    },
    # One width for all, so that stacked charts are aligned; the title is horizontal, above the labels.
    "axisY": {
        "domain": False, "ticks": False, "labelPadding": 6, "minExtent": 40, "maxExtent": 40,
        "titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleX": -40, "titleY": -10,
    },
}  # fmt: skip


def company_colour(company: str) -> str:
    """Return the colour of a company, the same in every chart and every month."""
    return _COMPANY_COLOURS.get(company, _OTHER_COMPANY)


def class_colours(kind: str, classes: Sequence[str]) -> dict[str, str]:
    """Return the colour of each class of a map, light to dark; ``kind`` is ``demand`` or ``waits``."""
    palette = _SEQUENTIAL[kind]
    step = (len(palette) - 1) / max(len(classes) - 1, 1)
    colours = {name: palette[round(place * step)] for place, name in enumerate(classes)}
    few = {FEW_TRIPS: _FEW_TRIPS_COLOUR} if kind == "waits" else {}
    return {NO_TRIPS: _NO_TRIPS_COLOUR, **few, **colours}


def specifications(summary: Summary) -> dict[str, Spec]:
    """Return the Vega-Lite specification of each chart by name, without those that have no data."""
    names = summary.trend_names
    colour = alt.Color(
        "company:N", legend=None, scale=alt.Scale(domain=names, range=[company_colour(name) for name in names])
    )
    days = list(dict.fromkeys(row["day"] for row in summary.days))
    demand = class_colours("demand", summary.trip_classes)
    waits = class_colours("waits", summary.wait_classes)
    # A test validates the specifications against Vega-Lite's schema; validating every object here is far slower.
    with debug_mode(False):
        charts: dict[str, alt.Chart | alt.LayerChart] = {
            "share_by_day": _share_by_day(days, colour),
            "trips_by_day": _trips_by_day(days),
            "wait_by_hour": _by_hour("wait_s_mean", "minutes", colour),
            "late_by_hour": _by_hour("late_share", None, colour, format_="%"),
            "demand_map": _map("trip_class", demand, {"trips": "trips", "share": "share of trips"}),
            "wait_map": _map(
                "wait_class", waits, {"wait": "mean wait", "late": "waited over 10 min", "timed": "timed trips"}
            ),
        }
        if len(summary.published_months) > 1:
            charts["share_trend"] = _share_trend(colour)
            charts["wait_trend"] = _wait_trend(colour)
        if summary.rising:
            charts["rising"] = _rising()
        return {name: _plain(chart) for name, chart in charts.items()}


def data_sets(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    """Return the data that the specifications refer to: numbers to draw, and tooltips formatted as in the tables."""
    return {
        "months": [_row(row, "month", "trip_share", "wait_s_p50", "wait_s_p90") for row in summary.months],
        "days": [
            _row(row, "day", "trip_share") | {"rank": summary.names.index(row["company"])} for row in summary.days
        ],
        "hours": [_row(row, "hour", "wait_s_mean", "late_share") for row in summary.hours],
        "zones": [
            {
                **{name: zone[name] for name in ("zone_id", "zone", "borough", "trip_class", "wait_class")},
                "trips": text.number(zone["trips"]) if zone["trips"] else NO_TRIPS,
                "share": text.share(zone["share"], 2),
                "wait": text.duration(zone["wait_s_mean"]),
                "late": text.share(zone["late_share"]),
                "timed": text.number(zone["timed"]),
            }
            for zone in summary.zones
        ],
        "rising": [
            {
                **{name: row[name] for name in ("zone", "share", "baseline_share")},
                "growth": text.growth(row["growth"]),
                "z": round(row["z"], 2),
            }
            for row in summary.rising
        ],
    }


def _row(row: dict[str, Any], key: str, *measures: str) -> dict[str, Any]:
    """Return a row as chart data: waits in minutes, and as text (``…_text``) for the tooltip."""
    drawn: dict[str, Any] = {key: row[key], "company": row["company"], "name": text.company(row["company"])}
    if row["trips"] is None:
        return drawn
    drawn["trips"] = row["trips"]
    for name in measures:
        value = row[name]
        if name.startswith("wait_s_"):
            drawn[f"{name}_text"] = text.duration(value)
            value = None if value is None else value / 60
        drawn[name] = None if value is None else round(value, 5)
    return drawn


_NAME = alt.Tooltip("name:N", title="company")
_TRIPS = alt.Tooltip("trips:Q", title="trips", format=",")


def _chart(data: str) -> alt.Chart:
    return alt.Chart(alt.NamedData(data), width="container", height="container")


def _lines(chart: alt.Chart, *, dash: bool = False, hollow: str = "") -> alt.LayerChart:
    """Draw a line that is interrupted at missing values, and a point for each value, hollow where a test is true."""
    dashes = [5, 4] if dash else alt.Undefined
    layers: alt.LayerChart = chart.mark_line(strokeWidth=2, strokeDash=dashes) + chart.mark_point(
        filled=True, size=42, opacity=1
    )
    if hollow:
        layers += (
            chart.transform_filter(hollow)
            .mark_point(filled=True, size=14, opacity=1)
            .encode(color=alt.value("#ffffff"))
        )
    return layers


def _share_trend(colour: alt.Color) -> alt.LayerChart:
    return _lines(
        _chart("months").encode(
            alt.X("month:O", title=None, axis=alt.Axis(labelAngle=0)),
            alt.Y("trip_share:Q", title=None, axis=alt.Axis(format="%", tickCount=5)),
            colour,
            tooltip=[_NAME, "month:O", alt.Tooltip("trip_share:Q", title="share", format=".1%"), _TRIPS],
        )
    )


def _wait_trend(colour: alt.Color) -> alt.LayerChart:
    def line(field: str, title: str) -> alt.Chart:
        return _chart("months").encode(
            alt.X("month:O", title=None, axis=alt.Axis(labelAngle=0)),
            alt.Y(field, type="quantitative", title="minutes", axis=alt.Axis(tickCount=5)),
            colour,
            tooltip=[_NAME, "month:O", alt.Tooltip(f"{field}_text:N", title=title), _TRIPS],
        )

    return _lines(line("wait_s_p50", "median wait")) + _lines(line("wait_s_p90", "90th percentile"), dash=True)


def _share_by_day(days: list[int], colour: alt.Color) -> alt.Chart:
    chart: alt.Chart = (
        _chart("days")
        .mark_bar()
        .encode(
            _day_axis(days, labels=False),
            alt.Y("trip_share:Q", title=None, axis=alt.Axis(format="%", tickCount=5), scale=alt.Scale(domain=[0, 1])),
            colour,
            order=alt.Order("rank:Q"),
            tooltip=[
                _NAME,
                alt.Tooltip("day:O", title="day"),
                alt.Tooltip("trip_share:Q", title="share", format=".1%"),
                _TRIPS,
            ],
        )
    )
    return chart


def _trips_by_day(days: list[int]) -> alt.Chart:
    chart: alt.Chart = (
        _chart("days")
        .mark_bar(color="#7b8794")
        .encode(
            _day_axis(days, labels=True),
            alt.Y(
                "sum(trips):Q",
                title=None,
                axis=alt.Axis(labelExpr="format(datum.value, datum.value < 1000 ? ',' : '~s')", tickCount=3),
            ),
            tooltip=[alt.Tooltip("day:O", title="day"), alt.Tooltip("sum(trips):Q", title="trips", format=",")],
        )
    )
    return chart


def _day_axis(days: list[int], *, labels: bool) -> alt.X:
    return alt.X(
        "day:O",
        title="day of the month" if labels else None,
        scale=alt.Scale(domain=days),
        axis=alt.Axis(labelAngle=0, labels=labels, ticks=labels),
    )


def _by_hour(field: str, title: str | None, colour: alt.Color, *, format_: str = "") -> alt.LayerChart:
    return _lines(
        _chart("hours").encode(
            alt.X("hour:O", title="hour of the request", axis=alt.Axis(labelAngle=0)),
            alt.Y(field, type="quantitative", title=title, axis=alt.Axis(format=format_ or alt.Undefined, tickCount=5)),
            colour,
            tooltip=[
                _NAME,
                alt.Tooltip("hour:O", title="hour"),
                alt.Tooltip("wait_s_mean_text:N", title="mean wait"),
                alt.Tooltip("late_share:Q", title="waited over 10 min", format=".1%"),
                alt.Tooltip("trips:Q", title="timed trips", format=","),
            ],
        ),
        hollow=f"datum.trips < {MIN_TIMED}",
    )


def _map(field: str, colours: dict[str, str], tooltips: dict[str, str]) -> alt.Chart:
    chart: alt.Chart = (
        _chart("shapes")
        .mark_geoshape(stroke="#ffffff", strokeWidth=0.5)
        .transform_lookup(
            lookup="properties.zone_id",
            from_=alt.LookupData(
                data=alt.NamedData("zones"), key="zone_id", fields=["zone", "borough", field, *tooltips]
            ),
        )
        .project(type="mercator")
        .encode(
            alt.Color(
                field, type="nominal", legend=None, scale=alt.Scale(domain=list(colours), range=list(colours.values()))
            ),
            tooltip=[
                "zone:N",
                "borough:N",
                *(alt.Tooltip(name, type="nominal", title=title) for name, title in tooltips.items()),
            ],
        )
    )
    return chart


def _rising() -> alt.LayerChart:
    shares = _chart("rising").encode(
        alt.Y("zone:N", sort=None, title=None, axis=alt.Axis(labelLimit=165, minExtent=0, maxExtent=180)),
        tooltip=[
            "zone:N",
            alt.Tooltip("share:Q", title="share of trips", format=".2%"),
            alt.Tooltip("baseline_share:Q", title="baseline share", format=".2%"),
            alt.Tooltip("growth:N", title="growth"),
            alt.Tooltip("z:Q", title="z"),
        ],
    )
    x = alt.X("share:Q", title="share of the month's trips", axis=alt.Axis(format=".1%", tickCount=5))
    chart: alt.LayerChart = (
        shares.mark_rule(strokeWidth=3, color="#c3c9cf").encode(x, x2="baseline_share:Q")
        + shares.mark_point(size=70, filled=True, fill="#ffffff", stroke="#56606b", opacity=1).encode(
            alt.X("baseline_share:Q")
        )
        + shares.mark_point(size=80, filled=True, color="#0072B2", opacity=1).encode(x)
    )
    return chart


def _plain(chart: alt.Chart | alt.LayerChart) -> Spec:
    specification: Spec = chart.to_dict(validate=False)
    return {name: value for name, value in specification.items() if name not in ("config", "$schema")}
