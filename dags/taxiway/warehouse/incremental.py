"""Incremental load: what has changed in a service's database since the mark, merged into the months that it touches.

The mark is the highest ``modified_at`` that is published, kept with the table in Glue. What it cannot find is found by
comparison: rows changed without a new ``modified_at`` in a slice of the keys, another one at each load, and removed
rows by all keys now and then. A month in which something differs is read again as a whole.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from taxiway.core.sql import literal
from taxiway.lake import Lake, Partition
from taxiway.lake.csv_file import open_scratch
from taxiway.lake.source import SourceError
from taxiway.lake.tables import Table
from taxiway.warehouse import rows
from taxiway.warehouse.loads import Loaded, Part
from taxiway.warehouse.service import ConditionError, ServiceTable
from taxiway.warehouse.settings import WarehouseSettings
from taxiway.warehouse.tables import REJECTED, alone, part_of

KINDS = ("inserted", "updated", "deleted", "removed", "repaired")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC without a zone, as in the lake


class MarkError(SourceError):
    """The mark is later than the source's clock."""

    kind = "mark"


@dataclass(frozen=True)
class Window:
    """The times of change that a load reads, whole seconds from ``start`` until before ``end``, UTC without a zone."""

    start: datetime
    end: datetime


def window(
    mark: datetime, now: datetime, interval: tuple[datetime, datetime] | None, config: WarehouseSettings
) -> Window:
    """Return what a load reads: since the mark, or, for an interval that is over, that interval; with an overlap.

    Args:
        mark: highest time of change that is published.
        now: of the source.
        interval: of a scheduled or backfilled run.
        config: the overlap, and how close to now a load goes.
    """
    overlap = timedelta(minutes=config.overlap_minutes)
    newest = (now - timedelta(seconds=config.safety_s)).replace(microsecond=0)
    if interval and interval[1] <= mark:
        return Window((interval[0] - overlap).replace(microsecond=0), min(interval[1], newest))
    start = min(mark, interval[0]) if interval else mark
    return Window((start - overlap).replace(microsecond=0), newest)


@dataclass
class _Load:
    """A load under way."""

    lake: Lake
    table: Table
    source: ServiceTable
    database: duckdb.DuckDBPyConnection
    scratch: Path
    version: str
    published: Mapping[str, Partition]
    parts: list[Part] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(KINDS, 0)))
    highest: datetime | None = None

    @cached_property
    def rejected(self) -> Lake:
        return replace(self.lake, tables=alone(REJECTED))

    @property
    def columns(self) -> str:
        return ", ".join(f'"{name}"' for name in self.table.columns)

    @property
    def keys(self) -> str:
        return ", ".join(f'"{name}"' for name in self.table.key)

    def number(self, query: str) -> int:
        found: Any = self.database.execute(query).fetchone()
        return int(found[0] or 0)


