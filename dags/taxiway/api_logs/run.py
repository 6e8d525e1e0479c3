"""A run of ``api_logs_etl``: data passed between its tasks, and the parts of its tasks that use Airflow's context."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from airflow.sdk import Context

from taxiway.api_logs import athena, checks, hours, summary
from taxiway.api_logs.athena import EVENTS_CANDIDATE, QUARANTINE_CANDIDATE, STAGED_CANDIDATE
from taxiway.api_logs.checks import Built, CheckError, Quarantined
from taxiway.api_logs.metrics import DATASET
from taxiway.api_logs.plan import (
    BUILD_ROWS,
    Batch,
    Converted,
    PlanError,
    arrival_of,
    arrivals_of,
    by_size,
    hours_to_build,
    inputs_of,
    is_past_retention,
    list_objects,
    plan_run,
    require_arrivals,
    sizes_of,
    staged_of,
)
from taxiway.api_logs.settings import api_logs_settings
from taxiway.api_logs.tables import DAILY, DAILY_ALONE, EVENTS, OBJECT, QUARANTINE, STAGED, TABLES, duplicate_hours
from taxiway.aws.athena import AthenaError
from taxiway.core.contracts import ContractError
from taxiway.core.errors import unrecoverable
from taxiway.core.lineage import Read
from taxiway.core.s3 import split
from taxiway.core.settings import settings
from taxiway.lake import Lake, LakeError, Partition, Publication, Table, open_lake
from taxiway.operations import lineage, metrics, notices, quality

log = logging.getLogger(__name__)

# Tasks whose results other tasks read.
PLAN, CONVERT, TOUCHED, BUILD, SETTLE = "plan", "convert", "touched", "build", "quarantine"
REPORTS = "reports/api_logs"
MOST_TOLD = 30  # days, or hours, that a notice names
HOURS = "{{ task.op_kwargs['batch']['hours'][0] }} … {{ task.op_kwargs['batch']['hours'][-1] }}"


def lake() -> Lake:
    """Return the lake with the pipeline's tables."""
    return open_lake(settings(), TABLES)


def fail_without_retry() -> AbstractContextManager[None]:
    """Fail the task without a retry for errors that a retry cannot fix."""
    return unrecoverable(PlanError, CheckError, AthenaError, LakeError, ContractError)


def plan(context: Context) -> list[Batch]:
    """Return the batches of arrival hours of a run."""
    params, config, waiting = context["params"], api_logs_settings(), set[str]()
    requested = set(params["hours"] and _expanded(params["hours"]))
    if key := params["key"]:
        waiting = {str(row["arrival"]) for row in athena.ask(hours_without_key=[key])["hours_without_key"].rows}
        if not requested | waiting:
            raise PlanError(f"No record of the quarantine waits for the key {key!r}: there is nothing to replay.")
    date = context.get("logical_date")
    found = lake()
    return plan_run(
        requested,
        hours.of(date) if date else None,
        found,
        found.session.client("s3"),
        recheck=config.recheck_hours,
        again=bool(params["again"] or key),
        batches=by_size(config.batch_mb << 20, config.max_batches),
        first=config.first_hour,
        waiting=waiting,
    )


def _expanded(given: list[str]) -> list[str]:
    try:
        return hours.expand(given)
    except ValueError as error:
        raise PlanError(str(error)) from None


def convert(batch: Batch, ti: Any) -> list[Converted]:
    """Convert the arrival hours of a batch."""
    from taxiway.api_logs import keys
    from taxiway.api_logs.convert import convert_objects
    from taxiway.api_logs.envelope import Opener
    from taxiway.api_logs.pseudonyms import Pseudonyms
    from taxiway.api_logs.records import Rules

    found, config = lake(), api_logs_settings()
    s3, read = found.session.client("s3"), keys.secrets_manager(found.session)
    opener = Opener(keys.KeyRing(read, config.key_prefix))
    pseudonyms = Pseudonyms(keys.pseudonym_key(read, config.pseudonym_key), config.pseudonym_days)
    version, done = f"{batch['plan']}.{ti.try_number}", []
    for hour in batch["hours"]:
        listing, _ = list_objects(s3, found.settings.lake, hour)
        counts = convert_objects(
            listing.uris,
            files=found.files,
            lake=found.settings.lake,
            target=found.location(STAGED, hour, version),
            rules=Rules(hour, config.skew_s),
            opener=opener,
            pseudonyms=pseudonyms,
        )
        log.info(
            "%s: %s objects, %s records, of which %s quarantined",
            *(hour, len(listing.uris), f"{counts['records']:,}", f"{sum(counts['quarantined'].values()):,}"),
        )
        done.append(
            Converted(
                hour=hour,
                version=version,
                inputs=listing.digest,
                objects=len(listing.uris),
                bytes=listing.bytes,
                records=counts["records"],
                staged=counts["staged"],
                quarantined=counts["quarantined"],
                keys_missing=counts["keys_missing"],
            )
        )
    lineage.report(inputs=[_told(OBJECT)], outputs=[_told(STAGED)])
    return done


