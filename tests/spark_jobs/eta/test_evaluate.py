"""The figures of predictions, against definitions that are written out."""

import numpy as np
import pytest

from spark_jobs.eta import evaluate

WAIT = np.array([100.0, 200.0, 300.0, 400.0])
P50 = np.array([110.0, 180.0, 300.0, 500.0])
P90 = np.array([150.0, 190.0, 300.0, 600.0])
BASELINE = np.full(4, 200.0)


def test_figures() -> None:
    found = evaluate.figures(WAIT, P50, P90, BASELINE)
    assert found == {
        "rows": 4,
        "mae_s": pytest.approx((10 + 20 + 0 + 100) / 4),
        "baseline_mae_s": pytest.approx((100 + 0 + 100 + 200) / 4),
        "pinball_p50": pytest.approx((5 + 10 + 0 + 50) / 4),
        "pinball_p90": pytest.approx((0.1 * 50 + 0.9 * 10 + 0 + 0.1 * 200) / 4),
        "p90_coverage": 0.75,  # a wait of exactly the bound is within it
    }


def test_groups_are_measured_apart() -> None:
    arrays = {"wait": WAIT, "p50": P50, "p90": P90, "baseline": BASELINE}
    found = evaluate.by_group(np.array(["uber", "lyft", "uber", "uber"]), arrays)
    assert list(found) == ["lyft", "uber"]
    assert found["lyft"]["mae_s"] == 20
    assert found["uber"]["rows"] == 3


@pytest.mark.parametrize("rows", [1, 9, 10, 999])
def test_the_offset_covers_nine_tenths_and_not_more_than_it_must(rows: int) -> None:
    wait = np.random.default_rng(rows).permutation(rows).astype(float)
    bound = np.zeros(rows)
    offset = evaluate.conformal_offset(wait, bound)
    assert (wait <= bound + offset).mean() >= 0.9
    assert rows < 10 or (wait < bound + offset).mean() < 0.91
