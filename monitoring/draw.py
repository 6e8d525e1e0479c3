"""Draws the dashboards with the numbers of a recorded run, in Grafana's grid, where there is no Grafana.

``python -m monitoring.draw RECORDING FOLDER`` writes a page for each dashboard, and a picture of it where there is a
Chromium. This is a preview and not Grafana: it shows whether titles, units, legends and heights fit the results.
"""

import argparse
import html
import json
import math
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from monitoring.dashboards import FOLDER
from monitoring.dashboards.build import COLOURS
from monitoring.prometheus import Series
from monitoring.replay import Replay

WIDTH, CELL, GAP = 1600, 30, 8  # of a page, of a row of the grid, between two rows, in pixels
HUES = {
    "green": "#56a64b",
    "yellow": "#e0b400",
    "orange": "#e8711a",
    "red": "#e02f44",
    "blue": "#3274d9",
    "purple": "#a352cc",
    "pink": "#d683ce",
    "text": "#8e8e93",
    "transparent": "#56a64b",
}
OTHERS = ["#3274d9", "#56a64b", "#e8711a", "#a352cc", "#e0b400", "#37872d", "#1f60c4", "#c4162a", "#8f3bb8", "#8e8e93"]
STYLE = """
body { margin: 0; padding: 12px; background: #f4f5f5; font: 13px/1.4 Inter, Roboto, "Helvetica Neue", sans-serif;
       color: #24292e; }
.page { position: relative; } .panel, .row { position: absolute; box-sizing: border-box; overflow: hidden; }
.panel { background: #fff; border: 1px solid #dcdfe3; border-radius: 2px; padding: 6px 8px; }
.row { font-weight: 600; font-size: 15px; padding-top: 6px; }
.title { font-weight: 600; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.number { font-size: 34px; font-weight: 600; text-align: center; line-height: 1; padding-top: 18px; }
.none { color: #8e8e93; text-align: center; padding-top: 20px; }
table { border-collapse: collapse; width: 100%; margin-top: 4px; font-size: 12px; }
th { text-align: left; color: #3274d9; font-weight: 600; }
td, th { padding: 3px 8px; border-bottom: 1px solid #eceef0; }
.bar { display: flex; align-items: center; margin: 5px 0; } .bar b { width: 190px; font-weight: 400; }
.bar i { background: #eceef0; flex: 1; height: 18px; } .bar u { display: block; height: 18px; }
.bar s { width: 90px; text-align: right; text-decoration: none; font-weight: 600; }
.head { font-size: 20px; } .description { color: #6e7176; }
"""


