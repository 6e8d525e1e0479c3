"""Grafana's pages: their shape, and what each query returns on a real Prometheus after a recorded run."""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring import draw
from monitoring.capture import Packet
from monitoring.capture import read as read_recording
from monitoring.dashboards import FOLDER, PAGES, DashboardError, texts
from monitoring.dashboards.build import Page, Query
from monitoring.exporter import ProgramError, exporter, program
from monitoring.mappings import rendered
from monitoring.metrics import ROOT
from monitoring.metrics import read as read_table
from monitoring.prometheus import running
from monitoring.replay import Replay, replay
from tests.waiting import eventually

RECORDINGS = sorted((ROOT / "tests/monitoring/data").glob("*.statsd.gz"))
QUERIES = {
    f"{name}: {title}{f' ({query.name})' if query.name else ''}": query
    for name, page in PAGES.items()
    for title, queries in page.queries.items()
    for query in queries
}
UNSEEN = {name: query for name, query in QUERIES.items() if query.unseen}
# From elsewhere than the StatsD exporter: kube-state-metrics, the kubelet, PgBouncer, Flower, git-sync.
ELSEWHERE = re.compile(r"\b(?:kube_|container_|pgbouncer_|flower_|git_sync_)\w+")
# What the table has no example of, and what the exporter refuses.
FURTHER = [
    "airflow.ti.finish,dag_id=hvfhv_analysis,task_id=plan,state=failed:1|c",
    "airflow.ti.finish,dag_id=hvfhv_analysis,task_id=plan,state=up_for_retry:1|c",
    "airflow.taxiway.rows.hvfhv_trips.accepted.none:500|c",
    "not a line",
    "airflow.scheduler_heartbeat:1|g",
]


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, text in texts().items():
        for panel in json.loads(text)["panels"]:
            yield name, panel


PANELS = [pytest.param(panel, id=f"{name}: {panel['title']}") for name, panel in panels() if panel["type"] != "row"]


def need(*programs: str) -> None:
    for name in programs:
        try:
            program(name)
        except ProgramError as error:
            pytest.skip(str(error))


# -- Shape -------------------------------------------------------------------------------------------------------------


def test_the_json_is_what_the_python_says() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert written == texts(), "run python -m monitoring.dashboards"


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert re.fullmatch(r"[A-Z].{20,}[.]", panel["description"], re.DOTALL), "a description is one or more sentences"
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        several = panel["type"] in ("timeseries", "bargauge") and re.search(r" by \((?!le\))", target["expr"])
        assert not several or "{{" in target["legendFormat"], "series must be told apart"


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in texts().items()])
def test_a_page_is_laid_out_and_imports(text: str) -> None:
    page = json.loads(text)
    assert page["schemaVersion"] == 41  # Grafana 11.6 and 12
    ids = [panel["id"] for panel in page["panels"]]
    assert len(set(ids)) == len(ids)
    assert page["panels"][0]["type"] == "row"
    places = [panel["gridPos"] for panel in page["panels"]]
    assert all(place["x"] + place["w"] <= 24 and place["h"] <= 12 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, f"{one} and {other} overlap"
    for y in {place["y"] for place in places}:
        assert sum(place["w"] for place in places if place["y"] == y) == 24, f"a gap in line {y}"
    variables = {each["name"] for each in page["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__all", "__range", "__rate_interval", "__value", "__data"}
    assert used <= variables
    assert {each["title"] for each in page["links"]} >= {"Airflow"}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in texts().items()])
def test_grafanas_own_types_read_all_of_a_page(text: str) -> None:
    plugins.register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(json.loads(text)), cls=JSONEncoder))
    assert read == json.loads(text)


# -- Truth -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run() -> list[Packet]:
    """All recorded runs, one after the other."""
    packets: list[Packet] = []
    for recording in RECORDINGS:
        later = packets[-1].seconds + 1 if packets else 0
        packets += [replace(packet, seconds=packet.seconds + later) for packet in read_recording(recording)]
    return packets


@pytest.fixture(scope="module")
def seen(run: list[Packet]) -> Iterator[Replay]:
    """What Prometheus saw of a run of the main job."""
    need("prometheus", "statsd_exporter", "helm")
    with replay(run, rendered(), speed=max((run[-1].seconds - run[0].seconds) / 30, 1)) as replayed:
        yield replayed


