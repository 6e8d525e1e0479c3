"""What the contracts say of how long data is kept, and what follows: what may go, what moves to a colder storage class.

A contract says it by the service level ``retention`` (``unlimited``, or a number of ``d``, ``month`` or ``y``) and by
custom properties of its table: ``legalHold``, ``coldAfterMonths`` and ``reads`` (contracts/README.md). A period of a
table is a partition by time; it may go when it ended that long ago. Nothing here deletes but :func:`delete`, which
looks again first.

    python -m taxiway.operations.retention list     what would go, what stays and why, what nobody reads
"""

import argparse
import logging
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypedDict

from botocore.exceptions import BotoCoreError, ClientError

from taxiway.core import contracts
from taxiway.core.contracts import Contract, ContractError
from taxiway.core.s3 import split
from taxiway.core.settings import Settings, SettingsError, settings
from taxiway.operations import lineage, query_history
from taxiway.operations.lineage import Reader
from taxiway.operations.metrics import end_if_time

log = logging.getLogger(__name__)

UNLIMITED = "unlimited"
_UNITS = {"d": "days", "day": "days", "month": "months", "months": "months", "y": "years", "year": "years"}
# The folder of a period below that of its table.
_PERIOD = re.compile(r"year=(\d{4})/month=(\d\d)(?:/day=(\d\d)(?:/hour=(\d\d))?)?/")
_AT_ONCE = 1000  # objects of one request
_PARTITIONS_AT_ONCE = 25  # of one request
_WARM = ("STANDARD", "")
# Where data may be read at once, unlike in the other classes.
COLD = "GLACIER_IR"

Readers = Mapping[str, Reader]  # by table


class RetentionError(RuntimeError):
    """Data could not be deleted or moved; the text is one sentence."""


class Old(TypedDict):
    """A period that may go, as plain data that Airflow passes between tasks.

    Keys:
        table: its name in Glue.
        period: such as ``2023-01``.
        folder: ``s3://…/``, with a slash at the end.
        objects, bytes: what lies there, all versions of it.
        written: when the newest of them was written (ISO 8601); empty if there are none.
        published: whether the catalogue has it.
        reader: who read the table last, when, and what says so; empty if none is known.
    """

    table: str
    period: str
    folder: str
    objects: int
    bytes: int
    written: str
    published: bool
    reader: str


@dataclass(frozen=True)
class Rule:
    """How long the data of a table is kept.

    Attributes:
        amount, unit: such as 24 ``months``; the amount is 0 for data that is kept for ever.
        hold_until: last day of a legal hold; ``date.max`` if it has no end, None if there is none.
        hold_why: its reason.
        cold_months: months after its end at which a period moves to a colder storage class; 0: never.
    """

    amount: int
    unit: str
    hold_until: date | None
    hold_why: str
    cold_months: int

    def begins(self, now: datetime) -> datetime | None:
        """Return the time before which a period must have ended to go; None if none goes."""
        if not self.amount:
            return None
        if self.unit == "days":
            return now - timedelta(days=self.amount)
        return months_before(now, self.amount * (12 if self.unit == "years" else 1))


@dataclass
class Survey:
    """What was found.

    Attributes:
        old: what may go.
        kept: a sentence for each table or period that is old and stays.
        cold: (bucket, key) of objects that are to move to a colder class, with their sizes.
        tables: names of the tables that the catalogue has.
    """

    old: list[Old] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    cold: dict[tuple[str, str], int] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)


def rule_of(contract: Contract) -> Rule:
    """Return the rule of a contract.

    Raises:
        ContractError: it is not one of those that there are.
    """
    where = f"contracts/{contract.pipeline}/{contract.name}.yaml"
    levels = {each["property"]: each for each in contract.raw.get("slaProperties", [])}
    level = levels.get("retention", {})
    value, unit = level.get("value", UNLIMITED), level.get("unit", "")
    if value == UNLIMITED:
        amount = 0
    elif isinstance(value, int) and not isinstance(value, bool) and value > 0 and unit in _UNITS:
        amount = value
    else:
        raise ContractError(
            f"{where} keeps data for {value!r} {unit}: write retention as unlimited, or a number of d, month or y."
        )
    hold = contract.properties.get("legalHold") or {}
    until = hold.get("until")
    if hold and (not str(hold.get("why", "")).strip() or not isinstance(until, date | None)):
        raise ContractError(f"{where} has a legalHold without a reason or with a date that is none: write until, why.")
    cold = contract.properties.get("coldAfterMonths", 0)
    if not isinstance(cold, int) or cold < 0:
        raise ContractError(f"{where} moves data after {cold!r} months: write coldAfterMonths as a whole number.")
    return Rule(amount, _UNITS.get(unit, ""), (until or date.max) if hold else None, str(hold.get("why", "")), cold)


