"""Served tables on SQLite and on a MySQL server: whole for readers at any time, and the same after any fault."""

import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from taxiway.core import databases
from taxiway.lake import Table
from taxiway.warehouse import target as module
from taxiway.warehouse.target import Checked, ServingError, Target, UnavailableError
from tests.dags.catalogue.databases import mariadb

SUMMARY, MONTHS = Table("warehouse", "zone_summary"), Table("warehouse", "zone_month")


def rows(table: Table, keys: Any, trips: int = 7) -> list[tuple[Any, ...]]:
    """Return a row a key, with a value of each kind: text, numbers, fractions without an end, nothing."""
    values: dict[str, Any] = {
        "zone_name": "Château d'Été 🚕",
        "borough": "Queens",
        "month": "2023-01",
        "trips": trips,
        "stars_mean": 13 / 3,
    }
    filled = []
    for key in keys:
        own = values | dict(zip(table.key, key if isinstance(key, tuple) else (key,), strict=True))
        kinds = {"bigint": 2**40, "double": 1 / 3, "int": 3, "string": "x"}
        filled.append(
            tuple(
                own.get(name, kinds[column.type] if column.required else None if column.type == "bigint" else 1 / 3)
                for name, column in table.contract.columns.items()
            )
        )
    return filled


@pytest.fixture(scope="module")
def mysql_url() -> Iterator[str]:
    with mariadb("--innodb-flush-method=nosync") as url:
        yield url


@pytest.fixture
def mysql_engine(mysql_url: str) -> sa.Engine:
    server = sa.create_engine(mysql_url, poolclass=sa.NullPool)
    with server.begin() as connection:
        connection.exec_driver_sql("drop database if exists rides")
        connection.exec_driver_sql("create database rides character set latin1")
    return databases.open_engine(server.url.set(database="rides"))


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> sa.Engine:
    if request.param == "sqlite":
        return databases.open_engine(f"sqlite:///{tmp_path}/service.db")
    found: sa.Engine = request.getfixturevalue("mysql_engine")
    return found


def serve(target: Target, wanted: list[tuple[Any, ...]], **options: bool) -> Checked:
    staged = target.stage(wanted, **options)
    assert staged
    target.swap(staged)
    return staged


def live(engine: sa.Engine, name: str = "zone_summary") -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return sorted(tuple(row) for row in connection.exec_driver_sql(f"select * from {name}"))


