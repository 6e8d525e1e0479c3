"""Checks of what goes into a table and comes out, from its data contract alone; their results in one table.

:func:`check` asks one query of the rows, however many: it reads them once. What it asks follows from the contract:
columns and types, keys, required columns, bounds, allowed values, numbers that are none. Two more are declared as
quality rules, by custom properties:

    volumeBand, volumeRuns   of the table: its rows are within this fraction of the median of the last runs
    driftMax, driftRuns,     of a column: the population stability index (PSI) of its values against the mean of the
    driftBins                last runs is at most this; of numbers by bins with these edges, else by value

A task checks, records, and then refuses what failed::

    results = quality.check(TABLE, rows, period=month, counts=counts, history=quality.history(TABLE, before=month))
    quality.record(results, get_current_context())
    quality.require(results)

Results are in ``check_results`` of the catalogue's database, which reports, the page of tables, metrics and incidents
read. Without that database nothing is recorded, and everything else works.
"""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from taxiway.catalogue.checks import Result
from taxiway.core.counts import most_first
from taxiway.core.errors import harmless
from taxiway.core.sql import identifier, literal
from taxiway.lake import LakeError, Table
from taxiway.operations import incidents, metrics

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlalchemy import Engine

__all__ = [
    "CheckError",
    "Counts",
    "History",
    "Result",
    "check",
    "history",
    "recent",
    "record",
    "require",
    "result",
    "result_of",
]

log = logging.getLogger(__name__)
_harmless = partial(harmless, log, "The results of checks could not be recorded or read.")

ENOUGH = 3  # earlier runs, with fewer of which nothing is usual yet
VALUES = 50  # of a column, that are told apart; the others are one
SMOOTHING = 1e-4  # the least share of a bin: an empty one would make the index infinite


class CheckError(LakeError):
    """Rows must not be published; the text has one sentence for each check that failed."""


@dataclass(frozen=True)
class Counts:
    """Rows of the source, and what became of them; those that were dropped as duplicates are among the rejected."""

    source: int
    accepted: int
    rejected: int = 0


@dataclass(frozen=True)
class History:
    """What is usual.

    Attributes:
        rows: number of rows of the last runs.
        profiles: column → shares of its values by bin, of the last runs.
    """

    rows: Sequence[int] = ()
    profiles: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)


# ── Checks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def check(
    table: Table, data: Any, *, period: str = "", counts: Counts | None = None, history: History | None = None
) -> list[Result]:
    """Check rows by their contract; where columns are wrong, nothing else is.

    Args:
        table: the table.
        data: its rows, or those of one period, without the partition columns: an Arrow table, or reader of batches
            (it is read once), a relation of DuckDB's, or Parquet files on this machine.
        period: which period they are.
        counts: rows of the source, and how many of them are accepted and rejected.
        history: what is usual; None: nothing is known.
    """
    import duckdb

    from taxiway.lake.faults import schema_faults

    with duckdb.connect() as database:
        rows = _relation(database, data)
        results = []
        wrong = schema_faults(table, _schema(rows, data))
        results.append(result(table, "schema", not wrong, period=period, observed=" ".join(wrong).rstrip(".")))
        if wrong:
            return results
        asked = _Questions(table)
        values = dict(zip(asked.select, rows.aggregate(", ".join(asked.select.values())).fetchall()[0], strict=True))
    total = values["rows"]
    results += [_counted(table, period, counts, total)] if counts else []
    results.append(_volume(table, period, total, history or History()))
    if table.key:
        twice, null = values["keyed"] - values["keys"], total - values["keyed"]
        found = [f"{twice:,} rows too many"] * bool(twice) + [f"{null:,} rows with a null"] * bool(null)
        key = ", ".join(table.key)
        results.append(
            result(
                table, "unique_key", not found, period=period, rows=twice + null, observed=", ".join(found),
                expected=f"one row for each {key}",
            )
        )  # fmt: skip
    for name, (expected, faults) in asked.faults.items():
        rows_wrong = {fault: values[alias] for fault, alias in faults.items() if values[alias]}
        observed = ", ".join(f"{fault} in {count:,} row{'s' * (count != 1)}" for fault, count in rows_wrong.items())
        results.append(
            result(
                table, name, not rows_wrong, period=period, rows=sum(rows_wrong.values()), observed=observed,
                expected=expected,
            )
        )  # fmt: skip
    for column, rule in asked.drift.items():
        results.append(_drift(table, period, column, rule, asked.profile(column, values), history or History()))
    return results


