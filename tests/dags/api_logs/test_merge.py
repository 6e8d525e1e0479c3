"""Hours of events and the quarantine: duplicates, late records, order of runs, memory."""

import json
import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from taxiway.api_logs import hours, merge, records
from taxiway.api_logs.envelope import read
from taxiway.api_logs.tables import EVENTS, QUARANTINE
from tests.dags.api_logs.test_convert import peak
from tests.dags.api_logs.world import World, folder_of, sealed_text

HOUR = "2026-01-31-07"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def events(world: World, hour: str) -> list[dict[str, Any]]:
    (file,) = world.folder("curated/api_events", hour).glob("part-*.parquet")
    found: list[dict[str, Any]] = pq.ParquetFile(file).read().to_pylist()
    return found


def quarantined(world: World, hour: str) -> list[dict[str, Any]]:
    (file,) = world.folder("quarantine/api_events", hour).glob("*.parquet")
    found: list[dict[str, Any]] = pq.ParquetFile(file).read().to_pylist()
    return found


def put(world: World, hour: str, name: str, *given: tuple[str, str]) -> None:
    """Deliver records of an id and a time in an object."""
    sealer = world.server.sealer()
    world.put(hour, name, b"\n".join(sealer.seal(sealed_text({}, id=id_, time=time)) for id_, time in given))


def test_the_earliest_object_and_offset_win(world: World) -> None:
    put(world, HOUR, "b.jsonl", ("1", "2026-01-31T07:00:00Z"))
    put(world, HOUR, "a.jsonl", ("1", "2026-01-31T07:59:00Z"), ("1", "2026-01-31T07:30:00Z"))
    put(world, hours.shift(HOUR, 1), "0.jsonl", ("1", "2026-01-31T08:00:00Z"), ("2", "2026-01-31T07:00:00Z"))
    assert world.run() == {"duplicate": 3}
    (first, second) = events(world, HOUR)
    assert (first["event_id"], second["event_id"]) == ("2", "1")  # in the order of their times
    assert (second["source_object"][-7:], second["offset"]) == ("a.jsonl", 0)
    assert events(world, hours.shift(HOUR, 1)) == []
    assert [(row["source_object"][-7:], row["offset"] > 0) for row in quarantined(world, HOUR)] == [
        ("a.jsonl", True),
        ("b.jsonl", False),
    ]
    for row in quarantined(world, HOUR):
        assert row["reject_reason"] == "duplicate"
        assert row["key_id"] == world.server.key_id
        assert json.loads(world.server.opener().open(read(row["ciphertext"].encode())))["id"] == "1"


@pytest.mark.parametrize(
    ("time", "duplicates"),
    [("2026-02-01T07:00:00Z", 1), ("2026-02-01T07:00:00.000001Z", 0), ("2026-01-31T07:00:00Z", 1)],
)
def test_an_id_may_come_again_after_a_day(world: World, time: str, duplicates: int) -> None:
    put(world, HOUR, "a.jsonl", ("1", "2026-01-31T07:00:00Z"))
    put(world, "2026-02-01-07", "a.jsonl", ("1", time))
    assert world.run()["duplicate"] == duplicates


def test_one_that_arrives_later_and_occurred_before_is_the_duplicate(world: World) -> None:
    put(world, HOUR, "a.jsonl", ("1", "2026-01-31T07:30:00Z"))
    put(world, hours.shift(HOUR, 20), "a.jsonl", ("1", "2026-01-30T23:00:00Z"))
    assert world.run() == {"duplicate": 1}
    assert len(events(world, HOUR)) == 1
    assert events(world, "2026-01-30-23") == []


def test_late_records_rebuild_their_hour_up_to_72_hours(world: World) -> None:
    put(world, HOUR, "a.jsonl", ("1", "2026-01-31T07:30:00Z"))
    put(world, hours.shift(HOUR, 72), "a.jsonl", ("2", "2026-01-31T07:00:00Z"))
    put(world, hours.shift(HOUR, 73), "a.jsonl", ("3", "2026-01-31T07:00:00Z"))
    assert world.run() == {"late": 1}
    assert [row["event_id"] for row in events(world, HOUR)] == ["2", "1"]


def test_an_hour_is_the_same_whatever_the_order_of_conversions(world: World) -> None:
    random.seed(7)
    for by in range(5):
        given_ = [
            (str(random.randrange(30)), f"2026-01-31T{7 + random.randrange(by + 1):02}:30:00Z") for _ in range(20)
        ]
        put(world, hours.shift(HOUR, by), "a.jsonl", *given_)
    world.run()
    files = {file: file.read_bytes() for file in world.lake.rglob("*.parquet") if "staged" not in file.parts}
    for hour in reversed(world.arrivals()):
        world.convert(hour)
    for hour in reversed(world.arrivals()):
        world.build([hour])
    for hour in reversed(world.arrivals()):
        world.quarantine(hour)
    again = {file: file.read_bytes() for file in world.lake.rglob("*.parquet") if "staged" not in file.parts}
    assert again == files


def test_an_hour_without_events_is_an_empty_partition(world: World) -> None:
    world.convert(HOUR)
    assert world.build([HOUR]) == {HOUR: {"records": 0, "duplicates": {}}}
    assert world.quarantine(HOUR) == {}
    assert events(world, HOUR) == quarantined(world, HOUR) == []
    (file,) = world.folder("curated/api_events", HOUR).glob("part-*.parquet")
    assert pq.read_schema(file).equals(records.schema(EVENTS))
    (file,) = world.folder("quarantine/api_events", HOUR).glob("*.parquet")
    assert pq.read_schema(file).equals(records.schema(QUARANTINE))


