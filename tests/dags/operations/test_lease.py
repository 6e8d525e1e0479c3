"""A lease has one holder at a time, and passes on when its run has ended."""

import threading
from typing import Any

import boto3
import pytest

from taxiway.operations import lease

URI = "s3://lake/leases/shop.json"


@pytest.fixture
def s3(aws: str) -> Any:
    client = boto3.client("s3", endpoint_url=aws)
    client.create_bucket(Bucket="lake")
    return client


def test_a_run_that_is_active_keeps_it(s3: Any) -> None:
    active = {"one", "two"}

    def take(run: str) -> str | None:
        return lease.take(s3, URI, "etl", run, lambda dag_id, run_id: dag_id == "etl" and run_id in active)

    assert take("one") is None
    assert take("one") is None, "a task that is run again"
    assert take("two") == "one"
    active.remove("one")
    assert take("two") is None
    assert take("three") == "two"


def test_of_runs_that_take_it_at_once_one_gets_it(s3: Any) -> None:
    for stale in (False, True):
        if stale:
            s3.put_object(Bucket="lake", Key="leases/shop.json", Body=b'{"dag_id": "etl", "run_id": "gone"}')
        barrier = threading.Barrier(6)
        holders: list[tuple[str, str | None]] = []

        def take(run: str, barrier: threading.Barrier = barrier, holders: list[Any] = holders) -> None:
            barrier.wait()
            holders.append((run, lease.take(s3, URI, "etl", run, lambda _, run_id: run_id != "gone")))

        threads = [threading.Thread(target=take, args=(f"run {number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [run for run, holder in holders if holder is None]
        assert {holder for _, holder in holders} == {None, winner}
        s3.delete_object(Bucket="lake", Key="leases/shop.json")
