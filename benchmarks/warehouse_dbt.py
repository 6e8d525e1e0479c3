"""How long the analyst waits for dbt: ``python -m benchmarks.warehouse_dbt [--write]``.

Runs ``make dbt`` on what was published, as ``make demo PIPELINE=warehouse`` leaves it: with nothing changed, and with
one model changed, to which a comment is added for the time.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Cost, goal, keep, machine, middle, run
from local_aws.engines import Launch

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "warehouse/models/marts/zone_month.sql"
PYTHON = ROOT / ".local/venvs/airflow/bin/python"


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warehouse_dbt", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    options = parser.parse_args()
    try:
        _dbt()  # what has changed since the last time
        text = "\n".join([f"{machine()}.", "", *_lines(options.repeat)])
    except RuntimeError as error:
        sys.exit(f"The benchmark ended early: {error}")
    print(text)
    if options.write:
        keep("python -m benchmarks.warehouse_dbt --write", text)


def _lines(repeat: int) -> Iterator[str]:
    unchanged = middle([_dbt() for _ in range(repeat)])
    changed = middle([_one_changed(number) for number in range(repeat)])
    for name, cost, limit in (("nothing changed", unchanged, 8), ("one model changed", changed, 12)):
        yield goal(f"make dbt, {name} (at most {limit} s)", cost.seconds, limit)


def _one_changed(number: int) -> Cost:
    text = MODEL.read_text()
    try:
        MODEL.write_text(f"{text}-- {number}\n")
        return _dbt()
    finally:
        MODEL.write_text(text)


def _dbt() -> Cost:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}", "ARGS": ""}
    return run(Launch([str(PYTHON), "-m", "laptop", "dbt"], environment, ROOT))


if __name__ == "__main__":
    main()
