"""Runs of the tasks on records that the generator seals, with S3, Glue, Secrets Manager and Athena of the local AWS."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import boto3
import botocore.endpoint
import pytest
from airflow.dag_processing.dagbag import DagBag

from services.log_generator import MasterKeys, deliver, open_events, target_of
from taxiway.api_logs import athena, compaction, convert, hours, merge, plan
from taxiway.api_logs.keys import PseudonymKeyError, as_secret
from taxiway.api_logs.plan import PlanError
from taxiway.api_logs.queries import queries
from taxiway.api_logs.settings import api_logs_settings
from taxiway.api_logs.tables import DAILY, DAILY_ALONE, EVENTS, QUARANTINE, STAGED
from taxiway.aws.athena import AthenaError
from taxiway.lake import Lake
from taxiway.operations import notices
from tests.dags.api_logs.steps import TASKS, Killed, take

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[3]
FIRST = "2026-01-31-07"
NAMES = ("Ada Lovelace", "Grace Hopper", "192.0.2.77", "Łukasz Ćwierz")


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


def ids(lake: Lake, hour: str) -> list[str]:
    """Return the ids of the published events of an hour, in order."""
    partition = lake.partition(EVENTS, hour)
    assert partition, f"{hour} is not published"
    return sorted(lake.read(partition.location, ["event_id"]).column(0).to_pylist())


def versions(lake: Lake) -> dict[tuple[str, str], str]:
    """Return what is published: table and hour → folder."""
    return {
        (table.name, hour): partition.location
        for table in (EVENTS, QUARANTINE)
        for hour, partition in lake.partitions(table).items()
    }


def reasons(lake: Lake, hour: str) -> Counter[str]:
    """Return the published quarantine of an arrival hour by reason."""
    partition = lake.partition(QUARANTINE, hour)
    assert partition, f"{hour} is not published"
    return Counter(lake.read(partition.location, ["reject_reason"]).column(0).to_pylist())


@pytest.fixture(autouse=True)
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
    take(f"{FIRST}/{empty}")
    assert len(ids(lake, FIRST)) == 51
    assert len(ids(lake, second)) == 30
    assert ids(lake, empty) == []
    assert told == [f"Published 81 records of 3 hours of arrival. Nothing arrived in {empty}."]
    before = versions(lake)
    assert take(f"{FIRST}/{empty}") == {"plan": []}
    assert versions(lake) == before
    send(second, "c", event(second, 31))
    assert [batch["hours"] for batch in take(f"{FIRST}/{empty}")["plan"]] == [[second]]
    after = versions(lake)
    assert len(ids(lake, second)) == 31
    assert {key for key in after if after[key] != before[key]} == {
        (table.name, hour) for table, hour in ((EVENTS, FIRST), (EVENTS, second), (QUARANTINE, second))
    }, "what the changed hour feeds, and nothing else"


def test_late_records_and_duplicates_come_to_their_hours_whenever_they_arrive(
    lake: Lake, send: Callable[..., None]
) -> None:
    day_after, too_late = hours.shift(FIRST, 24), hours.shift(FIRST, 73)
    send(FIRST, "a", *(event(FIRST, number) for number in range(5)))
    send(day_after, "b", event(FIRST, 5), event(FIRST, 0), event(day_after, 1))
    send(too_late, "c", event(FIRST, 6), event(FIRST, 7), event(too_late, 1))
    take(day_after)  # later arrivals first
    assert ids(lake, FIRST) == [f"{FIRST}/0", f"{FIRST}/5"]
    take(FIRST, too_late)
    assert ids(lake, FIRST) == [f"{FIRST}/{number}" for number in range(6)]
    assert reasons(lake, day_after) == {"duplicate": 1}, "the earlier arrival wins, though it was taken later"
    assert reasons(lake, FIRST) == {}
    assert reasons(lake, too_late) == {"late": 2}
    assert ids(lake, too_late) == [f"{too_late}/1"]


@pytest.mark.parametrize("gone", ["quarantine", "staged"])
def test_an_hour_is_not_built_again_from_what_retention_has_left(
    gone: str, lake: Lake, send: Callable[..., None]
) -> None:
    second = hours.shift(FIRST, 1)
    send(FIRST, "a", *(event(FIRST, number) for number in range(5)))
    send(second, "b", event(second, 1))
    take(FIRST, second)
    if gone == "quarantine":
        values = {"DatabaseName": "taxiway", "TableName": QUARANTINE.name, "PartitionValues": FIRST.split("-")}
        boto3.client("glue").delete_partition(**values)
    else:
        folder = STAGED.contract.partition_folder("", FIRST).lstrip("/")
        boto3.resource("s3").Bucket("taxiway-lake").objects.filter(Prefix=f"{folder}/").delete()
    before = versions(lake)
    send(second, "c", event(FIRST, 5))
    with pytest.raises(PlanError, match=f"as records that arrived in {FIRST} are not kept any more"):
        take(second)
    assert versions(lake) == before
    assert len(ids(lake, FIRST)) == 5


def test_a_duplicate_of_another_hour_is_left_out_and_comes_back_when_its_original_goes(
    lake: Lake, send: Callable[..., None]
) -> None:
    next_hour = hours.shift(FIRST, 1)
    send(FIRST, "a", event(FIRST, 1), event(FIRST, 2))
    send(next_hour, "b", event(next_hour, 1, id=f"{FIRST}/1"), event(next_hour, 2))
    take(FIRST, next_hour)
    assert ids(lake, next_hour) == [f"{next_hour}/2"]
    assert reasons(lake, next_hour) == {"duplicate": 1}
    for found in boto3.resource("s3").Bucket("taxiway-lake").objects.filter(Prefix="raw/api_logs/"):
        if "_a-" in found.key:
            found.delete()
    send(FIRST, "a2", event(FIRST, 2))
    take(FIRST)
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
    take(FIRST)
    assert reasons(lake, FIRST) == {"unknown_key": 7}
    assert f"7 records wait for the key {key_id}: python -m taxiway.api_logs replay --key {key_id}" in told[0]

    with pytest.raises(PlanError, match="No record of the quarantine waits for the key 'other-00000000'"):
        take(key="other-00000000")

    secrets = boto3.client("secretsmanager")
    name = f"{api_logs_settings().key_prefix}{key_id}"
    secrets.create_secret(Name=name, SecretString=as_secret(key))
    take(key=key_id)
    assert ids(lake, FIRST) == [f"{FIRST}/{number}" for number in range(10)]
    assert reasons(lake, FIRST) == {}

    secrets.delete_secret(SecretId=name)  # revoked: it can be undone for some days
    take(FIRST, again=True)
    assert reasons(lake, FIRST) == {"unknown_key": 7}
    assert len(ids(lake, FIRST)) == 3


def test_a_sender_whose_clock_is_an_hour_ahead_is_quarantined_and_one_behind_is_late(
    lake: Lake, send: Callable[..., None]
) -> None:
    before, after = hours.shift(FIRST, -1), hours.shift(FIRST, 1)
    send(FIRST, "a", event(before, 1), event(FIRST, 2), event(after, 10), event(after, 0))
    take(FIRST)
    assert ids(lake, before) == [f"{before}/1"]
    assert ids(lake, FIRST) == [f"{FIRST}/2"]
    assert reasons(lake, FIRST) == {"in_future": 1}
    assert ids(lake, after) == [f"{after}/0"], "within what clocks may differ by"


def everything(lake: Lake) -> dict[str, Any]:
    """Return the rows and the inputs of all that is published."""
    return {
        f"{table.name} {hour}": (
            sorted(map(str, lake.read(partition.location).to_pylist())),
            plan.digest_of(partition.parameters["inputs"]),
            partition.parameters["rows"],
        )
        for table in (EVENTS, QUARANTINE)
        for hour, partition in lake.partitions(table).items()
    }


class Killer:
    """Kills a task at a call of AWS: before it is sent, or when it was answered; or when it has put the first file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        self._task, self._at, self._after = "", 0, False
        send, copy_out = botocore.endpoint.Endpoint.make_request, convert.copy_out

        def make_request(endpoint: Any, model: Any, *rest: Any) -> Any:
            self.calls[self._task] += 1
            if self.calls[self._task] == self._at and not self._after:
                raise Killed(self._task)
            answer = send(endpoint, model, *rest)
            if self.calls[self._task] == self._at:
                raise Killed(self._task)
            return answer

        def copy_and_die(*arguments: Any) -> None:
            copy_out(*arguments)
            if self._at == -1:
                self._at = 0
                raise Killed(self._task)

        monkeypatch.setattr(botocore.endpoint.Endpoint, "make_request", make_request)
        for module in (convert, merge):
            monkeypatch.setattr(module, "copy_out", copy_and_die)

    def at(self, where: Callable[[int], int], calls: Counter[str], *, after: bool) -> Callable[[str], Any]:
        """Return what kills each task at the call that a function chooses by their number."""

        @contextmanager
        def kill(task: str) -> Iterator[None]:
            self.calls.clear()
            self._task, self._at, self._after = task, where(calls[task]), after
            try:
                yield
            finally:
                self._at = 0

        return kill


