"""The month's report as one self-contained HTML page: no network access, no other file."""

import json
import os
import tempfile
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import jinja2
import vl_convert
from markupsafe import Markup

from taxiway.core import taxi_zones
from taxiway.hvfhv.report import charts, text
from taxiway.hvfhv.report.figures import MonthFigures
from taxiway.hvfhv.report.summary import MIN_TIMED, summarise
from taxiway.hvfhv.tables import QUARANTINE, late_after_s
from taxiway.operations import pages

_HERE = Path(__file__).parent

_USES = {
    "hvfhv_trips": "rows accepted",
    "hvfhv_trips_quarantine": "rows quarantined, by reason",
    "hvfhv_service_quality": "waits by hour and by zone, late trips",
    "hvfhv_market_share": "share by day and by borough",
    "hvfhv_popular_zones": "demand map, popular zones",
    "hvfhv_rising_zones": "rising zones",
    "hvfhv_trend": "headline figures, company table, month by month",
}


def render(figures: MonthFigures) -> str:
    """Return the report of a month as HTML; equal figures give an equal page."""
    shapes = taxi_zones.shapes()
    summary = summarise(figures, [feature["properties"] for feature in json.loads(shapes)["features"]])
    specifications = charts.specifications(summary)
    return _template().render(
        f=figures,
        s=summary,
        charts=specifications,
        reasons=QUARANTINE.contract.columns["reject_reason"].valid_values,
        uses=_USES,
        late_minutes=late_after_s() // 60,
        min_timed=MIN_TIMED,
        trip_colours=charts.class_colours("demand", summary.trip_classes),
        wait_colours=charts.class_colours("waits", summary.wait_classes),
        embedded={"charts": specifications, "data": charts.data_sets(summary), "config": charts.CONFIG},
        shapes=Markup(shapes),  # noqa: S704 - a file of this package
        javascript=Markup(_javascript()),  # noqa: S704 - Vega's own code
    )


@lru_cache
def _template() -> jinja2.Template:
    environment = pages.environment(_HERE)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    for function in (text.number, text.share, text.growth, text.dollars, text.duration, text.month, text.moment):
        environment.filters[function.__name__] = function
    environment.filters["company"] = text.company
    environment.filters["colour"] = charts.company_colour
    return environment.get_template("page.html.j2")


@lru_cache
def _javascript() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script.

    Bundling takes 2 s, more than the rest of the page, so the script is cached in the user's cache folder.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taxiway"
    cached = cache / f"vega-embed-{version('vl-convert-python')}.js"
    try:
        return cached.read_text(encoding="utf-8")
    except OSError:
        script = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=cache, delete=False) as file:
            file.write(script)
        Path(file.name).replace(cached)
    except OSError:
        pass  # without a writable cache the next page takes 2 s longer
    return script
