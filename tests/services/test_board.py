"""The live table and page: what they say of a stream, and what a person sees in a browser."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect, sync_playwright

from console.ports import free_port
from local_kafka import topics
from services.eta.board import Board
from services.eta.watch import line, main
from spark_jobs.eta.features import ZONES
from spark_jobs.eta.messages import (
    DEMAND,
    ERRORS,
    PREDICTIONS,
    REJECTED,
    REQUESTS,
    Demand,
    Errors,
    Prediction,
    Rejected,
    encode,
)
from tests.kafka import Kafka
from tests.tools import tool
from tests.waiting import eventually, listens

ROOT = Path(__file__).parents[2]
NOON = datetime(2023, 6, 1, 12)  # noqa: DTZ001 - New York's wall clock
VERSION = "20260101T000000-2023-06"
_LIGHT, _DARK = "#eceef0", "rgb(122, 36, 5)"


def prediction(zone: int = 132, p50_s: float = 300.0, at: datetime = NOON, received_at_ms: int = 1000) -> bytes:
    return encode(
        Prediction(
            schema_version=1,
            request_id="r",
            model_version=VERSION,
            p50_s=p50_s,
            p90_s=2 * p50_s,
            baseline_s=240.0,
            requested_at=at,
            company="uber",
            pickup_zone_id=zone,
            live_city_wait_s=None,
            live_city_count=0,
            live_zone_wait_s=None,
            live_zone_count=0,
            received_at_ms=received_at_ms,
            scored_at_ms=received_at_ms + 5,
            scorer="stream",
        )
    )


def rejected(topic: str = REQUESTS) -> bytes:
    return encode(Rejected(1, "unknown_zone", "zone 999", topic, 0, 0, "r", "{}", 0))


def demand(end: datetime, zone: int, requests: int) -> bytes:
    return encode(Demand(1, end - timedelta(minutes=5), end, zone, requests))


def error(start: datetime, by: str, name: str, trips: int, mae_s: float, within: float) -> bytes:
    return encode(Errors(1, start, start + timedelta(minutes=5), by, name, trips, mae_s, within, VERSION))  # type: ignore[arg-type]


def test_a_picture_of_nothing() -> None:
    picture = Board().picture(0)
    assert (picture.requests, picture.p50_ms, picture.wait_s, picture.errors, picture.at) == (0, None, {}, [], None)
    assert "no answer yet" in line(picture)


def test_requests_are_predictions_rejected_and_unanswered() -> None:
    board = Board()
    board.see_requests(10)
    for number in range(1, 7):
        board.see(PREDICTIONS, prediction(received_at_ms=1000), 1000 + 10 * number, 100 + number)
    board.see(REJECTED, rejected(), 0, 107)
    board.see(REJECTED, rejected("ride_pickups"), 0, 107)  # is no request
    picture = board.picture(107)
    assert (picture.requests, picture.predictions, picture.rejected) == (10, 6, {"unknown_zone": 1})
    assert picture.unanswered == 3
    assert (picture.p50_ms, picture.p99_ms) == (30, 60)
    assert picture.per_s == 1.0
    assert "10 = 6 predicted + 1 rejected (unknown_zone 1) + 3 not answered yet" in line(picture)
    later = board.picture(135)  # four of them are older than half a minute
    assert (later.p50_ms, later.total_p50_ms) == (50, 30)


def test_answers_that_waited_are_not_counted_as_those_of_a_second() -> None:
    board = Board()
    for number in range(100):
        board.see(PREDICTIONS, prediction(received_at_ms=500 * number), 500 * number, 100)
    assert board.picture(101).per_s == pytest.approx(2, abs=0.1)


def test_the_wait_of_a_zone_is_the_mean_of_its_newest_answers() -> None:
    board = Board()
    board.see(PREDICTIONS, prediction(7, 999.0), 0, 0)
    for number in range(30):
        board.see(PREDICTIONS, prediction(7, 100.0 + number % 2), 0, 100)
    board.see(PREDICTIONS, prediction(8, 50.0), 0, 300)
    assert board.picture(301).wait_s == {7: 100.5, 8: 50.0}
    assert board.picture(500).wait_s == {8: 50.0}


def test_demand_is_that_of_the_newest_whole_window() -> None:
    board = Board()
    for end, requests in ((12, 5), (12, 7), (13, 9), (14, 1)):  # a window is written again when it changes
        board.see(DEMAND, demand(NOON + timedelta(minutes=end), 7, requests), 0, 0)
    assert board.picture(0).demand == {}
    board.see(PREDICTIONS, prediction(at=NOON + timedelta(minutes=12, seconds=59)), 0, 0)
    assert (board.picture(0).demand, board.picture(0).demand_until) == ({7: 7}, NOON + timedelta(minutes=12))


def test_the_error_so_far_weighs_windows_by_their_trips() -> None:
    board = Board()
    board.see(ERRORS, error(NOON, "all", "all", 10, 500.0, 0.5), 0, 0)
    board.see(ERRORS, error(NOON, "all", "all", 30, 100.0, 0.9), 0, 0)  # the same window, changed
    board.see(ERRORS, error(NOON + timedelta(minutes=5), "all", "all", 10, 140.0, 0.5), 0, 0)
    board.see(ERRORS, error(NOON, "borough", "Queens", 4, 80.0, 1.0), 0, 0)
    first, second = board.picture(0).errors
    assert (first.by, first.trips, first.mae_s) == ("all", 40, 110.0)
    assert first.within_p90 == pytest.approx(0.8)
    assert (second.by, second.name, second.mae_s) == ("borough", "Queens", 80.0)


@pytest.fixture
def stream(kafka: Kafka) -> Kafka:
    """Topics of a stream that has run for a while."""
    kafka.create(*topics("eta"))
    now_ms = int(time.time() * 1000)
    zones = [zone for zone in ZONES if zone not in (264, 265)]
    kafka.send(REQUESTS, *(("r", b"{}") for _ in range(len(zones) + 5)))
    kafka.send(
        PREDICTIONS,
        *(
            ("r", prediction(zone, 60.0 + 2 * zone, NOON + timedelta(minutes=7), received_at_ms=now_ms))
            for zone in zones
        ),
    )
    kafka.send(REJECTED, *(("r", rejected()) for _ in range(2)))
    kafka.send(DEMAND, *((str(zone), demand(NOON + timedelta(minutes=5), zone, zone % 40)) for zone in zones[::2]))
    kafka.send(
        ERRORS,
        *(
            (name, error(NOON, by, name, 1000 + place, 100.0 + 20 * place, 0.9))
            for place, (by, name) in enumerate(
                [("all", "all"), ("company", "uber"), ("company", "lyft")]
                + [("borough", name) for name in sorted(set(ZONES.values()) - {"N/A", "Unknown"})]
            )
        ),
    )
    return kafka


def test_the_table_tells_what_the_topics_hold(
    stream: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.eta.watch.LINE_S", 0.5)
    # From the first answer that is seen: by then the other topics have been read.
    arguments = ["--bootstrap", stream.bootstrap, "--all", "--seconds", "15", "--json", str(tmp_path / "seen.json")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "268 = 263 predicted + 2 rejected (unknown_zone 2) + 3 not answered yet" in out
    assert "live error 100 s, 90.0% within p90, 1,000 trips" in out
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert (seen["requests"], seen["predictions"], seen["version"]) == (268, 263, VERSION)
    assert seen["errors"][0] == {"by": "all", "name": "all", "trips": 1000, "mae_s": 100.0, "within_p90": 0.9}


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=tool("chromium", "google-chrome"), args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1500, "height": 1100})
        browser.close()


def test_a_person_sees_the_zones_change(stream: Kafka, page: Page, tmp_path: Path) -> None:
    port = free_port()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "services.eta.page", "--bootstrap", stream.bootstrap, "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    elsewhere, faults = list[str](), list[str]()

    def only_here(route: Route) -> None:
        if route.request.url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:")):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    page.route("**/*", only_here)
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    try:

        def ready() -> bool:
            assert server.poll() is None, server.stderr and server.stderr.read()
            return listens(port)

        eventually(ready, 120)
        page.goto(f"http://127.0.0.1:{port}/", timeout=60_000)
        expect(page.get_by_text("268 requests = 263 predictions + 2 rejected (unknown_zone 2)")).to_be_visible(
            timeout=60_000
        )
        expect(page.get_by_text("Thursday 2023-06-01 12:07:00 in New York")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("Most requests now")).to_be_visible(timeout=60_000)
        zone = "path[aria-roledescription=geoshape]"
        charts = page.get_by_test_id("stVegaLiteChart")
        expect(charts.locator(zone)).to_have_count(3 * 263, timeout=60_000)
        # The maps follow the text.
        expect(charts.nth(0).locator(f"{zone}[fill='{_LIGHT}']")).to_have_count(0, timeout=60_000)
        expect(charts.nth(1).locator(f"{zone}[fill='{_LIGHT}']")).to_have_count(131, timeout=60_000)
        eventually(lambda: len(_colours(page, 2)) > 2)
        waits, requests, errors = (_colours(page, number) for number in range(3))
        assert len(waits) > 100
        assert _LIGHT not in waits
        if picture := os.environ.get("TAXIWAY_PICTURES"):
            page.screenshot(path=Path(picture) / "eta_page.png", full_page=True)
        assert requests[_LIGHT] == 131, "zones without a request"
        assert 20 < len(requests) < 45
        assert len(errors) == 6, "one of each borough, and Newark's"
        stream.send(
            PREDICTIONS,
            *(("r", prediction(zone, 900.0, NOON + timedelta(minutes=8))) for zone in ZONES for _ in range(30)),
        )
        expect(page.get_by_text("12:08:00 in New York")).to_be_visible(timeout=60_000)
        one = page.get_by_test_id("stVegaLiteChart").first.locator(f"{zone}[fill='{_DARK}']")
        expect(one).to_have_count(263, timeout=60_000)
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert (elsewhere, faults) == ([], [])


def _colours(page: Page, number: int) -> Counter[str]:
    """Return the colours of the zones of a map."""
    fills = """chart => [...chart.querySelectorAll('path[aria-roledescription="geoshape"]')]
        .map(zone => zone.getAttribute("fill"))"""
    return Counter(page.get_by_test_id("stVegaLiteChart").nth(number).evaluate(fills))
