"""Checks of rows by their contracts, their results, and what was usual."""

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa
import yaml
from pyarrow import parquet

from taxiway.catalogue import CatalogueError
from taxiway.core import contracts
from taxiway.lake import LakeError, Table
from taxiway.lake.faults import key_faults, value_faults
from taxiway.operations import incidents, quality

CONTRACT = """
team: {name: rides-team}
schema:
  - name: ratings
    physicalName: ratings
    physicalType: table
    customProperties: [{property: path, value: raw/rides/ratings}]
    quality:
      - name: usual_volume
        type: text
        severity: warning
        customProperties: [{property: volumeBand, value: 0.5}, {property: volumeRuns, value: 4}]
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: zone, logicalType: string, physicalType: string, required: true}
      - name: stars
        logicalType: integer
        physicalType: int
        logicalTypeOptions: {minimum: 1, maximum: 5}
        quality:
          - name: stays_alike
            type: text
            customProperties: [{property: driftMax, value: 0.2}, {property: driftBins, value: [2, 3, 4, 5]}]
      - name: company
        logicalType: string
        physicalType: string
        enum: [{value: uber}, {value: "o'neil"}]
        quality:
          - name: stays_alike
            type: text
            severity: warning
            customProperties: [{property: driftMax, value: 0.1}]
      - {name: fare, logicalType: number, physicalType: double, logicalTypeOptions: {minimum: 0}}
"""
SCHEMA = pa.schema(
    [("id", pa.int64()), ("zone", pa.string()), ("stars", pa.int32()), ("company", pa.string()), ("fare", pa.float64())]
)
RATINGS = Table("rides", "ratings")


@pytest.fixture(autouse=True)
def _contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "rides").mkdir()
    (tmp_path / "rides/ratings.yaml").write_text(CONTRACT)
    monkeypatch.setattr(contracts, "FOLDER", tmp_path)
    contracts.read.cache_clear()
    vars(RATINGS).pop("contract", None)
    vars(RATINGS).pop("columns", None)
    yield
    contracts.read.cache_clear()


def rows(count: int = 10, **columns: Any) -> pa.Table:
    """Return ratings without a fault, but for the columns that are given."""
    values = {
        "id": list(range(count)),
        "zone": ["a"] * count,
        "stars": [number % 5 + 1 for number in range(count)],
        "company": [("uber", "o'neil", None)[number % 3] for number in range(count)],
        "fare": [1.5] * count,
    }
    return pa.table(values | columns, schema=SCHEMA)


def context(run_id: str = "run", task: str = "check") -> dict[str, Any]:
    ti = SimpleNamespace(task_id=task, map_index=-1)
    return {"dag": SimpleNamespace(dag_id="rides_load", tags=["tier:1"]), "run_id": run_id, "ti": ti}


def failed(found: list[quality.Result]) -> dict[str, str]:
    return {each.check: each.observed for each in found if not each.passed}


def test_rows_without_a_fault_pass_everything() -> None:
    found = quality.check(RATINGS, rows(), counts=quality.Counts(source=12, accepted=10, rejected=2))
    assert [each.check for each in found if each.passed] == [
        *("schema", "rows_in_out", "volume", "unique_key", "required:zone", "bounds:stars", "accepted:company"),
        *("finite:fare", "bounds:fare", "drift:stars", "drift:company"),
    ]
    assert {(each.pipeline, each.table, each.owner) for each in found} == {("rides", "ratings", "rides-team")}
    quality.require(found)


@pytest.mark.parametrize(
    ("columns", "check", "observed", "wrong"),
    [
        ({"id": [1, 1, 1, 2, 3]}, "unique_key", "2 rows too many", 2),
        ({"id": [1, None, None, 2, 3]}, "unique_key", "2 rows with a null", 2),
        ({"zone": ["a", None, "b", "", "c"]}, "required:zone", "null in 1 row", 1),
        ({"stars": [0, 6, 1, None, 7]}, "bounds:stars", "below 1 in 1 row, above 5 in 2 rows", 3),
        ({"company": ["uber", "o'neil", "lyft", None, "UBER"]}, "accepted:company", "another value in 2 rows", 2),
        ({"fare": [-1, 0, None, 1, 2]}, "bounds:fare", "below 0 in 1 row", 1),
        ({"fare": [float("nan"), float("inf"), None, 1, 2]}, "finite:fare", "NaN or infinite in 2 rows", 2),
    ],
)
def test_a_fault_is_counted_and_told(columns: dict[str, Any], check: str, observed: str, wrong: int) -> None:
    found = quality.check(RATINGS, rows(5, **columns), period="2023-01")
    assert failed(found) == {check: observed}
    (fault,) = (each for each in found if not each.passed)
    assert fault.rows == wrong
    with pytest.raises(quality.CheckError) as refused:
        quality.require(found)
    assert isinstance(refused.value, LakeError)
    assert str(refused.value).startswith(f"The check {check} of ratings of 2023-01 failed: {observed}, expected ")


