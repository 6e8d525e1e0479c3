"""The EMR cluster and its steps, as arguments of the provider's operators."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from taxiway.aws.prices import units
from taxiway.aws.programs import ARCHIVE
from taxiway.core.settings import Settings


class HadoopJarStep(TypedDict):
    """The command of a step."""

    Jar: str
    Args: list[str]


class Step(TypedDict):
    """A step of an ``AddJobFlowSteps`` request."""

    Name: str
    ActionOnFailure: str
    HadoopJarStep: HadoopJarStep


def job_flow(settings: Settings, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the request of ``RunJobFlow`` for a cluster that waits for steps.

    On-demand workers are the core fleet, which holds shuffle files and the application masters; spot workers are the
    task fleet, whose loss only means that some tasks are retried. Managed scaling adds only spot workers.

    Args:
        settings: instance types, units, limits, roles and locations.
        name: the cluster's name.
        tags: added to ``settings.cost_tags``; values may hold Jinja.

    Raises:
        SettingsError: an instance type has a size whose units are unknown.
    """
    core_spot = 0 if settings.emr_on_demand_units else settings.emr_spot_units
    fleets = [
        {
            "Name": "primary",
            "InstanceFleetType": "MASTER",
            "TargetOnDemandCapacity": 1,
            "InstanceTypeConfigs": [{"InstanceType": settings.emr_primary_type}],
        },
        _worker_fleet(settings, "CORE", settings.emr_on_demand_units, core_spot),
    ]
    if settings.emr_spot_units and not core_spot:
        fleets.append(_worker_fleet(settings, "TASK", 0, settings.emr_spot_units))
    request: dict[str, Any] = {
        "Name": name,
        "ReleaseLabel": settings.emr_release,
        "Applications": [{"Name": "Spark"}],
        "LogUri": f"{settings.emr_logs}/",
        "Instances": {
            "InstanceFleets": fleets,
            "KeepJobFlowAliveWhenNoSteps": True,
            "TerminationProtected": False,
        },
        "ManagedScalingPolicy": {
            "ComputeLimits": {
                "UnitType": "InstanceFleetUnits",
                "MinimumCapacityUnits": settings.emr_on_demand_units + settings.emr_spot_units,
                "MaximumCapacityUnits": settings.emr_max_units,
                "MaximumCoreCapacityUnits": settings.emr_on_demand_units or settings.emr_spot_units,
                "MaximumOnDemandCapacityUnits": settings.emr_on_demand_units,
            }
        },
        # The last line of defence against an orphaned cluster, such as after a task killed right after its request.
        "AutoTerminationPolicy": {"IdleTimeout": settings.emr_idle_minutes * 60},
        "StepConcurrencyLevel": settings.emr_step_concurrency,
        "ScaleDownBehavior": "TERMINATE_AT_TASK_COMPLETION",
        "JobFlowRole": settings.emr_instance_role,
        "ServiceRole": settings.emr_service_role,
        "Tags": [{"Key": key, "Value": value} for key, value in {**settings.cost_tags, **tags}.items()],
    }
    if settings.emr_subnets:
        request["Instances"]["Ec2SubnetIds"] = list(settings.emr_subnets)
    if settings.emr_security_configuration:
        request["SecurityConfiguration"] = settings.emr_security_configuration
    return request


def _worker_fleet(settings: Settings, kind: str, on_demand: int, spot: int) -> dict[str, Any]:
    return {
        "Name": kind.lower(),
        "InstanceFleetType": kind,
        "TargetOnDemandCapacity": on_demand,
        "TargetSpotCapacity": spot,
        "InstanceTypeConfigs": [
            {"InstanceType": type_, "WeightedCapacity": units(type_)} for type_ in settings.emr_worker_types
        ],
        "LaunchSpecifications": {
            "OnDemandSpecification": {"AllocationStrategy": "lowest-price"},
            "SpotSpecification": {
                "AllocationStrategy": "price-capacity-optimized",
                "TimeoutDurationMinutes": 10,
                "TimeoutAction": "SWITCH_TO_ON_DEMAND",
            },
        },
    }


def spark_step(settings: Settings, name: str, program: str, arguments: Sequence[str]) -> Step:
    """Return a step that runs a published Spark program on the cluster.

    Args:
        settings: location of the programs, see :mod:`taxiway.aws.programs`.
        name: the step's name.
        program: path below ``settings.spark_jobs``, such as ``hvfhv/build_month.py``.
        arguments: of the program.
    """
    return {
        "Name": name,
        "ActionOnFailure": "CONTINUE",  # the other months' steps continue
        "HadoopJarStep": {
            "Jar": "command-runner.jar",
            "Args": [
                *("spark-submit", "--deploy-mode", "cluster"),
                *("--py-files", f"{settings.spark_jobs}/{ARCHIVE}"),
                f"{settings.spark_jobs}/{program}",
                *arguments,
            ],
        },
    }


def end_of_cluster(client: Any, cluster: str) -> str | None:
    """Return one sentence on who ended a cluster and why; None if it lives.

    A step's error does not include that: EMR only cancels or interrupts the steps of a cluster that ends.

    Args:
        client: a boto3 client for EMR.
        cluster: its id.
    """
    try:
        status = client.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]
    except client.exceptions.InvalidRequestException as error:
        return f"EMR does not know the cluster {cluster}: {error.response['Error']['Message']}"
    if not status["State"].startswith("TERMINAT"):
        return None
    reason = status.get("StateChangeReason", {})
    code, message = reason.get("Code", "no code"), reason.get("Message", "no message")
    who = "A user or program" if code == "USER_REQUEST" else "EMR itself"
    return f"{who} terminated the cluster {cluster} ({code}): {message}"


def cancelled_steps(client: Any, cluster: str, steps: Sequence[str]) -> list[str]:
    """Return one sentence for each of the steps that was cancelled on a cluster that lives: somebody's wish.

    Args:
        client: a boto3 client for EMR.
        cluster: its id.
        steps: their ids.
    """
    found = [client.describe_step(ClusterId=cluster, StepId=step)["Step"] for step in steps]
    return [
        f"The step {step['Name']} ({step['Id']}) was cancelled: "
        f"{step['Status'].get('StateChangeReason', {}).get('Message', 'no message')}"
        for step in found
        if step["Status"]["State"] in ("CANCEL_PENDING", "CANCELLED")
    ]
