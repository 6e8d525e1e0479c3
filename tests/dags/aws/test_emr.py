"""The cluster and the steps are what EMR's API takes, and their cost is an upper bound."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.stub import Stubber
from botocore.validate import ParamValidator

from taxiway.aws.emr import failure_of_cluster, job_flow, spark_step
from taxiway.aws.prices import LIST_PRICES, cluster_cost, estimate_cost, units
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


def test_a_cluster_costs_its_instances_for_its_time() -> None:
    settings = Settings(emr_primary_type="m7g.xlarge", emr_worker_types=("r6g.xlarge", "r7g.xlarge"))
    cost = estimate_cost(settings, 1800)

    # 2 units on demand and 6 on spot, each fleet rounded up to whole instances of the type with the dearest unit.
    assert cost.instances == "1 × m7g.xlarge, 3 × r7g.xlarge"
    assert cost.usd == pytest.approx((0.1632 + 0.0408 + 3 * (0.2142 + 0.05355)) / 2)
    assert str(cost).startswith("1 × m7g.xlarge, 3 × r7g.xlarge for 1,800 s: at most 0.50 USD")


def test_emr_bills_a_minute_at_least() -> None:
    assert estimate_cost(Settings(), 1).usd == estimate_cost(Settings(), 60).usd
    assert estimate_cost(Settings(), 61).usd != estimate_cost(Settings(), 60).usd


@pytest.mark.parametrize(
    "settings",
    [Settings(emr_primary_type="x9z.xlarge"), Settings(emr_worker_types=("r7g.xlarge", "x9z.xlarge"))],
    ids=["primary", "one of the workers"],
)
def test_a_price_that_is_not_known_is_not_guessed(settings: Settings) -> None:
    cost = estimate_cost(settings, 600)

    assert cost.usd is None
    assert str(cost).endswith("price unknown")


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


def test_a_cluster_costs_from_its_creation_to_its_end() -> None:
    created = datetime(2026, 11, 21, 10, tzinfo=UTC)
    timeline = {"CreationDateTime": created, "EndDateTime": created + timedelta(minutes=20)}

    cost = cluster_cost(Settings(), client({"State": "TERMINATED", "Timeline": timeline}), "j-1")

    assert cost == estimate_cost(Settings(), 1200)


def test_a_cluster_that_lives_has_cost_up_to_now() -> None:
    timeline = {"CreationDateTime": datetime.now(UTC) - timedelta(minutes=10)}

    cost = cluster_cost(Settings(), client({"State": "RUNNING", "Timeline": timeline}), "j-1")

    assert cost.seconds == pytest.approx(600, abs=10)


def test_a_cluster_that_emr_ended_says_why() -> None:
    reason = {"Code": "VALIDATION_ERROR", "Message": "Invalid InstanceProfile: taxiway-emr-instance."}
    ended = client({"State": "TERMINATED_WITH_ERRORS", "StateChangeReason": reason})

    assert failure_of_cluster(ended, "j-1") == (
        "EMR terminated the cluster j-1 by itself (VALIDATION_ERROR): Invalid InstanceProfile: taxiway-emr-instance."
    )
    assert failure_of_cluster(client({"State": "WAITING"}), "j-1") is None
