"""Tasks whose steps or cluster somebody ends: Airflow's own operator and trigger against the local AWS endpoint."""

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.sdk import DAG

from taxiway.aws.emr import job_flow
from taxiway.core.settings import Settings
from taxiway.operations.retries import StepRetries

USER = "A user or program terminated the cluster {} (USER_REQUEST): Terminated by user request. A retry cannot help: "


@pytest.fixture
def emr(airflow_db: None, aws: str) -> Any:
    return boto3.client("emr")


def start(emr: Any, **changes: Any) -> str:
    """Start a cluster as the analysis does; return its id."""
    return str(emr.run_job_flow(**{**job_flow(Settings(), "test", {}), **changes})["JobFlowId"])


def run(
    emr: Any,
    cluster: str,
    text: str,
    meanwhile: Callable[[str], object] = str,
    *,
    attempts: int = 60,
    action: str = "CONTINUE",
) -> tuple[str, int]:
    """Run a task with a step and one retry; return its state, and how many steps it added.

    Args:
        emr: a client.
        cluster: where.
        text: what the step runs.
        meanwhile: called with the step's id when it runs.
        attempts: of the waiter, one a second.
        action: on failure of the step.
    """
    step = {"Name": "curate", "ActionOnFailure": action,
            "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["bash", "-c", text]}}  # fmt: skip
    with DAG("retries", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        EmrAddStepsOperator(
            task_id="add",
            job_flow_id=cluster,
            steps=[step],
            deferrable=True,
            waiter_delay=1,
            waiter_max_attempts=attempts,
            retries=1,
            retry_delay=timedelta(seconds=0),
            retry_policy=StepRetries(),
        )
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    bag = DagBag(os.devnull)
    bag.dags[dag.dag_id] = dag
    sync_bag_to_db(bag, "dags-folder", None)
    ended = threading.Event()

    def interfere() -> None:
        while not ended.is_set():
            if steps := emr.list_steps(ClusterId=cluster, StepStates=["RUNNING"])["Steps"]:
                meanwhile(steps[0]["Id"])
                return
            time.sleep(0.05)

    thread = threading.Thread(target=interfere, daemon=True)
    if meanwhile is not str:
        thread.start()
    done = dag.test()
    ended.set()
    (instance,) = done.get_task_instances()
    return str(instance.state), added(emr, cluster)


def added(emr: Any, cluster: str) -> int:
    try:
        return len(emr.list_steps(ClusterId=cluster)["Steps"])
    except emr.exceptions.InvalidRequestException:
        return 0


def test_a_cluster_that_somebody_ends_while_a_step_runs(emr: Any, caplog: pytest.LogCaptureFixture) -> None:
    cluster = start(emr)

    assert run(emr, cluster, "sleep 60", lambda _: emr.terminate_job_flows(JobFlowIds=[cluster])) == ("failed", 1)
    assert USER.format(cluster) in caplog.text


def test_a_cluster_that_is_gone_before_the_step_is_added(emr: Any, caplog: pytest.LogCaptureFixture) -> None:
    cluster = start(emr)
    emr.terminate_job_flows(JobFlowIds=[cluster])

    assert run(emr, cluster, "true") == ("failed", 0)
    assert USER.format(cluster) in caplog.text


def test_a_cluster_that_ends_by_a_failure_of_its_own(emr: Any, caplog: pytest.LogCaptureFixture) -> None:
    cluster = start(emr, StepConcurrencyLevel=1)

    assert run(emr, cluster, "exit 1", action="TERMINATE_CLUSTER") == ("failed", 1)
    assert f"EMR itself terminated the cluster {cluster} (STEP_FAILURE): Shut down as step failed." in caplog.text


def test_a_cluster_that_emr_has_forgotten(emr: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert run(emr, "j-0000000000000", "true") == ("failed", 0)
    assert "EMR does not know the cluster j-0000000000000: Cluster id 'j-0000000000000' is not valid." in caplog.text


def test_a_step_that_somebody_cancels(emr: Any, caplog: pytest.LogCaptureFixture) -> None:
    cluster = start(emr)

    def cancel(step: str) -> None:
        emr.cancel_steps(ClusterId=cluster, StepIds=[step], StepCancellationOption="TERMINATE_PROCESS")

    assert run(emr, cluster, "sleep 60", cancel) == ("failed", 1)
    assert "was cancelled: Cancelled by user request. Clear this task to run it again." in caplog.text


def test_a_step_that_fails_is_tried_again(emr: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(emr, start(emr), "echo 'no such month' >&2; exit 1") == ("failed", 2)
    log = capfd.readouterr()
    assert "no such month" in log.out + log.err


def test_a_step_that_takes_too_long(emr: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert run(emr, start(emr), "sleep 300", attempts=1) == ("failed", 2)
    assert "The steps had not ended after" in caplog.text
