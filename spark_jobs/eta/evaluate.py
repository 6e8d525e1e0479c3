"""Measures predictions of waits: errors, pinball losses, coverage. Needs numpy alone."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_jobs.eta.features import Floats

COVERAGE = 0.9


def pinball(wait: Floats, predicted: Floats, quantile: float) -> float:
    """Return the mean pinball loss in seconds: quantile · e if too short by e, (1 − quantile) · e if too long by e."""
    error = wait - predicted
    return float(np.maximum(quantile * error, (quantile - 1) * error).mean())


def figures(wait: Floats, p50: Floats, p90: Floats, baseline: Floats) -> dict[str, Any]:
    """Return the figures of predictions; arrays of equal length, in seconds, of at least one request."""
    return {
        "rows": len(wait),
        "mae_s": float(np.abs(wait - p50).mean()),
        "baseline_mae_s": float(np.abs(wait - baseline).mean()),
        "pinball_p50": pinball(wait, p50, 0.5),
        "pinball_p90": pinball(wait, p90, 0.9),
        "p90_coverage": float((wait <= p90).mean()),
    }


def by_group(names: NDArray[Any], arrays: Mapping[str, Floats]) -> dict[str, dict[str, Any]]:
    """Return :func:`figures` by name.

    Args:
        names: of each request's group.
        arrays: the arguments of :func:`figures`.
    """
    return {
        str(name): figures(**{key: values[names == name] for key, values in arrays.items()})
        for name in np.unique(names)
    }


def conformal_offset(wait: Floats, p90: Floats) -> float:
    """Return the seconds to add to bounds so that they cover 90 % of the requests of another, like month.

    Split conformal prediction: the ⌈(n + 1) · 0.9⌉-th smallest of wait − bound.
    """
    rank = min(math.ceil((len(wait) + 1) * COVERAGE), len(wait))
    return float(np.partition(wait - p90, rank - 1)[rank - 1])
