"""The cluster and the steps are what EMR's API takes, and no cluster costs more than the most that is said."""

import random
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.stub import Stubber
from botocore.validate import ParamValidator

from taxiway.aws.emr import end_of_cluster, job_flow, spark_step
from taxiway.aws.prices import LIST_PRICES, most_per_hour, units
from taxiway.core.settings import Settings, SettingsError

EMR = botocore.session.get_session().get_service_model("emr")


def faults(operation: str, request: dict[str, Any]) -> str:
    """Return what botocore, which knows EMR's API, finds wrong with a request."""
    return str(ParamValidator().validate(request, EMR.operation_model(operation).input_shape).generate_report())


def fleets(settings: Settings) -> dict[str, dict[str, Any]]:
    request = job_flow(settings, "name", {})
    assert faults("RunJobFlow", request) == ""
    return {fleet["InstanceFleetType"]: fleet for fleet in request["Instances"]["InstanceFleets"]}


def test_the_validator_finds_faults() -> None:
    assert "Instances" in faults("RunJobFlow", {"Name": "name"})


def test_the_cluster_waits_for_steps_and_ends_itself_when_idle() -> None:
    settings = Settings(
        emr_subnets=("subnet-1", "subnet-2"), emr_security_configuration="encrypted", emr_idle_minutes=20
    )
    request = job_flow(settings, "analysis", {"run_id": "run"})

    assert faults("RunJobFlow", request) == ""
    assert request["Instances"]["KeepJobFlowAliveWhenNoSteps"] is True
    assert request["Instances"]["TerminationProtected"] is False
    assert request["Instances"]["Ec2SubnetIds"] == ["subnet-1", "subnet-2"]
    assert request["SecurityConfiguration"] == "encrypted"
    assert request["AutoTerminationPolicy"] == {"IdleTimeout": 1200}
    assert request["LogUri"] == "s3://taxiway-logs/emr/"
    assert request["Tags"] == [{"Key": "project", "Value": "taxiway"}, {"Key": "run_id", "Value": "run"}]


def test_what_is_not_set_is_not_sent() -> None:
    request = job_flow(Settings(), "name", {})

    assert "SecurityConfiguration" not in request
    assert "Ec2SubnetIds" not in request["Instances"]


def test_on_demand_workers_are_core_and_spot_workers_task_nodes() -> None:
    found = fleets(Settings(emr_on_demand_units=4, emr_spot_units=8))

    assert (found["MASTER"]["TargetOnDemandCapacity"], found["MASTER"].get("TargetSpotCapacity", 0)) == (1, 0)
    assert (found["CORE"]["TargetOnDemandCapacity"], found["CORE"]["TargetSpotCapacity"]) == (4, 0)
    assert (found["TASK"]["TargetOnDemandCapacity"], found["TASK"]["TargetSpotCapacity"]) == (0, 8)
    assert found["TASK"]["LaunchSpecifications"]["SpotSpecification"]["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
    weights = {type_["InstanceType"]: type_["WeightedCapacity"] for type_ in found["TASK"]["InstanceTypeConfigs"]}
    assert weights == {"r7g.xlarge": 4, "r6g.xlarge": 4, "r7g.2xlarge": 8}


@pytest.mark.parametrize(("on_demand", "spot", "core"), [(8, 0, (8, 0)), (0, 8, (0, 8))])
def test_one_kind_of_workers_alone_is_the_core_fleet(on_demand: int, spot: int, core: tuple[int, int]) -> None:
    found = fleets(Settings(emr_on_demand_units=on_demand, emr_spot_units=spot))

    assert set(found) == {"MASTER", "CORE"}
    assert (found["CORE"]["TargetOnDemandCapacity"], found["CORE"]["TargetSpotCapacity"]) == core


def test_scaling_has_a_ceiling_and_adds_spot_workers_alone() -> None:
    request = job_flow(Settings(emr_on_demand_units=4, emr_spot_units=8, emr_max_units=40), "name", {})

    assert request["ManagedScalingPolicy"]["ComputeLimits"] == {
        "UnitType": "InstanceFleetUnits",
        "MinimumCapacityUnits": 12,
        "MaximumCapacityUnits": 40,
        "MaximumCoreCapacityUnits": 4,
        "MaximumOnDemandCapacityUnits": 4,
    }


@pytest.mark.parametrize(("type_", "expected"), [("m7g.large", 2), ("r7g.xlarge", 4), ("r7g.16xlarge", 64)])
def test_units_are_virtual_cores(type_: str, expected: int) -> None:
    assert units(type_) == expected


def test_a_size_that_does_not_tell_its_units_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"TAXIWAY_EMR_WORKER_TYPES names 'r7g\.metal', whose units are unknown"):
        job_flow(Settings(emr_worker_types=("r7g.metal",)), "name", {})


