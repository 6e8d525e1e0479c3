"""Whether a month costs more when the lake holds many already."""

import shutil
from pathlib import Path
from statistics import median

from benchmarks.contestants import VERSION, Submitter
from benchmarks.measure import Cost
from benchmarks.synthetic import BENCH, month_file
from tests.oracle import programs
from tests.oracle.oracle import PATHS

MONTHS = [f"{year}-{month:02}" for year in (2022, 2023) for month in range(1, 13)]
ROWS = 300_000
ROUNDS = 7


def second_and_last() -> tuple[float, float, float]:
    """Send 24 months of equal size through the programs on Sail.

    The 2nd month enters a lake of one month, the 24th a lake of 23. Both are made several times, alternately, so that
    other load on the machine affects both alike.

    Returns:
        The median seconds of all of a month's programs, for the 2nd month and for the 24th; and the median over the
        rounds of the ratio of the 24th to the 2nd.
    """
    folder = BENCH / "growth"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    package = programs.package(folder)
    submitter = Submitter("sail", folder / "steps")

    def add(lake: Path, number: int) -> float:
        """Add the month with a number from 1, or make it again; its baseline is up to three months before it."""
        month, present = MONTHS[number - 1], MONTHS[max(0, number - 4) : number]
        shutil.rmtree(programs.partition(lake, PATHS["curated"], month, VERSION), ignore_errors=True)  # to start anew
        steps = (
            programs.of_month(package, month, [month_file(ROWS, month)], lake, VERSION),
            programs.of_rising_zones(package, [month], present, lake, VERSION),
        )
        return sum((submitter.run(step) for step in steps), Cost(0, 0)).seconds

    young, old = folder / "young", folder / "old"
    try:
        add(young, 1)
        for number in range(1, 24):
            add(old, number)
        turns = [(add(young, 2), add(old, 24)) for _ in range(ROUNDS)]
    finally:
        shutil.rmtree(folder)
    seconds, lasts = zip(*turns, strict=True)
    return median(seconds), median(lasts), median(last / second for second, last in turns)
