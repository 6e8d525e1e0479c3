"""States of an attempt to collect a data set in the ingestion log: begun, content claimed, complete or failed."""

from datetime import UTC, datetime

import sqlalchemy as sa

from taxiway.catalogue.models import Status, datasets, ingestion_log
from taxiway.catalogue.queries import read_latest_attempts
from taxiway.core.dataset_list import CatalogueError, Dataset


def begin_attempt(engine: sa.Engine, dataset: Dataset, dag_run_id: str | None = None, *, again: bool = False) -> int:
    """Log that an attempt begins, and return its id; an attempt still marked as running becomes abandoned."""
    now = datetime.now(UTC)
    log = ingestion_log.c
    with engine.begin() as connection:
        connection.execute(
            ingestion_log.update()
            .where(log.dataset == dataset.name, log.status == Status.RUNNING)
            .values(
                status=Status.ABANDONED,
                finished=now,
                error="It ended without reporting a result, or a later attempt replaced it.",
            )
        )
        inserted = connection.execute(
            ingestion_log.insert().values(
                dataset=dataset.name,
                month=dataset.month,
                url=dataset.source,
                dag_run_id=dag_run_id,
                again=again,
                started=now,
                status=Status.RUNNING,
            )
        )
        assert inserted.inserted_primary_key is not None
        return int(inserted.inserted_primary_key[0])


def claim_content(engine: sa.Engine, attempt_id: int, sha256: str) -> str | None:
    """Log the checksum of an attempt's file, unless another data set has that file.

    Returns:
        the name of the data set whose latest attempt, complete or running, has the same file; None if there is none.
    """
    with engine.begin() as connection:
        # Serialise: two concurrent attempts would not see each other. SQLite's transaction does so by itself.
        connection.execute(sa.select(datasets.c.name).with_for_update()).all()
        for dataset, other in read_latest_attempts(connection):
            if other is None or other.id == attempt_id or other.status not in (Status.COMPLETE, Status.RUNNING):
                continue
            if other.sha256 == sha256:
                return dataset.name
        _update_running(connection, attempt_id, sha256=sha256)
    return None


def complete_attempt(
    engine: sa.Engine,
    attempt_id: int,
    *,
    bytes: int,  # noqa: A002 - the column's name
    sha256: str,
    rows: int,
    s3_bucket: str,
    s3_key: str,
    source_version: str | None,
) -> None:
    """Log that an attempt is complete; arguments as in :class:`Attempt`.

    Raises:
        CatalogueError: a later attempt of the data set replaced it.
    """
    values = {"bytes": bytes, "sha256": sha256, "rows": rows, "s3_bucket": s3_bucket, "s3_key": s3_key}
    with engine.begin() as connection:
        _update_running(
            connection,
            attempt_id,
            status=Status.COMPLETE,
            finished=datetime.now(UTC),
            source_version=source_version,
            **values,
        )


def fail_attempt(engine: sa.Engine, attempt_id: int, error: str) -> None:
    """Log that an attempt failed, and why, unless a later attempt of the data set replaced it."""
    with engine.begin() as connection:
        connection.execute(
            ingestion_log.update()
            .where(ingestion_log.c.id == attempt_id, ingestion_log.c.status == Status.RUNNING)
            .values(status=Status.FAILED, finished=datetime.now(UTC), error=error)
        )


def _update_running(connection: sa.Connection, attempt_id: int, **values: object) -> None:
    updated = connection.execute(
        ingestion_log.update()
        .where(ingestion_log.c.id == attempt_id, ingestion_log.c.status == Status.RUNNING)
        .values(**values)
    )
    if not updated.rowcount:
        raise CatalogueError(f"A later attempt of the same data set replaced attempt {attempt_id}: see that one.")
