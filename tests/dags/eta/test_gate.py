"""The gate: a worse model is refused, in one sentence that says what is wrong."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxiway.eta.gate import GateError, judge
from taxiway.eta.settings import EtaSettings
from tests.dags.eta.models import LATER, NEW, measured

LIMITS = EtaSettings()


def group(**changes: Any) -> dict[str, Any]:
    return {"rows": 5000, "mae_s": 113.0, "baseline_mae_s": 121.7, **changes}


def test_a_model_that_is_better_than_baseline_and_live_goes_live() -> None:
    decision = judge(measured(LATER), measured(NEW), LIMITS)

    assert decision.promote
    assert decision.faults == ()
    assert decision.sentence == (
        f"{LATER} goes live: its error in 2023-06 is 113.0 s, 7.1% below the baseline's, and 90.0% of waits are within "
        "p90."
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"mae_s": 119.0},
            "its error of 119.0 s is not 3.0% below the 121.7 s of the median by zone and hour",
        ),
        ({"p90_coverage": 0.871}, "87.1% of waits are within p90, not 88.0% to 92.0%"),
        ({"p90_coverage": 0.93}, "93.0% of waits are within p90, not 88.0% to 92.0%"),
        (
            {"by_company": {"uber": group(), "lyft": group(mae_s=122.0)}},
            "its error of 122.0 s in the company lyft is above the 121.7 s of the median by zone and hour",
        ),
        (
            {"by_borough": {"Queens": group(mae_s=116.0)}},
            "its error in the borough Queens is 2.7% above the live model's, beyond 2.0%",
        ),
    ],
    ids=["no gain", "p90 too low", "p90 too high", "company below the baseline", "borough below the live model"],
)
def test_a_worse_model_is_refused(changes: dict[str, Any], reason: str) -> None:
    decision = judge(measured(LATER, **changes), measured(NEW), LIMITS)

    assert not decision.promote
    assert reason in decision.faults
    assert decision.sentence == f"{LATER} is not promoted: {'; '.join(decision.faults)}."


def test_a_group_with_few_rows_is_not_gated() -> None:
    few = {"by_borough": {"Staten Island": group(rows=999, mae_s=500.0), "Queens": group()}}

    assert judge(measured(LATER, **few), measured(NEW), LIMITS).promote
    assert not judge(measured(LATER, **few), measured(NEW), EtaSettings(gate_rows=999)).promote


def test_errors_are_compared_as_shares_of_the_months_own_baseline() -> None:
    """The newest month is harder: all errors are a quarter larger, and the model is as good as the live one."""
    harder = group(mae_s=113.0 * 1.25, baseline_mae_s=121.7 * 1.25)
    names = {"by_company": {"uber": harder}, "by_borough": {"Queens": harder}}

    assert judge(measured(LATER, **(harder | {"rows": 9000}), **names), measured(NEW), LIMITS).promote


def test_a_group_that_the_live_model_did_not_have_is_compared_with_the_baseline_alone() -> None:
    names = {"by_company": {"via": group(mae_s=121.0)}}

    assert judge(measured(LATER, **names), measured(NEW), LIMITS).promote


def test_a_model_of_an_earlier_month_does_not_replace_one_of_a_later_month() -> None:
    decision = judge(measured(NEW), measured(LATER), LIMITS)

    assert not decision.promote
    assert decision.faults == (f"it was tested on 2023-05, and the live model {LATER} on the later 2023-06",)


def test_the_first_model_that_beats_the_global_median_goes_live_with_a_warning() -> None:
    decision = judge(measured(NEW, mae_s=125.0), None, LIMITS)

    assert decision.promote
    assert decision.sentence == (
        f"{NEW} goes live as the first model that beats the global median, although its error of 125.0 s is not 3.0% "
        "below the 121.7 s of the median by zone and hour."
    )
    assert not judge(measured(NEW, mae_s=126.2), None, LIMITS).promote


@pytest.mark.parametrize("value", [None, float("nan"), "12", -1.0, True], ids=str)
def test_figures_that_are_none_are_one_sentence(value: object) -> None:
    with pytest.raises(GateError, match=r"metrics\.json says .* for mae_s, which is no figure: train that version"):
        judge(measured(NEW, mae_s=value), None, LIMITS)


FIGURES = st.floats(min_value=1, max_value=1000)


@given(FIGURES, FIGURES, st.floats(min_value=0, max_value=1), FIGURES)
def test_what_goes_live_without_fault_keeps_every_limit(
    error: float, baseline: float, coverage: float, group_error: float
) -> None:
    candidate = measured(
        LATER,
        mae_s=error,
        baseline_mae_s=baseline,
        p90_coverage=coverage,
        by_company={"uber": group(mae_s=group_error)},
        by_borough={},
    )

    decision = judge(candidate, measured(NEW), LIMITS)

    kept = error <= baseline * 0.97 and 0.88 <= coverage <= 0.92 and group_error <= min(121.7, 113.0 * 1.02)
    assert decision.promote is kept
