"""Incidents: what failed, since when, whose it is, what to do; see docs/incidents/README.md.

One is opened by a check that failed (:mod:`taxiway.operations.quality`), by a failed task of a DAG with the tag
``tier:1``, by a missed deadline, and by data older than its contract says. There is one for each DAG, table and check:
what fails again is added to it. It is told once, and closed by the next success: of a check when every period that
failed has passed, of a task and a deadline when a run of the DAG succeeds, of old data when it is fresh.

    python -m taxiway.operations.incidents list [--all]                 those that are open, or all
    python -m taxiway.operations.incidents show NUMBER                  one, with its action items
    python -m taxiway.operations.incidents close NUMBER --why "…"       one that no run can close
    python -m taxiway.operations.incidents post-mortem NUMBER [--prometheus URL]
    python -m taxiway.operations.incidents action add NUMBER "what is to be done" --owner TEAM [--due 2026-12-31]
    python -m taxiway.operations.incidents action done ACTION
    python -m taxiway.operations.incidents action list [--all]          those to be done, or all

They are in the catalogue's database, without which nothing is recorded.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from taxiway.catalogue import CatalogueError, checks, incidents, open_catalogue
from taxiway.catalogue.incidents import Action, Fault, Incident
from taxiway.core import errors

if TYPE_CHECKING:
    from taxiway.lake import Lake, Table

log = logging.getLogger(__name__)
harmless = partial(errors.harmless, log, "An incident could not be recorded.")

TIER = "tier:1"  # of the DAGs whose failed tasks are incidents
RUN_RUNBOOK = "docs/runbooks/DagSuccessBurnsFast.md"
DEADLINE_RUNBOOK = "docs/runbooks/DeadlineMissed.md"
FRESHNESS_RUNBOOK = "docs/runbooks/DataFreshnessBurnsFast.md"
PLATFORM = "platform"  # the owner of what no contract names one for
WHY = 200  # characters of a reason
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class IncidentError(ValueError):
    """A command cannot be done; the text is one sentence that says why, and what to do."""


def engine() -> sa.Engine | None:
    """Return the catalogue's database; None without one, or before its migration."""
    try:
        return open_catalogue(checks.REVISION)
    except (CatalogueError, sa.exc.SQLAlchemyError) as error:
        log.info("Results of checks and incidents are not recorded: %s", error)
        return None


def listed(
    database: sa.Engine | None = None,
    *,
    state: Literal["open", "closed"] | None = None,
    since: datetime | None = None,
    table: str | None = None,
) -> list[Incident]:
    """Return incidents, the newest first.

    Args:
        database: the catalogue's; None: that of Airflow's connection.
        state: only those; None: all.
        since: only those that were open at this time or later.
        table: only those of a table.

    Raises:
        CatalogueError: there is no such database, or it lacks these tables.
    """
    found = database or open_catalogue(checks.REVISION)
    return incidents.listed(found, state=state, since=since, tables=table and [table])


# ── Opening and closing ─────────────────────────────────────────────────────────────────────────────────────────────


def follow(database: sa.Engine, results: Sequence[checks.Result], context: Mapping[str, Any] | None) -> list[Incident]:
    """Open an incident for each check that failed, close those of checks that passed; tell of new ones, return them.

    Args:
        database: of the catalogue.
        results: with their run.
        context: of the running task; None outside of one.
    """
    new = []
    still = {key for dag_id in {each.dag_id for each in results} for key in incidents.opened_by(database, dag_id)}
    begun = getattr((context or {}).get("dag_run"), "start_date", None)
    for each in results:
        key = (each.dag_id, each.table, each.check)
        if not each.passed:
            fault = Fault(
                what=each.sentence,
                owner=each.owner or owner_of(each.dag_id),
                runbook=each.runbook,
                run_id=each.run_id,
                period=each.period,
                severity=each.severity,
                rows=each.rows,
                since=begun,
            )
            incident, opened = incidents.fail(database, key, fault)
            new += [incident] * opened
        elif key in still:
            _closed(incidents.succeed(database, key, each.run_id, each.period))
    if new and context:
        from taxiway.operations import notices

        notices.tell(context, "\n".join(map(sentence, new)))
    return new


def task_failed(context: Mapping[str, Any], reason: str, runbook: str | None, label: str = "") -> Incident | None:
    """Open an incident for a task that failed for good, or add it to the DAG's; return it if it is new.

    Nothing is opened for a DAG of another tier, nor where a check that failed in the task explains it.

    Args:
        context: of the callback, which the DAG processor calls if the task was killed.
        reason: why it failed.
        runbook: the page that says what to do.
        label: of a mapped task.
    """
    dag, ti, run_id = context["dag"], context["ti"], context["run_id"]
    if TIER not in dag.tags or not (database := engine()):
        return None
    if checks.failures(database, dag.dag_id, run_id, ti.task_id):
        return None
    task = f"{ti.task_id} ({label})" if label else ti.task_id
    owner = getattr(getattr(ti, "task", None), "owner", "") or dag.default_args.get("owner") or owner_of(dag.dag_id)
    fault = Fault(
        what=f"The task {task} of {dag.dag_id} failed: {' '.join(reason.split())[:1000]}",
        owner=owner,
        runbook=runbook or RUN_RUNBOOK,
        run_id=run_id,
        period=task,
        since=getattr(context.get("dag_run"), "start_date", None) or getattr(ti, "start_date", None),
    )
    incident, new = incidents.fail(database, (dag.dag_id, "", "tasks"), fault)
    return incident if new else None


