"""Curate the HVFHV trips of a month: raw files in; accepted trips and quarantined trips, each with its reason, out."""

from spark_jobs.common import tables
from spark_jobs.common.arguments import partition_parser
from spark_jobs.common.program import run
from spark_jobs.common.session import session
from spark_jobs.hvfhv import curation
from spark_jobs.hvfhv.contracts import folder
from spark_jobs.hvfhv.schema import read_trips


def main() -> None:
    """Write the month's partitions of curated and quarantined trips."""
    parser = partition_parser(__doc__)
    parser.add_argument(
        "--input",
        action="append",
        required=True,
        dest="inputs",
        help="raw Parquet file; may be repeated",
    )
    args = parser.parse_args()
    spark = session()
    checked = curation.with_reject_reason(read_trips(spark, args.inputs), args.month)
    quarantine = folder(args.lake, "trips_quarantine", args.month, args.version)
    tables.write_one_file(curation.quarantined(checked), quarantine)
    trips = curation.curated(checked, tables.read(spark, quarantine))
    tables.write(trips, folder(args.lake, "trips", args.month, args.version))


if __name__ == "__main__":
    run(main)
