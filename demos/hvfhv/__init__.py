"""The demo of HVFHV: collects and analyses the months of a list of data sets, by default three sampled months."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from console.follow import Goal, Plan, Run
from console.output import Reporter
from console.platform import LocalPlatform
from demos.datasets import ANALYSIS, COLLECTION, DatasetDemo, DatasetList, path_of, planned_months
from taxiway.core.dataset_list import Dataset

SAMPLE = Path(__file__).parent / "sample/catalogue.csv"


class HvfhvDemo(DatasetDemo):
    """Every month of the list is collected, and analysed again even if nothing changed."""

    name = "hvfhv"
    title = "ride-hailing trips of three real months: market share, waits, zones"
    sample = SAMPLE
    dags = (COLLECTION, ANALYSIS)
    settings = {  # noqa: RUF012 - read only
        # The months to collect are named by the person (catalogue), not by the calendar.
        "TAXIWAY_HVFHV_CATCHUP": "False",
        # A download that a switched-off machine left behind looks like one under way.
        "TAXIWAY_HVFHV_JOIN_MINUTES": "2",
    }
    reports = "reports/hvfhv"

    def plan(self, data: DatasetList, began: datetime) -> Plan:
        """Collect each month; the analysis follows by the asset of the raw files."""
        stamp = f"{began:%Y%m%dT%H%M%S}"
        return Plan(
            runs=[
                # Again: a person who runs make demo wants to see the analysis.
                Run(COLLECTION, f"demo__{month}__{stamp}", {"month": month, "again": True}, month)
                for month in data.months
            ],
            followers={ANALYSIS: planned_months},
            goals=frozenset(Goal(ANALYSIS, "release.publish", month) for month in data.months),
            reports=[f"{month}.html" for month in data.months],
        )

    def initial_input(self, platform: LocalPlatform) -> DatasetList | None:
        """Return the sample for an empty catalogue; for one that names files of it where they no longer are, those."""
        from taxiway.catalogue import latest_attempts

        sample = self.read_input(None, str)
        known = {dataset.name: dataset for dataset, _ in latest_attempts(platform.catalogue())}
        if not known:
            return sample
        moved = tuple(each for each in sample.datasets if each.name in known and _is_gone(known[each.name]))
        return replace(sample, datasets=moved, whole_months=False) if moved else None

    def show_summary(self, report: Reporter, lake: Any, data: DatasetList, since: datetime) -> None:
        """Print shares, waits, rows and zones, and what the clusters would have cost."""
        from demos.hvfhv.summary import show_summary

        show_summary(report.console, lake, data.months, since, report.seconds)


def _is_gone(dataset: Dataset) -> bool:
    path = path_of(dataset)
    return path is not None and not path.exists()


DEMO = HvfhvDemo()
