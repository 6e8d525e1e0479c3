"""Deadlines of runs: Airflow's scheduler finds one that was missed, and what an executor calls tells of it."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from taxiway.core.settings import settings
from tests.dags.operations.slack_server import HOOK, running, text_of

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture(autouse=True)
def _with_deadlines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TAXIWAY_DEADLINES", "true")
    monkeypatch.setenv("AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL", "0")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def run_id() -> str:
    """Queue a run of the collection as the scheduler does, of a DAG that was parsed twice; return its id."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    def parse() -> int:
        sync_bag_to_db(DagBag(ROOT / "dags" / "hvfhv_collection.py"), "dags-folder", None)
        count = sa.select(sa.func.count()).select_from(DagVersion).where(DagVersion.dag_id == "hvfhv_collection")
        with create_session() as session:
            return session.scalar(count) or 0

    with create_session() as session:
        session.merge(DagBundleModel(name="dags-folder"))
    versions = parse()
    now = datetime.now(UTC)
    run_id = f"test__{now.isoformat()}"
    with create_session() as session:
        dag = SerializedDagModel.get_dag("hvfhv_collection", session=session)
        assert dag
        dag.create_dagrun(
            run_id=run_id,
            run_after=now,
            logical_date=now,
            data_interval=(now, now),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.QUEUED,
            session=session,
        )
    assert parse() == versions, "a deadline must not make each parse a new version"
    return run_id


def test_a_missed_deadline_is_told(
    run_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.models.deadline import Deadline
    from airflow.sdk.module_loading import import_string  # type: ignore[attr-defined]  # not in its stub
    from airflow.utils.session import create_session

    with create_session() as session:
        deadline = session.scalars(sa.select(Deadline).join(DagRun).where(DagRun.run_id == run_id)).one()
        assert timedelta(hours=23) < deadline.deadline_time - datetime.now(UTC) <= timedelta(hours=24)
        deadline.handle_miss(session)
        call = json.loads(json.dumps(deadline.callback.data, default=str))

    with running() as slack, caplog.at_level(logging.WARNING):
        connection = {"conn_type": "slackwebhook", "password": f"{slack.url}{HOOK}"}
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", json.dumps(connection))
        import_string(call["path"])(**call["kwargs"])

    sentence = f"The run {run_id} of hvfhv_collection is queued 24 hours after it was queued: it missed its deadline."
    assert sentence in caplog.text
    assert [text_of(call.arguments) for call in slack.calls] == [f":warning: {sentence}"]
