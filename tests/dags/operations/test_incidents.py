"""Incidents: one for each thing that fails, told once, closed by the next success; post-mortems, the monthly report."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import sqlalchemy as sa

from taxiway import catalogue
from taxiway.catalogue import incidents as records
from taxiway.catalogue.checks import Result
from taxiway.catalogue.incidents import Fault
from taxiway.core import contracts, pipelines
from taxiway.core.settings import settings
from taxiway.operations import deadlines, incidents, metrics, notices, post_mortem, quality, quality_report
from tests.dags.catalogue.databases import mariadb, migrate_after_the_first_try
from tests.dags.operations import slack_server
from tests.dags.operations.slack_server import TOKEN, Slack, text_of
from tests.dags.runs import retry_at_once

CONNECTION = "AIRFLOW_CONN_SLACK_API_DEFAULT"
BEGUN = datetime.now(UTC) - timedelta(minutes=10)  # longer ago when a test runs: a whole run takes its time


@pytest.fixture(scope="module")
def mysql_url() -> Iterator[str]:
    with mariadb() as url:
        with sa.create_engine(url).begin() as connection:
            connection.exec_driver_sql("CREATE DATABASE incidents")
        yield f"{url}/incidents?charset=utf8mb4"


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """Return a migrated catalogue on each database, the one of Airflow's connection."""
    mysql = request.param == "mysql"
    url = request.getfixturevalue("mysql_url") if mysql else f"sqlite:///{tmp_path}/catalogue.db"
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", url.replace("mysql+pymysql", "mysql"))
    engine = catalogue.open_engine(url)
    catalogue.migrate(engine)
    with engine.begin() as connection:
        for table in ("check_results", "incidents", "incident_actions"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    return engine


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slack]:
    with slack_server.running() as server:
        extra = json.dumps({"base_url": f"{server.url}/api/"})
        monkeypatch.setenv(CONNECTION, json.dumps({"conn_type": "slack", "password": TOKEN, "extra": extra}))
        yield server
    assert server.faults == []


def context(run_id: str = "run", task: str = "check", *, tier: str = "tier:1", **more: Any) -> dict[str, Any]:
    """Return what a task, or a callback of it, gets."""
    ti = SimpleNamespace(
        task_id=task, map_index=-1, start_date=BEGUN, try_number=1, max_tries=0, log_url="http://airflow/log"
    )
    vars(ti).update(more)
    dag = SimpleNamespace(dag_id="rides", tags=[tier], default_args={"owner": "rides-team"})
    dag_run = SimpleNamespace(start_date=BEGUN)
    return {"dag": dag, "run_id": run_id, "ti": ti, "dag_run": dag_run, "exception": ValueError("the source is\naway")}


def check(passed: bool, period: str = "", **more: Any) -> Result:
    found = Result(pipeline="rides", table="ratings", check="bounds:stars", passed=passed, period=period)
    more = {"owner": "rides-team", "rows": 3, "observed": "below 1 in 3 rows", **more}
    return Result(**{**{name: getattr(found, name) for name in found.__dataclass_fields__}, **more})


# ── Opening and closing ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_check_is_one_incident_until_it_passes(anywhere: sa.Engine) -> None:
    quality.record([check(passed=False)], context("a"))
    quality.record([check(passed=False, rows=4)], context("b"))
    (found,) = incidents.listed(state="open")
    assert (found.dag_id, found.table, found.check, found.owner, found.run_id) == (
        *("rides", "ratings", "bounds:stars", "rides-team"),
        "a",
    )
    assert (found.failures, found.rows, found.runbook) == (2, 4, "docs/runbooks/ChecksFailing.md")
    assert found.what == "The check bounds:stars of ratings failed: below 1 in 3 rows."
    assert abs(found.since - BEGUN) < timedelta(milliseconds=1)
    assert found.since < found.detected_at <= found.last_failed_at

    quality.record([check(passed=True)], context("c"))
    (closed,) = incidents.listed()
    assert (closed.id, closed.state, closed.closed_by) == (found.id, "closed", "c")
    quality.record([check(passed=True)], context("d"))
    quality.record([check(passed=False)], context("e"))
    assert [each.state for each in incidents.listed(anywhere)] == ["open", "closed"], (
        "a new one, and the record of the old"
    )


