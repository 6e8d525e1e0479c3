"""Incremental loads of a service's table: whatever happens there, the lake has what a rebuild from nothing has."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlalchemy as sa

from services.ride_ratings.history import create, play
from services.ride_ratings.schema import experiment_assignments, ride_ratings
from taxiway.core.databases import open_engine
from taxiway.core.settings import Settings
from taxiway.lake import Lake, Publication
from taxiway.lake.source import SourceError
from taxiway.lake.tables import Table
from taxiway.warehouse import incremental
from taxiway.warehouse.incremental import MarkError, window
from taxiway.warehouse.loads import Loaded
from taxiway.warehouse.service import ConditionError, ServiceTable
from taxiway.warehouse.settings import WarehouseSettings
from taxiway.warehouse.tables import REJECTED, alone, part_of, raw_tables
from tests.dags.catalogue.databases import mariadb

RATINGS = raw_tables()["ride_ratings"]
FIRST, LAST = datetime(2023, 1, 1), datetime(2023, 4, 1)  # noqa: DTZ001
ALL = WarehouseSettings(sample_slices=1, compare_keys_days=0)  # every load compares everything
MARKS_ONLY = WarehouseSettings(sample_slices=10_000, compare_keys_days=366)


class Service:
    """The database of the service, and the table that is loaded from it."""

    def __init__(self, engine: sa.Engine, lake: Lake) -> None:
        self.engine, self.lake, self.loads = engine, lake, 0

    def load(self, table: Any = RATINGS, publish: bool = True, **options: Any) -> Loaded:
        """Load and publish, as the DAG does."""
        self.loads += 1
        lake = replace(self.lake, tables=alone(table))
        version = f"20261121T1011{self.loads:02d}000000Z.1"
        loaded = incremental.load(lake, table, self.engine, version, **{"config": MARKS_ONLY, **options})
        for part in loaded["parts"] if publish else ():
            for each, period, location, count in (
                (REJECTED, f"{table.name}-{part_of(part['period'])}", part["rejected_location"], part["rejected"]),
                (table, part["period"], part["location"], part["accepted"]),
            ):
                publication = Publication(
                    period=period, inputs=part["inputs"], locations={each.name: location}, rows={each.name: count}
                )
                replace(lake, tables=alone(each)).publish(publication, "run")
        if publish:
            lake.annotate(table, **loaded["annotations"])
        return loaded

    def published(self, table: Any = RATINGS) -> list[dict[str, Any]]:
        """Return the rows that readers see, by month and key."""
        lake = replace(self.lake, tables=alone(table))
        return [row for part in lake.partitions(table).values() for row in lake.read(part.location).to_pylist()]

    def rejected(self, table: Any = RATINGS) -> list[dict[str, Any]]:
        """Return the rejected rows of the table that readers see."""
        lake = replace(self.lake, tables=alone(REJECTED))
        parts = [part for period, part in lake.partitions(REJECTED).items() if period.startswith(f"{table.name}-")]
        return [row for part in parts for row in lake.read(part.location).to_pylist()]

    def rows(self, table: sa.Table = ride_ratings) -> list[dict[str, Any]]:
        """Return the rows of the service that the contract accepts, in the order of the lake."""
        with self.engine.connect() as connection:
            found = [dict(row._mapping) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
        kept = [row for row in found if row.get("stars", 1)]
        return sorted(kept, key=lambda row: f"{row['created_at']:%Y-%m}")

    def same(self, ours: list[dict[str, Any]] | None = None) -> bool:
        """Return whether the lake has what the service has."""
        lake, service = self.published() if ours is None else ours, self.rows()
        names = list(RATINGS.columns)
        return [[row[name] for name in names] for row in lake] == [[row[name] for name in names] for row in service]

    def do(self, statement: Any) -> None:
        """Change something in the service."""
        with self.engine.begin() as connection:
            connection.execute(statement)


@pytest.fixture
def service(aws: str, tmp_path: Path) -> Service:
    """Return a service with a small history, and an empty lake."""
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    engine = open_engine(f"sqlite:///{tmp_path}/rides.db")
    create(engine, seed=1, rows=600, first=FIRST, last=LAST)
    return Service(engine, Lake(Settings(), boto3.Session(), alone(RATINGS)))


def test_the_first_load_takes_everything(service: Service) -> None:
    with service.engine.begin() as connection:
        connection.execute(ride_ratings.update().where(ride_ratings.c.rating_id == 7).values(stars=0))
        connection.execute(ride_ratings.update().where(ride_ratings.c.rating_id == 8).values(company="taxi"))
    loaded = service.load()
    assert [part["period"] for part in loaded["parts"]] == ["2023-01", "2023-02", "2023-03"]
    assert all(part["source"] == part["accepted"] + part["rejected"] for part in loaded["parts"])
    assert sum(part["source"] for part in loaded["parts"]) == 600
    reasons = {(row["row_key"], row["reject_reason"], row["reject_column"]) for row in service.rejected()}
    assert {('["7"]', "out_of_bounds", "stars"), ('["8"]', "not_allowed", "company")} <= reasons
    assert len(service.published()) + len(service.rejected()) == 600
    assert loaded["annotations"]["mark"] == max(row["modified_at"] for row in service.rows()).isoformat()
    again = service.load()
    assert again["parts"] == [], "the overlap is read again, and is what is published"


def test_what_the_mark_finds_is_merged_into_its_months(service: Service) -> None:
    service.load()
    before = service.lake.partitions(RATINGS)
    play(service.engine, seed=1, changes=60)
    service.do(ride_ratings.delete().where(ride_ratings.c.rating_id == 1))
    loaded = service.load()
    kinds = loaded["changes"]
    assert kinds["inserted"] > 0 < kinds["updated"]
    assert kinds["deleted"] > 0 == kinds["removed"] == kinds["repaired"]
    ours = {row["rating_id"]: row for row in service.published()}
    theirs = {row["rating_id"]: row for row in service.rows()}
    mark = max(part.parameters["published_at"] for part in before.values())
    assert mark
    changed = {key for key, row in theirs.items() if row["modified_at"] > LAST - timedelta(days=1)}
    assert all(ours[key]["stars"] == theirs[key]["stars"] for key in changed)
    assert 1 in ours, "no mark tells of a removed row"


def test_comparison_finds_what_marks_miss_and_a_rebuild_is_the_same_table(service: Service) -> None:
    service.load()
    counts = play(service.engine, seed=1, changes=120)
    assert counts["silent"], "the history has what is to be found"
    assert counts["removed"]
    loaded = service.load(config=ALL)
    assert loaded["changes"]["removed"] == counts["removed"]
    assert loaded["changes"]["repaired"] >= 1
    assert service.same()
    published, rejected = service.published(), service.rejected()
    service.load(rebuild=True)
    assert (service.published(), service.rejected()) == (published, rejected)


def test_a_removed_row_is_found_by_its_key_alone(service: Service) -> None:
    service.load()
    service.do(ride_ratings.delete().where(ride_ratings.c.rating_id.in_([5, 6, 400])))
    assert service.load(config=MARKS_ONLY)["changes"]["removed"] == 0
    loaded = service.load(config=WarehouseSettings(sample_slices=10_000, compare_keys_days=0))
    assert loaded["changes"]["removed"] == 3
    assert service.same()


def test_a_rejected_row_that_is_put_right_is_taken_and_the_other_way_round(service: Service) -> None:
    service.load()
    at = LAST + timedelta(hours=1)
    bad = ride_ratings.update().where(ride_ratings.c.rating_id == 20).values(stars=9, modified_at=at)
    service.do(bad)
    service.load()
    assert 20 not in {row["rating_id"] for row in service.published()}
    assert '["20"]' in {row["row_key"] for row in service.rejected()}
    service.do(ride_ratings.update().where(ride_ratings.c.rating_id == 20).values(stars=3, modified_at=at))
    service.load()
    assert 20 in {row["rating_id"] for row in service.published()}
    assert '["20"]' not in {row["row_key"] for row in service.rejected()}
    assert service.same()


def test_a_month_of_which_every_row_is_removed_is_empty(service: Service) -> None:
    service.load()
    service.do(ride_ratings.delete().where(ride_ratings.c.created_at < datetime(2023, 2, 1)))  # noqa: DTZ001
    service.load(config=ALL)
    assert min(row["created_at"] for row in service.published()).month == 2
    assert service.same()


def test_past_intervals_in_any_order_and_twice_give_the_same_table(service: Service) -> None:
    service.load()
    play(service.engine, seed=1, changes=100)
    service.load(config=ALL)
    published = service.published()
    days = [datetime(2023, 4, 1), datetime(2023, 2, 10), datetime(2023, 4, 1)]  # noqa: DTZ001
    for day in days:
        loaded = service.load(interval=(day, day + timedelta(days=1)))
        assert loaded["parts"] == []
        assert loaded["annotations"]["mark"] == max(row["modified_at"] for row in service.rows()).isoformat()
    assert service.published() == published


def test_a_month_that_was_rolled_back_is_read_again_when_it_changes(service: Service) -> None:
    service.load()
    key = ride_ratings.c.rating_id
    (march,) = [row["rating_id"] for row in service.rows() if row["created_at"].month == 3][:1]
    service.do(ride_ratings.update().where(key == march).values(stars=2, modified_at=LAST + timedelta(hours=1)))
    service.load()
    service.lake.roll_back("2023-03")
    assert service.load()["parts"] != [], "the overlap has the change"
    assert service.same()


def test_a_window_reaches_from_the_mark_or_over_an_interval_that_is_past() -> None:
    config = WarehouseSettings(overlap_minutes=60, safety_s=60)
    mark, now = datetime(2023, 4, 1, 12), datetime(2023, 4, 3)  # noqa: DTZ001
    newest, hour, day = now - timedelta(seconds=60), timedelta(hours=1), timedelta(days=1)
    assert window(mark, now, None, config) == incremental.Window(mark - hour, newest)
    past = (datetime(2023, 1, 1), datetime(2023, 1, 2))  # noqa: DTZ001
    assert window(mark, now, past, config) == incremental.Window(past[0] - hour, past[1])
    current = (datetime(2023, 4, 2), datetime(2023, 4, 3))  # noqa: DTZ001
    assert window(mark, now, current, config) == incremental.Window(mark - hour, newest), "no gap is left"
    assert window(mark + 3 * day, now, (now - day, now), config).end == newest


def test_a_composite_key_is_loaded_too(service: Service) -> None:
    table = raw_tables()["experiment_assignments"]
    service.load(table)
    service.do(experiment_assignments.delete().where(experiment_assignments.c.rider_id == 3))
    loaded = service.load(table, config=ALL)
    assert loaded["changes"]["removed"] == 1
    assert len(service.published(table)) == 59


def altered(service: Service, *statements: str) -> None:
    with service.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_bad_sources_are_refused_in_a_sentence(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.load()
    before = service.lake.partitions(RATINGS)
    ahead = (datetime.now(UTC) + timedelta(days=2)).replace(tzinfo=None)
    with monkeypatch.context() as patch:
        patch.setattr(ServiceTable, "now", ahead - timedelta(days=3))
        with pytest.raises(ConditionError, match=r"The clock of the source of ride_ratings is 86,400 s behind ours"):
            service.load()
    service.lake.annotate(RATINGS, mark=ahead.isoformat())
    with pytest.raises(MarkError, match=r"The mark of ride_ratings is .*, ahead of its source's clock"):
        service.load()
    service.load(rebuild=True)
    assert service.load()["annotations"]["mark"] == max(row["modified_at"] for row in service.rows()).isoformat()
    before = service.lake.partitions(RATINGS)
    service.lake.annotate(RATINGS, mark=LAST.isoformat())
    service.do(ride_ratings.update().values(modified_at=FIRST))
    with pytest.raises(ConditionError, match="modified_at of the source of ride_ratings does not move"):
        service.load()
    altered(service, "alter table ride_ratings rename column stars to points")
    with pytest.raises(SourceError, match="has no column 'stars', which the contract of ride_ratings asks for"):
        service.load()
    altered(service, "alter table ride_ratings rename to gone")
    with pytest.raises(SourceError, match="has no table 'ride_ratings'"):
        service.load()
    service.engine = open_engine("sqlite:////nowhere/rides.db")
    with pytest.raises(SourceError, match="'ride_service' cannot be read"):
        service.load()
    assert service.lake.partitions(RATINGS) == before


def test_a_contract_with_a_new_column(service: Service) -> None:
    service.load()
    altered(service, "alter table ride_ratings add column tip integer")
    contract = RATINGS.contract
    tip = replace(contract.columns["stars"], name="tip", source="tip", required=False, minimum=None, maximum=None)
    wider = Table("warehouse", "ride_ratings")
    vars(wider)["contract"] = replace(contract, columns={**contract.columns, "tip": tip})
    now = (datetime.now(UTC) - timedelta(minutes=5)).replace(tzinfo=None).isoformat(sep=" ")
    altered(service, f"update ride_ratings set tip = 3, modified_at = '{now}' where rating_id = 5")
    assert service.load(wider)["changes"]["updated"] == 1
    tips = {row["rating_id"]: row.get("tip") for row in service.published(wider)}
    assert {key for key, found in tips.items() if found} == {5}
    # Filled by a migration, without a new time of change.
    altered(service, "update ride_ratings set tip = 1 where rating_id > 5")
    assert service.load(wider, config=ALL)["changes"]["repaired"] > 500
    tips = {row["rating_id"]: row.get("tip") for row in service.published(wider)}
    assert all(found == 1 for key, found in tips.items() if key > 5)


def test_times_without_a_fraction_of_the_second(service: Service) -> None:
    """As SQLite's own CURRENT_TIMESTAMP writes them, between others that have one."""
    altered(
        service,
        "insert into ride_ratings select 9001, rider_id, company, pickup_zone_id, requested_at, 5, "
        "'2023-02-01 00:00:00', '2023-03-01 00:00:00', null from ride_ratings where rating_id = 5",
    )
    service.load()
    assert [row["stars"] for row in service.published() if row["rating_id"] == 9001] == [5]
    now = (datetime.now(UTC) - timedelta(minutes=5)).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
    altered(service, f"update ride_ratings set stars = 1, modified_at = '{now}' where rating_id = 9001")
    service.load()
    assert [row["stars"] for row in service.published() if row["rating_id"] == 9001] == [1], "once, in its month"
    assert service.load(config=ALL)["parts"] == []


