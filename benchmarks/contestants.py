"""The programs that make one month's outputs, and the comparison of what they made."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from math import isclose
from pathlib import Path

import duckdb

from benchmarks.measure import Cost, run
from benchmarks.straightforward import JOBS
from benchmarks.synthetic import BENCH, ROOT
from local_aws.engines import Engine, Launch, engine
from tests.oracle import programs
from tests.oracle.oracle import PATHS

VERSION = "bench"
STEP_MEMORY = {"STEP_MEMORY_BYTES": str(6 * 1024**3)}

Totals = dict[str, list[float]]


class Submitter:
    """Runs programs as an EMR step of the local endpoint would, in processes that are measured."""

    def __init__(self, name: str, folder: Path) -> None:
        self._engine: Engine = engine(name)
        self._folder = folder
        self._number = count()

    def run(self, arguments: list[str], environment: Mapping[str, str] = STEP_MEMORY) -> Cost:
        """Run the arguments of a ``spark-submit``."""
        folder = self._folder / f"step-{next(self._number)}"
        folder.mkdir(parents=True)
        return run(self._engine.command(arguments, folder, environment))


def our_jobs(engine_name: str) -> Callable[[Path, str, Path], Cost]:
    """Return a function that runs this repository's Spark programs on an engine, each in its own process."""

    def make(file: Path, month: str, lake: Path) -> Cost:
        submitter = Submitter(engine_name, lake.with_name("steps"))
        package = programs.package(lake.parent)
        steps = (
            programs.of_month(package, month, [file], lake, VERSION),
            programs.of_rising_zones(package, [month], [month], lake, VERSION),
        )
        return sum((submitter.run(step) for step in steps), Cost(0, 0))

    return make


def straightforward(*submissions: Sequence[str]) -> Callable[[Path, str, Path], Cost]:
    """Return a function that runs the plain PySpark jobs, on the same engine and with the same settings as ours.

    Args:
        submissions: the jobs of each program that is submitted.
    """

    def make(file: Path, month: str, lake: Path) -> Cost:
        arguments = {"month": month, "input": file, "lookup": programs.ZONE_LOOKUP, "lake": lake, "version": VERSION}
        words = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
        submitter = Submitter("spark", lake.with_name("steps"))
        program = str(ROOT / "benchmarks/straightforward.py")
        return sum((submitter.run([program, *words, *jobs]) for jobs in submissions), Cost(0, 0))

    return make


def duckdb_program(file: Path, month: str, lake: Path) -> Cost:
    """Run the DuckDB program."""
    command = [sys.executable, "-m", "benchmarks.duckdb_month", "--month", month, "--input", str(file)]
    return run(Launch([*command, "--lake", str(lake), "--version", VERSION], {}, ROOT))


CONTESTANTS = {
    "duckdb": duckdb_program,
    "sail": our_jobs("sail"),
    "spark": our_jobs("spark"),
    "straightforward": straightforward(*([job] for job in JOBS)),
    "one-program": straightforward(JOBS),
}


def compete(name: str, file: Path, month: str) -> tuple[Cost, Totals]:
    """Have one contestant make the month; return its cost, and totals of its outputs."""
    folder = BENCH / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        cost = CONTESTANTS[name](file, month, folder / "lake")
        return cost, totals(folder / "lake", month)
    finally:
        shutil.rmtree(folder)


def totals(lake: Path, month: str) -> Totals:
    """Return the totals of every table of a month."""
    return column_totals({table: programs.partition(lake, path, month, VERSION) for table, path in PATHS.items()})


def column_totals(folders: Mapping[str, Path]) -> Totals:
    """Return the number of rows and a total of each column of tables, independent of the order of rows."""
    found = {}
    with duckdb.connect() as connection:
        for table, folder in folders.items():
            files = f"read_parquet('{folder}/*.parquet')"
            columns = connection.execute(f"DESCRIBE FROM {files}").fetchall()
            sums = ", ".join(
                f'count("{name}"), coalesce(sum("{name}"), 0)' if kind == "DOUBLE" else f'sum(hash("{name}")::DOUBLE)'
                for name, kind, *_ in columns
            )
            found[table] = list(connection.execute(f"SELECT count(*), {sums} FROM {files}").fetchall()[0])
    return found


def disagreements(one: Totals, other: Totals) -> list[str]:
    """Return the tables that differ."""
    return [
        table
        for table in one
        if len(one[table]) != len(other[table])
        or not all(isclose(a, b, rel_tol=1e-9) for a, b in zip(one[table], other[table], strict=True))
    ]