@pytest.mark.parametrize(
    ("where", "after"),
    [(lambda count: 1, False), (lambda count: count // 2, True), (lambda count: count, True), (lambda count: -1, True)],
    ids=["first call", "half way", "last call", "first file"],
)
def test_a_run_that_is_killed_at_each_task_and_goes_on_publishes_the_same(
    where: Callable[[int], int], after: bool, lake: Lake, send: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    second = hours.shift(FIRST, 1)
    send(FIRST, "a", *(event(FIRST, number) for number in range(6)))
    take(FIRST)
    send(FIRST, "b", event(FIRST, 2), {**event(FIRST, 7), "added": "many"})
    send(second, "c", event(FIRST, 8), event(FIRST, 1), event(second, 1), event(hours.shift(FIRST, -80), 1))
    killer = Killer(monkeypatch)
    calls: Counter[str] = Counter()

    @contextmanager
    def count(task: str) -> Iterator[None]:
        killer._task = task
        yield
        calls[task] = killer.calls[task]

    take(FIRST, second, kill=count)
    unbroken = everything(lake)
    assert [len(rows) for rows, _, _ in unbroken.values()] == [7, 1, 2, 2], "events, then quarantine, of both hours"
    _unpublish(lake)
    take(FIRST, second, kill=killer.at(where, calls, after=after))
    assert everything(lake) == unbroken
    candidates = boto3.client("glue").get_partitions(DatabaseName="taxiway", TableName="api_events_candidate")
    assert len(candidates["Partitions"]) == 2, "those of the last run"


def _unpublish(lake: Lake) -> None:
    """Put back what was published before the last run."""
    glue = boto3.client("glue")
    for table in (EVENTS, QUARANTINE):
        for hour in lake.partitions(table):
            glue.delete_partition(DatabaseName="taxiway", TableName=table.name, PartitionValues=hour.split("-"))
    for kind in ("curated", "quarantine", "staged"):
        boto3.resource("s3").Bucket("taxiway-lake").objects.filter(Prefix=f"{kind}/").delete()


def test_the_tasks_of_the_tests_are_those_of_the_dag() -> None:
    assert [*TASKS, "complete"] == [
        task.task_id
        for task in DagBag(ROOT / "dags").dags["api_logs_etl"].topological_sort()  # type: ignore[no-untyped-call]
    ]


def daily(lake: Lake) -> dict[str, list[str]]:
    """Return the ids of the compacted days, in the order of the file."""
    days = replace(lake, tables=DAILY_ALONE).partitions(DAILY)
    return {day: lake.read(each.location, ["event_id"]).column(0).to_pylist() for day, each in days.items()}


def test_a_day_of_small_hours_is_one_file_when_it_is_old_enough_and_follows_what_is_replayed(
    lake: Lake, send: Callable[..., None]
) -> None:
    second = hours.shift(FIRST, 3)
    send(FIRST, "a", event(FIRST, 1), event(FIRST, 2))
    send(second, "b", event(second, 1))
    assert take(FIRST, second)["compact"] == ["2026-01-31"]
    assert daily(lake) == {"2026-01-31": [f"{FIRST}/1", f"{FIRST}/2", f"{second}/1"]}
    send(second, "c", event(second, 0))
    take(second)
    assert daily(lake) == {"2026-01-31": [f"{FIRST}/1", f"{FIRST}/2", f"{second}/0", f"{second}/1"]}
    question = "SELECT count(*) AS events FROM api_events_daily WHERE year = ? AND month = ? AND day = ?"
    answer = athena.workgroup().ask({"test": (question, ["2026", "01", "31"])})["test"]
    assert answer.rows == [{"events": "4"}]
    published, compacted = lake.partitions(EVENTS), replace(lake, tables=DAILY_ALONE).partitions(DAILY)
    end = hours.end("2026-01-31-23")
    assert compaction.days_due(published, {}, end + timedelta(hours=72)) == {}
    assert list(compaction.days_due(published, {}, end + timedelta(hours=73))) == ["2026-01-31"]
    assert compaction.days_due(published, compacted, end + timedelta(hours=73)) == {}


def test_a_day_of_large_hours_stays_as_it_is(
    lake: Lake, send: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVENTS.contract.properties, "compactBelowMegabytes", 0)
    send(FIRST, "a", event(FIRST, 1))
    assert take(FIRST)["compact"] == []
    assert daily(lake) == {}


def test_a_query_that_reads_more_than_the_limit_is_one_sentence_and_nothing_is_published(
    lake: Lake, send: Callable[..., None]
) -> None:
    client, name = lake.session.client("athena"), api_logs_settings().workgroup
    limit = {"BytesScannedCutoffPerQuery": 10_000_000}  # the least that Athena takes
    client.update_work_group(WorkGroup=name, ConfigurationUpdates=limit)
    try:
        send(FIRST, "a", *(event(FIRST, number, id=token_urlsafe(3000)) for number in range(4000)))
        with pytest.raises(AthenaError) as caught:
            take(FIRST)
    finally:
        client.update_work_group(WorkGroup=name, ConfigurationUpdates={"RemoveBytesScannedCutoffPerQuery": True})
    assert str(caught.value).startswith("The query check_")
    assert str(caught.value).endswith(
        "was ended because it read more than the scan limit of the workgroup taxiway-api-logs allows: ask it for less "
        "at once, or raise the workgroup's limit."
    )
    assert versions(lake) == {}
    running = client.list_query_executions(WorkGroup=name)["QueryExecutionIds"]
    found = client.batch_get_query_execution(QueryExecutionIds=running)["QueryExecutions"]
    assert {query["Status"]["State"] for query in found} <= {"SUCCEEDED", "CANCELLED"}


def test_a_workgroup_that_is_missing_says_how_it_is_made(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_API_LOGS_WORKGROUP", "none")
    api_logs_settings.cache_clear()
    try:
        with pytest.raises(AthenaError, match=r"'none' does not exist: aws/platform\.yaml has it.* set-up makes it"):
            athena.ask(hours_without_key=["a"])
    finally:
        monkeypatch.undo()
        api_logs_settings.cache_clear()


def test_queries_are_kept_under_their_names_and_follow_their_files(lake: Lake) -> None:
    group = athena.workgroup()
    group.keep(queries())
    assert group.keep(queries()) == []
    changed = {**queries(), "api_logs_check_events": "SELECT 1"}
    assert group.keep(changed) == ["api_logs_check_events"]
    pages = group.client.get_paginator("list_named_queries").paginate(WorkGroup=group.name)
    ids = [one for page in pages for one in page["NamedQueryIds"]]
    kept = group.client.batch_get_named_query(NamedQueryIds=ids)["NamedQueries"]
    assert {each["Name"]: each["QueryString"] for each in kept} == changed
    assert len(kept) == len(changed)


def test_a_key_of_the_pseudonyms_that_is_missing_fails_before_anything_is_written(
    lake: Lake, send: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    send(FIRST, "a", event(FIRST, 1))
    monkeypatch.setenv("TAXIWAY_API_LOGS_PSEUDONYM_KEY", "nowhere")
    api_logs_settings.cache_clear()
    try:
        with pytest.raises(
            PseudonymKeyError, match=r"\(secret nowhere\) is missing in Secrets Manager: store 32 random"
        ):
            take(FIRST)
    finally:
        monkeypatch.undo()
        api_logs_settings.cache_clear()
    assert lake.data_files("s3://taxiway-lake/staged") == []
