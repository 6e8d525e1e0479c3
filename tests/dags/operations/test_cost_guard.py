"""The cost guard against the local AWS endpoint, and its DAG beside real runs; EMR Serverless by botocore's model."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.utils.state import DagRunState
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from taxiway.aws.emr import job_flow
from taxiway.core.settings import Settings, settings
from taxiway.operations.cost_guard import (
    SINCE,
    Finding,
    emr_clusters,
    guard,
    kinds_of,
    serverless_applications,
    serverless_job_runs,
)
from tests.dags.operations.slack_server import HOOK, running, text_of

ROOT = Path(__file__).parents[3]
NOW = datetime.now(UTC)
ENDS = Settings(cost_guard_ends=True, cost_guard_grace_minutes=60)


@pytest.fixture
def emr(aws: str) -> Any:
    return boto3.client("emr")


def start(emr: Any, run_id: str = "run", **tags: str) -> str:
    """Start a cluster as the analysis does; return its id."""
    request = job_flow(Settings(), "test", {"dag_id": "hvfhv_analysis", "run_id": run_id, **tags})
    return str(emr.run_job_flow(**request)["JobFlowId"])


def state(emr: Any, cluster: str) -> str:
    return str(emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"])


def lives(emr: Any, cluster: str) -> bool:
    return not state(emr, cluster).startswith("TERMINAT")


def tags(emr: Any, cluster: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in emr.describe_cluster(ClusterId=cluster)["Cluster"]["Tags"]}


def look(config: Settings = ENDS, now: datetime = NOW, active: tuple[str, ...] = ()) -> list[Finding]:
    findings, faults = guard(boto3.Session(), config, lambda dag_id, run_id: run_id in active, now)
    assert faults == []
    return findings


def test_a_cluster_of_an_active_run_is_left_alone(emr: Any) -> None:
    cluster = start(emr, "active")
    before = tags(emr, cluster)

    assert look(active=("active",)) == []
    assert look(now=NOW + timedelta(hours=23), active=("active",)) == []
    assert lives(emr, cluster)
    assert tags(emr, cluster) == before


def test_what_does_not_carry_our_tags_is_never_touched(emr: Any) -> None:
    others = [
        start(emr, project="another"),
        start(emr, run_id=""),
        str(emr.run_job_flow(**{**job_flow(Settings(), "test", {}), "Tags": []})["JobFlowId"]),
        str(emr.run_job_flow(**job_flow(Settings(), "test", {"dag_id": "hvfhv_analysis"}))["JobFlowId"]),
    ]
    before = [tags(emr, cluster) for cluster in others]

    assert look(now=NOW + timedelta(days=30)) == []
    assert look(Settings(cost_guard_ends=True, cost_tags={}), now=NOW + timedelta(days=30)) == []
    assert all(lives(emr, cluster) for cluster in others)
    assert [tags(emr, cluster) for cluster in others] == before


def test_it_is_told_first_and_ended_after_the_grace_time(emr: Any) -> None:
    cluster = start(emr)

    (first,) = look()
    assert not first.ended
    assert cluster in first.sentence
    assert "is not needed by any active run: it will be terminated after" in first.sentence
    assert tags(emr, cluster)[SINCE] == NOW.isoformat(timespec="seconds")

    (second,) = look(now=NOW + timedelta(minutes=59))
    assert not second.ended
    assert lives(emr, cluster)

    (third,) = look(now=NOW + timedelta(minutes=61))
    assert third.ended
    assert not lives(emr, cluster)
    assert look(now=NOW + timedelta(minutes=62)) == []


def test_one_that_is_needed_again_gets_its_grace_time_anew(emr: Any) -> None:
    cluster = start(emr, "again")
    look()
    assert look(now=NOW + timedelta(minutes=30), active=("again",)) == []
    assert SINCE not in tags(emr, cluster)

    (finding,) = look(now=NOW + timedelta(minutes=90))
    assert not finding.ended


def test_a_dry_run_changes_nothing(emr: Any) -> None:
    cluster = start(emr)
    before = tags(emr, cluster)

    for hours in (0, 5, 500):
        (finding,) = look(Settings(), NOW + timedelta(hours=hours))
        assert not finding.ended
        assert "it is not terminated, because TAXIWAY_COST_GUARD_ENDS is false" in finding.sentence
    assert lives(emr, cluster)
    assert tags(emr, cluster) == before


def test_without_grace_it_ends_at_once(emr: Any) -> None:
    cluster = start(emr)

    (finding,) = look(Settings(cost_guard_ends=True, cost_guard_grace_minutes=0))

    assert finding.ended
    assert not lives(emr, cluster)


def test_a_protected_cluster_is_reported_and_left(emr: Any) -> None:
    cluster, other = start(emr), start(emr, "other")
    emr.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=True)
    look()

    findings = {finding.resource.id: finding for finding in look(now=NOW + timedelta(hours=2))}

    assert not findings[cluster].ended
    assert "it has termination protection: terminate it manually" in findings[cluster].sentence
    assert lives(emr, cluster)
    assert findings[other].ended, "it holds up no other"


def test_an_active_runs_cluster_over_its_hours_is_told_and_ended(emr: Any) -> None:
    cluster = start(emr, "long")
    late = NOW + timedelta(hours=25)

    (first,) = look(now=late, active=("long",))
    assert "is older than 24 hours" in first.sentence
    (second,) = look(now=late + timedelta(hours=1), active=("long",))

    assert second.ended
    assert not lives(emr, cluster)


@pytest.mark.parametrize("value", ["yesterday", "2020-01-01T00:00:00", ""])
def test_a_tag_that_the_guard_did_not_write_ends_nothing(emr: Any, value: str) -> None:
    cluster = start(emr, **{SINCE: value})

    (finding,) = look()

    assert not finding.ended
    assert lives(emr, cluster)


def test_what_cannot_be_told_ends_nothing(emr: Any) -> None:
    cluster = start(emr, **{SINCE: "2020-01-01T00:00:00+00:00"})

    def is_active(dag_id: str, run_id: str) -> bool:
        raise RuntimeError("the API server does not answer")

    with pytest.raises(RuntimeError, match="does not answer"):
        guard(boto3.Session(), ENDS, is_active)
    assert lives(emr, cluster)


def test_more_clusters_than_a_page_are_all_seen(emr: Any) -> None:
    for _ in range(55):
        start(emr)

    assert len(list(emr_clusters(boto3.Session(), ENDS))) == 55


def test_an_aws_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    findings, faults = guard(boto3.Session(), ENDS, lambda *_: False)

    assert findings == []
    assert len(faults) == 1
    assert faults[0].startswith("emr_clusters could not be listed: ")


class Denying:
    """A boto3 session whose EMR lets nobody describe some clusters: its rights are those of the stack."""

    def __init__(self, operation: str, *denied: str) -> None:
        self._client = boto3.client("emr")

        def deny(params: dict[str, Any], **_: object) -> None:
            if not denied or params.get("ClusterId") in denied:
                answer = {"Error": {"Code": "AccessDeniedException", "Message": "You are not authorized"}}
                raise ClientError(answer, operation)

        self._client.meta.events.register(f"before-parameter-build.emr.{operation}", deny)

    def client(self, service: str) -> Any:
        assert service == "emr"
        return self._client


def test_another_project_s_cluster_that_may_not_be_seen_is_left_out(emr: Any) -> None:
    ours, foreign = start(emr), start(emr, project="another")
    found = emr_clusters(Denying("DescribeCluster", foreign), ENDS)
    assert [cluster.id for cluster in found] == [ours]

    findings, faults = guard(Denying("DescribeCluster", foreign), ENDS, lambda *_: False, NOW)
    assert ([finding.resource.id for finding in findings], faults) == ([ours], [])


def test_a_list_that_is_denied_is_told(emr: Any) -> None:
    start(emr)
    findings, faults = guard(Denying("ListClusters"), ENDS, lambda *_: False, NOW)

    assert findings == []
    assert len(faults) == 1
    assert faults[0].startswith("emr_clusters could not be listed: ")


# ── EMR Serverless ──────────────────────────────────────────────────────────────────────────────────────────────────
# The local endpoint has none yet: botocore holds requests and answers against the service's model.

OURS = {"project": "taxiway", "dag_id": "log_etl", "run_id": "run"}
APPLICATION = {
    "applicationId": "00f1",
    "name": "logs",
    "arn": "arn:aws:emr-serverless:us-east-1:123456789012:/applications/00f1",
    "releaseLabel": "emr-spark-8.0.0",
    "type": "Spark",
    "state": "STARTED",
    "createdAt": NOW,
    "updatedAt": NOW,
}
LISTED = {
    "id": "00f1",
    **{key: APPLICATION[key] for key in ("name", "arn", "releaseLabel", "type", "state", "createdAt", "updatedAt")},
}
JOB = {
    "applicationId": "00f1",
    "jobRunId": "00j1",
    "arn": f"{APPLICATION['arn']}/jobruns/00j1",
    "createdBy": "arn:aws:sts::123456789012:assumed-role/taxiway-airflow/job",
    "createdAt": NOW,
    "updatedAt": NOW,
    "executionRole": "arn:aws:iam::123456789012:role/job",
    "state": "RUNNING",
    "stateDetails": "-",
    "releaseLabel": "emr-spark-8.0.0",
    "jobDriver": {"sparkSubmit": {"entryPoint": "s3://a/job.py"}},
}
LISTED_JOB = {key: JOB[key] for key in JOB if key not in ("jobRunId", "jobDriver", "tags")} | {"id": "00j1"}


class Session:
    """A boto3 session whose one client of EMR Serverless is a stub's."""

    def __init__(self) -> None:
        self._client = boto3.client("emr-serverless")
        self.stub = Stubber(self._client)
        self.stub.activate()

    def client(self, service: str) -> Any:
        assert service == "emr-serverless"
        return self._client

    def answer(self, operation: str, answer: dict[str, Any], **request: Any) -> None:
        self.stub.add_response(operation, answer, request)

    def deny(self, operation: str, **request: Any) -> None:
        self.stub.add_client_error(operation, "AccessDeniedException", expected_params=request)


