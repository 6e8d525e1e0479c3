"""What every DAG must be: owned, bounded, documented, quick to parse, always the same; and no cluster is left."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.amazon.aws.operators.emr import (
    EmrAddStepsOperator,
    EmrCreateJobFlowOperator,
    EmrServerlessDeleteApplicationOperator,
    EmrServerlessStartJobOperator,
    EmrServerlessStopApplicationOperator,
    EmrTerminateJobFlowOperator,
)
from airflow.serialization.serialized_objects import DagSerialization

from console.demo import discover
from docs.generate_dags_md import PAGE, render
from taxiway.aws.serverless import CreateOrReuseApplication, JobRunRetries
from taxiway.core import contracts
from taxiway.core.settings import Settings, settings
from taxiway.hvfhv.settings import HvfhvSettings
from taxiway.operations.retries import StepRetries

pytestmark = pytest.mark.slow  # parses the DAGs in processes of Airflow

ROOT = Path(__file__).parents[2]
# A file a DAG, named like it. Whose it is: the platform's, or the team's in the contracts of its pipeline.
DAG_IDS = sorted(file.stem for file in (ROOT / "dags").glob("*.py"))
OWNERS = {"domain:platform": "platform"} | {
    f"domain:{pipeline}": contracts.read(pipeline, contracts.names(pipeline)[0]).raw["team"]["name"]
    for pipeline in contracts.pipelines()
}
TAGS = {"tier:1", "tier:2", *OWNERS}
PARSE_BUDGET_S = 0.3


@pytest.fixture(autouse=True, scope="module")
def _fresh_settings() -> None:
    settings.cache_clear()


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(ROOT / "dags")


@pytest.fixture(params=DAG_IDS)
def dag(bag: DagBag, request: pytest.FixtureRequest) -> Any:
    return bag.dags[request.param]


def test_these_are_all_dags(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == DAG_IDS


def test_a_dag_says_whose_and_what_it_is(dag: Any) -> None:
    assert "." not in dag.dag_id
    assert set(dag.tags) <= TAGS
    assert any(tag.startswith("domain:") for tag in dag.tags)
    assert dag.doc_md
    assert dag.doc_md.strip().startswith("### ")
    assert dag.max_active_runs <= 4


def test_a_task_has_an_owner_and_an_end(dag: Any) -> None:
    (owner,) = {OWNERS[tag] for tag in dag.tags if tag in OWNERS}
    for task in dag.tasks:
        assert task.owner == owner, task
        assert task.retries > 0, task
        assert task.retry_exponential_backoff, task
        assert task.max_retry_delay, task
        assert task.execution_timeout, task


def test_a_cluster_ends_whatever_happens(bag: DagBag) -> None:
    created = []
    for dag in bag.dags.values():
        for create in (task for task in dag.tasks if isinstance(task, EmrCreateJobFlowOperator)):
            created.append(create.task_id)
            assert create.is_setup
            ends = [task for task in create.downstream_list if isinstance(task, EmrTerminateJobFlowOperator)]
            assert len(ends) == 1
            assert ends[0].is_teardown
            assert ends[0].on_failure_fail_dagrun, "a cluster that could not be ended costs money: the run must fail"
            assert f"'{create.task_id}'" in ends[0].job_flow_id
            assert create.task_id in ends[0].upstream_task_ids
            before = ends[0].get_flat_relative_ids(upstream=True)
            assert {task.task_id for task in dag.tasks if isinstance(task, EmrAddStepsOperator)} <= before
    assert created


def test_an_application_ends_whatever_happens(bag: DagBag) -> None:
    created = []
    for dag in bag.dags.values():
        for create in (task for task in dag.tasks if isinstance(task, CreateOrReuseApplication)):
            created.append(create.task_id)
            assert create.is_setup
            ends = [task for task in create.downstream_list if isinstance(task, EmrServerlessStopApplicationOperator)]
            kinds = {type(end) for end in ends}
            assert kinds == {EmrServerlessStopApplicationOperator, EmrServerlessDeleteApplicationOperator}
            jobs = {task.task_id for task in dag.tasks if isinstance(task, EmrServerlessStartJobOperator)}
            for end in ends:
                assert end.is_teardown
                assert end.force_stop
                assert end.on_failure_fail_dagrun, "an application that goes on costs money"
                assert f"'{create.task_id}'" in end.application_id
                assert jobs <= {task.task_id for task in end.get_flat_relatives(upstream=True)}
    assert created


def test_job_runs_wait_in_the_triggerer_for_as_long_as_they_may_take(bag: DagBag) -> None:
    jobs = [task for dag in bag.dags.values() for task in dag.tasks if isinstance(task, EmrServerlessStartJobOperator)]

    assert jobs
    for job in jobs:
        assert isinstance(job.retry_policy, JobRunRetries)
        assert job.deferrable
        assert job.waiter_delay * job.waiter_max_attempts >= settings().serverless_job_minutes * 60
        assert job.execution_timeout
        assert job.execution_timeout.total_seconds() > job.waiter_delay * job.waiter_max_attempts


def test_steps_wait_in_the_triggerer_and_within_the_pool(bag: DagBag) -> None:
    steps = [task for dag in bag.dags.values() for task in dag.tasks if isinstance(task, EmrAddStepsOperator)]

    assert steps
    pools = {pool["name"] for demo in discover().values() for pool in demo.pools}
    for step in steps:
        assert isinstance(step.retry_policy, StepRetries), "a cluster that is gone: no retry, and the log says why"
        assert step.deferrable
        assert step.pool in pools
        assert step.waiter_delay * step.waiter_max_attempts >= settings().emr_step_hours * 3600
        assert step.execution_timeout
        assert step.execution_timeout > timedelta(hours=settings().emr_step_hours)


def test_a_dag_of_the_platform_is_switched_on_only_where_that_is_said(
    bag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ["cost_guard", "data_docs", "platform_metrics", "quality_report", "retention"]
    assert sorted(name for name, dag in bag.dags.items() if dag.is_paused_upon_creation) == ours, "harmless on a laptop"
    monkeypatch.setenv("TAXIWAY_PLATFORM_DAGS", "true")
    settings.cache_clear()
    try:
        dags = DagBag(ROOT / "dags").dags
    finally:
        settings.cache_clear()
    assert sorted(name for name, dag in dags.items() if dag.is_paused_upon_creation is False) == ours


def test_a_run_of_a_tier_1_dag_has_a_deadline_after_all_that_it_may_wait_for(
    bag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any(dag.deadline for dag in bag.dags.values()), "only where that is said"
    monkeypatch.setenv("TAXIWAY_DEADLINES", "true")
    settings.cache_clear()
    try:
        dags = DagBag(ROOT / "dags").dags
    finally:
        settings.cache_clear()
    with_deadline: dict[str, Any] = {dag_id: dag.deadline for dag_id, dag in dags.items() if dag.deadline}

    assert set(with_deadline) == {dag_id for dag_id, dag in bag.dags.items() if "tier:1" in dag.tags}
    (analysis,) = with_deadline["hvfhv_analysis"]
    assert analysis.interval > timedelta(hours=HvfhvSettings().months_wait_h + Settings().emr_step_hours)


def test_the_analysis_starts_on_what_the_collection_announces(bag: DagBag) -> None:
    schedule: Any = bag.dags["hvfhv_analysis"].schedule
    (asset,) = schedule
    assert bag.dags["hvfhv_collection"].get_task("announce_month").outlets == [asset]


def test_the_same_file_gives_the_same_dag(bag: DagBag, dag: Any) -> None:
    again = DagBag(ROOT / "dags").dags[dag.dag_id]
    first, second = (json.dumps(DagSerialization.to_dict(each), sort_keys=True) for each in (dag, again))

    assert first == second
    assert " at 0x" not in first


def test_the_page_of_the_dags_is_up_to_date(bag: DagBag) -> None:
    assert render(bag.dags.values()) == PAGE.read_text(), "run make docs"


def test_a_wrong_setting_is_an_import_error_of_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_EMR_RELEASE", "emr-7.13.0")
    settings.cache_clear()
    try:
        errors = DagBag(ROOT / "dags").import_errors
    finally:
        settings.cache_clear()

    error = errors[str(ROOT / "dags/hvfhv_analysis.py")]
    assert "TAXIWAY_EMR_RELEASE='emr-7.13.0' cannot be used: the Spark programs need Spark 4" in error


# Parses with the executors of a cluster, in a process of its own since Airflow reads them once; prints task → executor.
EXECUTORS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

bag = DagBag(sys.argv[1])
tasks = [task for dag in bag.dags.values() for task in DagSerialization.to_dict(dag)["dag"]["tasks"]]
found = {task["__var"]["task_id"]: task["__var"].get("partial_kwargs", task["__var"]).get("executor") for task in tasks}
print(json.dumps([found, list(bag.import_errors.values())]))
"""


