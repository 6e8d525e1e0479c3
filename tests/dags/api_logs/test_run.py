"""Runs of the DAG on records that the generator seals, with S3, Glue, Secrets Manager and Athena of the local AWS."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.definitions.mappedoperator import MappedOperator

from services.log_generator import MasterKeys, deliver, open_events, target_of
from taxiway.api_logs import __main__ as command
from taxiway.api_logs import hours
from taxiway.api_logs.keys import as_secret
from taxiway.api_logs.settings import api_logs_settings
from taxiway.api_logs.tables import EVENTS, QUARANTINE, TABLES
from taxiway.core.settings import settings
from taxiway.lake import Lake
from taxiway.operations import notices

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[3]
FIRST = "2026-01-31-07"
NAMES = ("Ada Lovelace", "Grace Hopper", "192.0.2.77", "Łukasz Ćwierz")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, airflow_db: None) -> Iterator[Path]:
    """Point AWS clients at a local AWS of the module's own; return its folder."""
    folder = tmp_path_factory.mktemp("aws")
    server = subprocess.Popen(
        [sys.executable, "-m", "local_aws", "--port", "0", "--data", str(folder), "--state-seconds", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        try:
            assert server.stdout
            patch.setenv("AWS_ENDPOINT_URL", server.stdout.readline().removeprefix("AWS on this machine: ").split()[0])
            patch.setenv("TAXIWAY_POLL_S", "1")
            patch.setenv("TAXIWAY_API_LOGS_RECHECK_HOURS", "0")
            _forget_settings()
            for bucket in ("taxiway-lake", "taxiway-logs"):
                boto3.client("s3").create_bucket(Bucket=bucket)
            assert command.main(["set-up"]) == 0
            yield folder
        finally:
            _forget_settings()
            server.terminate()
            server.wait(60)


def _forget_settings() -> None:
    settings.cache_clear()
    api_logs_settings.cache_clear()


@pytest.fixture
def lake(platform: Path) -> Lake:
    """Return the lake, with nothing in it."""
    boto3.resource("s3").Bucket("taxiway-lake").objects.all().delete()
    glue = boto3.client("glue")
    for database in glue.get_databases()["DatabaseList"]:
        glue.delete_database(Name=database["Name"])
    return Lake(settings(), boto3.Session(), TABLES)


@pytest.fixture
def keys(lake: Lake) -> MasterKeys:
    return MasterKeys(boto3.Session(), api_logs_settings().key_prefix)


def event(hour: str, number: int, **other: Any) -> dict[str, Any]:
    """Return an event of an hour; its id says which it is."""
    year, month, day, of = hour.split("-")
    user = NAMES[number % len(NAMES)]
    return {
        "id": f"{hour}/{number}",
        "time": f"{year}-{month}-{day}T{of}:{number % 60:02}:00Z",
        "user": user,
        "channel": f"#{('en', 'de', 'fr')[number % 3]}.wikipedia",
        "comment": f"thanks to {user}",
        "namespace": "User" if number % 5 == 0 else "Main",
        "page": f"User:{user}" if number % 5 == 0 else "Taxi",
        "added": number,
        **other,
    }


@pytest.fixture
def send(tmp_path: Path, keys: MasterKeys) -> Callable[..., None]:
    """Return what delivers events as an object that arrives in an hour."""

    def deliver_to(arrival: str, name: str, *events: dict[str, Any], sealed_by: MasterKeys | None = None) -> None:
        file = tmp_path / f"{name}.json"
        file.write_text("".join(f"{json.dumps(each)}\n" for each in events))
        year, month, day, hour = arrival.split("-")
        target = f"s3://taxiway-lake/raw/api_logs/year={year}/month={month}/day={day}/hour={hour}"
        put = target_of(target, boto3.Session())
        # The generator puts events into the hour of their own time: here they arrive in the given one.
        deliver(open_events(file), lambda path, body: put(path.replace("/", "_"), body), sealed_by or keys)

    return deliver_to


def start(*taken: str, **conf: Any) -> tuple[str, dict[str, list[str]]]:
    """Run the DAG; return the state of the run, and the states of each task by index."""
    dag = DagBag(ROOT / "dags").dags["api_logs_etl"]
    for task in dag.tasks:
        (task.partial_kwargs if isinstance(task, MappedOperator) else vars(task))["retries"] = 0
    done = dag.test(run_conf={"hours": list(taken), **conf})
    states: dict[str, list[str]] = {}
    for instance in sorted(done.get_task_instances(), key=lambda instance: instance.map_index):
        states.setdefault(instance.task_id, []).append(str(instance.state))
    return str(done.state), states


def ids(lake: Lake, hour: str) -> list[str]:
    """Return the ids of the published events of an hour, in order."""
    partition = lake.partition(EVENTS, hour)
    assert partition, f"{hour} is not published"
    return sorted(lake.read(partition.location, ["event_id"]).column(0).to_pylist())


def reasons(lake: Lake, hour: str) -> Counter[str]:
    """Return the published quarantine of an arrival hour by reason."""
    partition = lake.partition(QUARANTINE, hour)
    assert partition, f"{hour} is not published"
    return Counter(lake.read(partition.location, ["reject_reason"]).column(0).to_pylist())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what runs tell people."""
    found: list[str] = []
    monkeypatch.setattr(notices, "tell", lambda context, text, table=(): found.append(text))
    return found


def test_hours_are_published_once_and_again_only_when_something_arrived(
    lake: Lake, send: Callable[..., None], told: list[str]
) -> None:
    second, empty = hours.shift(FIRST, 1), hours.shift(FIRST, 2)
    send(FIRST, "a", *(event(FIRST, number) for number in range(50)))
    send(second, "b", *(event(second, number) for number in range(30)), event(FIRST, 90))
    everything = f"{FIRST}/{empty}"

    state, tasks = start(everything)

    assert state == "success", tasks
    assert len(ids(lake, FIRST)) == 51
    assert len(ids(lake, second)) == 30
    assert ids(lake, empty) == []
    assert told == [f"Published 81 records of 3 hours of arrival. Nothing arrived in {empty}."]
    versions = {hour: partition.location for hour, partition in lake.partitions(EVENTS).items()}
    state, tasks = start(everything)
    assert (state, tasks["plan"], tasks["convert"]) == ("success", ["skipped"], ["skipped"])
    assert {hour: partition.location for hour, partition in lake.partitions(EVENTS).items()} == versions


def test_late_records_and_duplicates_come_to_their_hours_whenever_they_arrive(
    lake: Lake, send: Callable[..., None]
) -> None:
    day_after, too_late = hours.shift(FIRST, 24), hours.shift(FIRST, 73)
    send(FIRST, "a", *(event(FIRST, number) for number in range(5)))
    send(day_after, "b", event(FIRST, 5), event(FIRST, 0), event(day_after, 1))
    send(too_late, "c", event(FIRST, 6), event(FIRST, 7), event(too_late, 1))
    assert start(day_after)[0] == "success", "later arrivals first"
    assert ids(lake, FIRST) == [f"{FIRST}/0", f"{FIRST}/5"]
    assert start(FIRST, too_late)[0] == "success"
    assert ids(lake, FIRST) == [f"{FIRST}/{number}" for number in range(6)]
    assert reasons(lake, day_after) == {"duplicate": 1}, "the earlier arrival wins, though it was taken later"
    assert reasons(lake, FIRST) == {}
    assert reasons(lake, too_late) == {"late": 2}
    assert ids(lake, too_late) == [f"{too_late}/1"]


def test_a_duplicate_of_another_hour_is_left_out_and_comes_back_when_its_original_goes(
    lake: Lake, send: Callable[..., None]
) -> None:
    next_hour = hours.shift(FIRST, 1)
    send(FIRST, "a", event(FIRST, 1), event(FIRST, 2))
    send(next_hour, "b", event(next_hour, 1, id=f"{FIRST}/1"), event(next_hour, 2))
    assert start(FIRST, next_hour)[0] == "success"
    assert ids(lake, next_hour) == [f"{next_hour}/2"]
    assert reasons(lake, next_hour) == {"duplicate": 1}
    for found in boto3.resource("s3").Bucket("taxiway-lake").objects.filter(Prefix="raw/api_logs/"):
        if "_a-" in found.key:
            found.delete()
    send(FIRST, "a2", event(FIRST, 2))
    assert start(FIRST)[0] == "success"
    assert ids(lake, FIRST) == [f"{FIRST}/2"]
    assert ids(lake, next_hour) == [f"{FIRST}/1", f"{next_hour}/2"]
    assert reasons(lake, next_hour) == {}


def test_records_wait_for_their_key_and_are_replayed_when_it_arrives(
    lake: Lake, send: Callable[..., None], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stranger(MasterKeys):
        def for_next_object(self) -> tuple[str, bytes]:
            self._current = self._current or self.make(store=False)
            return self._current

    stranger = Stranger(boto3.Session(), api_logs_settings().key_prefix, "new")
    key_id, key = stranger.for_next_object()
    send(FIRST, "a", *(event(FIRST, number) for number in range(3)))
    send(FIRST, "b", *(event(FIRST, number) for number in range(3, 10)), sealed_by=stranger)
    assert start(FIRST)[0] == "success"
    assert reasons(lake, FIRST) == {"unknown_key": 7}
    assert f"7 records wait for the key {key_id}: python -m taxiway.api_logs replay --key {key_id}" in told[0]

    state, tasks = start(key="other-00000000")
    assert (state, tasks["plan"]) == ("failed", ["failed"])

    secrets = boto3.client("secretsmanager")
    name = f"{api_logs_settings().key_prefix}{key_id}"
    secrets.create_secret(Name=name, SecretString=as_secret(key))
    assert start(key=key_id)[0] == "success"
    assert ids(lake, FIRST) == [f"{FIRST}/{number}" for number in range(10)]
    assert reasons(lake, FIRST) == {}

    secrets.delete_secret(SecretId=name)  # revoked: it can be undone for some days
    assert start(FIRST, again=True)[0] == "success"
    assert reasons(lake, FIRST) == {"unknown_key": 7}
    assert len(ids(lake, FIRST)) == 3


def test_a_sender_whose_clock_is_an_hour_ahead_is_quarantined_and_one_behind_is_late(
    lake: Lake, send: Callable[..., None]
) -> None:
    before, after = hours.shift(FIRST, -1), hours.shift(FIRST, 1)
    send(FIRST, "a", event(before, 1), event(FIRST, 2), event(after, 10), event(after, 0))
    assert start(FIRST)[0] == "success"
    assert ids(lake, before) == [f"{before}/1"]
    assert ids(lake, FIRST) == [f"{FIRST}/2"]
    assert reasons(lake, FIRST) == {"in_future": 1}
    assert ids(lake, after) == [f"{after}/0"], "within what clocks may differ by"