def test_a_serverless_application_is_found_tagged_and_stopped() -> None:
    session = Session()
    started = {"states": ["STARTING", "STARTED"]}
    foreign = {**LISTED, "id": "00f0"}
    session.answer("list_applications", {"applications": [foreign, LISTED, {**LISTED, "id": "00f2"}]}, **started)
    session.deny("get_application", applicationId="00f0")
    session.answer("get_application", {"application": {**APPLICATION, "tags": OURS}}, applicationId="00f1")
    standing = {**APPLICATION, "applicationId": "00f2", "tags": {"project": "taxiway"}}
    session.answer("get_application", {"application": standing}, applicationId="00f2")
    session.answer("tag_resource", {}, resourceArn=APPLICATION["arn"], tags={SINCE: "now"})
    session.answer("untag_resource", {}, resourceArn=APPLICATION["arn"], tagKeys=[SINCE])
    session.answer("stop_application", {}, applicationId="00f1")

    (found,) = serverless_applications(session, ENDS)
    found.tag({SINCE: "now"})
    found.untag(SINCE)
    found.end()

    assert str(found) == "emr_serverless_application 00f1 (STARTED) of the run run of log_etl"
    session.stub.assert_no_pending_responses()


def test_a_serverless_job_run_is_found_and_cancelled() -> None:
    session = Session()
    listed = {"applications": [{**LISTED, "id": "00f0"}, LISTED]}
    session.answer("list_applications", listed, states=["STARTING", "STARTED"])
    session.deny("get_application", applicationId="00f0")
    session.answer("get_application", {"application": APPLICATION}, applicationId="00f1")
    states = ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED"]
    jobs = {"jobRuns": [{**LISTED_JOB, "id": "00j0"}, LISTED_JOB]}
    session.answer("list_job_runs", jobs, applicationId="00f1", states=states)
    session.deny("get_job_run", applicationId="00f1", jobRunId="00j0")
    session.answer("get_job_run", {"jobRun": {**JOB, "tags": OURS}}, applicationId="00f1", jobRunId="00j1")
    session.answer(
        "cancel_job_run", {"applicationId": "00f1", "jobRunId": "00j1"}, applicationId="00f1", jobRunId="00j1"
    )

    (found,) = serverless_job_runs(session, ENDS)
    found.end()

    assert (found.kind, found.id, found.state) == ("emr_serverless_job_run", "00j1", "RUNNING")
    session.stub.assert_no_pending_responses()


