"""Build the marts of a month from its curated trips: all but rising_zones, which also needs other months."""

from spark_jobs.common import tables
from spark_jobs.common.arguments import partition_parser
from spark_jobs.common.program import run
from spark_jobs.common.session import session
from spark_jobs.hvfhv import marts
from spark_jobs.hvfhv.contracts import folder


def main() -> None:
    """Write the month's partitions of the marts, under the version of the curated trips that they are built from."""
    args = partition_parser(__doc__).parse_args()

    def place(table: str) -> str:
        return folder(args.lake, table, args.month, args.version)

    trips = tables.read(session(), place("trips"))
    daily = marts.daily_pickups(trips).persist()
    frames = {
        "service_quality": marts.service_quality(trips),
        "market_share": marts.market_share(daily),
        "popular_zones": marts.popular_zones(daily),
        "trend": marts.trend(trips),
    }
    for name, frame in frames.items():
        tables.write_one_file(frame, place(name))
    tables.write(marts.eta_training(trips), place("eta_training"))  # by far the largest: one file for each task


if __name__ == "__main__":
    run(main)
