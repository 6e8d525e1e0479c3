"""Queries that fail, take too long or are given up: one sentence each, and none is left running."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from taxiway.aws.athena import Answer, AthenaError, Workgroup


class Client:
    """Athena, whose queries have a state by their text."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.stopped: list[str] = []

    def start_query_execution(self, **request: Any) -> dict[str, str]:
        if request["QueryString"] == "?(":
            error = {"Code": "InvalidRequestException", "Message": "line 1:1: mismatched input '?'."}
            raise ClientError({"Error": error}, "StartQueryExecution")
        self.started.append(request)
        return {"QueryExecutionId": request["QueryString"]}

    def stop_query_execution(self, QueryExecutionId: str) -> None:  # noqa: N803
        self.stopped.append(QueryExecutionId)

    def get_query_execution(self, QueryExecutionId: str) -> dict[str, Any]:  # noqa: N803
        if QueryExecutionId == "KILLED":
            raise KeyboardInterrupt
        status = {"State": QueryExecutionId, "StateChangeReason": "SYNTAX_ERROR: line 1:8: no column."}
        return {"QueryExecution": {"Status": status, "Statistics": {"DataScannedInBytes": 7}}}

    def get_paginator(self, name: str) -> "Client":
        assert name == "get_query_results"
        return self

    def paginate(self, QueryExecutionId: str) -> list[dict[str, Any]]:  # noqa: N803
        first = {"Data": [{"VarCharValue": "a"}, {"VarCharValue": "b"}]}
        rows = [{"Data": [{"VarCharValue": "1"}, {}]}, {"Data": [{"VarCharValue": ""}, {"VarCharValue": "2"}]}]
        return [{"ResultSet": {"Rows": [first, rows[0]]}}, {"ResultSet": {"Rows": rows[1:]}}]


@pytest.fixture
def client() -> Client:
    return Client()


def ask(client: Client, *states: str, wait_s: float = 60) -> dict[str, Answer]:
    group = Workgroup(client, "ours", "taxiway", poll_s=0.01, wait_s=wait_s, remedy="make it")
    return group.ask({state.lower(): (state, ["it's"]) for state in states})


def test_an_answer_has_rows_of_all_pages_nulls_and_what_was_read(client: Client) -> None:
    answer = ask(client, "SUCCEEDED")["succeeded"]
    assert answer == Answer([{"a": "1", "b": None}, {"a": "", "b": "2"}], 7)
    (request,) = client.started
    assert request["ExecutionParameters"] == ["'it''s'"]
    assert (request["WorkGroup"], request["QueryExecutionContext"]["Database"]) == ("ours", "taxiway")
    assert client.stopped == []


def test_a_query_that_fails_says_why_and_the_others_are_stopped(client: Client) -> None:
    with pytest.raises(
        AthenaError, match=r"^The query failed \(FAILED\) is FAILED: SYNTAX_ERROR: line 1:8: no column\.$"
    ):
        ask(client, "FAILED", "RUNNING")
    assert client.stopped == ["RUNNING"]


def test_a_query_that_takes_too_long_is_stopped(client: Client) -> None:
    with pytest.raises(AthenaError, match=r"had no answer after 0\.02 s, and was stopped\.$"):
        ask(client, "RUNNING", wait_s=0.02)
    assert client.stopped == ["RUNNING"]


def test_a_task_that_is_killed_leaves_no_query(client: Client) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(client, "KILLED", "RUNNING")
    assert client.stopped == ["KILLED", "RUNNING"]


def test_a_query_that_athena_refuses_is_one_sentence_and_others_are_stopped(client: Client) -> None:
    with pytest.raises(AthenaError, match=r"^Athena refuses \?\(: line 1:1: mismatched input '\?'\.$"):
        ask(client, "RUNNING", "?(")
    assert client.stopped == ["RUNNING"]