def test_a_list_of_job_runs_that_is_denied_is_an_error() -> None:
    session = Session()
    session.answer("list_applications", {"applications": [LISTED]}, states=["STARTING", "STARTED"])
    session.answer("get_application", {"application": APPLICATION}, applicationId="00f1")
    session.stub.add_client_error("list_job_runs", "AccessDeniedException")

    with pytest.raises(ClientError, match="AccessDenied"):
        list(serverless_job_runs(session, ENDS))


def test_what_the_deployment_has_not_is_not_looked_for() -> None:
    assert kinds_of(Settings()) == (emr_clusters,)
    everything = kinds_of(Settings(cost_guard_serverless=True))
    assert everything == (emr_clusters, serverless_job_runs, serverless_applications)


# ── The DAG ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_of(state: DagRunState) -> str:
    """Put a run of the analysis into Airflow's database; return its id."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    run_id = f"test__{uuid.uuid4()}"
    with create_session() as session:
        session.add(
            DagRun(
                dag_id="hvfhv_analysis",
                run_id=run_id,
                run_type=DagRunType.MANUAL,
                run_after=NOW,
                start_date=NOW,
                state=state,
                triggered_by=DagRunTriggeredByType.TEST,
            )
        )
    return run_id


@pytest.mark.usefixtures("airflow_db")
def test_the_dag_asks_airflow_which_runs_are_active(
    emr: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("TAXIWAY_COST_GUARD_ENDS", "true")
    monkeypatch.setenv("TAXIWAY_COST_GUARD_GRACE_MINUTES", "0")
    clusters = {str(state): start(emr, run_of(state)) for state in DagRunState}
    clusters["unknown"] = start(emr, "of nobody")
    settings.cache_clear()
    with running() as slack:
        connection = {"conn_type": "slackwebhook", "password": f"{slack.url}{HOOK}"}
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", json.dumps(connection))
        try:
            done = DagBag(ROOT / "dags" / "cost_guard.py").dags["cost_guard"].test()
        finally:
            settings.cache_clear()

    assert done.state == "success"
    assert {name for name, cluster in clusters.items() if lives(emr, cluster)} == {"queued", "running"}
    (text,) = (text_of(call.arguments) for call in slack.calls)
    assert text.startswith(":warning: emr_cluster j-")
    assert text.count("it was terminated.") == 3
    assert caplog.text.count("is not needed by any active run") == 3