def executors(configured: str, isolated: str | None) -> tuple[dict[str, str | None], list[str]]:
    """Return the executor of each serialised task, and the errors of parsing."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "dags"), "AIRFLOW__CORE__EXECUTOR": configured}
    environment |= {"TAXIWAY_ISOLATED_EXECUTOR": isolated} if isolated else {}
    command = [sys.executable, "-c", EXECUTORS, str(ROOT / "dags")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found, errors = json.loads(done.stdout.splitlines()[-1])
    return found, errors


def test_on_a_laptop_no_task_asks_for_an_executor(bag: DagBag) -> None:
    found, errors = executors("LocalExecutor", None)

    assert errors == []
    assert set(found) == {task for dag in bag.dags.values() for task in dag.task_ids}
    assert set(found.values()) == {None}
    text = json.dumps([DagSerialization.to_dict(dag)["dag"]["tasks"] for dag in bag.dags.values()])
    assert '"executor"' not in text, "where none is set, nothing of it is in a task"


def test_the_report_runs_in_a_pod_of_its_own_where_there_are_pods() -> None:
    found, errors = executors("LocalExecutor,KubernetesExecutor", "KubernetesExecutor")

    assert errors == []
    assert found["report"] == "KubernetesExecutor"
    assert {*found.values()} == {None, "KubernetesExecutor"}


def test_an_executor_that_the_deployment_has_not_is_an_error_that_names_it() -> None:
    found, errors = executors("LocalExecutor", "KubernetesExecutor")

    assert "report" not in found
    assert "specifies executor 'KubernetesExecutor', which is not available" in errors[0]


# ── Parsing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

# Parses as the DAG processor does, in a process of its own, and tells what it did beyond importing the operators.
PARSE = """
import json, sys, time
import airflow.providers.amazon.aws.operators.emr, airflow.providers.standard.decorators.python
import airflow.providers.standard.decorators.sensor, pydantic_settings
from airflow.dag_processing.dagbag import DagBag

