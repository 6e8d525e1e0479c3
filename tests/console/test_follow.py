"""What the follower prints, and when it stops."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from console import follow
from console.airflow import Airflow
from console.errors import UserError
from console.follow import Follower, Goal, Plan, Run
from console.output import Reporter
from tests.console.airflow_server import AirflowServer
from tests.console.conftest import TestPlatform

LOAD, COUNT = "load", "count"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def labels(airflow: Airflow, run_id: str) -> list[str]:
    return airflow.xcom(COUNT, run_id, "plan") or []


PLAN = Plan(
    runs=[Run(LOAD, "demo__a", {}, "a"), Run(LOAD, "demo__b", {}, "b")],
    followers={COUNT: labels},
    goals=frozenset({Goal(COUNT, "each.sum", "a"), Goal(COUNT, "each.sum", "b")}),
)
Follow = Callable[..., str]


@pytest.fixture
def follow_plan(
    server: AirflowServer, platform: TestPlatform, report: Reporter, capsys: pytest.CaptureFixture[str]
) -> Follow:
    """Follow the plan, whose runs have been started, and return what is printed."""
    for run in PLAN.runs:
        server.states.setdefault((run.dag, run.run_id), "success")

    def follow_plan(**options: object) -> str:
        Follower(platform, PLAN, report, BEGAN, **options).follow()  # type: ignore[arg-type]
        return capsys.readouterr().out

    return follow_plan


def counted(server: AirflowServer, *indexes: int, run: str = "asset 1", state: str = "success") -> None:
    server.states[COUNT, run] = state
    server.xcoms[COUNT, run, "plan"] = ["b", "a"]
    for index in indexes:
        server.add_task(COUNT, run, "each.sum", "success", index=index)


def test_mapped_tasks_read_by_their_labels_and_the_end_is_when_all_goals_are_reached(
    server: AirflowServer, follow_plan: Follow
) -> None:
    server.add_task(LOAD, "demo__a", "fetch", "success")
    server.add_task(COUNT, "asset 1", "plan", "success")
    counted(server, 0, 1)
    output = follow_plan()
    for line in ("✓ a: fetch (1.5 s)", "✓ b: sum (1.5 s)", "✓ a: sum (1.5 s)", "✓ b, a: plan (1.5 s)"):
        assert output.count(line) == 1, output


def test_mapped_tasks_without_labels_read_as_their_dag_says(
    server: AirflowServer, platform: TestPlatform, report: Reporter, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(runs=[Run(LOAD, "demo", {}, "")], followers={}, goals=frozenset({Goal(LOAD, "each", "")}))
    server.states[LOAD, "demo"] = "success"
    server.add_task(LOAD, "demo", "each", "success", index=0, about="parcels")
    server.add_task(LOAD, "demo", "other", "success", index=0)
    Follower(platform, plan, report, BEGAN).follow()
    output = capsys.readouterr().out
    assert "✓ parcels: each (1.5 s)" in output
    assert "✓ other (1.5 s)" in output


def test_goals_may_be_reached_by_several_runs(server: AirflowServer, follow_plan: Follow) -> None:
    counted(server, 0)
    counted(server, 1, run="asset 2")
    follow_plan()


def test_runs_that_an_earlier_command_left_do_not_count(
    server: AirflowServer, follow_plan: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "IDLE_TIMEOUT_S", 0.1)
    counted(server, 0, 1)
    with pytest.raises(
        UserError, match=r"Nothing has happened for 0\.1 s, and count has not run for a, b: see the sch"
    ):
        follow_plan(ignored={"asset 1"})


def test_a_failed_task_is_named_with_its_reason_and_its_log(
    server: AirflowServer, platform: TestPlatform, follow_plan: Follow
) -> None:
    server.states[LOAD, "demo__a"] = "failed"
    server.add_task(LOAD, "demo__a", "fetch", "failed", try_number=2)
    server.add_task(LOAD, "demo__a", "announce", "upstream_failed")
    server.logs["fetch"] = [{"event": "stop", "level": "error", "error_detail": [{"exc_value": "404: no such file\n"}]}]
    with pytest.raises(UserError) as raised:
        follow_plan()
    assert str(raised.value) == ("a: fetch failed (DAG load, run demo__a, try 2): 404: no such file\n    error stop"), (
        "the last lines, for the log is elsewhere"
    )
    platform.log = Path("/logs/fetch.log")
    with pytest.raises(UserError) as raised:
        follow_plan()
    assert str(raised.value).endswith("404: no such file\n    Log: /logs/fetch.log")


def test_a_retry_is_reported_with_its_reason(
    server: AirflowServer, platform: TestPlatform, follow_plan: Follow, capsys: pytest.CaptureFixture[str]
) -> None:
    server.states[LOAD, "demo__a"] = "running"
    server.add_task(LOAD, "demo__a", "fetch", "up_for_retry")

    def end() -> None:
        platform.ended = "The platform has ended."

    platform.require_alive = _after(3, end, platform.require_alive)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="The platform has ended"):
        follow_plan()
    output = capsys.readouterr().out
    assert output.count("↻ a: fetch failed and will be tried again: its log has no exception") == 1


def test_a_run_that_fails_without_a_failed_task_is_a_failure(server: AirflowServer, follow_plan: Follow) -> None:
    server.states[LOAD, "demo__b"] = "failed"
    with pytest.raises(UserError, match="The run demo__b of load failed without a failed task"):
        follow_plan()


def test_clusters_and_steps_of_emr_are_reported(
    server: AirflowServer, platform: TestPlatform, follow_plan: Follow
) -> None:
    emr = platform.client("emr")
    step = {"Name": "curate", "HadoopJarStep": {"Jar": "command-runner.jar"}}
    instances = {"KeepJobFlowAliveWhenNoSteps": True, "MasterInstanceType": "m7g.xlarge", "InstanceCount": 1}
    cluster = emr.run_job_flow(Name="c", Instances=instances, Steps=[step])["JobFlowId"]
    counted(server, 0, 1)
    output = follow_plan()
    assert f"EMR cluster {cluster} is WAITING" in output
    assert "step curate" in output


def test_a_platform_that_does_not_answer_for_a_while_is_followed_to_the_end(
    server: AirflowServer,
    platform: TestPlatform,
    follow_plan: Follow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its API server and its AWS are replaced in turn; the time that this takes is not idle time."""
    monkeypatch.setattr(follow, "IDLE_TIMEOUT_S", 0.05)
    server.faults = [500] * 20
    real = platform.client

    def replaced(service: str) -> object:
        platform.client = real  # type: ignore[method-assign]
        raise UserError("The forward cannot be opened.")

    platform.client = replaced  # type: ignore[method-assign]
    platform.require_alive = _after(4, lambda: counted(server, 0, 1), platform.require_alive)  # type: ignore[method-assign]
    output = follow_plan()
    assert output.count("does not answer (HTTP status 500)") == 1
    assert "✓ b: sum" in output


