"""What Slack gets of real runs, by Airflow's task runner and by its DAG processor."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog

from taxiway import catalogue
from tests.dags.operations import slack_server
from tests.dags.operations.slack_server import HOOK, TOKEN, Slack, text_of

ROOT = Path(__file__).parents[3]
DAG = """
from datetime import timedelta
from airflow.sdk import TriggerRule, dag, task
from airflow.sdk.exceptions import AirflowSkipException
from taxiway.operations import notices

@dag("told", schedule=None, **notices.of_run(), default_args={
    **notices.of_tasks("docs/runbooks/DagSuccessBurnsFast.md"), "retries": 1, "retry_delay": timedelta(0)})
def told():
    @task
    def plan():
        return ["2023-01", "2023-02"]

    @task(map_index_template="{{ task.op_kwargs['month'] }}")
    def build(month, ti=None):
        if month == "2023-02":
            raise ValueError(f"{month} <has> no rows & no columns: secret-of-a-connection")

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def check(ti=None, **context):
        notices.tell(context, "All lines are accounted for.", [("what", "lines"), ("parsed", 2893)])
        if ti.try_number == 1:
            raise ValueError("not yet")

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def nothing():
        raise AirflowSkipException("nothing to do")

    @task
    def publish(built):
        pass

    built = build.expand(month=plan())
    publish(built)
    built >> check() >> nothing()

told()
"""

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def slack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slack]:
    """Run Slack, with a catalogue that was migrated; every call must have had the right shape."""
    url = f"sqlite:///{tmp_path}/catalogue.db"
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", url)
    catalogue.migrate(catalogue.open_engine(url))
    with slack_server.running() as server:
        yield server
    assert server.faults == []


def connect(slack: Slack, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    extra = json.dumps({"base_url": f"{slack.url}/api/"}) if kind == "slack" else None
    password = TOKEN if kind == "slack" else f"{slack.url}{HOOK}"
    connection = {"conn_type": kind, "password": password, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", json.dumps(connection))


def run(tmp_path: Path) -> Any:
    """Run the DAG in this process; return the run."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    (tmp_path / "told.py").write_text(DAG)
    bag = DagBag(tmp_path / "told.py")
    assert bag.import_errors == {}
    with create_session() as session:
        session.merge(DagBundleModel(name="dags-folder"))
    sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags["told"].test()


def states(done: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for instance in sorted(done.get_task_instances(), key=lambda instance: instance.map_index):
        found.setdefault(instance.task_id, []).append(str(instance.state))
    return found


STATES = {
    "plan": ["success"],
    "build": ["success", "failed"],
    "check": ["success"],
    "nothing": ["skipped"],
    "publish": ["upstream_failed"],
}


def test_a_run_is_told_as_one_thread(slack: Slack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.log import mask_secret

    connect(slack, monkeypatch, "slack")
    mask_secret("secret-of-a-connection")
    done = run(tmp_path)

    assert states(done) == STATES
    (root,) = slack.roots()
    lines = text_of(root).splitlines()
    assert lines[0] == f":{'white_check_mark' if done.state == 'success' else 'x'}: *told*  {done.state}"
    assert lines[1] == f"<http://localhost:8080/dags/told/runs/{quote(done.run_id)}|{done.run_id}>"
    assert [line.split("`")[1] for line in lines[2:]] == ["plan", "build", "check", "nothing"]
    assert "1 success, 1 failed (2023-02)" in lines[3]
    assert lines[4].endswith(", try 2")
    failure, *told = sorted((text_of(reply) for reply in slack.replies()), key=lambda text: ":x:" not in text)
    assert failure.startswith(":x: *told*: `build (2023-02)` failed (try 2 of 2)\n")
    assert "2023-02 &lt;has&gt; no rows &amp; no columns: ***" in failure
    assert "secret-of" not in json.dumps([call.arguments for call in slack.calls])
    assert "/tasks/build/mapped/1?try_number=2|Log>  ·  Runbook: docs/runbooks/DagSuccessBurnsFast.md" in failure
    assert len(told) == 2, "a table at each try"
    assert "parsed  2,893" in told[0]


def test_a_webhook_is_told_failures_and_the_end(slack: Slack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(slack, monkeypatch, "slackwebhook")
    done = run(tmp_path)

    assert states(done) == STATES
    texts = [text_of(call.arguments) for call in slack.calls]
    assert [text for text in texts if "`build (2023-02)` failed" in text] == [texts[0]]
    assert f"*told*  {done.state}" in texts[-1]
    assert len(texts) == 4, "a failure, two tables, the end"


@pytest.mark.parametrize("answers", [["invalid_auth"] * 200, [500] * 200, []])
def test_a_slack_that_fails_changes_no_state(
    answers: list[str | int | float], slack: Slack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if answers:
        connect(slack, monkeypatch, "slack")
        monkeypatch.setattr("slack_sdk.http_retry.handler.time.sleep", lambda _: None)
    else:
        monkeypatch.delenv("AIRFLOW_CONN_SLACK_API_DEFAULT", raising=False)
    slack.next = answers
    assert states(run(tmp_path)) == STATES
    assert slack.calls == []


def test_the_dag_processor_tells_of_killed_tasks_and_ends_of_runs(
    slack: Slack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.callbacks.callback_requests import DagCallbackRequest, TaskCallbackRequest
    from airflow.dag_processing.dagbag import DagBag
    from airflow.dag_processing.processor import _execute_callbacks
    from airflow.sdk.api.datamodels._generated import TaskInstance

    connect(slack, monkeypatch, "slack")
    (tmp_path / "told.py").write_text(DAG)
    bag = DagBag(tmp_path / "told.py")
    where = {"filepath": "told.py", "bundle_name": "dags-folder", "bundle_version": None}
    ti = TaskInstance.model_validate(
        {
            "id": "01890a5d-ac96-774b-bcce-b302099a8057",
            "dag_version_id": "01890a5d-ac96-774b-bcce-b302099a8057",
            "task_id": "plan",
            "dag_id": "told",
            "run_id": "killed",
            "try_number": 2,
        }
    )
    killed = TaskCallbackRequest(ti=ti, msg="Task did not send a heartbeat", task_callback_type="failed", **where)
    ended = DagCallbackRequest(dag_id="told", run_id="killed", is_failure_callback=True, msg="task_failure", **where)
    log = structlog.get_logger()
    _execute_callbacks(bag, [killed, ended], log)

    (root,) = slack.roots()
    assert text_of(root).splitlines()[0] == ":x: *told*  failed"
    assert ":x: `plan`" in text_of(root)
    (reply,) = slack.replies()
    assert "`plan` failed (try 2)" in text_of(reply)
    assert "ended without a word" in text_of(reply)