def deadline_missed(dag_id: str, run_id: str, what: str, since: datetime | None) -> Incident | None:
    """Open an incident for a run that missed its deadline, at ``since``; return it if it is new."""
    if not (database := engine()):
        return None
    fault = Fault(what=what, owner=owner_of(dag_id), runbook=DEADLINE_RUNBOOK, run_id=run_id, since=since)
    incident, new = incidents.fail(database, (dag_id, "", "deadline"), fault)
    return incident if new else None


def run_succeeded(dag_id: str, run_id: str) -> list[Incident]:
    """Close the incidents of a DAG's tasks and deadlines, of which a run has succeeded; return them."""
    if not (database := engine()):
        return []
    keys = [key for key in incidents.opened_by(database, dag_id) if not key[1]]
    closed = [each for key in keys if (each := incidents.succeed(database, key, run_id))]
    for each in closed:
        _closed(each)
    return closed


def freshness(lake: "Lake", context: Mapping[str, Any]) -> list[Incident]:
    """Open an incident for each published table that is older than its contract says, close those of fresh ones.

    Args:
        lake: the tables of a pipeline.
        context: of the running task, whose DAG the incidents are of.

    Returns:
        the new ones; the database's errors are warnings.
    """
    with harmless(sa.exc.SQLAlchemyError):
        if database := engine():
            return _freshness(database, lake, context)
    return []


def _freshness(database: sa.Engine, lake: "Lake", context: Mapping[str, Any]) -> list[Incident]:
    dag_id, run_id, new = context["dag"].dag_id, context["run_id"], []
    for table, until, since in due(lake):
        key = (dag_id, table.name, "freshness")
        if datetime.now(UTC) <= since:
            _closed(incidents.succeed(database, key, run_id))
            continue
        fault = Fault(
            what=late(table, until, since),
            owner=table.contract.raw["team"]["name"],
            runbook=FRESHNESS_RUNBOOK,
            run_id=run_id,
            since=since,
        )
        incident, opened = incidents.fail(database, key, fault)
        new += [incident] * opened
    if new:
        from taxiway.operations import notices

        notices.warn("\n".join(map(sentence, new)))
    return new


def due(lake: "Lake") -> "Iterator[tuple[Table, datetime, datetime]]":
    """Yield the published tables whose contracts say how fresh they are: until when each is, and when more is due."""
    from taxiway.operations.metrics import ages

    for table, until, _ in ages(lake):
        levels = [each for each in table.contract.raw.get("slaProperties", []) if each["property"] == "freshness"]
        if until is not None and levels:
            yield table, until, until + levels[0]["value"] * UNITS[levels[0]["unit"]]


def late(table: "Table", until: datetime, due_by: datetime) -> str:
    """Return the sentence on a table that is older than its contract says."""
    return (
        f"{table.name} is older than its contract says: what is published ends on {until:%Y-%m-%d %H:%M} UTC, and "
        f"more was due by {due_by:%Y-%m-%d %H:%M} UTC."
    )


def sentence(incident: Incident) -> str:
    """Return what is told of a new incident."""
    return f"Incident {incident.id}, for {incident.owner}: {incident.what} Runbook: {incident.runbook}"


def owner_of(dag_id: str) -> str:
    """Return the team that answers for a DAG, by the contracts of its pipeline; else the platform's."""
    from taxiway.core import contracts, pipelines

    for pipeline, module in pipelines.modules("metrics").items():
        if dag_id in module.METRICS.dags:
            for name in contracts.names(pipeline):
                return str(contracts.read(pipeline, name).raw["team"]["name"])
    return PLATFORM


def _closed(incident: Incident | None) -> None:
    if incident:
        log.info("Incident %d is closed: %s", incident.id, incident.subject)


