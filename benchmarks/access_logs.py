"""What a day of access logs costs to build: ``python -m benchmarks.access_logs [--write]``.

Lines are made from the real ones of the demo's sample. Our program, the same with a Python UDF for parsing, and DuckDB
make the same tables of them, each in a process of its own.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.access_logs_lines import DAY, LINES, log_files
from benchmarks.api_logs import heading, say
from benchmarks.contestants import VERSION, Submitter, Totals, column_totals, disagreements
from benchmarks.measure import Cost, goal, keep, middle, run
from benchmarks.synthetic import BENCH, ROOT
from local_aws.engines import Launch
from spark_jobs.access_logs.contracts import folder
from tests.oracle import programs
from tests.oracle.access_logs import KEYS

LABELS = {
    "duckdb": "DuckDB",
    "sail": "ours on Sail",
    "sail-udf": "parsing by a Python UDF, on Sail",
    "spark": "ours on Apache Spark",
    "spark-udf": "parsing by a Python UDF, on Apache Spark",
}
GB = 1e9


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.access_logs", description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES, help="access-log lines (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=LABELS, metavar="NAME", help=f"of {', '.join(LABELS)}")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each contestant, every other in reverse order")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    options = parser.parse_args()
    names = [name for name in LABELS if name in (options.only or LABELS)]
    try:
        figures = list(report(names, options.lines, options.repeat))
    except RuntimeError as error:
        sys.exit(f"The benchmark ended early: {error}")
    text = "\n".join([f"{heading('duckdb', 'pysail', 'pyspark')}.", "", *figures])
    print(text)
    if options.write:
        keep("python -m benchmarks.access_logs --write", text)


def report(names: Sequence[str], lines: int, repeat: int) -> Iterator[str]:
    """Measure contestants, and yield the lines of the table of their costs and the goals.

    Raises:
        RuntimeError: one failed, or what two made differs.
    """
    say(f"{lines:,} access-log lines of {DAY}")
    files = log_files(lines, BENCH)
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    expected: Totals = {}
    for turn in range(repeat):
        for name in names if turn % 2 == 0 else reversed(names):
            cost, made = compete(name, files)
            expected = expected or made
            if wrong := disagreements(expected, made):
                raise RuntimeError(f"what {LABELS[name]} made is not what another made: {', '.join(wrong)}")
            costs[name].append(cost)
            say(f"{LABELS[name]}: {cost.seconds:.1f} s, {cost.peak_bytes / GB:.1f} GB")
    result = {name: middle(each) for name, each in costs.items()}
    times = "one run each" if repeat == 1 else f"median of {repeat} runs each"
    requests, rejected, began = (
        int(expected[table][0]) for table in ("access_requests", "access_requests_quarantine", "sessions")
    )
    size = sum(file.stat().st_size for file in files) / 1e6
    yield (
        f"One day of {lines:,} lines in {len(files)} files ({size:,.0f} MB), "
        f"{times}; all made the same {requests:,} requests, {rejected:,} rejected lines and {began:,} sessions:"
    )
    yield ""
    yield "| | seconds | lines a second | × DuckDB | peak memory |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, cost in result.items():
        ratio = f"{cost.seconds / result['duckdb'].seconds:.2f}" if "duckdb" in result else ""
        rate = f"{lines / cost.seconds:,.0f}"
        yield f"| {LABELS[name]} | {cost.seconds:.1f} | {rate} | {ratio} | {cost.peak_bytes / GB:.1f} GB |"
    yield ""
    if {"sail", "duckdb"} <= result.keys():
        ratio_ = result["sail"].seconds / result["duckdb"].seconds
        yield goal("Ours on Sail takes at most 1.5 × DuckDB's time", ratio_, 1.5)
    for name, engine in (("sail", "Sail"), ("spark", "Apache Spark")):
        if {name, f"{name}-udf"} <= result.keys():
            ratio_ = result[f"{name}-udf"].seconds / result[name].seconds
            yield goal(f"Ours is at least 5 × as fast as with a Python UDF on {engine}", ratio_, 5, at_least=True)
    for name in ("sail", "spark"):
        if name in result:
            memory = result[name].peak_bytes / GB
            yield goal(f"{LABELS[name][0].upper()}{LABELS[name][1:]} stays within 6 GB", memory, 6)


def compete(name: str, files: Sequence[Path]) -> tuple[Cost, Totals]:
    """Have one contestant build the day of log files; return its cost, and totals of its tables."""
    place = files[0].parent / "made" / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        cost = CONTESTANTS[name](files, place / "lake")
        return cost, column_totals({table: Path(folder(f"{place}/lake", table, DAY, VERSION)) for table in KEYS})
    finally:
        shutil.rmtree(place)


def _duckdb(files: Sequence[Path], lake: Path) -> Cost:
    command = [sys.executable, "-m", "benchmarks.access_logs_duckdb", *_place(lake), "--input", *map(str, files)]
    return run(Launch(command, {"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}"}, ROOT))


def _spark_program(engine: str, program: str) -> Callable[[Sequence[Path], Path], Cost]:
    def build(files: Sequence[Path], lake: Path) -> Cost:
        package = programs.package(lake.parent)
        inputs = [word for file in files for word in ("--input", str(file))]
        submission = ["--py-files", str(package), str(ROOT / program), *_place(lake), *inputs]
        return Submitter(engine, lake.with_name("steps")).run(submission)

    return build


def _place(lake: Path) -> list[str]:
    return ["--day", str(DAY), "--lake", str(lake), "--version", VERSION]


OURS, UDF = "spark_jobs/access_logs/build_day.py", "benchmarks/access_logs_udf.py"
CONTESTANTS: dict[str, Callable[[Sequence[Path], Path], Cost]] = {
    "duckdb": _duckdb,
    "sail": _spark_program("sail", OURS),
    "sail-udf": _spark_program("sail", UDF),
    "spark": _spark_program("spark", OURS),
    "spark-udf": _spark_program("spark", UDF),
}


if __name__ == "__main__":
    main()
