"""The HVFHV Spark programs, with the arguments that an EMR step gives them, on local folders."""

from collections.abc import Sequence
from pathlib import Path

from spark_jobs.publish import archive

ROOT = Path(__file__).parents[2]
ZONE_LOOKUP = ROOT / "spark_jobs/common/taxi_zone_lookup.csv"


def package(folder: Path) -> Path:
    """Put the package that the programs import from into ``folder``, as it is published, and return the zip file."""
    file = folder / "spark_jobs.zip"
    file.write_bytes(archive())
    return file


def of_month(package: Path, month: str, files: Sequence[Path], lake: Path, version: str) -> list[str]:
    """Return the arguments of spark-submit that turn one month's raw files into its own tables."""
    place = ["--month", month, "--lake", str(lake), "--version", version]
    inputs = [argument for file in files for argument in ("--input", str(file))]
    return [*_program(package, "hvfhv/build_month.py"), *place, *inputs]


def of_rising_zones(
    package: Path, targets: Sequence[str], months: Sequence[str], lake: Path, version: str
) -> list[str]:
    """Return the arguments of spark-submit that rank the rising zones of ``targets``, given the ``months`` present."""
    arguments = [argument for month in targets for argument in ("--target", f"{month}={version}")]
    for month in months:
        arguments += ["--popular", f"{month}={partition(lake, 'marts/hvfhv/popular_zones', month, version)}"]
    return [*_program(package, "hvfhv/rank_rising_zones.py"), *arguments, "--lake", str(lake)]


def partition(lake: Path, path: str, month: str, version: str) -> Path:
    """Return the folder of one version of a table's month."""
    year, number = month.split("-")
    return lake / path / f"year={year}" / f"month={number}" / f"version={version}"


def _program(package: Path, program: str) -> list[str]:
    return ["--py-files", str(package), str(ROOT / "spark_jobs" / program)]
