"""What pre-initialised capacity of EMR Serverless costs and saves: ``python -m benchmarks.serverless_cost --write``.

A model of a month of runs by list prices. One time in it is measured here, the start of a Spark session; AWS documents
no start time of a worker but that pre-initialised ones respond "in seconds": those are inputs, and several are shown.

On demand, a job run waits for its driver, then for its executors; AWS bills a worker from when it is ready until it
stops, and a minute at least: the driver also while it starts its session and waits for executors. Pre-initialised
workers are billed for as long as the application is started, whether busy or not, and are all ready when it is; it
starts for the first job run of a run, and stops after some idle minutes unless the next run came before.
"""

import argparse
import datetime
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.measure import keep, machine
from taxiway.aws.prices import serverless_usd
from taxiway.core.settings import settings

DAYS = 30
DAY_S = 24 * 3600
MINIMUM_S = 60

SESSION = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.range(1).count()
spark.stop()
"""


@dataclass(frozen=True)
class Case:
    """A month of runs.

    Attributes:
        runs: a day, evenly spread.
        job_runs: of each, one after the other.
        work_s: seconds of work of a job run, once its executors are there.
        session_s: seconds in which a driver starts its session.
        worker_s: seconds until a worker that was asked for is ready.
        ready_s: the same of a pre-initialised one.
        idle_min: minutes for which the application idles before it stops, unless the next run comes before; half a
            minute where the run's DAG stops it, which polls for the job run's end.
        executors: of a job run, and pre-initialised.
        size: vCPU and GB of memory of each worker, driver and executors.
    """

    runs: float
    job_runs: int = 1
    work_s: float = 300.0
    session_s: float = 8.0
    worker_s: float = 90.0
    ready_s: float = 5.0
    idle_min: float = 5.0
    executors: int = 4
    size: tuple[int, int] = (4, 16)


@dataclass(frozen=True)
class Month:
    """What it comes to: US dollars a month, and seconds that a run takes."""

    usd: float
    seconds: float


def on_demand(case: Case) -> Month:
    """Return the month without pre-initialised workers."""
    driver = max(case.session_s + case.worker_s + case.work_s, MINIMUM_S)
    executor = max(case.work_s, MINIMUM_S)
    worker_seconds = (driver + case.executors * executor) * case.job_runs
    seconds = (case.worker_s + case.session_s + case.worker_s + case.work_s) * case.job_runs
    return Month(_usd(case, worker_seconds * case.runs * DAYS), seconds)


def pre_initialised(case: Case) -> Month:
    """Return the month with as many pre-initialised workers as a job run needs."""
    busy = (case.ready_s + case.session_s + case.work_s) * case.job_runs
    idle = _idle_s(case)
    start = case.worker_s if busy + idle < DAY_S / case.runs else 0  # the next run finds it started
    worker_seconds = (1 + case.executors) * (busy + idle)
    return Month(_usd(case, worker_seconds * case.runs * DAYS), start + busy)


def _idle_s(case: Case) -> float:
    """Return for how long the application idles after a run."""
    gap = DAY_S / case.runs - (case.ready_s + case.session_s + case.work_s) * case.job_runs
    return min(max(gap, 0), case.idle_min * 60)


def saving(case: Case) -> tuple[float, float]:
    """Return the parts of money and of time that pre-initialised workers save; below 0, they cost more."""
    without, with_them = on_demand(case), pre_initialised(case)
    return 1 - with_them.usd / without.usd, 1 - with_them.seconds / without.seconds


def _usd(case: Case, worker_seconds: float) -> float:
    hours = worker_seconds / 3600
    return serverless_usd(settings().serverless_prices, "X86_64", hours * case.size[0], hours * case.size[1], 0)


def session_seconds() -> float:
    """Measure how long Apache Spark takes here for a program that only starts a session: the median of three."""
    from benchmarks.contestants import Submitter

    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "session.py")
        program.write_text(SESSION)
        submitter = Submitter("spark", Path(folder, "steps"))
        return median(submitter.run([str(program)]).seconds for _ in range(3))


def lines(session_s: float, measured: bool) -> Iterator[str]:
    """Yield the page: tables, and what follows from them."""
    base = Case(1, session_s=session_s)
    prices = settings().serverless_prices
    yield (
        f"List prices of {prices.as_of}, x86: ${prices.X86_64[0]} a vCPU-hour, ${prices.X86_64[1]} a GB-hour. "
        f"{1 + base.executors} workers of {base.size[0]} vCPU and {base.size[1]} GB. A session starts in "
        f"{session_s:.1f} s ({'measured here: ' + machine() if measured else 'given'}). Given, not measured: a "
        f"worker is ready after {base.worker_s:g} s, a pre-initialised one after {base.ready_s:g} s."
    )
    yield ""
    yield "What pre-initialised workers save (negative: they cost more) by runs a day, of the money / of a run's time:"
    yield ""
    runs = (1, 4, 24, 96, 288)
    yield f"| job runs × work, idle until it stops | {' | '.join(f'{number} a day' for number in runs)} |"
    yield f"| --- |{' ---: |' * len(runs)}"
    for job_runs, work_s in ((1, 60), (1, 300), (1, 3600), (6, 60), (6, 300)):
        for idle_min in (0.5, 5, 15):
            cells = []
            for number in runs:
                case = replace(base, runs=number, job_runs=job_runs, work_s=work_s, idle_min=idle_min)
                fits = pre_initialised(case).seconds <= DAY_S / number and on_demand(case).seconds <= DAY_S / number
                money, time = saving(case)
                cells.append(f"{money:+.0%} / {time:+.0%}" if fits else "does not fit")
            yield f"| {job_runs} × {work_s} s, {idle_min:g} min | {' | '.join(cells)} |"
    yield ""
    yield from _both(base)
    yield from _break_even(base)


def _both(base: Case) -> Iterator[str]:
    """Yield where 40 % is saved of both, among many cases."""
    cases = [
        replace(base, runs=runs, job_runs=job_runs, work_s=work_s, idle_min=idle_min, worker_s=worker_s)
        for runs in (1, 4, 24, 96, 288)
        for job_runs in (1, 2, 6, 20)
        for work_s in (10, 30, 60, 120, 300, 900, 3600)
        for idle_min in (0, 0.5, 5, 15)
        for worker_s in (30, 90, 180)
    ]
    cases = [case for case in cases if on_demand(case).seconds <= DAY_S / case.runs]
    found = [case for case in cases if min(saving(case)) >= 0.4]
    dearer = sum(saving(case)[0] < 0 for case in cases)
    yield (
        f"- Of {len(cases)} cases (1 to 288 runs a day, 1 to 20 job runs of 10 s to 1 h each, 0 to 15 idle minutes, "
        f"workers ready after 30 to 180 s) {len(found)} save 40 % of money and time at once, and {dearer} cost more "
        "than on demand."
    )
    if found:
        longest, least = max(case.work_s for case in found), min(case.job_runs for case in found)
        yield (
            f"- Those that save 40 % of both have job runs of at most {longest:g} s of work, at least {least} of them "
            f"in a run, and an application that idles for at most {max(map(_idle_s, found)):.0f} s after each."
        )


def _break_even(base: Case) -> Iterator[str]:
    """Yield how long the application may idle before what it saves is spent."""
    for work_s, job_runs in ((60, 1), (300, 1), (300, 6), (3600, 1)):
        case = replace(base, work_s=work_s, job_runs=job_runs, idle_min=0)
        saved = on_demand(case).usd - pre_initialised(case).usd
        minute = pre_initialised(replace(case, idle_min=1)).usd - pre_initialised(case).usd
        idle_s = 60 * saved / minute
        what = f"{job_runs} job run{'s' if job_runs > 1 else ''} of {work_s} s"
        if idle_s > 0:
            yield f"- A run of {what} saves money if the application idles for less than {idle_s:.0f} s."
        else:
            more = -saved / on_demand(case).usd
            yield f"- A run of {what} never saves money: without idle time it costs {more:.1%} more."


def main() -> None:
    """Compute, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serverless_cost", description=__doc__)
    parser.add_argument("--session-seconds", type=float, help="do not measure it, take this")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    arguments = parser.parse_args()
    given = arguments.session_seconds
    try:
        text = "\n".join(lines(session_seconds() if given is None else given, given is None))
    except RuntimeError as error:
        sys.exit(f"The benchmark ended early: {error}")
    text = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}. {text}"
    print(text)
    if arguments.write:
        keep("python -m benchmarks.serverless_cost --write", text)


if __name__ == "__main__":
    main()