def test_every_period_that_failed_must_pass(anywhere: sa.Engine) -> None:
    quality.record([check(passed=False, period="2023-01"), check(passed=False, period="2023-02")], context("a"))
    quality.record([check(passed=True, period="2023-03")], context("b"))
    quality.record([check(passed=True, period="2023-01")], context("c"))
    (found,) = incidents.listed(state="open", table="ratings")
    assert found.periods == ("2023-01", "2023-02")
    quality.record([check(passed=True, period="2023-02")], context("d"))
    (found,) = incidents.listed(anywhere)
    assert (found.state, found.closed_by, found.periods) == ("closed", "d", ("2023-01", "2023-02"))


def test_runs_that_fail_at_once_open_one(anywhere: sa.Engine) -> None:
    start = threading.Barrier(8)

    def one(number: int) -> bool:
        start.wait()
        fault = Fault(what="x", owner="o", runbook="r", run_id=str(number), period=str(number))
        return records.fail(anywhere, ("rides", "ratings", "volume"), fault)[1]

    with ThreadPoolExecutor(8) as pool:
        new = list(pool.map(one, range(8)))
    assert sum(new) == 1
    (found,) = incidents.listed()
    assert found.failures == 8
    assert found.periods == tuple("01234567")


def test_a_failed_task_of_a_main_dag_is_an_incident_until_a_run_succeeds(engine: sa.Engine) -> None:
    def failed(**more: Any) -> None:
        notices.of_tasks("docs/runbooks/X.md")["on_failure_callback"](context(**more))

    failed(task="load", map_index=3, rendered_map_index="2023-01")
    failed(task="load", map_index=4, rendered_map_index="2023-02")
    failed(task="other", tier="tier:2")
    (found,) = incidents.listed(engine)
    assert (found.table, found.check, found.owner, found.runbook) == (
        "",
        "tasks",
        "rides-team",
        "docs/runbooks/X.md",
    )
    assert found.what == "The task load (2023-01) of rides failed: the source is away", "what was first in its run"
    assert found.periods == ("load (2023-01)", "load (2023-02)")
    failed(task="plan", run_id="next")
    failed(task="report", run_id="next")
    (found,) = incidents.listed(engine)
    assert (found.what, found.failures) == ("The task plan of rides failed: the source is away", 4)

    ended = {"dag": SimpleNamespace(dag_id="rides"), "run_id": "later"}
    notices.of_run()["on_failure_callback"](ended)
    assert [each.state for each in incidents.listed()] == ["open"]
    notices.of_run()["on_success_callback"](ended)
    assert [(each.state, each.closed_by) for each in incidents.listed()] == [("closed", "later")]


def test_a_task_that_failed_by_its_checks_is_no_second_incident(engine: sa.Engine) -> None:
    quality.record([check(passed=False)], context("a", "check", map_index=2))
    for end in (context("a", "check", map_index=2), context("a", "check_more"), context("b", "check")):
        notices.of_tasks()["on_failure_callback"](end)
    tasks, rows = incidents.listed(engine)
    assert (rows.check, tasks.check) == ("bounds:stars", "tasks")
    assert (tasks.run_id, tasks.periods) == ("a", ("check", "check_more")), "in b no check failed"


def test_a_run_that_succeeds_leaves_failed_checks_open(engine: sa.Engine) -> None:
    quality.record([check(passed=False, severity="warning")], context("a"))
    notices.of_run()["on_success_callback"]({"dag": SimpleNamespace(dag_id="rides"), "run_id": "a"})
    assert [(each.state, each.severity) for each in incidents.listed(engine)] == [("open", "warning")]


