"""Measure what the project claims about speed: ``python -m benchmarks`` (``make bench``)."""

import argparse
import datetime
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version

from benchmarks import growth, local_aws, parse
from benchmarks.contestants import CONTESTANTS, Totals, compete, disagreements
from benchmarks.measure import Cost, goal, keep, machine, middle
from benchmarks.synthetic import MONTH, ROOT, ROWS, month_file

LABELS = {
    "duckdb": "DuckDB",
    "sail": "our jobs on Sail",
    "spark": "our jobs on Apache Spark",
    "straightforward": "straightforward PySpark on Apache Spark",
    "one-program": "the same, as one program",
}
OTHERS = ("growth", "parse")
LOCAL_AWS = "local_aws"
GB = 1e9


def main() -> None:
    """Measure, print, and write the figures if asked."""
    arguments = _arguments()
    chosen = arguments.only or [*CONTESTANTS, *OTHERS, LOCAL_AWS]
    try:
        if chosen != [LOCAL_AWS]:
            lines = [*_month([name for name in CONTESTANTS if name in chosen], arguments.rows, arguments.repeat)]
            _show("python -m benchmarks --write", [*lines, *_others(chosen, arguments.demo)], arguments.write)
        if LOCAL_AWS in chosen:
            _say("local AWS")
            _show("python -m benchmarks --only local_aws --write", local_aws.report(), arguments.write)
    except (RuntimeError, subprocess.CalledProcessError, ValueError) as error:
        sys.exit(f"The benchmark ended early: {error}")


def _show(command: str, lines: Iterable[str], write: bool) -> None:
    """Print figures, and write them below the marker of the command if asked."""
    text = "\n".join([f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}, {_versions()}.", "", *lines])
    print(text)
    if write:
        keep(command, text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of the synthetic month ({ROWS})")
    parser.add_argument(
        "--only", nargs="+", choices=[*CONTESTANTS, *OTHERS, LOCAL_AWS], metavar="NAME", help="measure only these"
    )
    parser.add_argument("--repeat", type=int, default=1, help="runs of each contestant, every other in reverse order")
    parser.add_argument("--demo", action="store_true", help="measure make demo too (once it is installed)")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    return parser.parse_args()


def _month(names: list[str], rows: int, repeat: int) -> Iterator[str]:
    """Have the contestants make the same month, and yield the lines of the table of their costs."""
    if not names:
        return
    _say(f"{rows:,} synthetic trips of {MONTH}")
    file = month_file(rows)
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    made: dict[str, Totals] = {}
    for turn in range(repeat):
        for name in names if turn % 2 == 0 else reversed(names):
            cost, made[name] = compete(name, file, MONTH)
            costs[name].append(cost)
            _say(f"{LABELS[name]}: {cost.seconds:.1f} s, {cost.peak_bytes / GB:.1f} GB")
    result = {name: middle(each) for name, each in costs.items()}
    first = names[0]
    yield f"One month of {rows:,} trips ({file.stat().st_size / 1e6:,.0f} MB), {_times(repeat)}:"
    yield ""
    yield f"| | seconds | × {LABELS[first]} | peak memory | same output |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for name, cost in result.items():
        wrong = disagreements(made[first], made[name])
        same = f"no: {', '.join(wrong)}" if wrong else "yes"
        ratio = cost.seconds / result[first].seconds
        yield f"| {LABELS[name]} | {cost.seconds:.1f} | {ratio:.2f} | {cost.peak_bytes / GB:.1f} GB | {same} |"
    yield ""
    for name, engine, limit in (("sail", "Sail", 1.35), ("spark", "Apache Spark", 5)):
        if {name, "duckdb"} <= result.keys():
            ratio = result[name].seconds / result["duckdb"].seconds
            yield goal(f"{engine} takes at most {limit} × DuckDB's time", ratio, limit)
    if {"spark", "straightforward"} <= result.keys():
        ratio = result["straightforward"].seconds / result["spark"].seconds
        yield goal("Apache Spark is at least 2.5 × as fast as the straightforward program", ratio, 2.5, at_least=True)
    for name in ("sail", "spark"):
        if name in result:
            yield goal(f"{LABELS[name]} stay within 6 GB", result[name].peak_bytes / GB, 6)


def _others(chosen: list[str], demo: bool) -> Iterator[str]:
    if "growth" in chosen:
        _say(f"24 months of {growth.ROWS:,} trips")
        second, last, ratio = growth.second_and_last()
        yield goal(f"The 24th month ({last:.1f} s) costs at most 1.1 × the 2nd ({second:.1f} s)", ratio, 1.1)
    if "parse" in chosen:
        _say("parse of the DAG folder")
        yield goal("The DAG folder is parsed in at most 0.3 s", parse.folder_seconds(), 0.3)
    if demo:
        _say("make demo")
        started = time.perf_counter()
        subprocess.run(["make", "demo"], cwd=ROOT, check=True, stdout=sys.stderr)
        yield goal("make demo, warm, takes at most 75 s", time.perf_counter() - started, 75)


def _times(repeat: int) -> str:
    return "one run each" if repeat == 1 else f"median of {repeat} runs each"


def _versions() -> str:
    packages = ("duckdb", "pysail", "pyspark", "apache-airflow", "moto")
    named = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"Python {platform.python_version()}, {named}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
