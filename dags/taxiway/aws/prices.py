"""List prices of EMR instances, and the estimated cost of a cluster."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taxiway.core.settings import Settings, SettingsError

# us-east-1, Linux, USD an hour: (EC2 on demand, EMR's surcharge). List prices as of November 2026: check them
# before you rely on them. There is no estimate for a type that is not listed.
LIST_PRICES = {
    "m6g.xlarge": (0.1540, 0.0385),
    "m7g.xlarge": (0.1632, 0.0408),
    "r6g.xlarge": (0.2016, 0.0504),
    "r6g.2xlarge": (0.4032, 0.1008),
    "r7g.xlarge": (0.2142, 0.05355),
    "r7g.2xlarge": (0.4284, 0.1071),
}


def units(instance_type: str) -> int:
    """Return the capacity units of an instance type: its virtual cores, 4 for an xlarge.

    Raises:
        SettingsError: the units of its size are unknown.
    """
    size = re.search(r"\.(?:(large)|(\d*)xlarge)$", instance_type)
    if not size:
        raise SettingsError(
            f"TAXIWAY_EMR_WORKER_TYPES names {instance_type!r}, whose units are unknown: "
            "use sizes from large up to 48xlarge."
        )
    return 2 if size[1] else 4 * int(size[2] or 1)


@dataclass(frozen=True)
class Cost:
    """An upper bound of the cost of a cluster at list prices: EC2 and EMR, without disks, S3 and data transfer.

    Attributes:
        seconds: lifetime of the cluster.
        instances: its instances, such as ``1 × m7g.xlarge, 3 × r7g.xlarge``.
        usd: US dollars with every worker at its on-demand price; None if a type's price is unknown.
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
    """Estimate the cost of a cluster of :func:`job_flow`, at its initial size, for its lifetime.

    Spot capacity counts at the on-demand price, and every worker as the type with the highest price per unit. EMR bills
    by the second, with a minimum of one minute.
    """
    known = {
        type_: sum(LIST_PRICES[type_]) / units(type_) for type_ in settings.emr_worker_types if type_ in LIST_PRICES
    }
    most_expensive = max(known, key=known.__getitem__, default=settings.emr_worker_types[0])
    fleets = (settings.emr_on_demand_units, settings.emr_spot_units)
    workers = sum(math.ceil(fleet / units(most_expensive)) for fleet in fleets)
    instances = f"1 × {settings.emr_primary_type}, {workers} × {most_expensive}"
    if len(known) < len(settings.emr_worker_types) or settings.emr_primary_type not in LIST_PRICES:
        return Cost(seconds, instances, None)
    hourly = sum(LIST_PRICES[settings.emr_primary_type]) + workers * sum(LIST_PRICES[most_expensive])
    return Cost(seconds, instances, hourly * max(seconds, 60) / 3600)


def cluster_cost(settings: Settings, client: Any, cluster: str) -> Cost:
    """Estimate the cost of a cluster until now, or until its end.

    Args:
        settings: those that it was created with.
        client: a boto3 client for EMR.
        cluster: its id.
    """
    timeline = client.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["Timeline"]
    until = timeline.get("EndDateTime") or datetime.now(UTC)
    return estimate_cost(settings, (until - timeline["CreationDateTime"]).total_seconds())
