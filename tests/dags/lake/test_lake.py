"""Versions of the lake's partitions: written, published, taken back, deleted; on moto's S3 and Glue over HTTP."""

import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxiway import lake as lakes
from taxiway.core import contracts
from taxiway.core.settings import Settings
from taxiway.hvfhv.tables import POPULAR_ZONES, QUARANTINE, RISING_ZONES, TABLES, TREND, TRIPS
from taxiway.lake import Lake, LakeError, Publication, TableSet, store
from taxiway.lake.__main__ import main
from taxiway.lake.glue import GlueCatalogue

MONTH = "2023-01"
FIRST, SECOND, THIRD = (f"20261121T10111{second}000000Z" for second in (1, 2, 3))


@pytest.fixture
def lake(aws: str) -> Lake:
    lake = Lake(Settings(kept_versions=2), boto3.Session(), TABLES)
    lake._s3.create_bucket(Bucket="taxiway-lake")
    return lake


def write(lake: Lake, table: lakes.Table, version: str, *, month: str = MONTH, rows: Sequence[int] = (1,)) -> str:
    """Write a version of a partition, a file for each number of rows; return its folder."""
    location = lake.location(table, month, version)
    bucket, _, key = location.removeprefix("s3://").partition("/")
    for number, count in enumerate(rows):
        file = io.BytesIO()
        pq.write_table(pa.table({"zone_id": pa.array(range(count), pa.int32())}), file)
        lake._s3.put_object(Bucket=bucket, Key=f"{key}/part-{number}.parquet", Body=file.getvalue())
    return location


def publication(lake: Lake, version: str, tables: Iterable[lakes.Table] = TABLES, inputs: str = "aa") -> Publication:
    """Write versions of some tables; return their publication."""
    locations = {table.name: write(lake, table, version) for table in tables}
    return Publication(period=MONTH, inputs=inputs, locations=locations, rows=dict.fromkeys(locations, 7))


def published(lake: Lake) -> dict[str, str]:
    """Return the plan and try that readers see of each table."""
    partitions = {table.name: lake.partition(table, MONTH) for table in TABLES}
    return {name: partition.version for name, partition in partitions.items() if partition}


def test_nothing_is_published_of_an_empty_lake(lake: Lake) -> None:
    assert lake.partition(TRIPS, MONTH) is None
    assert lake.partitions(TRIPS) == {}


def test_a_month_is_published_with_what_it_was_made_from(lake: Lake) -> None:
    moved = lake.publish(publication(lake, f"{FIRST}.1"), "run 1")

    assert moved == [table.name for table in TABLES]
    assert set(published(lake).values()) == {f"{FIRST}.1"}
    assert list(lake.partitions(TRIPS)) == [MONTH]
    partition = lake.partition(TRIPS, MONTH)
    assert partition
    assert partition.location == f"s3://taxiway-lake/curated/hvfhv_trips/year=2023/month=01/version={FIRST}.1"
    assert {name: partition.parameters[name] for name in ("inputs", "rows", "run_id", "anchor_version")} == {
        "inputs": "aa",
        "rows": "7",
        "run_id": "run 1",
        "anchor_version": f"{FIRST}.1",
    }
    age = datetime.now(UTC) - datetime.fromisoformat(partition.parameters["published_at"])
    assert timedelta(seconds=-1) < age < timedelta(minutes=1)


def test_tables_are_ready_for_query_engines(lake: Lake) -> None:
    lake.publish(publication(lake, f"{FIRST}.1"), "run")
    table = boto3.client("glue").get_table(DatabaseName="taxiway", Name="hvfhv_trend")["Table"]

    assert [key["Name"] for key in table["PartitionKeys"]] == ["year", "month"]
    assert table["StorageDescriptor"]["Columns"][:3] == [
        {"Name": "company", "Type": "string"},
        {"Name": "trips", "Type": "bigint"},
        {"Name": "wait_s_mean", "Type": "double"},
    ]
    assert table["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"].endswith("ParquetHiveSerDe")
    assert table["Parameters"]["classification"] == "parquet"


def test_a_changed_table_definition_reaches_the_catalogue(lake: Lake) -> None:
    lake.publish(publication(lake, f"{FIRST}.1"), "run")
    glue = boto3.client("glue")
    old = glue.get_table(DatabaseName="taxiway", Name=TREND.name)["Table"]
    fewer = {**old["StorageDescriptor"], "Columns": old["StorageDescriptor"]["Columns"][:-1]}
    glue.update_table(DatabaseName="taxiway", TableInput={"Name": TREND.name, "StorageDescriptor": fewer})

    lake.publish(publication(lake, f"{SECOND}.1"), "run")

    columns = glue.get_table(DatabaseName="taxiway", Name=TREND.name)["Table"]["StorageDescriptor"]["Columns"]
    assert [column["Name"] for column in columns] == list(TREND.columns)


