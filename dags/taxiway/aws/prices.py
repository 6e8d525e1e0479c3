"""List prices of EMR instances, what a cluster costs at most, and what workers of EMR Serverless cost."""

import re
from typing import Literal

from taxiway.core.settings import ServerlessPrices, Settings, SettingsError

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


def price(instance_type: str) -> float:
    """Return what an instance costs an hour, in US dollars: EC2 on demand and EMR's surcharge, without disks.

    Raises:
        KeyError: its price is unknown.
    """
    return sum(LIST_PRICES[instance_type])


def most_per_hour(settings: Settings) -> float:
    """Return what a cluster of ``job_flow`` costs an hour at most, in US dollars: at list prices, without disks.

    That is the primary node, and as many worker units as managed scaling may reach, all of the dearest type and at the
    on-demand price, which a spot price never exceeds. Each of the two worker fleets may exceed its target by less than
    an instance, because EMR rounds up to whole ones.

    Raises:
        KeyError: the price of an instance type is unknown.
        SettingsError: its size is.
    """
    unit = max(price(type_) / units(type_) for type_ in settings.emr_worker_types)
    rounding = max(price(type_) - price(type_) / units(type_) for type_ in settings.emr_worker_types)
    return price(settings.emr_primary_type) + settings.emr_max_units * unit + 2 * rounding


def serverless_usd(
    prices: ServerlessPrices,
    architecture: Literal["X86_64", "ARM64"],
    vcpu_hours: float,
    memory_gb_hours: float,
    storage_gb_hours: float,
) -> float:
    """Return what use of EMR Serverless costs, in US dollars; storage without the 20 GB of a worker that are free."""
    vcpu, memory, storage = getattr(prices, architecture)
    return float(vcpu * vcpu_hours + memory * memory_gb_hours + storage * storage_gb_hours)
