"""Which arrival hours a run takes, which hours of events it builds, and in which batches."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from taxiway.api_logs import hours, plan
from taxiway.api_logs.plan import Batch, Converted, PlanError, TooEarlyError
from taxiway.api_logs.tables import EVENTS, OBJECT, QUARANTINE, STAGED, TABLES, duplicate_hours, late_hours
from taxiway.core.settings import Settings
from taxiway.lake import Lake, Publication
from taxiway.operations.retention import rule_of

HOUR = "2026-01-31-07"
ONE_BATCH = plan.by_size(1 << 40, 1)


@pytest.fixture
def lake(aws: str) -> Lake:
    lake = Lake(Settings(), boto3.Session(), TABLES)
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    return lake


def deliver(hour: str, name: str = "a.jsonl", body: bytes = b"{}\n") -> None:
    year, month, day, hour = hour.split("-")
    key = f"raw/api_logs/year={year}/month={month}/day={day}/hour={hour}/{name}"
    boto3.client("s3").put_object(Bucket="taxiway-lake", Key=key, Body=body)


def publish(lake: Lake, hour: str) -> None:
    """Publish an hour as a run would after converting what is there now."""
    listing, _ = plan.list_objects(boto3.client("s3"), "s3://taxiway-lake", hour)
    version = lake.location(EVENTS, hour, "v.1")
    inputs = plan.inputs_of(listing.digest, "v.1")
    lake.publish(Publication(period=hour, inputs=inputs, locations={EVENTS.name: version}, rows={EVENTS.name: 0}), "r")


def planned(
    lake: Lake,
    *requested: str,
    own: str | None = None,
    again: bool = False,
    recheck: int = 3,
    first: str = "2026-01-01-00",
    waiting: Collection[str] = (),
) -> list[str]:
    batches = plan.plan_run(
        requested, own, lake, boto3.client("s3"), recheck=recheck, again=again, batches=ONE_BATCH, first=first,
        waiting=waiting,
    )  # fmt: skip
    return [hour for batch in batches for hour in batch["hours"]]


def test_a_run_takes_its_hour_even_if_nothing_arrived_and_takes_it_once(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert planned(lake, own=HOUR) == [HOUR]
    assert f"Nothing arrived in the hour {HOUR}: it is published as it is, with no records." in caplog.messages
    publish(lake, HOUR)
    assert planned(lake, own=HOUR) == []
    assert planned(lake, own=HOUR, again=True, recheck=0) == [HOUR]


def test_objects_that_arrive_late_or_change_are_found_within_the_recheck(lake: Lake) -> None:
    for by in range(-4, 1):
        deliver(hours.shift(HOUR, by))
        publish(lake, hours.shift(HOUR, by))
    assert planned(lake, own=HOUR) == []
    deliver(hours.shift(HOUR, -1), "b.jsonl")
    deliver(hours.shift(HOUR, -2), body=b"{ }\n")
    deliver(hours.shift(HOUR, -4), "b.jsonl")
    assert planned(lake, own=HOUR) == [hours.shift(HOUR, -2), hours.shift(HOUR, -1)]
    assert planned(lake, own=HOUR, first=HOUR) == []
    assert planned(lake, own=HOUR, recheck=4)[0] == hours.shift(HOUR, -4)


def test_an_earlier_hour_without_objects_waits_for_its_own_run(lake: Lake) -> None:
    deliver(hours.shift(HOUR, -1))
    assert planned(lake, own=HOUR) == [hours.shift(HOUR, -1), HOUR]


def test_an_hour_whose_objects_are_gone_is_taken_again(lake: Lake) -> None:
    recent = hours.of(datetime.now(UTC) - timedelta(days=2))
    earlier = hours.shift(recent, -1)
    deliver(earlier)
    publish(lake, earlier)
    boto3.resource("s3").Bucket("taxiway-lake").objects.all().delete()
    assert planned(lake, own=recent) == [earlier, recent]


def test_an_hour_whose_objects_retention_has_deleted_stays(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    old = hours.of(datetime.now(UTC) - timedelta(days=31))
    deliver(old)
    publish(lake, old)
    assert planned(lake, old, again=True) == [old], "old, and all is there"
    boto3.resource("s3").Bucket("taxiway-lake").objects.all().delete()
    sentence = f"The hour {old} was built from objects that are not kept any more: it stays as it is published."
    for again in (False, True):
        with pytest.raises(PlanError, match=sentence):
            planned(lake, old, again=again)
        with pytest.raises(PlanError, match=sentence):
            planned(lake, own=old, again=again)
    assert planned(lake, own=hours.shift(old, 1)) == [hours.shift(old, 1)], "a later run takes its own hour"
    assert planned(lake, waiting={old, HOUR}, again=True) == [HOUR], "what waits for a key is taken if it can be"
    assert f"The hour {old} stays as it is published: its objects are not kept any more." in caplog.messages
    nothing = hours.shift(old, -5)
    publish(lake, nothing)
    assert planned(lake, nothing, again=True) == [nothing], "it never had any"


def test_hours_are_not_built_from_a_part_of_their_records() -> None:
    gone = {"2026-01-10-05"}
    plan.require_arrivals(["2026-01-11-07", "2026-01-06-04"], gone)
    for hour in (
        "2026-01-11-06",
        "2026-01-06-05",
    ):  # an event of the hour after, and of the hours before, is a duplicate
        with pytest.raises(
            PlanError, match=f"The hour {hour} cannot be built again, as records that arrived in 2026-01-1"
        ):
            plan.require_arrivals([hour], gone)


def test_staged_records_are_kept_as_long_as_a_replay_may_need_them() -> None:
    now = datetime.now(UTC)
    objects, *longer = (rule_of(each.contract).begins(now) for each in (OBJECT, STAGED, QUARANTINE))
    assert objects
    # Of an arrival, events that are late; hours that may hold their duplicates, which are built again, and the
    # duplicates of those; a clock that is ahead.
    needed = timedelta(hours=late_hours() + 2 * duplicate_hours() + 1)
    assert all(each and objects - each > needed for each in longer)


def test_what_is_no_data_counts_for_nothing(lake: Lake) -> None:
    for name in ("_SUCCESS", ".a.crc", "a.jsonl._COPYING_", "_temporary/b.jsonl"):
        deliver(HOUR, name)
    deliver(HOUR, "empty.jsonl", b"")
    listing, _ = plan.list_objects(boto3.client("s3"), "s3://taxiway-lake", HOUR)
    assert listing.uris == ()


def test_the_hours_of_the_parameter_are_taken_in_order_and_no_others(lake: Lake) -> None:
    deliver(hours.shift(HOUR, -1))
    assert planned(lake, *hours.expand(["2026-01-31-09", "2026-01-31-02/2026-01-31-03"]), own=HOUR) == [
        "2026-01-31-02",
        "2026-01-31-03",
        "2026-01-31-09",
    ]


def test_a_run_without_an_hour_says_what_it_needs(lake: Lake) -> None:
    with pytest.raises(PlanError, match="no logical date: give it the parameter hours, such as 2026-01-31-07"):
        planned(lake)


def test_an_hour_that_has_not_ended_by_s3s_clock_is_not_taken(lake: Lake) -> None:
    ahead = hours.of(datetime.now(UTC) + timedelta(hours=1))  # what a clock that is an hour ahead asks for
    with pytest.raises(TooEarlyError, match=rf"The hour {ahead} has not ended: S3's clock says 20.* correct the clock"):
        planned(lake, own=ahead, recheck=0)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("2026-02-30-07", "'2026-02-30-07' is not an hour: write it as YYYY-MM-DD-HH, for example 2026-01-31-07."),
        ("2026-01-31", "'2026-01-31' is not an hour: write it as"),
        ("2026-01-31-07/2026-01-31-06", "ends before it begins: write the earlier hour first."),
        ("2020-01-01-00/2026-01-31-06", "hours: ask for at most 744 at once."),
    ],
)
def test_what_is_no_hour_or_range_is_one_sentence(given: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        hours.expand([given])
    assert sentence in str(caught.value)


def test_batches_are_of_about_one_size_and_lose_no_hour() -> None:
    sizes = {f"2026-01-31-{hour:02}": size for hour, size in enumerate([5, 0, 5, 100, 5, 5, 0, 80])}
    assert plan.by_size(1000, 16)(sizes) == [sorted(sizes)]
    divided = plan.by_size(60, 16)(sizes)
    assert [hour for batch in divided for hour in batch] == sorted(sizes)
    assert len(divided) == 3
    assert max(sum(sizes[hour] for hour in batch) for batch in divided) == 110
    assert len(plan.by_size(1, 3)(sizes)) == 3
    assert plan.by_size(1, 3)(dict.fromkeys(sizes, 0)) == [sorted(sizes)]
    assert plan.by_size(1, 3)({}) == []


def converted(hour: str, *events: str) -> Converted:
    return Converted(
        hour=hour,
        version="v.1",
        inputs="aa",
        objects=1,
        bytes=1,
        records=len(events),
        staged=dict.fromkeys(events, 1),
        quarantined={},
        keys_missing={},
    )


def test_hours_of_events_are_built_that_arrivals_touch_or_touched_before() -> None:
    late = hours.shift(HOUR, -70)
    assert plan.hours_to_build([converted(HOUR, late, HOUR)], [hours.shift(HOUR, -2)], []) == [
        late,
        hours.shift(HOUR, -2),
        HOUR,
    ]
    assert plan.hours_to_build([converted(HOUR)], [], []) == [HOUR], "an hour is published even if it has no events"


def test_hours_near_that_hold_later_arrivals_are_built_for_their_duplicates() -> None:
    near, far = hours.shift(HOUR, 24), hours.shift(HOUR, 25)
    assert plan.hours_to_build([converted(HOUR, HOUR)], [], [near, far]) == [HOUR, near]
    assert plan.hours_to_build([converted(HOUR)], [hours.shift(HOUR, 1)], [far]) == [HOUR, hours.shift(HOUR, 1), far]


def test_a_plan_names_the_version_of_its_batches(lake: Lake) -> None:
    (batch,) = plan.plan_run(
        [HOUR], None, lake, boto3.client("s3"), recheck=0, again=False, batches=ONE_BATCH, first=HOUR
    )
    assert batch == Batch(plan=batch["plan"], hours=[HOUR])
    assert datetime.strptime(batch["plan"], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC) <= datetime.now(UTC)
