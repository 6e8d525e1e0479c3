"""Rank the zones whose share of trips rose, for one or more months, from popular_zones of these and earlier months."""

import argparse
from dataclasses import dataclass

from spark_jobs.common import lineage, tables
from spark_jobs.common.arguments import ArgumentParser, month, version
from spark_jobs.common.program import run
from spark_jobs.common.session import session
from spark_jobs.hvfhv.contracts import contract, folder
from spark_jobs.hvfhv.rising import BASELINE_MONTHS, rising_zones
from taxiway.core.month import Month


@dataclass(frozen=True)
class Assignment:
    """An argument MONTH=VALUE."""

    month: Month
    value: str

    @classmethod
    def parse(cls, text: str) -> "Assignment":
        """Parse the argument."""
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise argparse.ArgumentTypeError(f"{text!r} is not MONTH=VALUE, for example 2023-01=…")
        return cls(month(name), value)


def target(text: str) -> Assignment:
    """Parse MONTH=VERSION."""
    assignment = Assignment.parse(text)
    version(assignment.value)
    return assignment


def main() -> None:
    """Write each target month's partition of rising_zones."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "--target", action="append", type=target, required=True, help="MONTH=VERSION to write; may be repeated"
    )
    parser.add_argument(
        "--popular",
        action="append",
        type=Assignment.parse,
        required=True,
        help="MONTH=FOLDER of that month's popular_zones: the targets' and those of the three months before each",
    )
    parser.add_argument("--lake", required=True, help="root of the lake: s3://bucket[/prefix] or a local folder")
    args = parser.parse_args()
    folders = {popular.month: popular.value for popular in args.popular}
    for wanted in args.target:
        if wanted.month not in folders:
            parser.error(f"--target {wanted.month} has no --popular {wanted.month}=FOLDER")

    spark = session()
    popular_zones = {month: tables.read(spark, folder) for month, folder in folders.items()}
    for wanted in args.target:
        before = [wanted.month.plus(-back) for back in range(1, BASELINE_MONTHS + 1)]
        baseline = [popular_zones[month] for month in before if month in popular_zones]
        path = folder(args.lake, "rising_zones", wanted.month, wanted.value)
        tables.write_one_file(rising_zones(popular_zones[wanted.month], baseline), path)
    lineage.tell(spark, args.lake, "hvfhv/rank_rising_zones", [contract("popular_zones")], [contract("rising_zones")])


if __name__ == "__main__":
    run(main)