# ── Command line ────────────────────────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _run(options, open_catalogue(checks.REVISION))
    except (IncidentError, CatalogueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except sa.exc.DBAPIError as error:
        sys.stderr.write(f"The database of the catalogue cannot be used: {error.orig}.\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m taxiway.operations.incidents", description="Incidents.")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("list", help="list the incidents that are open")
    shown.add_argument("--all", action="store_true", help="closed ones too")
    one = commands.add_parser("show", help="show an incident and its action items")
    one.add_argument("number", type=int)
    ended = commands.add_parser("close", help="close an incident that no run can: its check, table or DAG is gone")
    ended.add_argument("number", type=int)
    ended.add_argument("--why", required=True, type=_reason, help=f"one sentence of at most {WHY} characters")
    report = commands.add_parser("post-mortem", help="write a post-mortem from the record, in Markdown")
    report.add_argument("number", type=int)
    report.add_argument("--prometheus", metavar="URL", help="address of a Prometheus, whose alerts join the timeline")
    action = commands.add_parser("action", help="action items").add_subparsers(dest="action", required=True)
    add = action.add_parser("add", help="add one to an incident")
    add.add_argument("number", type=int, help="of the incident")
    add.add_argument("what")
    add.add_argument("--owner", required=True, help="the team that does it")
    add.add_argument("--due", type=date.fromisoformat, help="until when, such as 2026-12-31")
    done = action.add_parser("done", help="note that one is done")
    done.add_argument("number", type=int, help="of the action item")
    items = action.add_parser("list", help="list those to be done")
    items.add_argument("--all", action="store_true", help="those that are done too")
    return parser


def _reason(text: str) -> str:
    line = " ".join(text.split())
    if not 0 < len(line) <= WHY:
        raise argparse.ArgumentTypeError(f"say why in 1 to {WHY} characters")
    return line


def _run(options: argparse.Namespace, database: sa.Engine) -> None:
    if options.command == "list":
        _show_incidents(incidents.listed(database, state=None if options.all else "open"))
    elif options.command == "show":
        _show_incident(_find(database, options.number), incidents.actions(database, [options.number]))
    elif options.command == "close":
        incident = _find(database, options.number)
        if not incidents.close(database, incident.id, options.why):
            raise IncidentError(f"Incident {incident.id} is closed already: see the command show {incident.id}.")
        sys.stdout.write(f"Incident {incident.id} is closed: {incident.subject}\n")
    elif options.command == "post-mortem":
        from taxiway.operations import post_mortem

        sys.stdout.write(post_mortem.write(database, _find(database, options.number), options.prometheus))
    elif options.action == "add":
        _find(database, options.number)
        number = incidents.add_action(database, options.number, options.what, options.owner, options.due)
        sys.stdout.write(f"Action item {number} is added to incident {options.number}.\n")
    elif options.action == "done":
        found = incidents.finish_action(database, options.number)
        if found is None:
            raise IncidentError(f"There is no action item {options.number}: see the command action list.")
        sys.stdout.write(f"Action item {found.id} is done: {found.what}\n")
    else:
        items = incidents.actions(database)
        _show_actions([each for each in items if options.all or each.done_at is None])


def _find(database: sa.Engine, number: int) -> Incident:
    found = incidents.read(database, number)
    if found is None:
        raise IncidentError(f"There is no incident {number}: see the command list --all.")
    return found


def _show_incidents(found: Sequence[Incident]) -> None:
    rows = [
        (each.id, each.state, f"{each.detected_at:%Y-%m-%d %H:%M}", each.owner, each.subject, ", ".join(each.periods))
        for each in found
    ]
    _table(("number", "state", "found (UTC)", "owner", "what", "periods"), rows, "There is no incident.")


def _show_incident(incident: Incident, actions: Sequence[Action]) -> None:
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in facts(incident)]
    sys.stdout.write("\n".join(lines) + "\n\n")
    _show_actions(actions)


def _show_actions(actions: Sequence[Action]) -> None:
    rows = [
        (each.id, each.incident_id, "done" if each.done_at else "to do", each.owner, each.due or "", each.what)
        for each in actions
    ]
    _table(("action", "incident", "state", "owner", "due", "what"), rows, "There is no action item.")


def facts(incident: Incident) -> list[tuple[str, str]]:
    """Return what is known of an incident, as names and texts."""
    end = incident.closed_at
    found = {
        "incident": f"{incident.id} ({incident.state}, {incident.severity})",
        "what": incident.what,
        "DAG": incident.dag_id or "none",
        "table": incident.table or "none",
        "check": incident.check,
        "periods": ", ".join(incident.periods) or "none",
        "rows": "unknown" if incident.rows is None else f"{incident.rows:,}",
        "owner": incident.owner,
        "runbook": incident.runbook,
        "since": moment(incident.since),
        "found": f"{moment(incident.detected_at)}, after {spell(incident.detected_at - incident.since)}",
        "run": incident.run_id or "none",
        "failures": f"{incident.failures}, last {moment(incident.last_failed_at)}",
        "closed": f"{moment(end)}, after {spell(end - incident.detected_at)}, {incident.closing}" if end else "no",
    }
    return list(found.items())


def moment(time: datetime) -> str:
    """Return a time as it is shown."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def spell(time: timedelta) -> str:
    """Return a duration as it is shown."""
    from taxiway.operations.messages import duration

    return duration(max(time.total_seconds(), 0))


def _table(headings: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
    if not rows:
        sys.stdout.write(f"{nothing}\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    Console(markup=False, highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
