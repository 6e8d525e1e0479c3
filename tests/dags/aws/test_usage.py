"""What a cluster used, from answers that botocore takes for EMR's."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from taxiway.aws.usage import Usage, cluster_usage

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
