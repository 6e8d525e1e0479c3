"""Lists of HVFHV data sets, which the demos of several pipelines take as their input."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from console.airflow import Airflow, Pool
from console.demo import Demo, SeenAs
from console.errors import UserError
from console.platform import Platform
from taxiway.core.dataset_list import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, CatalogueError, Dataset, read_list

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


class DatasetDemo(Demo[DatasetList]):
    """A demo whose input is a list of HVFHV data sets, which HVFHV's DAGs collect and analyse.

    Attributes:
        sample: the list that it takes where a person gives none.
    """

    sample: Path
    option = "CATALOG"
    pools = (Pool(name="emr_steps", slots=16, description="Steps on EMR at once, over all DAGs"),)

    def read_input(self, given: str | None, seen_as: SeenAs) -> DatasetList:
        """Return a list of data sets (CSV: name, month, url), files named by their place on the platform."""
        return read_datasets(Path(given) if given else self.sample, seen_as)

    def load(self, platform: Platform, data: DatasetList) -> str:
        """Take the list over into the dataset catalogue, and return a sentence on what that changed."""
        return load_datasets(platform, data)


def read_datasets(file: Path, seen_as: SeenAs) -> DatasetList:
    """Return a list of data sets (CSV: name, month, url), files named by their place on the platform.

    Raises:
        UserError: it cannot be used.
    """
    try:
        listed = [dataset for _, dataset in read_list(file)]
        return DatasetList(file.name, tuple(_as_seen(dataset, seen_as) for dataset in listed))
    except CatalogueError as error:
        raise UserError(str(error)) from None
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def load_datasets(platform: Platform, data: DatasetList) -> str:
    """Take a list over into the dataset catalogue, and return a sentence on what that changed."""
    options = ["--whole-months"] if data.whole_months else []
    changed = platform.run("taxiway.catalogue", "load", *options, file=(data.name, data.as_csv()))
    count = len(data.months)
    return f"{data.name} names {count} month{'s' * (count != 1)}, {', '.join(data.months)}: {changed.strip()}"


def path_of(dataset: Dataset) -> Path | None:
    """Return the file of a data set on this machine; None if its URL is no file's."""
    parts = urlsplit(dataset.url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def planned_months(airflow: Airflow, run_id: str) -> Sequence[str]:
    """Return the months of an analysis, in the order of its mapped tasks; none while it has no plan."""
    return [job["month"] for job in airflow.xcom(ANALYSIS, run_id, "plan") or []]


def _as_seen(dataset: Dataset, seen_as: SeenAs) -> Dataset:
    path = path_of(dataset)
    return replace(dataset, url=Path(seen_as(path)).as_uri()) if path else dataset
