"""Build the tables of a UTC day from its access logs, and the sessions of other days that its requests change.

Started again for a version, it writes everything anew: the same tables from the same files.
"""

import argparse
from collections.abc import Mapping
from datetime import date
from functools import partial, reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.access_logs import lines, marts, parsing
from spark_jobs.access_logs.contracts import contract, folder
from spark_jobs.access_logs.sessions import CLIENT, began_on, sessions
from spark_jobs.common import arguments, lineage, tables
from spark_jobs.common.program import ENGINE_ERRORS, ProgramError, run, timed
from spark_jobs.common.session import session


def neighbour(text: str) -> tuple[date, str]:
    """Read an argument DAY=FOLDER."""
    name, equals, place = text.partition("=")
    if not equals or not place:
        raise argparse.ArgumentTypeError(f"{text!r} is not DAY=FOLDER, for example 2023-01-31=…")
    return arguments.day(name), place


def main() -> None:
    """Write the day's partition of every table, and other days' partitions of sessions."""
    parser = arguments.partition_parser((__doc__ or "").splitlines()[0], arguments.day, "YYYY-MM-DD")
    parser.add_argument("--input", action="append", required=True, dest="inputs", help="log file; may be repeated")
    parser.add_argument(
        "--neighbour",
        action="append",
        type=neighbour,
        default=[],
        help="DAY=FOLDER of another day's published access_requests, for sessions over midnight; may be repeated",
    )
    parser.add_argument(
        "--rebuild",
        action="append",
        type=arguments.day,
        default=[],
        help="a neighbour whose sessions are written too, in the same version; may be repeated",
    )
    args = parser.parse_args()
    neighbours, written = dict(args.neighbour), (args.day, *args.rebuild)
    if strangers := [day for day in args.rebuild if day not in neighbours]:
        parser.error(f"--rebuild {strangers[0]} has no --neighbour {strangers[0]}=FOLDER")
    files = {_name(path, args.lake, args.day): path for path in args.inputs}
    if len(files) < len(args.inputs):
        parser.error("two of the files --input have the same name")
    places = {table: folder(args.lake, table, args.day, args.version) for table in _TABLES}
    with timed("everything"):
        with timed("start"):
            spark = session()
        _curate(spark, files, args.day, places)
        requests = tables.read(spark, places["access_requests"])
        _refuse_other_formats(spark, files, requests, places)
        _build_marts(requests, places)
        with timed("sessions"):
            others = [tables.read(spark, neighbours[day]) for day in sorted(neighbours)]
            _build_sessions(
                [requests, *others], {day: folder(args.lake, "sessions", day, args.version) for day in written}
            )
        tell = partial(lineage.tell, spark, args.lake)
        tell("access_logs/build_day.curate", [contract("access_file")], map(contract, _CURATED))
        tell("access_logs/build_day.marts", [contract("access_requests")], map(contract, (*_OF_REQUESTS, "sessions")))
        tell("access_logs/build_day.top_resources", [contract("status_by_path")], [contract("top_resources")])


def _name(path: str, lake: str, day: date) -> str:
    """Return a file's name below the folder of its day; of a file elsewhere, the last part of its path."""
    place = f"{lake.rstrip('/')}/{contract('access_file').path}/year={day:%Y}/month={day:%m}/day={day:%d}/"
    return path.removeprefix(place) if path.startswith(place) else path.rpartition("/")[2]


def _curate(spark: SparkSession, files: Mapping[str, str], day: date, places: Mapping[str, str]) -> None:
    rewritten: dict[str, str] = {}
    beside = f"{places['access_requests_quarantine']}.lines"
    try:
        try:
            _write(lines.read(spark, files, rewritten), day, places)
        except ENGINE_ERRORS as error:
            for number, name in enumerate(lines.unreadable(spark, files, error)):
                rewritten[name] = f"{beside}/{number}"
                lines.rewrite(files[name], rewritten[name])
            _write(lines.read(spark, files, rewritten), day, places)
    finally:
        if rewritten:
            lines.remove(beside)


def _write(rows: DataFrame, day: date, places: Mapping[str, str]) -> None:
    with timed("access_requests"):
        tables.write(parsing.accepted(parsing.with_reject_reason(rows, day)), places["access_requests"])
    with timed("access_requests_quarantine"):
        checked = parsing.with_reject_reason(parsing.doubtful(rows, day), day)
        tables.write_one_file(parsing.quarantined(checked), places["access_requests_quarantine"])


def _refuse_other_formats(
    spark: SparkSession, files: Mapping[str, str], requests: DataFrame, places: Mapping[str, str]
) -> None:
    """Refuse a file of which no line parses: it is no access log, and its lines would hide what is wrong."""
    quarantine = tables.read(spark, places["access_requests_quarantine"])
    unparsed, parsed = F.col("reject_reason") == "unparsed", F.col("reject_reason") == "outside_day"
    counts = quarantine.groupBy("source_file").agg(F.max(unparsed).alias("unparsed"), F.max(parsed).alias("parsed"))
    suspects = {row.source_file for row in counts.where("unparsed and not parsed").collect()}
    if not suspects:
        return
    found = requests.where(F.col("source_file").isin(*suspects)).select("source_file").distinct().collect()
    for name in sorted(suspects - {row.source_file for row in found}):
        raise ProgramError(
            f"{files[name]} is not an access log in the common or combined format: none of its lines parses; "
            "remove it from the folder, or have the server log in the combined format."
        )


def _build_marts(requests: DataFrame, places: Mapping[str, str]) -> None:
    with timed("status_by_path"):
        tables.write_one_file(marts.status_by_path(requests), places["status_by_path"])
    by_status = tables.read(requests.sparkSession, places["status_by_path"])
    for table, frame in {
        "top_resources": marts.top_resources(by_status),
        "hourly_traffic": marts.hourly_traffic(requests),
        "suspicious_clients": marts.suspicious_clients(requests),
    }.items():
        with timed(table):
            tables.write_one_file(frame, places[table])


def _build_sessions(days: list[DataFrame], places: Mapping[date, str]) -> None:
    """Write the sessions that began on each day of ``places``, of the requests of all days."""
    requests = reduce(DataFrame.unionByName, (rows.select(*CLIENT, "requested_at") for rows in days))
    found = sessions(requests)
    for day, place in places.items():
        tables.write_one_file(began_on(found, day), place)


_CURATED = ("access_requests", "access_requests_quarantine")
_OF_REQUESTS = ("status_by_path", "hourly_traffic", "suspicious_clients")
_TABLES = (*_CURATED, *_OF_REQUESTS, "top_resources")

if __name__ == "__main__":
    run(main)
