"""What people are told of DAG runs, in Slack: one thread a run, see docs/notices.md.

A DAG takes part by two arguments::

    @dag(**notices.of_run(), default_args={**notices.of_tasks(runbook="docs/runbooks/DagSuccessBurnsFast.md"), …})

The first message of the thread has a line for each task that has ended, and the state of the run; a failed task is a
reply. :func:`tell` sends a reply from within a task, :func:`warn` a message to the channel. Nothing here ever raises:
what cannot be sent is a warning in the task's log. Nothing of Slack is imported before there is something to send.
The same callbacks open and close incidents (:mod:`taxiway.operations.incidents`), with Slack or without.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from taxiway.core.settings import settings
from taxiway.operations import messages

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from taxiway.catalogue.threads import RunThread
    from taxiway.operations.slack import Bot, Webhook

log = logging.getLogger(__name__)

Cause = Callable[[Mapping[str, Any]], str | None]
PATIENCE_S = 15.0  # how long a reply waits for another task to send the first message


def of_run() -> dict[str, Any]:
    """Return arguments of a DAG: its runs' ends are told, and a success closes its incidents."""
    return {
        "on_success_callback": partial(_run_ended, state="success"),
        "on_failure_callback": partial(_run_ended, state="failed"),
    }


def of_tasks(runbook: str | None = None, cause: Cause | None = None) -> dict[str, Any]:
    """Return ``default_args`` of a DAG: the ends of its tasks are told, and a failure opens an incident.

    A task with callbacks of its own has a list: ``on_success_callback=[mine, notices.succeeded]``.

    Args:
        runbook: address or path of the page that says what to do when a task has failed.
        cause: returns why a task failed, from its context, where its exception does not say; None: it does.
    """
    failed = {"on_failure_callback": partial(_task_ended, state="failed", runbook=runbook, cause=cause)}
    if not settings().slack_conn_id:
        return failed  # an incident is opened nevertheless
    return {
        "on_success_callback": succeeded,
        "on_skipped_callback": partial(_task_ended, state="skipped"),
        "on_retry_callback": partial(_task_ended, state="retry"),
        **failed,
    }


def callbacks(told: Mapping[str, Any], end: str) -> list[Any]:
    """Return the callback that tells of an end, for a task that has one of its own too; none if nobody is told.

    Args:
        told: what :func:`of_tasks` returned.
        end: ``success``, ``skipped``, ``retry`` or ``failure``.
    """
    return [told[name]] if (name := f"on_{end}_callback") in told else []


def succeeded(context: Mapping[str, Any]) -> None:
    """Tell that a task succeeded: a callback."""
    _task_ended(context, state="success")


def tell(context: Mapping[str, Any], text: str, table: Sequence[Sequence[object]] = ()) -> None:
    """Reply in the thread of the running task's run; a webhook gets a message.

    Args:
        context: of the task.
        text: plain text.
        table: rows of a small table, the first one its headings.
    """
    with _harmless():
        run = _run(context)
        if (slack := _slack()) and (engine := _engine()):
            _reply(slack, engine, run, messages.of_text(text, table, _address(run)))
        elif slack:
            slack.post(_named(run, messages.of_text(text, table, _address(run))))
        else:
            log.info("Not told to Slack, which has no connection: %s", text)


def warn(text: str, run: tuple[str, str] | None = None) -> None:
    """Send a warning to the channel, in the thread of a run (``dag_id``, ``run_id``) if there is one."""
    with _harmless():
        if not (slack := _slack()):
            return
        from taxiway.catalogue import threads
        from taxiway.operations.slack import Bot

        message = messages.of_text(f":warning: {text}")
        engine = _engine() if run and isinstance(slack, Bot) else None
        thread = threads.read_thread(engine, run) if engine and run else None
        if isinstance(slack, Bot) and thread and thread.channel and thread.ts:
            slack.post(message, (thread.channel, thread.ts), aloud=True)
        else:
            slack.post(message)


