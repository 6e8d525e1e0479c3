"""Reads what a job run has written for a day, and checks it before it is published; see :mod:`.consistency`."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import duckdb
import pyarrow as pa

from taxiway.access_logs import consistency
from taxiway.access_logs.consistency import LARGE, MARTS, OtherDay, Outputs
from taxiway.access_logs.metrics import DATASET
from taxiway.access_logs.plan import InputFile, Job, inputs_of
from taxiway.access_logs.settings import AccessLogsSettings
from taxiway.access_logs.tables import ACCESS_FILE, QUARANTINE, REQUESTS, SESSIONS, TABLES
from taxiway.lake import Lake, LakeError, Publication, Table
from taxiway.operations import metrics

HOURS = """
select source_file, date_trunc('hour', requested_at) as hour, count(*) as requests,
       count(*) filter (status between 400 and 499) as errors_4xx,
       count(*) filter (status between 500 and 599) as errors_5xx,
       coalesce(sum(bytes), 0)::bigint as bytes
from part group by all
"""
QUARANTINED = "select source_file, reject_reason, count(*) as lines from part group by all"


class CheckError(LakeError):
    """Outputs must not be published; the text has one sentence for each fault."""


def read_outputs(
    lake: Lake, job: Job, files: Sequence[InputFile], others: Sequence[str], config: AccessLogsSettings
) -> tuple[Outputs, list[Publication]]:
    """Return what the job run of a day has written, and what would be published of it: the day last.

    Args:
        lake: has the outputs.
        job: the day.
        files: its raw files.
        others: the other days whose sessions the job run has built again.
        config: what is usual.

    Raises:
        LakeError: outputs are missing.
    """
    day = job["day"]
    locations = {table: lake.attempt(table, day, job["version"]) for table in TABLES}
    published = lake.partitions(REQUESTS)
    marts = {table: lake.read(locations[table]) for table in MARTS}
    outputs = Outputs(
        day=day,
        lines={_source_file(lake, job, file): file["lines"] for file in files},
        hours=_summed(lake, locations[REQUESTS], ("source_file", "requested_at", "status", "bytes"), HOURS),
        quarantined=_summed(lake, locations[QUARANTINE], ("source_file", "reject_reason"), QUARANTINED),
        schemas={table: lake.schema(locations[table]) for table in LARGE},
        marts=marts,
        before=_before(lake, day),
        comparable=_comparable(lake, others),
        others={other: _other_day(lake, other, job) for other in others},
        usual=_usual(lake, job, config.count_days),
        factor=config.count_factor,
    )
    rows = {REQUESTS: outputs.parsed, QUARANTINE: sum(outputs.reasons.values())}
    rows |= {table: mart.num_rows for table, mart in marts.items()}
    publications = []
    for other, sessions in outputs.others.items():
        place = {SESSIONS: lake.attempt(SESSIONS, other, job["version"])}
        inputs = published[other].parameters["inputs"]
        publications.append(_publication(other, inputs, place, {SESSIONS: sessions.after.num_rows}))
    return outputs, [*publications, _publication(day, inputs_of(list(files)), locations, rows)]


def check_day(outputs: Outputs, found: Mapping[str, Sequence[str]]) -> None:
    """Count the day's rows, and refuse it if a check failed.

    Raises:
        CheckError: a check failed.
    """
    metrics.rows_checked(DATASET, outputs.parsed, outputs.reasons)
    if any(found.values()):
        raise CheckError(consistency.headline(outputs, found))


def _summed(lake: Lake, location: str, columns: Sequence[str], query: str) -> pa.Table:
    """Return the result of a query over some columns of a large table, a part at a time; partial groups may repeat."""
    parts = []
    with duckdb.connect() as database:
        for batch in lake.batches(location, columns):
            database.register("part", pa.table(batch))
            parts.append(database.execute(query).to_arrow_table())
        if not parts:
            database.register("part", lake.schema(location).empty_table().select(columns))
            parts.append(database.execute(query).to_arrow_table())
    return pa.concat_tables(parts)


def _source_file(lake: Lake, job: Job, file: InputFile) -> str:
    """Return how the tables name a file: below the folder of its day in the lake, elsewhere by the end of its path."""
    inside = job["folder"].startswith(f"{lake.settings.lake}/{ACCESS_FILE.path}/")
    return file["name"] if inside else file["name"].rpartition("/")[2]


def _comparable(lake: Lake, others: Sequence[str]) -> bool:
    """Return whether the published sessions of other days are of runs that published all they had.

    A run publishes the sessions of other days first, and the requests of its own day last. One that ended in between
    has left sessions that count requests which are not published.
    """
    complete = {partition.version for partition in lake.partitions(REQUESTS).values()}
    return {lake.partitions(SESSIONS)[other].version for other in others} <= complete


def _before(lake: Lake, day: str) -> tuple[int, pa.Table] | None:
    requests, sessions = lake.partition(REQUESTS, day), lake.partition(SESSIONS, day)
    if requests is None or sessions is None:
        return None
    return int(requests.parameters["rows"]), lake.read(sessions.location, ["requests"])


def _other_day(lake: Lake, day: str, job: Job) -> OtherDay:
    published = lake.partition(SESSIONS, day)
    if published is None:
        raise LakeError(f"The sessions of {day} were built again, but are not published: run the DAG for {day}.")
    after = lake.read(lake.attempt(SESSIONS, day, job["version"]))
    return OtherDay(before=lake.read(published.location, ["requests"]), after=after)


def _usual(lake: Lake, job: Job, days: int) -> list[int]:
    """Return the number of lines of each of the last days before a job's that are published."""
    day = date.fromisoformat(job["day"])
    wanted = {str(day - timedelta(days=before)) for before in range(1, days + 1)}
    counts = [lake.partitions(table) for table in (REQUESTS, QUARANTINE)]
    return [
        sum(int(partitions[found].parameters["rows"]) for partitions in counts if found in partitions)
        for found in sorted(wanted & counts[0].keys())
    ]


def _publication(period: str, inputs: str, locations: Mapping[Table, str], rows: Mapping[Table, int]) -> Publication:
    return Publication(
        period=period,
        inputs=inputs,
        locations={table.name: location for table, location in locations.items()},
        rows={table.name: count for table, count in rows.items()},
    )
