"""The page of a month: its figures against sums made here by hand, months with gaps, hostile text, no network."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair
import pyarrow as pa
import pytest
import vl_convert

from taxiway import lake
from taxiway.aws.usage import Usage
from taxiway.catalogue import Input
from taxiway.hvfhv import tables
from taxiway.hvfhv.report import MonthFigures, charts, page, render, text
from taxiway.hvfhv.report.summary import FEW_TRIPS, NO_TRIPS, Summary, summarise
from tests.tools import absent

ROOT = Path(__file__).parents[3]
MARTS = ("service_quality", "market_share", "popular_zones", "rising_zones", "trend")
ARROW = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64(), "double": pa.float64(), "date": pa.date32()}


def mart(table: lake.Table, *rows: tuple[Any, ...]) -> pa.Table:
    """Return rows as the lake has them."""
    schema = pa.schema([(name, ARROW[kind]) for name, kind in table.columns.items()])
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def trend(*months: tuple[str, pa.Table]) -> pa.Table:
    return pa.concat_tables(
        rows.append_column("month", pa.array([month] * rows.num_rows, "string")) for month, rows in months
    )


SERVICE_QUALITY = [
    # company, zone, hour, trips, mean, p50, p90, p95, late, arrival mean, p50, p90
    ("uber", 132, 8, 10, 100.0, 90, 200, 240, 0, 80.0, 70, 150),
    ("uber", 138, 8, 30, 300.0, 280, 600, 700, 6, 200.0, 190, 300),
    ("uber", 264, 9, 4, 50.0, 40, 80, 90, 0, None, None, None),
    ("lyft", 132, 8, 5, 660.0, 640, 800, 900, 3, None, None, None),
    ("lyft", 132, 23, 35, 240.0, 200, 500, 650, 2, None, None, None),
]
MARKET_SHARE = [
    ("uber", "Queens", date(2023, 2, 1), 40, 0.8, 800.0, 0.8, 600.0),
    ("lyft", "Queens", date(2023, 2, 1), 10, 0.2, 200.0, 0.2, 150.0),
    ("uber", "Unknown", date(2023, 2, 1), 6, 1.0, 0.0, None, 50.0),
    ("lyft", "Queens", date(2023, 2, 28), 34, 1.0, 1000.0, 1.0, 700.0),
]
POPULAR_ZONES = [
    (date(2023, 2, 1), 132, 18, 2, "JFK Airport", "Queens"),
    (date(2023, 2, 28), 132, 34, 1, "JFK Airport", "Queens"),
    (date(2023, 2, 1), 138, 32, 1, "LaGuardia Airport", "Queens"),
    (date(2023, 2, 1), 264, 6, 3, "N/A", "Unknown"),
]
RISING_ZONES = [
    (132, 52, 52 / 90, 0.25, 52 / 90 / 0.25 - 1, 5.25, 1),
    (264, 6, 6 / 90, 0.0, None, 2.5, 2),
    (138, 32, 32 / 90, 0.6, 32 / 90 / 0.6 - 1, -4.0, 3),
]
JANUARY = [("lyft", 30, 250.0, 240, 500, 600.0, 400.0, 0.3), ("uber", 70, 200.0, 190, 400, 1400.0, 1000.0, 0.7)]
FEBRUARY = [("lyft", 44, 292.5, 231, 640, 1200.0, 850.0, 44 / 90), ("uber", 46, 231.8, 228, 453, 800.0, 650.0, 46 / 90)]


def partition(table: lake.Table, month: str) -> lake.Partition:
    location = f"s3://lake/{table.path}/year={month[:4]}/month={month[5:]}/version=20230302T010203000000Z.1"
    kept = {"rows": "90", "run_id": "asset__1", "published_at": "2023-03-02T01:20:00+00:00"}
    return lake.Partition(table, month, location, kept)


FIGURES = MonthFigures(
    month="2023-02",
    service_quality=mart(tables.SERVICE_QUALITY, *SERVICE_QUALITY),
    market_share=mart(tables.MARKET_SHARE, *MARKET_SHARE),
    popular_zones=mart(tables.POPULAR_ZONES, *POPULAR_ZONES),
    rising_zones=mart(tables.RISING_ZONES, *RISING_ZONES),
    trend=trend(
        ("2022-11", mart(tables.TREND, *JANUARY)),
        ("2023-01", mart(tables.TREND, *JANUARY)),
        ("2023-02", mart(tables.TREND, *FEBRUARY)),
        ("2023-03", mart(tables.TREND, ("uber", 123456, 1.0, 1, 1, 1.0, 1.0, 1.0))),
    ),
    accepted=90,
    quarantined={"duplicate": 3, "outside_month": 7},
    used=Usage(94.2, "1 × m7g.xlarge, 2 × r7g.xlarge", 0, 0.3, 2.1, 0.0312, ()),
    inputs=(Input("trips of February", "s3://lake/raw/f.parquet", "ab" * 32, 100, 54321),),
    partitions=(
        partition(tables.TRIPS, "2023-02"),
        partition(tables.TREND, "2023-02"),
        partition(tables.TREND, "2023-01"),
    ),
    generated_at=datetime(2023, 3, 2, 1, 23, tzinfo=UTC),
)


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


class Page(HTMLParser):
    """What a browser would see: the text, the rows of tables, every attribute, and the scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.rows: list[list[str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.styles = ""
        self._inside = ""
        self._in_cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " "
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True
        if tag in ("script", "style"):
            self._inside = tag
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.styles += data
        else:
            self.text += data
            if self._in_cell:
                self.rows[-1][-1] += data

    @property
    def prose(self) -> str:
        return " ".join(self.text.split())

    @property
    def table_rows(self) -> list[list[str]]:
        return [[" ".join(cell.split()) for cell in row] for row in self.rows]


def summary_of(figures: MonthFigures) -> Summary:
    return summarise(figures, [{"zone_id": 132, "zone": "JFK Airport", "borough": "Queens"}, *OTHER_SHAPES])


OTHER_SHAPES = [
    {"zone_id": 138, "zone": "LaGuardia Airport", "borough": "Queens"},
    {"zone_id": 2, "zone": "Jamaica Bay", "borough": "Queens"},
]


@pytest.fixture(scope="module")
def seen() -> Page:
    return Page(render(FIGURES))


# ── The figures ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_headlines(seen: Page) -> None:
    assert "Uber carried 51.1% of 90 trips, Lyft 48.9%." in seen.prose
    assert (
        "Half of Uber’s riders waited at most 3 min 48 s, half of Lyft’s riders waited at most 3 min 51 s."
        in seen.prose
    )
    assert "one in ten over 10 min 40 s" in seen.prose
    assert "on 2 of 28 days" in seen.prose
    assert "Waited over 10 min 13.1% of 84 timed trips" in seen.prose  # 11 of 84
    assert "Quarantined 10.00% 10 of 100 rows" in seen.prose
    assert "Cost on EMR $0.03" in seen.prose


def test_the_table_of_companies(seen: Page) -> None:
    for row in (
        ["Trips", "46", "44"],
        ["Share of trips", "51.1%", "48.9%"],
        ["Fares (base, before taxes and fees)", "$800", "$1,200"],
        ["Driver pay (without tips)", "$650", "$850"],
        ["Median wait", "3 min 48 s", "3 min 51 s"],
        ["90th percentile of waits", "7 min 33 s", "10 min 40 s"],
        ["Mean wait", "3 min 52 s", "4 min 52 s"],
        ["Waited over 10 min", "13.6%", "12.5%"],  # 6 of 44, 5 of 40
    ):
        assert row in seen.table_rows


def test_hours_weigh_the_zones_by_their_trips(seen: Page) -> None:
    assert ["08:00", "Uber", "40", "4 min 10 s", "15.0%"] in seen.table_rows  # (10 × 100 s + 30 × 300 s) / 40, 6 / 40
    assert ["08:00", "Lyft", "5", "11 min 0 s", "60.0%"] in seen.table_rows


def test_days_add_the_boroughs_up(seen: Page) -> None:
    assert ["2023-02-01", "Uber", "46", "82.1%"] in seen.table_rows
    assert ["2023-02-01", "Lyft", "10", "17.9%"] in seen.table_rows
    assert ["2023-02-28", "Lyft", "34", "100.0%"] in seen.table_rows
    assert "26 days have no trips in the source and stay blank" in seen.prose


def test_boroughs_have_shares_of_trips_and_of_fares(seen: Page) -> None:
    assert ["Queens", "84", "47.6% (40.0%)", "52.4% (60.0%)"] in seen.table_rows
    assert ["Unknown", "6", "100.0% (–)", "– (–)"] in seen.table_rows  # no fares at all; no Lyft


def test_the_trend_ends_with_this_month_and_leaves_gaps(seen: Page) -> None:
    assert ["2023-01", "Uber", "70", "70.0%", "3 min 10 s", "6 min 40 s"] in seen.table_rows
    assert "123,456" not in seen.text
    months = [(row["month"], row["company"], row["trips"]) for row in summary_of(FIGURES).months]
    assert months == [
        ("2022-11", "uber", 70), ("2022-11", "lyft", 30),
        ("2022-12", "uber", None), ("2022-12", "lyft", None),
        ("2023-01", "uber", 70), ("2023-01", "lyft", 30),
        ("2023-02", "uber", 46), ("2023-02", "lyft", 44),
    ]  # fmt: skip


def test_zones(seen: Page) -> None:
    assert ["1", "JFK Airport Queens", "52", "57.78%", "2"] in seen.table_rows
    # JFK: 10 × 100 s, 5 × 660 s, 35 × 240 s; 5 of 50 late.
    assert ["JFK Airport Queens", "4 min 14 s", "10.0%", "50"] in seen.table_rows
    assert "zone 264 (N/A, Unknown): 6 trips" in seen.prose
    assert [row["zone_id"] for row in summary_of(FIGURES).slowest] == [138, 132]


def test_zones_without_trips_are_named_so_and_not_coloured_as_a_count() -> None:
    zones = {row["zone_id"]: row for row in summary_of(FIGURES).zones}
    assert (zones[2]["trip_class"], zones[2]["wait_class"]) == (NO_TRIPS, NO_TRIPS)
    assert (zones[132]["wait_class"], zones[264]["wait_class"]) == ("4–5 min", FEW_TRIPS)
    colours = charts.class_colours("demand", summary_of(FIGURES).trip_classes)
    assert len(set(colours.values())) == len(colours)


def test_rising_zones(seen: Page) -> None:
    assert ["1", "JFK Airport Queens", "+131%", "5.2", "57.78%", "25.00%", "52"] in seen.table_rows
    assert ["2", "N/A Unknown", "–", "2.5", "6.67%", "0.00%", "6"] in seen.table_rows
    assert [row["zone_id"] for row in summary_of(FIGURES).rising] == [132, 264]  # LaGuardia fell
    assert "grew most clearly against November 2022, January 2023." in seen.prose


def test_data_quality_and_lineage(seen: Page) -> None:
    assert ["Rows in", "100", ""] in seen.table_rows
    assert ["Accepted", "90", "90.00%"] in seen.table_rows
    reasons = [row for row in seen.table_rows if row[0].startswith(("duplicate", "outside_month"))]
    assert [row[1:] for row in reasons] == [["7", "7.00%"], ["3", "3.00%"]]
    assert "6 are not timed" in seen.prose
    assert "The counts do not add up" not in seen.prose
    for expected in ("ab" * 32, "s3://lake/raw/f.parquet", "54,321 bytes", "asset__1", "2023-03-02 01:23 UTC"):
        assert expected in seen.prose
    assert partition(tables.TRIPS, "2023-02").location in seen.text


@pytest.mark.slow
def test_counts_that_do_not_add_up_are_shown() -> None:
    assert (
        "The counts do not add up: 100 rows came in, but 89 + 10" in Page(render(replace(FIGURES, accepted=89))).prose
    )


# ── Months with little in them ──────────────────────────────────────────────────────────────────────────────────────


def test_one_company_no_baseline_nothing_quarantined() -> None:
    only = partition(tables.TRIPS, "2023-02")
    figures = replace(
        FIGURES,
        service_quality=mart(tables.SERVICE_QUALITY, SERVICE_QUALITY[2]),
        market_share=mart(tables.MARKET_SHARE, MARKET_SHARE[2]),
        popular_zones=mart(
            tables.POPULAR_ZONES, POPULAR_ZONES[3], (date(2023, 2, 1), 265, 1, 4, "Outside of NYC", "N/A")
        ),
        rising_zones=mart(tables.RISING_ZONES, (264, 6, 1.0, None, None, None, None)),
        trend=trend(("2023-02", mart(tables.TREND, ("uber", 6, 50.0, 40, 80, 0.0, 50.0, 1.0)))),
        accepted=6,
        quarantined={},
        used=None,
        inputs=(replace(FIGURES.inputs[0], rows=6),),
        partitions=(only,),
    )
    seen = Page(render(figures))
    assert "Uber carried 100.0% of 6 trips. Half of Uber’s riders waited at most 40 s." in seen.prose
    assert "None of the three months before February 2023 is published" in seen.prose
    assert "This is the first published month: a trend needs two." in seen.prose
    assert "zone 264 (N/A, Unknown): 6 trips; zone 265 (Outside of NYC, N/A): 1 trip." in seen.prose
    assert "Quarantined 0.00% 0 of 6 rows" in seen.prose
    assert "Cost on EMR –" in seen.prose
    assert_drawn(seen, figures)


def test_a_month_of_which_nothing_was_accepted() -> None:
    nothing = {name: getattr(FIGURES, name).slice(0, 0) for name in MARTS}
    seen = Page(render(replace(FIGURES, **nothing, accepted=0, quarantined={"unknown_zone": 100})))
    assert "No trip of this month was accepted" in seen.prose
    assert "Quarantined 100.00% 100 of 100 rows" in seen.prose


def test_a_company_that_has_left_stays_in_the_trend() -> None:
    juno = mart(tables.TREND, ("juno", 30, 250.0, 240, 500, 600.0, 400.0, 0.3))
    figures = replace(FIGURES, trend=pa.concat_tables([FIGURES.trend, trend(("2022-12", juno))]))
    seen = Page(render(figures))
    assert ["2022-12", "Juno", "30", "30.0%", "4 min 0 s", "8 min 20 s"] in seen.table_rows
    assert charts.company_colour("juno") in assert_drawn(seen, figures)["share_trend"]
    assert "on 2 of 28 days Uber 51.1%" in seen.prose  # it has no card


def test_a_cost_without_a_price() -> None:
    seen = Page(render(replace(FIGURES, used=Usage(7250, "1 × x9.xlarge", 0, None, None, None, ()))))
    assert "2 h 0 min" in seen.prose
    assert "the price of an instance type is unknown" in seen.prose


# ── The page as a file ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_loads_nothing(seen: Page) -> None:
    loading = {"src", "srcset", "data", "poster", "background", "action", "formaction"}
    assert not [found for found in seen.attributes if found[1] in loading]
    assert all(value.startswith("#") for _, name, value in seen.attributes if name == "href")
    assert "url(" not in seen.styles
    assert "@import" not in seen.styles
    policy = next(value for _, name, value in seen.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none';")
    assert not re.search(r"https?:", policy)
    own = [script for script in seen.scripts if "window.vegaEmbed=" not in script]
    assert len(own) == len(seen.scripts) - 1  # Vega is there once
    assert not [
        script for script in own if re.search(r"https?://(?!.*EPSG)|fetch\(|import\(|XMLHttpRequest", script[:200])
    ]


def test_the_page_is_light() -> None:
    assert len(render(FIGURES).encode()) < 1_500_000


def test_equal_figures_give_an_equal_page_whatever_the_order_of_rows() -> None:
    shuffled = {name: shuffle(getattr(FIGURES, name)) for name in MARTS}
    assert render(FIGURES) == render(replace(FIGURES, **shuffled))
    later = render(replace(FIGURES, generated_at=datetime(2024, 1, 1, tzinfo=UTC)))
    assert later != render(FIGURES)
    assert later.replace("2024-01-01 00:00 UTC", "2023-03-02 01:23 UTC") == render(FIGURES)


def shuffle(table: pa.Table) -> pa.Table:
    places = list(range(table.num_rows))
    random.Random(1).shuffle(places)
    return table.take(places)


def test_hostile_text_stays_text(seen: Page) -> None:
    evil = """</script><script>alert(1)</script><img src=x onerror="alert('2')">{{ 7*7 }}"""
    columns = {
        "service_quality": {"company"},
        "market_share": {"company", "pickup_borough"},
        "popular_zones": {"zone_name", "borough"},
        "trend": {"company"},
    }
    hostile = {name: spoil(getattr(FIGURES, name), names, evil) for name, names in columns.items()}
    bad = lake.Partition(tables.TRIPS, "2023-02", f"s3://{evil}", {"rows": "90", "run_id": evil, "published_at": evil})
    figures = replace(
        FIGURES,
        **hostile,
        quarantined={evil: 10},
        used=Usage(1, evil, 0, 0, 0, 1, ()),
        inputs=(Input(evil, evil, evil, 100, 1),),
        partitions=(bad,),
    )
    spoilt = Page(render(figures))
    assert len(spoilt.scripts) == len(seen.scripts)
    assert not [found for found in spoilt.attributes if found[1] in ("src", "onerror")]
    assert spoilt.text.count(evil) > 15
    assert json.loads(spoilt.scripts[0])["data"]["zones"][-1]["zone"] == evil


def spoil(table: pa.Table, names: set[str], evil: str) -> pa.Table:
    for name in names:
        values = [f"{evil}" if name != "company" else f"{value}{evil}" for value in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return table


# ── The charts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def embedded(seen: Page) -> tuple[dict[str, Any], dict[str, Any]]:
    report, shapes = json.loads(seen.scripts[0]), json.loads(seen.scripts[1])
    return report["charts"], report["data"] | {"shapes": shapes["features"]}


def assert_drawn(seen: Page, figures: MonthFigures) -> dict[str, str]:
    """Draw every chart of the page as the browser would, and return the pictures."""
    specifications, data = embedded(seen)
    places = {value for _, name, value in seen.attributes if name == "id" and value.startswith("chart-")}
    assert places == {f"chart-{name}" for name in specifications}
    sizes = {"width": 600, "height": 300, "config": charts.CONFIG}
    return {
        name: vl_convert.vegalite_to_svg({**chart, **sizes, "datasets": data}) for name, chart in specifications.items()
    }


def test_every_chart_draws_its_data(seen: Page) -> None:
    pictures = assert_drawn(seen, FIGURES)
    assert set(pictures) == {
        "share_trend", "share_by_day", "trips_by_day", "wait_trend", "wait_by_hour", "late_by_hour",
        "demand_map", "wait_map", "rising",
    }  # fmt: skip
    assert pictures["share_by_day"].count('aria-roledescription="bar"') == 3
    assert pictures["trips_by_day"].count('aria-roledescription="bar"') == 2
    assert pictures["demand_map"].count('aria-roledescription="geoshape"') == 263
    no_trips = charts.class_colours("demand", [])[NO_TRIPS]
    assert pictures["demand_map"].count(f'fill="{no_trips}"') == 261  # all shapes but JFK's and LaGuardia's
    assert "JFK Airport" in pictures["rising"]


def test_every_specification_is_valid_vega_lite(seen: Page) -> None:
    for chart in embedded(seen)[0].values():
        altair.Chart.from_dict(chart, validate=True)


def test_charts_and_cells_have_a_description(seen: Page) -> None:
    labels = {value for tag, name, value in seen.attributes if tag == "div" and name == "aria-label"}
    assert len([label for label in labels if re.search(r"chart|bars|map", label, re.IGNORECASE)]) >= 9


def test_a_home_folder_that_cannot_be_written_to(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    page._javascript.cache_clear()
    assert "vegaEmbed" in page._javascript()


# As in a pod of Kubernetes: nothing can be written but /tmp, the home folder is not there, no network answers.
POD = """
mount --make-rprivate / && mount -o remount,ro,bind / && mount -t tmpfs tmpfs /tmp || exit 77
exec env -u XDG_CACHE_HOME HOME=/nonexistent PYTHONPATH="$1:$1/dags" "$2" -c '
from tests.dags.hvfhv.test_report import FIGURES, ROOT, render
try:
    (ROOT / "written").touch()
except OSError as error:
    print(error.strerror)
print("vegaEmbed" in render(FIGURES))'
"""


@pytest.mark.slow
def test_a_page_needs_no_network_and_no_folder_but_that_for_temporary_files() -> None:
    argv = ["unshare", "--mount", "--net", *(["--map-root-user"] if os.geteuid() else [])]
    if not shutil.which("unshare") or str(ROOT).startswith("/tmp"):
        absent("system", "needs Linux's unshare, and the checkout outside /tmp")
    done = subprocess.run([*argv, "sh", "-c", POD, "sh", str(ROOT), sys.executable], capture_output=True, text=True)
    if done.returncode in (1, 77) and ("unshare:" in done.stderr or "mount:" in done.stderr):
        absent("system", f"this machine does not let a test make file systems read-only: {done.stderr.strip()}")
    assert done.stdout.split("\n") == ["Read-only file system", "True", ""], done.stderr


# ── Text ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "–"), (0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (251, "4 min 11 s"), (7261, "2 h 1 min")],
)
def test_duration(seconds: float | None, expected: str) -> None:
    assert text.duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == expected


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (None, 1, "–"),
        (0, 1, "0.0%"),
        (0.0004, 1, "<0.1%"),
        (0.0005, 1, "0.1%"),
        (0.00003, 2, "<0.01%"),
        (1, 1, "100.0%"),
    ],
)
def test_share(value: float | None, digits: int, expected: str) -> None:
    assert text.share(value, digits) == expected