known, watching, io, times = {name.partition(".")[0] for name in sys.modules}, True, [], []
forbidden = {"socket.connect", "socket.getaddrinfo", "sqlite3.connect", "subprocess.Popen"}
def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if watching and (writes or event in forbidden):
        io.append(event)
sys.addaudithook(watch)
for _ in range(3):
    for name in [name for name in sys.modules if name.partition(".")[0] == "taxiway"]:
        del sys.modules[name]
    began = time.process_time()
    bag = DagBag(sys.argv[1])
    times.append(time.process_time() - began)
watching = False
new = {name.partition(".")[0] for name in sys.modules} - known
print(json.dumps({"dags": sorted(bag.dags), "seconds": times, "io": io, "new": sorted(new)}))
"""


def parse(folder: Path) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "dags"), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, "-B", "-c", PARSE, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def parsed() -> dict[str, Any]:
    return parse(ROOT / "dags")


def test_what_parsing_does_is_seen(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "import socket, pyarrow\n"
        "from airflow.sdk import DAG\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))\n"
        "open(__file__ + '.out', 'w').close()\n"
        "dag = DAG('bad')\n"
    )
    seen = parse(tmp_path)

    assert seen["dags"] == ["bad"]
    assert set(seen["io"]) == {"socket.connect", "open"}
    assert "pyarrow" in seen["new"]


def test_parsing_does_no_io(parsed: dict[str, Any]) -> None:
    assert parsed["dags"] == DAG_IDS
    assert parsed["io"] == []


def test_parsing_loads_nothing_heavy(parsed: dict[str, Any]) -> None:
    assert not {"pyarrow", "pandas", "duckdb", "altair", "alembic", "rich", "slack_sdk"} & set(parsed["new"])


def test_parsing_is_quick(parsed: dict[str, Any]) -> None:
    # Processor time, and the best of three: what else the machine does must not fail the test.
    assert min(parsed["seconds"]) <= PARSE_BUDGET_S
