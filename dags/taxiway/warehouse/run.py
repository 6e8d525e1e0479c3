"""A run of ``warehouse_loads``: data passed between its tasks, and the parts of them that use Airflow's context."""

import logging
import time
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from airflow.sdk import Context

from taxiway.core.contracts import ContractError
from taxiway.core.databases import DatabaseError
from taxiway.core.errors import unrecoverable
from taxiway.core.s3 import split
from taxiway.core.settings import settings
from taxiway.lake import Lake, LakeError, Publication, open_lake, version_at
from taxiway.lake.tables import Table
from taxiway.operations import lease, lineage, metrics, quality
from taxiway.warehouse.loads import PART, Loaded, summary
from taxiway.warehouse.settings import warehouse_settings
from taxiway.warehouse.tables import REJECTED, TABLES, alone, is_incremental, part_of, raw_tables

log = logging.getLogger(__name__)

PLAN = "plan"
TABLE = "{{ task.op_kwargs['job']['table'] if 'job' in task.op_kwargs else '' }}"
REFUSED = ("shrunk", "mark", "conditions", "unreadable")


class PlanError(ValueError):
    """What a run was asked for cannot be done; the text is one sentence with the remedy."""


class BusyError(RuntimeError):
    """Another active run loads the tables."""


class Job(TypedDict):
    """A table to load, as plain data that Airflow passes between tasks.

    Keys:
        table: its name.
        source: address of the CSV, or the connection of the database.
        version: of what is written, without the number of the try.
        interval: of the run, UTC without a zone, if it has one; else empty.
        rebuild: read everything.
        force: take a source that has shrunk, or has not changed.
    """

    table: str
    source: str
    version: str
    interval: list[str]
    rebuild: bool
    force: bool


def lake_of(table: Table) -> Lake:
    """Return the lake with a table that is published by itself."""
    return open_lake(settings(), alone(table))


def fail_without_retry() -> AbstractContextManager[None]:
    """Fail the task without a retry for errors that a retry cannot fix."""
    return unrecoverable(PlanError, LakeError, ContractError, DatabaseError)


def first_day() -> datetime:
    """Return the start of the first day that is scheduled."""
    day = date.fromisoformat(warehouse_settings().first_day)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def plan(context: Context) -> list[Job] | None:
    """Return what to load, a job a table; None while another run loads the tables."""
    params: dict[str, Any] = context["params"]
    tables, config = raw_tables(), warehouse_settings()
    if unknown := [name for name in params["tables"] if name not in tables]:
        raise PlanError(f"The warehouse has no raw table {unknown[0]!r}: its tables are {', '.join(tables)}.")
    if _take_lease(context["ti"]) is not None:
        return None
    chosen = [table for name, table in tables.items() if name in params["tables"] or not params["tables"]]
    interval = []
    # Of a run that somebody starts the interval is that of no load: it loads what there is.
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start and end and context["dag_run"].run_type in ("scheduled", "backfill"):
        interval = [each.astimezone(UTC).replace(tzinfo=None).isoformat() for each in (start, end)]
    version = version_at(datetime.now(UTC))
    jobs = []
    for table in chosen:
        source = str(table.contract.properties["source"])
        if not is_incremental(table) and "://" not in source:
            source = str(params.get(source) or getattr(config, source))
            source = source.replace("{lake}", settings().lake)
        jobs.append(
            Job(
                table=table.name,
                source=source,
                version=version,
                interval=interval,
                rebuild=bool(params["rebuild"]),
                force=bool(params["force"]),
            )
        )
    return jobs


def load(job: Job, ti: Any) -> Loaded:
    """Write new versions of a table; nothing is published."""
    from taxiway.core.databases import connect
    from taxiway.warehouse import full, incremental

    table, config = raw_tables()[job["table"]], warehouse_settings()
    version, found = f"{job['version']}.{ti.try_number}", lake_of(table)
    try:
        if is_incremental(table):
            engine = connect(job["source"], begin="DEFERRED")
            interval = [datetime.fromisoformat(each) for each in job["interval"]]
            loaded = incremental.load(
                found,
                table,
                engine,
                version,
                config=config,
                interval=(interval[0], interval[1]) if interval else None,
                rebuild=job["rebuild"],
            )
            read = lineage.of_sql(engine.url, str(table.contract.properties["sourceTable"]))
        else:
            loaded = full.load(
                found,
                table,
                job["source"],
                version,
                shrink_below=config.shrink_below,
                scratch_dir=config.scratch_dir,
                again=job["force"] or job["rebuild"],
            )
            read = lineage.of_uri(job["source"])
    except LakeError as error:
        metrics.count("warehouse", "refused", table.name, getattr(error, "kind", "unreadable"), value=1)
        raise
    log.info("%s", summary(loaded))
    written = [lineage.of_table(table.pipeline, each.contract_name) for each in (table, REJECTED)]
    lineage.report(inputs=[read], outputs=written)
    return loaded


