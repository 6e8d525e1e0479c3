"""The gate: whether a trained version may go live, by what training measured on the newest month.

Errors are compared as shares of the baseline's on the same month (the median by zone and hour of the months before),
because months differ in how hard they are: the live model was tested on an earlier one.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from taxiway.eta.settings import EtaSettings

GROUPS = {"by_company": "company", "by_borough": "borough"}


class GateError(RuntimeError):
    """Measured figures cannot be judged; the text is one sentence."""


@dataclass(frozen=True)
class Decision:
    """What the gate decided.

    Attributes:
        promote: whether the version goes live.
        sentence: why, or why not.
        faults: what the gate finds wrong; a first version goes live with some.
    """

    promote: bool
    sentence: str
    faults: tuple[str, ...] = ()


def judge(candidate: Mapping[str, Any], live: Mapping[str, Any] | None, limits: EtaSettings) -> Decision:
    """Decide whether a version goes live.

    Args:
        candidate: the version's ``metrics.json``.
        live: that of the live version; None where none is live, or it is gone.
        limits: what the gate asks for.

    Raises:
        GateError: a figure is missing, or is no number.
    """
    version = candidate.get("version", "the candidate")
    found = tuple(faults(candidate, live, limits))
    gain = 1 - _number(candidate, "mae_s") / _number(candidate, "baseline_mae_s")
    measured = (
        f"its error in {candidate.get('test_month')} is {_number(candidate, 'mae_s'):.1f} s, {abs(gain):.1%} "
        f"{'below' if gain >= 0 else 'above'} the baseline's, and {_number(candidate, 'p90_coverage'):.1%} of waits "
        "are within p90"
    )
    if not found:
        return Decision(True, f"{version} goes live: {measured}.")
    listed = "; ".join(found)
    # Something is better than nothing: without a live model nobody gets a prediction.
    if live is None and _number(candidate, "mae_s") < _number(candidate, "global_median_mae_s"):
        return Decision(
            True, f"{version} goes live as the first model that beats the global median, although {listed}.", found
        )
    return Decision(False, f"{version} is not promoted: {listed}.", found)


def faults(candidate: Mapping[str, Any], live: Mapping[str, Any] | None, limits: EtaSettings) -> Iterator[str]:
    """Yield what is wrong with a version, a part of a sentence each; arguments and errors as for :func:`judge`."""
    if live and str(candidate.get("test_month")) < str(live.get("test_month")):
        yield (
            f"it was tested on {candidate.get('test_month')}, and the live model {live.get('version')} on the later "
            f"{live.get('test_month')}"
        )
    error, baseline = _number(candidate, "mae_s"), _number(candidate, "baseline_mae_s")
    if error > baseline * (1 - limits.gate_gain):
        yield (
            f"its error of {error:.1f} s is not {limits.gate_gain:.1%} below the {baseline:.1f} s of the median by "
            "zone and hour"
        )
    coverage = _number(candidate, "p90_coverage")
    if not limits.gate_coverage_low <= coverage <= limits.gate_coverage_high:
        yield (
            f"{coverage:.1%} of waits are within p90, not {limits.gate_coverage_low:.1%} to "
            f"{limits.gate_coverage_high:.1%}"
        )
    for key, kind in GROUPS.items():
        others = (live or {}).get(key, {})
        for name, figures in sorted(candidate.get(key, {}).items()):
            if _number(figures, "rows") >= limits.gate_rows:
                yield from _group_faults(f"{kind} {name}", figures, others.get(name), limits)


def _group_faults(
    name: str, figures: Mapping[str, Any], live: Mapping[str, Any] | None, limits: EtaSettings
) -> Iterator[str]:
    error, baseline = _number(figures, "mae_s"), _number(figures, "baseline_mae_s")
    if error > baseline:
        yield f"its error of {error:.1f} s in the {name} is above the {baseline:.1f} s of the median by zone and hour"
    if live and _number(live, "rows") >= limits.gate_rows:
        ratio = (error / baseline) / (_number(live, "mae_s") / _number(live, "baseline_mae_s"))
        if ratio > 1 + limits.gate_worse:
            yield f"its error in the {name} is {ratio - 1:.1%} above the live model's, beyond {limits.gate_worse:.1%}"


def _number(figures: Mapping[str, Any], name: str) -> float:
    """Return a figure: all of them are positive."""
    value = figures.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise GateError(f"metrics.json says {value!r} for {name}, which is no figure: train that version again.")
    return max(float(value), 1e-9)
