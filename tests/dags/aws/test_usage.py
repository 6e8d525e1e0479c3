"""What a cluster and a job run used, from answers that botocore takes for EMR's."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from taxiway.aws.usage import Hours, JobRunUsage, Usage, cluster_usage, job_run_usage
from taxiway.core.settings import ServerlessPrices

START = datetime(2026, 11, 21, 10, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def timeline(begin: str, first: float, last: float | None = None, **more: float) -> dict[str, datetime]:
    ends = {} if last is None else {"EndDateTime": at(last)}
    return {begin: at(first), **ends, **{name: at(minutes) for name, minutes in more.items()}}


def step(program: str, state: str, first: float | None, last: float | None) -> dict[str, Any]:
    args = ["spark-submit", "--py-files", "s3://a/spark_jobs.zip", f"s3://a/hvfhv/{program}", "--month", "2023-01"]
    times = {} if first is None else timeline("StartDateTime", first, last)
    return {"Config": {"Jar": "command-runner.jar", "Args": args}, "Status": {"State": state, "Timeline": times}}


def instance(kind: str, first: float, last: float | None = None) -> dict[str, Any]:
    return {"InstanceType": kind, "Status": {"Timeline": timeline("CreationDateTime", first, last)}}


def usage(cluster: dict[str, datetime], steps: list[dict[str, Any]], instances: list[dict[str, Any]]) -> Usage:
    emr = boto3.client("emr")
    with Stubber(emr) as stub:
        answer = {"Cluster": {"Id": "j-1", "Status": {"Timeline": cluster}}}
        stub.add_response("describe_cluster", answer, {"ClusterId": "j-1"})
        stub.add_response("list_steps", {"Steps": steps}, {"ClusterId": "j-1"})
        stub.add_response("list_instances", {"Instances": instances}, {"ClusterId": "j-1"})
        return cluster_usage(emr, "j-1")


def test_time_money_and_steps() -> None:
    steps = [
        step("rank_rising_zones.py", "COMPLETED", 25, 30),
        step("build_month.py", "COMPLETED", 10, 20),
        step("build_month.py", "FAILED", 15, 22),
        step("rank_rising_zones.py", "CANCELLED", None, None),
    ]
    used = usage(
        timeline("CreationDateTime", 0, 60, ReadyDateTime=5),
        steps,
        [instance("m7g.xlarge", 0, 60), instance("r7g.2xlarge", 0, 30), instance("r7g.2xlarge", 30)],
    )

    assert used.seconds == 3600
    assert used.instances == "1 × m7g.xlarge, 2 × r7g.2xlarge", "what scaling made of it, not what it began with"
    assert used.idle_seconds == (55 - 12 - 5) * 60, "ready for 55 minutes, busy from 10 to 22 and from 25 to 30"
    assert used.vcpu_hours == pytest.approx(4 + 8 / 2 + 8 / 2)
    assert used.memory_gb_hours == pytest.approx(16 + 64 / 2 + 64 / 2)
    assert used.usd == pytest.approx(0.1632 + 0.0408 + 0.4284 + 0.1071)
    assert used.steps == (("rank_rising_zones", 300.0), ("build_month", 600.0))


def test_a_cluster_that_ends_now_counts_up_to_now() -> None:
    begun = datetime.now(UTC) - timedelta(minutes=30)
    ready = begun + timedelta(minutes=10)
    used = usage({"CreationDateTime": begun, "ReadyDateTime": ready}, [], [])

    assert used.seconds == pytest.approx(1800, abs=10)
    assert used.idle_seconds == pytest.approx(1200, abs=10)


def test_a_cluster_that_never_was_ready_was_never_idle() -> None:
    used = usage(timeline("CreationDateTime", 0, 3), [step("build_month.py", "CANCELLED", None, None)], [])

    assert (used.seconds, used.idle_seconds, used.usd) == (180, 0, 0)


def test_a_minute_is_billed_at_least() -> None:
    used = usage(timeline("CreationDateTime", 0, 0.1), [], [instance("m7g.xlarge", 0, 0.1)])

    assert used.usd == pytest.approx((0.1632 + 0.0408) / 60)
    assert used.vcpu_hours == pytest.approx(4 * 6 / 3600)


@pytest.mark.parametrize(
    ("kind", "known"),
    [("r7g.metal", ()), ("x9z.xlarge", ("vcpu_hours",)), ("c7g.xlarge", ("vcpu_hours", "memory_gb_hours"))],
)
def test_a_type_that_is_not_known_gives_no_guess(kind: str, known: tuple[str, ...]) -> None:
    used = usage(timeline("CreationDateTime", 0, 60), [], [instance("m7g.xlarge", 0), instance(kind, 0)])

    found = {name for name in ("vcpu_hours", "memory_gb_hours", "usd") if getattr(used, name) is not None}
    assert found == set(known)


# ── EMR Serverless ──────────────────────────────────────────────────────────────────────────────────────────────────

PRICES = ServerlessPrices(as_of="2026-11", X86_64=(0.05, 0.005, 0.0001), ARM64=(0.04, 0.004, 0.0001))
INITIAL = {
    "DRIVER": {"workerCount": 1, "workerConfiguration": {"cpu": "2 vCPU", "memory": "8GB", "disk": "20 GB"}},
    "EXECUTOR": {"workerCount": 2, "workerConfiguration": {"cpu": "4vCPU", "memory": "16 GB", "disk": "70 GB"}},
}  # 10 vCPU, 40 GB, 100 GB of disk that are billed


def utilization(vcpu: float, memory: float, storage: float = 0) -> dict[str, float]:
    return {"vCPUHour": vcpu, "memoryGBHour": memory, "storageGBHour": storage}


def job_run(name: str, first: float | None, last: float | None, **more: Any) -> dict[str, Any]:
    times = {} if first is None else {"startedAt": at(first)}
    return {
        "applicationId": "00app",
        "jobRunId": name,
        "arn": f"arn:aws:emr-serverless:us-east-1:123456789012:/applications/00app/jobruns/{name}",
        "createdBy": "arn:aws:iam::123456789012:role/airflow",
        "createdAt": at(first or 0),
        "updatedAt": at(last or 0),
        "executionRole": "arn:aws:iam::123456789012:role/job",
        "state": "SUCCESS" if last else "RUNNING",
        "stateDetails": "none",
        "releaseLabel": "emr-spark-8.0.0",
        "jobDriver": {"sparkSubmit": {"entryPoint": "s3://a/day.py"}},
        **times,
        **({} if last is None else {"endedAt": at(last)}),
        **more,
    }


def serverless_usage(
    run: dict[str, Any],
    others: list[dict[str, Any]] = [],  # noqa: B006 - it is only read
    held: tuple[datetime, datetime] | None = None,
    architecture: str | None = None,
    initial: dict[str, Any] = INITIAL,
) -> JobRunUsage:
    application = {
        "applicationId": "00app",
        "arn": "arn:aws:emr-serverless:us-east-1:123456789012:/applications/00app",
        "releaseLabel": "emr-spark-8.0.0",
        "type": "Spark",
        "state": "STOPPED",
        "createdAt": at(0),
        "updatedAt": at(0),
        **({"initialCapacity": initial} if initial else {}),
        **({"architecture": architecture} if architecture else {}),
    }
    client = boto3.client("emr-serverless")
    with Stubber(client) as stub:
        stub.add_response("get_application", {"application": application}, {"applicationId": "00app"})
        stub.add_response("get_job_run", {"jobRun": run}, {"applicationId": "00app", "jobRunId": run["jobRunId"]})
        if held and initial:
            kept = (
                "arn",
                "createdBy",
                "createdAt",
                "updatedAt",
                "executionRole",
                "state",
                "stateDetails",
                "releaseLabel",
            )
            listed = [
                {"applicationId": "00app", "id": each["jobRunId"], **{key: each[key] for key in kept}}
                for each in (run, *others)
            ]
            window = {"createdAtAfter": held[0] - timedelta(days=1), "createdAtBefore": held[1]}
            stub.add_response("list_job_runs", {"jobRuns": listed}, {"applicationId": "00app", **window})
            for each in (run, *others):
                name = {"applicationId": "00app", "jobRunId": each["jobRunId"]}
                stub.add_response("get_job_run", {"jobRun": each}, name)
        return job_run_usage(client, "00app", run["jobRunId"], PRICES, held and held[1], held and held[0])


def test_what_is_billed_for_a_job_run() -> None:
    run = job_run(
        "00a",
        5,
        35,
        totalResourceUtilization=utilization(4.9, 19.9, 80),
        billedResourceUtilization=utilization(5, 20, 50),
    )
    used = serverless_usage(run)

    assert used.seconds == 1800
    assert used.billed == Hours(5, 20, 50)
    assert used.usd == pytest.approx(5 * 0.05 + 20 * 0.005 + 50 * 0.0001)
    assert (used.idle, used.idle_usd) == (Hours(), 0)
    assert serverless_usage(run, architecture="ARM64").usd == pytest.approx(5 * 0.04 + 20 * 0.004 + 50 * 0.0001)


def test_workers_that_waited_are_apart() -> None:
    run = job_run("00a", 15, 45, billedResourceUtilization=utilization(5, 20, 50),
                  totalResourceUtilization=utilization(5, 20, 50))  # fmt: skip
    used = serverless_usage(run, held=(at(0), at(60)))

    assert used.idle == Hours(10 - 5, 40 - 20, 100 - 50), "an hour, half of it busy"
    assert used.idle_usd == pytest.approx(5 * 0.05 + 20 * 0.005 + 50 * 0.0001)
    assert str(used) == (
        "Billed 5.00 vCPU-hours and 20.00 GB-hours for 30.0 min; pre-initialised workers waited for 5.00 vCPU-hours "
        "and 20.00 GB-hours: about $0.710 ($0.355 of it for waiting), by list prices of 2026-11."
    )


def test_workers_beyond_the_initial_ones_make_those_no_busier() -> None:
    run = job_run("00a", 15, 45, totalResourceUtilization=utilization(50, 200))
    assert serverless_usage(run, held=(at(0), at(60))).idle.vcpu == 5


def test_other_runs_kept_the_workers_busy_too() -> None:
    run = job_run("00a", 0, 15, totalResourceUtilization=utilization(2.5, 10))
    other = job_run("00b", 45, 75, totalResourceUtilization=utilization(5, 20))
    used = serverless_usage(run, [other], held=(at(0), at(60)))
    assert used.idle.vcpu == pytest.approx(10 - 2.5 - 2.5), "only its part within the hour"


def test_without_initial_capacity_nothing_waits() -> None:
    run = job_run("00a", 0, 15, billedResourceUtilization=utilization(2.5, 10))
    used = serverless_usage(run, held=(at(0), at(60)), initial={})
    assert used.idle == Hours()
    assert "waited" not in str(used)


def test_a_job_run_that_never_started_cost_nothing_but_what_waited_for_it() -> None:
    used = serverless_usage(job_run("00a", None, None), held=(at(0), at(6)))
    assert (used.seconds, used.usd) == (0, 0)
    assert used.idle.vcpu == pytest.approx(1)


def test_the_application_is_held_since_the_job_run_was_created() -> None:
    run = job_run("00a", 15, 45, totalResourceUtilization=utilization(5, 20), createdAt=at(3))
    client = boto3.client("emr-serverless")
    with Stubber(client) as stub:
        application = {"arn": run["arn"], "type": "Spark", "state": "STARTED", "initialCapacity": INITIAL}
        same = {name: run[name] for name in ("applicationId", "releaseLabel", "createdAt", "updatedAt")}
        stub.add_response("get_application", {"application": application | same})
        stub.add_response("get_job_run", {"jobRun": run})
        window = {"createdAtAfter": at(3) - timedelta(days=1), "createdAtBefore": at(63)}
        stub.add_response("list_job_runs", {"jobRuns": []}, {"applicationId": "00app", **window})
        assert job_run_usage(client, "00app", "00a", PRICES, at(63)).idle.vcpu == 10