def test_a_column_may_be_called_as_sql_pleases(tmp_path: Path) -> None:
    names = {"id": "offset", "zone": "by", "stars": "at", "company": "Authorization", "fare": "semi"}
    text = CONTRACT
    for old, new in names.items():
        text = text.replace(f"name: {old}", f"name: {new}")
    text = text.replace("required: true}", "required: true, primaryKey: true, primaryKeyPosition: 2}")
    text = text.replace("Name: ratings", "Name: order")
    (tmp_path / "rides/ratings.yaml").write_text(text)
    table = Table("rides", "ratings")
    assert table.key == ("offset", "by")

    good, wrong = (
        rows(5, **columns).rename_columns(list(names.values()))
        for columns in ({}, {"id": [1, 1, None, 2, 3], "stars": [0] * 5, "company": ["x"] * 5, "fare": [-1.0] * 5})
    )

    assert failed(quality.check(table, good)) == {}
    assert set(failed(quality.check(table, wrong))) == {
        *("unique_key", "bounds:at", "accepted:Authorization", "bounds:semi")
    }
    with duckdb.connect() as database:
        database.register("order", wrong)
        assert key_faults(database, table) == [
            "Keys of order (offset, by) that are null or not unique: 2, such as (1, a) in 2 rows."
        ]
        assert value_faults(database, table) == [
            "at of order is below 1 in 5 rows.",
            "semi of order is below 0 in 5 rows.",
        ]


@pytest.mark.parametrize(
    ("counts", "observed"),
    [
        (quality.Counts(12, 10, 1), "12 rows of the source, 10 accepted, 1 rejected"),
        (quality.Counts(11, 11, 0), "11 rows of the source, 11 accepted, 0 rejected, but 10 in the table"),
    ],
    ids=["lost", "not written"],
)
def test_rows_that_are_lost_are_found(counts: quality.Counts, observed: str) -> None:
    assert failed(quality.check(RATINGS, rows(), counts=counts)) == {"rows_in_out": observed}


def test_wrong_columns_are_one_fault() -> None:
    found = quality.check(RATINGS, rows().drop_columns(["fare"]).append_column("tip", pa.array([1] * 10)))
    assert failed(found) == {
        "schema": "The columns of ratings differ from its contract: fare is missing, tip is unknown"
    }
    assert len(found) == 1


def test_whatever_duckdb_reads_is_checked_alike(tmp_path: Path) -> None:
    table = rows(5, id=[1, 1, 2, 3, 4])
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    parquet.write_table(table.slice(0, 2), files[0])
    parquet.write_table(table.slice(2), files[1])
    batches = pa.RecordBatchReader.from_batches(SCHEMA, iter(table.to_batches(max_chunksize=2)))
    with duckdb.connect() as database:
        for data in (table, batches, files, database.read_parquet([str(file) for file in files])):
            assert failed(quality.check(RATINGS, data)) == {"unique_key": "1 rows too many"}


def test_no_rows_are_no_fault_of_the_values() -> None:
    found = quality.check(RATINGS, rows(0))
    assert failed(found) == {}
    assert next(each.observed for each in found if each.check == "volume") == "0 rows"


# ── What is usual ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_volume_is_held_against_the_median_of_the_last_runs() -> None:
    usual = quality.History(rows=[10, 12, 1000, 10, 5000])
    assert failed(quality.check(RATINGS, rows(16), history=usual)) == {}
    (found,) = (each for each in quality.check(RATINGS, rows(17), history=usual) if not each.passed)
    assert found.sentence == (
        "The check volume of ratings failed: 17 rows, expected 6 to 16, within 50% of the median of the last 4."
    )
    quality.require([found])  # the rule is a warning
    assert failed(quality.check(RATINGS, rows(5000), history=quality.History(rows=[10, 10]))) == {}, "too few runs"


def test_drift_names_the_bin_that_moved() -> None:
    profile = {each.check: each.profile for each in quality.check(RATINGS, rows(30))}["drift:stars"]
    assert profile == {"below 2": 0.2, "2 to 3": 0.2, "3 to 4": 0.2, "4 to 5": 0.2, "from 5": 0.2, "null": 0}
    usual = quality.History(profiles={"stars": [profile] * 3})
    assert failed(quality.check(RATINGS, rows(30), history=usual)) == {}
    low = rows(30, stars=[1] * 20 + [2, 3, 4, 5, 5] * 2)
    assert failed(quality.check(RATINGS, low, history=usual)) == {
        "drift:stars": "a PSI of 1.028, most of it by below 2"
    }
    index, _ = quality.stability_index({"a": 0.5, "b": 0.5}, [{"a": 0.25, "b": 0.75}])
    assert index == pytest.approx(0.25 * 1.0986122886681098, abs=1e-9)  # a quarter of ln 3


