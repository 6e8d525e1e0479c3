"""Results of checks: what was asked of a table's rows, and what was found; a row each in ``check_results``."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from taxiway.catalogue.models import check_results

REVISION = "0003"  # the migration that makes the table
RUNBOOK = "docs/runbooks/ChecksFailing.md"
# Names that are not the same in the table, where they are reserved words.
_COLUMNS = {"table": "table_name", "check": "check_name"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One check of one table, or of one of its periods, in plain values.

    Attributes:
        pipeline: whose table it is.
        table: its name in the Glue catalogue; of a dbt model the model's.
        check: such as ``unique_key`` or ``required:zone_id``.
        passed: whether it is as expected.
        period: the partition's values, joined by ``-``; empty for a table without partitions.
        observed: what was found, short, for people.
        expected: what is asked for.
        rows: rows concerned: those that are wrong, or for counts all of them.
        severity: ``error``, or ``warning``: it is recorded and opens an incident, but stops nothing.
        owner: the team that answers for the table.
        runbook: address or path of the page that says what to do.
        profile: of a check of drift: share of the rows by bin.
        dag_id, run_id, task: of the run that checked; set when the result is recorded.
        checked_at: UTC; likewise.
    """

    pipeline: str
    table: str
    check: str
    passed: bool
    period: str = ""
    observed: str = ""
    expected: str = ""
    rows: int | None = None
    severity: str = "error"
    owner: str = ""
    runbook: str = RUNBOOK
    profile: dict[str, float] = field(default_factory=dict)
    dag_id: str = ""
    run_id: str = ""
    task: str = ""
    checked_at: datetime | None = None

    @property
    def sentence(self) -> str:
        """One sentence for logs and errors."""
        of = f"{self.table} of {self.period}" if self.period else self.table
        state = "passed" if self.passed else "failed"
        found = ", ".join(filter(None, (self.observed, self.expected and f"expected {self.expected}")))
        return f"The check {self.check} of {of} {state}{': ' if found else ''}{found}."


def write(engine: sa.Engine, results: Sequence[Result]) -> None:
    """Keep results; those of an earlier try of the same task are replaced."""
    with engine.begin() as connection:
        for result in results:
            row: dict[str, Any] = {_COLUMNS.get(name, name): value for name, value in asdict(result).items()}
            same = ("dag_id", "run_id", "task", "table_name", "check_name", "period")
            if result.run_id:
                connection.execute(check_results.delete().where(*(check_results.c[name] == row[name] for name in same)))
            connection.execute(check_results.insert().values(row | {"profile": json.dumps(result.profile)}))


def last(engine: sa.Engine, tables: Collection[str] | None = None) -> list[Result]:
    """Return the last result of each check, by table and check, with failed ones of other periods not repeated since.

    Args:
        engine: of the catalogue.
        tables: only these; None: all.
    """
    of = check_results.c
    newest = sa.select(sa.func.max(of.id)).group_by(of.table_name, of.check_name, of.period)
    query = check_results.select().where(of.id.in_(newest)).order_by(of.table_name, of.check_name, of.id)
    if tables is not None:
        query = query.where(of.table_name.in_(tables))
    found = _read(engine, query)
    latest = {(result.table, result.check): result for result in found}
    return [result for result in found if not result.passed or latest[result.table, result.check] is result]


def earlier(engine: sa.Engine, table: str, check: str, *, before: str = "", count: int) -> list[Result]:
    """Return the last results of a check that say what is usual, newest first: passed ones, and warnings.

    Those of rows that another check refused are left out.

    Args:
        engine: of the catalogue.
        table, check: their names.
        before: only the last result of each period before this one; empty: of every run.
        count: at most so many.
    """
    of, other = check_results.c, check_results.alias()
    together = ("dag_id", "run_id", "task", "table_name", "period")
    refused = sa.exists().where(
        *(other.c[name] == of[name] for name in together), other.c.passed.is_(False), other.c.severity == "error"
    )
    usual = sa.and_(
        of.table_name == table, of.check_name == check, sa.or_(of.passed, of.severity == "warning"),
        sa.or_(of.run_id == "", ~refused),
    )  # fmt: skip
    query = check_results.select().where(usual).order_by(of.id.desc())
    if before:
        newest = sa.select(sa.func.max(of.id)).where(usual, of.period < before).group_by(of.period)
        query = check_results.select().where(of.id.in_(newest)).order_by(of.period.desc())
    return _read(engine, query.limit(count))


def between(engine: sa.Engine, start: datetime, end: datetime, table: str | None = None) -> list[Result]:
    """Return the results of a time, in order; ``end`` is excluded."""
    of = check_results.c
    query = check_results.select().where(of.checked_at >= start, of.checked_at < end).order_by(of.id)
    return _read(engine, query if table is None else query.where(of.table_name == table))


def failures(engine: sa.Engine, dag_id: str, run_id: str, task: str) -> int:
    """Return the number of checks that failed in a task of a run, mapped ones by any index; warnings do not count."""
    of = check_results.c
    tasks = sa.or_(of.task == task, of.task.startswith(f"{task}[", autoescape=True))
    query = sa.select(sa.func.count()).where(
        of.dag_id == dag_id, of.run_id == run_id, tasks, of.passed.is_(False), of.severity == "error"
    )
    with engine.connect() as connection:
        return int(connection.scalar(query) or 0)


def forget(engine: sa.Engine, before: datetime) -> int:
    """Delete the results from before a time; return their number."""
    with engine.begin() as connection:
        return connection.execute(check_results.delete().where(check_results.c.checked_at < before)).rowcount


def _read(engine: sa.Engine, query: sa.Select[Any]) -> list[Result]:
    with engine.connect() as connection:
        rows = [row._mapping for row in connection.execute(query)]
    return [
        Result(
            **{each.name: row[_COLUMNS.get(each.name, each.name)] for each in fields(Result) if each.name != "profile"},
            profile=json.loads(row["profile"]),
        )
        for row in rows
    ]
