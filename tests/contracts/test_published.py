"""Published Parquet files against the contracts, with the oracle's tables as the published ones."""

import shutil
from pathlib import Path

import duckdb
import pytest
import yaml

from tests.contracts.command import ROOT, contracts
from tests.oracle import dirty_month
from tests.oracle.oracle import PATHS, compute, month_of

pytestmark = pytest.mark.slow  # each call of the tools takes seconds

SAMPLE = ROOT / "demos/hvfhv/sample"
DUCKDB_TYPES = {"string": "VARCHAR", "int": "INTEGER"}


def _columns(path: str) -> dict[str, str]:
    """Return name → DuckDB type of the table with a path."""
    for file in (ROOT / "contracts/hvfhv").glob("*.yaml"):
        (table,) = yaml.safe_load(file.read_text())["schema"]
        if {"property": "path", "value": path} in table["customProperties"]:
            columns = [column for column in table["properties"] if not column.get("partitioned")]
            return {each["name"]: DUCKDB_TYPES.get(each["physicalType"], each["physicalType"]) for each in columns}
    raise AssertionError(path)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as ``make results`` writes it, of a real month and one with every fault."""
    folder = tmp_path_factory.mktemp("results")
    dirty, _ = dirty_month.write(SAMPLE / "fhvhv_tripdata_sample_2023-03.parquet", tmp_path_factory.mktemp("raw"))
    files = {dirty_month.MONTH: dirty, "2023-01": [SAMPLE / "fhvhv_tripdata_sample_2023-01.parquet"]}
    with compute(files, ROOT / "spark_jobs/common/taxi_zone_lookup.csv") as connection:
        for table, path in PATHS.items():
            columns = ", ".join(f"{name}::{type_} AS {name}" for name, type_ in _columns(path).items())
            for month in files:
                partition = folder / path / f"year={month[:4]}" / f"month={month[5:]}"
                partition.mkdir(parents=True)
                rows = f"SELECT {columns} FROM ({month_of(table, month)})"
                connection.execute(f"COPY ({rows}) TO '{partition}/part-0.parquet'")
    return folder


def _rewrite(folder: Path, path: str, query: str) -> None:
    """Write a table's file of January 2023 anew from a query over ``old``, what it holds."""
    file = folder / path / "year=2023/month=01/part-0.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE old AS FROM read_parquet('{file}', hive_partitioning = false)")
        connection.execute(f"COPY ({query}) TO '{file}'")


def test_tables_are_as_their_contracts_say(results: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(results, tmp_path / "results"))
    # Written before the column was added.
    _rewrite(folder, PATHS["curated"], "SELECT * EXCLUDE (cbd_congestion_fee) FROM old")
    assert contracts("test", "hvfhv", folder) == (0, "")


FAULTS = {
    "curated": ("SELECT * REPLACE (trip_miles + 501 AS trip_miles) FROM old", "trip_miles has a maximum of 500"),
    "quarantine": (
        "FROM old UNION ALL BY NAME SELECT 'other' AS reject_reason",
        "only contains enum values",
    ),
    "service_quality": ("FROM old UNION ALL FROM old", "primary key (company, pickup_zone_id, request_hour"),
    "market_share": ("SELECT * REPLACE (trip_share / 2 AS trip_share) FROM old", "the shares add up to 1"),
    "popular_zones": ("SELECT *, 1 AS surge FROM old", "has a column surge that the contract lacks"),
    "rising_zones": ("SELECT * REPLACE (trips::INTEGER AS trips) FROM old", "has trips as INTEGER, not as bigint"),
    "eta_training": ("SELECT * REPLACE (NULL::INTEGER AS wait_s) FROM old", "wait_s has no missing values"),
}


def test_each_fault_is_named(results: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(results, tmp_path / "results"))
    for table, (query, _) in FAULTS.items():
        _rewrite(folder, PATHS[table], query)
    shutil.rmtree(folder / PATHS["trend"])
    status, faults = contracts("test", "hvfhv", folder)
    assert status == 1
    for table, (_, fault) in FAULTS.items():
        assert any(str(folder / PATHS[table]) in line and fault in line for line in faults.splitlines()), (
            table,
            faults,
        )
    assert f"hvfhv_trend in {folder / PATHS['trend']}: it has no files.\n" in faults
    assert len(faults.splitlines()) == len(FAULTS) + 1, faults