def test_partitions_of_version_0_1_are_carried_over(lake: Lake) -> None:
    """They call the anchor's version that of the trips: the next publication, and a roll-back to them, know it."""
    lake.publish(publication(lake, f"{FIRST}.1", inputs="aa"), "run 1")
    glue = boto3.client("glue")
    for table in TABLES:
        where = {"DatabaseName": "taxiway", "TableName": table.name}
        old = glue.get_partition(**where, PartitionValues=["2023", "01"])["Partition"]
        parameters = {
            name.replace("anchor_version", "trips_version"): value for name, value in old["Parameters"].items()
        }
        new = {"Values": ["2023", "01"], "StorageDescriptor": old["StorageDescriptor"], "Parameters": parameters}
        glue.update_partition(**where, PartitionValueList=["2023", "01"], PartitionInput=new)

    lake.publish(publication(lake, f"{SECOND}.1", inputs="bb"), "run 2")
    lake.roll_back(MONTH)

    assert set(published(lake).values()) == {f"{FIRST}.1"}
    trips = lake.partition(TRIPS, MONTH)
    assert trips
    assert trips.processed_inputs == {"aa", "bb"}


def test_an_added_column_is_null_in_partitions_made_before_it(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Glue table has it at the next publication; a reader by the table's columns finds null in the old month."""
    lake.publish(publication(lake, f"{FIRST}.1"), "run")
    contract = Path(contracts.FOLDER, "hvfhv", "popular_zones.yaml").read_text()
    added = "    properties:\n      - {name: tips, logicalType: number, physicalType: double}\n"
    shutil.copytree(contracts.FOLDER / "hvfhv", tmp_path / "hvfhv")
    (tmp_path / "hvfhv/popular_zones.yaml").write_text(contract.replace("    properties:\n", added, 1))
    contracts.read.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(contracts, "FOLDER", tmp_path)
            later = Lake(lake.settings, lake.session, TableSet("hvfhv"))
            (popular,) = (table for table in later.tables if table.name == "hvfhv_popular_zones")
            assert "tips" in popular.columns
            new = publication(later, f"{FIRST}.1", list(later.tables))
            later.publish({**new, "period": "2023-02"}, "run")
    finally:
        contracts.read.cache_clear()

    table = boto3.client("glue").get_table(DatabaseName="taxiway", Name="hvfhv_popular_zones")["Table"]
    columns = [column["Name"] for column in table["StorageDescriptor"]["Columns"]]
    assert columns[0] == "tips"
    old = lake.partition(POPULAR_ZONES, MONTH)
    assert old
    rows = lake.read(old.location)
    assert "tips" not in rows.column_names
    assert rows.to_pylist() == [{"zone_id": 0}]


def test_another_pipelines_tables_are_published_by_day(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second pipeline is a folder of contracts: nothing that is shared knows it."""
    (tmp_path / "visits").mkdir()
    (tmp_path / "visits/pages.yaml").write_text(
        """
schema:
  - physicalName: visits_pages
    customProperties:
      - {property: path, value: curated/visits}
      - {property: publishOrder, value: 1}
      - {property: anchor, value: true}
    properties:
      - {name: page, logicalType: string, physicalType: string}
      - {name: year, logicalType: string, physicalType: string, partitioned: true, partitionKeyPosition: 1}
      - {name: month, logicalType: string, physicalType: string, partitioned: true, partitionKeyPosition: 2}
      - {name: day, logicalType: string, physicalType: string, partitioned: true, partitionKeyPosition: 3}
"""
    )
    monkeypatch.setattr(contracts, "FOLDER", tmp_path)
    visits = Lake(lake.settings, lake.session, TableSet("visits"))
    for version in (FIRST, SECOND):
        location = write(visits, visits.tables.anchor, f"{version}.1", month="2023-01-31")
        new = Publication(
            period="2023-01-31", inputs=version, locations={"visits_pages": location}, rows={"visits_pages": 1}
        )
        assert visits.publish(new, "run") == ["visits_pages"]

    (partition,) = visits.partitions(visits.tables.anchor).values()
    assert partition.period == "2023-01-31"
    assert partition.location.endswith(f"curated/visits/year=2023/month=01/day=31/version={SECOND}.1")
    visits.roll_back("2023-01-31")
    assert next(iter(visits.partitions(visits.tables.anchor).values())).version == f"{FIRST}.1"


def test_a_version_that_was_pruned_is_not_published(lake: Lake) -> None:
    """As by the task of an old run that somebody clears."""
    old = publication(lake, f"{FIRST}.1")
    lake.publish(publication(lake, f"{SECOND}.1"), "run 2")
    (gone, *_) = lake.data_files(old["locations"][TRIPS.name])
    lake._s3.delete_object(Bucket="taxiway-lake", Key=gone)
    before = published(lake)
    with pytest.raises(LakeError, match=r"version=20261121T101111000000Z\.1 has no files any more"):
        lake.publish(old, "run 1")
    assert published(lake) == before
    lake.publish({**old, "rows": {**old["rows"], TRIPS.name: 0}}, "run 1")  # there were none


def test_publishing_the_same_again_changes_nothing(lake: Lake) -> None:
    lake.publish(publication(lake, f"{FIRST}.1"), "run 1")
    again = publication(lake, f"{SECOND}.1")
    lake.publish(again, "run 2")
    before = {table.name: lake.partition(table, MONTH) for table in TABLES}

    assert lake.publish(again, "run 2, second try") == []
    assert {table.name: lake.partition(table, MONTH) for table in TABLES} == before


def test_a_publication_killed_half_way_is_finished_by_its_next_try(lake: Lake) -> None:
    lake.publish(publication(lake, f"{FIRST}.1"), "run 1")
    second = publication(lake, f"{SECOND}.1", inputs="bb")
    with _killed_after(moves=3):
        lake.publish(second, "run 2")
    trips = lake.partition(TRIPS, MONTH)
    assert trips
    assert trips.processed_inputs == {"aa"}, "the month must count as not analysed"

    lake.publish(second, "run 2")

    assert set(published(lake).values()) == {f"{SECOND}.1"}
    lake.roll_back(MONTH)
    assert set(published(lake).values()) == {f"{FIRST}.1"}


def test_a_roll_back_never_mixes_in_a_publication_that_was_never_finished(lake: Lake) -> None:
    lake.publish(publication(lake, f"{FIRST}.1"), "run 1")
    second = publication(lake, f"{SECOND}.1")
    with _killed_after(moves=3):
        lake.publish(second, "run 2")

    lake.publish(publication(lake, f"{THIRD}.1"), "run 3")
    lake.roll_back(MONTH)

    assert set(published(lake).values()) == {f"{FIRST}.1"}


@contextmanager
def _killed_after(moves: int) -> Iterator[None]:
    """Let the process die when that many partitions have moved."""
    move, count = GlueCatalogue.move, iter(range(moves))

    def mortal(*args: object, **keywords: object) -> None:
        if next(count, None) is None:
            raise KeyboardInterrupt
        move(*args, **keywords)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GlueCatalogue, "move", mortal)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize("period", ["", "2023", "2023-01-31", "2023-"])
def test_a_roll_back_of_no_partition_is_refused_in_a_sentence(lake: Lake, period: str) -> None:
    with pytest.raises(LakeError, match=r"names no partition of hvfhv: write year-month\."):
        lake.roll_back(period)


def test_a_roll_back_is_undone_by_another(lake: Lake) -> None:
    lake.publish(publication(lake, f"{FIRST}.1", inputs="aa"), "run 1")
    lake.publish(publication(lake, f"{SECOND}.1", inputs="bb"), "run 2")
    before = {table: lake.partition(table, MONTH) for table in TABLES}

    assert lake.roll_back(MONTH) == list(TABLES)

    taken_back = lake.partition(TRIPS, MONTH)
    assert taken_back
    assert (taken_back.version, taken_back.parameters["inputs"]) == (f"{FIRST}.1", "aa")
    assert taken_back.processed_inputs == {"aa", "bb"}, "what was taken back must not be analysed again by itself"
    lake.roll_back(MONTH)
    assert {table: lake.partition(table, MONTH) for table in TABLES} == before


def test_a_new_publication_ends_a_roll_back(lake: Lake) -> None:
    for version, inputs in ((f"{FIRST}.1", "aa"), (f"{SECOND}.1", "bb")):
        lake.publish(publication(lake, version, inputs=inputs), "run")
    lake.roll_back(MONTH)
    lake.publish(publication(lake, f"{THIRD}.1", inputs="cc"), "run 3")

    partition = lake.partition(TRIPS, MONTH)
    assert partition
    assert partition.processed_inputs == {"cc"}


def test_without_an_earlier_version_there_is_no_roll_back(lake: Lake) -> None:
    with pytest.raises(LakeError, match="2023-01 has no complete previous version"):
        lake.roll_back(MONTH)
    lake.publish(publication(lake, f"{FIRST}.1"), "run")
    with pytest.raises(LakeError, match="no complete previous version"):
        lake.roll_back(MONTH)
    assert set(published(lake).values()) == {f"{FIRST}.1"}


def test_rising_zones_published_alone_leave_the_months_earlier_version_to_go_back_to(lake: Lake) -> None:
    lake.publish(publication(lake, f"{FIRST}.1"), "run 1")
    lake.publish(publication(lake, f"{SECOND}.1"), "run 2")

    assert lake.publish(publication(lake, f"{THIRD}.1", [RISING_ZONES]), "run 3") == [RISING_ZONES.name]

    assert published(lake)[RISING_ZONES.name] == f"{THIRD}.1"
    assert published(lake)[TRIPS.name] == f"{SECOND}.1"
    lake.roll_back(MONTH)
    assert set(published(lake).values()) == {f"{FIRST}.1"}


def test_the_last_try_under_a_plan_is_taken(lake: Lake) -> None:
    for version in (f"{FIRST}.9", f"{FIRST}.10", f"{SECOND}.1"):
        write(lake, TREND, version)

    assert lake.attempt(TREND, MONTH, FIRST) == lake.location(TREND, MONTH, f"{FIRST}.10")
    with pytest.raises(LakeError, match=f"hvfhv_trend of 2023-01 has no version {THIRD} in s3://taxiway-lake/marts"):
        lake.attempt(TREND, MONTH, THIRD)


def test_rows_are_counted_and_read_over_all_files_of_a_folder(lake: Lake) -> None:
    location = write(lake, POPULAR_ZONES, f"{FIRST}.1", rows=(3, 0, 4))

    assert lake.count(location) == 7
    assert lake.count(f"{location}/part-2.parquet") == 4
    assert lake.read(location, ["zone_id"]).column(0).to_pylist() == [0, 1, 2, 0, 1, 2, 3]
    assert lake.schema(location) == pa.schema({"zone_id": pa.int32()})
    with pytest.raises(LakeError, match=r"version=none holds no Parquet file"):
        lake.count(lake.location(POPULAR_ZONES, MONTH, "none"))


def put_markers(lake: Lake, location: str) -> None:
    """Leave beside a version what writers leave: markers of folders, a commit's files, a checksum, a copy under way."""
    _, _, key = location.removeprefix("s3://").partition("/")
    file = io.BytesIO()
    pq.write_table(pa.table({"other": ["x"]}), file)
    for name in ("_temporary/0/task_1/part-9.parquet", "__magic/job-1/part-9.parquet", "part-9.parquet._COPYING_"):
        lake._s3.put_object(Bucket="taxiway-lake", Key=f"{key}/{name}", Body=file.getvalue())
    for name in ("/", "_$folder$", "/_SUCCESS", "/.part-0.parquet.crc", "/_temporary/", "/sub_$folder$", "/sub/"):
        lake._s3.put_object(Bucket="taxiway-lake", Key=f"{key}{name}", Body=b"")
    lake._s3.put_object(Bucket="taxiway-lake", Key=f"{key}/part-8.parquet", Body=b"")  # a folder of that name


def test_markers_and_files_of_a_commit_are_no_data(lake: Lake) -> None:
    location = write(lake, POPULAR_ZONES, f"{FIRST}.1", rows=(3, 4))
    put_markers(lake, location)
    put_markers(lake, lake.location(POPULAR_ZONES, MONTH, f"{FIRST}.2"))  # a try that was ended before it wrote data

    assert lake.count(location) == 7
    assert lake.read(location).num_rows == 7
    assert lake.schema(location) == pa.schema({"zone_id": pa.int32()})
    assert lake.attempt(POPULAR_ZONES, MONTH, FIRST) == location
    with pytest.raises(LakeError, match=r"version=.*\.2 holds no Parquet file"):
        lake.count(lake.location(POPULAR_ZONES, MONTH, f"{FIRST}.2"))


@pytest.mark.usefixtures("versions_of_last_week")
def test_markers_are_deleted_with_their_version_and_keep_no_place(lake: Lake) -> None:
    versions = [f"2026112{number}T000000000000Z.1" for number in range(4)]
    for version in versions:
        lake.publish(publication(lake, version), "run")
        put_markers(lake, lake.location(TRIPS, MONTH, version))
    put_markers(lake, lake.location(TRIPS, MONTH, f"{versions[2]}0"))  # never written to; a name that begins alike
    beside = lake.location(TRIPS, MONTH, "20261120T000000000000Z.7")
    lake._s3.put_object(Bucket="taxiway-lake", Key=f"{beside.removeprefix('s3://taxiway-lake/')}_$folder$", Body=b"")

    deleted = lake.prune(MONTH)

    assert left(lake, TRIPS) == versions[2:]
    assert {beside, lake.location(TRIPS, MONTH, f"{versions[2]}0")} <= set(deleted)
    kept = [found["Key"] for found in lake._objects(lake.location(TRIPS, MONTH, ""))]
    assert all(f"version={versions[2]}" in key or f"version={versions[3]}" in key for key in kept)
    assert any(key.endswith(f"version={versions[2]}_$folder$") for key in kept)
    assert lake.count(lake.location(TRIPS, MONTH, versions[2])) == 1


def test_counting_rows_reads_no_data(lake: Lake) -> None:
    table = pa.table({"zone_id": pa.array(range(1_000_000), pa.int32())})
    file = io.BytesIO()
    pq.write_table(table, file, compression="none", use_dictionary=False)
    content = bytearray(file.getvalue())
    content[4 : 4 + 3_000_000] = bytes(3_000_000)  # the data, not the footer
    lake._s3.put_object(Bucket="taxiway-lake", Key="broken/part-0.parquet", Body=bytes(content))

    assert lake.count("s3://taxiway-lake/broken") == 1_000_000
    with pytest.raises(Exception, match=r"Parquet|page|Couldn't"):
        lake.read("s3://taxiway-lake/broken")


@pytest.fixture
def versions_of_last_week(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what the test writes look written a week ago: moto dates objects by its own clock."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "datetime":  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=7)

    monkeypatch.setattr(store, "datetime", Later)


def left(lake: Lake, table: lakes.Table) -> list[str]:
    return sorted(lakes.version_of(folder) for folder in lake._versions(table, MONTH))


@pytest.mark.usefixtures("versions_of_last_week")
def test_old_versions_are_deleted(lake: Lake) -> None:
    for number in range(4):
        lake.publish(publication(lake, f"2026112{number}T000000000000Z.1"), "run")

    deleted = lake.prune(MONTH)

    assert left(lake, TRIPS) == ["20261122T000000000000Z.1", "20261123T000000000000Z.1"]
    assert len(deleted) == 2 * len(TABLES)
    assert lake.prune(MONTH) == []


@pytest.mark.usefixtures("versions_of_last_week")
def test_what_older_runs_left_is_deleted(lake: Lake) -> None:
    lake.publish(publication(lake, f"{FIRST}.1"), "run")
    lake.publish(publication(lake, f"{SECOND}.1"), "run")
    write(lake, QUARANTINE, f"{THIRD}.1")  # never published

    assert lake.prune(MONTH) == [lake.location(QUARANTINE, MONTH, f"{THIRD}.1")]
    assert left(lake, QUARANTINE) == [f"{FIRST}.1", f"{SECOND}.1"]


@pytest.mark.usefixtures("versions_of_last_week")
def test_versions_of_a_table_that_is_never_published_stay_while_they_are_in_use(lake: Lake) -> None:
    for version in (FIRST, SECOND, THIRD):
        write(lake, TRIPS, f"{version}.1")
    assert lake.prune_unpublished(TRIPS, MONTH, {f"{SECOND}.1"}) == [
        lake.location(TRIPS, MONTH, f"{version}.1") for version in (FIRST, THIRD)
    ]
    assert left(lake, TRIPS) == [f"{SECOND}.1"]


def test_versions_of_today_may_still_be_written_to(lake: Lake) -> None:
    write(lake, TRIPS, f"{FIRST}.1")
    assert lake.prune_unpublished(TRIPS, MONTH, set()) == []


@pytest.mark.usefixtures("versions_of_last_week")
def test_what_is_published_or_can_be_gone_back_to_is_never_deleted(lake: Lake) -> None:
    lake.publish(publication(lake, f"{FIRST}.1"), "run")
    lake.publish(publication(lake, f"{THIRD}.1"), "run")
    lake.roll_back(MONTH)
    for attempt in range(1, 5):
        write(lake, TRIPS, f"{SECOND}.{attempt}")
    lake.prune(MONTH)

    assert left(lake, TRIPS) == [f"{FIRST}.1", f"{THIRD}.1"]


def test_nothing_of_the_last_day_is_deleted(lake: Lake) -> None:
    for version in (f"{FIRST}.1", f"{SECOND}.1", f"{THIRD}.1"):
        lake.publish(publication(lake, version), "run")

    assert lake.prune(MONTH) == []


@pytest.mark.usefixtures("airflow_db")
def test_the_command_line_shows_and_takes_back(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    lake.publish(publication(lake, f"{FIRST}.1"), "run")
    assert main(["roll-back", MONTH]) == 1
    assert "no complete previous version" in capsys.readouterr().err
    lake.publish(publication(lake, f"{SECOND}.1"), "run")
    assert main(["roll-back", MONTH]) == 0
    assert f"{FIRST}.1 (rolled back)" in capsys.readouterr().out


# ── A table without partitions, published by itself ─────────────────────────────────────────────────────────────────

NAMES = TableSet("warehouse").sets[[table.name for table in TableSet("warehouse")].index("name_gender")]


def snapshot(lake: Lake, version: str, inputs: str = "aa") -> Publication:
    """Write a version of the whole table; return its publication."""
    location = write(lake, NAMES.anchor, version, month="")
    return Publication(period="", inputs=inputs, locations={"name_gender": location}, rows={"name_gender": 1})


def test_a_table_without_partitions_is_replaced_as_a_whole(lake: Lake) -> None:
    """It does not exist before its first publication; then one request moves the table's location."""
    names = Lake(lake.settings, lake.session, NAMES)
    assert names.partitions(NAMES.anchor) == {}
    assert names.partition(NAMES.anchor, "") is None

    assert names.publish(snapshot(names, f"{FIRST}.1"), "run 1") == ["name_gender"]
    names.annotate(NAMES.anchor, loaded_until="2026-11-21T10:11:11+00:00")
    assert names.publish(snapshot(names, f"{SECOND}.1", inputs="bb"), "run 2") == ["name_gender"]

    table = boto3.client("glue").get_table(DatabaseName="taxiway", Name="name_gender")["Table"]
    assert table["PartitionKeys"] == []
    assert table["StorageDescriptor"]["Location"] == f"s3://taxiway-lake/raw/warehouse/name_gender/version={SECOND}.1"
    assert table["Parameters"]["loaded_until"] == "2026-11-21T10:11:11+00:00", "what is said of the table stays"
    published = names.partitions(NAMES.anchor)[""]
    assert (published.period, published.version, published.processed_inputs) == ("", f"{SECOND}.1", {"bb"})

    names.roll_back("")
    taken_back = names.partition(NAMES.anchor, "")
    assert taken_back
    assert (taken_back.version, taken_back.processed_inputs) == (f"{FIRST}.1", {"aa", "bb"})
    with pytest.raises(LakeError, match="leave it out, as the table has no partitions"):
        names.roll_back("2023-01")
    names.publish(snapshot(names, f"{THIRD}.1", inputs="cc"), "run 3")
    forward = names.partition(NAMES.anchor, "")
    assert forward
    assert forward.processed_inputs == {"cc"}


def test_old_versions_of_a_table_without_partitions_are_deleted(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Lake(lake.settings, lake.session, NAMES)
    for version in (FIRST, SECOND, THIRD):
        names.publish(snapshot(names, f"{version}.1", inputs=version), "run")
    assert names.prune("") == [], "a reader may still read them"
    monkeypatch.setattr(store, "timedelta", lambda days: timedelta(days=-days))
    assert [location.rpartition("=")[2] for location in names.prune("")] == [f"{FIRST}.1"]


def test_the_command_rolls_back_one_table_of_those_published_alone(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "taxiway.lake.__main__.open_lake", lambda settings, tables: Lake(settings, lake.session, tables)
    )
    names = Lake(lake.settings, lake.session, NAMES)
    for version in (FIRST, SECOND):
        names.publish(snapshot(names, f"{version}.1", inputs=version), "run")
    assert main(["--pipeline", "warehouse", "roll-back"]) == 1
    assert "publishes each table by itself: name one by --table, of experiment_assignments" in capsys.readouterr().err
    assert main(["--pipeline", "warehouse", "roll-back", "--table", "name_gender"]) == 0
    assert f"version={FIRST}.1 (rolled back)" in capsys.readouterr().out
