"""Finds orphaned AWS resources: billed, but needed by no run. Reports them, and terminates them after a grace period.

A resource belongs to this deployment if it has the tags that every cluster gets (``cost_tags``), and ``dag_id`` and
``run_id`` of the run that created it. All others are never touched. The time since when it is orphaned is a tag of the
resource, so the guard keeps no state: a resource that is needed again loses the tag, and its grace period starts again.
Two deployments in one AWS account must have different ``TAXIWAY_COST_TAGS``, because neither knows the other's runs.

To support another kind of resource, add a function and list it in :func:`kinds_of`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from taxiway.core.settings import Settings

log = logging.getLogger(__name__)

SINCE = "taxiway:orphan-since"


@dataclass(frozen=True)
class Resource:
    """A resource of this deployment that AWS bills by time.

    Attributes:
        kind, id: what it is; ``kind`` is one of ``taxiway.operations.metrics.KINDS``.
        state: as reported by its service.
        tags: all of its tags.
        started: when it was created.
        locked: why the guard must not terminate it; empty if it may.
        tag: adds tags to it.
        untag: removes a tag by its name.
        end: terminates it.
    """

    kind: str
    id: str
    state: str
    tags: Mapping[str, str]
    started: datetime
    locked: str
    tag: Callable[[dict[str, str]], object]
    untag: Callable[[str], object]
    end: Callable[[], object]

    def __str__(self) -> str:
        return f"{self.kind} {self.id} ({self.state}) of the run {self.tags['run_id']} of {self.tags['dag_id']}"


@dataclass(frozen=True)
class Finding:
    """A resource that no run needs: a sentence about it, and whether it was terminated."""

    resource: Resource
    sentence: str
    ended: bool = False


# ── Kinds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def emr_clusters(session: Any, settings: Settings) -> Iterator[Resource]:
    """Yield this deployment's EMR clusters that are neither terminating nor terminated."""
    emr = session.client("emr")
    states = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
    for page in emr.get_paginator("list_clusters").paginate(ClusterStates=states):
        for found in page["Clusters"]:
            response = _unless_denied(partial(emr.describe_cluster, ClusterId=found["Id"]))
            if response is None:
                continue
            cluster = response["Cluster"]
            tags = {tag["Key"]: tag.get("Value", "") for tag in cluster.get("Tags", [])}
            if is_ours(tags, settings):
                yield Resource(
                    kind="emr_cluster",
                    id=cluster["Id"],
                    state=cluster["Status"]["State"],
                    tags=tags,
                    started=cluster["Status"]["Timeline"]["CreationDateTime"],
                    locked="it has termination protection" if cluster.get("TerminationProtected") else "",
                    tag=partial(_tag_cluster, emr, cluster["Id"]),
                    untag=partial(_untag_cluster, emr, cluster["Id"]),
                    end=partial(emr.terminate_job_flows, JobFlowIds=[cluster["Id"]]),
                )