def load(
    lake: Lake,
    table: Table,
    engine: sa.Engine,
    version: str,
    *,
    config: WarehouseSettings,
    interval: tuple[datetime, datetime] | None = None,
    rebuild: bool = False,
) -> Loaded:
    """Write the months that have changed as new versions; nothing is published.

    Args:
        lake: with the table as its set.
        table: the raw table, whose contract says ``load: incremental``.
        engine: of the service's database.
        version: of what is written.
        config: overlap, safety, comparison.
        interval: of a scheduled or backfilled run, UTC without a zone.
        rebuild: read everything, as if nothing were published.

    Raises:
        SourceError: the source cannot be used, or is not what loading it incrementally relies on.
    """
    began = time.time()
    source = ServiceTable(engine, table)
    source.check(config.clock_skew_s)
    told, published = lake.parameters(table), lake.partitions(table)
    mark = datetime.fromisoformat(told["mark"]) if "mark" in told else None
    if mark and mark > source.now + timedelta(seconds=config.clock_skew_s):
        if not rebuild:
            raise MarkError(
                f"The mark of {table.name} is {mark}, ahead of its source's clock ({source.now:%Y-%m-%d %H:%M:%S} "
                "UTC): a row has a time of change in the future. Correct it in the source, and run the DAG with the "
                "parameter rebuild."
            )
        mark = None  # that of what is read now is right
    with (
        TemporaryDirectory(prefix="taxiway-load-", dir=config.scratch_dir) as folder,
        open_scratch(Path(folder)) as database,
    ):
        under_way = _Load(lake, table, source, database, Path(folder), version, published)
        annotations = {}
        if mark is None or rebuild:
            end = source.now - timedelta(seconds=config.safety_s)
            for month in sorted({*source.months(), *published}):
                _reload(under_way, month, Window(_EPOCH, end))
            annotations["keys_compared_at"] = source.now.isoformat(timespec="seconds")
        else:
            read = window(mark, source.now, interval, config)
            end = read.end
            due = _keys_due(told, source.now, config)
            _load_changes(under_way, read, config.sample_slices, all_keys=due)
            if due:
                annotations["keys_compared_at"] = source.now.isoformat(timespec="seconds")
    highest = max(filter(None, (mark, under_way.highest)), default=None)
    if highest:
        annotations["mark"] = highest.isoformat()
    until = (
        max(end, datetime.fromisoformat(told["loaded_until"]).replace(tzinfo=None)) if "loaded_until" in told else end
    )
    annotations["loaded_until"] = until.replace(tzinfo=UTC).isoformat(timespec="seconds")
    return Loaded(
        table=table.name,
        parts=under_way.parts,
        reasons=dict(under_way.reasons),
        changes=dict(under_way.changes),
        annotations=annotations,
        began=began,
        note="",
    )


def _keys_due(told: Mapping[str, str], now: datetime, config: WarehouseSettings) -> bool:
    if "keys_compared_at" not in told:
        return True
    return now - datetime.fromisoformat(told["keys_compared_at"]) >= timedelta(days=config.compare_keys_days)


def _load_changes(load: _Load, read: Window, slices: int, *, all_keys: bool) -> None:
    """Merge what changed in a window, and read the months again in which a comparison finds differences."""
    source, database = load.source, load.database
    source.read(database, "incoming", source.within(source.mark, read.start, read.end))
    rows.judge(database, load.table, judged="changes")
    _note_highest(load, "changes")
    again = _differing_months(load, (source.now - _EPOCH).days % slices, slices)
    if all_keys:
        again |= _months_of_other_keys(load)
    created = f'"{load.source.created.name}"'
    touched = {
        month for (month,) in database.execute(f"select distinct strftime({created}, '%Y-%m') from changes").fetchall()
    }
    # What is merged into a version that somebody took back would lack what was taken back.
    again |= {
        month for month in touched if month in load.published and load.published[month].parameters.get("rolled_back")
    }
    for month in sorted(touched | again):
        if month in again:
            _reload(load, month, read)
        else:
            _merge(load, month)


def _differing_months(load: _Load, number: int, of: int) -> set[str]:
    """Return the months in which rows of a slice of the keys differ from the source, other than those that changed."""
    database, table = load.database, load.table
    if not load.published:
        return set()
    if table.columns[table.key[0]] not in ("int", "bigint"):
        raise ConditionError(
            f"The key of {table.name} does not begin with an integer, by which a part of the rows could be compared: "
            "declare load: full in its contract."
        )
    load.source.read(database, "incoming", load.source.in_slice(number, of))
    rows.judge(database, table, judged="of_source")
    created = f'"{load.source.created.name}"'
    database.execute(
        f"create or replace table of_lake as select {load.columns} from of_source where false",
    )
    for month in load.published:
        _read_published(
            load,
            month,
            f'insert into of_lake select {load.columns} from batch where "{table.key[0]}" % {of} = {number}',
        )
    found = database.execute(
        f"""
        with differ as (
            (select {load.columns} from of_source where _reason is null except select {load.columns} from of_lake)
            union all
            (select {load.columns} from of_lake except select {load.columns} from of_source where _reason is null)
        )
        select distinct strftime({created}, '%Y-%m') from differ anti join changes using ({load.keys})
        """
    ).fetchall()
    return {month for (month,) in found}