def result(
    table: Table,
    check: str,
    passed: bool,
    *,
    period: str = "",
    observed: str = "",
    expected: str = "",
    rows: int | None = None,
    severity: str = "error",
) -> Result:
    """Return the result of a check of the caller's own; owner and pipeline are the contract's."""
    return Result(
        pipeline=table.pipeline,
        table=table.name,
        check=check,
        passed=passed,
        period=period,
        observed=observed,
        expected=expected,
        rows=rows,
        severity=severity,
        owner=owner_of(table),
    )


def result_of(table: Table, check: str, faults: Sequence[str], *, period: str = "") -> Result:
    """Return the result of a check of the caller's own that found faults, a sentence each; none: it passed."""
    return result(table, check, not faults, period=period, observed=" ".join(faults).rstrip(".")[:2000])


def require(results: Sequence[Result]) -> None:
    """Refuse what failed, but for warnings.

    Raises:
        CheckError: a check failed.
    """
    failed = [each.sentence for each in results if not each.passed and each.severity == "error"]
    if failed:
        raise CheckError(" ".join(failed))


def owner_of(table: Table) -> str:
    """Return the team that answers for a table, by its contract; empty if that names none."""
    return str(table.contract.raw.get("team", {}).get("name", ""))


class _Questions:
    """What to ask of a table's rows: aliases of expressions, all of one query."""

    def __init__(self, table: Table) -> None:
        from taxiway.lake.faults import NOT_FINITE, NULL, wrong_values

        self.select = {"rows": "count(*)"}
        self.faults: dict[str, tuple[str, dict[str, str]]] = {}  # check → what is expected, fault → alias
        self.drift: dict[str, Mapping[str, Any]] = {}
        self._bins: dict[str, list[str]] = {}
        columns = table.contract.columns
        if table.key:
            names = [identifier(name) for name in table.key]
            whole = " and ".join(f"{name} is not null" for name in names)
            key = names[0] if len(names) == 1 else f"row({', '.join(names)})"
            self.select |= {
                "keyed": f"count(*) filter ({whole})",
                "keys": f"count(distinct {key}) filter ({whole})",
            }
        for column in columns.values():
            wrong = wrong_values(column)
            if column.name in table.key:
                wrong.pop(NULL, None)
            for fault, check, expected in (
                (NULL, "required", "a value in each row"),
                (NOT_FINITE, "finite", "numbers"),
            ):
                if fault in wrong:
                    self._ask(f"{check}:{column.name}", expected, {fault: wrong.pop(fault)})
            if wrong:  # bounds are left
                low, high = column.minimum, column.maximum
                bounds = [f"at least {low:g}"] if low is not None else []
                bounds += [f"at most {high:g}"] if high is not None else []
                self._ask(f"bounds:{column.name}", " and ".join(bounds), wrong)
            if column.valid_values:
                listed = ", ".join(literal(value) for value in column.valid_values)
                name = identifier(column.name)
                other = f"{name} is not null and cast({name} as varchar) not in ({listed})"
                self._ask(f"accepted:{column.name}", " or ".join(column.valid_values), {"another value": other})
            for rule in (rule for rule in column.rules if "driftMax" in rule):
                self.drift[column.name] = {**rule, "severity": _severity(_raw_column(table, column.name), "driftMax")}
                self._ask_profile(column.name, rule.get("driftBins", []))

    def _ask(self, check: str, expected: str, faults: Mapping[str, str]) -> None:
        aliases = {}
        for fault, condition in faults.items():
            aliases[fault] = alias = f"f{len(self.select)}"
            self.select[alias] = f"count(*) filter ({condition})"
        self.faults[check] = (expected, aliases)

    def _ask_profile(self, column: str, edges: Sequence[float]) -> None:
        name = identifier(column)
        if not edges:
            self.select[f"p:{column}"] = f"histogram(coalesce(cast({name} as varchar), 'null'))"
            return
        bins = {f"below {edges[0]:g}": f"{name} < {edges[0]}"}
        bins |= {f"{low:g} to {high:g}": f"{name} >= {low} and {name} < {high}" for low, high in pairwise(edges)}
        bins |= {f"from {edges[-1]:g}": f"{name} >= {edges[-1]}", "null": f"{name} is null"}
        self._bins[column] = list(bins)
        for each, condition in bins.items():
            self.select[f"p:{column}:{each}"] = f"count(*) filter ({condition})"

    def profile(self, column: str, values: Mapping[str, Any]) -> dict[str, float]:
        """Return the share of the rows in each bin; empty if there are no rows."""
        if column in self._bins:
            counts = {name: values[f"p:{column}:{name}"] for name in self._bins[column]}
        else:
            found = most_first(values[f"p:{column}"] or {})
            counts = dict(found[:VALUES])
            if rest := sum(count for _, count in found[VALUES:]):
                counts["others"] = counts.get("others", 0) + rest
        total = sum(counts.values())
        return {name: count / total for name, count in counts.items()} if total else {}


