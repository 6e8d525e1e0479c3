"""The client of Airflow's API against an API that fails as real ones do, and what it reads from logs."""

import re
from typing import Any

import pytest

from console import airflow as client
from console import patience
from console.airflow import Airflow, LogEntry, Pool, failure_reason, import_sentence, last_lines
from console.errors import UserError
from tests.console.airflow_server import AirflowServer, Fault
from tests.console.conftest import ServerAccess


def test_a_refused_password_names_where_it_comes_from(server: AirflowServer, access: ServerAccess) -> None:
    server.password = "another"
    with pytest.raises(UserError, match=r"'admin' with the password of the test: .*change it there too"):
        Airflow(access).login()


def test_an_expired_token_is_renewed(server: AirflowServer, airflow: Airflow) -> None:
    server.dags = {"a": True}
    server.tokens += 1
    assert airflow.has_dag("a")


def test_a_server_that_is_away_for_a_moment_is_waited_for(
    server: AirflowServer, airflow: Airflow, access: ServerAccess
) -> None:
    server.down = 3
    assert airflow.dags() == []
    address, server.url = server.url, "http://127.0.0.1:1"

    def return_after_two() -> None:
        access.recoveries += 1
        if access.recoveries == 2:
            server.url = address

    access.recover = return_after_two  # type: ignore[method-assign]
    assert airflow.dags() == []
    assert access.recoveries == 2


def test_a_server_that_stays_away_is_one_sentence(
    server: AirflowServer, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)
    server.url = "http://127.0.0.1:1"
    with pytest.raises(UserError, match=r"has not answered for 0 s \(the connection failed\): look at the test\.$"):
        airflow.dags()


