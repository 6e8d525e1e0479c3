"""Incidents: a row each in ``incidents``, one that is open for each DAG, table and check; and their action items.

An incident is open while the check fails for a period: it closes when every period that failed has passed. Two runs
that fail at once make one row: its ``open_key`` is unique.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any, Literal

import sqlalchemy as sa

from taxiway.catalogue.models import incident_actions, incidents

Key = tuple[str, str, str]  # dag_id, table, check
BY_HAND = "by hand: "  # what :attr:`Incident.closed_by` begins with if a person closed it


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that failed.

    Attributes:
        id: its number.
        dag_id, table, check: what it is about; the table is empty for a failed task and a missed deadline.
        what: one sentence, of the first failure in the last run that failed.
        severity: ``error`` or ``warning``.
        periods: those that failed, of a table with partitions; the names of tasks that failed.
        since: since when it is so, as far as that is known; UTC, as all times.
        detected_at: when it was found.
        last_failed_at: when it was last found.
        closed_at: None while it is open.
        failures: how often it was found.
        rows: rows concerned, likewise.
        owner: the team that answers.
        runbook: the page that says what to do.
        run_id: of the run that found it.
        closed_by: the run after which it was closed, or ``by hand: `` and why.
    """

    id: int
    dag_id: str
    table: str
    check: str
    what: str
    severity: str
    periods: tuple[str, ...]
    since: datetime
    detected_at: datetime
    last_failed_at: datetime
    closed_at: datetime | None
    failures: int
    rows: int | None
    owner: str
    runbook: str
    run_id: str
    closed_by: str | None

    @property
    def state(self) -> Literal["open", "closed"]:
        """Whether it is over."""
        return "open" if self.closed_at is None else "closed"

    @property
    def closing(self) -> str:
        """By what it was closed; empty while it is open."""
        by = self.closed_by or ""
        return by if not by or by.startswith(BY_HAND) else f"by the run {by}"

    @property
    def subject(self) -> str:
        """What failed, in a few words."""
        return f"{self.table} ({self.check})" if self.table else f"{self.dag_id} ({self.check})"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A failure, as it is found; fields as those of :class:`Incident`."""

    what: str
    owner: str
    runbook: str
    run_id: str
    period: str = ""
    severity: str = "error"
    rows: int | None = None
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Action:
    """An action item; ``due`` and ``done_at`` may be None."""

    id: int
    incident_id: int
    what: str
    owner: str
    due: date | None
    created_at: datetime
    done_at: datetime | None


def fail(engine: sa.Engine, key: Key, fault: Fault) -> tuple[Incident, bool]:
    """Open an incident, or add to the one that is open; return it, and whether it is new."""
    try:
        return _fail_once(engine, key, fault)
    except sa.exc.IntegrityError:  # another run has just opened it
        return _fail_once(engine, key, fault)


def _fail_once(engine: sa.Engine, key: Key, fault: Fault) -> tuple[Incident, bool]:
    now = datetime.now(UTC)
    said: dict[str, Any] = {"what": fault.what, "severity": fault.severity, "rows": fault.rows}
    run = fault.run_id or "no run"  # period → the run in which it failed last, false once it has passed
    with engine.begin() as connection:
        chosen = incidents.select().where(incidents.c.open_key == _digest(key))
        found = connection.execute(chosen.with_for_update()).one_or_none()
        if found is None:
            dag_id, table, check = key
            connection.execute(
                incidents.insert().values(
                    **said,
                    open_key=_digest(key),
                    dag_id=dag_id,
                    table_name=table,
                    check_name=check,
                    periods=json.dumps({fault.period: run}),
                    since=fault.since or now,
                    detected_at=now,
                    last_failed_at=now,
                    failures=1,
                    owner=fault.owner,
                    runbook=fault.runbook,
                    run_id=fault.run_id,
                )
            )
        else:
            periods = json.loads(found.periods)
            if run in periods.values():
                said = {}  # what failed first in a run is nearest to its cause
            more = {
                "periods": json.dumps(periods | {fault.period: run}),
                "failures": found.failures + 1,
                "last_failed_at": now,
            }
            connection.execute(incidents.update().where(incidents.c.id == found.id).values(**said, **more))
        return _incident(connection.execute(chosen).one()), found is None


def succeed(engine: sa.Engine, key: Key, run_id: str, period: str | None = None) -> Incident | None:
    """Note that a check passed for a period (None: for all); return the incident if this closed it."""
    with engine.begin() as connection:
        chosen = incidents.select().where(incidents.c.open_key == _digest(key))
        found = connection.execute(chosen.with_for_update()).one_or_none()
        if found is None:
            return None
        fails = json.loads(found.periods)
        fails |= dict.fromkeys(fails, False) if period is None else {period: False} if period in fails else {}
        values: dict[str, Any] = {"periods": json.dumps(fails)}
        if not any(fails.values()):
            values |= {"open_key": None, "closed_at": datetime.now(UTC), "closed_by": run_id}
        connection.execute(incidents.update().where(incidents.c.id == found.id).values(**values))
        if any(fails.values()):
            return None
        return _incident(connection.execute(incidents.select().where(incidents.c.id == found.id)).one())


def close(engine: sa.Engine, number: int, why: str) -> bool:
    """Close an open incident that no run will, such as one of a check that is gone; return whether it was open."""
    of = incidents.c
    query = incidents.update().where(of.id == number, of.open_key.is_not(None))
    with engine.begin() as connection:
        done = connection.execute(query.values(open_key=None, closed_at=datetime.now(UTC), closed_by=BY_HAND + why))
    return bool(done.rowcount)


def opened_by(engine: sa.Engine, dag_id: str) -> list[Key]:
    """Return the keys of a DAG's open incidents."""
    of = incidents.c
    query = sa.select(of.dag_id, of.table_name, of.check_name).where(of.open_key.is_not(None), of.dag_id == dag_id)
    with engine.connect() as connection:
        return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def read(engine: sa.Engine, number: int) -> Incident | None:
    """Return an incident; None if there is no such number."""
    with engine.connect() as connection:
        row = connection.execute(incidents.select().where(incidents.c.id == number)).one_or_none()
    return None if row is None else _incident(row)