def touched(ti: Any) -> list[Batch]:
    """Return batches of the hours of events that the run's arrivals touch."""
    found, converted, config = lake(), converted_of(ti), api_logs_settings()
    before, first = staged_versions(found, ()), min(each["hour"] for each in converted)
    done = {each["hour"] for each in converted}
    former = {hour for arrival in done & before.keys() for hour in staged_hours(found, arrival, before[arrival])}
    newest = max(former.union(*({each["hour"], *each["staged"]} for each in converted)))
    near = arrivals_of([first, hours.shift(newest, duplicate_hours())], before.keys() - done)
    fed_later = {hour for arrival in near if arrival > first for hour in staged_hours(found, arrival, before[arrival])}
    built = hours_to_build(converted, former, fed_later)
    published = found.partitions(EVENTS)
    span = [hours.shift(min(built), -duplicate_hours()), hours.shift(max(built), duplicate_hours())]
    needed = arrivals_of(span, published.keys() - done)
    require_arrivals(built, gone(found, before, [published[hour] for hour in needed], datetime.now(UTC)))
    sizes = sizes_of(built, converted, published)
    return [Batch(plan=plan_of(ti), hours=chosen) for chosen in by_size(BUILD_ROWS, config.max_batches)(sizes)]


def build(batch: Batch, ti: Any) -> list[Built]:
    """Build hours of events, each as a whole."""
    from taxiway.api_logs.merge import build_hours, window

    found, version = lake(), f"{batch['plan']}.{ti.try_number}"
    staged: dict[str, list[str]] = {hour: [] for built in batch["hours"] for hour in window(built)}
    versions = staged_versions(found, converted_of(ti))
    for arrival in arrivals_of(staged, versions):
        for hour in staged.keys() & staged_hours(found, arrival, versions[arrival]):
            staged[hour].append(staged_folder(found, arrival, versions[arrival], hour))
    targets = {hour: found.location(EVENTS, hour, version) for hour in batch["hours"]}
    built = build_hours(targets, staged, files=found.files)
    for hour, counts in built.items():
        log.info("%s: %s events, %s duplicates", hour, f"{counts['records']:,}", sum(counts["duplicates"].values()))
    lineage.report(inputs=[_told(STAGED)], outputs=[_told(EVENTS)])
    return [Built(hour=hour, version=version, **counts) for hour, counts in built.items()]


def settle(ti: Any) -> list[Quarantined]:
    """Write the quarantine of arrival hours: those of the run, and those whose duplicates may be others now."""
    from taxiway.api_logs.merge import build_quarantine

    found, converted, built = lake(), converted_of(ti), {each["hour"]: each for each in built_of(ti)}
    versions, published = staged_versions(found, converted), found.partitions(EVENTS)
    events = {hour: partition.location for hour, partition in published.items()}
    events |= {hour: found.location(EVENTS, hour, each["version"]) for hour, each in built.items()}
    arrivals = {each["hour"] for each in converted}
    for hour, each in built.items():
        arrivals |= each["duplicates"].keys() | (
            former_duplicates(found, published[hour]) if hour in published else set()
        )
    version, done = f"{plan_of(ti)}.{ti.try_number}", []
    for arrival in sorted(arrivals & versions.keys()):
        staged = versions[arrival]
        reasons = build_quarantine(
            arrival,
            staged=found.location(STAGED, arrival, staged),
            events=[events[hour] for hour in staged_hours(found, arrival, staged) if hour in events],
            target=found.location(QUARANTINE, arrival, version),
            files=found.files,
            lake=found.settings.lake,
        )
        done.append(Quarantined(hour=arrival, version=version, records=sum(reasons.values()), reasons=reasons))
    lineage.report(inputs=[_told(STAGED), _told(EVENTS)], outputs=[_told(QUARANTINE)])
    return done