def _months_of_other_keys(load: _Load) -> set[str]:
    """Return the months whose keys are not those of the source: rows were removed there, or have moved."""
    database = load.database
    load.source.read_keys(database, "keys_of_source")
    database.execute("create or replace table keys_of_lake as from keys_of_source where false")
    for month in load.published:
        _read_published(
            load, month, f"insert into keys_of_lake select {load.keys}, {literal(month)} from batch", load.table.key
        )
    database.execute("create or replace table rejected_keys (row_key varchar, _month varchar)")
    for month in load.published:
        found = load.rejected.partition(REJECTED, f"{load.table.name}-{part_of(month)}")
        if found and found.parameters["rows"] != "0":
            for batch in load.rejected.batches(found.location, ["row_key"]):
                rows.insert(database, batch, f"insert into rejected_keys select row_key, {literal(month)} from batch")
    key = rows.row_key(load.table)
    found_months = database.execute(
        f"""
        with new as (
            select *, {key} as row_key from keys_of_source anti join keys_of_lake using ({load.keys}, _month)
        )
        select _month from keys_of_lake anti join keys_of_source using ({load.keys}, _month)
        union
        select _month from new anti join rejected_keys using (row_key, _month) anti join changes using ({load.keys})
        union
        select _month from rejected_keys
        anti join (select {key} as row_key, _month from keys_of_source) using (row_key, _month)
        """
    ).fetchall()
    return {month for (month,) in found_months}


def _reload(load: _Load, month: str, read: Window) -> None:
    """Read a month again as a whole."""
    database = load.database
    load.source.read(database, "incoming", load.source.in_month(month))
    rows.judge(database, load.table, judged="judged")
    load.highest = max(filter(None, (load.highest, _highest(load, "judged", before=read.end))), default=None)
    _published_month(load, month)
    mark, keys = f'"{load.source.mark.name}"', load.keys
    load.changes["removed"] += load.number(f"select count(*) from old anti join judged using ({keys})")
    load.changes["repaired"] += load.number(
        f"select count(*) from (select {load.columns} from judged where _reason is null "
        f"except select {load.columns} from old) semi join old using ({keys}) where {mark} < {_time(read.start)}"
    )
    _count_changes(load, f"select * from judged where {mark} >= {_time(read.start)}")
    accepted, rejected = f"select {load.columns} from judged where _reason is null", rows.rejected_of(load.table)
    is_new = month not in load.published
    if is_new or _differ(load, accepted, "from old") or _differ(load, rejected, "from was_rejected"):
        _write(load, month, accepted, rejected, load.number("select count(*) from judged"))


def _merge(load: _Load, month: str) -> None:
    """Replace the rows of a month that have changed, if they differ from those published."""
    database, created = load.database, f'"{load.source.created.name}"'
    _published_month(load, month)
    of_month = f"strftime({created}, '%Y-%m') = {literal(month)}"
    database.execute(f"create or replace table of_month as select * from changes where {of_month}")
    _count_changes(load, "from of_month")
    key = rows.row_key(load.table)
    database.execute(f"delete from old_rejected where row_key in (select {key} from of_month)")
    # Only the rows with these keys can differ.
    new, old = f"select {load.columns} from of_month where _reason is null", f"select {load.columns} from old"
    rejected = _rejected(load, "of_month", "old_rejected")
    replaced = f"{old} semi join of_month using ({load.keys})"
    is_new = month not in load.published
    if not (is_new or _differ(load, new, replaced) or _differ(load, rejected, "from was_rejected")):
        return
    kept = f"{old} anti join of_month using ({load.keys})"
    source = sum(load.number(f"select count(*) from {each}") for each in ("of_month", "old_rejected", f"({kept})"))
    _write(load, month, f"{new} union all {kept}", rejected, source)