FAULTS = {
    "an error": 500,
    "too many requests": 429,
    "a proxy without a server": 502,
    "a server without a database": 503,
    "an answer that is cut off": "cut",
    "an answer that comes late": "late",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_what_may_pass_is_waited_for_and_said_once(
    server: AirflowServer,
    airflow: Airflow,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if fault == "late":
        monkeypatch.setattr(client, "TIMEOUT_S", 2)
    server.dags = {"a": True}
    server.faults = [fault] * 3
    assert airflow.has_dag("a")
    assert not server.faults
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2, said
    assert re.fullmatch(r"Airflow's API server does not answer \(.+\): waits for it, at most 30 s", said[0])
    assert re.fullmatch(r"Airflow's API server answers again after \d+ s", said[1])


@pytest.mark.parametrize("fault", [500, "cut", "late"])
def test_a_run_whose_answer_was_lost_is_started_once(
    server: AirflowServer, airflow: Airflow, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "late":
        monkeypatch.setattr(client, "TIMEOUT_S", 2)
    started = []
    server.triggered = lambda dag, run: started.append((dag, run))
    server.faults = [fault]
    airflow.trigger("a", "run 1", {})
    assert started == [("a", "run 1")]
    server.faults = [fault]
    airflow.ensure_pool(Pool(name="p", slots=1, description=""))
    server.faults = [404, fault]  # not there when asked, made by the request whose answer was lost
    airflow.ensure_pool(Pool(name="q", slots=1, description=""))
    assert server.pools.keys() == {"p", "q"}


@pytest.mark.parametrize("after", ["1", "Wed, 01 Jan 2020 00:00:00 GMT", "soon"])
def test_a_server_says_when_to_come_again(
    server: AirflowServer, airflow: Airflow, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    server.faults = [(429, after)]
    assert airflow.dags() == []
    assert pauses == [1 if after == "1" else patience.LONGEST_PAUSE_S]


def test_a_platform_that_has_ended_is_not_waited_for(airflow: Airflow, access: ServerAccess) -> None:
    def ended() -> None:
        raise UserError("The platform has ended: so it is.")

    access.server.url = "http://127.0.0.1:1"
    access.recover = ended  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"^The platform has ended: so it is"):
        airflow.dags()


def test_a_token_that_expires_or_loses_its_key_while_the_server_is_away_is_renewed(
    server: AirflowServer, airflow: Airflow
) -> None:
    server.dags = {"a": True}
    server.tokens += 1
    server.faults = [503, "cut", 401, 503]
    assert airflow.has_dag("a")
    server.faults = [403]
    assert airflow.has_dag("a")


def test_a_log_is_waited_for_less_than_a_run(
    server: AirflowServer, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOG_PATIENCE_S", 0.1)
    server.down = 10
    task: Any = {"dag_id": "a", "dag_run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}
    [entry] = airflow.task_log(task)
    assert "the log cannot be read: Airflow's API server has not answered" in entry["event"]


def test_a_health_that_is_no_health_is_not_healthy(server: AirflowServer, airflow: Airflow) -> None:
    assert airflow.healthy()
    server.faults = [500, 200]
    assert not airflow.healthy()
    assert not airflow.healthy()
    server.url = "http://127.0.0.1:1"
    assert not airflow.healthy()


def test_an_answer_that_is_an_error_names_the_request(airflow: Airflow) -> None:
    with pytest.raises(UserError, match="Airflow answered 404 to GET dags/none/unknown"):
        airflow._call("GET", "dags/none/unknown")


def test_a_run_is_started_once_even_if_the_answer_was_lost(server: AirflowServer, airflow: Airflow) -> None:
    airflow.trigger("a", "run 1", {"month": "2023-01"})
    airflow.trigger("a", "run 1", {"month": "2023-01"})
    assert server.confs == {("a", "run 1"): {"month": "2023-01"}}


def test_a_pool_that_somebody_has_resized_stays(server: AirflowServer, airflow: Airflow) -> None:
    pool = Pool(name="p", slots=16, description="d")
    airflow.ensure_pool(pool)
    assert server.pools == {"p": {"name": "p", "slots": 16, "description": "d", "include_deferred": True}}
    server.pools["p"]["slots"] = 3
    airflow.ensure_pool(pool)
    assert server.pools["p"]["slots"] == 3


def test_only_the_dags_own_file_keeps_it_from_being_listed(server: AirflowServer, airflow: Airflow) -> None:
    server.dags = {"a": False}
    server.import_errors = [{"filename": "dags/b.py", "stack_trace": "x\nNameError: c", "timestamp": None}]
    assert airflow.has_dag("a")
    with pytest.raises(UserError, match=re.escape("b.py cannot be imported: NameError: c")):
        airflow.has_dag("b")


def test_an_import_error_is_one_line() -> None:
    trace = "Traceback\n  File x\nModuleNotFoundError: No module named 'taxiway'"
    assert import_sentence({"filename": "d/a.py", "stack_trace": trace, "timestamp": None}) == (
        "a.py cannot be imported: ModuleNotFoundError: No module named 'taxiway'"
    )
    assert import_sentence({"filename": None, "stack_trace": None, "timestamp": None}) == (
        "? cannot be imported: no reason is given"
    )


def test_an_exception_is_shown_by_its_first_line() -> None:
    entries: list[LogEntry] = [
        {"event": "::group::Log message source details", "sources": ["s3://l"]},
        {"event": "begins", "level": "info"},
        {"event": "Task failed", "level": "error", "error_detail": [{"exc_value": "The server answered 404.\nmore"}]},
    ]
    assert failure_reason(entries) == "The server answered 404."
    assert last_lines(entries, 5) == ["info begins", "error Task failed"]
    assert failure_reason([]) == ""
    assert last_lines([], 5) == ["(there is no log)"]


def test_of_a_failed_emr_step_the_steps_own_message_is_shown() -> None:
    failure = {"Reason": "Exit status 1.", "Message": 'It isn\'t a "Parquet" file.', "LogFile": "s3://l/stderr.gz"}
    text = f"Error while running steps: {{'status': 'error', 'message': 'FAILED - [{failure!r}]\\nWaiter'}}"
    assert failure_reason([{"error_detail": [{"exc_value": text}]}]) == 'It isn\'t a "Parquet" file.'
