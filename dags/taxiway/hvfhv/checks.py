"""Checks of a month's outputs before they are published: every row accounted for, marts consistent with the trips.

The checks read the files: row counts come from Parquet footers and sums from the marts as they were written, not from
what a step reports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.core.counts import most_first
from taxiway.hvfhv.metrics import DATASET
from taxiway.hvfhv.plan import Job, dependants
from taxiway.hvfhv.tables import (
    ETA_TRAINING,
    MARKET_SHARE,
    POPULAR_ZONES,
    QUARANTINE,
    RISING_ZONES,
    SERVICE_QUALITY,
    TABLES,
    TREND,
    TRIPS,
)
from taxiway.lake import Lake, LakeError, Publication, Table, join_inputs
from taxiway.lake.faults import NOT_FINITE, TOLERANCE, key_faults, rows_of, schema_faults, value_faults, wrong_value
from taxiway.operations import metrics, quality

SMALL_MARTS = (SERVICE_QUALITY, MARKET_SHARE, POPULAR_ZONES, RISING_ZONES, TREND)


class CheckError(LakeError):
    """Outputs must not be published; the text has one sentence for each check that failed."""


@dataclass(frozen=True)
class Outputs:
    """The data that the checks use.

    Attributes:
        month: ``YYYY-MM``.
        logged_rows: source file → number of rows by the ingestion log.
        source_rows: source file → number of rows by its footer.
        rows: of the curated trips and of ``eta_training``.
        quarantined: rows by reason.
        schemas: of the tables whose rows are not read.
        marts: the small marts.
        not_finite: of the tables whose rows are not in ``marts``: number of NaN and infinite values by column.
    """

    month: str
    logged_rows: Mapping[str, int]
    source_rows: Mapping[str, int]
    rows: Mapping[Table, int]
    quarantined: Mapping[str, int]
    schemas: Mapping[Table, pa.Schema]
    marts: Mapping[Table, pa.Table]
    not_finite: Mapping[Table, Mapping[str, int]] = field(default_factory=dict)


def failures(outputs: Outputs) -> list[str]:
    """Return one sentence for each check that fails; empty if all pass."""
    trips, training = outputs.rows[TRIPS], outputs.rows[ETA_TRAINING]
    if outputs.quarantined and not trips:
        return [_all_quarantined(outputs)]
    found = _lost_rows(outputs)
    for table, schema in outputs.schemas.items():
        found += schema_faults(table, schema)
    for table, columns in outputs.not_finite.items():
        found += [wrong_value(table, name, NOT_FINITE, rows) for name, rows in columns.items() if rows]
    if training > trips:
        found.append(f"{ETA_TRAINING.name} has {training:,} rows, but {TRIPS.name} has only {trips:,}.")
    for table, mart in outputs.marts.items():
        found += mart_faults(table, mart, outputs.rows)
    return found


def mart_faults(table: Table, mart: pa.Table, rows: Mapping[Table, int]) -> list[str]:
    """Return the violations of a small mart's contract: columns, keys, values, shares, number of trips.

    Args:
        table: the mart's table.
        mart: its rows.
        rows: number of rows of the table whose trips the mart counts.
    """
    if faults := schema_faults(table, mart.schema):
        return faults
    with duckdb.connect() as database:
        database.register(table.name, mart)
        found = [*key_faults(database, table), *value_faults(database, table), *_wrong_shares(database, table)]
        (trips,) = rows_of(database, f"select coalesce(sum(trips), 0)::bigint from {table.name}")[0]  # noqa: S608
    (counted,) = {rule["countsRowsOf"] for rule in table.contract.columns["trips"].rules if "countsRowsOf" in rule}
    (expected,) = (count for other, count in rows.items() if other.name == counted)
    if trips != expected:
        found.append(f"{table.name} counts {trips:,} trips, but {counted} has {expected:,} rows.")
    return found


def _all_quarantined(outputs: Outputs) -> str:
    named = ", ".join(f"{reason} {rows:,}" for reason, rows in most_first(outputs.quarantined))
    return (
        f"All {sum(outputs.quarantined.values()):,} rows of {outputs.month} were quarantined ({named}): "
        f"check its source, {', '.join(outputs.source_rows)}."
    )


def _lost_rows(outputs: Outputs) -> list[str]:
    found = [
        f"{uri} has {outputs.source_rows[uri]:,} rows, but the ingestion log has {logged:,}."
        for uri, logged in outputs.logged_rows.items()
        if outputs.source_rows[uri] != logged
    ]
    source, accepted = sum(outputs.source_rows.values()), outputs.rows[TRIPS]
    quarantined = sum(outputs.quarantined.values())
    if difference := accepted + quarantined - source:
        found.append(
            f"Of {source:,} source rows {accepted:,} were accepted and {quarantined:,} quarantined: "
            f"{abs(difference):,} too {'many' if difference > 0 else 'few'}."
        )
    return found


def _wrong_shares(database: duckdb.DuckDBPyConnection, table: Table) -> list[str]:
    """Return the groups whose shares neither add up to 1 nor, for an optional column, are all null."""
    found = []
    for column in table.contract.columns.values():
        for group in (", ".join(rule["groupBy"]) for rule in column.rules if "groupBy" in rule):
            allowed = f"abs(total - 1) <= {TOLERANCE}"
            if not column.required:
                allowed += f" or count({column.name}) = 0"
            rows = rows_of(
                database,
                f"""select {group or "'the month'"}, coalesce(sum({column.name}), 0) as total
                from {table.name} group by all having not ({allowed}) order by abs(total - 1) desc, 1""",  # noqa: S608
            )
            if rows:
                *example, total = rows[0]
                found.append(
                    f"Groups of {table.name} whose {column.name} does not add up to 1: {len(rows):,}, "
                    f"such as {', '.join(map(str, example))} with {total:.9g}."
                )
    return found


# ── The month of a run ──────────────────────────────────────────────────────────────────────────────────────────────


def check_month(
    lake: Lake, job: Job, finished: Sequence[Job], context: Mapping[str, Any] | None = None
) -> list[Publication]:
    """Check the outputs of a month, and the rising zones of the later months that depend on it.

    Args:
        lake: has the outputs.
        job: the month.
        finished: the jobs of the run whose marts are built.
        context: of the running task, whose results are recorded.

    Returns:
        the versions to publish: all tables of the month first, then the later months' rising zones.

    Raises:
        CheckError: checks or the step of the month failed.
        LakeError: outputs are missing.
    """
    month = job["month"]
    months = [other["month"] for other in finished]
    if month not in months:
        raise CheckError(f"{month} was not analysed because its Spark step failed: see its task build_month.")
    outputs, whole = _read_outputs(lake, job)
    found = failures(outputs)
    publications = [whole]
    published = lake.partitions(TRIPS)
    for later in dependants(months, published)[month]:
        location = lake.attempt(RISING_ZONES, later, job["version"])
        mart = lake.read(location)
        parameters = published[later].parameters
        faults = mart_faults(RISING_ZONES, mart, {TRIPS: int(parameters["rows"])})
        found += [f"{later}, whose baseline contains {month}: {fault}" for fault in faults]
        publications.append(
            _publication(later, parameters["inputs"], {RISING_ZONES: location}, {RISING_ZONES: mart.num_rows})
        )
    if context:
        quality.record([quality.result_of(TRIPS, "every row accounted for", found, period=month)], context)
    # Last, so that a retry does not count rows twice.
    metrics.rows_checked(DATASET, outputs.rows[TRIPS], outputs.quarantined)
    if found:
        raise CheckError(" ".join([f"{month} was not published because checks failed ({len(found)}).", *found]))
    return publications


def _read_outputs(lake: Lake, job: Job) -> tuple[Outputs, Publication]:
    locations = {table: lake.attempt(table, job["month"], job["version"]) for table in TABLES}
    marts = {table: lake.read(locations[table]) for table in SMALL_MARTS}
    reasons = lake.read(locations[QUARANTINE], ["reject_reason"]).column(0).value_counts().to_pylist()
    quarantined = {str(reason["values"]): int(reason["counts"]) for reason in reasons}
    rows = {table: lake.count(locations[table]) for table in (TRIPS, ETA_TRAINING)}
    outputs = Outputs(
        month=job["month"],
        logged_rows={file["uri"]: file["rows"] for file in job["inputs"]},
        source_rows={file["uri"]: lake.count(file["uri"]) for file in job["inputs"]},
        rows=rows,
        quarantined=quarantined,
        schemas={table: lake.schema(locations[table]) for table in (TRIPS, QUARANTINE, ETA_TRAINING)},
        marts=marts,
        not_finite={ETA_TRAINING: _not_finite(lake, locations[ETA_TRAINING], ETA_TRAINING)},
    )
    rows |= {QUARANTINE: sum(quarantined.values())} | {table: mart.num_rows for table, mart in marts.items()}
    inputs = join_inputs([file["sha256"] for file in job["inputs"]])
    return outputs, _publication(job["month"], inputs, locations, rows)


def _not_finite(lake: Lake, location: str, table: Table) -> dict[str, int]:
    """Count the values of a large table that are NaN or infinite, which the statistics of its files do not show."""
    found = {name: 0 for name, type_ in table.columns.items() if type_ == "double"}
    for batch in lake.batches(location, list(found)):
        for name in found:
            found[name] += pc.sum(pc.invert(pc.is_finite(batch[name]))).as_py() or 0
    return found


def _publication(period: str, inputs: str, locations: Mapping[Table, str], rows: Mapping[Table, int]) -> Publication:
    return Publication(
        period=period,
        inputs=inputs,
        locations={table.name: location for table, location in locations.items()},
        rows={table.name: count for table, count in rows.items()},
    )
