"""What an EMR cluster used, by EMR's API: time, idle time, cores, memory, cost, duration of steps."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from taxiway.aws.prices import price, units
from taxiway.core.settings import SettingsError

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
