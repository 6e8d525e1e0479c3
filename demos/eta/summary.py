"""What a person reads at the end of the demo: candidates beside the baselines, and which version is live."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import boto3
from rich.console import Console
from rich.table import Table

from console.output import summary_table
from demos.costs import cost_of_job_runs
from taxiway.eta.gate import judge
from taxiway.eta.registry import Live, Registry
from taxiway.eta.settings import EtaSettings
from taxiway.lake import Lake


def show_summary(console: Console, lake: Lake, since: datetime, seconds: float) -> None:
    """Print what the newest version reached, which one is live, and what the training would have cost.

    Args:
        console: to write to.
        lake: to read from.
        since: when the demo began.
        seconds: how long it took.
    """
    registry = Registry(boto3.client("s3"), lake.settings.lake)
    version, live = registry.versions()[-1], registry.live()
    metrics = registry.metrics(version)
    console.print(candidates(metrics), groups(metrics), sep="\n")
    months = metrics["train_months"]
    console.print(
        f"Version {version}: trained on {months[0]} to {months[-1]}, chosen by {metrics['validation_month']}, tested "
        f"on {metrics['test_month']} ({metrics['rows']:,} rows) in {metrics['training_s']:.0f} s with at most "
        f"{metrics['peak_memory_mb']:,.0f} MB.\n{verdict(registry, metrics, live)}",
        highlight=False,
    )
    console.print(cost_of_job_runs(lake.settings.serverless_prices, since, seconds), highlight=False)


def verdict(registry: Registry, metrics: Mapping[str, Any], live: Live | None) -> str:
    """Return what the gate says of a version, and which one is live."""
    if live and live.version == metrics["version"]:
        return live.reason
    there = live is not None and live.version in registry.versions()
    decision = judge(metrics, registry.metrics(live.version) if live and there else None, EtaSettings.read())
    return f"{decision.sentence} {f'Live is {live.version}' if live else 'No version is live'}."


def candidates(metrics: Mapping[str, Any]) -> Table:
    """Return the errors of all candidates and of both baselines on the test month."""
    shown = summary_table(
        f"Waits in {metrics['test_month']}: mean absolute error, pinball losses",
        *("by", "MAE", "gain", "loss p50", "loss p90", "within p90"),
        texts={"by"},
    )
    baseline = metrics["baseline_mae_s"]
    shown.add_row("global median", f"{metrics['global_median_mae_s']:.1f} s", *[""] * 4)
    shown.add_row("median by zone and hour", f"{baseline:.1f} s", *[""] * 4)
    for name, figures in metrics["candidates"].items():
        shown.add_row(name, *_row(figures["test"], baseline))
    shown.add_row(f"served ({metrics['winner']})", *_row(metrics, baseline))
    return shown


def _row(figures: Mapping[str, Any], baseline: float) -> Iterator[str]:
    yield f"{figures['mae_s']:.1f} s"
    yield f"{1 - figures['mae_s'] / baseline:.1%}"
    yield from (f"{figures[name]:.1f}" for name in ("pinball_p50", "pinball_p90"))
    yield f"{figures['p90_coverage']:.1%}"


def groups(metrics: Mapping[str, Any]) -> Table:
    """Return the errors of the version by company and by borough."""
    shown = summary_table(
        "By company and borough", *("group", "rows", "MAE", "baseline", "within p90"), texts={"group"}
    )
    for key in ("by_company", "by_borough"):
        for name, figures in sorted(metrics[key].items()):
            shown.add_row(
                *(name, f"{figures['rows']:,}", f"{figures['mae_s']:.1f} s", f"{figures['baseline_mae_s']:.1f} s"),
                f"{figures['p90_coverage']:.1%}",
            )
    return shown
