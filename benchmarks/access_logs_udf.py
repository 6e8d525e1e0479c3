"""A day of access logs by PySpark with a Python UDF for parsing: what a competent engineer writes first.

The UDF is the difference: the marts are this repository's own, which need none.

spark-submit --py-files spark_jobs.zip access_logs_udf.py --day 2026-01-31 --input web-1.log --lake folder --version V
"""

import argparse
import re
from datetime import UTC, date, datetime
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.access_logs import marts
from spark_jobs.access_logs.contracts import folder
from spark_jobs.access_logs.sessions import began_on, sessions
from spark_jobs.common import tables
from spark_jobs.common.program import timed
from spark_jobs.common.session import session

FIELDS = (
    "host string, user string, requested_at timestamp_ntz, method string, path string, protocol string, status int, "
    "bytes bigint, referrer string, user_agent string, reject_reason string"
)
QUOTED = r'"((?:[^"\\]|\\.)*)"'
LINE = re.compile(
    rf"(?s)([^ ]+) [^ ]+ (.+) \[([^\]]+)\] {QUOTED} ([0-9]{{3}}) (-|[0-9]{{1,15}})(?: {QUOTED} {QUOTED})?"
)
REQUEST = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) ([A-Za-z]+/[0-9]+(?:\.[0-9]+)?)")


def parse(line: str, day: date) -> tuple[Any, ...]:
    """Return a line's fields and the reason to reject it, None if it is accepted."""
    found = LINE.fullmatch(line)
    if not found or len(line) > 65_536:
        return (*[None] * 10, "unparsed" if not found else "too_long")
    host, user, time, request, status, size, referrer, agent = found.groups()
    try:
        at = datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC).replace(tzinfo=None)
    except ValueError:
        return (*[None] * 10, "unparsed")
    words = REQUEST.fullmatch(request)
    method, path, protocol = words.groups() if words else (None, None, None)
    number = None if size == "-" else int(size)
    reason = None if at.date() == day else "outside_day"
    return (host, user, at, method, path, protocol, int(status), number, referrer, agent, reason)


def main() -> None:
    """Write all tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--day", required=True, type=date.fromisoformat)
    parser.add_argument("--input", required=True, action="append", dest="inputs")
    parser.add_argument("--lake", required=True)
    parser.add_argument("--version", required=True)
    arguments = parser.parse_args()
    day = arguments.day

    def place(table: str) -> str:
        return folder(arguments.lake, table, day, arguments.version)

    spark = session()
    # Otherwise a filter on what the function returns would have it called twice a line.
    parsed = F.udf(lambda line: parse(line, day), FIELDS).asNondeterministic()
    files = [
        spark.read.text(path, lineSep="\n").select(F.lit(path.rpartition("/")[2]).alias("source_file"), "value")
        for path in arguments.inputs
    ]
    lines = reduce(DataFrame.unionByName, files).where(F.trim("value") != "")
    rows = lines.select("source_file", "value", parsed("value").alias("fields"))
    rows = rows.select("source_file", "value", "fields.*").cache()  # which Sail does not do
    with timed("access_requests"):
        accepted = rows.where("reject_reason IS NULL").drop("value", "reject_reason")
        tables.write(accepted, place("access_requests"))
    with timed("access_requests_quarantine"):
        rejected = rows.where("reject_reason IS NOT NULL")
        rejected = rejected.select("source_file", F.col("value").alias("raw"), "reject_reason")
        tables.write_one_file(rejected, place("access_requests_quarantine"))
    with timed("marts"):
        requests = tables.read(spark, place("access_requests"))
        by_status = marts.status_by_path(requests)
        for table, mart in {
            "status_by_path": by_status,
            "top_resources": marts.top_resources(by_status),
            "hourly_traffic": marts.hourly_traffic(requests),
            "suspicious_clients": marts.suspicious_clients(requests),
            "sessions": began_on(sessions(requests), day),
        }.items():
            tables.write_one_file(mart, place(table))


if __name__ == "__main__":
    main()