def test_rare_values_are_one_bin() -> None:
    (rule,) = (each for each in yaml.safe_load(CONTRACT)["schema"][0]["properties"] if each["name"] == "company")
    assert rule["quality"], "by value"
    many = rows(200, company=[f"c{number:03}" for number in range(199)] + ["uber"])
    profile = {each.check: each.profile for each in quality.check(RATINGS, many)}["drift:company"]
    assert len(profile) == quality.VALUES + 1
    assert profile["others"] == 0.75


def test_history_is_that_of_earlier_periods(engine: sa.Engine) -> None:
    def load(period: str, count: int, run_id: str) -> None:
        quality.record(quality.check(RATINGS, rows(count), period=period), context(run_id))

    load("2023-01", 7, "a")
    load("2023-01", 11, "b")
    load("2023-02", 12, "c")
    load("2023-03", 13, "d")
    usual = quality.history(RATINGS, before="2023-03")
    assert usual.rows == [12, 11], "the last result of each period before it, the newest first"
    assert [sum(each.values()) for each in usual.profiles["stars"]] == [pytest.approx(1)] * 2
    assert quality.history(RATINGS).rows == [13, 12, 11, 7]
    assert engine


def test_what_was_refused_is_not_usual(engine: sa.Engine) -> None:
    for run, passed in (("a", True), ("b", False)):
        quality.record([quality.result(RATINGS, "volume", passed, rows=len(run))], context(run))
    assert quality.history(RATINGS).rows == [1]
    warning = quality.result(RATINGS, "volume", passed=False, rows=5, severity="warning")
    quality.record([warning], context("c"))
    assert quality.history(RATINGS).rows == [5, 1], "a lasting change becomes usual where it is only a warning"
    assert engine


def test_rows_that_another_check_refused_are_not_usual(engine: sa.Engine) -> None:
    for run, keys_passed in (("a", True), ("b", False), ("c", True)):
        volume = quality.result(RATINGS, "volume", passed=True, rows=ord(run), period="2023-01")
        keys = quality.result(RATINGS, "unique_key", keys_passed, period="2023-01")
        quality.record([volume, keys], context(run))
    assert quality.history(RATINGS).rows == [ord("c"), ord("a")]
    assert quality.history(RATINGS, before="2023-02").rows == [ord("c")]
    outside = quality.result(RATINGS, "volume", passed=True, rows=1)
    quality.record([outside, quality.result(RATINGS, "unique_key", passed=False)])
    assert quality.history(RATINGS).rows[0] == 1, "of no run: nothing says which results belong together"
    assert engine


# ── Records ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeated_task_replaces_its_results(engine: sa.Engine) -> None:
    for stars in (9, 3):
        quality.record(quality.check(RATINGS, rows(1, stars=[stars]), period="2023-01"), context())
    found = quality.recent(engine)
    assert len(found) == len({each.check for each in found})
    assert all(each.passed for each in found)
    (bounds,) = (each for each in found if each.check == "bounds:stars")
    assert (bounds.dag_id, bounds.run_id, bounds.task) == ("rides_load", "run", "check")
    assert bounds.checked_at


def test_recent_results_keep_old_failures_that_still_stand(engine: sa.Engine) -> None:
    for run, period, stars in (("a", "2023-01", 9), ("b", "2023-02", 9), ("c", "2023-03", 3), ("d", "2023-02", 3)):
        found = quality.check(RATINGS, rows(1, stars=[stars]), period=period)
        quality.record([each for each in found if each.check == "bounds:stars"], context(run))
    assert [(each.period, each.passed) for each in quality.recent(tables=["ratings"])] == [
        ("2023-01", False),
        ("2023-02", True),
    ]
    assert quality.recent(tables=["other"]) == []
    assert engine


def test_without_the_catalogue_nothing_is_recorded_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broken = tmp_path / "broken.db"
    broken.write_text("no database")
    for value in (None, f"sqlite:///{tmp_path}/empty.db", f"sqlite:///{broken}", "mysql://root@127.0.0.1:1/db"):
        monkeypatch.delenv("AIRFLOW_CONN_TLC_CATALOG", raising=False)
        if value:
            monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", value)
        caplog.clear()
        (found,) = quality.record([quality.result(RATINGS, "mine", passed=False)], context())
        assert found.run_id == "run"
        assert quality.history(RATINGS) == quality.History()
        for read in (quality.recent, incidents.listed):
            with pytest.raises((CatalogueError, sa.exc.SQLAlchemyError)):
                read()
        assert "The check mine of ratings failed." in caplog.text
        assert "are not recorded" in caplog.text
