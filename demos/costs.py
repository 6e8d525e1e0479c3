"""What the job runs of a demo would have cost on AWS; on a laptop."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import boto3

from taxiway.aws.usage import JobRunUsage, job_run_usage
from taxiway.core.settings import ServerlessPrices


def cost_of_job_runs(prices: ServerlessPrices, since: datetime, seconds: float) -> str:
    """Return two sentences: how long it took, and what EMR Serverless would have cost.

    Args:
        prices: list prices.
        since: when the demo began.
        seconds: how long it took.
    """
    used = list(_job_runs(prices, since))
    vcpu, memory = (sum(getattr(each.billed, name) for each in used) for name in ("vcpu", "memory_gb"))
    usd, idle = sum(each.usd + each.idle_usd for each in used), sum(each.idle_usd for each in used)
    return (
        f"Took {seconds:.0f} s in all, {sum(each.seconds for each in used):.0f} s of them in {len(used)} job run"
        f"{'s' * (len(used) != 1)} on EMR Serverless.\n"
        f"On AWS workers of that size for that time, {vcpu:.2f} vCPU-hours and {memory:.2f} GB-hours, cost "
        f"{usd:.2f} USD ({idle:.2f} of it for pre-initialised workers that waited) by list prices of "
        f"{prices.as_of} (an estimate: real job runs take another time)."
    )


def _job_runs(prices: ServerlessPrices, since: datetime) -> Iterator[JobRunUsage]:
    """Yield what each job run used that began since a time, with the time that its application was held for it."""
    client: Any = boto3.client("emr-serverless")
    for application in client.get_paginator("list_applications").paginate().search("applications[]"):
        pages = client.get_paginator("list_job_runs").paginate(applicationId=application["id"], createdAtAfter=since)
        for run in pages.search("jobRuns[]"):
            ended = application["updatedAt"] if application["state"] in ("STOPPED", "TERMINATED") else None
            yield job_run_usage(client, application["id"], run["id"], prices, ended)