LOOSE = (  # the same table without a key and constraints
    (
        "create table loose (rating_id bigint, rider_id bigint, company varchar(16), pickup_zone_id integer, "
        "requested_at datetime, stars integer, created_at datetime, modified_at datetime, deleted_at datetime)"
    ),
    "insert into loose select * from ride_ratings",
    "drop table ride_ratings",
    "alter table loose rename to ride_ratings",
)


def test_times_that_are_null_are_refused(service: Service) -> None:
    altered(
        service,
        *LOOSE,
        "update ride_ratings set modified_at = null where rating_id < 4",
    )
    with pytest.raises(ConditionError, match="modified_at is null in 3 rows of the source of ride_ratings"):
        service.load()


def test_values_of_another_type_and_keys_twice_are_rejected(service: Service) -> None:
    altered(
        service,
        *LOOSE,
        "update ride_ratings set stars = 'many' where rating_id = 11",
        "insert into ride_ratings select * from ride_ratings where rating_id = 12",
    )
    service.load()
    reasons = {(row["row_key"], row["reject_reason"], row["reject_column"]) for row in service.rejected()}
    assert {('["11"]', "wrong_type", "stars"), ('["12"]', "duplicate_key", None)} <= reasons
    assert [row["rating_id"] for row in service.published()].count(12) == 1


@pytest.fixture(scope="module")
def mysql() -> Iterator[str]:
    """Run a MySQL-compatible server; the URL of an empty database."""
    with mariadb() as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("create database rides character set utf8mb4")
        yield f"{url}/rides"


def test_mysql_is_loaded_as_sqlite_is(mysql: str, aws: str) -> None:
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    engine = open_engine(mysql)
    create(engine, seed=1, rows=600, first=FIRST, last=LAST)
    service = Service(engine, Lake(Settings(), boto3.Session(), alone(RATINGS)))
    service.load()
    play(engine, seed=1, changes=120)
    service.load(config=ALL)
    assert service.same()
