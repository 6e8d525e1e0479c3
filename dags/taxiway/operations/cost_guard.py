"""Finds what costs money on AWS and is needed by no run, says so, and ends it after a grace time.

Ours is what carries the tags that every cluster gets (``cost_tags``), and ``dag_id`` and ``run_id`` of the run that
made it. All else is never touched. The time since when it is not needed is a tag of its own, so the guard keeps no
state: a resource that is needed again loses the tag, and its time of grace begins anew. Two deployments of one AWS
account must differ in ``TAXIWAY_COST_TAGS``, or one would take the other's runs for unknown.

A further kind of resource is one more function, named in :func:`kinds_of`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from taxiway.core.settings import Settings

SINCE = "taxiway:orphan-since"


@dataclass(frozen=True)
class Resource:
    """Something of ours that AWS bills by time.

    Attributes:
        kind, id: what it is; ``kind`` is one of ``taxiway.operations.metrics.KINDS``.
        state: as its service calls it.
        tags: all of its tags.
        started: when it was made.
        locked: why the guard must not end it; empty if it may.
        tag: adds tags to it.
        untag: removes the tag of a name.
        end: ends it.
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
    """A resource that no run needs: a sentence, and whether it was ended."""

    resource: Resource
    sentence: str
    ended: bool = False


# ── Kinds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def emr_clusters(session: Any, settings: Settings) -> Iterator[Resource]:
    """Yield our EMR clusters that live and are not ending."""
    emr = session.client("emr")
    states = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
    for page in emr.get_paginator("list_clusters").paginate(ClusterStates=states):
        for found in page["Clusters"]:
            cluster = emr.describe_cluster(ClusterId=found["Id"])["Cluster"]
            tags = {tag["Key"]: tag.get("Value", "") for tag in cluster.get("Tags", [])}
            if is_ours(tags, settings):
                yield Resource(
                    kind="emr_cluster",
                    id=cluster["Id"],
                    state=cluster["Status"]["State"],
                    tags=tags,
                    started=cluster["Status"]["Timeline"]["CreationDateTime"],
                    locked="it is protected against termination" if cluster.get("TerminationProtected") else "",
                    tag=partial(_tag_cluster, emr, cluster["Id"]),
                    untag=partial(_untag_cluster, emr, cluster["Id"]),
                    end=partial(emr.terminate_job_flows, JobFlowIds=[cluster["Id"]]),
                )


def _tag_cluster(emr: Any, cluster: str, tags: Mapping[str, str]) -> None:
    emr.add_tags(ResourceId=cluster, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def _untag_cluster(emr: Any, cluster: str, name: str) -> None:
    emr.remove_tags(ResourceId=cluster, TagKeys=[name])


def serverless_applications(session: Any, settings: Settings) -> Iterator[Resource]:
    """Yield our EMR Serverless applications that are started: what a run made for itself, not a standing one.

    One with job runs cannot be stopped: they are found as well, and it is stopped at the next look.
    """
    client = session.client("emr-serverless")
    for found in _applications(client, ["STARTING", "STARTED"]):
        application = client.get_application(applicationId=found["id"])["application"]
        if is_ours(application.get("tags", {}), settings):
            end = partial(client.stop_application, applicationId=found["id"])
            yield _serverless("emr_serverless_application", found["id"], application, client, end)


def serverless_job_runs(session: Any, settings: Settings) -> Iterator[Resource]:
    """Yield our EMR Serverless job runs that have not ended, of any application."""
    client = session.client("emr-serverless")
    states = ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED"]
    for application in _applications(client, ["STARTING", "STARTED"]):
        pages = client.get_paginator("list_job_runs").paginate(applicationId=application["id"], states=states)
        for found in (run for page in pages for run in page["jobRuns"]):
            run = client.get_job_run(applicationId=application["id"], jobRunId=found["id"])["jobRun"]
            if is_ours(run.get("tags", {}), settings):
                end = partial(client.cancel_job_run, applicationId=application["id"], jobRunId=found["id"])
                yield _serverless("emr_serverless_job_run", found["id"], run, client, end)


def _serverless(kind: str, identifier: str, answer: dict[str, Any], client: Any, end: Callable[[], Any]) -> Resource:
    """Return an application or job run of EMR Serverless, from the answer to its ``get_…`` call."""
    return Resource(
        kind=kind,
        id=identifier,
        state=answer["state"],
        tags=answer["tags"],
        started=answer["createdAt"],
        locked="",
        tag=partial(_tag_serverless, client, answer["arn"]),
        untag=partial(_untag_serverless, client, answer["arn"]),
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
    """Return what this deployment has: to look for what it has not would need permissions that nobody gave."""
    return (emr_clusters, *(SERVERLESS if settings.cost_guard_serverless else ()))


def is_ours(tags: Mapping[str, str], settings: Settings) -> bool:
    """Tell whether tags say that a run of this deployment made the resource."""
    ours = settings.cost_tags and settings.cost_tags.items() <= tags.items()
    return bool(ours and tags.get("dag_id") and tags.get("run_id"))


# ── The guard ───────────────────────────────────────────────────────────────────────────────────────────────────────


def guard(
    session: Any,
    settings: Settings,
    is_active: Callable[[str, str], bool],
    now: datetime | None = None,
) -> tuple[list[Finding], list[str]]:
    """Look at everything of ours once.

    Args:
        session: a ``boto3.Session``.
        settings: the tags, the hours, the grace time, and whether anything is ended.
        is_active: whether a run (``dag_id``, ``run_id``) is queued or running; raises where that is unknown.
        now: the time, by default now.

    Returns:
        what no run needs, and a sentence for each thing that went wrong on AWS; the rest was looked at all the same.
    """
    now = now or datetime.now(UTC)
    findings, faults = [], []
    for kind in kinds_of(settings):
        try:
            for resource in kind(session, settings):
                try:
                    if finding := _consider(resource, settings, is_active, now):
                        findings.append(finding)
                except (ClientError, BotoCoreError) as error:
                    faults.append(f"{resource} could not be tagged or ended: {error}.")
        except (ClientError, BotoCoreError) as error:
            faults.append(f"{kind.__name__} could not be listed: {error}.")
    return findings, faults


def _consider(
    resource: Resource, settings: Settings, is_active: Callable[[str, str], bool], now: datetime
) -> Finding | None:
    limit = timedelta(hours=settings.cost_guard_hours)
    active = is_active(resource.tags["dag_id"], resource.tags["run_id"])
    if active and now - resource.started <= limit:
        if SINCE in resource.tags and settings.cost_guard_ends:
            resource.untag(SINCE)
        return None
    reason = f"is older than {limit.total_seconds() / 3600:g} hours" if active else "is needed by no active run"
    problem = f"{resource} {reason}"
    if resource.locked:
        return Finding(resource, f"{problem}, but {resource.locked}: end it by hand.")
    if not settings.cost_guard_ends:
        return Finding(resource, f"{problem}: nothing is ended, since TAXIWAY_COST_GUARD_ENDS is false.")
    grace = timedelta(minutes=settings.cost_guard_grace_minutes)
    since = _time(resource.tags.get(SINCE))
    if since is None:
        since = now
        resource.tag({SINCE: now.isoformat(timespec="seconds")})
    if now < since + grace:
        return Finding(resource, f"{problem}: it will be ended after {since + grace:%Y-%m-%d %H:%M} UTC.")
    resource.end()
    return Finding(resource, f"{problem} since {since:%Y-%m-%d %H:%M} UTC: it was ended.", ended=True)


def _time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else None  # what we did not write counts as nothing: the grace time begins now