def _task_ended(
    context: Mapping[str, Any],
    state: Literal["success", "failed", "skipped", "retry"],
    runbook: str | None = None,
    cause: Cause | None = None,
) -> None:
    """Tell how a task ended, and open an incident if it failed: a callback."""
    with _harmless():
        ti = context["ti"]
        run = _run(context)
        # The DAG processor, which tells of killed tasks, knows less of them than the task itself.
        index = getattr(ti, "map_index", None)
        mapped = index is not None and index >= 0
        label = str(getattr(ti, "rendered_map_index", None) or index) if mapped else ""
        reason, incident = "", None
        if state == "failed":
            from taxiway.operations import incidents

            reason = _reason(context, cause)
            with incidents.harmless():
                incident = incidents.task_failed(context, reason, runbook, label)
        if not settings().slack_conn_id:
            return
        begun = getattr(ti, "start_date", None)
        seconds = max((datetime.now(UTC) - begun).total_seconds(), 0) if begun else None
        end = {"state": state, "seconds": seconds, "attempt": ti.try_number, "at": datetime.now(UTC).isoformat()}
        slack, added = _slack(), None
        if engine := _engine(quiet=slack is None):
            import sqlalchemy as sa

            from taxiway.catalogue import threads

            try:
                added = threads.add_task(engine, run, (ti.task_id, label), end, begun)
            except sa.exc.SQLAlchemyError as error:
                log.warning("The end of this task is not kept in the catalogue: %s", error)
                engine = None  # a failure is told nevertheless
        if slack is None:
            if added is None or added.revision == 1:
                log.info(
                    "Nothing of this run is told to Slack: Airflow has no connection %r.", settings().slack_conn_id
                )
            return
        if state == "failed":
            tries = (getattr(ti, "max_tries", None) or 0) + 1
            attempt = f"try {ti.try_number}" + (f" of {tries}" if tries >= ti.try_number else "")
            task = f"{ti.task_id} ({label})" if label else ti.task_id
            opened = f"incident {incident.id}, for {incident.owner}" if incident else ""
            failure = messages.of_failure(run[0], task, attempt, reason, ti.log_url, runbook, opened)
            _reply(slack, engine, run, failure)
        if engine and added and _has_news(added):
            _show(slack, engine, run)


def _run_ended(context: Mapping[str, Any], state: Literal["success", "failed"]) -> None:
    """Tell how a run ended, and close the incidents that its success ends: a callback of its DAG.

    The DAG processor calls it.
    """
    if state == "success":
        from taxiway.operations import incidents

        with incidents.harmless():
            incidents.run_succeeded(*_run(context))
    with _harmless():
        run = _run(context)
        if (slack := _slack()) is None:
            return
        if (engine := _engine()) is None:
            slack.post(messages.of_run(*run, state, {}, _address(run)))
            return
        from taxiway.catalogue import threads
        from taxiway.operations.slack import Webhook

        thread = threads.end_run(engine, run, state)
        if thread is None or not _has_news(thread):
            return
        if isinstance(slack, Webhook):
            slack.post(messages.of_run(*run, state, thread.tasks, _address(run)))
        else:
            _show(slack, engine, run, patience=PATIENCE_S)


def _has_news(thread: "RunThread") -> bool:
    """Return whether a run did anything, or something was told of it: one whose tasks are all skipped did not."""
    return thread.ts is not None or any(end["state"] != "skipped" for end in thread.tasks.values())


def _reply(slack: "Bot | Webhook", engine: "Engine | None", run: tuple[str, str], message: dict[str, Any]) -> None:
    """Send a message to the thread of a run, or alone where there are no threads."""
    from taxiway.catalogue import threads
    from taxiway.operations.slack import MessageGoneError, Webhook

    if engine is None or isinstance(slack, Webhook):
        slack.post(_named(run, message))
        return
    if threads.read_thread(engine, run) is None:
        threads.open_thread(engine, run)
    for _ in range(2):
        _show(slack, engine, run, patience=PATIENCE_S, unless_there=True)
        thread = threads.read_thread(engine, run)
        if thread is None or thread.channel is None or thread.ts is None:
            slack.post(_named(run, message))
            return
        try:
            slack.post(message, (thread.channel, thread.ts))
        except MessageGoneError:
            threads.forget_place(engine, run, thread.ts)
        else:
            return


