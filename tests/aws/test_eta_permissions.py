"""What the arrival model may do on AWS: its own application, its own folders, and the pointer for tasks alone."""

import pytest

from taxiway.eta.settings import EtaSettings
from tests.aws.iam import actions, allowed
from tests.aws.template import ACCOUNT, REGION, Stack

STACK = Stack()
OWN = f"arn:aws:emr-serverless:{REGION}:{ACCOUNT}:/applications/EtaApplication"
LAKE, VERSION = "arn:aws:s3:::acme-taxi-lake", "models/eta/20261126T041500-2023-06"


def test_the_application_is_the_one_that_the_settings_name_and_keeps_nothing_ready() -> None:
    application = STACK.properties("EtaApplication")
    assert application["Name"] == EtaSettings().application
    assert "InitialCapacity" not in application
    assert application["AutoStopConfiguration"] == {"Enabled": True, "IdleTimeoutMinutes": 5}
    shared = STACK.properties("ServerlessApplication")
    for name in ("ReleaseLabel", "Architecture", "MaximumCapacity"):
        assert application[name] == shared[name], "the DAGs look for an application with the shared settings"
    assert "EtaApplication" not in Stack(CreateServerless="false").resources


@pytest.mark.parametrize(
    "action", ["StartApplication", "StopApplication", "StartJobRun", "GetApplication", "ListJobRuns"]
)
def test_tasks_use_the_application(action: str) -> None:
    assert allowed(STACK.policies("WorkerRole"), f"emr-serverless:{action}", OWN)
    assert not allowed(STACK.policies("WorkerRole"), f"emr-serverless:{action}", OWN.replace("Eta", "Other"))


@pytest.mark.parametrize("role", ["WorkerRole", "TriggererRole", "DagProcessorRole"])
def test_what_waits_for_its_job_runs_may_watch_and_cancel_them(role: str) -> None:
    for action in ("GetJobRun", "CancelJobRun"):
        assert allowed(STACK.policies(role), f"emr-serverless:{action}", f"{OWN}/jobruns/1")
    assert allowed(STACK.policies(role), "emr-serverless:StartJobRun", OWN) is (role == "WorkerRole")


def test_job_runs_write_versions_and_checkpoints_and_never_the_pointer() -> None:
    policies = STACK.policies("ServerlessJobRole")
    for place in (
        f"{VERSION}/metrics.json",
        f"{VERSION}/candidates/lightgbm/p50.txt",
        "checkpoints/eta/stream/offsets/0",
    ):
        assert allowed(policies, "s3:PutObject", f"{LAKE}/{place}")
    assert not allowed(policies, "s3:PutObject", f"{LAKE}/models/eta/live.json")
    assert allowed(STACK.policies("WorkerRole"), "s3:PutObject", f"{LAKE}/models/eta/live.json")
    assert allowed(policies, "s3:GetObject", "arn:aws:s3:::acme-taxi-artifacts/environments/eta.tar.gz")
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:taxiway-eta/kafka-AbCdEf"
    assert allowed(policies, "secretsmanager:GetSecretValue", secret)
    assert not allowed(policies, "secretsmanager:GetSecretValue", secret.replace("taxiway-eta/", "taxiway-api-logs/"))
    assert {action for action in actions(policies) if action.startswith("secretsmanager:")} == {
        "secretsmanager:GetSecretValue"
    }