def months_before(now: datetime, months: int) -> datetime:
    """Return the first instant of the month that many months before that of a time."""
    month = now.year * 12 + now.month - 1 - months
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


def needed_months(every: Collection[Contract]) -> dict[str, tuple[int, str]]:
    """Return for each table that others read how many of its newest months they read, and which contract says so.

    ``reads`` of a table lists others (``table``, ``months``); ``baselineMonths`` are earlier months of itself.

    Raises:
        ContractError: one of them names no table, or no number of months.
    """
    found: dict[str, tuple[int, str]] = {}
    tables = {each.table for each in every}
    for contract in every:
        own = contract.properties.get("baselineMonths")
        reads = [*contract.properties.get("reads", []), *([{"table": contract.table, "months": own}] if own else [])]
        for each in reads:
            table, months = each.get("table"), each.get("months")
            if table not in tables or not isinstance(months, int) or isinstance(months, bool) or months < 1:
                raise ContractError(
                    f"contracts/{contract.pipeline}/{contract.name}.yaml reads {months!r} months of {table!r}: write "
                    "the name of a table that has a contract, and a number of months."
                )
            found[table] = max(found.get(table, (0, "")), (months, contract.table))
    return found


def survey(session: Any, config: Settings, now: datetime, readers: Readers, only: Collection[str] = ()) -> Survey:
    """Look at all tables, files and staged records that have a contract; nothing is changed.

    Args:
        session: a ``boto3.Session``.
        config: where the lake and the catalogue are.
        now: what is old is measured from it.
        readers: see :data:`Readers`.
        only: names of tables to look at; empty: all.

    Raises:
        ContractError: a contract's rule cannot be used.
    """
    s3, glue, found = session.client("s3"), session.client("glue"), Survey()
    every = [contracts.read(pipeline, name) for pipeline in contracts.pipelines() for name in contracts.names(pipeline)]
    every = [each for each in every if each.raw["schema"][0]["physicalType"] in ("table", "file", "staging")]
    every += [days for each in every if (days := contracts.compacted(each))]
    needed = needed_months(every)
    for contract in sorted(every, key=lambda each: each.table):
        if only and contract.table not in only:
            continue
        rule, published = rule_of(contract), _published(glue, config.glue_database, contract)
        if published is not None:
            found.tables.append(contract.table)
        begins = rule.begins(now)
        cools = months_before(now, rule.cold_months) if rule.cold_months else None
        if begins is None and cools is None:
            continue
        stored = _stored(s3, config.lake, contract)
        ended = {period: end_if_time(period) for period in sorted({*stored, *(published or ())})}
        found.kept += [
            f"{contract.table} of {period} stays: it is no time, so nobody knows how old it is; move it, or delete it "
            "by hand."
            for period, end in ended.items()
            if end is None
        ]
        known = {period: end for period, end in ended.items() if end}
        for period, end in known.items():
            folder, objects = stored.get(period, (_folder(config.lake, contract, period), []))
            if begins and end <= begins:
                if reason := _why_kept(rule, now, needed.get(contract.table), end, max(known.values())):
                    found.kept.append(f"{contract.table} of {period} stays: {reason}")
                    continue
                reader = readers.get(contract.table)
                found.old.append(
                    Old(
                        table=contract.table,
                        period=period,
                        folder=folder,
                        objects=len(objects),
                        bytes=sum(each["Size"] for each in objects),
                        written=max((each["LastModified"].isoformat() for each in objects), default=""),
                        published=period in (published or ()),
                        reader=f"{reader.who}, {reader.at:%Y-%m-%d} ({reader.source})" if reader else "",
                    )
                )
            elif cools and end <= cools:
                bucket, _ = split(config.lake)
                warm = (each for each in objects if each.get("StorageClass", "") in _WARM)
                found.cold |= {(bucket, each["Key"]): each["Size"] for each in warm}
    return found


def _why_kept(rule: Rule, now: datetime, needed: tuple[int, str] | None, end: datetime, newest: datetime) -> str | None:
    """Return why a period that is old must stay; None if it may go."""
    if rule.hold_until and now.date() <= rule.hold_until:
        until = "" if rule.hold_until == date.max else f" until {rule.hold_until}"
        return f"it is under a legal hold{until} ({rule.hold_why})."
    if needed and end > months_before(newest, needed[0]):
        return f"{needed[1]} reads its newest {needed[0]} months, and it is one of them."
    return None


