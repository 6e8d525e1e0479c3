"""The consistency report of a day: whether its tables account for every line, and for each other."""
# ruff: noqa: S608 - the queries name our own tables

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import duckdb
import pyarrow as pa

from taxiway.access_logs.tables import (
    HOURLY_TRAFFIC,
    QUARANTINE,
    REQUESTS,
    SESSIONS,
    STATUS_BY_PATH,
    SUSPICIOUS_CLIENTS,
    TOP_RESOURCES,
)
from taxiway.core.counts import most_first
from taxiway.lake import Table
from taxiway.lake.faults import key_faults, rows_of, schema_faults, value_faults

MARTS = (HOURLY_TRAFFIC, TOP_RESOURCES, STATUS_BY_PATH, SUSPICIOUS_CLIENTS, SESSIONS)
LARGE = (REQUESTS, QUARANTINE)
COLUMNS = "columns as agreed"


@dataclass(frozen=True)
class OtherDay:
    """The sessions of another day that this one changes: as they are published, and as they were built again."""

    before: pa.Table
    after: pa.Table


@dataclass(frozen=True)
class Outputs:
    """The data that the checks use.

    Attributes:
        day: ``YYYY-MM-DD``.
        lines: file → number of its lines, counted in the raw file.
        hours: of the requests, by file and hour: ``source_file, hour, requests, errors_4xx, errors_5xx, bytes``.
        quarantined: of the quarantine: ``source_file, reject_reason, lines``.
        schemas: of the tables whose rows are not read.
        marts: the rows of the others.
        before: the day's published requests and sessions, None where it has none yet: rows, and the sessions.
        others: day → its sessions, which this day changes.
        comparable: whether what was published before is of complete publications.
        usual: lines of each of the last days.
        factor: how far the day's may be from their median; 0: any number.
    """

    day: str
    lines: Mapping[str, int]
    hours: pa.Table
    quarantined: pa.Table
    schemas: Mapping[Table, pa.Schema]
    marts: Mapping[Table, pa.Table]
    before: tuple[int, pa.Table] | None = None
    others: Mapping[str, OtherDay] = field(default_factory=dict)
    comparable: bool = True
    usual: Sequence[int] = ()
    factor: float = 0

    @property
    def parsed(self) -> int:
        """The number of requests."""
        return _total(self.hours, "requests")

    @property
    def reasons(self) -> dict[str, int]:
        """The number of quarantined lines by reason, most first."""
        found: dict[str, int] = {}
        for row in self.quarantined.to_pylist():
            found[row["reject_reason"]] = found.get(row["reject_reason"], 0) + row["lines"]
        return dict(most_first(found))


# What is checked, in the order of the report.
def failures(outputs: Outputs) -> dict[str, list[str]]:
    """Return the checks by their names, each with a sentence for each of its faults."""
    if faults := [fault for table, schema in _schemas(outputs).items() for fault in schema_faults(table, schema)]:
        return {COLUMNS: faults}
    with duckdb.connect() as database:
        for table, rows in outputs.marts.items():
            database.register(table.name, rows)
        database.register("hours", outputs.hours)
        database.register("quarantined", outputs.quarantined)
        for name, other in outputs.others.items():
            database.register(f"sessions_{name}", other.after)
        return {
            "lines = parsed + quarantined": _lost_lines(outputs),
            "summaries = requests": _wrong_sums(database),
            "sessions = requests": _wrong_sessions(outputs, database),
            "keys are unique": [fault for table in outputs.marts for fault in key_faults(database, table)],
            "values as agreed": [fault for table in outputs.marts for fault in value_faults(database, table)],
            "number as usual": _unusual(outputs),
        }


def _schemas(outputs: Outputs) -> dict[Table, pa.Schema]:
    return {**outputs.schemas, **{table: rows.schema for table, rows in outputs.marts.items()}}


def _lost_lines(outputs: Outputs) -> list[str]:
    parsed, quarantined = _by_file(outputs.hours, "requests"), _by_file(outputs.quarantined, "lines")
    lines = sum(outputs.lines.values())
    if lines and not parsed:
        named = ", ".join(f"{reason} {count:,}" for reason, count in outputs.reasons.items())
        files = ", ".join(outputs.lines)
        return [f"None of the {lines:,} lines of {outputs.day} is a request ({named}): check the format of {files}."]
    found = []
    for name in sorted({*outputs.lines, *parsed, *quarantined}):
        has, good, bad = outputs.lines.get(name, 0), parsed.get(name, 0), quarantined.get(name, 0)
        if has != good + bad:
            found.append(f"{name} has {has:,} lines, but {good:,} were parsed and {bad:,} quarantined.")
    return found


