"""The demo of HVFHV: collects and analyses the months of a list of data sets, by default three sampled months."""

import csv
import io
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from console.airflow import Airflow, Pool
from console.demo import Demo, SeenAs
from console.errors import UserError
from console.follow import Goal, Plan, Run
from console.output import Reporter
from console.platform import LocalPlatform, Platform
from taxiway.core.dataset_list import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, CatalogueError, Dataset, read_list

SAMPLE = Path(__file__).parent / "sample/catalogue.csv"
COLLECTION, ANALYSIS = "hvfhv_collection", "hvfhv_analysis"


@dataclass(frozen=True)
class DatasetList:
    """A list of data sets as the platform sees them.

    Attributes:
        name: of the file that it came from.
        datasets: at least one.
        whole_months: its months consist of these data sets and of no others.
    """

    name: str
    datasets: tuple[Dataset, ...]
    whole_months: bool = True

    @property
    def months(self) -> list[str]:
        """Its months, earliest first."""
        return sorted({dataset.month for dataset in self.datasets})

    def as_csv(self) -> str:
        """Return the list as ``python -m taxiway.catalogue load`` reads it."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(dataset) for dataset in self.datasets)
        return text.getvalue()


class HvfhvDemo(Demo[DatasetList]):
    """Every month of the list is collected, and analysed again even if nothing changed."""

    name = "hvfhv"
    title = "ride-hailing trips of three real months: market share, waits, zones"
    option = "CATALOG"
    dags = (COLLECTION, ANALYSIS)
    pools = (Pool(name="emr_steps", slots=16, description="Steps on EMR at once, over all DAGs"),)
    settings = {  # noqa: RUF012 - read only
        # The months to collect are named by the person (catalogue), not by the calendar.
        "TAXIWAY_HVFHV_CATCHUP": "False",
        # A download that a switched-off machine left behind looks like one under way.
        "TAXIWAY_HVFHV_JOIN_MINUTES": "2",
    }
    reports = "reports/hvfhv"

    def read_input(self, given: str | None, seen_as: SeenAs) -> DatasetList:
        """Return a list of data sets (CSV: name, month, url), files named by their place on the platform."""
        file = Path(given) if given else SAMPLE
        try:
            listed = [dataset for _, dataset in read_list(file)]
            return DatasetList(file.name, tuple(_as_seen(dataset, seen_as) for dataset in listed))
        except CatalogueError as error:
            raise UserError(str(error)) from None
        except UserError as error:
            raise UserError(f"{file}: {error}") from None

    def load(self, platform: Platform, data: DatasetList) -> str:
        """Take the list over into the dataset catalogue."""
        options = ["--whole-months"] if data.whole_months else []
        changed = platform.run("taxiway.catalogue", "load", *options, file=(data.name, data.as_csv()))
        count = len(data.months)
        return f"{data.name} names {count} month{'s' * (count != 1)}, {', '.join(data.months)}: {changed.strip()}"

    def plan(self, data: DatasetList, began: datetime) -> Plan:
        """Collect each month; the analysis follows by the asset of the raw files."""
        stamp = f"{began:%Y%m%dT%H%M%S}"
        return Plan(
            runs=[
                # Again: a person who runs make demo wants to see the analysis.
                Run(COLLECTION, f"demo__{month}__{stamp}", {"month": month, "again": True}, month)
                for month in data.months
            ],
            followers={ANALYSIS: _planned_months},
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


def _as_seen(dataset: Dataset, seen_as: SeenAs) -> Dataset:
    path = _path(dataset)
    return replace(dataset, url=Path(seen_as(path)).as_uri()) if path else dataset


def _is_gone(dataset: Dataset) -> bool:
    path = _path(dataset)
    return path is not None and not path.exists()


def _path(dataset: Dataset) -> Path | None:
    """Return the file of a data set on this machine; None if its URL is no file's."""
    parts = urlsplit(dataset.url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _planned_months(airflow: Airflow, run_id: str) -> list[str]:
    """Return the months of an analysis, in the order of its mapped tasks; none while it has no plan."""
    return [job["month"] for job in airflow.xcom(ANALYSIS, run_id, "plan") or []]


DEMO = HvfhvDemo()