@pytest.fixture(scope="module")
def everything() -> Iterator[Replay]:
    """What Prometheus saw when every metric of the table was sent."""
    need("prometheus", "statsd_exporter", "helm")
    lines = [*(metric.example for metric in read_table().metrics), *FURTHER]
    with replay([Packet(second, 0, line) for second in range(6) for line in lines], rendered(), speed=1) as replayed:
        yield replayed


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_returns_data_of_a_real_run(query: Query, seen: Replay) -> None:
    found = seen.ever(query.expr)
    if query.unseen:
        assert not found, f"it has data after all: it is not so that {query.unseen}"
    else:
        assert found, "it returns nothing: say why (unseen), or fix it"


@pytest.mark.parametrize("query", UNSEEN.values(), ids=UNSEEN)
def test_a_query_that_the_run_does_not_fill_is_right(query: Query, everything: Replay) -> None:
    assert bool(everything.ever(query.expr)) != bool(ELSEWHERE.search(query.expr))


def test_numbers_are_those_that_airflow_sent(run: list[Packet], seen: Replay) -> None:
    def sent(pattern: str) -> float:
        return sum(float(found[1]) for packet in run if (found := re.fullmatch(pattern, packet.line)))

    def events(pattern: str) -> int:
        return sum(1 for packet in run if re.fullmatch(pattern, packet.line))

    def shown(page: str, title: str) -> float:
        [series] = seen.prometheus.query(seen.filled_in(PAGES[page].queries[title][0].shown), seen.end)
        return series.value

    finished = events(r"airflow\.dagrun\.duration\.success,.*")
    # increase() stretches over the edges of the window, by a scrape of the 30 seconds or two, or by some seconds where
    # a busy machine scrapes late; then it is rounded.
    nearly = functools.partial(pytest.approx, rel=0.15)
    assert shown("dags-and-tasks", "Finished runs") == nearly(finished, abs=1)
    assert finished > 1
    assert shown("dags-and-tasks", "Runs that succeeded") == 1  # all of them
    assert shown("dags-and-tasks", "Failed tasks") == 0
    by_task = seen.filled_in(
        next(each.expr for each in PAGES["dags-and-tasks"].queries["Tasks"] if each.name == "Succeeded")
    )
    succeeded = sum(series.value for series in seen.prometheus.query(by_task, seen.end))
    ended = events(r"airflow\.ti\.finish,.*state=success.*")
    assert succeeded == nearly(ended)
    assert ended > 1
    assert shown("data-quality", "Rows accepted") == nearly(sent(r"airflow\.taxiway\.rows\..*accepted.*:([\d.]+)\|c"))
    assert shown("emr-and-cost", "Cost") == nearly(sent(r"airflow\.taxiway\.emr\.cost_usd\..*:([\d.]+)\|c"))


@pytest.mark.slow
def test_an_event_counts_though_its_counter_is_born_with_it(tmp_path: Path) -> None:
    need("prometheus", "statsd_exporter")
    forgets = "mappings: [{match: airflow.ended, name: airflow_ended, ttl: 10s}]"
    with exporter(forgets) as target, running(tmp_path, {"airflow-statsd": [target.address]}) as prometheus:
        for _ in range(2):
            target.send(["airflow.ended:1|c"])
            eventually(lambda: prometheus.query("airflow_ended"))
            eventually(lambda: not target.page().sent)  # it has forgotten the event
            eventually(lambda: not prometheus.query("airflow_ended"))
        [series] = prometheus.query("round(sum(increase(airflow_ended[5m])))")
    assert series.value == 2


def test_pages_are_drawn_with_the_runs_data(seen: Replay) -> None:
    for name, text in texts().items():
        page = json.loads(text)
        drawn = draw.draw(page, seen)
        panels = PAGES[name.removesuffix(".json")].queries.values()
        empty = [queries for queries in panels if all(query.unseen and not query.zero for query in queries)]
        assert drawn.count("No data") == len(empty)


def test_two_dashboards_of_one_uid_are_refused() -> None:
    page = Page(uid="taxiway-rides", title="Rides", description="Where?", time="now-1d", variables=[])
    with pytest.raises(
        DashboardError, match="dashboards fares and rides both have the uid 'taxiway-rides': change one"
    ):
        texts({"fares": page, "rides": page})