def check(loaded: Loaded, context: Context) -> Loaded:
    """Check the new versions of a table by its contract."""
    table = raw_tables()[loaded["table"]]
    s3 = lake_of(table).session.client("s3")
    results = []
    with TemporaryDirectory(prefix="taxiway-check-", dir=warehouse_settings().scratch_dir) as folder:
        for part in loaded["parts"]:
            file = Path(folder, PART)
            bucket, key = split(part["location"])
            s3.download_file(bucket, f"{key}/{PART}", str(file))
            results += quality.check(
                table,
                str(file),
                period=part["period"],
                counts=quality.Counts(source=part["source"], accepted=part["accepted"], rejected=part["rejected"]),
                history=quality.history(table, before=part["period"]),
            )
    quality.record(results, context)
    quality.require(results)
    return loaded


def publish(loaded: Loaded, ti: Any) -> bool:
    """Publish what was checked, and say until when the source was read; return whether readers see anything new.

    A task that somebody clears after another run has published leaves what that has published.
    """
    table = raw_tables()[loaded["table"]]
    _hold_lease(ti)
    found, rejected, moved = lake_of(table), lake_of(REJECTED), False
    for part in loaded["parts"]:
        rejected_period = f"{table.name}-{part_of(part['period'])}"
        both = (
            (rejected, rejected_period, part["rejected_location"], part["rejected"]),
            (found, part["period"], part["location"], part["accepted"]),
        )
        if any(_published_since(lake, period, loaded["began"], ti.run_id) for lake, period, *_ in both):
            log.warning("%s stays: another run has published it since.", f"{table.name} {part['period']}".rstrip())
            continue
        for lake, period, location, rows in both:
            name = lake.tables.anchor.name
            publication = Publication(
                period=period, inputs=part["inputs"], locations={name: location}, rows={name: rows}
            )
            moved = bool(lake.publish(publication, ti.run_id)) or moved
            lake.prune(period)
    told = found.parameters(table)
    # Nothing is published of a table whose source has never had a row.
    if told and told.get("loaded_until", "") <= loaded["annotations"]["loaded_until"]:
        found.annotate(table, **loaded["annotations"])
    with metrics.best_effort():
        _send(found, loaded)
    return moved


def _published_since(lake: Lake, period: str, began: float, run_id: str) -> bool:
    """Return whether another run has published a period after a load began, which so has not seen it."""
    now = lake.partition(lake.tables.anchor, period)
    if now is None or now.parameters["run_id"] == run_id:
        return False
    return datetime.fromisoformat(now.parameters["published_at"]).timestamp() > began


def _send(found: Lake, loaded: Loaded) -> None:
    name = loaded["table"]
    if loaded["parts"]:
        metrics.rows_checked(name, sum(part["accepted"] for part in loaded["parts"]), loaded["reasons"])
    for kind in ("inserted", "updated", "deleted", "removed", "repaired"):
        metrics.count("warehouse", "changes", name, kind, value=loaded["changes"].get(kind, 0))
    for reason in REFUSED:
        metrics.count("warehouse", "refused", name, reason, value=0)
    metrics.gauge("warehouse", "load_s", name, value=time.time() - loaded["began"])
    if mark := loaded["annotations"].get("mark"):
        metrics.gauge("warehouse", "mark", name, value=datetime.fromisoformat(mark).replace(tzinfo=UTC).timestamp())
    metrics.freshness(found)


def _take_lease(ti: Any) -> str | None:
    return lease.take_for_run(open_lake(settings(), TABLES), "warehouse_loads", ti)


def _hold_lease(ti: Any) -> None:
    if holder := _take_lease(ti):
        raise BusyError(f"The run {holder} loads the tables now: this task waits for its end, and is tried again.")
