"""Print what the platform costs a month on AWS, as a table: ``PYTHONPATH=dags python -m aws.costs``.

List prices of us-east-1 in USD, on demand, without tax, free tier or discounts, as of November 2026.
Check them before you rely on them: https://aws.amazon.com/pricing. README.md has this table; a test keeps it so.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from taxiway.aws.prices import most_per_hour
from taxiway.core.settings import Settings

HOURS = 730  # a month, as AWS counts it

# USD for one of the unit that each line below counts.
POSTGRES_HOUR = 0.032  # db.t4g.small
MYSQL_HOUR = 0.016  # db.t4g.micro
DATABASE_GB = 0.115  # gp3, a month
REDIS_HOUR = 0.0128  # cache.t4g.micro with Valkey
SECRET = 0.40
KEY = 1.00
S3_GB = 0.023
EKS_HOUR = 0.10
NAT_HOUR = 0.045
DISK_GB = 0.08  # gp3 of a node
NODE_HOUR = 0.2016  # m7i.xlarge

SECRETS = 16  # that the template makes with its defaults
LAKE_GB = 200
NODES = 3
NODE_DISK_GB = 50
RUNS = 4
RUN_HOURS = 1.0
DEFAULTS = Settings.model_construct()


@dataclass(frozen=True)
class Line:
    """One row: ``count`` of a unit that costs ``price`` each, in one zone and with a standby in a second one."""

    what: str
    count: float
    unit: str
    price: float
    two_zones: int = 1

    @property
    def usd(self) -> float:
        """The month's cost in one zone."""
        return self.count * self.price


def lines() -> Iterator[Line]:
    """Yield the rows of the table."""
    yield Line("RDS PostgreSQL, db.t4g.small", HOURS, "h", POSTGRES_HOUR, 2)
    yield Line("RDS MySQL, db.t4g.micro", HOURS, "h", MYSQL_HOUR, 2)
    yield Line("RDS disks, 2 × 20 GB gp3", 40, "GB", DATABASE_GB, 2)
    yield Line("ElastiCache Valkey, cache.t4g.micro", HOURS, "h", REDIS_HOUR, 2)
    yield Line("Secrets Manager", SECRETS, "secrets", SECRET)
    yield Line("KMS key", 1, "key", KEY)
    yield Line("S3 standard, lake and logs", LAKE_GB, "GB", S3_GB)
    yield Line(
        "EMR at its largest (`TAXIWAY_EMR_MAX_UNITS`), an hour a run", RUNS * RUN_HOURS, "h", most_per_hour(DEFAULTS)
    )
    yield Line("EKS control plane (not of the template)", HOURS, "h", EKS_HOUR)
    yield Line(f"EKS nodes, {NODES} × m7i.xlarge (not of the template)", NODES * HOURS, "h", NODE_HOUR)
    yield Line(
        f"disks of the nodes, {NODES} × {NODE_DISK_GB} GB gp3 (not of the template)",
        NODES * NODE_DISK_GB,
        "GB",
        DISK_GB,
    )
    yield Line("NAT gateway (not of the template)", HOURS, "h", NAT_HOUR, 2)


def ceiling() -> str:
    """Return a sentence on what one cluster costs at most, however long its run hangs."""
    # cost_guard looks every hour: it finds the cluster up to an hour after it is too old, and ends it up to an hour
    # after the grace period.
    hours = DEFAULTS.cost_guard_hours + DEFAULTS.cost_guard_grace_minutes / 60 + 2
    hour, all_hours = (math.ceil(100 * most_per_hour(DEFAULTS) * count) / 100 for count in (1, hours))
    return (
        f"With the defaults a cluster costs at most {hour:.2f} USD an hour, without disks, and at most {all_hours:.2f} "
        f"USD in all where `cost_guard`\nends it, after {hours:.0f} hours at the latest."
    )


def table() -> str:
    """Return the table in Markdown."""
    rows = list(lines())
    one, two = sum(row.usd for row in rows), sum(row.usd * row.two_zones for row in rows)
    text = "| | count | USD each | USD a month | with `MultiAz=true` |\n|---|--:|--:|--:|--:|\n"
    for row in rows:
        count = f"{row.count:,.0f} {row.unit}"
        text += f"| {row.what} | {count} | {row.price:.4f} | {row.usd:,.2f} | {row.usd * row.two_zones:,.2f} |\n"
    return text + f"| **Sum** | | | **{one:,.2f}** | **{two:,.2f}** |\n"


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n{ceiling()}\n")