def test_a_staged_file_that_is_gone_is_no_empty_hour(world: World) -> None:
    put(world, HOUR, "a.jsonl", ("1", "2026-01-31T07:30:00Z"))
    world.convert(HOUR)
    next(world.folder("staged/api_events", HOUR).glob("event=*/*")).unlink()
    with pytest.raises(OSError, match="part-0"):
        world.build([HOUR])


def test_duplicates_lie_where_no_reader_of_the_table_looks(world: World) -> None:
    put(world, HOUR, "a.jsonl", ("1", "2026-01-31T07:30:00Z"), ("1", "2026-01-31T07:30:00Z"))
    world.run()
    from taxiway.core.s3 import is_data_file

    names = [file.name for file in world.folder("curated/api_events", HOUR).iterdir()]
    assert sorted(names) == ["_duplicates.parquet", "part-0.parquet"]
    assert [name for name in names if is_data_file(name, 1)] == ["part-0.parquet"]


def test_files_are_written_as_the_contract_says(world: World) -> None:
    put(world, HOUR, "a.jsonl", ("1", "2026-01-31T07:30:00Z"))
    world.run()
    (file,) = world.folder("curated/api_events", HOUR).glob("part-*.parquet")
    codec = pq.ParquetFile(file).metadata.row_group(0).column(0).compression
    assert codec.lower() == EVENTS.contract.properties["compression"]


deliveries = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(0, 5 * 30), st.sampled_from("abc")), max_size=25
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(deliveries)
def test_duplicates_are_those_of_the_definition(tmp_path_factory: pytest.TempPathFactory, given_: list[Any]) -> None:
    """The rule word by word, over all pairs."""
    folder = tmp_path_factory.mktemp("merge")
    begin = datetime(2026, 1, 31)  # noqa: DTZ001
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for arrival, late, minutes, event_id in given_:
        hour = hours.shift("2026-01-31-00", arrival)
        occurred = begin + timedelta(hours=arrival - late, minutes=minutes % 60)
        source = f"raw/api_logs/{folder_of(hour)}/{'xyz'[minutes % 3]}.jsonl"
        event_hour = f"{occurred:%Y-%m-%d-%H}"
        place = rows.setdefault((hour, event_hour, source), [])
        place.append({"event_id": event_id, "occurred_at": occurred, "source_object": source})
    flat: list[dict[str, Any]] = []
    staged: dict[str, list[str]] = {}
    by_folder: dict[tuple[str, str], list[dict[str, Any]]] = {}
    numbers: Counter[str] = Counter()
    for (hour, event_hour, source), found in rows.items():
        for row in found:
            row["offset"] = numbers[source]
            numbers[source] += 1
            flat.append(row)
            by_folder.setdefault((hour, event_hour), []).append(row)
    for (hour, event_hour), found in by_folder.items():
        path = folder / "staged" / hour / f"event={event_hour}"
        path.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(found, records.schema(EVENTS)), path / "part-0.parquet")
        staged.setdefault(event_hour, []).append(str(path))
    targets = {hour: str(folder / "out" / hour) for hour in staged}
    merge.build_hours(targets, staged, files=LocalFileSystem(), scratch_dir=str(folder))
    kept = {
        (row["source_object"], row["offset"])
        for target in targets.values()
        for row in pq.ParquetFile(f"{target}/part-0.parquet").read().to_pylist()
    }

    def is_duplicate(one: dict[str, Any]) -> bool:
        return any(
            other["event_id"] == one["event_id"]
            and (other["source_object"], other["offset"]) < (one["source_object"], one["offset"])
            and abs(other["occurred_at"] - one["occurred_at"]) <= timedelta(hours=24)
            for other in flat
        )

    assert kept == {(row["source_object"], row["offset"]) for row in flat if not is_duplicate(row)}


@pytest.mark.slow
def test_memory_does_not_depend_on_the_number_of_events(world: World) -> None:
    """A million events of an hour, one id in every twentieth: no step is quadratic, and the limit holds."""
    count, half = 1_000_000, 500_000
    for number, hour in enumerate((HOUR, hours.shift(HOUR, 1))):
        path = world.folder("staged/api_events", hour) / f"event={HOUR}"
        path.mkdir(parents=True)
        source = f"raw/api_logs/{folder_of(hour)}/a.jsonl"
        with pq.ParquetWriter(path / "part-0.parquet", records.schema(EVENTS), compression="zstd") as writer:
            for begin in range(0, half, 100_000):
                ids = [
                    f"id-{n}" if n % 10 else "same" if n % 20 else f"twice-{n}" for n in range(begin, begin + 100_000)
                ]
                ids = [each if each[:2] != "id" else f"{each}-{number}" for each in ids]
                columns = {
                    "event_id": ids,
                    "occurred_at": [datetime(2026, 1, 31, 7, n % 60) for n in range(100_000)],  # noqa: DTZ001
                    "page": [f"{n * 2654435761 % 4294967296:x}" * 4 for n in range(begin, begin + 100_000)],
                    "source_object": [source] * 100_000,
                    "offset": [*range(begin, begin + 100_000)],
                }
                nothing = [None] * 100_000
                table = pa.table(
                    [pa.array(columns.get(each.name, nothing), each.type) for each in records.schema(EVENTS)],
                    schema=records.schema(EVENTS),
                )
                writer.write_table(table)
    _, bytes_ = peak(world, HOUR, "world.build([hour])")
    same, twice = 2 * half // 20, half // 20
    (file,) = world.folder("curated/api_events", HOUR).glob("part-*.parquet")
    assert pq.ParquetFile(file).metadata.num_rows == count - (same - 1) - twice
    assert bytes_ < 1_400_000_000