def _show(
    slack: "Bot | Webhook", engine: "Engine", run: tuple[str, str], patience: float = 0, *, unless_there: bool = False
) -> None:
    """Bring the first message of a run up to date, unless another task is just doing so: it then does this as well.

    Args:
        slack: a bot; a webhook has nothing to update.
        engine: of the catalogue.
        run: its ids.
        patience: seconds to wait for the other task before doing so nevertheless.
        unless_there: only post it if there is none.
    """
    from taxiway.catalogue import threads
    from taxiway.operations.slack import MessageGoneError, Webhook

    if isinstance(slack, Webhook):
        return
    until = monotonic() + patience
    while True:
        if unless_there and (found := threads.read_thread(engine, run)) and found.ts:
            return
        waited = monotonic() >= until
        if thread := threads.take_lease(engine, run, force=bool(patience) and waited):
            break
        if waited:
            return
        sleep(0.2)
    try:
        while True:
            message = messages.of_run(*run, thread.state, thread.tasks, _address(run))
            try:
                if thread.channel is None or thread.ts is None:
                    threads.place_thread(engine, run, *slack.post(message))
                else:
                    slack.update((thread.channel, thread.ts), message)
            except MessageGoneError:
                if thread.ts is None:
                    raise
                threads.forget_place(engine, run, thread.ts)
            if threads.end_lease(engine, run, thread.revision):
                return
            renewed = threads.take_lease(engine, run, force=True)
            assert renewed
            thread = renewed
    except BaseException:
        threads.end_lease(engine, run)
        raise


def _slack() -> "Bot | Webhook | None":
    if not (connection := settings().slack_conn_id):
        return None
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        return None  # without importing Slack's libraries, which takes a second
    from taxiway.operations.slack import connect

    return connect(connection, settings().slack_channel)


def _engine(*, quiet: bool = False) -> "Engine | None":
    """Return the database that the tasks of a run share; None without one: each message then stands alone."""
    import sqlalchemy as sa

    from taxiway.catalogue import CatalogueError, open_catalogue, threads

    try:
        return open_catalogue(threads.REVISION)
    except (CatalogueError, sa.exc.SQLAlchemyError) as error:
        if not quiet:
            log.warning("The messages of this run are not one thread in Slack: %s", error)
        return None


@contextmanager
def _harmless() -> Iterator[None]:
    """Log any error as a warning: notices never change the state of a task."""
    try:
        yield
    except Exception as error:
        if type(error).__module__ == "taxiway.operations.slack":
            log.warning("Nothing was told to Slack: %s", error)
        else:
            log.warning("Nothing was told to Slack.", exc_info=True)


def _run(context: Mapping[str, Any]) -> tuple[str, str]:
    return context["dag"].dag_id, context["run_id"]


def _address(run: tuple[str, str]) -> str:
    from airflow.sdk.configuration import conf

    base = conf.get("api", "base_url", fallback="http://localhost:8080/") or ""
    return f"{base.rstrip('/')}/dags/{run[0]}/runs/{quote(run[1])}"


def _named(run: tuple[str, str], message: dict[str, Any]) -> dict[str, Any]:
    """Return a message that stands alone: it says of which run it is."""
    name = messages.link(_address(run), run[1])
    section = {"type": "section", "text": {"type": "mrkdwn", "text": f"*{messages.escape(run[0])}*  {name}"}}
    return message | {"blocks": [section, *message["blocks"]]}


def _reason(context: Mapping[str, Any], cause: Cause | None) -> str:
    """Return why a task failed, without secrets that Airflow knows."""
    from airflow.sdk._shared.secrets_masker import redact

    found = None
    if cause is not None:
        try:
            found = cause(context)
        except Exception:
            log.warning("The cause of the failure could not be found.", exc_info=True)
    given = context.get("exception") or context.get("reason")
    return str(redact(found or (given and str(given)) or "Its process ended without a word: see the log."))
