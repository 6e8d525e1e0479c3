"""The rules that need hours of waiting, by a clock of the test's own."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.database import Database
from local_aws.emr.clusters import Clusters
from local_aws.emr.model import Cluster, Step, new_id
from local_aws.emr.store import History
from local_aws.execution import Failure, Result, Run, State
from local_aws.execution.process import Cancellation
from tests.waiting import eventually


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


class Starter:
    """Starts steps that end when the test lets them."""

    def __init__(self) -> None:
        self.may_start = True
        self.may_end = threading.Event()
        self.failure: Failure | None = None

    def start(self, cluster: Cluster, step: Step, on_end: Callable[[Result], None]) -> Run | None:
        if not self.may_start:
            return None
        cancellation = Cancellation(grace_s=0)

        def run() -> None:
            while not (ended := self.may_end.wait(0.01)) and not cancellation.requested:
                pass
            state = (State.FAILED if self.failure else State.SUCCEEDED) if ended else State.CANCELLED
            on_end(Result(state, failure=self.failure if ended else None))

        thread = threading.Thread(target=run)
        thread.start()
        return Run(cancellation, thread)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def starter() -> Starter:
    return Starter()


@pytest.fixture
def clusters(tmp_path: Path, clock: Clock, starter: Starter) -> Iterator[Clusters]:
    database = Database(tmp_path / "state.db")
    clusters = Clusters(History(database), starter, state_s=10, clock=clock)
    yield clusters
    clusters.close()
    database.close()


def add(clusters: Clusters, **settings: Any) -> Cluster:
    defaults: dict[str, Any] = {
        "id": new_id("j"),
        "region": "us-east-1",
        "request": {"Name": "x", "Instances": {}},
        "created": clusters.now(),
        "step_concurrency": 1,
        "keep_alive": True,
        "protected": False,
        "visible": True,
        "tags": {},
        "auto_termination": {"IdleTimeout": 900},
        "managed_scaling": None,
    }
    cluster = Cluster(**defaults | settings)
    clusters.add(cluster, [])
    return cluster


def add_step(clusters: Clusters, cluster: Cluster, action: str = "CONTINUE") -> Step:
    step = Step(new_id("s"), cluster.id, "x", "x.jar", [], None, {}, action, None, clusters.now())
    clusters.add_steps(cluster, [step])
    return step


def pass_time(clusters: Clusters, clock: Clock, seconds: float) -> None:
    clock.time += seconds
    clusters.advance()


def test_an_idle_cluster_ends_after_its_idle_timeout(clusters: Clusters, clock: Clock, starter: Starter) -> None:
    cluster = add(clusters)
    assert cluster.state == "STARTING"
    pass_time(clusters, clock, 10)
    assert cluster.state == "BOOTSTRAPPING"
    pass_time(clusters, clock, 10)
    assert cluster.state == "WAITING"
    step = add_step(clusters, cluster)
    pass_time(clusters, clock, 5000)  # a step that runs is no idle time
    pass_time(clusters, clock, 5000)
    assert (cluster.state, step.state) == ("RUNNING", "RUNNING")
    starter.may_end.set()
    eventually(lambda: not step.active)
    pass_time(clusters, clock, 0)
    pass_time(clusters, clock, 899)
    assert cluster.state == "WAITING"
    pass_time(clusters, clock, 1)
    assert cluster.state == "TERMINATING"
    pass_time(clusters, clock, 10)
    assert cluster.state == "TERMINATED"
    assert "auto-termination policy" in cluster.reason["Message"]


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_protected_cluster_does_not_end_by_itself(clusters: Clusters, clock: Clock, keep_alive: bool) -> None:
    cluster = add(clusters, protected=True, keep_alive=keep_alive)
    for _ in range(3):
        pass_time(clusters, clock, 5000)
    assert cluster.state == "WAITING"
    cluster.protected = False
    pass_time(clusters, clock, 0)
    assert cluster.state == "TERMINATING"


def test_a_policy_can_be_added_to_an_idle_cluster(clusters: Clusters, clock: Clock) -> None:
    cluster = add(clusters, auto_termination=None)
    for _ in range(3):
        pass_time(clusters, clock, 5000)
    assert cluster.state == "WAITING"
    cluster.auto_termination = {"IdleTimeout": 60}
    pass_time(clusters, clock, 0)
    assert cluster.state == "TERMINATING"


def test_a_step_waits_until_the_machine_has_room_for_it(clusters: Clusters, clock: Clock, starter: Starter) -> None:
    cluster = add(clusters)
    starter.may_start = False
    step = add_step(clusters, cluster)
    for _ in range(3):
        pass_time(clusters, clock, 5000)
    assert (cluster.state, step.state, step.started) == ("WAITING", "PENDING", None)
    starter.may_start = True
    pass_time(clusters, clock, 0)
    assert (cluster.state, step.state, step.started) == ("RUNNING", "RUNNING", clock())


@pytest.mark.parametrize("action", ["success", "TERMINATE_CLUSTER", "user"])
def test_a_cluster_runs_as_long_as_waiters_need(tmp_path: Path, clock: Clock, starter: Starter, action: str) -> None:
    database = Database(tmp_path / "state.db")
    clusters = Clusters(History(database), starter, state_s=10, running_s=31, clock=clock)
    cluster = add(clusters, keep_alive=False)
    steps = [add_step(clusters, cluster, "TERMINATE_CLUSTER" if action != "success" else "CONTINUE") for _ in range(2)]
    pass_time(clusters, clock, 10)
    pass_time(clusters, clock, 10)
    assert cluster.state == "RUNNING"
    if action == "TERMINATE_CLUSTER":
        starter.failure = Failure("Exit status 1.", "no")
    starter.may_end.set()
    eventually(lambda: not steps[0].active)
    pass_time(clusters, clock, 1)
    eventually(lambda: not steps[1].active)
    assert steps[1].state == ("CANCELLED" if action == "TERMINATE_CLUSTER" else "COMPLETED")
    for _ in range(29):
        pass_time(clusters, clock, 1)
        assert cluster.state == "RUNNING"
    if action == "user":  # who ends a cluster need not wait
        clusters.terminate(cluster)
        assert cluster.state == "TERMINATING"
    pass_time(clusters, clock, 1)
    assert cluster.state == "TERMINATING"
    pass_time(clusters, clock, 10)
    assert cluster.state == ("TERMINATED_WITH_ERRORS" if action == "TERMINATE_CLUSTER" else "TERMINATED")
    clusters.close()
    database.close()
