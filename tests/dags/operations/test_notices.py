"""What is told of runs in Slack: by the callbacks of tasks and runs, over HTTP to a server that checks every call."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from taxiway import catalogue
from taxiway.catalogue import threads
from taxiway.core.settings import settings
from taxiway.operations import notices
from tests.dags.catalogue.databases import mariadb
from tests.dags.operations import slack_server
from tests.dags.operations.slack_server import CHANNEL, HOOK, TOKEN, Slack, text_of
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
CONNECTION = "AIRFLOW_CONN_SLACK_API_DEFAULT"
RUN = ("trips", "run/1")
pytestmark = pytest.mark.slow  # waits as Slack asks for

Context = dict[str, Any]


@pytest.fixture
def slack() -> Iterator[Slack]:
    """Run Slack; every call must have had the right shape."""
    with slack_server.running() as server:
        yield server
    assert server.faults == []


@pytest.fixture(scope="module")
def mysql_url() -> Iterator[str]:
    with mariadb() as url:
        with sa.create_engine(url).begin() as connection:
            connection.exec_driver_sql("CREATE DATABASE threads")
        yield f"{url}/threads?charset=utf8mb4"


@pytest.fixture
def bot(slack: Slack, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Slack:
    """Connect Airflow to Slack by a bot's token."""
    use_bot(slack, monkeypatch)
    return slack


def use_bot(slack: Slack, monkeypatch: pytest.MonkeyPatch, password: str = TOKEN) -> None:
    extra = json.dumps({"base_url": f"{slack.url}/api/"})
    monkeypatch.setenv(CONNECTION, json.dumps({"conn_type": "slack", "password": password, "extra": extra}))


def use_webhook(slack: Slack, monkeypatch: pytest.MonkeyPatch, path: str = HOOK) -> None:
    monkeypatch.setenv(CONNECTION, json.dumps({"conn_type": "slackwebhook", "password": f"{slack.url}{path}"}))


def context(task: str, *, error: str = "", begun: datetime | None = None, run: str = RUN[1], **more: Any) -> Context:
    """Return what a callback of a task gets."""
    ti = SimpleNamespace(
        task_id=task,
        map_index=-1,
        rendered_map_index=None,
        start_date=begun or datetime.now(UTC) - timedelta(seconds=3),
        try_number=1,
        max_tries=2,
        log_url=f"http://airflow/dags/trips/runs/1/tasks/{task}",
    )
    vars(ti).update(more)
    dag = SimpleNamespace(dag_id=RUN[0], tags=["tier:2"])
    return {"dag": dag, "run_id": run, "ti": ti, "exception": error and ValueError(error)}


def end(kind: str, of: Context, **arguments: Any) -> None:
    """Call the callback of a task that ended so."""
    notices.of_tasks(**arguments)[f"on_{kind}_callback"](of)


def end_run(kind: str) -> None:
    notices.of_run()[f"on_{kind}_callback"]({"dag": SimpleNamespace(dag_id=RUN[0]), "run_id": RUN[1]})


# ── One thread a run ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_one_message_that_grows_and_failures_are_replies(bot: Slack) -> None:
    end("success", context("plan"))
    end("retry", context("load", error="again"))
    end("failure", context("load", error="bad & ugly", try_number=3), runbook="docs/runbooks/X.md")
    end("skipped", context("report"))
    end_run("failure")

    assert [call.method for call in bot.calls] == ["chat.postMessage", *["chat.update"] * 1, "chat.postMessage"] + [
        "chat.update"
    ] * 3
    (root,) = bot.roots()
    assert text_of(root).splitlines() == [
        ":x: *trips*  failed",
        "<http://localhost:8080/dags/trips/runs/run/1|run/1>",
        ":white_check_mark: `plan`  3 s",
        ":x: `load`  3 s, try 3",
        ":fast_forward: `report`  3 s",
    ]
    (reply,) = bot.replies()
    assert reply["thread_ts"] == bot.calls[0].ts
    assert reply["channel"] == CHANNEL, "the id that Slack answered, not the name"
    assert text_of(reply).splitlines() == [
        ":x: *trips*: `load` failed (try 3 of 3)",
        "```bad &amp; ugly```",
        "<http://airflow/dags/trips/runs/1/tasks/load|Log>  ·  Runbook: docs/runbooks/X.md",
    ]


