"""The month's report as one HTML page that needs nothing but a browser: no network, no other file."""

import json
import os
import tempfile
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import jinja2
import vl_convert
from markupsafe import Markup

from taxiway.report import charts, text
from taxiway.report.figures import MonthFigures
from taxiway.report.summary import LATE_S, MIN_TIMED, summarise

_HERE = Path(__file__).parent

_REASONS = {
    "missing_key": "licence, a time or a zone is missing",
    "unknown_company": "the licence is not one of Juno, Uber, Via and Lyft",
    "outside_month": "picked up in another month than the file's",
    "unknown_zone": "pick-up or drop-off zone is not in the TLC lookup",
    "impossible_distance": "below 0 or above 500 miles",
    "dropoff_not_after_pickup": "dropped off before, or as, picked up",
    "duplicate": "equal in all columns to a row that was accepted",
}

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
    shapes = _shapes()
    summary = summarise(figures, [feature["properties"] for feature in json.loads(shapes)["features"]])
    specifications = charts.specifications(summary)
    return _template().render(
        f=figures,
        s=summary,
        charts=specifications,
        reasons=_REASONS,
        uses=_USES,
        late_minutes=LATE_S // 60,
        min_timed=MIN_TIMED,
        trip_colours=charts.class_colours("demand", summary.trip_classes),
        wait_colours=charts.class_colours("waits", summary.wait_classes),
        embedded={"charts": specifications, "data": charts.data_sets(summary), "config": charts.CONFIG},
        shapes=Markup(shapes),  # noqa: S704 - a file of this package
        javascript=Markup(_javascript()),  # noqa: S704 - Vega's own code
    )


@lru_cache
def _shapes() -> str:
    return (_HERE / "taxi_zones.geojson").read_text(encoding="utf-8")


@lru_cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    for function in (text.number, text.share, text.growth, text.dollars, text.duration, text.month, text.moment):
        environment.filters[function.__name__] = function
    environment.filters["company"] = text.company
    environment.filters["colour"] = charts.company_colour
    return environment.get_template("page.html.j2")


@lru_cache
def _javascript() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script.

    To bundle them takes 2 s, more than all the rest of the page, so the script is kept in the user's cache folder.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taxiway"
    kept = cache / f"vega-embed-{version('vl-convert-python')}.js"
    try:
        return kept.read_text(encoding="utf-8")
    except OSError:
        script = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=cache, delete=False) as file:
            file.write(script)
        Path(file.name).replace(kept)
    except OSError:
        pass  # a home folder that cannot be written to costs the next page 2 s, nothing else
    return script