def check(ti: Any, context: Context | None = None) -> None:
    """Have Athena read what was built and not yet published, check it, and record the result by the task's context."""
    found, converted, built, quarantined = lake(), converted_of(ti), built_of(ti), quarantined_of(ti)
    plan = plan_of(ti)
    versions = staged_versions(found, converted)
    folders = {
        (EVENTS_CANDIDATE, each["hour"]): found.location(EVENTS, each["hour"], each["version"]) for each in built
    }
    folders |= {
        (QUARANTINE_CANDIDATE, each["hour"]): found.location(QUARANTINE, each["hour"], each["version"])
        for each in quarantined
    }
    wanted = {each["hour"] for each in built}
    for arrival in versions:
        for hour in wanted & staged_hours(found, arrival, versions[arrival]):
            folders[STAGED_CANDIDATE, f"{arrival}-{hour}"] = staged_folder(found, arrival, versions[arrival], hour)
    athena.show_candidates(found, plan, folders)
    answers = athena.ask(check_events=[plan], check_staged=[plan], check_quarantine=[plan])
    metrics.rows_checked(  # last, so that a retry does not count rows twice
        DATASET,
        sum(each["records"] for each in built),
        sum((Counter(each["reasons"]) for each in quarantined), Counter()),
    )
    metrics.count("api_logs", "hours", "none", value=sum(not each["objects"] for each in converted))
    metrics.count("api_logs", "hours", "some", value=sum(each["objects"] > 0 for each in converted))
    faults = checks.failures(converted, built, quarantined, answers)
    quality.record([quality.result_of(EVENTS, "every record accounted for", faults)], cast("Any", context))
    checks.require(faults)


def publish(ti: Any) -> list[str]:
    """Publish what was checked, delete old versions, and return the days whose tables changed."""
    found, run_id = lake(), ti.run_id
    inputs = {each["hour"]: inputs_of(each["inputs"], each["version"]) for each in converted_of(ti)}
    publications: dict[str, Publication] = {}
    known = found.partitions(QUARANTINE)
    for table, results in ((QUARANTINE, quarantined_of(ti)), (EVENTS, built_of(ti))):
        for each in results:
            hour = each["hour"]
            if hour not in publications:
                given = inputs.get(hour, known[hour].parameters["inputs"] if hour in known else "")
                publications[hour] = Publication(period=hour, inputs=given, locations={}, rows={})
            publications[hour]["locations"][table.name] = found.location(table, hour, each["version"])
            publications[hour]["rows"][table.name] = each["records"]
    # Hours of arrival last: an hour counts as taken when its own events are published, after all that it touches.
    for hour in sorted(publications, key=lambda hour: (hour in inputs, hour)):
        found.publish(publications[hour], run_id)
        found.prune(hour)
        if arrival := found.partition(QUARANTINE, hour):
            kept = {staged_of(arrival.parameters.get(name, "")) for name in ("inputs", "previous_inputs")}
            found.prune_unpublished(STAGED, hour, kept)
    with metrics.best_effort():
        metrics.freshness(found)
    return sorted({hours.day(hour) for hour in publications})


def compact(ti: Any) -> list[str]:
    """Compact days that are due, and return them."""
    from taxiway.api_logs import compaction

    found = lake()
    due = compaction.days_due(
        found.partitions(EVENTS), replace(found, tables=DAILY_ALONE).partitions(DAILY), datetime.now(UTC)
    )
    compacted = compaction.compact(found, due, f"{plan_of(ti)}.{ti.try_number}", ti.run_id)
    if compacted:
        lineage.report(inputs=[_told(EVENTS)], outputs=[lineage.of_uri(f"{found.settings.lake}/{DAILY.path}")])
    return compacted


