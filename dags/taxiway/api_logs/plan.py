"""The plan of a run of ``api_logs_etl``: its arrival hours, the hours of events that it builds, and their batches.

Objects lie in the folder of the hour in which they ARRIVED; an event belongs to the hour in which it OCCURRED. A run
takes arrival hours, and builds every hour of events that they touch, as a whole, from all arrivals that hold events of
it: so the result does not depend on the order of runs. An arrival hour is taken again if its objects are others than
those that the published version was made from: one arrived late, or was replaced.
"""

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict

from taxiway.api_logs import hours
from taxiway.api_logs.tables import EVENTS, OBJECT, duplicate_hours, late_hours
from taxiway.core.errors import RetryableError
from taxiway.core.s3 import is_data_file, split
from taxiway.lake import Lake, Partition, Table, version_at
from taxiway.operations import retention

log = logging.getLogger(__name__)

BUILD_ROWS = 500_000  # that a task builds at least, if there are so many
NOTHING = hashlib.sha256().hexdigest()  # the digest of an hour without objects


class PlanError(RuntimeError):
    """The run cannot be planned as requested; the text is one sentence."""


class TooEarlyError(PlanError, RetryableError):
    """An arrival hour has not ended yet."""


class Batch(TypedDict):
    """Hours that one task takes, as plain data that Airflow passes between tasks.

    Keys:
        plan: time of the plan, the first part of the versions that its tasks write.
        hours: in order.
    """

    plan: str
    hours: list[str]


class Converted(TypedDict):
    """An arrival hour after its conversion: references and counts.

    Keys:
        hour: of arrival.
        version: of its staged files.
        inputs: see :attr:`Listing.digest`.
        objects: number of its objects; 0 is an hour in which nothing arrived.
        bytes: of its objects.
        records: lines that were read.
        staged: hour of events → accepted records.
        quarantined: reason → records; all reasons but ``duplicate``, which shows when an hour is built.
        keys_missing: id of a key that there is not → records.
    """

    hour: str
    version: str
    inputs: str
    objects: int
    bytes: int
    records: int
    staged: dict[str, int]
    quarantined: dict[str, int]
    keys_missing: dict[str, int]


@dataclass(frozen=True)
class Listing:
    """The objects of an arrival hour.

    Attributes:
        uris: in order.
        bytes: of all.
        digest: SHA-256 of their names, sizes and ETags.
    """

    uris: tuple[str, ...]
    bytes: int
    digest: str


def list_objects(s3: Any, lake: str, hour: str) -> tuple[Listing, datetime]:
    """Return the objects that arrived in an hour, and the time by S3's clock.

    Args:
        s3: a boto3 client.
        lake: ``s3://bucket[/prefix]``.
        hour: of arrival.
    """
    bucket, prefix = split(f"{OBJECT.contract.partition_folder(lake, hour)}/")
    found, now = [], datetime.now(UTC)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        found += page.get("Contents", [])
        if date := page["ResponseMetadata"]["HTTPHeaders"].get("date"):
            now = parsedate_to_datetime(date)
    data = sorted((each["Key"], each["Size"], each["ETag"]) for each in found
                  if is_data_file(each["Key"].removeprefix(prefix), each["Size"]))  # fmt: skip
    digest = hashlib.sha256("".join(f"{key} {size} {etag}\n" for key, size, etag in data).encode()).hexdigest()
    uris = tuple(f"s3://{bucket}/{key}" for key, _, _ in data)
    return Listing(uris, sum(size for _, size, _ in data), digest), now


def plan_run(
    requested: Collection[str],
    own: str | None,
    lake: Lake,
    s3: Any,
    *,
    recheck: int,
    again: bool,
    batches: "Batches",
    first: str,
    waiting: Collection[str] = (),
) -> list[Batch]:
    """Return the batches of arrival hours that a run converts; empty if all are published as they are.

    Args:
        requested: hours of the run's parameters; if there are any, the run takes no others.
        own: the hour of its data interval; None for a run without one.
        lake: has the published partitions.
        s3: a boto3 client.
        recheck: hours before ``own`` to take too, where their objects are not those that were published.
        again: whether to take the hours even if nothing changed.
        batches: makes batches of hours by their bytes.
        first: hour before which nothing is rechecked.
        waiting: hours with records that wait for a key, which are taken too.

    Raises:
        TooEarlyError: one of the hours has not ended by S3's clock.
        PlanError: no hour is given, or one that was asked for was built from objects that are not kept any more.
    """
    if not requested and not waiting and own is None:
        raise PlanError("This run has no logical date: give it the parameter hours, such as 2026-01-31-07.")
    wanted = sorted({*requested, *waiting}) or [
        hour for by in range(-recheck, 1) if (hour := hours.shift(str(own), by)) >= first or not by
    ]
    published = lake.partitions(EVENTS)
    sizes = {}
    for hour in wanted:
        listing, now = list_objects(s3, lake.settings.lake, hour)
        if now < hours.end(hour):
            raise TooEarlyError(
                f"The hour {hour} has not ended: S3's clock says {now:%Y-%m-%d %H:%M:%S} UTC. Take it later, or "
                "correct the clock of this machine."
            )
        is_own = hour == own or hour in requested
        if not listing.uris and is_past_retention(published.get(hour), OBJECT, now):
            if is_own:
                raise PlanError(
                    f"The hour {hour} was built from objects that are not kept any more: it stays as it is published."
                )
            log.warning("The hour %s stays as it is published: its objects are not kept any more.", hour)
            continue
        if again or _is_new(listing, published.get(hour), named=is_own):
            sizes[hour] = listing.bytes
            if not listing.uris:
                log.info("Nothing arrived in the hour %s: it is published as it is, with no records.", hour)
    stamp = version_at(datetime.now(UTC))
    return [Batch(plan=stamp, hours=chosen) for chosen in batches(sizes)]


