"""The plan of a run of ``hvfhv_analysis``: its months, whether to wait for them, versions and Spark steps."""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypedDict

from taxiway.aws.emr import Step, spark_step
from taxiway.core.month import shift
from taxiway.hvfhv.settings import HvfhvSettings
from taxiway.hvfhv.tables import POPULAR_ZONES, TREND, TRIPS, baseline_months
from taxiway.lake import Lake, LakeError, Partition, join_inputs, version_at, version_of

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
    """One month of a run, as plain data that Airflow passes between tasks.

    Keys:
        month: ``YYYY-MM``.
        version: such as ``20261121T101112123456Z``.
        inputs: the month's files.
    """

    month: str
    version: str
    inputs: list[InputFile]


# EMR limits the arguments of a step to about 10,000 characters; a target needs about 200.
TARGETS_PER_STEP = 24


class PlanError(RuntimeError):
    """The run cannot be planned as requested; the text is one sentence."""


def reasons_to_wait(
    months: Collection[str],
    latest: Sequence[tuple["Dataset", "Attempt | None"]],
    *,
    joins: bool,
) -> list[str]:
    """Return one sentence for each data set that the run has to wait for; empty if it can continue.

    It waits for every data set of the requested months, and, while ``joins`` is true, for all downloads in progress, so
    that months that arrive together share a cluster.

    Args:
        months: the requested months.
        latest: every data set of the catalogue with its latest attempt.
        joins: whether to wait for downloads of other months.

    Raises:
        PlanError: a requested month has no data set.
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


def forced_months(latest: Sequence[tuple["Dataset", "Attempt | None"]]) -> dict[str, datetime]:
    """Return the months that are to be analysed even if nothing changed, with the time of the request.

    Requests are read from the log, not from asset events: Airflow may deliver an event late, or merge several into one.
    """
    forced: dict[str, datetime] = {}
    for dataset, attempt in latest:
        if attempt and attempt.again and attempt.finished:
            forced[dataset.month] = max(attempt.finished, forced.get(dataset.month, attempt.finished))
    return forced


def choose_jobs(
    complete: Mapping[str, Sequence["Input"]],
    forced: Mapping[str, datetime],
    published: Mapping[str, Partition],
    now: datetime,
) -> list[Job]:
    """Return the jobs of a run: months whose files differ from the published ones, and months forced since then.

    Args:
        complete: month → its files.
        forced: month → when it was requested to be analysed even if nothing changed.
        published: month → the published partition of the curated trips.
        now: determines the version.
    """
    version = version_at(now)
    jobs = []
    for month, files in sorted(complete.items()):
        inputs = join_inputs([file.sha256 for file in files])
        processed = month in published and inputs in published[month].processed_inputs
        if not processed or (month in forced and published[month].version < version_at(forced[month])):
            jobs.append(Job(month=month, version=version, inputs=[_as_data(file) for file in files]))
    return jobs


def _as_data(file: "Input") -> InputFile:
    return InputFile(dataset=file.dataset, uri=file.uri, sha256=file.sha256, rows=file.rows, bytes=file.bytes)


def plan_run(
    announced: Collection[str], requested: Collection[str], started: datetime, lake: Lake, config: HvfhvSettings
) -> list[Job] | None:
    """Return the jobs of the run, by the state of the catalogue and the lake; None while it has to wait.

    Args:
        announced: months of the run's asset events.
        requested: months of the run's parameter: analysed even if nothing changed.
        started: when the run began.
        lake: has the published partitions.
        config: how long to wait.

    Raises:
        PlanError: a requested month has no data set, or was not complete in time.
        CatalogueError: the catalogue cannot be used.
    """
    from taxiway import catalogue

    engine = catalogue.open_catalogue()
    latest = catalogue.latest_attempts(engine)
    now, limit = datetime.now(UTC), config.months_wait_h
    joins = now < started + timedelta(minutes=config.join_minutes)
    if reasons := reasons_to_wait({*announced, *requested}, latest, joins=joins):
        if now > started + timedelta(hours=limit):
            raise PlanError(f"The run waited {limit:g} hours without success. {' '.join(reasons)}")
        log.info("Waiting. %s", " ".join(reasons))
        return None
    forced = forced_months(latest) | dict.fromkeys(requested, now)
    return choose_jobs(catalogue.complete_months(engine), forced, lake.partitions(TRIPS), now)


# ── Dependent months ────────────────────────────────────────────────────────────────────────────────────────────────


def dependants(analysed: Collection[str], published: Collection[str]) -> dict[str, list[str]]:
    """Return the published months whose baseline contains an analysed month, so that their rising zones change.

    Args:
        analysed: months of the run whose marts are built.
        published: published months.

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


def month_steps(lake: Lake, job: Job, attempt: int) -> list[Step]:
    """Return the step that builds the tables of a month.

    Every try writes a version of its own: a step of the try before may still run. But if that one has come to the
    marts, its trips are complete; then this try goes on with its version, unless readers see it.
    """
    month = job["month"]
    version = _interrupted(lake, job) or f"{job['version']}.{attempt}"
    inputs = [argument for file in job["inputs"] for argument in ("--input", file["uri"])]
    arguments = ["--month", month, "--lake", lake.settings.lake, "--version", version, *inputs]
    return [spark_step(lake.settings, f"build_month {month}", "hvfhv/build_month.py", arguments)]


def _interrupted(lake: Lake, job: Job) -> str | None:
    """Return the version of the job's last try, if it has begun the marts and is not published."""
    try:
        last, *marts = (version_of(lake.attempt(table, job["month"], job["version"])) for table in (TRIPS, TREND))
    except LakeError:
        return None
    published = lake.partition(TRIPS, job["month"])
    return last if marts == [last] and not (published and published.version == last) else None


def rising_zones_steps(lake: Lake, jobs: Sequence[Job], attempt: int) -> list[Step]:
    """Return the steps that rank the rising zones of the run's months, and of published months that depend on them.

    Args:
        lake: has the marts of the other months.
        jobs: those whose marts are built.
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