def _published(glue: Any, database: str, contract: Contract) -> set[str] | None:
    """Return the periods of a table that the catalogue has; None if it has no such table."""
    try:
        glue.get_table(DatabaseName=database, Name=contract.table)
        pages = glue.get_paginator("get_partitions").paginate(
            DatabaseName=database, TableName=contract.table, ExcludeColumnSchema=True
        )
        values = [each["Values"] for page in pages for each in page["Partitions"]]
    except glue.exceptions.EntityNotFoundException:
        return None
    return {"-".join(each) for each in values} if _by_time(contract) else set()


def _by_time(contract: Contract) -> bool:
    return contract.partition_keys[:2] == ("year", "month")


def _folder(lake: str, contract: Contract, period: str) -> str:
    parts = zip(("year", "month", "day", "hour"), period.split("-"), strict=False)
    return "/".join([lake, contract.path, *(f"{name}={value}" for name, value in parts), ""])


def _stored(s3: Any, lake: str, contract: Contract) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Return the folder and the objects of each period below a table's folder, whether or not it is published."""
    bucket, prefix = split(f"{lake}/{contract.path}/")
    found: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for each in _objects(s3, bucket, prefix):
        if place := _PERIOD.match(each["Key"].removeprefix(prefix)):
            parts = [part for part in place.groups() if part]
            if len(parts) < len(contract.partition_keys):
                continue  # a folder's own object, above those of its periods
            period = "-".join(parts)
            found.setdefault(period, (f"s3://{bucket}/{prefix}{place[0]}", []))[1].append(each)
    return found


def _objects(s3: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


# ── What is done ────────────────────────────────────────────────────────────────────────────────────────────────────


def delete(session: Any, config: Settings, approved: Sequence[Old], now: datetime) -> tuple[list[str], list[str]]:
    """Delete periods that were approved, those of a table from the catalogue first, then their objects.

    What may not go any more stays: its contract has changed, or it was written to since.

    Returns:
        a sentence for each period that is gone, and for each that stays.

    Raises:
        RetentionError: the catalogue or S3 refused; what is left is found by the next survey.
    """
    may_go = {(each["table"], each["period"]): each for each in _old_now(session, config, approved, now)}
    s3, glue, gone, stays = session.client("s3"), session.client("glue"), [], []
    by_table: dict[str, list[Old]] = defaultdict(list)
    for each in approved:
        found = may_go.get((each["table"], each["period"]))
        if found is None:
            stays.append(
                f"{each['table']} of {each['period']} stays: it is gone already, or its contract keeps it now."
            )
        elif found["written"] > each["written"] or found["folder"] != each["folder"]:
            stays.append(f"{each['table']} of {each['period']} stays: it was written to after it was listed.")
        else:
            by_table[each["table"]].append(found)
    for table, periods in by_table.items():
        _unpublish(glue, config.glue_database, table, [each["period"] for each in periods if each["published"]])
        for each in periods:
            _remove(s3, each["folder"])
            size = f"{each['objects']:,} objects, {each['bytes'] / 1e6:,.1f} MB"
            gone.append(f"{table} of {each['period']} is deleted: {size}.")
    return gone, stays


def _old_now(session: Any, config: Settings, approved: Sequence[Old], now: datetime) -> list[Old]:
    tables = {each["table"] for each in approved}
    return survey(session, config, now, {}, tables).old if tables else []


def _unpublish(glue: Any, database: str, table: str, periods: Sequence[str]) -> None:
    for start in range(0, len(periods), _PARTITIONS_AT_ONCE):
        values = [{"Values": each.split("-")} for each in periods[start : start + _PARTITIONS_AT_ONCE]]
        answer = glue.batch_delete_partition(DatabaseName=database, TableName=table, PartitionsToDelete=values)
        faults = [each["ErrorDetail"] for each in answer.get("Errors", [])]
        if faults := [each for each in faults if each["ErrorCode"] != "EntityNotFoundException"]:
            raise RetentionError(
                f"The catalogue did not delete {len(faults)} partitions of {table} ({faults[0]['ErrorMessage']}): "
                "their objects were not touched; clear the task."
            )


def _remove(s3: Any, folder: str) -> None:
    bucket, prefix = split(folder)
    keys = [{"Key": each["Key"]} for each in _objects(s3, bucket, prefix)]
    for start in range(0, len(keys), _AT_ONCE):
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys[start : start + _AT_ONCE], "Quiet": True})
        if faults := answer.get("Errors"):
            raise RetentionError(
                f"S3 did not delete {len(faults)} objects of {folder} ({faults[0].get('Message', faults[0]['Code'])}): "
                "clear the task."
            )