def test_a_run_that_is_repeated_runs_again(bot: Slack) -> None:
    end("failure", context("load", error="bad"))
    end_run("failure")
    end("failure", context("killed", error="late, of the old try", begun=datetime.now(UTC) - timedelta(hours=1)))
    assert "*trips*  failed" in text_of(bot.roots()[0])
    end("success", context("load", begun=datetime.now(UTC)))
    assert "*trips*  running" in text_of(bot.roots()[0])
    assert ":white_check_mark: `load`" in text_of(bot.roots()[0])
    end_run("success")

    (root,) = bot.roots()
    assert "*trips*  success" in text_of(root)


def test_a_run_of_which_nothing_was_told_has_no_end(bot: Slack) -> None:
    end_run("success")
    assert bot.calls == []


@pytest.mark.parametrize("use", [use_bot, use_webhook])
def test_a_run_that_skipped_everything_is_not_told(use: Any, bot: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    use(bot, monkeypatch)
    end("skipped", context("plan"))
    end_run("success")
    assert bot.attempts == 0


def test_mapped_tasks_are_told_by_their_label(bot: Slack) -> None:
    for index, month in enumerate(["2023-01", "2023-02"]):
        kind = "failure" if index else "success"
        end(kind, context("build", error="bad" if index else "", map_index=index, rendered_map_index=month))

    assert "`build`  1 success, 1 failed (2023-02)" in text_of(bot.roots()[0])
    assert "`build (2023-02)` failed" in text_of(bot.replies()[0])


@pytest.mark.parametrize("database", ["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)])
def test_tasks_that_end_at_once_make_one_message_that_has_them_all(
    database: str, bot: Slack, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database == "mysql":
        url = request.getfixturevalue("mysql_url")
        monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", url.replace("mysql+pymysql", "mysql"))
        catalogue.migrate(catalogue.open_engine(url))
    start = threading.Barrier(8)

    def one(number: int) -> None:
        start.wait()
        kind = "failure" if number == 5 else "success"
        end(kind, context(f"task_{number}", error="bad" if number == 5 else ""))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))

    (root,) = bot.roots()
    assert sorted(line.split("`")[1] for line in text_of(root).splitlines()[2:]) == [f"task_{n}" for n in range(8)]
    (reply,) = bot.replies()
    assert reply["thread_ts"] == bot.calls[0].ts
    assert len(bot.calls) <= 1 + 1 + 9, "an update each, at most"


def test_a_task_that_was_killed_while_it_told_something_holds_up_none(
    bot: Slack, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "PATIENCE_S", 0.5)
    threads.add_task(engine, RUN, ("killed", ""), {"state": "success", "seconds": 1, "attempt": 1}, datetime.now(UTC))
    assert threads.take_lease(engine, RUN)
    end("success", context("plan"))
    assert bot.calls == [], "the other would tell it"
    end("failure", context("load", error="bad"))

    assert len(bot.roots()) == 1
    assert len(bot.replies()) == 1
    assert "`killed`" in text_of(bot.roots()[0])


def test_a_lease_ends_by_itself(bot: Slack, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    end("success", context("plan"))
    assert threads.take_lease(engine, RUN)
    assert threads.take_lease(engine, RUN) is None
    monkeypatch.setattr(threads, "LEASE", timedelta(0))
    assert threads.take_lease(engine, RUN)


def test_a_deleted_message_is_sent_anew(bot: Slack) -> None:
    end("success", context("plan"))
    bot.messages.clear()
    end("success", context("load"))
    assert "`plan`" in text_of(bot.roots()[0])
    assert "`load`" in text_of(bot.roots()[0])

    bot.messages.clear()
    end("failure", context("check", error="bad"))
    (root,), (reply,) = bot.roots(), bot.replies()
    assert bot.messages[reply["thread_ts"]] is root
    assert "`check`" in text_of(root)


def test_what_was_told_of_old_runs_is_forgotten(bot: Slack, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    end("success", context("plan", run="old"))
    monkeypatch.setattr(threads, "KEPT", timedelta(0))
    end("success", context("plan"))
    end_run("success")
    assert threads.read_thread(engine, ("trips", "old")) is None


# ── Replies and warnings ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_tells_a_table(bot: Slack) -> None:
    end("success", context("plan"))
    notices.tell(context("check"), "2015-05-17: all lines are accounted for", [("what", "lines"), ("parsed", 2893)])

    (reply,) = bot.replies()
    assert text_of(reply).splitlines() == [
        "2015-05-17: all lines are accounted for",
        "```what    lines",
        "──────  ─────",
        "parsed  2,893```",
    ]


def test_a_reply_may_be_the_first_thing_that_is_told(bot: Slack) -> None:
    notices.tell(context("check"), "first")
    (root,), (reply,) = bot.roots(), bot.replies()
    assert bot.messages[reply["thread_ts"]] is root
    assert "*trips*  running" in text_of(root)


def test_a_warning_goes_to_the_channel_too(bot: Slack) -> None:
    notices.warn("A cluster is orphaned.")
    end("success", context("plan"))
    notices.warn("The run is late.", RUN)

    first, root, late = bot.messages.values()
    assert text_of(first) == ":warning: A cluster is orphaned."
    assert "thread_ts" not in first
    assert late["reply_broadcast"] is True
    assert bot.messages[late["thread_ts"]] is root


def test_the_cause_that_a_pipeline_finds_is_told(bot: Slack) -> None:
    end("failure", context("job", error="KeyError: 'job_details'"), cause=lambda _: "The driver had no memory left.")
    assert "The driver had no memory left." in text_of(bot.replies()[0])

    def broken(_: Any) -> str:
        raise OSError("no AWS")

    end("failure", context("job2", error="its own words"), cause=broken)
    assert "its own words" in text_of(bot.replies()[1])


def test_a_task_that_died_without_a_word(bot: Slack) -> None:
    end("failure", context("job"))
    assert "Its process ended without a word" in text_of(bot.replies()[0])


# ── Webhooks ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_webhook_gets_a_message_a_failure_and_one_at_the_end(
    slack: Slack, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_webhook(slack, monkeypatch)
    end("success", context("plan"))
    end("retry", context("load", error="bad"))
    assert slack.calls == []
    end("failure", context("load", error="bad"))
    end("success", context("stop"))
    end_run("failure")

    failure, ended = (call.arguments for call in slack.calls)
    assert "|run/1>" in text_of(failure), "it stands alone, so it says of which run it is"
    assert "`load` failed" in text_of(failure)
    assert "*trips*  failed" in text_of(ended)
    assert "`stop`" in text_of(ended)
    notices.tell(context("check"), "a table", [("a", "b"), (1, 2)])
    assert "a table" in text_of(slack.calls[-1].arguments)
    notices.warn("late", RUN)
    assert len(slack.calls) == 4


# ── Faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_connection_there_is_one_line_a_run(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(CONNECTION, raising=False)
    with caplog.at_level(logging.INFO):
        for task in ("plan", "load", "check"):
            end("success", context(task))
        end("failure", context("report", error="bad"))
        end_run("failure")
        notices.warn("late", RUN)

    lines = [record.message for record in caplog.records if record.name.startswith("taxiway")]
    assert lines == ["Nothing of this run is told to Slack: Airflow has no connection 'slack_api_default'."]


def test_without_a_connection_nothing_of_slack_is_imported() -> None:
    program = (
        "import sys\n"
        "from types import SimpleNamespace as N\n"
        "from taxiway.operations import notices\n"
        "ti = N(task_id='a', map_index=-1, rendered_map_index=None, start_date=None, try_number=1, max_tries=0)\n"
        "notices.succeeded({'dag': N(dag_id='d'), 'run_id': 'r', 'ti': ti})\n"
        "print([name for name in sys.modules if 'slack_sdk' in name or 'slack.hooks' in name])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "dags", capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_empty_setting_switches_it_off(bot: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_SLACK_CONN_ID", "")
    settings.cache_clear()
    try:
        assert list(notices.of_tasks()) == ["on_failure_callback"], "an incident is opened nevertheless"
        end("failure", context("load", error="bad"))
        end_run("failure")
        notices.succeeded(context("plan"))
        notices.warn("late")
        notices.tell(context("plan"), "x")
    finally:
        settings.cache_clear()
    assert bot.attempts == 0


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (["invalid_auth"], "invalid_auth; set a bot token (xoxb-…) as the password of 'slack_api_default'."),
        (
            ["channel_not_found"],
            "set TAXIWAY_SLACK_CHANNEL to a channel that exists (now #taxiway), and invite the app",
        ),
        (["missing_scope"], "give the app the scope chat:write"),
        (["msg_too_long"], "Slack refused a message: msg_too_long."),
        ([500] * 3, "Slack answered with status 500, tried 3 times."),
        ([-60], "ratelimited"),
    ],
)
def test_what_slack_refuses_is_a_warning_and_is_told_with_the_next_task(
    answers: list[str | int | float], sentence: str, bot: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    bot.next = [*answers]
    end("success", context("plan"))
    assert sentence in caplog.text
    assert caplog.text.count("Nothing was told to Slack") == 1
    assert "Traceback" not in caplog.text
    assert bot.attempts == len(answers)

    end("success", context("load"))
    assert "`plan`" in text_of(bot.roots()[0]), "nothing is lost but time"
    assert "`load`" in text_of(bot.roots()[0])


@pytest.mark.parametrize("answers", [[-1], [500], [500, 500], [-1, -1]])
def test_what_passes_is_repeated(
    answers: list[str | int | float], bot: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    bot.next = [*answers]
    began = datetime.now(UTC)
    end("success", context("plan"))

    assert len(bot.roots()) == 1
    assert bot.attempts == len(answers) + 1
    assert "Nothing was told" not in caplog.text
    asked = sum(-answer for answer in answers if isinstance(answer, int) and answer < 0)
    assert (datetime.now(UTC) - began).total_seconds() >= asked, "as long as Slack asked for"


def test_a_slack_that_does_not_answer(
    bot: Slack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from taxiway.operations import slack

    assert slack.TIMEOUT_S == 5
    monkeypatch.setattr(slack, "TIMEOUT_S", 0.2)
    bot.next = [1.5] * 3
    end("success", context("plan"))
    assert "Slack was not reached within 0.2 s, tried 3 times: timed out." in caplog.text
    eventually(lambda: bot.attempts >= 3)  # the server may read a request after its client has given up
    assert bot.attempts == 3


@pytest.mark.parametrize("kind", ["slack", "slackwebhook"])
def test_a_slack_that_is_down(
    kind: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with slack_server.running() as gone:
        pass
    (use_bot if kind == "slack" else use_webhook)(gone, monkeypatch)
    end("success", context("plan"))
    end("failure", context("load", error="bad"))
    end_run("failure")
    assert "tried 3 times: <urlopen error [Errno 111] Connection refused>." in caplog.text
    assert "Traceback" not in caplog.text


def test_a_wrong_token(slack: Slack, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    use_bot(slack, monkeypatch, "xoxb-of-another-workspace")
    end("failure", context("load", error="bad"))
    assert "invalid_auth; set a bot token (xoxb-…) as the password of 'slack_api_default'." in caplog.text
    assert "xoxb-of-another" not in caplog.text


def test_a_webhook_that_was_removed(
    slack: Slack, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    use_webhook(slack, monkeypatch, "/services/T0/B0/removed")
    end("failure", context("load", error="bad"))
    assert "no_service; set the address of a webhook that exists as the password of" in caplog.text


@pytest.mark.parametrize(
    ("connection", "sentence"),
    [
        ({"conn_type": "http", "password": "x"}, "is of type 'http'; it must be slack (a bot's token) or slackwebhook"),
        ({"conn_type": "slack"}, "has no password: set the bot token or the webhook's address."),
        ({"conn_type": "slackwebhook"}, "has no password: set the bot token or the webhook's address."),
    ],
)
def test_a_connection_that_cannot_be_used(
    connection: dict[str, str], sentence: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv(CONNECTION, json.dumps(connection))
    end("success", context("plan"))
    assert sentence in caplog.text
    assert "Traceback" not in caplog.text


def test_without_a_catalogue_each_message_stands_alone(
    slack: Slack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", f"sqlite:///{tmp_path}/empty.db")
    use_bot(slack, monkeypatch)
    end("success", context("plan"))
    assert slack.calls == []
    end("failure", context("load", error="bad"))
    end_run("failure")

    assert len(slack.roots()) == 2
    assert "run python -m taxiway.catalogue migrate" in caplog.text


def test_a_catalogue_that_fails_hides_no_failure(bot: Slack, engine: sa.Engine, caplog: Any) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE run_threads")
    end("failure", context("load", error="bad"))
    assert ["`load` failed" in text_of(message) for message in bot.roots()] == [True]
    assert "The end of this task is not kept in the catalogue" in caplog.text


def test_a_message_that_may_not_be_changed_is_not_sent_anew(bot: Slack, caplog: Any) -> None:
    end("success", context("plan"))
    bot.next = ["edit_window_closed"]
    end("success", context("load"))
    assert len(bot.roots()) == 1
    assert "Slack refused a message: edit_window_closed." in caplog.text


def test_any_other_error_is_a_warning(bot: Slack, caplog: pytest.LogCaptureFixture) -> None:
    end("success", {"dag": SimpleNamespace(dag_id="trips")})
    assert "Nothing was told to Slack." in caplog.text
