"""Start the HVFHV Spark programs on local folders, with the arguments that an EMR step gives them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
ZONE_LOOKUP = ROOT / "spark_jobs/hvfhv/taxi_zone_lookup.csv"


def of_month(month: str, files: Sequence[Path], lake: Path, version: str) -> list[list[str]]:
    """Return the programs, each with its arguments, that turn one month's raw files into its own tables."""
    place = ["--month", month, "--lake", str(lake)]
    inputs = [argument for file in files for argument in ("--input", str(file))]
    return [["hvfhv/curate.py", *place, *inputs], ["hvfhv/build_marts.py", *place], ["eta/build_training.py", *place]]


def of_rising_zones(targets: Sequence[str], present: Sequence[str], lake: Path, version: str) -> list[str]:
    """Return the program that ranks the rising zones of ``targets``, given the months that are ``present``."""
    arguments = [argument for month in targets for argument in ("--target", f"{month}={version}")]
    for month in present:
        arguments += ["--popular", f"{month}={partition(lake, 'marts/hvfhv/popular_zones', month, version)}"]
    return ["hvfhv/rank_rising_zones.py", *arguments, "--lake", str(lake)]


def partition(lake: Path, path: str, month: str, version: str) -> Path:
    """Return the folder of one version of a table's month."""
    year, number = month.split("-")
    return lake / path / f"year={year}" / f"month={number}" / f"version={version}"


def run(program: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a program in a process of its own; its output is shown only if it fails."""
    command = [sys.executable, str(ROOT / "spark_jobs" / program[0]), *program[1:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(program)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
