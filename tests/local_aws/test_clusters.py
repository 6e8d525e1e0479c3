"""The rules that need hours of waiting, by a clock of the test's own."""

import threading

import pytest

from local_aws.database import Database
from local_aws.emr.clusters import Clusters
from local_aws.emr.model import Cluster, Step, new_id
from local_aws.emr.runner import Outcome
from local_aws.emr.store import History


class Clock:
    def __init__(self):
        self.time = 1_000_000.0

    def __call__(self):
        return self.time


class Runner:
    """Steps that end when the test lets them."""

    def __init__(self):
        self.go_on = threading.Event()

    def run(self, cluster, step, stop):
        while not self.go_on.wait(0.01):
            if stop.asked:
                return Outcome("CANCELLED")
        return Outcome("COMPLETED")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def runner():
    return Runner()


@pytest.fixture
def clusters(tmp_path, clock, runner):
    database = Database(tmp_path / "state.db")
    clusters = Clusters(History(database), runner, max_steps=8, state_s=10, clock=clock)
    yield clusters
    clusters.close()
    database.close()


def add(clusters, **settings):
    cluster = Cluster(
        **{
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
        | settings
    )
    clusters.add(cluster, [])
    return cluster


def add_step(clusters, cluster):
    step = Step(new_id("s"), cluster.id, "x", "x.jar", [], None, {}, "CONTINUE", None, clusters.now())
    clusters.add_steps(cluster, [step])
    return step


def pass_time(clusters, clock, seconds):
    clock.time += seconds
    clusters.advance()


def test_an_idle_cluster_ends_after_its_idle_timeout(clusters, clock, runner):
    cluster = add(clusters)
    pass_time(clusters, clock, 10)
    assert cluster.state == "BOOTSTRAPPING"
    pass_time(clusters, clock, 10)
    assert cluster.state == "WAITING"
    step = add_step(clusters, cluster)
    pass_time(clusters, clock, 5000)  # a step that runs is no idle time
    pass_time(clusters, clock, 5000)
    assert (cluster.state, step.state) == ("RUNNING", "RUNNING")
    runner.go_on.set()
    while step.active:
        pass
    pass_time(clusters, clock, 0)
    pass_time(clusters, clock, 899)
    assert cluster.state == "WAITING"
    pass_time(clusters, clock, 1)
    assert cluster.state == "TERMINATING"
    pass_time(clusters, clock, 10)
    assert cluster.state == "TERMINATED"
    assert "auto-termination policy" in cluster.reason["Message"]


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_protected_cluster_does_not_end_by_itself(clusters, clock, keep_alive):
    cluster = add(clusters, protected=True, keep_alive=keep_alive)
    for _ in range(3):
        pass_time(clusters, clock, 5000)
    assert cluster.state == "WAITING"
    cluster.protected = False
    pass_time(clusters, clock, 0)
    assert cluster.state == "TERMINATING"


def test_a_policy_can_be_put_on_a_cluster_that_is_idle_for_long(clusters, clock):
    cluster = add(clusters, auto_termination=None)
    for _ in range(3):
        pass_time(clusters, clock, 5000)
    assert cluster.state == "WAITING"
    cluster.auto_termination = {"IdleTimeout": 60}
    pass_time(clusters, clock, 0)
    assert cluster.state == "TERMINATING"
