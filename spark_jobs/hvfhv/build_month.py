"""Build the tables of a month from its raw files: trips, quarantine, and all marts but rising_zones.

Started again for a version, it leaves what is finished: the trips, if every row of the files is either in them or in
the quarantine; and then each mart of one file, which is there as a whole or not at all. So a version is always of the
same files.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from pyspark.sql import DataFrame, SparkSession

from spark_jobs.common import lineage, tables
from spark_jobs.common.arguments import partition_parser
from spark_jobs.common.program import ProgramError, run, timed
from spark_jobs.common.session import session
from spark_jobs.hvfhv import curation, marts
from spark_jobs.hvfhv.contracts import contract, folder
from spark_jobs.hvfhv.schema import read_trips
from taxiway.core.month import Month

_CURATED = ("trips", "trips_quarantine")
_MARTS = ("trend", "market_share", "popular_zones", "service_quality", "eta_training")


def main() -> None:
    """Write the month's partitions of all tables that depend on this month alone."""
    parser = partition_parser((__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--input",
        action="append",
        required=True,
        dest="inputs",
        help="raw Parquet file; may be repeated",
    )
    args = parser.parse_args()
    places = {table: folder(args.lake, table, args.month, args.version) for table in (*_CURATED, *_MARTS)}
    with timed("everything"):
        with timed("start"):
            spark = session()
        raw = read_trips(spark, args.inputs)
        finished = _finished(spark, raw, places)
        if "trips" not in finished:
            _curate(raw, args.month, places)
        _build_marts(tables.read(spark, places["trips"]), finished, places)
        lineage.tell(spark, args.lake, "hvfhv/build_month.curate", [contract("trip_file")], map(contract, _CURATED))
        lineage.tell(spark, args.lake, "hvfhv/build_month.marts", [contract("trips")], map(contract, _MARTS))


def _finished(spark: SparkSession, raw: DataFrame, places: Mapping[str, str]) -> set[str]:
    """Return the tables that an earlier start has finished."""
    curated = [_stored(spark, places[table]) for table in _CURATED]
    if None in curated or sum(rows.count() for rows in curated if rows) != raw.count():
        return set()
    small = (table for table in _MARTS if table != "eta_training")  # of several files, some of which may be missing
    return {"trips", *(table for table in small if _stored(spark, places[table]))}


def _stored(spark: SparkSession, place: str) -> DataFrame | None:
    try:
        return tables.read(spark, place)
    except ProgramError:
        return None


def _curate(raw: DataFrame, month: Month, places: Mapping[str, str]) -> None:
    checked = curation.with_reject_reason(raw, month)
    with timed("search for duplicates"):
        suspects = curation.suspects(raw)
    with timed("trips_quarantine"):
        tables.write_one_file(curation.quarantined(checked, suspects), places["trips_quarantine"])
    with timed("trips"):
        quarantine = tables.read(raw.sparkSession, places["trips_quarantine"])
        tables.write(curation.curated(checked, quarantine), places["trips"])


def _build_marts(trips: DataFrame, finished: set[str], places: Mapping[str, str]) -> None:
    with timed("daily pickups"):
        daily = tables.in_memory(marts.daily_pickups(trips))

    def build(table: str) -> None:
        frame = getattr(marts, table)(daily if table in ("market_share", "popular_zones") else trips)
        # By far the largest is written as one file for each of the engine's tasks.
        write = tables.write if table == "eta_training" else tables.write_one_file
        with timed(table):
            write(frame, places[table])

    # Two at once: the end of one, which keeps one core busy, overlaps with the next.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(build, (table for table in _MARTS if table not in finished)))


if __name__ == "__main__":
    run(main)
