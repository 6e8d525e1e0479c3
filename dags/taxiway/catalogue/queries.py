"""Queries of the catalogue and the ingestion log."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from taxiway.catalogue.models import Attempt, Input, Status, datasets, ingestion_log
from taxiway.core.dataset_list import CatalogueError, Dataset, public_url


def complete_months(engine: sa.Engine) -> dict[str, list[Input]]:
    """Return the months all of whose data sets are collected, with their files.

    A month is complete when the latest attempt of each of its data sets is complete.

    Returns:
        month ``YYYY-MM`` → its files ordered by data set; ordered by month.
    """
    months: dict[str, list[Input]] = {}
    incomplete = set()
    for dataset, attempt in latest_attempts(engine):
        if attempt is None or attempt.status is not Status.COMPLETE:
            incomplete.add(dataset.month)
            continue
        months.setdefault(dataset.month, []).append(attempt.as_input())
    return {month: inputs for month, inputs in months.items() if month not in incomplete}


def latest_attempts(engine: sa.Engine, months: Collection[str] | None = None) -> list[tuple[Dataset, Attempt | None]]:
    """Return every data set with its latest attempt, None if there was none, ordered by month and name.

    Args:
        engine: of the catalogue.
        months: only the data sets of these months (``YYYY-MM``).
    """
    with engine.connect() as connection:
        return read_latest_attempts(connection, months)


def running_attempts(engine: sa.Engine) -> list[Attempt]:
    """Return the attempts now marked as running, oldest first.

    An attempt whose process died stays marked until the next attempt of its data set: check the age of ``started``.
    """
    query = ingestion_log.select().where(ingestion_log.c.status == Status.RUNNING).order_by(ingestion_log.c.id)
    with engine.connect() as connection:
        return [_attempt(row) for row in connection.execute(query)]


def find_dataset(engine: sa.Engine, name: str) -> Dataset:
    """Return a data set of the catalogue.

    Raises:
        CatalogueError: there is no data set of that name.
    """
    with engine.connect() as connection:
        row = connection.execute(datasets.select().where(datasets.c.name == name)).one_or_none()
    if row is None:
        raise CatalogueError(f"The catalogue has no data set {name!r}.")
    return Dataset(**row._mapping)


def last_complete(engine: sa.Engine, dataset: Dataset) -> Attempt | None:
    """Return the last complete attempt of a data set, whatever its later attempts; None if there is none."""
    query = (
        ingestion_log.select()
        .where(
            ingestion_log.c.dataset == dataset.name,
            ingestion_log.c.month == dataset.month,
            ingestion_log.c.url == dataset.source,
            ingestion_log.c.status == Status.COMPLETE,
        )
        .order_by(ingestion_log.c.id.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _attempt(row)


def read_latest_attempts(
    connection: sa.Connection, months: Collection[str] | None = None
) -> list[tuple[Dataset, Attempt | None]]:
    """Return the same as :func:`latest_attempts`, within a transaction."""
    log, chosen = ingestion_log.c, datasets.select().order_by(datasets.c.month, datasets.c.name)
    newest = sa.select(sa.func.max(log.id)).group_by(log.dataset, log.month, log.url)
    if months is not None:
        chosen, newest = chosen.where(datasets.c.month.in_(months)), newest.where(log.month.in_(months))
    attempts = map(_attempt, connection.execute(ingestion_log.select().where(log.id.in_(newest)).order_by(log.id)))
    # Not compared by the database: the log has the URLs without their query strings, of which a new one is no change.
    latest = {(attempt.dataset, attempt.month, public_url(attempt.url)): attempt for attempt in attempts}
    listed = [Dataset(**row._mapping) for row in connection.execute(chosen)]
    return [(dataset, latest.get((dataset.name, dataset.month, dataset.source))) for dataset in listed]


def _attempt(row: Sequence[Any]) -> Attempt:
    attempt = dict(zip(ingestion_log.c.keys(), row, strict=True))
    return Attempt(**{**attempt, "status": Status(attempt["status"])})
