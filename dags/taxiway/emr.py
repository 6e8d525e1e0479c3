"""The EMR cluster and its steps, as the provider's operators take them, and what a cluster costs."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taxiway.programs import ARCHIVE
from taxiway.settings import Settings, SettingsError

# us-east-1, Linux, USD an hour: (EC2 on demand, EMR on top of it). List prices known in November 2026: check them
# before you rely on them. A type that is not here has no estimate rather than a guessed one.
LIST_PRICES = {
    "m6g.xlarge": (0.1540, 0.0385),
    "m7g.xlarge": (0.1632, 0.0408),
    "r6g.xlarge": (0.2016, 0.0504),
    "r6g.2xlarge": (0.4032, 0.1008),
    "r7g.xlarge": (0.2142, 0.05355),
    "r7g.2xlarge": (0.4284, 0.1071),
}


def job_flow(settings: Settings, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the request of ``RunJobFlow`` for a cluster that waits for steps.

    On-demand workers are the core fleet, which holds shuffle files and the applications' masters; spot workers are the
    task fleet, whose loss costs a retry of some tasks at most. Managed scaling adds spot workers alone.

    Args:
        settings: instance types, units, limits, roles and places.
        name: the cluster's name.
        tags: added to ``settings.cost_tags``; values may hold Jinja.

    Raises:
        SettingsError: an instance type has a size whose units are not known.
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
        # The last line of defence against a cluster that nobody ends: a task killed right after the request, say.
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


def units(instance_type: str) -> int:
    """Return the capacity units of an instance type: its virtual cores, 4 for an xlarge.

    Raises:
        SettingsError: its size is not one that tells.
    """
    size = re.search(r"\.(?:(large)|(\d*)xlarge)$", instance_type)
    if not size:
        raise SettingsError(
            f"TAXIWAY_EMR_WORKER_TYPES names {instance_type!r}, whose units are not known: "
            "use sizes from large up to 48xlarge."
        )
    return 2 if size[1] else 4 * int(size[2] or 1)


def spark_step(settings: Settings, name: str, program: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Return a step that runs a published Spark program on the cluster.

    Args:
        settings: says where the programs are, see :mod:`taxiway.programs`.
        name: the step's name.
        program: path below ``settings.spark_jobs``, such as ``hvfhv/curate.py``.
        arguments: of the program.
    """
    return {
        "Name": name,
        "ActionOnFailure": "CONTINUE",  # the other months' steps go on
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


@dataclass(frozen=True)
class Cost:
    """An upper bound of what a cluster costs, from list prices: EC2 and EMR, without disks, S3 and transfer.

    Attributes:
        seconds: how long the cluster lived.
        instances: what it consists of, such as ``1 × m7g.xlarge, 3 × r7g.xlarge``.
        usd: US dollars with every worker at its on-demand price; None where a type's price is unknown.
    """

    seconds: float
    instances: str
    usd: float | None

    def __str__(self) -> str:
        price = (
            "price unknown" if self.usd is None else f"at most {self.usd:.2f} USD (list price, check before relying)"
        )
        return f"{self.instances} for {self.seconds:,.0f} s: {price}"


def estimate_cost(settings: Settings, seconds: float) -> Cost:
    """Estimate what a cluster of :func:`job_flow`, at the size it starts with, costs for its lifetime.

    Spot counts at the on-demand price, and every worker as the type with the highest price a unit. EMR bills by the
    second, one minute at least.
    """
    known = {
        type_: sum(LIST_PRICES[type_]) / units(type_) for type_ in settings.emr_worker_types if type_ in LIST_PRICES
    }
    dearest = max(known, key=known.__getitem__, default=settings.emr_worker_types[0])
    fleets = (settings.emr_on_demand_units, settings.emr_spot_units)
    workers = sum(math.ceil(fleet / units(dearest)) for fleet in fleets)
    instances = f"1 × {settings.emr_primary_type}, {workers} × {dearest}"
    if len(known) < len(settings.emr_worker_types) or settings.emr_primary_type not in LIST_PRICES:
        return Cost(seconds, instances, None)
    hourly = sum(LIST_PRICES[settings.emr_primary_type]) + workers * sum(LIST_PRICES[dearest])
    return Cost(seconds, instances, hourly * max(seconds, 60) / 3600)


def cluster_cost(settings: Settings, client: Any, cluster: str) -> Cost:
    """Estimate what a cluster has cost up to now, or to its end.

    Args:
        settings: what it was made from.
        client: a boto3 client for EMR.
        cluster: its id.
    """
    timeline = client.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["Timeline"]
    until = timeline.get("EndDateTime") or datetime.now(UTC)
    return estimate_cost(settings, (until - timeline["CreationDateTime"]).total_seconds())


def failure_of_cluster(client: Any, cluster: str) -> str | None:
    """Return in a sentence why EMR ended a cluster by itself; None if it did not.

    The error of a step says nothing of it: EMR cancels the steps of a cluster that could not start.

    Args:
        client: a boto3 client for EMR.
        cluster: its id.
    """
    status = client.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]
    if status["State"] != "TERMINATED_WITH_ERRORS":
        return None
    reason = status.get("StateChangeReason", {})
    return f"EMR ended the cluster {cluster} by itself ({reason.get('Code')}): {reason.get('Message')}"