def test_a_step_submits_a_published_program() -> None:
    step = spark_step(Settings(spark_jobs="s3://jobs/abc"), "curate", "hvfhv/build_month.py", ["--month", "2023-01"])

    assert faults("AddJobFlowSteps", {"JobFlowId": "j-1", "Steps": [step]}) == ""
    assert step["ActionOnFailure"] == "CONTINUE"
    assert " ".join(step["HadoopJarStep"]["Args"]) == (
        "spark-submit --deploy-mode cluster --py-files s3://jobs/abc/spark_jobs.zip s3://jobs/abc/hvfhv/build_month.py "
        "--month 2023-01"
    )


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(emr_on_demand_units=1, emr_spot_units=1, emr_max_units=2, emr_worker_types=("r7g.2xlarge",)),
        Settings(
            emr_on_demand_units=0, emr_spot_units=8, emr_max_units=50, emr_worker_types=("r6g.xlarge", "r7g.2xlarge")
        ),
        Settings(emr_on_demand_units=7, emr_spot_units=9, emr_max_units=16),
    ],
    ids=["defaults", "small", "spot alone", "as large as it starts"],
)
def test_no_cluster_that_scaling_may_make_costs_more(settings: Settings) -> None:
    chance = random.Random(7)

    def fleet(target: int) -> float:
        """Fill a fleet as EMR does: with whole instances of any type, until the target is reached."""
        cost = 0.0
        while target > 0:
            type_ = chance.choice(settings.emr_worker_types)
            cost, target = cost + sum(LIST_PRICES[type_]), target - units(type_)
        return cost

    primary = sum(LIST_PRICES[settings.emr_primary_type])
    for _ in range(300):
        core = chance.randint(0, settings.emr_max_units)
        assert primary + fleet(core) + fleet(settings.emr_max_units - core) <= most_per_hour(settings) + 1e-9


def test_the_most_is_not_far_above_the_largest_cluster() -> None:
    """32 units of r7g.xlarge, and a rounded-up r7g.2xlarge in each fleet."""
    workers = 8 * (0.2142 + 0.05355) + 2 * (0.4284 + 0.1071) * 7 / 8
    assert most_per_hour(Settings()) == pytest.approx(0.1632 + 0.0408 + workers)


@pytest.mark.parametrize(
    "settings",
    [Settings(emr_primary_type="x9z.xlarge"), Settings(emr_worker_types=("r7g.xlarge", "x9z.xlarge"))],
    ids=["primary", "one of the workers"],
)
def test_a_price_that_is_not_known_is_not_guessed(settings: Settings) -> None:
    with pytest.raises(KeyError, match=r"x9z\.xlarge"):
        most_per_hour(settings)


def test_the_default_cluster_has_a_price() -> None:
    settings = Settings()
    assert {settings.emr_primary_type, *settings.emr_worker_types} <= set(LIST_PRICES)


def client(status: dict[str, Any]) -> Any:
    """Return an EMR client whose one cluster has a status; botocore checks that EMR could say so."""
    emr = boto3.client("emr")
    stub = Stubber(emr)
    stub.add_response("describe_cluster", {"Cluster": {"Id": "j-1", "Status": status}}, {"ClusterId": "j-1"})
    stub.activate()
    return emr


@pytest.mark.parametrize(
    ("state", "code", "message", "who"),
    [
        ("TERMINATED", "USER_REQUEST", "Terminated by user request", "A user or program"),
        ("TERMINATING", "USER_REQUEST", "Terminated by user request", "A user or program"),
        ("TERMINATED", "ALL_STEPS_COMPLETED", "Terminated by the auto-termination policy", "EMR itself"),
        ("TERMINATED_WITH_ERRORS", "VALIDATION_ERROR", "Invalid InstanceProfile: taxiway-emr-instance.", "EMR itself"),
        ("TERMINATED_WITH_ERRORS", "BOOTSTRAP_FAILURE", "On the master instance, bootstrap action 1", "EMR itself"),
        ("TERMINATED_WITH_ERRORS", "INSTANCE_FAILURE", "All core nodes were lost", "EMR itself"),
        ("TERMINATED_WITH_ERRORS", "INTERNAL_ERROR", "Failed to start the job flow", "EMR itself"),
    ],
)
def test_who_ended_a_cluster_is_said_with_the_reason(state: str, code: str, message: str, who: str) -> None:
    ended = client({"State": state, "StateChangeReason": {"Code": code, "Message": message}})

    assert end_of_cluster(ended, "j-1") == f"{who} terminated the cluster j-1 ({code}): {message}"


@pytest.mark.parametrize("state", ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"])
def test_a_cluster_that_lives_was_ended_by_nobody(state: str) -> None:
    assert end_of_cluster(client({"State": state}), "j-1") is None
