"""The client of Airflow's API against an API that fails as real ones do, and what it reads from logs."""

import re

import pytest

from console import airflow as client
from console.airflow import Airflow, LogEntry, Pool, failure_reason, import_sentence, last_lines
from console.errors import UserError
from tests.console.airflow_server import AirflowServer
from tests.console.conftest import ServerAccess


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.airflow.time.sleep", lambda _: None)


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
    monkeypatch.setattr(client, "GRACE_S", 0)
    server.url = "http://127.0.0.1:1"
    with pytest.raises(UserError, match=r"has not answered for 0 s .*: look at the test\.$"):
        airflow.dags()


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