def cool(session: Any, objects: Mapping[tuple[str, str], int]) -> int:
    """Move objects to :data:`COLD`, where they are read as before; return how many bytes that are."""
    s3 = session.client("s3")
    for bucket, key in objects:
        # In parts where an object is large, which copy_object cannot.
        s3.copy({"Bucket": bucket, "Key": key}, bucket, key, ExtraArgs={"StorageClass": COLD})
    return sum(objects.values())


# ── What people are told ────────────────────────────────────────────────────────────────────────────────────────────


def unused(tables: Sequence[str], readers: Readers, days: int, now: datetime) -> list[str]:
    """Return a sentence for each table that nothing is known to have read for that many days."""
    sentences = []
    for table in tables:
        reader = readers.get(table)
        if reader is None:
            sentences.append(f"{table}: no reader is known.")
        elif reader.at < now - timedelta(days=days):
            sentences.append(f"{table}: last read on {reader.at:%Y-%m-%d}, by {reader.who} ({reader.source}).")
    return sentences


def rows_of(old: Sequence[Old]) -> list[tuple[str, ...]]:
    """Return what may go as the rows of a table, a line a table, the first one its headings."""
    by_table: dict[str, list[Old]] = defaultdict(list)
    for each in old:
        by_table[each["table"]].append(each)
    rows: list[tuple[str, ...]] = [("table", "periods", "objects", "MB", "last reader")]
    for table, periods in by_table.items():
        span = periods[0]["period"] if len(periods) == 1 else f"{periods[0]['period']} to {periods[-1]['period']}"
        megabytes = sum(each["bytes"] for each in periods) / 1e6
        count = sum(each["objects"] for each in periods)
        rows.append((table, f"{len(periods)}: {span}", f"{count:,}", f"{megabytes:,.1f}", periods[0]["reader"] or "–"))
    return rows


def as_markdown(old: Sequence[Old], kept: Sequence[str]) -> str:
    """Return what may go, and what stays although it is old, for a person who has to approve it."""
    head, *rows = rows_of(old)
    lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
    return "\n".join([*lines, "", *(f"* {sentence}" for sentence in kept)])


def readers_of(session: Any, config: Settings, now: datetime) -> tuple[Readers, list[str]]:
    """Return who read each table last by lineage and Athena, and a sentence for each thing that is not known."""
    found: dict[str, Reader] = lineage.last_readers(session.client("s3"), config.lake)
    asked, gaps = query_history.last_readers(session.client("athena"), config, now)
    for table, reader in asked.items():
        if table not in found or found[table].at < reader.at:
            found[table] = reader
    return found, gaps


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m taxiway.operations.retention", description="What may be deleted.")
    parser.add_subparsers(dest="command", required=True).add_parser("list", help="show it; nothing is changed")
    parser.parse_args(arguments)
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

        config, now = settings(), datetime.now(UTC)
        session = AwsGenericHook(aws_conn_id=config.aws_conn_id).get_session()
        readers, gaps = readers_of(session, config, now)
        found = survey(session, config, now, readers)
    except (ContractError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"AWS did not answer as it should: {error}.\n")
        return 1
    sys.stdout.write("\n".join(describe(found, readers, gaps, config, now)) + "\n")
    return 0


def describe(found: Survey, readers: Readers, gaps: Sequence[str], config: Settings, now: datetime) -> list[str]:
    """Return the lines that say what was found; readers and gaps as of :func:`readers_of`."""
    lines = ["Nothing is old enough to go."]
    if found.old:
        rows = rows_of(found.old)
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines = ["Would go, if it is approved in the DAG retention:"]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    lines += found.kept
    if found.cold:
        lines.append(f"{len(found.cold):,} objects would move to {COLD}: {sum(found.cold.values()) / 1e6:,.1f} MB.")
    idle = unused(found.tables, readers, config.retention_unused_days, now)
    return [*lines, *([f"Not read for {config.retention_unused_days} days:", *idle] if idle else []), *gaps]


if __name__ == "__main__":
    sys.exit(main())
