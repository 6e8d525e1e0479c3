"""What is told of each DAG run, and where: a row a run in ``run_threads``, which its tasks share.

Tasks that end at once must not post two first messages, nor replace a message by an older one. Whoever shows a run
holds a lease, and gives it back only if nothing was added meanwhile; the others leave what they added to the holder.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from taxiway.catalogue.models import run_threads

REVISION = "0002"  # the migration that makes the table
LEASE = timedelta(minutes=2)  # longer than a message takes with its retries; the holder may have been killed
KEPT = timedelta(days=90)

Run = tuple[str, str]  # dag_id, run_id


@dataclass(frozen=True)
class RunThread:
    """What is known of a run.

    Attributes:
        state: ``running``, ``success`` or ``failed``.
        ended: when it ended, None while it runs.
        tasks: (task id, label of a mapped task or "") → how its last try ended, see ``notices``; in order of ending.
        revision: how often something was added.
        channel, ts: the id of the channel and of the first message; None if there is no message yet.
    """

    state: str
    ended: datetime | None
    tasks: Mapping[tuple[str, str], Mapping[str, Any]]
    revision: int
    channel: str | None
    ts: str | None


def add_task(
    engine: sa.Engine, run: Run, task: tuple[str, str], end: Mapping[str, Any], begun: datetime | None
) -> RunThread:
    """Add how a task ended; a task that began after the run had ended makes it a running one again.

    Args:
        engine: of the catalogue.
        run: its ids.
        task: its id and label.
        end: JSON values.
        begun: when the task began, None if that is unknown.
    """

    def change(found: RunThread) -> dict[str, Any]:
        tasks = {key: value for key, value in found.tasks.items() if key != task} | {task: end}
        again = bool(found.ended and begun and begun > found.ended)
        return {"tasks": _dump(tasks), **({"state": "running", "ended": None} if again else {})}

    return _change(engine, run, change)


def open_thread(engine: sa.Engine, run: Run) -> RunThread:
    """Add that something is to be told of a run before any of its tasks has ended."""
    return _change(engine, run, lambda _: {})


def end_run(engine: sa.Engine, run: Run, state: Literal["success", "failed"]) -> RunThread | None:
    """Add that a run has ended; None if nothing was told of it, which then needs no end. Forgets runs of long ago."""
    now = datetime.now(UTC)
    with engine.begin() as connection:
        connection.execute(run_threads.delete().where(run_threads.c.updated < now - KEPT))
    if read_thread(engine, run) is None:
        return None
    return _change(engine, run, lambda _: {"state": state, "ended": now})


def read_thread(engine: sa.Engine, run: Run) -> RunThread | None:
    """Return what is known of a run; None if nothing is."""
    with engine.connect() as connection:
        row = connection.execute(run_threads.select().where(_is(run))).one_or_none()
    return None if row is None else _thread(row)


def take_lease(engine: sa.Engine, run: Run, *, force: bool = False) -> RunThread | None:
    """Return the run to show, for one caller at a time; None while another has it.

    Args:
        engine: of the catalogue.
        run: its ids; something was added to it.
        force: take it from the other.
    """
    now = datetime.now(UTC)
    free = sa.or_(run_threads.c.leased.is_(None), run_threads.c.leased < now - LEASE, sa.literal(force))
    with engine.begin() as connection:
        taken = connection.execute(run_threads.update().where(_is(run), free).values(leased=now))
        return _thread(connection.execute(run_threads.select().where(_is(run))).one()) if taken.rowcount else None


def end_lease(engine: sa.Engine, run: Run, revision: int | None = None) -> bool:
    """Give a lease back; False if something was added since ``revision``, and the caller still has it."""
    query = run_threads.update().where(_is(run)).values(leased=None)
    if revision is not None:
        query = query.where(run_threads.c.revision == revision)
    with engine.begin() as connection:
        return bool(connection.execute(query).rowcount)


def place_thread(engine: sa.Engine, run: Run, channel: str, ts: str) -> None:
    """Keep where a run's first message is."""
    with engine.begin() as connection:
        connection.execute(run_threads.update().where(_is(run)).values(channel=channel, ts=ts))


def forget_place(engine: sa.Engine, run: Run, ts: str) -> None:
    """Forget where a run's first message was, unless there is already another one."""
    with engine.begin() as connection:
        gone = run_threads.update().where(_is(run), run_threads.c.ts == ts)
        connection.execute(gone.values(channel=None, ts=None, revision=run_threads.c.revision + 1))


def _change(engine: sa.Engine, run: Run, change: Callable[[RunThread], dict[str, Any]]) -> RunThread:
    try:
        return _change_once(engine, run, change)
    except sa.exc.IntegrityError:  # another task has just added the row
        return _change_once(engine, run, change)


def _change_once(engine: sa.Engine, run: Run, change: Callable[[RunThread], dict[str, Any]]) -> RunThread:
    with engine.begin() as connection:
        chosen = run_threads.select().where(_is(run))
        row = connection.execute(chosen.with_for_update()).one_or_none()
        found = _thread(row) if row else RunThread("running", None, {}, 0, None, None)
        values = {"revision": found.revision + 1, "updated": datetime.now(UTC), **change(found)}
        if row:
            connection.execute(run_threads.update().where(_is(run)).values(**values))
        else:
            first = {"dag_id": run[0], "run_id": run[1], "state": found.state, "tasks": "[]"}
            connection.execute(run_threads.insert().values(**first | values))
        return _thread(connection.execute(chosen).one())


def _is(run: Run) -> sa.ColumnElement[bool]:
    return sa.and_(run_threads.c.dag_id == run[0], run_threads.c.run_id == run[1])


def _thread(row: Any) -> RunThread:
    tasks = {(task, label): end for task, label, end in json.loads(row.tasks)}
    return RunThread(row.state, row.ended, tasks, row.revision, row.channel, row.ts)


def _dump(tasks: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    return json.dumps([[*key, end] for key, end in tasks.items()], separators=(",", ":"), ensure_ascii=False)
