"""Build the marts of a month from its curated trips: service_quality, market_share, popular_zones and trend."""

from spark_jobs.common import tables
from spark_jobs.common.arguments import partition_parser
from spark_jobs.common.program import run
from spark_jobs.common.session import session
from spark_jobs.hvfhv import marts

MARTS = (marts.service_quality, marts.market_share, marts.popular_zones, marts.trend)


def main() -> None:
    """Write the month's partitions of the marts, under the version of the curated trips that they are made from."""
    args = partition_parser(__doc__).parse_args()
    trips = tables.read(session(), tables.location(args.lake, tables.CURATED_TRIPS, args.month, args.version))
    for mart in MARTS:
        path = tables.location(args.lake, tables.mart(mart.__name__), args.month, args.version)
        tables.write_one_file(mart(trips), path)


if __name__ == "__main__":
    run(main)
