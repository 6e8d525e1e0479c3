"""The model of a month on EMR Serverless, by hand for simple cases."""

from dataclasses import replace

import pytest

from benchmarks.serverless_cost import DAYS, Case, lines, on_demand, pre_initialised, saving
from taxiway.core.settings import Settings

VCPU, MEMORY, _ = Settings().serverless_prices.X86_64
WORKER_HOUR = 4 * VCPU + 16 * MEMORY
CASE = Case(runs=2, work_s=3600, session_s=0, worker_s=0, ready_s=0, idle_min=0, executors=4)


def test_without_any_start_or_idle_time_both_cost_the_same() -> None:
    assert on_demand(CASE).usd == pytest.approx(5 * WORKER_HOUR * 2 * DAYS)
    assert saving(CASE) == pytest.approx((0, 0))


def test_idle_time_costs_all_workers() -> None:
    month = pre_initialised(replace(CASE, idle_min=30))
    assert month.usd == pytest.approx(5 * 1.5 * WORKER_HOUR * 2 * DAYS)
    assert month.seconds == 3600


def test_on_demand_the_driver_waits_for_its_executors() -> None:
    month = on_demand(replace(CASE, worker_s=360))
    assert month.usd == pytest.approx((1.1 + 4) * WORKER_HOUR * 2 * DAYS)
    assert month.seconds == 360 + 360 + 3600


def test_on_demand_a_minute_is_billed_at_least() -> None:
    assert on_demand(replace(CASE, work_s=6)).usd == pytest.approx(5 / 60 * WORKER_HOUR * 2 * DAYS)
    assert saving(replace(CASE, work_s=6))[0] == pytest.approx(0.9)


def test_an_application_that_never_stops_starts_no_run_later() -> None:
    often = Case(runs=24, work_s=600, session_s=0, worker_s=60, ready_s=0, idle_min=60)
    assert pre_initialised(often).usd == pytest.approx(5 * 24 * WORKER_HOUR * DAYS), "all day long"
    assert pre_initialised(often).seconds == 600
    assert pre_initialised(replace(often, idle_min=49)).seconds == 660


def test_the_page_says_what_was_measured() -> None:
    text = "\n".join(lines(8.0, measured=False))
    assert "A session starts in 8.0 s (given)" in text
    assert "measured here" in "\n".join(lines(8.0, measured=True))
    assert "| 1 × 300 s, 5 min |" in text
