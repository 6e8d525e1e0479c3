"""What a run of ``hvfhv_analysis`` is to do: which months, whether to wait, which versions and Spark steps."""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypedDict

from taxiway.aws.emr import Step, spark_step
from taxiway.core.month import shift
from taxiway.core.settings import Settings
from taxiway.hvfhv.settings import HvfhvSettings
from taxiway.hvfhv.tables import POPULAR_ZONES, TRIPS, baseline_months
from taxiway.lake import Lake, Partition, join_inputs, version_of

if TYPE_CHECKING:
    from taxiway.catalogue import Attempt, Dataset, Input

log = logging.getLogger(__name__)


class InputFile(TypedDict):
    """A :class:`taxiway.catalogue.Input`, as plain data."""

    dataset: str
    uri: str
    sha256: str
    rows: int
    bytes: int


class Job(TypedDict):
    """One month of a run, as plain data that Airflow hands on between tasks.

    Keys:
        month: ``YYYY-MM``.
        version: such as ``20261121T101112123456Z``.
        inputs: the month's files.
    """

    month: str
    version: str
    inputs: list[InputFile]


# EMR takes some 10,000 characters of arguments a step; a target costs about 200.
TARGETS_PER_STEP = 24


class PlanError(RuntimeError):
    """The run cannot do what it was asked for; the text is one sentence."""


def waits_for(
    months: Collection[str],
    latest: Sequence[tuple["Dataset", "Attempt | None"]],
    *,
    joins: bool,
) -> list[str]:
    """Return what the run has to wait for, a sentence each; nothing if it can go on.

    It waits for every data set of the months it was asked for, and, as long as it joins them, for all downloads under
    way, so that months that arrive together share a cluster.

    Args:
        months: those that the run was asked for.
        latest: every data set of the catalogue with its latest attempt.
        joins: whether other months' downloads are waited for.

    Raises:
        PlanError: a month that was asked for has no data set.
    """
    known = {dataset.month for dataset, _ in latest}
    if unknown := sorted(set(months) - known):
        raise PlanError(f"The catalogue has no data set of {', '.join(unknown)}: load one, or leave the month out.")
    reasons = []
    for dataset, attempt in latest:
        status = str(attempt.status) if attempt else "not collected yet"
        if status == "complete" or not (dataset.month in months or (joins and status == "running")):
            continue
        error = f" ({attempt.error})" if attempt and attempt.error else ""
        reasons.append(f"Data set {dataset.name} of {dataset.month} is {status}{error}.")
    return reasons


def asked_again(latest: Sequence[tuple["Dataset", "Attempt | None"]]) -> dict[str, datetime]:
    """Return the months that are to be analysed even if nothing changed, with the time since when.

    It is in the log, not in the asset events: Airflow may hand on an event late, or with others as one.
    """
    asked: dict[str, datetime] = {}
    for dataset, attempt in latest:
        if attempt and attempt.again and attempt.finished:
            asked[dataset.month] = max(attempt.finished, asked.get(dataset.month, attempt.finished))
    return asked


def choose_jobs(
    complete: Mapping[str, Sequence["Input"]],
    asked: Mapping[str, datetime],
    published: Mapping[str, Partition],
    now: datetime,
) -> list[Job]:
    """Return the jobs of a run: months whose files are not those that were published, and months asked for since.

    Args:
        complete: month → its files.
        asked: month → the time since when it is to be analysed even if nothing changed.
        published: month → the published partition of the curated trips.
        now: becomes the version.
    """
    version = _version(now)
    jobs = []
    for month, files in sorted(complete.items()):
        inputs = join_inputs([file.sha256 for file in files])
        settled = month in published and inputs in published[month].settled_inputs
        if not settled or (month in asked and published[month].version < _version(asked[month])):
            jobs.append(Job(month=month, version=version, inputs=[_as_data(file) for file in files]))
    return jobs


def _as_data(file: "Input") -> InputFile:
    return InputFile(dataset=file.dataset, uri=file.uri, sha256=file.sha256, rows=file.rows, bytes=file.bytes)