def _by_file(rows: pa.Table, column: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows.select(["source_file", column]).to_pylist():
        found[row["source_file"]] = found.get(row["source_file"], 0) + row[column]
    return found


def _wrong_sums(database: duckdb.DuckDBPyConnection) -> list[str]:
    found = []
    sums = ", ".join(f"sum({name})::bigint" for name in ("requests", "errors_4xx", "errors_5xx", "bytes"))
    by_hour = f"select hour, {sums} from hours group by all"
    traffic = f"select hour, requests, errors_4xx, errors_5xx, bytes from {HOURLY_TRAFFIC.name}"
    if wrong := _difference(database, by_hour, traffic):
        found.append(f"{HOURLY_TRAFFIC.name} differs from the requests in {wrong:,} rows.")
    by_status = (
        "select sum(requests)::bigint, (sum(requests) filter (status between 400 and 499))::bigint,"
        f" (sum(requests) filter (status between 500 and 599))::bigint, sum(bytes)::bigint from {STATUS_BY_PATH.name}"
    )
    whole = "select sum(requests), sum(errors_4xx), sum(errors_5xx), sum(bytes) from hours"
    [summed], [expected] = ([tuple(map(_int, row)) for row in rows_of(database, query)] for query in (by_status, whole))
    for name, has, needs in zip(("requests", "errors_4xx", "errors_5xx", "bytes"), summed, expected, strict=True):
        if has != needs:
            found.append(f"The {name} of {STATUS_BY_PATH.name} add up to {has:,}, those of the requests to {needs:,}.")
    by_path = (
        "select path, sum(requests)::bigint, coalesce((sum(requests) filter (status between 400 and 499))::bigint, 0),"
        " coalesce((sum(requests) filter (status between 500 and 599))::bigint, 0), sum(bytes)::bigint"
        f" from {STATUS_BY_PATH.name} group by all"
    )
    top = f"select path, requests, errors_4xx, errors_5xx, bytes from {TOP_RESOURCES.name}"
    [(wrong,)] = rows_of(database, f"select count(*) from ({top} except {by_path})")
    if wrong:
        found.append(f"{TOP_RESOURCES.name} differs from {STATUS_BY_PATH.name} in {wrong:,} rows.")
    [(wrong,)] = rows_of(
        database,
        f"select count(*) from {SUSPICIOUS_CLIENTS.name} where matches > requests",
    )
    if wrong:
        found.append(f"{SUSPICIOUS_CLIENTS.name} has {wrong:,} rows with more matches than requests.")
    return found


def _difference(database: duckdb.DuckDBPyConnection, left: str, right: str) -> int:
    query = f"select count(*) from (({left} except {right}) union all ({right} except {left}))"
    return int(rows_of(database, query)[0][0])


def _wrong_sessions(outputs: Outputs, database: duckdb.DuckDBPyConnection) -> list[str]:
    """Return faults of the sessions: each stands in its day, and together they count every request once."""
    found = []
    names = {outputs.day: SESSIONS.name} | {name: f'"sessions_{name}"' for name in outputs.others}
    for name, table in names.items():
        [(wrong,)] = rows_of(
            database,
            f"select count(*) from {table} where started_at::date <> date '{name}' or ended_at < started_at",
        )
        if wrong:
            found.append(f"{wrong:,} sessions of {name} did not begin on that day, or ended before they began.")
    if not outputs.comparable:
        return found
    rows, sessions = outputs.before or (0, None)
    had = sum(_total(other.before, "requests") for other in outputs.others.values())
    had += 0 if sessions is None else _total(sessions, "requests")
    has = sum(_total(other.after, "requests") for other in outputs.others.values())
    has += _total(outputs.marts[SESSIONS], "requests")
    if has - had != outputs.parsed - rows:
        found.append(
            f"The sessions count {has - had:+,} requests, but {outputs.day} has {outputs.parsed - rows:+,} requests."
        )
    return found


def _unusual(outputs: Outputs) -> list[str]:
    lines, usual, factor = sum(outputs.lines.values()), outputs.usual, outputs.factor
    if not factor or len(usual) < 3:
        return []
    middle = median(usual)
    if middle / factor <= lines <= middle * factor:
        return []
    fault = f"{outputs.day} has {lines:,} lines, but the {len(usual)} days before it have about {middle:,.0f}"
    remedy = f"if that is right, raise TAXIWAY_ACCESS_LOGS_COUNT_FACTOR ({factor:g}) and clear this task"
    return [f"{fault}: deliver what is missing; {remedy}."]


def _total(rows: pa.Table, column: str) -> int:
    return sum(value or 0 for value in rows.column(column).to_pylist())


def _int(value: Any) -> int:
    return int(value or 0)


# ── The report ──────────────────────────────────────────────────────────────────────────────────────────────────────


def headline(outputs: Outputs, found: Mapping[str, Sequence[str]]) -> str:
    """Return the first line of the report: whether the day can be published, and else what is wrong."""
    faults = [fault for sentences in found.values() for fault in sentences]
    if not faults:
        return f"{outputs.day} is consistent: {len(found)} checks passed."
    return " ".join([f"{outputs.day} is not published: {len(faults)} faults.", *faults])


def table(outputs: Outputs, found: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return the report as a small table, the first row its headings."""
    lines, quarantined = sum(outputs.lines.values()), sum(outputs.reasons.values())
    share = f" ({quarantined / lines:.2%})" if lines else ""
    traffic = outputs.hours
    errors = tuple(_total(traffic, f"errors_{kind}xx") for kind in (4, 5))
    sessions = outputs.marts.get(SESSIONS)
    rows = [
        ("what", "number"),
        ("files", f"{len(outputs.lines):,}"),
        ("lines", f"{lines:,}"),
        ("requests", f"{outputs.parsed:,}"),
        ("quarantined", f"{quarantined:,}{share}"),
        *((f"  {reason}", f"{count:,}") for reason, count in outputs.reasons.items()),
        ("errors 4xx, 5xx", f"{errors[0]:,}, {errors[1]:,}"),
        ("sessions", f"{sessions.num_rows:,}" if sessions is not None else "–"),
    ]
    return [*rows, *((name, "ok" if not faults else f"{len(faults)} faults") for name, faults in found.items())]
