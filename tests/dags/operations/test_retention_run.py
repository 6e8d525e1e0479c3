"""Runs of the DAG retention against a local AWS: nothing is deleted unless a person has approved it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest

from taxiway.api_logs.tables import EVENTS
from taxiway.core.settings import settings
from taxiway.lake.glue import GlueCatalogue
from tests.dags.runs import empty_lake, prepared_aws, run_once

pytestmark = pytest.mark.timeout(300)

KEY = "curated/api_events/year=2015/month=09/day=12/hour=00/version=1/part-0.parquet"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, airflow_db: None) -> Iterator[None]:
    with prepared_aws(tmp_path_factory.mktemp("aws"), settings):
        yield


@contextmanager
def person(answer: str) -> Iterator[list[str]]:
    """Answer the first request for approval, as Airflow's API does; yield what a person is asked."""
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session
    from sqlalchemy import select

    asked: list[str] = []
    left = threading.Event()
    user = SimpleNamespace(get_id=lambda: "1", get_name=lambda: "somebody")

    def wait() -> None:
        while not left.is_set() and not asked:
            time.sleep(0.5)
            with create_session() as session:
                for detail in session.scalars(select(HITLDetail).where(HITLDetail.responded_at.is_(None))).unique():
                    ti = detail.task_instance
                    if ti.state == "awaiting_input":
                        payload = UpdateHITLDetailPayload(chosen_options=[answer], params_input={})
                        update_hitl_detail(ti.dag_id, ti.run_id, ti.task_id, payload, cast("Any", user), session)
                        asked.append(str(detail.body))

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield asked
    finally:
        left.set()
        thread.join()


def keys() -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket="taxiway-lake", Prefix="curated/")
    return [each["Key"] for each in found.get("Contents", [])]


def test_nobody_is_asked_when_nothing_is_old(platform: None) -> None:
    empty_lake()

    state, tasks = run_once("retention", {})

    assert state == "success"
    assert tasks == {"look": ["success"], "cool": ["success"], "approve": ["skipped"], "delete": ["skipped"]}


def ask_for_events() -> str:
    """Publish no events, have Athena count them, and return the query."""
    database = settings().glue_database
    GlueCatalogue(boto3.client("glue"), database, settings().lake).ensure_tables([EVENTS])
    athena: Any = boto3.client("athena")
    query: str = athena.start_query_execution(
        QueryString=f"SELECT count(*) FROM {database}.{EVENTS.name}",
        ResultConfiguration={"OutputLocation": "s3://taxiway-lake/athena/"},
    )["QueryExecutionId"]
    deadline = time.monotonic() + 120
    while True:
        status = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]
        if status["State"] == "SUCCEEDED":
            return query
        assert status["State"] in ("QUEUED", "RUNNING"), status
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


@pytest.mark.parametrize(("answer", "deleted"), [("Reject", "skipped"), ("Approve", "success")])
def test_what_is_old_goes_when_a_person_approves_it(platform: None, answer: str, deleted: str) -> None:
    empty_lake()
    boto3.client("s3").put_object(Bucket="taxiway-lake", Key=KEY, Body=b"1234")
    days = {f"{datetime.now(UTC):%F}"}
    query = ask_for_events()
    days.add(f"{datetime.now(UTC):%F}")  # midnight may have been between

    with person(answer) as asked:
        state, tasks = run_once("retention", {})

    assert (state, tasks["delete"]) == ("success", [deleted])
    (body,) = asked
    readers = [f"query {query} in primary, {day} (Athena)" for day in days]
    expected = {f"| api_events | 1: 2015-09-12-00 | 1 | 0.0 | {reader} |" for reader in readers}
    assert expected & {*body.splitlines()}, body
    assert keys() == ([] if deleted == "success" else [KEY])