def _version(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def plan_run(
    announced: Collection[str], wanted: Collection[str], started: datetime, lake: Lake, config: HvfhvSettings
) -> list[Job] | None:
    """Look at the catalogue and the lake, and return the jobs of the run; None while it has to wait.

    Args:
        announced: months that the run's asset events name.
        wanted: months that its parameter names: analysed whatever happened before.
        started: when the run began.
        lake: says what is published.
        config: how long to wait.

    Raises:
        PlanError: a month that was asked for has no data set, or was not complete in time; or there is no catalogue.
    """
    from taxiway import catalogue

    try:
        engine = catalogue.open_catalogue()
    except catalogue.CatalogueError as error:
        raise PlanError(str(error)) from None
    latest = catalogue.latest_attempts(engine)
    now, limit = datetime.now(UTC), config.months_wait_h
    joins = now < started + timedelta(minutes=config.join_minutes)
    if reasons := waits_for({*announced, *wanted}, latest, joins=joins):
        if now > started + timedelta(hours=limit):
            raise PlanError(f"The run waited {limit:g} hours without success. {' '.join(reasons)}")
        log.info("Waiting. %s", " ".join(reasons))
        return None
    asked = asked_again(latest) | dict.fromkeys(wanted, now)
    return choose_jobs(catalogue.complete_months(engine), asked, lake.partitions(TRIPS), now)


# ── Months that depend on one another ───────────────────────────────────────────────────────────────────────────────


def dependants(analysed: Collection[str], published: Collection[str]) -> dict[str, list[str]]:
    """Return which published months have an analysed month in their baseline, so that their rising zones change.

    Args:
        analysed: months of the run whose marts are made.
        published: months that readers see.

    Returns:
        analysed month → later months, each under the last analysed month before it.
    """
    owner = {
        shift(month, by): month
        for month in sorted(analysed)
        for by in range(1, baseline_months() + 1)
        if shift(month, by) in published and shift(month, by) not in analysed
    }
    return {month: sorted(later for later in owner if owner[later] == month) for month in analysed}


# ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def curate_steps(lake: Lake, job: Job, attempt: int) -> list[Step]:
    """Return the step that curates a month, into a version of its own for every try."""
    inputs = [argument for file in job["inputs"] for argument in ("--input", file["uri"])]
    arguments = [*_partition(lake.settings, job["month"], f"{job['version']}.{attempt}"), *inputs]
    return [spark_step(lake.settings, f"curate {job['month']}", "hvfhv/curate.py", arguments)]


def mart_steps(lake: Lake, job: Job) -> list[Step]:
    """Return the step that builds a month's marts.

    Marts lie under the version of the curated trips that they are made from. So a second try writes where the first
    one did, which nobody reads yet; once it is published, only a new version will do.

    Raises:
        PlanError: the version is published.
        LakeError: the month's trips are not curated.
    """
    month, trips = job["month"], lake.attempt(TRIPS, job["month"], job["version"])
    published = lake.partition(TRIPS, month)
    if published and published.location == trips:
        raise PlanError(f"{month} is published from {trips}: clear curate as well, or run the DAG for it again.")
    arguments = _partition(lake.settings, month, version_of(trips))
    return [spark_step(lake.settings, f"marts {month}", "hvfhv/build_marts.py", arguments)]


def rising_zones_steps(lake: Lake, jobs: Sequence[Job], attempt: int) -> list[Step]:
    """Return the steps that rank the rising zones of the run's months, and of the published months that those change.

    Args:
        lake: says where the marts of the other months are.
        jobs: those whose marts are made.
        attempt: number of the try.
    """
    popular = {month: partition.location for month, partition in lake.partitions(POPULAR_ZONES).items()}
    months = {job["month"] for job in jobs}
    later = dependants(months, lake.partitions(TRIPS).keys())
    popular |= {job["month"]: lake.attempt(POPULAR_ZONES, job["month"], job["version"]) for job in jobs}
    version = f"{jobs[0]['version']}.{attempt}"
    targets = sorted(months.union(*later.values()))
    steps = []
    for start in range(0, len(targets), TARGETS_PER_STEP):
        chosen = targets[start : start + TARGETS_PER_STEP]
        needed = sorted({shift(month, -by) for month in chosen for by in range(baseline_months() + 1)} & popular.keys())
        arguments = ["--lake", lake.settings.lake]
        arguments += [word for month in chosen for word in ("--target", f"{month}={version}")]
        arguments += [word for month in needed for word in ("--popular", f"{month}={popular[month]}")]
        name = f"rising_zones {chosen[0]} to {chosen[-1]}" if len(chosen) > 1 else f"rising_zones {chosen[0]}"
        steps.append(spark_step(lake.settings, name, "hvfhv/rank_rising_zones.py", arguments))
    return steps


def _partition(settings: Settings, month: str, version: str) -> list[str]:
    return ["--month", month, "--lake", settings.lake, "--version", version]
