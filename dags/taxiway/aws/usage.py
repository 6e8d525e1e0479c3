"""What an EMR cluster or a job run of EMR Serverless used, by their APIs: time, idle time, cores, memory, cost."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from taxiway.aws.prices import price, serverless_usd, units
from taxiway.core.settings import ServerlessPrices, SettingsError

FREE_STORAGE = 20  # GB of each worker of EMR Serverless

# GB of memory per virtual core, by the first letter of the instance family.
MEMORY = {"c": 2, "m": 4, "r": 8}


@dataclass(frozen=True)
class Usage:
    """What a cluster used from its creation until its end, or until now.

    Attributes:
        seconds: its lifetime.
        instances: all that it ever had, such as ``1 × m7g.xlarge, 3 × r7g.xlarge``.
        idle_seconds: of these, the time in which it was ready and ran no step.
        vcpu_hours: virtual cores × hours of all instances; None if the size of a type is unknown.
        memory_gb_hours: the same for memory, in GB.
        usd: an estimate in US dollars at list prices of us-east-1: EC2 and EMR, without disks, S3 and data transfer,
            with spot instances at the on-demand price, and at least a minute for each instance. None if a type's price
            is unknown.
        steps: (program, seconds) of each completed step, such as ``("build_month", 95.0)``.
    """

    seconds: float
    instances: str
    idle_seconds: float
    vcpu_hours: float | None
    memory_gb_hours: float | None
    usd: float | None
    steps: tuple[tuple[str, float], ...]


def cluster_usage(client: Any, cluster: str) -> Usage:
    """Return what a cluster used.

    Args:
        client: a boto3 client for EMR.
        cluster: its id.
    """
    timeline = client.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["Timeline"]
    end = timeline.get("EndDateTime") or datetime.now(UTC)
    steps = _all(client, "list_steps", "Steps", cluster)
    instances = [
        (instance["InstanceType"], *_span(instance["Status"]["Timeline"], "CreationDateTime", end))
        for instance in _all(client, "list_instances", "Instances", cluster)
    ]
    lifetimes = [(kind, (ended - created).total_seconds() / 3600) for kind, created, ended in instances]
    busy = [_span(step["Status"]["Timeline"], "StartDateTime", end) for step in steps if _started(step)]
    ready = timeline.get("ReadyDateTime", end)
    return Usage(
        seconds=(end - timeline["CreationDateTime"]).total_seconds(),
        instances=", ".join(f"{count} × {kind}" for kind, count in Counter(kind for kind, _ in lifetimes).items()),
        idle_seconds=max((end - ready).total_seconds() - _union(busy, ready), 0),
        vcpu_hours=_sum(lifetimes, units),
        memory_gb_hours=_sum(lifetimes, lambda kind: units(kind) * MEMORY[kind[0]]),
        usd=_sum([(kind, max(hours, 1 / 60)) for kind, hours in lifetimes], price),
        steps=tuple(
            (_program(step), (ended - started).total_seconds())
            for step in steps
            if step["Status"]["State"] == "COMPLETED"
            for started, ended in [_span(step["Status"]["Timeline"], "StartDateTime", end)]
        ),
    )


def _all(client: Any, operation: str, key: str, cluster: str) -> list[dict[str, Any]]:
    pages = client.get_paginator(operation).paginate(ClusterId=cluster)
    return [found for page in pages for found in page[key]]


def _started(step: dict[str, Any]) -> bool:
    return "StartDateTime" in step["Status"]["Timeline"]


def _span(timeline: dict[str, datetime], begin: str, end: datetime) -> tuple[datetime, datetime]:
    return timeline[begin], timeline.get("EndDateTime") or end


def _union(spans: Sequence[tuple[datetime, datetime]], since: datetime) -> float:
    """Return for how many seconds after a time at least one of the spans is active."""
    covered, until = 0.0, since
    for begin, end in sorted(spans):
        covered += max((end - max(begin, until)).total_seconds(), 0)
        until = max(until, end)
    return covered


def _sum(lifetimes: Iterable[tuple[str, float]], rate: Callable[[str], float]) -> float | None:
    try:
        return sum(rate(kind) * hours for kind, hours in lifetimes)
    except (KeyError, SettingsError):
        return None


def _program(step: dict[str, Any]) -> str:
    scripts = [PurePosixPath(word).stem for word in step["Config"].get("Args", []) if word.endswith(".py")]
    return scripts[0] if scripts else "other"


# ── EMR Serverless ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Hours:
    """vCPU-hours, GB-hours of memory, and GB-hours of storage above the free 20 GB of a worker."""

    vcpu: float = 0.0
    memory_gb: float = 0.0
    storage_gb: float = 0.0


@dataclass(frozen=True)
class JobRunUsage:
    """What a job run of EMR Serverless used.

    Attributes:
        seconds: from its start until its end, or until now; 0 if it never started.
        billed: of its workers, as AWS bills them: a minute at least for each.
        idle: of the pre-initialised workers, while they waited; AWS bills this to the application, and counts it in no
            job run.
        usd: an estimate in US dollars of what was billed, at list prices, without S3 and data transfer.
        idle_usd: the same of the idle time.
        prices_as_of: when the prices were looked up.
    """

    seconds: float
    billed: Hours
    idle: Hours
    usd: float
    idle_usd: float
    prices_as_of: str

    def __str__(self) -> str:
        """Return it as a sentence for a message or a report."""
        idle = ""
        if self.idle.vcpu:
            idle = (
                f"; pre-initialised workers waited for {self.idle.vcpu:.2f} vCPU-hours and "
                f"{self.idle.memory_gb:.2f} GB-hours"
            )
        share = f" (${self.idle_usd:.3f} of it for waiting)" if idle else ""
        return (
            f"Billed {self.billed.vcpu:.2f} vCPU-hours and {self.billed.memory_gb:.2f} GB-hours for "
            f"{self.seconds / 60:.1f} min{idle}: about ${self.usd + self.idle_usd:.3f}{share}, by list prices of "
            f"{self.prices_as_of}."
        )


def job_run_usage(
    client: Any,
    application: str,
    run: str,
    prices: ServerlessPrices,
    until: datetime | None = None,
    since: datetime | None = None,
) -> JobRunUsage:
    """Return what a job run used, and for how long the application's pre-initialised workers waited meanwhile.

    The API has no history of an application's states, so the caller says for how long it was STARTED for this run.
    All job runs of that time count as use of the pre-initialised workers, each with no more than there are of them.

    Args:
        client: a boto3 client for EMR Serverless.
        application: its id.
        run: the job run's id.
        prices: list prices.
        until: when the application stopped, or now; None counts no idle time.
        since: when it was STARTED for this run; None: when the job run was created, which a DAG does at once.
    """
    described = client.get_application(applicationId=application)["application"]
    found = client.get_job_run(applicationId=application, jobRunId=run)["jobRun"]
    billed = _hours(found.get("billedResourceUtilization") or found.get("totalResourceUtilization"))
    initial = _initial(described.get("initialCapacity", {}).values())
    idle = Hours()
    if until and initial.vcpu:
        held = (since or found["createdAt"], until)
        hours = (held[1] - held[0]).total_seconds() / 3600
        busy = [_busy(other, initial, held) for other in _runs_of(client, application, held)]
        idle = Hours(
            max(initial.vcpu * hours - sum(part.vcpu for part in busy), 0),
            max(initial.memory_gb * hours - sum(part.memory_gb for part in busy), 0),
            max(initial.storage_gb * hours - sum(part.storage_gb for part in busy), 0),
        )
    architecture = described.get("architecture", "X86_64")
    return JobRunUsage(
        seconds=_seconds(found, None),
        billed=billed,
        idle=idle,
        usd=serverless_usd(prices, architecture, billed.vcpu, billed.memory_gb, billed.storage_gb),
        idle_usd=serverless_usd(prices, architecture, idle.vcpu, idle.memory_gb, idle.storage_gb),
        prices_as_of=prices.as_of,
    )


def _runs_of(client: Any, application: str, held: tuple[datetime, datetime]) -> Iterable[dict[str, Any]]:
    """Yield the job runs that may have run in a time: a job run may have been submitted a day before."""
    pages = client.get_paginator("list_job_runs").paginate(
        applicationId=application, createdAtAfter=held[0] - timedelta(days=1), createdAtBefore=held[1]
    )
    for found in (each for page in pages for each in page["jobRuns"]):
        yield client.get_job_run(applicationId=application, jobRunId=found["id"])["jobRun"]


def _busy(run: dict[str, Any], initial: Hours, held: tuple[datetime, datetime]) -> Hours:
    """Return what a job run used of the pre-initialised workers within a time."""
    within, all_of_it = _seconds(run, held), _seconds(run, None)
    if not within:
        return Hours()
    used, part = _hours(run.get("totalResourceUtilization")), within / all_of_it
    return Hours(
        min(used.vcpu * part, initial.vcpu * within / 3600),
        min(used.memory_gb * part, initial.memory_gb * within / 3600),
        min(used.storage_gb * part, initial.storage_gb * within / 3600),
    )


def _seconds(run: dict[str, Any], within: tuple[datetime, datetime] | None) -> float:
    """Return for how long a job run ran, perhaps only within a time."""
    begin: datetime | None = run.get("startedAt")
    if begin is None:
        return 0.0
    end: datetime = run.get("endedAt") or datetime.now(UTC)
    if within:
        begin, end = max(begin, within[0]), min(end, within[1])
    return max((end - begin).total_seconds(), 0.0)


def _hours(utilization: dict[str, float] | None) -> Hours:
    found = utilization or {}
    return Hours(found.get("vCPUHour", 0.0), found.get("memoryGBHour", 0.0), found.get("storageGBHour", 0.0))


def _initial(capacity: Iterable[dict[str, Any]]) -> Hours:
    """Return what the pre-initialised workers use in an hour."""
    total = Hours()
    for workers in capacity:
        cpu, memory, disk = (_number(workers, name) for name in ("cpu", "memory", "disk"))
        count = workers["workerCount"]
        total = Hours(
            total.vcpu + count * cpu,
            total.memory_gb + count * memory,
            total.storage_gb + count * max(disk - FREE_STORAGE, 0),
        )
    return total


def _number(workers: dict[str, Any], name: str) -> int:
    """Return a size such as ``4 vCPU``, ``16 GB`` or ``16GB``; 0 if it is not given."""
    found = re.match(r"\d+", workers.get("workerConfiguration", {}).get(name, ""))
    return int(found[0]) if found else 0