def _counted(table: Table, period: str, counts: Counts, total: int) -> Result:
    lost = counts.source - counts.accepted - counts.rejected
    passed = not lost and counts.accepted == total
    observed = f"{counts.source:,} rows of the source, {counts.accepted:,} accepted, {counts.rejected:,} rejected"
    if counts.accepted != total:
        observed += f", but {total:,} in the table"
    return result(
        table,
        "rows_in_out",
        passed,
        period=period,
        rows=counts.source,
        observed=observed,
        expected="source = accepted + rejected",
    )


def _volume(table: Table, period: str, total: int, usual: History) -> Result:
    rules = [each for each in table.contract.raw["schema"][0].get("quality", []) if "volumeBand" in _properties(each)]
    observed, expected, passed, severity = f"{total:,} rows", "", True, "error"
    for rule in rules:
        band, runs = float(_properties(rule)["volumeBand"]), int(_properties(rule).get("volumeRuns", 6))
        severity = rule.get("severity", "error")
        rows = list(usual.rows)[:runs]
        if len(rows) < min(ENOUGH, runs):
            expected = "any number: too few earlier runs are known"
            continue
        middle = median(rows)
        low, high = middle * (1 - band), middle * (1 + band)
        expected = f"{low:,.0f} to {high:,.0f}, within {band:.0%} of the median of the last {len(rows)}"
        passed = low <= total <= high
    return result(
        table, "volume", passed, period=period, rows=total, observed=observed, expected=expected, severity=severity
    )


def _drift(
    table: Table, period: str, column: str, rule: Mapping[str, Any], profile: dict[str, float], usual: History
) -> Result:
    before = list(usual.profiles.get(column, ()))[: int(rule.get("driftRuns", 6))]
    limit, passed = float(rule["driftMax"]), True
    if not profile:
        observed, expected = "no rows", ""
    elif len(before) < min(ENOUGH, int(rule.get("driftRuns", 6))):
        observed, expected = "", "anything: too few earlier runs are known"
    else:
        index, most = stability_index(profile, before)
        passed = index <= limit
        observed = f"a PSI of {index:.3f}" + (f", most of it by {most}" if not passed else "")
        expected = f"at most {limit:g} against the last {len(before)}"
    found = result(
        table,
        f"drift:{column}",
        passed,
        period=period,
        observed=observed,
        expected=expected,
        severity=rule["severity"],
    )
    return replace(found, profile=profile)