def tables(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


# ── A whole table ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_are_served_as_they_are(engine: sa.Engine) -> None:
    target, wanted = Target(engine, SUMMARY, batch=2), rows(SUMMARY, range(1, 8))

    staged = target.stage(wanted)
    assert staged is not None
    assert tables(engine) == {"zone_summary__next"}, "staged only: nobody sees it"
    target.swap(staged)

    assert live(engine) == wanted
    assert tables(engine) == {"zone_summary"}
    (key,) = [sa.inspect(engine).get_pk_constraint("zone_summary")["constrained_columns"]]
    assert key == ["zone_id"]


def test_again_the_same_rows_change_nothing(engine: sa.Engine) -> None:
    target = Target(engine, SUMMARY)
    serve(target, rows(SUMMARY, range(1, 8)))
    serve(target, rows(SUMMARY, range(1, 9)))

    assert target.stage(list(reversed(rows(SUMMARY, range(1, 9))))) is None, "in whatever order"
    assert live(engine, "zone_summary__previous") == rows(SUMMARY, range(1, 8)), "what a roll-back needs stays"


def test_a_roll_back_and_back_again(engine: sa.Engine) -> None:
    target, old, new = Target(engine, SUMMARY), rows(SUMMARY, range(1, 8)), rows(SUMMARY, range(1, 9))
    serve(target, old)
    with pytest.raises(ServingError, match="zone_summary has no previous version"):
        target.roll_back()
    serve(target, new)

    assert target.roll_back().rows == 7
    assert live(engine) == old
    with pytest.raises(ServingError, match="were rolled back"):
        target.stage(new)
    assert target.roll_back().rows == 8
    assert live(engine) == new
    target.roll_back()
    newest = rows(SUMMARY, range(1, 10))
    serve(target, newest)
    assert live(engine) == newest
    assert tables(engine) == {"zone_summary", "zone_summary__previous"}
    assert live(engine, "zone_summary__previous") == old


def test_a_view_of_an_application_shows_what_is_live(engine: sa.Engine) -> None:
    target = Target(engine, SUMMARY)
    serve(target, rows(SUMMARY, [1, 2]))
    with engine.begin() as connection:
        connection.exec_driver_sql("create view zones_now as select zone_id from zone_summary")
    serve(target, rows(SUMMARY, [1, 2, 3]))

    assert live(engine, "zones_now") == [(1,), (2,), (3,)]


def _read_on(url: str, ready: Any, stop: Any, found: Any) -> None:
    """Read the live table in a loop, in a process of its own; put the numbers of rows and trips that were seen."""
    seen, reads = set(), 0
    with sa.create_engine(url).connect() as connection:
        while not stop.is_set():
            got = connection.exec_driver_sql("select count(*), min(trips), max(trips) from zone_summary").one()
            connection.rollback()
            seen.add(tuple(got))
            reads += 1
            ready.set()
    found.put((seen, reads))


def test_readers_never_see_half_a_table(engine: sa.Engine) -> None:
    target = Target(engine, SUMMARY, batch=20)
    serve(target, rows(SUMMARY, range(1, 101), trips=0))
    spawn = multiprocessing.get_context("spawn")
    ready, stop, found = spawn.Event(), spawn.Event(), spawn.Queue()
    reader = spawn.Process(target=_read_on, args=(str(engine.url), ready, stop, found), daemon=True)
    reader.start()
    assert ready.wait(60)
    for number in range(1, 7):
        serve(target, rows(SUMMARY, range(1, 101 + number), trips=number))
    target.roll_back()
    stop.set()
    seen, reads = found.get(timeout=60)
    reader.join()

    assert {(low, high) for _, low, high in seen} <= {(number, number) for number in range(7)}
    assert {(count, low) for count, low, _ in seen} <= {(100 + number, number) for number in range(7)}
    assert reads > 1


def test_killed_between_stage_and_swap(engine: sa.Engine) -> None:
    target, old, new = Target(engine, SUMMARY), rows(SUMMARY, [1, 2]), rows(SUMMARY, [1, 2, 3])
    serve(target, old)
    staged = target.stage(new)
    assert staged

    assert live(engine) == old
    assert target.stage(new) == staged, "the stage can be done again"
    assert target.swap(staged) > 0
    assert target.swap(staged) == 0, "a try that was killed after the swap"
    assert live(engine) == new
    assert live(engine, "zone_summary__previous") == old


def test_killed_at_the_end_of_a_swap_after_a_roll_back(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    target, old, bad, new = Target(engine, SUMMARY), *(rows(SUMMARY, range(1, last)) for last in (7, 8, 9))
    serve(target, old)
    serve(target, bad)
    target.roll_back()
    staged, drop = target.stage(new), Target._drop
    assert staged
    with monkeypatch.context() as patch:
        patch.setattr(
            Target, "_drop", lambda self, suffix: 1 / 0 if suffix == module.ROLLED_BACK else drop(self, suffix)
        )
        with pytest.raises(ZeroDivisionError):
            target.swap(staged)

    assert live(engine) == new
    assert target.roll_back().rows == len(old), "it does not bring back what was rolled back before"
    assert target.roll_back().rows == len(new)
    assert target.swap(staged) == 0
    assert tables(engine) == {"zone_summary", "zone_summary__previous"}


def test_killed_while_staging(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    target, old, new = Target(engine, SUMMARY, batch=1), rows(SUMMARY, [1, 2]), rows(SUMMARY, [1, 2, 3])
    serve(target, old)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_batched", lambda parts, size: iter([list(parts)[:size], 1 / 0]) if size else None)
        with pytest.raises(ZeroDivisionError):
            target.stage(new)

    assert live(engine) == old
    serve(target, new)
    assert live(engine) == new


def test_what_another_run_staged_is_not_swapped_in(engine: sa.Engine) -> None:
    target, old = Target(engine, SUMMARY), rows(SUMMARY, [1, 2])
    serve(target, old)
    first = target.stage(rows(SUMMARY, [1, 2, 3]))
    second = target.stage(rows(SUMMARY, [1, 2, 3, 4]))
    assert first
    assert second

    with pytest.raises(ServingError, match=r"is staged with 4 rows .*, not with the 3 rows of this run"):
        target.swap(first)
    assert live(engine) == old
    target.swap(second)
    with pytest.raises(ServingError, match="zone_summary is not staged, not with the 3 rows of this run"):
        target.swap(first)


def test_two_at_once(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.2)
    first, second = Target(engine, SUMMARY), Target(engine, SUMMARY)
    with first._lock(), pytest.raises(UnavailableError, match="Another run is serving zone_summary: nothing was"):
        second.stage(rows(SUMMARY, [1]))
    serve(second, rows(SUMMARY, [1]))


def test_a_value_that_the_database_changes_is_seen(engine: sa.Engine) -> None:
    """Rows are compared after they were read back: a number that came back different must not be served."""
    target = Target(engine, SUMMARY)
    wanted = [tuple("5" if value == 7 else value for value in row) for row in rows(SUMMARY, [1])]
    with pytest.raises(ServingError, match="another checksum, not with the 1 rows of this run"):
        target.stage(wanted)
    assert "zone_summary" not in tables(engine)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ([], "The mart zone_summary has no rows"),
        (rows(SUMMARY, range(1, 50)), "has 49 rows, under half of the 99 that are served"),
    ],
    ids=["nothing", "under half"],
)
def test_a_loss_is_refused(engine: sa.Engine, wanted: list[Any], sentence: str) -> None:
    target, old = Target(engine, SUMMARY), rows(SUMMARY, range(1, 100))
    serve(target, old)

    with pytest.raises(ServingError, match=sentence):
        target.stage(wanted)
    assert live(engine) == old
    if wanted:
        serve(target, wanted, allow=True)
        assert live(engine) == wanted


@pytest.mark.parametrize(
    ("definition", "sentence"),
    [
        ("zone_id integer primary key, comment_text varchar(9)", "has a column comment_text that the mart's contract"),
        ("zone_id varchar(9) primary key", "has zone_id as VARCHAR.*, which the contract has as int"),
    ],
    ids=["column", "type"],
)
def test_a_target_of_another_schema(engine: sa.Engine, definition: str, sentence: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"create table zone_summary ({definition})")
    target, wanted = Target(engine, SUMMARY), rows(SUMMARY, [1])

    with pytest.raises(ServingError, match=sentence):
        target.stage(wanted)
    assert tables(engine) == {"zone_summary"}
    serve(target, wanted, allow=True)
    assert live(engine) == wanted


def test_a_text_that_is_too_long(mysql_engine: sa.Engine) -> None:
    target = Target(mysql_engine, SUMMARY)
    with pytest.raises(ServingError, match=r"do not fit into the service's database .*Data too long"):
        target.stage([(*row[:1], "x" * 300, *row[2:]) for row in rows(SUMMARY, [1])])


def test_a_target_that_is_full(tmp_path: Path) -> None:
    engine = databases.open_engine(f"sqlite:///{tmp_path}/service.db")
    target, old = Target(engine, SUMMARY), rows(SUMMARY, range(1, 20))
    serve(target, old)

    @sa.event.listens_for(engine, "connect")
    def _limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 8")

    with pytest.raises(
        UnavailableError, match=r"is full: make room in it, and clear this task; readers of zone_summary"
    ):
        target.stage(rows(SUMMARY, range(1, 265)))
    assert live(engine) == old


def test_a_sqlite_target_that_is_locked(tmp_path: Path) -> None:
    engine = databases.open_engine(f"sqlite:///{tmp_path}/service.db")
    target, old = Target(engine, SUMMARY), rows(SUMMARY, [1, 2])
    serve(target, old)
    impatient = sa.create_engine(engine.url, poolclass=sa.NullPool, connect_args={"timeout": 0.1})
    holder = sqlite3.connect(tmp_path / "service.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="is locked by another session"):
        Target(impatient, SUMMARY).stage(rows(SUMMARY, [1, 2, 3]))
    holder.execute("ROLLBACK")
    assert live(engine) == old


def test_a_mysql_target_that_is_locked(mysql_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIES", 2)
    monkeypatch.setattr(module, "PAUSE_S", 0.1)
    engine = mysql_engine
    target, old = Target(engine, SUMMARY), rows(SUMMARY, [1, 2])
    serve(target, old)
    staged = target.stage(rows(SUMMARY, [1, 2, 3]))
    assert staged
    with engine.connect() as holder:
        holder.exec_driver_sql("select * from zone_summary").all()  # a transaction that stays open
        with pytest.raises(UnavailableError, match="is locked by another session: let its long transaction end"):
            target.swap(staged)
        assert live(engine) == old
    target.swap(staged)
    assert len(live(engine)) == 3


def test_a_server_that_is_away() -> None:
    engine = databases.open_engine("mysql+pymysql://root@127.0.0.1:9/rides")
    with pytest.raises(UnavailableError, match="does not answer as it should: look whether it runs and is reachable"):
        Target(engine, SUMMARY).stage(rows(SUMMARY, [1]))


# ── A large table ───────────────────────────────────────────────────────────────────────────────────────────────────


def keys(months: int, zones: int) -> list[tuple[Any, ...]]:
    return [(f"2023-{month:02d}", zone) for month in range(1, months + 1) for zone in range(1, zones + 1)]


def test_an_upsert_makes_the_table_equal(engine: sa.Engine) -> None:
    target, old = Target(engine, MONTHS, batch=7), rows(MONTHS, keys(3, 20), trips=1)
    assert target.upsert(iter(old), len(old), "v1") == {"written": 60, "removed": 0, "skipped": 0}
    assert live(engine, "zone_month") == sorted(old)
    new = rows(MONTHS, [key for key in keys(4, 19) if key[1] not in (1, 5) and key != ("2023-04", 19)], trips=2)

    assert target.upsert(iter(new), len(new), "v2") == {"written": len(new), "removed": 60 - 3 * 17, "skipped": 0}
    assert live(engine, "zone_month") == sorted(new)
    less = new[:10]
    with pytest.raises(ServingError, match=f"The mart zone_month has 10 rows, under half of the {len(new)} that are"):
        target.upsert(iter(less), len(less), "v3")
    with pytest.raises(ServingError, match="The mart zone_month has no rows: nothing was served"):
        target.upsert(iter([]), 0, "v3", allow=True)
    assert live(engine, "zone_month") == sorted(new), "a loss is refused here too"
    assert target.upsert(iter(less), len(less), "v3", allow=True)["removed"] == len(new) - 10, (
        "what is beyond the last row goes too"
    )
    assert live(engine, "zone_month") == sorted(less)


def test_an_upsert_that_was_killed_is_continued(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    target, old, new = Target(engine, MONTHS, batch=10), rows(MONTHS, keys(2, 20)), rows(MONTHS, keys(3, 20), trips=9)
    target.upsert(iter(old), len(old), "v1")

    def dying() -> Iterator[tuple[Any, ...]]:
        yield from new[:25]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        target.upsert(dying(), len(new), "v2")
    assert live(engine, "zone_month") == sorted(new[:20] + old[20:]), "two whole ranges, and the rest as before"
    assert target.upsert(iter(new), len(new), "v2") == {"written": 40, "removed": 0, "skipped": 20}
    assert live(engine, "zone_month") == sorted(new)
    assert target.upsert(iter(new), len(new), "v2") == {"written": 0, "removed": 0, "skipped": 60}, (
        "and again it is nothing"
    )


def test_a_killed_upsert_of_another_version_begins_anew(engine: sa.Engine) -> None:
    target = Target(engine, MONTHS, batch=10)
    target.upsert(iter(rows(MONTHS, keys(1, 20), trips=1)), 20, "v1")
    assert target.upsert(iter(rows(MONTHS, keys(1, 20), trips=2)), 20, "v2")["written"] == 20


@pytest.mark.parametrize("order", [[2, 1], [1, 1]], ids=["descending", "twice"])
def test_keys_must_ascend(engine: sa.Engine, order: list[int]) -> None:
    target = Target(engine, MONTHS)
    with pytest.raises(ServingError, match=r"Keys of zone_month do not ascend at \('2023-01', 1\)"):
        target.upsert(iter(rows(MONTHS, [("2023-01", zone) for zone in order])), 2, "v1")
    assert live(engine, "zone_month") == []


def test_an_upsert_into_another_schema(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("create table zone_month (month varchar(7) primary key)")
    with pytest.raises(ServingError, match="zone_month of the service has the columns month, and its contract has"):
        Target(engine, MONTHS).upsert(iter(rows(MONTHS, keys(1, 1))), 1, "v1")


def test_a_table_that_was_dropped_is_filled_again(engine: sa.Engine) -> None:
    target, wanted = Target(engine, MONTHS, batch=10), rows(MONTHS, keys(1, 20))
    target.upsert(iter(wanted), len(wanted), "v1")
    with engine.begin() as connection:
        connection.exec_driver_sql("alter table zone_month add column note varchar(7)")
    with pytest.raises(ServingError, match="alter the table, or drop it, and clear this task"):
        target.upsert(iter(wanted), len(wanted), "v1")
    with engine.begin() as connection:
        connection.exec_driver_sql("drop table zone_month")
    assert target.upsert(iter(wanted), len(wanted), "v1") == {"written": 20, "removed": 0, "skipped": 0}
    assert live(engine, "zone_month") == wanted


def test_readers_go_on_while_a_large_table_is_changed(engine: sa.Engine) -> None:
    target = Target(engine, MONTHS, batch=10)
    target.upsert(iter(rows(MONTHS, keys(2, 50), trips=0)), 100, "v0")
    ready, stop, seen = threading.Event(), threading.Event(), set()

    def read() -> None:
        reader = sa.create_engine(engine.url)
        with reader.connect() as connection:
            while not stop.is_set():
                seen.add(tuple(connection.exec_driver_sql("select count(*), count(trips) from zone_month").one()))
                connection.rollback()
                ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert ready.wait(60)
    for number in range(1, 4):
        target.upsert(iter(rows(MONTHS, keys(2, 50), trips=number)), 100, f"v{number}")
    stop.set()
    reader.join()
    assert seen == {(100, 100)}