def test_an_unhealthy_platform_is_given_longer_to_go_on_but_not_for_ever(
    server: AirflowServer, platform: TestPlatform, follow_plan: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "IDLE_TIMEOUT_S", 0.03)
    server.health = "unhealthy"
    with monkeypatch.context() as patch:
        patch.setattr(follow, "PATIENCE_S", 0.2)
        with pytest.raises(UserError, match=r"Nothing has happened for 0\.2 s"):
            follow_plan()
    platform.require_alive = _after(10, lambda: counted(server, 0, 1), platform.require_alive)  # type: ignore[method-assign]
    assert "✓ b: sum" in follow_plan()


def _after(calls: int, act: Callable[[], None], real: Callable[[], None]) -> Callable[[], None]:
    left = [calls]

    def counting() -> None:
        left[0] -= 1
        if left[0] == 0:
            act()
        real()

    return counting


def test_a_run_that_waits_for_one_that_failed_is_given_up(
    server: AirflowServer, platform: TestPlatform, report: Reporter
) -> None:
    plan = Plan([Run(LOAD, "demo__a", {}, "a"), Run(COUNT, "demo__all", {}, "", waits=True)], {}, PLAN.goals)
    server.states |= {(LOAD, "demo__a"): "failed", (COUNT, "demo__all"): "running"}
    server.add_task(LOAD, "demo__a", "fetch", "failed")
    with pytest.raises(UserError, match=r"^a: fetch failed \(DAG load, run demo__a, try 1\)"):
        Follower(platform, plan, report, BEGAN).follow()
    assert server.states[COUNT, "demo__all"] == "failed"