def summarise(days: list[str], context: Context) -> None:
    """Ask Athena for the numbers of days, write their pages, and tell the numbers."""
    found, converted = lake(), converted_of(context["ti"])
    span = [min(days), max(days)]
    answers = athena.ask(summary_events=span, summary_quarantine=span)
    numbers = summary.read_days(days, answers)
    bucket, prefix = split(f"{found.settings.lake}/{REPORTS}")
    for day in numbers:
        log.info("%s", day)
        body = summary.page(day).encode()
        name = {"Bucket": bucket, "Key": f"{prefix}/{day.date}.html"}
        found.session.client("s3").put_object(**name, Body=body, ContentType="text/html; charset=utf-8")
    lineage.report(
        inputs=[_told(EVENTS), _told(QUARANTINE)], outputs=[lineage.of_uri(f"{found.settings.lake}/{REPORTS}")]
    )
    said = [f"Published {sum(each['records'] for each in converted):,} records of {len(converted):,} hours of arrival."]
    if empty := [each["hour"] for each in converted if not each["objects"]]:
        said.append(f"Nothing arrived in {_listed(empty)}.")
    missing: Counter[str] = sum((Counter(each["keys_missing"]) for each in converted), Counter())
    said += [
        f"{count:,} records wait for the key {key}: python -m taxiway.api_logs replay --key {key}, when it is there."
        for key, count in missing.items()
    ]
    notices.tell(context, " ".join(said), summary.table(numbers[-MOST_TOLD:]))
    log.info("%s", " ".join(said))


def converted_of(ti: Any) -> list[Converted]:
    """Return the arrival hours that the run has converted."""
    return _flat(ti, CONVERT, PLAN)


def built_of(ti: Any) -> list[Built]:
    """Return the hours of events that the run has built."""
    return _flat(ti, BUILD, TOUCHED)


def quarantined_of(ti: Any) -> list[Quarantined]:
    """Return the arrival hours whose quarantine the run has written."""
    return cast("list[Quarantined]", ti.xcom_pull(task_ids=SETTLE))


def plan_of(ti: Any) -> str:
    """Return the time of the run's plan."""
    return str(ti.xcom_pull(task_ids=PLAN)[0]["plan"])


def staged_versions(found: Lake, converted: Iterable[Converted]) -> dict[str, str]:
    """Return the version of the staged files of every arrival hour: that of this run, else the published one."""
    published = {hour: staged_of(each.parameters["inputs"]) for hour, each in found.partitions(QUARANTINE).items()}
    return published | {each["hour"]: each["version"] for each in converted}


def gone(found: Lake, versions: Mapping[str, str], arrivals: Iterable[Partition], now: datetime) -> set[str]:
    """Return the arrival hours of which retention has deleted the staged records, or the entry in the catalogue.

    Args:
        found: the lake.
        versions: see :func:`staged_versions`.
        arrivals: hours of events that were published when they were arrival hours.
        now: what is old is measured from it.
    """
    old = [each.period for each in arrivals if is_past_retention(each, STAGED, now)]
    return {
        hour
        for hour in old
        if hour not in versions or not found.data_files(found.location(STAGED, hour, versions[hour]))
    }


def staged_folder(found: Lake, arrival: str, version: str, hour: str) -> str:
    """Return the folder of the records of an hour of events that arrived in an hour."""
    return f"{found.location(STAGED, arrival, version)}/event={hour}"


def staged_hours(found: Lake, arrival: str, version: str) -> set[str]:
    """Return the hours of events that an arrival hour holds."""
    files = found.data_files(found.location(STAGED, arrival, version))
    return {file.rpartition("/event=")[2].partition("/")[0] for file in files if "/event=" in file}


def former_duplicates(found: Lake, published: Partition) -> set[str]:
    """Return the arrival hours whose records are left out of a published hour of events."""
    from taxiway.api_logs.merge import DUPLICATES

    objects = found.read(f"{published.location}/{DUPLICATES}", ["source_object"]).column(0).unique().to_pylist()
    return {arrival_of(source_object) for source_object in objects}


def _told(table: Table) -> Read:
    return lineage.of_table(table.pipeline, table.contract_name)


def _listed(named: list[str]) -> str:
    more = f" and {len(named) - MOST_TOLD:,} more hours" if len(named) > MOST_TOLD else ""
    return ", ".join(named[:MOST_TOLD]) + more


def _flat(ti: Any, mapped: str, over: str) -> list[Any]:
    """Return what the tasks of an id have returned, those that failed left out, as one list.

    Args:
        ti: of the running task.
        mapped: id of the tasks.
        over: id of the task whose batches they are mapped over.
    """
    count = len(ti.xcom_pull(task_ids=over))
    return [each for found in ti.xcom_pull(task_ids=mapped, map_indexes=range(count)) for each in found or []]