def test_a_missed_deadline_is_an_incident(engine: sa.Engine) -> None:
    dag_id = pipelines.modules("metrics")["hvfhv"].METRICS.dags[0]
    due = datetime(2026, 11, 1, 6, tzinfo=UTC)
    run = {"dag_id": dag_id, "dag_run_id": "r", "state": "running"}
    deadlines.missed(context={"dag_run": run, "deadline": {"id": "1", "deadline_time": str(due)}}, hours=24)
    (found,) = incidents.listed(engine)
    assert (found.check, found.owner, found.since) == ("deadline", "data-platform", due)
    notices.of_run()["on_success_callback"]({"dag": SimpleNamespace(dag_id=dag_id), "run_id": "r"})
    assert incidents.listed(state="open") == []


def test_old_data_is_an_incident_until_it_is_fresh(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = SimpleNamespace(
        raw={"team": {"name": "rides-team"}, "slaProperties": [{"property": "freshness", "value": 30, "unit": "h"}]}
    )
    table, until = SimpleNamespace(name="ratings", contract=contract), datetime.now(UTC) - timedelta(hours=31)
    times = {"until": until}
    monkeypatch.setattr(metrics, "ages", lambda _: [(table, times["until"], until)])
    lake: Any = None
    for _ in range(2):
        incidents.freshness(lake, context("a"))
    (found,) = incidents.listed(engine)
    assert (found.check, found.failures, found.owner) == ("freshness", 2, "rides-team")
    assert abs(found.detected_at - found.since - timedelta(hours=1)) < timedelta(minutes=1)
    times["until"] = datetime.now(UTC) - timedelta(hours=29)
    incidents.freshness(lake, context("b"))
    assert incidents.listed(state="open") == []


def test_incidents_are_told_once(slack: Slack, engine: sa.Engine) -> None:
    for run in ("a", "b"):
        quality.record([check(passed=False), check(passed=False, check="volume")], context(run))
    (reply,) = slack.replies()
    runbook = "docs/runbooks/ChecksFailing.md"
    assert text_of(reply).splitlines() == [
        f"Incident {number}, for rides-team: The check {name} of ratings failed: below 1 in 3 rows. Runbook: {runbook}"
        for number, name in enumerate(("bounds:stars", "volume"), 1)
    ]
    notices.of_tasks()["on_failure_callback"](context("c", "load"))
    assert "incident 3, for rides-team" in text_of(slack.replies()[-1])
    notices.of_tasks()["on_failure_callback"](context("d", "load"))
    assert "incident" not in text_of(slack.replies()[-1])
    assert engine


def test_without_slack_and_without_the_database(monkeypatch: pytest.MonkeyPatch, engine: sa.Engine) -> None:
    monkeypatch.setenv("TAXIWAY_SLACK_CONN_ID", "")
    settings.cache_clear()
    try:
        notices.of_tasks()["on_failure_callback"](context())
        assert len(incidents.listed(engine)) == 1
        monkeypatch.delenv("AIRFLOW_CONN_TLC_CATALOG")
        notices.of_tasks()["on_failure_callback"](context())
        notices.of_run()["on_success_callback"](context())
    finally:
        settings.cache_clear()


def test_a_database_that_fails_is_a_warning(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE incidents")
    quality.record([check(passed=False)], context())
    notices.of_tasks()["on_failure_callback"](context(task="load"))
    incidents.freshness(SimpleNamespace(tables=[]), context())  # type: ignore[arg-type]
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.WARNING] * 2


def test_open_incidents_are_measured_by_team(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[tuple[str, ...], float] = {}
    monkeypatch.setattr(metrics, "gauge", lambda *name, value: sent.update({name: value}))
    quality.record([check(passed=False), check(passed=False, check="volume")], context("a"))
    metrics.open_incidents()
    assert sent["incidents", "open", "rides-team"] == 2
    assert 0 <= sent["incidents", "oldest", "rides-team"] < 60
    assert (sent["incidents", "open", "platform"], sent["incidents", "oldest", "platform"]) == (0, 0)
    assert engine


def test_each_dag_of_a_pipeline_has_its_team() -> None:
    teams = {
        contracts.read(pipeline, contracts.names(pipeline)[0]).raw["team"]["name"] for pipeline in contracts.pipelines()
    }
    for module in pipelines.modules("metrics").values():
        for dag_id in module.METRICS.dags:
            assert incidents.owner_of(dag_id) in teams
    assert incidents.owner_of("cost_guard") == "platform"


# ── Command line, post-mortem, report ───────────────────────────────────────────────────────────────────────────────


def test_the_command_line(
    engine: sa.Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert incidents.main(["list"]) == 0
    assert capsys.readouterr().out == "There is no incident.\n"
    quality.record([check(passed=False, period="2023-01", observed="[3] of <4>")], context("a"))
    quality.record([check(passed=False, check="volume")], context("a"))
    quality.record([check(passed=True, check="volume")], context("b"))
    assert incidents.main(["list"]) == 0
    assert incidents.main(["list", "--all"]) == 0
    out = capsys.readouterr().out
    assert (out.count("ratings (bounds:stars)"), out.count("ratings (volume)")) == (2, 1)
    assert (
        incidents.main(["action", "add", "1", "Ask for [a] checksum", "--owner", "rides-team", "--due", "2026-12-31"])
        == 0
    )
    assert incidents.main(["show", "1"]) == 0
    out = capsys.readouterr().out
    assert "Action item 1 is added to incident 1." in out
    assert "what: The check bounds:stars of ratings of 2023-01 failed: [3] of <4>." in out
    assert "closed: no" in out
    assert "Ask for [a] checksum" in out
    assert incidents.main(["action", "done", "1"]) == 0
    assert incidents.main(["action", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Action item 1 is done: Ask for [a] checksum",
        "There is no action item.",
    ]
    assert incidents.main(["action", "list", "--all"]) == 0
    assert "done" in capsys.readouterr().out
    assert engine


def test_an_incident_that_no_run_can_close(anywhere: sa.Engine, capsys: pytest.CaptureFixture[str]) -> None:
    quality.record([check(passed=False, check="bounds:old_name")], context("a"))
    number = str(incidents.listed(state="open")[0].id)
    assert incidents.main(["close", number, "--why", "The check was\nrenamed."]) == 0
    assert capsys.readouterr().out == f"Incident {number} is closed: ratings (bounds:old_name)\n"
    (found,) = incidents.listed(anywhere)
    assert (found.state, found.closing) == ("closed", "by hand: The check was renamed.")
    for command in ("show", "post-mortem"):
        assert incidents.main([command, number]) == 0
        assert "by hand: The check was renamed." in capsys.readouterr().out
    assert incidents.main(["close", number, "--why", "again"]) == 1
    assert capsys.readouterr().err == f"Incident {number} is closed already: see the command show {number}.\n"
    quality.record([check(passed=False, check="bounds:old_name")], context("b"))
    assert [each.state for each in incidents.listed()] == ["open", "closed"], "what fails after all is a new one"


@pytest.mark.parametrize("why", [" ", "x" * 201], ids=["empty", "too long"])
def test_an_incident_is_closed_with_a_reason(why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        incidents.main(["close", "1", "--why", why])
    assert "say why in 1 to 200 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "7"], "There is no incident 7: see the command list --all."),
        (["close", "7", "--why", "x"], "There is no incident 7: see the command list --all."),
        (["post-mortem", "7"], "There is no incident 7: see the command list --all."),
        (["action", "add", "7", "x", "--owner", "o"], "There is no incident 7: see the command list --all."),
        (["action", "done", "7"], "There is no action item 7: see the command action list."),
    ],
    ids=["show", "close", "post-mortem", "add", "done"],
)
def test_a_number_that_is_not_there(
    arguments: list[str], sentence: str, engine: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert incidents.main(arguments) == 1
    assert capsys.readouterr().err == f"{sentence}\n"
    assert engine


def test_a_database_before_the_migration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", f"sqlite:///{tmp_path}/new.db")
    assert incidents.main(["list"]) == 1
    assert "are missing: run python -m taxiway.catalogue migrate." in capsys.readouterr().err


@pytest.fixture
def prometheus() -> Iterator[str]:
    """Serve one alert that fired for ten minutes in the middle of what is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            assert asked["query"] == 'ALERTS{alertstate="firing"}'
            middle = (float(asked["start"]) + float(asked["end"])) / 2
            labels = {"__name__": "ALERTS", "alertname": "ChecksFailing", "alertstate": "firing", "table": "ratings"}
            values = [[middle + 60 * minute, "1"] for minute in range(10)]
            body = json.dumps({"status": "success", "data": {"result": [{"metric": labels, "values": values}]}})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_post_mortem_has_the_timeline(engine: sa.Engine, prometheus: str, capsys: pytest.CaptureFixture[str]) -> None:
    quality.record([check(passed=False)], context("a"))
    notices.of_tasks()["on_failure_callback"](context("a"))
    quality.record([check(passed=True, observed="")], context("b"))
    notices.of_tasks()["on_success_callback"](context("b"))
    records.add_action(engine, 1, "Ask | whom?", "rides-team", date(2026, 12, 31))
    assert incidents.main(["post-mortem", "1", "--prometheus", prometheus]) == 0
    page = capsys.readouterr().out
    assert page.startswith("# Incident 1: ratings (bounds:stars)\n")
    assert "{{" not in page
    timeline = [line for line in page.splitlines() if line.startswith("| 20")]
    whens = [line.split(" | ")[0] for line in timeline]
    assert whens == sorted(whens)
    whats = [re.sub(r"after \d+ (?:min|h)[^,]*", "after 10 min", line.split(" | ", 1)[1][:-2]) for line in timeline]
    whats = [re.sub(r"\d+ s after it", "after it", what) for what in whats]
    wanted = [
        "so since then, as far as is known",
        "The check bounds:stars of ratings failed: below 1 in 3 rows. (run a)",
        "**found** after 10 min, by the run a: The check bounds:stars of ratings failed: below 1 in 3 rows.",
        "task check of a: failed after 10 min, try 1",
        "The check bounds:stars of ratings passed. (run b)",
        "task check of b: success after 10 min, try 1",
        "**closed** after it was found, by the run b",
        "alert ChecksFailing (table=ratings) fires",
        "alert ChecksFailing (table=ratings) was last firing",
    ]
    assert sorted(whats) == sorted(wanted)
    assert "- [ ] 1: Ask | whom? (rides-team, by 2026-12-31)" in page


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("localhost:9090", "is not an address: write it such as"),
        ("http://127.0.0.1:1", "gave no alerts: .*refused"),
        ("http://127.0.0.1:abc", "gave no alerts: nonnumeric port"),
    ],
    ids=["no address", "away", "no port"],
)
def test_a_prometheus_that_cannot_be_asked(
    address: str, sentence: str, engine: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    quality.record([check(passed=False)], context("a"))
    assert incidents.main(["post-mortem", "1", "--prometheus", address]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(sentence, line)
    assert engine


def test_a_template_that_is_not_delivered(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quality.record([check(passed=False)], context("a"))
    monkeypatch.setattr(post_mortem, "TEMPLATE", tmp_path / "template.md")
    with pytest.raises(incidents.IncidentError, match="is missing: deliver the folder docs/"):
        post_mortem.write(engine, incidents.listed()[0])


def at(hours: float) -> datetime:
    return datetime(2026, 10, 1, tzinfo=UTC) + timedelta(hours=hours)


def incident(engine: sa.Engine, owner: str, since: float, detected: float, closed: float | None) -> None:
    """Insert an incident with times in hours of October 2026."""
    values = {
        "dag_id": "rides",
        "table_name": "ratings",
        "check_name": "volume",
        "what": "<few> rows",
        "periods": "{}",
        "severity": "error",
        "failures": 1,
        "rows": 3,
        "owner": owner,
        "runbook": "docs/runbooks/ChecksFailing.md",
        "run_id": "a",
        "since": at(since),
        "detected_at": at(detected),
        "last_failed_at": at(detected),
        "closed_at": None if closed is None else at(closed),
        "open_key": None if closed is not None else f"{owner}{detected}",
    }
    with engine.begin() as connection:
        connection.execute(catalogue.metadata.tables["incidents"].insert().values(values))


def test_the_months_times_are_by_owner(engine: sa.Engine) -> None:
    incident(engine, "a-team", 0, 1, 3)
    incident(engine, "a-team", 10, 14, 16)
    incident(engine, "a-team", 20, 22, None)
    incident(engine, "b-team", -60, -50, 5)  # found the month before, closed in this one
    incident(engine, "b-team", 100, 101, 24 * 40)  # closed after it
    incident(engine, "c-team", -60, -50, -40)  # over before it
    incident(engine, "c-team", 24 * 31, 24 * 31, None)  # the month after
    start = quality_report.first_of("2026-10")
    end = quality_report.next_month(start)
    assert (start, end) == (at(0), at(24 * 31))
    hours = [timedelta(hours=each) for each in range(60)]
    assert quality_report.teams(records.listed(engine, since=start, until=end), start, end) == [
        quality_report.Team("a-team", 3, 1, (hours[2], hours[4]), (hours[2], hours[2])),
        quality_report.Team("b-team", 1, 1, (hours[1], hours[1]), (hours[55], hours[55])),
    ]
    page = quality_report.render(engine, "2026-10", now=at(24 * 50))
    assert "&lt;few&gt; rows" in page
    assert "<few>" not in page
    assert "2 h" in page
    assert "c-team" not in page
    assert "http" not in page.replace("http-equiv", ""), "it needs no network"


def test_the_report_of_a_month_without_anything(engine: sa.Engine) -> None:
    page = quality_report.render(engine, "2026-12")
    for sentence in ("No incident was open in this month.", "None.", "No check was recorded in this month."):
        assert sentence in page


def test_the_report_of_a_new_platform_waits_for_the_tables(
    aws: str, airflow_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    migrate_after_the_first_try(tmp_path, monkeypatch)
    dag = DagBag(Path(__file__).parents[3] / "dags" / "quality_report.py").dags["quality_report"]
    run = retry_at_once(dag).test()
    assert [(each.state, each.try_number) for each in run.get_task_instances()] == [("success", 2)]


def test_the_dag_writes_the_report_and_forgets_old_results(
    engine: sa.Engine, aws: str, airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    old = datetime.now(UTC) - quality_report.KEPT - timedelta(days=1)
    quality.record([check(passed=False, check="old", checked_at=old), check(passed=True)], context("a"))
    records.add_action(engine, 1, "Ask whom", "rides-team", date(2020, 1, 1))
    month = f"{datetime.now(UTC):%Y-%m}"
    dag = DagBag(Path(__file__).parents[3] / "dags" / "quality_report.py").dags["quality_report"]
    assert dag.test(run_conf={"month": month}).state == "success"
    answer = boto3.client("s3").get_object(Bucket="taxiway-lake", Key=f"reports/quality/{month}.html")
    page = answer["Body"].read().decode()
    assert answer["ContentType"] == "text/html; charset=utf-8"
    assert "rides-team" in page
    assert '<td class="bad">2020-01-01</td>' in page, "overdue"
    assert [each.check for each in quality.recent(engine)] == ["bounds:stars"]