def listed(
    engine: sa.Engine,
    *,
    state: Literal["open", "closed"] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    tables: Collection[str] | None = None,
) -> list[Incident]:
    """Return incidents, the newest first.

    Args:
        engine: of the catalogue.
        state: only those; None: all.
        since: only those that were open at this time or later.
        until: only those found before it.
        tables: only theirs.
    """
    of, query = incidents.c, incidents.select().order_by(incidents.c.id.desc())
    if state:
        query = query.where(of.closed_at.is_(None) if state == "open" else of.closed_at.is_not(None))
    if since:
        query = query.where(sa.or_(of.closed_at.is_(None), of.closed_at >= since))
    if until:
        query = query.where(of.detected_at < until)
    if tables is not None:
        query = query.where(of.table_name.in_(tables))
    with engine.connect() as connection:
        return [_incident(row) for row in connection.execute(query)]


def add_action(engine: sa.Engine, incident: int, what: str, owner: str, due: date | None = None) -> int:
    """Add an action item to an incident; return its number."""
    values = {"incident_id": incident, "what": what, "owner": owner, "due": due, "created_at": datetime.now(UTC)}
    with engine.begin() as connection:
        key = connection.execute(incident_actions.insert().values(values)).inserted_primary_key
    assert key
    return int(key[0])


def finish_action(engine: sa.Engine, number: int) -> Action | None:
    """Note that an action item is done, which it may be already; None if there is none of that number."""
    of = incident_actions.c
    with engine.begin() as connection:
        connection.execute(
            incident_actions.update().where(of.id == number, of.done_at.is_(None)).values(done_at=datetime.now(UTC))
        )
        row = connection.execute(incident_actions.select().where(of.id == number)).one_or_none()
    return None if row is None else Action(**row._mapping)


def actions(engine: sa.Engine, numbers: Sequence[int] | None = None) -> list[Action]:
    """Return the action items of some incidents (None: of all), in order."""
    query = incident_actions.select().order_by(incident_actions.c.id)
    if numbers is not None:
        query = query.where(incident_actions.c.incident_id.in_(numbers))
    with engine.connect() as connection:
        return [Action(**row._mapping) for row in connection.execute(query)]


def _digest(key: Key) -> str:
    return sha256("\0".join(key).encode()).hexdigest()


def _incident(row: Any) -> Incident:
    values = dict(row._mapping)
    del values["open_key"]
    values["periods"] = tuple(period for period in sorted(json.loads(values["periods"])) if period)
    return Incident(table=values.pop("table_name"), check=values.pop("check_name"), **values)