def _unless_denied(describe: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Return the description of a resource, None if it may not be seen.

    Lists are of the whole account, but the rights are for what has our tags: it is another project's.
    """
    try:
        return describe()
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("AccessDenied"):
            raise
        log.info("Left out, as another project's: %s", error)
        return None


def _tag_cluster(emr: Any, cluster: str, tags: Mapping[str, str]) -> None:
    emr.add_tags(ResourceId=cluster, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def _untag_cluster(emr: Any, cluster: str, name: str) -> None:
    emr.remove_tags(ResourceId=cluster, TagKeys=[name])


def serverless_applications(session: Any, settings: Settings) -> Iterator[Resource]:
    """Yield this deployment's started EMR Serverless applications: those that a run created, not permanent ones.

    An application with active job runs cannot be stopped: those are found too, and it is stopped by the next check.
    """
    client = session.client("emr-serverless")
    for found in _applications(client, ["STARTING", "STARTED"]):
        response = _unless_denied(partial(client.get_application, applicationId=found["id"]))
        application = response["application"] if response else {}
        if is_ours(application.get("tags", {}), settings):
            end = partial(client.stop_application, applicationId=found["id"])
            yield _serverless("emr_serverless_application", found["id"], application, client, end)


def serverless_job_runs(session: Any, settings: Settings) -> Iterator[Resource]:
    """Yield this deployment's active EMR Serverless job runs, of any application."""
    client = session.client("emr-serverless")
    states = ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED"]
    for application in _applications(client, ["STARTING", "STARTED"]):
        if not _unless_denied(partial(client.get_application, applicationId=application["id"])):
            continue  # its job runs may not be listed either
        pages = client.get_paginator("list_job_runs").paginate(applicationId=application["id"], states=states)
        for found in (run for page in pages for run in page["jobRuns"]):
            response = _unless_denied(
                partial(client.get_job_run, applicationId=application["id"], jobRunId=found["id"])
            )
            run = response["jobRun"] if response else {}
            if is_ours(run.get("tags", {}), settings):
                end = partial(client.cancel_job_run, applicationId=application["id"], jobRunId=found["id"])
                yield _serverless("emr_serverless_job_run", found["id"], run, client, end)


def _serverless(kind: str, identifier: str, response: dict[str, Any], client: Any, end: Callable[[], Any]) -> Resource:
    """Return an application or job run of EMR Serverless, from the response to its ``get_…`` call."""
    return Resource(
        kind=kind,
        id=identifier,
        state=response["state"],
        tags=response["tags"],
        started=response["createdAt"],
        locked="",
        tag=partial(_tag_serverless, client, response["arn"]),
        untag=partial(_untag_serverless, client, response["arn"]),
        end=end,
    )


def _applications(client: Any, states: list[str]) -> list[dict[str, Any]]:
    pages = client.get_paginator("list_applications").paginate(states=states)
    return [found for page in pages for found in page["applications"]]


def _tag_serverless(client: Any, arn: str, tags: dict[str, str]) -> None:
    client.tag_resource(resourceArn=arn, tags=tags)


def _untag_serverless(client: Any, arn: str, name: str) -> None:
    client.untag_resource(resourceArn=arn, tagKeys=[name])


Kind = Callable[[Any, Settings], Iterator[Resource]]
SERVERLESS: tuple[Kind, ...] = (serverless_job_runs, serverless_applications)


def kinds_of(settings: Settings) -> tuple[Kind, ...]:
    """Return the kinds that this deployment uses: listing others would need additional permissions."""
    return (emr_clusters, *(SERVERLESS if settings.cost_guard_serverless else ()))


def is_ours(tags: Mapping[str, str], settings: Settings) -> bool:
    """Return whether a run of this deployment created the resource, by its tags."""
    ours = settings.cost_tags and settings.cost_tags.items() <= tags.items()
    return bool(ours and tags.get("dag_id") and tags.get("run_id"))


# ── The guard ───────────────────────────────────────────────────────────────────────────────────────────────────────


def guard(
    session: Any,
    settings: Settings,
    is_active: Callable[[str, str], bool],
    now: datetime | None = None,
) -> tuple[list[Finding], list[str]]:
    """Check all resources of this deployment once.

    Args:
        session: a ``boto3.Session``.
        settings: the tags, the maximum age, the grace period, and whether resources are terminated.
        is_active: whether a run (``dag_id``, ``run_id``) is queued or running; raises if that is unknown.
        now: the time to compare with; the current time by default.

    Returns:
        the orphaned resources, and a sentence for each AWS call that failed; all other resources were still checked.
    """
    now = now or datetime.now(UTC)
    findings, faults = [], []
    for kind in kinds_of(settings):
        try:
            for resource in kind(session, settings):
                try:
                    if finding := _evaluate(resource, settings, is_active, now):
                        findings.append(finding)
                except (ClientError, BotoCoreError) as error:
                    faults.append(f"{resource} could not be tagged or terminated: {error}.")
        except (ClientError, BotoCoreError) as error:
            faults.append(f"{kind.__name__} could not be listed: {error}.")
    return findings, faults


def _evaluate(
    resource: Resource, settings: Settings, is_active: Callable[[str, str], bool], now: datetime
) -> Finding | None:
    limit = timedelta(hours=settings.cost_guard_hours)
    active = is_active(resource.tags["dag_id"], resource.tags["run_id"])
    if active and now - resource.started <= limit:
        if SINCE in resource.tags and settings.cost_guard_ends:
            resource.untag(SINCE)
        return None
    reason = f"is older than {limit.total_seconds() / 3600:g} hours" if active else "is not needed by any active run"
    problem = f"{resource} {reason}"
    if resource.locked:
        return Finding(resource, f"{problem}, but {resource.locked}: terminate it manually.")
    if not settings.cost_guard_ends:
        return Finding(resource, f"{problem}: it is not terminated, because TAXIWAY_COST_GUARD_ENDS is false.")
    grace = timedelta(minutes=settings.cost_guard_grace_minutes)
    since = _time(resource.tags.get(SINCE))
    if since is None:
        since = now
        resource.tag({SINCE: now.isoformat(timespec="seconds")})
    if now < since + grace:
        return Finding(resource, f"{problem}: it will be terminated after {since + grace:%Y-%m-%d %H:%M} UTC.")
    resource.end()
    return Finding(resource, f"{problem} since {since:%Y-%m-%d %H:%M} UTC: it was terminated.", ended=True)


def _time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else None  # not written by the guard: ignored, so the grace period starts now
