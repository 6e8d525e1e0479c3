"""A run of ``warehouse_serving``: marts that are served from the ride service's database, and the parts of its tasks.

The contract of a mart says that it is served, and how, by the property ``serve``: ``swap`` replaces the table as a
whole, ``upsert`` changes it by key, a bounded number of rows at once.
"""

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, TypedDict, cast

from airflow.sdk import Context

from taxiway.core import contracts
from taxiway.core.contracts import ContractError
from taxiway.core.databases import DatabaseError, connect
from taxiway.core.errors import unrecoverable
from taxiway.core.s3 import split
from taxiway.core.settings import settings
from taxiway.lake import Lake, LakeError, Table, TableSet, open_lake
from taxiway.operations import lineage, metrics, notices, quality
from taxiway.warehouse.target import BATCH, Checked, Row, ServingError, Target

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

CONNECTION = "ride_service"
PIPELINE = "warehouse"


class Staged(TypedDict):
    """A table that is staged: its name, rows and checksum; ``changed`` is false where these rows are live already."""

    table: str
    rows: int
    checksum: str
    changed: bool


def served() -> dict[str, list[str]]:
    """Return the names of the marts that are served, by how: ``swap``, ``upsert``.

    Raises:
        ContractError: a contract has something else as ``serve``.
    """
    found: dict[str, list[str]] = {"swap": [], "upsert": []}
    for name in contracts.names(PIPELINE):
        how = contracts.read(PIPELINE, name).properties.get("serve")
        if how is not None and how not in found:
            raise ContractError(
                f"contracts/{PIPELINE}/{name}.yaml says serve: {how}, which is neither swap nor upsert."
            )
        if how is not None:
            found[how].append(name)
    return found


def target(name: str) -> Target:
    """Return the table of a mart in the service's database.

    Raises:
        DatabaseError: Airflow's connection ``ride_service`` is missing or cannot be used.
        ServingError: the mart is not one of those that are served.
    """
    if name not in (known := sorted(chain.from_iterable(served().values()))):
        raise ServingError(f"{name} is not served: the contracts name {', '.join(known)}.")
    return Target(connect(CONNECTION), Table(PIPELINE, name))


def plan(how: str) -> list[str]:
    """Return the tables to serve in a way."""
    with _fail_without_retry():
        return served()[how]


def stage(name: str, context: Context) -> Staged:
    """Write a mart beside the live table, and compare what is there with the mart."""
    with _fail_without_retry(), _counted(name), _mart(name, context) as (_, _, rows):
        wanted = [row for part in rows for row in part]
        staged = target(name).stage(wanted, allow=bool(context["params"]["allow_loss"]))
    if staged is None:
        log.info("The %s rows of %s are served already.", f"{len(wanted):,}", name)
        return Staged(table=name, rows=len(wanted), checksum="", changed=False)
    return Staged(table=name, rows=staged.rows, checksum=staged.checksum, changed=True)


def swap(staged: Staged, context: Context) -> float:
    """Make a staged table the live one, and return the seconds that the swap took."""
    name, seconds = staged["table"], 0.0
    if staged["changed"]:
        with _fail_without_retry(), _counted(name):
            seconds = target(name).swap(Checked(staged["rows"], staged["checksum"]))
        log.info("%s is served with %s rows; the swap took %.3f s.", name, f"{staged['rows']:,}", seconds)
        notices.tell(context, f"{name} is served with {staged['rows']:,} rows.")
        with metrics.best_effort():
            metrics.gauge("warehouse", "served", "swap_s", name, value=seconds)
    _report(name, staged["rows"])
    return seconds


def upsert(name: str, context: Context) -> dict[str, int]:
    """Make a live table equal to its mart by key; return what was done, in rows."""
    with _fail_without_retry(), _counted(name), _mart(name, context) as (version, count, rows):
        done = target(name).upsert(
            (row for part in rows for row in part), count, version, allow=bool(context["params"]["allow_loss"])
        )
    log.info("%s: %s", name, ", ".join(f"{count:,} rows {what}" for what, count in done.items()))
    _report(name, done["written"] + done["skipped"])
    return done


@contextmanager
def _mart(name: str, context: Context) -> Iterator[tuple[str, int, Iterator[Sequence[Row]]]]:
    """Yield the version of a mart, its folder, the number of its rows, and these by its key, a part at a time.

    Raises:
        ServingError: it is not built, or has other columns than its contract.
        CheckError: it breaks its contract; the checks are recorded.
    """
    import duckdb

    table, found = Table(PIPELINE, name), open_lake(settings(), TableSet(PIPELINE))
    glue = found.session.client("glue")
    try:
        location = glue.get_table(DatabaseName=found.settings.glue_database, Name=table.name)["Table"]
    except glue.exceptions.EntityNotFoundException:
        raise ServingError(f"The mart {table.name} is not built: run the DAG warehouse_summaries.") from None
    location = location["StorageDescriptor"]["Location"].rstrip("/")
    # On disk: a mart may be larger than the memory.
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(f"{folder}/mart.duckdb") as database:
        _load(database, found, table, location)
        results = quality.check(table, database.table(table.name).to_arrow_reader(), history=quality.history(table))
        quality.record(results, cast("Any", context))
        quality.require(results)
        (count,) = database.execute(f"select count(*) from {table.name}").fetchone() or (0,)
        columns, key = ", ".join(table.columns), ", ".join(table.key)
        answer = database.execute(f"select {columns} from {table.name} order by {key}")
        yield location, count, iter(lambda: answer.fetchmany(BATCH), [])


def _load(database: "duckdb.DuckDBPyConnection", found: Lake, table: Table, location: str) -> None:
    """Copy a mart's files into a table of its name."""
    from pyarrow import parquet

    from taxiway.lake.faults import schema_faults

    bucket, _ = split(location)
    files = found.data_files(location)
    if not files:
        raise ServingError(f"The mart {table.name} has no file in {location}: run the DAG warehouse_summaries.")
    for first, key in enumerate(files):  # whose names need not end with .parquet
        with found.files.open_input_file(f"{bucket}/{key}") as opened:
            file = parquet.ParquetFile(opened)
            schema = file.schema_arrow.remove_metadata()
            if faults := schema_faults(table, schema):
                raise ServingError(" ".join(faults))
            if first == 0:
                database.register("part", schema.empty_table())
                database.execute(f"create table {table.name} as from part")
            for batch in file.iter_batches():
                database.register("part", batch)
                database.execute(f"insert into {table.name} from part")


def _report(name: str, rows: int) -> None:
    url = target(name).engine.url
    lineage.report(inputs=[lineage.of_table(PIPELINE, name)], outputs=[lineage.of_sql(url, name)])
    with metrics.best_effort():
        metrics.gauge("warehouse", "served", "rows", name, value=rows)
        metrics.gauge("warehouse", "served", "at", name, value=time.time())


@contextmanager
def _counted(name: str) -> Iterator[None]:
    """Count a table that is refused."""
    refused = 1
    try:
        yield
        refused = 0
    finally:
        metrics.count("warehouse", "served", "refused", name, value=refused)


def _fail_without_retry() -> Any:
    """Fail the task without a retry for errors that a retry cannot fix."""
    return unrecoverable(ServingError, DatabaseError, LakeError, ContractError)
