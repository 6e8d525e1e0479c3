"""Airflow's own EMR operators, sensors and triggers against the endpoint, unmodified."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("airflow.providers.amazon")

from airflow.providers.amazon.aws.hooks.emr import EmrHook
from airflow.providers.amazon.aws.operators.emr import (
    EmrAddStepsOperator,
    EmrCreateJobFlowOperator,
    EmrModifyClusterOperator,
    EmrTerminateJobFlowOperator,
)
from airflow.providers.amazon.aws.sensors.emr import EmrJobFlowSensor, EmrStepSensor
from airflow.sdk.exceptions import AirflowException, TaskDeferred

from tests.local_aws.endpoint import Endpoint

JOB_FLOW: dict[str, Any] = {
    "Name": "airflow",
    "ReleaseLabel": "emr-spark-8.0.0",
    "LogUri": "s3://logs/emr/",
    "Instances": {
        "InstanceFleets": [
            {
                "InstanceFleetType": kind,
                "TargetOnDemandCapacity": 1,
                "InstanceTypeConfigs": [{"InstanceType": "m7g.xlarge"}],
            }
            for kind in ("MASTER", "CORE")
        ],
        "KeepJobFlowAliveWhenNoSteps": True,
    },
}
AWS: Any = {"aws_conn_id": None, "region_name": "us-east-1"}


class TaskInstance:
    """Takes the links that operators push."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": TaskInstance()}


@pytest.fixture(autouse=True)
def environment(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    endpoint.client("s3").create_bucket(Bucket="logs")


@pytest.fixture
def job_flow(context: Any) -> Iterator[str]:
    operator = EmrCreateJobFlowOperator(task_id="create", job_flow_overrides=JOB_FLOW, emr_conn_id=None, **AWS)
    job_flow_id = operator.execute(context)
    assert job_flow_id
    yield job_flow_id
    EmrTerminateJobFlowOperator(
        task_id="end", job_flow_id=job_flow_id, deferrable=False, waiter_delay=1, **AWS
    ).execute(context)


def step(text: str) -> dict[str, Any]:
    return {
        "Name": "step",
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["bash", "-c", text]},
    }


def add(job_flow_id: str, *texts: str, **options: Any) -> EmrAddStepsOperator:
    steps = [step(text) for text in texts]
    return EmrAddStepsOperator(task_id="add", job_flow_id=job_flow_id, steps=steps, waiter_delay=1, **options, **AWS)


def resume(operator: Any, context: Any) -> Any:
    """Run a deferrable operator with its trigger to its end, as the triggerer does."""
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)

    async def event() -> Any:
        return (await anext(deferred.value.trigger.run())).payload

    return getattr(operator, deferred.value.method_name)(context, event=asyncio.run(event()))


def test_create_add_sense_terminate(job_flow: str, context: Any) -> None:
    EmrHook(**AWS).get_waiter("job_flow_waiting").wait(ClusterId=job_flow, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert EmrHook(**AWS).get_cluster_id_by_name("airflow", ["WAITING", "RUNNING"]) == job_flow
    EmrModifyClusterOperator(task_id="modify", cluster_id=job_flow, step_concurrency_level=2, **AWS).execute(context)
    (step_id,) = add(job_flow, "true", wait_for_completion=True, deferrable=False).execute(context)
    sensor = EmrStepSensor(
        task_id="sense", job_flow_id=job_flow, step_id=step_id, deferrable=False, poke_interval=1, **AWS
    )
    sensor.execute(context)
    EmrTerminateJobFlowOperator(task_id="end", job_flow_id=job_flow, deferrable=False, waiter_delay=1, **AWS).execute(
        context
    )
    EmrJobFlowSensor(task_id="ended", job_flow_id=job_flow, deferrable=False, poke_interval=1, **AWS).execute(context)


def test_a_failed_step_fails_the_task_with_its_own_words(job_flow: str, context: Any) -> None:
    step_ids = add(job_flow, "echo 'Month 2023-13 is no month.' >&2; exit 1", deferrable=False).execute(context)
    sensor = EmrStepSensor(
        task_id="sense", job_flow_id=job_flow, step_id=step_ids[0], deferrable=False, poke_interval=1, **AWS
    )
    with pytest.raises(AirflowException, match="Month 2023-13 is no month"):
        sensor.execute(context)


def test_deferrable(job_flow: str, context: Any) -> None:
    done = resume(add(job_flow, "sleep 1", "true", deferrable=True, wait_for_completion=True), context)
    assert len(done) == 2
    with pytest.raises(AirflowException):
        resume(add(job_flow, "exit 1", deferrable=True, wait_for_completion=True), context)
    resume(
        EmrTerminateJobFlowOperator(task_id="e", job_flow_id=job_flow, deferrable=True, waiter_delay=1, **AWS), context
    )