def _rejected(load: _Load, judged: str, kept: str) -> str:
    """Return the query of a month's rejected rows: those of ``judged`` and those that are kept."""
    return f"({rows.rejected_of(load.table, judged)}) union all by name from {kept}"


def _write(load: _Load, month: str, accepted: str, rejected: str, source: int) -> None:
    """Write a month, its rows in the order of their keys, so that the same rows are the same file."""
    rejected = f"from ({rejected}) order by row_key, source_row, reject_reason"
    load.parts.append(
        rows.write_part(
            load.lake,
            load.database,
            load.table,
            period=month,
            version=load.version,
            inputs=f"{load.table.contract.properties['source']} {load.source.now.isoformat(timespec='seconds')}",
            source=source,
            accepted=f"from ({accepted}) order by {load.keys}",
            rejected=rejected,
            scratch=load.scratch,
        )
    )
    load.reasons.update(rows.reasons(load.database, rejected))


def _differ(load: _Load, one: str, other: str) -> bool:
    query = f"from (({one}) except all ({other})) union all from (({other}) except all ({one}))"
    return load.number(f"select count(*) from ({query})") > 0


def _count_changes(load: _Load, changed: str) -> None:
    """Count what the changed rows do to the published month ``old``."""
    deleted = f'"{load.table.contract.properties["deleted"]}"'
    is_same_key = " and ".join(f'new."{name}" = old."{name}"' for name in load.table.key)
    kinds = f"""
        select case when old."{load.table.key[0]}" is null then 'inserted'
            when new.{deleted} is not null and old.{deleted} is null then 'deleted' else 'updated' end as kind, count(*)
        from (from ({changed}) where _reason is null) as new
        left join old on {is_same_key}
        where old."{load.table.key[0]}" is null or ({_struct(load, "new")}) is distinct from ({_struct(load, "old")})
        group by 1
        """
    load.changes.update(dict(load.database.execute(kinds).fetchall()))


def _struct(load: _Load, relation: str) -> str:
    return "{" + ", ".join(f"{literal(name)}: {relation}." + f'"{name}"' for name in load.table.columns) + "}"


def _published_month(load: _Load, month: str) -> None:
    """Read what is published of a month into ``old``, ``old_rejected`` and ``was_rejected``."""
    database = load.database
    rows.create_incoming(database, load.table, "old")
    database.execute("alter table old drop _line; alter table old drop _wrong; alter table old drop _raw")
    types = ", ".join(f"{name} {rows.duckdb_type(REJECTED, name)}" for name in REJECTED.columns)
    database.execute(f"create or replace table old_rejected ({types})")
    if month in load.published:
        _read_published(load, month, f"insert into old select {load.columns} from batch")
        found = load.rejected.partition(REJECTED, f"{load.table.name}-{part_of(month)}")
        if found:
            for batch in load.rejected.batches(found.location, list(REJECTED.columns)):
                rows.insert(database, batch, "insert into old_rejected from batch")
    database.execute("create or replace table was_rejected as from old_rejected")


def _read_published(load: _Load, month: str, statement: str, columns: tuple[str, ...] | None = None) -> None:
    names = list(columns or load.table.columns)
    for batch in load.lake.batches(load.published[month].location, names):
        rows.insert(load.database, _widened(batch, names), statement)


def _widened(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Return a batch with nulls for columns that its contract did not have yet."""
    for name in (name for name in names if name not in batch.schema.names):
        batch = batch.append_column(name, pa.nulls(batch.num_rows))
    return batch


def _note_highest(load: _Load, relation: str) -> None:
    load.highest = max(filter(None, (load.highest, _highest(load, relation))), default=None)


def _highest(load: _Load, relation: str, before: datetime | None = None) -> datetime | None:
    mark = f'"{load.source.mark.name}"'
    where = f" where {mark} < {_time(before)}" if before else ""
    found: Any = load.database.execute(f"select max({mark}) from {relation}{where}").fetchone()
    return found[0] if found else None


def _time(at: datetime) -> str:
    return f"timestamp {literal(at.isoformat(sep=' '))}"