def is_past_retention(published: Partition | None, table: Table, now: datetime) -> bool:
    """Return whether what a published arrival hour was made from may be gone: ``table`` is not kept as long."""
    if published is None or {digest_of(inputs) for inputs in published.processed_inputs} <= {"", NOTHING}:
        return False
    oldest = retention.rule_of(table.contract).begins(now)
    return oldest is not None and hours.end(published.period) <= oldest


def require_arrivals(built: Iterable[str], gone: Collection[str]) -> None:
    """Refuse to build hours of events whose records are not all there any more.

    Args:
        built: the hours to build.
        gone: arrival hours whose staged records are not kept any more.

    Raises:
        PlanError: one of them may hold records that an hour is built from.
    """
    for hour in built:
        window = [hours.shift(hour, by) for by in (-duplicate_hours(), duplicate_hours())]
        if lost := arrivals_of(window, gone):
            raise PlanError(
                f"The hour {hour} cannot be built again, as records that arrived in {lost[0]} are not kept any more: "
                "it stays as it is published. Take newer hours only."
            )


def _is_new(listing: Listing, published: Partition | None, *, named: bool) -> bool:
    """Return whether an arrival hour is to be taken: with objects if they changed, without any if it is asked for."""
    if published and listing.digest in {digest_of(inputs) for inputs in published.processed_inputs}:
        return False
    # An hour that was built from late arrivals alone has no inputs of its own yet.
    return named or bool(listing.uris) or bool(published and published.parameters["inputs"])


def inputs_of(digest: str, staged: str) -> str:
    """Return what a published arrival hour says that it was made from: its objects, and its staged version."""
    return f"{digest},{staged}"


def digest_of(inputs: str) -> str:
    """Return the digest of the objects that a published arrival hour was made from; empty if it is none."""
    return inputs.partition(",")[0]


def staged_of(inputs: str) -> str:
    """Return the version of the staged files that a published arrival hour was made from."""
    return inputs.partition(",")[2]


Batches = Callable[[Mapping[str, int]], list[list[str]]]


def by_size(least: int, most: int) -> Batches:
    """Return what makes batches of hours, in order, each of about the same size.

    Args:
        least: size that a batch has at least, if all hours together have it.
        most: number of batches.
    """

    def divide(sizes: Mapping[str, int]) -> list[list[str]]:
        total = sum(sizes.values())
        count = min(max(total // least, 1), most)
        found: list[list[str]] = [[] for _ in range(count)]
        before = 0
        for hour, size in sorted(sizes.items()):
            # By the middle of the hour, so that no batch takes an hour of which it has only the beginning.
            found[min((2 * before + size) * count // (2 * total or 1), count - 1)].append(hour)
            before += size
        return [each for each in found if each]

    return divide


def hours_to_build(converted: Iterable[Converted], former: Iterable[str], fed_later: Collection[str]) -> list[str]:
    """Return the hours of events that a run builds, in order.

    Args:
        converted: its arrival hours: each touches the hours of its events, and its own, published even if empty.
        former: hours of events that the versions before these fed, and that may lose their records.
        fed_later: hours with events of arrivals after the first of these. An hour with none is not changed by them: of
            two records of one id the one that arrived earlier is kept.
    """
    touched = {hour for each in converted for hour in (each["hour"], *each["staged"])} | set(former)
    near = {hours.shift(hour, by) for hour in touched for by in range(-duplicate_hours(), duplicate_hours() + 1)}
    return sorted(touched | (near & set(fed_later)))


def arrivals_of(events: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the known arrival hours that may hold hours of events: from the one before, for clocks that are ahead."""
    first, last = hours.shift(min(events), -1), hours.shift(max(events), late_hours())
    return sorted(arrival for arrival in known if first <= arrival <= last)


def arrival_of(source_object: str) -> str:
    """Return the hour in which an object arrived, by its folder."""
    return "-".join(part.partition("=")[2] for part in source_object.split("/")[:-1] if "=" in part)


def sizes_of(
    built: Sequence[str], converted: Iterable[Converted], published: Mapping[str, Partition]
) -> dict[str, int]:
    """Return about how many records each hour to build has: those of this run, and those that are published."""
    rows = {hour: int(published[hour].parameters["rows"]) if hour in published else 0 for hour in built}
    for each in converted:
        for hour, count in each["staged"].items():
            rows[hour] += count
    return rows
