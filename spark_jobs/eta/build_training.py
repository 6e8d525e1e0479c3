"""Build the ETA training rows of a month from its curated HVFHV trips."""

from spark_jobs.common import tables
from spark_jobs.common.arguments import partition_parser
from spark_jobs.common.program import run
from spark_jobs.common.session import session
from spark_jobs.eta.training import eta_training


def main() -> None:
    """Write the month's partition of eta_training, under the version of the curated trips that it is made from."""
    args = partition_parser(__doc__).parse_args()
    trips = tables.read(session(), tables.location(args.lake, tables.CURATED_TRIPS, args.month, args.version))
    path = tables.location(args.lake, tables.mart(eta_training.__name__), args.month, args.version)
    tables.write(eta_training(trips), path)


if __name__ == "__main__":
    run(main)
