"""Wall time and memory of whole processes, and the page that figures are written to."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO

import psutil

from local_aws.engines import Launch

README = Path(__file__).with_name("README.md")
_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Cost:
    """Time and memory of a piece of work."""

    seconds: float
    peak_bytes: int
    """Largest sum of the resident memory of all its processes at one moment."""

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of this work and then the other."""
        return Cost(self.seconds + other.seconds, max(self.peak_bytes, other.peak_bytes))


def middle(costs: Sequence[Cost]) -> Cost:
    """Return the median time and the highest memory of several runs of the same work."""
    return Cost(median(cost.seconds for cost in costs), max(cost.peak_bytes for cost in costs))


def run(launch: Launch) -> Cost:
    """Run a process until it ends, and measure it with all its children; show on stderr what it wrote to stdout.

    Raises:
        RuntimeError: it failed; the text has the end of what it wrote to stderr.
    """
    os.sync()  # so that earlier writes are not measured here
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            launch.argv, env=launch.env, cwd=launch.cwd, stdout=output, stderr=errors, process_group=0
        )
        peak = 0
        try:
            while process.poll() is None:
                peak = max(peak, resident(process.pid))
                time.sleep(_INTERVAL_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # in a group of its own, it does not receive Ctrl-C
            process.wait()
            raise
        seconds = time.perf_counter() - started
        if process.returncode:
            written = _written(errors)[-2000:]
            raise RuntimeError(f"{' '.join(launch.argv)} ended with status {process.returncode}:\n{written}")
        sys.stderr.writelines(f"  {line}\n" for line in _written(output).splitlines())
    return Cost(seconds, peak)


def _written(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def resident(group: int) -> int:
    """Return the resident bytes of a process group."""
    total = 0
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group:
                total += process.memory_info().rss
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return total


def machine() -> str:
    """Return one line that describes this machine."""
    cpus = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = psutil.virtual_memory().total / 2**30
    system = next((line.partition("=")[2].strip('"') for line in _lines("/etc/os-release") if "PRETTY" in line), "")
    return f"{os.cpu_count()} cores{f' of {cpus[0]}' if cpus else ''}, {memory:.0f} GB of memory, {system}"


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def goal(claim: str, value: float, limit: float, *, at_least: bool = False) -> str:
    """Return the line that says what was measured of a claim, and whether it holds."""
    met = value >= limit if at_least else value <= limit
    return f"- {claim}: {value:.2f}, {'met' if met else '**missed**'}"


def keep(command: str, text: str) -> None:
    """Write figures to README.md, below the marker of the command that measured them.

    Raises:
        ValueError: there is no such marker.
    """
    begin, end = f"<!-- figures: {command} -->", "<!-- end of figures -->"
    before, found, rest = README.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise ValueError(f"{README} has no line {begin}: add it where the figures belong.")
    README.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}", encoding="utf-8")