def stability_index(profile: Mapping[str, float], before: Sequence[Mapping[str, float]]) -> tuple[float, str]:
    """Return the population stability index of shares against the mean of earlier ones, and the bin that adds most.

    The sum over the bins of (now − before) · ln(now / before); a share below :data:`SMOOTHING` counts as that.
    """
    parts = {}
    for name in {*profile, *(name for each in before for name in each)}:
        now = max(profile.get(name, 0), SMOOTHING)
        then = max(sum(each.get(name, 0) for each in before) / len(before), SMOOTHING)
        parts[name] = (now - then) * math.log(now / then)
    return sum(parts.values()), max(parts, key=lambda name: (parts[name], name))


def _relation(database: "duckdb.DuckDBPyConnection", data: Any) -> "duckdb.DuckDBPyRelation":
    if isinstance(data, str | Path):
        data = [data]
    if isinstance(data, Sequence):
        return database.read_parquet([str(each) for each in data])
    return data if hasattr(data, "aggregate") and not hasattr(data, "schema") else database.from_arrow(data)


def _schema(rows: "duckdb.DuckDBPyRelation", data: Any) -> "pa.Schema":
    if hasattr(data, "schema"):
        schema: pa.Schema = data.schema
        return schema.remove_metadata()
    return rows.limit(0).to_arrow_table().schema.remove_metadata()


def _properties(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {each["property"]: each["value"] for each in rule.get("customProperties", [])}


def _raw_column(table: Table, name: str) -> Mapping[str, Any]:
    (found,) = (each for each in table.contract.raw["schema"][0]["properties"] if each["name"] == name)
    return dict(found)


def _severity(thing: Mapping[str, Any], declares: str) -> str:
    rules = (rule for rule in thing.get("quality", []) if declares in _properties(rule))
    return next((str(rule.get("severity", "error")) for rule in rules), "error")


# ── Results ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def history(table: Table, *, before: str = "") -> History:
    """Return what was usual by the last results; nothing without the catalogue's database.

    Args:
        table: the table.
        before: only periods before this one; empty for a table without partitions.
    """
    from taxiway.catalogue import checks

    with _harmless():
        if engine := incidents.engine():
            columns = [
                name for name, each in table.contract.columns.items() if any("driftMax" in r for r in each.rules)
            ]
            most = 30
            volumes = checks.earlier(engine, table.name, "volume", before=before, count=most)
            return History(
                rows=[each.rows for each in volumes if each.rows is not None],
                profiles={
                    name: [each.profile for each in checks.earlier(
                        engine, table.name, f"drift:{name}", before=before, count=most) if each.profile]
                    for name in columns
                },
            )  # fmt: skip
    return History()


def record(results: Sequence[Result], context: Mapping[str, Any] | None = None) -> list[Result]:
    """Keep results, count them, open and close incidents, and tell of new ones; never fails the task.

    Args:
        results: of checks, passed ones too.
        context: of the running task; None outside of one.

    Returns:
        the results with the run and the time.
    """
    now = datetime.now(UTC)
    dag_id, run_id, task = _run(context or {})
    found = [
        replace(each, checked_at=each.checked_at or now, dag_id=dag_id, run_id=run_id, task=task) for each in results
    ]
    for each in found:
        if not each.passed:
            log.warning(each.sentence)
        metrics.checked(each.table, passed=each.passed)
    with _harmless():
        if engine := incidents.engine():
            from taxiway.catalogue import checks

            checks.write(engine, found)
            incidents.follow(engine, found, context)
    return found


def recent(engine: "Engine | None" = None, *, tables: Collection[str] | None = None) -> list[Result]:
    """Return the last result of each check, and failures of earlier periods that still stand.

    Args:
        engine: of the catalogue; None: that of Airflow's connection.
        tables: only theirs.

    Raises:
        CatalogueError: there is no such database, or it lacks these tables.
    """
    from taxiway.catalogue import checks, open_catalogue

    return checks.last(engine or open_catalogue(checks.REVISION), tables)


def _run(context: Mapping[str, Any]) -> tuple[str, str, str]:
    ti = context.get("ti")
    if ti is None:
        return "", "", ""
    index = getattr(ti, "map_index", -1)
    task = ti.task_id if index is None or index < 0 else f"{ti.task_id}[{index}]"
    return context["dag"].dag_id, context["run_id"], task