def formatted(value: float, unit: str, decimals: int | None = None) -> str:
    """Return a value as Grafana would write it in a unit."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{100 * value:.{1 if decimals is None else decimals}f}%"
    if unit == "currencyUSD":
        return f"${value:,.{2 if decimals is None else decimals}f}"
    if unit in ("dateTimeAsIso", "dateTimeFromNow"):
        moment = datetime.fromtimestamp(value / 1000, UTC)
        if unit == "dateTimeAsIso":
            return f"{moment:%Y-%m-%d %H:%M:%S}"
        return f"{formatted((datetime.now(UTC) - moment).total_seconds(), 's', 0)} ago"
    factor, name = scale(value, unit)
    number = value / factor
    places = decimals if decimals is not None else 0 if float(number).is_integer() else 2 if abs(number) < 10 else 1
    return f"{number:,.{places}f}{name}"


def scale(value: float, unit: str) -> tuple[float, str]:
    """Return the divisor and the name that Grafana would choose for a value."""
    steps: Sequence[tuple[float, str]] = {
        "s": ((1e-3, " ms"), (1, " s"), (60, " mins"), (3600, " hours"), (86400, " days")),
        "bytes": ((1, " B"), (2**10, " KiB"), (2**20, " MiB"), (2**30, " GiB")),
        "decbytes": ((1, " B"), (1e3, " kB"), (1e6, " MB"), (1e9, " GB")),
        "short": ((1, ""), (1e3, " K"), (1e6, " Mil"), (1e9, " Bil")),
        "cps": ((1, " c/s"), (1e3, "K c/s")),
        "cpm": ((1, " c/m"), (1e3, "K c/m")),
        "percentunit": ((0.01, "%"),),
        "currencyUSD": ((1, " $"),),
    }.get(unit, ((1, f" {unit.removeprefix('suffix: ')}" if unit.startswith("suffix") else ""),))
    usual = steps[min(1, len(steps) - 1)] if unit == "s" else steps[0]
    return next((step for step in reversed(steps) if abs(value) >= step[0]), steps[0] if value else usual)


def draw(page: Mapping[str, Any], seen: Replay) -> str:
    """Return a dashboard as HTML, with what its queries return now."""
    column = (WIDTH - 24) / 24
    parts, bottom = [], 0.0
    for panel in page["panels"]:
        place = panel["gridPos"]
        left, top = place["x"] * column, place["y"] * (CELL + GAP)
        width, height = place["w"] * column - GAP, place["h"] * (CELL + GAP) - GAP
        bottom = max(bottom, top + height)
        box = f"left:{left:.0f}px;top:{top:.0f}px;width:{width:.0f}px;height:{height:.0f}px"
        title = html.escape(panel["title"])
        if panel["type"] == "row":
            parts.append(f'<div class="row" style="{box}">▾ {title}</div>')
        else:
            body = _DRAWN[panel["type"]](panel, seen, width - 18, height - 32)
            parts.append(f'<div class="panel" style="{box}"><div class="title">{title}</div>{body}</div>')
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(page["title"])}</title>'
        f'<style>{STYLE}</style><p><b class="head">{html.escape(page["title"])}</b> '
        f'<span class="description">{html.escape(page["description"])}</span></p>'
        f'<div class="page" style="width:{WIDTH - 24}px;height:{bottom:.0f}px">{"".join(parts)}</div></html>'
    )


def _stat(panel: Mapping[str, Any], seen: Replay, _width: float, _height: float) -> str:
    found = _values(panel["targets"][0], seen)
    if not found:
        return '<div class="none">No data</div>'
    defaults = panel["fieldConfig"]["defaults"]
    colour = _colour(found[0][1], defaults.get("thresholds"))
    text = formatted(found[0][1], defaults["unit"], defaults.get("decimals"))
    return f'<div class="number" style="color:{colour}">{html.escape(text)}</div>'


def _table(panel: Mapping[str, Any], seen: Replay, _width: float, _height: float) -> str:
    organise = next(each["options"] for each in panel["transformations"] if each["id"] == "organize")
    names: dict[str, str] = organise["renameByName"]
    places: dict[str, int] = organise["indexByName"]
    columns = [names[name] for name in sorted(names, key=lambda name: places.get(name, 99))]
    properties = {
        each["matcher"]["options"]: {one["id"]: one["value"] for one in each["properties"]}
        for each in panel["fieldConfig"]["overrides"]
    }
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    order: dict[tuple[str, ...], float] = {}
    labels = [name for name in names if not name.startswith("Value")]
    for number, target in enumerate(panel["targets"]):
        column = names.get(f"Value #{target['refId']}") or names["Value"]
        override = properties[column]
        for series in seen.prometheus.query(seen.filled_in(target["expr"]), seen.end):
            key = tuple(series.labels.get(label, "") for label in labels)
            shown = {names[label]: html.escape(text) for label, text in zip(labels, key, strict=True)}
            row = rows.setdefault(key, shown)
            colour = _colour(series.value, override["thresholds"]) if "thresholds" in override else "inherit"
            row[column] = (
                f'<span style="color:{colour}">{html.escape(formatted(series.value, override["unit"]))}</span>'
            )
            if number == 0:
                order[key] = series.value
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    lines = [
        "<tr>" + "".join(f"<td>{row.get(column, '')}</td>" for column in columns) + "</tr>"
        for key, row in sorted(rows.items(), key=lambda item: -order.get(item[0], -math.inf))
    ]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>" if rows else '<div class="none">No data</div>'


def _ranking(panel: Mapping[str, Any], seen: Replay, _width: float, _height: float) -> str:
    found = _values(panel["targets"][0], seen)
    defaults = panel["fieldConfig"]["defaults"]
    highest = defaults.get("max") or max((value for _, value in found), default=1) or 1
    return "".join(
        f"<div class='bar'><b>{html.escape(name)}</b><i><u style='width:{100 * value / highest:.1f}%;"
        f"background:{_colour(value, defaults.get('thresholds'))}'></u></i>"
        f"<s>{html.escape(formatted(value, defaults['unit']))}</s></div>"
        for name, value in found
    )


def _over_time(panel: Mapping[str, Any], seen: Replay, width: float, height: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    bars, stacked = custom.get("drawStyle") == "bars", "stacking" in custom
    rows: list[dict[str, Any]] = []
    names: list[str] = []
    for target in panel["targets"]:
        for series in seen.prometheus.query_range(seen.filled_in(target["expr"]), seen.first, seen.end, seen.step):
            name = _legend(target, series)
            names.append(name)
            rows += [{"at": at * 1000, "value": value, "name": name} for at, value in series.points if value == value]
    if not rows:
        return '<div class="none">No data</div>'
    factor, unit = scale(max(row["value"] for row in rows), defaults["unit"])
    for row in rows:
        row["value"] /= factor
    names = list(dict.fromkeys(names))
    hues = [HUES.get(COLOURS.get(name, ""), OTHERS[place % len(OTHERS)]) for place, name in enumerate(names)]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("at:T", title=None, axis=alt.Axis(grid=False, format="%H:%M:%S", tickCount=4)),
        y=alt.Y(
            "value:Q",
            title=None,
            stack="zero" if stacked else None,
            axis=alt.Axis(labelExpr=f"format(datum.value, '~g') + '{unit}'", tickCount=5),
            scale=alt.Scale(domainMax=defaults["max"] / factor) if "max" in defaults else alt.Undefined,
        ),
        color=alt.Color(
            "name:N",
            scale=alt.Scale(domain=names, range=hues),
            legend=alt.Legend(orient="bottom", title=None, columns=max(1, int(width // 190)), labelLimit=180),
        ),
    )
    if bars:
        chart = base.mark_bar(size=max(2, width / 60 * 0.8 - 1))
    elif stacked:
        chart = base.mark_area(opacity=0.35, line={"strokeWidth": 2})
    else:
        chart = base.mark_line(strokeWidth=2, point={"size": 14})
    spec = (
        chart.properties(width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"))
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=11, gridColor="#eceef0", domain=False)
        .configure_legend(labelFontSize=11, symbolSize=60, padding=0, offset=4)
        .to_dict()
    )
    return str(vl_convert.vegalite_to_svg(spec))


_DRAWN: dict[str, Callable[[Mapping[str, Any], Replay, float, float], str]] = {
    "stat": _stat,
    "table": _table,
    "bargauge": _ranking,
    "timeseries": _over_time,
}


def _values(target: Mapping[str, Any], seen: Replay) -> list[tuple[str, float]]:
    found = seen.prometheus.query(seen.filled_in(target["expr"]), seen.end)
    return [(_legend(target, series), series.value) for series in found]


def _legend(target: Mapping[str, Any], series: Series) -> str:
    text = str(target.get("legendFormat", ""))
    for label, value in series.labels.items():
        text = text.replace(f"{{{{{label}}}}}", value)
    return text


def _colour(value: float, thresholds: Mapping[str, Any] | None) -> str:
    colour = "blue"
    for step in (thresholds or {}).get("steps", []):
        if step.get("value") is None or value >= step["value"]:
            colour = step["color"]
    return HUES[colour]


def main() -> None:
    """Draw every dashboard."""
    from monitoring.capture import read
    from monitoring.mappings import rendered
    from monitoring.replay import replay

    parser = argparse.ArgumentParser(prog="python -m monitoring.draw", description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--speed", type=float, default=4)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with replay(read(options.recording), rendered(), speed=options.speed) as seen:
        for file in sorted(FOLDER.glob("*.json")):
            page = json.loads(file.read_text(encoding="utf-8"))
            drawn = options.folder / f"{file.stem}.html"
            drawn.write_text(draw(page, seen), encoding="utf-8")
            _picture(drawn, max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in page["panels"]))


def _picture(page: Path, rows: int) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser:
        size = f"{WIDTH},{rows * (CELL + GAP) + 80}"
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1",
             f"--window-size={size}", f"--screenshot={page.with_suffix('.png')}", page.resolve().as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
