"""The live page: ``python -m services.eta.page --bootstrap HOST:PORT``, on 127.0.0.1, with nothing from the internet.

Streamlit runs this file for each browser; what it shows is gathered once, by a :class:`services.eta.board.Board`.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from streamlit import runtime

from console.output import run_command
from console.ports import require_free
from services.eta.board import RECENT_S, Board, Follower, Picture
from services.kafka import Connection
from spark_jobs.eta.messages import TOPICS
from taxiway.core.taxi_zones import shapes

EVERY_S = 2
_ADDRESS = "TAXIWAY_ETA_PAGE_BOOTSTRAP"  # Streamlit's way to a script is its environment
_CONFIG = "TAXIWAY_ETA_PAGE_KAFKA_CONFIG"
# Light to dark, as the maps of HVFHV's report; a zone without a value is grey.
_MAPS = {
    "wait_s": ("Predicted wait", "s", ["#fff0b3", "#fdab43", "#c2430b", "#7a2405"], [0, 600]),
    "demand": ("Demand now", "requests", ["#d6efd0", "#5fc0c2", "#2166ac", "#172d72"], None),
    "error_s": ("Error so far", "s", ["#eee5f5", "#b79ad0", "#7b4aa3", "#3f1561"], [0, 300]),
}
_NOTHING = "#eceef0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.eta.page", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="address of Kafka (%(default)s)")
    parser.add_argument("--kafka-config", type=Path, help="settings of librdkafka, name=value a line")
    parser.add_argument("--port", type=int, default=8501, help="on 127.0.0.1 (%(default)s)")
    options = parser.parse_args(arguments)

    def serve(_: object) -> int:
        require_free(options.port, "PAGE_PORT", "the live page")
        Connection(options.bootstrap, options.kafka_config).require(TOPICS)
        os.environ[_ADDRESS], os.environ[_CONFIG] = options.bootstrap, str(options.kafka_config or "")
        settings = {
            "server.address": "127.0.0.1",
            "server.port": options.port,
            "server.headless": "true",
            "server.fileWatcherType": "none",
            "browser.gatherUsageStats": "false",
            "client.toolbarMode": "viewer",
            "theme.base": "light",
        }
        command = [sys.executable, "-m", "streamlit", "run", __file__]
        os.execv(sys.executable, command + [f"--{name}={value}" for name, value in settings.items()])  # noqa: S606
        return 0

    return run_command(serve, "Ended.")


@st.cache_resource(show_spinner=False)
def _board() -> Board:
    """Return the board, which is fed while the server runs."""
    config = os.environ[_CONFIG]
    board = Board()
    Follower(Connection(os.environ[_ADDRESS], Path(config) if config else None), board, from_end=False).start()
    return board


@st.cache_resource(show_spinner=False)
def _zones() -> list[dict[str, Any]]:
    """Return the zones: zone_id, zone, borough."""
    return [feature["properties"] for feature in json.loads(shapes())["features"]]


@st.cache_resource(show_spinner=False)
def _map(measure: str) -> dict[str, Any]:
    """Return a map without its values as Vega-Lite: it never changes, so that the browser draws new values alone."""
    title, unit, colours, domain = _MAPS[measure]
    zones = alt.LookupData(alt.InlineData(values=json.loads(shapes())["features"]), key="properties.zone_id")
    label = f"{title.lower()} ({unit})"
    chart = (
        alt.Chart(alt.NamedData("zones"))
        .mark_geoshape(stroke="#ffffff", strokeWidth=0.4)
        .transform_lookup(lookup="zone_id", from_=zones, as_="shape")
        .project(type="mercator")
        .encode(
            shape=alt.Shape("shape", type="geojson"),
            color=alt.condition(
                f"datum.{measure} >= 0",
                alt.Color(
                    measure,
                    type="quantitative",
                    scale=alt.Scale(range=colours, domain=domain, clamp=True)
                    if domain
                    else alt.Scale(range=colours, domainMin=0),
                    legend=alt.Legend(title=unit, orient="top-left", gradientLength=120),
                ),
                alt.value(_NOTHING),
            ),
            tooltip=[
                alt.Tooltip("zone", type="nominal"),
                alt.Tooltip("borough", type="nominal"),
                alt.Tooltip(f"{measure}_text", type="nominal", title=label),
            ],
        )
        .properties(height=430)
        .configure_view(stroke=None)
    )
    specification: dict[str, Any] = chart.to_dict()
    del specification["data"]  # Streamlit puts the values there
    return specification


def _values(picture: Picture) -> pd.DataFrame:
    """Return a row a zone: its measures, -1 for none, and the same as text."""
    errors = {group.name: group.mae_s for group in picture.errors if group.by == "borough"}
    zones = pd.DataFrame(_zones())
    for measure, values in (
        ("wait_s", zones["zone_id"].map(picture.wait_s)),
        ("demand", zones["zone_id"].map(picture.demand)),
        ("error_s", zones["borough"].map(errors)),
    ):
        numbers = values.astype("float64")
        zones[measure] = numbers.fillna(-1)
        zones[f"{measure}_text"] = numbers.map("{:,.0f}".format, na_action="ignore").fillna("–").astype(str)
    return zones


@st.fragment(run_every=EVERY_S)
def _now() -> None:
    """Show the picture of now, again and again."""
    picture = _board().picture(time.monotonic())
    if picture.problem:
        st.error(picture.problem)
    everyone = next((group for group in picture.errors if group.by == "all"), None)
    at = f"{picture.at:%A %Y-%m-%d %H:%M:%S} in New York" if picture.at else "no request answered yet"
    st.markdown(f"**{at}** · model **{picture.version or '–'}** · scored by {picture.scorer or '–'}")
    rejected = sum(picture.rejected.values())
    for place, (name, value, help_) in zip(
        st.columns(6),
        [
            ("answers a second", f"{picture.per_s:,.1f}", f"of the last {RECENT_S} s"),
            ("latency p50", _ms(picture.p50_ms), f"from Kafka to Kafka, of the last {RECENT_S} s"),
            ("latency p99", _ms(picture.p99_ms), f"from Kafka to Kafka, of the last {RECENT_S} s"),
            ("mean error", f"{everyone.mae_s:.0f} s" if everyone else "–", "of riders who were picked up"),
            ("within p90", f"{everyone.within_p90:.1%}" if everyone else "–", "waits of at most the 90th percentile"),
            ("not answered yet", f"{picture.unanswered:,}", "requests − predictions − rejected"),
        ],
        strict=True,
    ):
        place.metric(name, value, help=help_)
    values = _values(picture)
    until = f", five minutes to {picture.demand_until:%H:%M}" if picture.demand_until else ""
    notes = {"wait_s": ", mean of the newest answers by zone", "demand": until, "error_s": ", by borough"}
    for place, (measure, (title, _, _, _)) in zip(st.columns(3), _MAPS.items(), strict=True):
        with place:
            st.markdown(f"**{title}**{notes[measure]}")
            st.vega_lite_chart(values, _map(measure), width="stretch", key=measure)
    left, right = st.columns(2)
    with left:
        st.markdown("**Error so far**")
        rows = [(group.name, group.trips, group.mae_s, group.within_p90 * 100) for group in picture.errors]
        st.dataframe(
            pd.DataFrame(rows, columns=["group", "trips", "mean error, s", "within p90, %"]).round(1), hide_index=True
        )
    with right:
        st.markdown("**Most requests now**")
        busiest = values[values["demand"] > 0].nlargest(8, "demand")[["zone", "borough", "demand", "wait_s_text"]]
        busiest = busiest.rename(columns={"demand": "requests", "wait_s_text": "predicted wait, s"})
        st.dataframe(busiest, hide_index=True)
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(picture.rejected.items()))
    st.caption(
        f"{picture.requests:,} requests = {picture.predictions:,} predictions + {rejected:,} rejected"
        f"{f' ({reasons})' if reasons else ''} + {picture.unanswered:,} not answered yet."
    )


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"


def _show() -> None:
    st.set_page_config(page_title="When the taxi will be there", layout="wide")
    st.markdown("### When the taxi will be there")
    _now()


if __name__ == "__main__":
    if runtime.exists():
        _show()
    else:
        sys.exit(main())
