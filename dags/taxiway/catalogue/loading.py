"""Loading a list of data sets into the catalogue."""

from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from taxiway.catalogue.models import datasets
from taxiway.core.dataset_list import Dataset, check_unique, read_list


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How many data sets a list added, changed, left as they were, and removed."""

    added: int
    changed: int
    unchanged: int
    removed: int


def load(engine: sa.Engine, file: Path, *, whole_months: bool = False) -> LoadReport:
    """Load the data sets of a CSV into the catalogue: all of them, or none if one is invalid.

    A data set of the same name is replaced; data sets that are not in the CSV are kept.

    Args:
        engine: of the catalogue.
        file: see :func:`taxiway.core.dataset_list.read_list`.
        whole_months: the CSV has all data sets of its months: remove others from the catalogue, but not from the log.

    Raises:
        CatalogueError: the file cannot be used.
    """
    listed = read_list(file)
    with engine.begin() as connection:
        known = {row.name: Dataset(**row._mapping) for row in connection.execute(datasets.select().with_for_update())}
        replaced = {dataset.name for _, dataset in listed}
        months = {dataset.month for _, dataset in listed} if whole_months else set()
        removed = [name for name, dataset in known.items() if dataset.month in months and name not in replaced]
        if removed:
            connection.execute(datasets.delete().where(datasets.c.name.in_(removed)))
        replaced.update(removed)
        check_unique([*((None, dataset) for name, dataset in known.items() if name not in replaced), *listed], file)
        added = [asdict(d) for _, d in listed if d.name not in known]
        changed = [d for _, d in listed if d.name in known and d != known[d.name]]
        if added:
            connection.execute(datasets.insert(), added)
        for dataset in changed:
            connection.execute(datasets.update().where(datasets.c.name == dataset.name).values(**asdict(dataset)))
    return LoadReport(len(added), len(changed), len(listed) - len(added) - len(changed), len(removed))
