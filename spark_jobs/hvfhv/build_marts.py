"""Build the marts of a month from its curated trips: service_quality, market_share, popular_zones and trend."""

from spark_jobs.common import tables
from spark_jobs.common.arguments import partition_parser
from spark_jobs.common.program import run
from spark_jobs.common.session import session
from spark_jobs.hvfhv import marts


def main() -> None:
    """Write the month's partitions of the marts, under the version of the curated trips that they are made from."""
    args = partition_parser(__doc__).parse_args()
    trips = tables.read(session(), tables.location(args.lake, tables.CURATED_TRIPS, args.month, args.version))
    daily = marts.daily_pickups(trips).persist()
    frames = {
        "service_quality": marts.service_quality(trips),
        "market_share": marts.market_share(daily),
        "popular_zones": marts.popular_zones(daily),
        "trend": marts.trend(trips),
    }
    for name, frame in frames.items():
        tables.write_one_file(frame, tables.location(args.lake, tables.mart(name), args.month, args.version))


if __name__ == "__main__":
    run(main)
