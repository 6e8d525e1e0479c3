"""Workers of EMR Serverless: their sizes, how many a job run gets, and what they use and cost.

CPU is in vCPU, memory and disk in GB, utilisation in hours of them.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# The memory, in GB, that a worker of so many vCPU may have.
_MEMORY = {
    1: tuple(range(2, 9)),
    2: tuple(range(4, 17)),
    4: tuple(range(8, 31)),
    8: tuple(range(16, 61, 4)),
    16: tuple(range(32, 121, 8)),
    32: (60, 120, 244),
}
_FREE_DISK = 20  # GB of each worker that are not billed
_DISKS = (20, 2000)  # the most is that of shuffle-optimised disks
_BILLED_S = 60  # the least that a worker is billed for
_MIB = {"b": 1 / 1024**2, "k": 1 / 1024, "": 1, "m": 1, "g": 1024, "t": 1024**2, "p": 1024**3}
_OVERHEAD_MIB = 384


@dataclass(frozen=True)
class Size:
    """The size of a worker, or the sum of several."""

    cpu: int
    memory: int
    disk: int

    def times(self, count: int) -> "Size":
        """Return the size of `count` workers."""
        return Size(self.cpu * count, self.memory * count, self.disk * count)

    def plus(self, other: "Size") -> "Size":
        """Return the sum."""
        return Size(self.cpu + other.cpu, self.memory + other.memory, self.disk + other.disk)

    def within(self, limit: Mapping[str, Any] | None) -> bool:
        """Say whether it is within the maximum capacity of an application, which may not limit the disk."""
        return limit is None or (
            self.cpu <= number(limit["cpu"])
            and self.memory <= number(limit["memory"])
            and ("disk" not in limit or self.disk <= number(limit["disk"]))
        )


@dataclass(frozen=True)
class Workers:
    """The workers of a job run: a driver and executors."""

    driver: Size
    executor: Size
    executors: int

    @property
    def total(self) -> Size:
        """The sum of their sizes."""
        return self.driver.plus(self.executor.times(self.executors))

    def fitted(self, used: Size, limit: Mapping[str, Any] | None) -> "Workers | None":
        """Return as many of them as fit beside `used` in `limit`, None if not even the driver and one executor do."""
        for executors in range(self.executors, 0, -1):
            fewer = Workers(self.driver, self.executor, executors)
            if used.plus(fewer.total).within(limit):
                return fewer
        return None


@dataclass(frozen=True)
class Period:
    """Workers of one size that were there from `start` to `end`, in epoch seconds."""

    size: Size
    count: int
    start: float
    end: float

    @property
    def seconds(self) -> int:
        """Its length, rounded up."""
        return math.ceil(round(self.end - self.start, 3))


def number(text: str) -> int:
    """Return the number of a size in the API, such as "4 vCPU" or "16 GB"."""
    match = re.match(r"\d+", text)
    assert match, text  # the service's model has a pattern for it
    return int(match[0])


def worker(cpu: int, memory: float, disk: int) -> Size:
    """Return the smallest size of a worker that has this much.

    Raises:
        ValueError: EMR Serverless has no such worker; the text is one sentence.
    """
    if cpu not in _MEMORY:
        raise ValueError(f"Worker with {cpu} vCPU is not supported: use {', '.join(map(str, _MEMORY))}.")
    fitting = [gigabytes for gigabytes in _MEMORY[cpu] if gigabytes >= memory]
    if not fitting:
        raise ValueError(
            f"Worker with {cpu} vCPU and {math.ceil(memory)} GB memory (with Spark's overhead) is not supported: "
            f"with {cpu} vCPU it can have {_MEMORY[cpu][0]} to {_MEMORY[cpu][-1]} GB."
        )
    if not disk <= _DISKS[1]:
        raise ValueError(f"Worker disk of {disk} GB is not supported: it can be {_DISKS[0]} to {_DISKS[1]} GB.")
    return Size(cpu, fitting[0], max(disk, _DISKS[0]))


def configured(configuration: Mapping[str, str]) -> Size:
    """Return the size of a worker of the initial capacity, which must be exactly one that exists.

    Raises:
        ValueError: EMR Serverless has no such worker; the text is one sentence.
    """
    cpu, memory = number(configuration["cpu"]), number(configuration["memory"])
    size = worker(cpu, memory, number(configuration.get("disk", "20 GB")))
    if size.memory != memory:
        raise ValueError(
            f"Worker with {cpu} vCPU and {memory} GB memory is not supported: with {cpu} vCPU it can have "
            f"{', '.join(map(str, _MEMORY[cpu]))} GB."
        )
    return size


def asked(properties: Mapping[str, str]) -> Workers:
    """Return the workers that a job run with these Spark properties asks for; others have EMR Serverless' defaults.

    Raises:
        ValueError: a property is no number or size, or there is no such worker; the text is one sentence.
    """
    executors = _integer(properties, "spark.executor.instances", 3)
    if properties.get("spark.dynamicAllocation.enabled", "true").lower() == "true":
        for name in ("initialExecutors", "minExecutors"):
            executors = max(executors, _integer(properties, f"spark.dynamicAllocation.{name}", 0))
        executors = min(executors, _integer(properties, "spark.dynamicAllocation.maxExecutors", executors))
    return Workers(_size(properties, "driver"), _size(properties, "executor"), max(executors, 1))


def _size(properties: Mapping[str, str], role: str) -> Size:
    heap = _mebibytes(properties, f"spark.{role}.memory", "14g")
    factor = _decimal(properties, f"spark.{role}.memoryOverheadFactor", 0.1)
    overhead = max(heap * factor, _OVERHEAD_MIB)
    if (name := f"spark.{role}.memoryOverhead") in properties:
        overhead = _mebibytes(properties, name, "")
    disk = _mebibytes(properties, f"spark.emr-serverless.{role}.disk", "20g") / 1024
    return worker(_integer(properties, f"spark.{role}.cores", 4), (heap + overhead) / 1024, math.ceil(disk))


def _mebibytes(properties: Mapping[str, str], name: str, default: str) -> float:
    text = properties.get(name, default)
    match = re.fullmatch(r"(\d+)([bkmgtp]?)b?", text.strip().lower())
    if not match:
        raise ValueError(f"{name} {text!r} is not a size such as 4g.")
    return int(match[1]) * _MIB[match[2]]


def _integer(properties: Mapping[str, str], name: str, default: int) -> int:
    text = properties.get(name, str(default)).strip()
    if not text.isdecimal():
        raise ValueError(f"{name} {text!r} is not a whole number.")
    return int(text)


def _decimal(properties: Mapping[str, str], name: str, default: float) -> float:
    text = properties.get(name, str(default))
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} {text!r} is not a number.") from None


def utilization(periods: Iterable[Period]) -> dict[str, float]:
    """Return what workers have used."""
    return _hours([(period.size, period.count * period.seconds) for period in periods])


def billed(periods: Iterable[Period]) -> dict[str, float]:
    """Return what AWS bills: a minute at least for each worker, and only the storage above 20 GB."""
    return _hours(
        [
            (
                Size(period.size.cpu, period.size.memory, period.size.disk - _FREE_DISK),
                period.count * max(period.seconds, _BILLED_S),
            )
            for period in periods
        ]
    )


def idle(initialized: Iterable[Period], busy: Iterable[Period]) -> dict[str, float]:
    """Return what pre-initialised workers have used while no job run had them."""
    all_of_it, used = utilization(initialized), utilization(busy)
    return {name: round(max(hours - used[name], 0), 3) for name, hours in all_of_it.items()}


def _hours(parts: Iterable[tuple[Size, int]]) -> dict[str, float]:
    seconds = {"vCPUHour": 0, "memoryGBHour": 0, "storageGBHour": 0}
    for size, worker_seconds in parts:
        seconds["vCPUHour"] += size.cpu * worker_seconds
        seconds["memoryGBHour"] += size.memory * worker_seconds
        seconds["storageGBHour"] += size.disk * worker_seconds
    return {name: round(value / 3600, 3) for name, value in seconds.items()}
