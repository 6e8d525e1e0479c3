"""The Spark programs against the definitions: every output of real and of dirty months, row by row."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from local_aws.engines import engine
from tests.oracle import dirty_month, programs
from tests.oracle.comparison import difference
from tests.oracle.oracle import KEYS, PATHS, compute, month_of

SAMPLE = programs.ROOT / "demos/hvfhv/sample"
REAL = {month: [SAMPLE / f"fhvhv_tripdata_sample_{month}.parquet"] for month in ("2023-01", "2023-02", "2023-03")}
MONTHS = [dirty_month.MONTH, *REAL]
"""With a gap after the first: it is in the baseline of the first two real months, and of the third no more."""
VERSION = "20230601T000000000000Z.1"


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Counter[str]]:
    return dirty_month.write(REAL["2023-03"][0], tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def files(dirty: tuple[list[Path], Counter[str]]) -> dict[str, list[Path]]:
    return {dirty_month.MONTH: dirty[0], **REAL}


@pytest.fixture(scope="module")
def oracle(files: dict[str, list[Path]]) -> Iterator[duckdb.DuckDBPyConnection]:
    with compute(files, programs.ZONE_LOOKUP) as connection:
        yield connection


@pytest.fixture(scope="module")
def lake(files: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake with all tables of all months, written by the Spark programs on Sail."""
    lake = tmp_path_factory.mktemp("lake")
    package = programs.package(tmp_path_factory.mktemp("package"))
    steps = [programs.of_month(package, month, paths, lake, VERSION) for month, paths in files.items()]
    steps.append(programs.of_rising_zones(package, MONTHS, MONTHS, lake, VERSION))
    sail = engine("sail")
    sail.warm()
    try:
        for step in steps:
            launch = sail.command(step, tmp_path_factory.mktemp("step"), {})
            done = subprocess.run(
                launch.argv,
                env=launch.env,
                cwd=launch.cwd,
                process_group=0,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{' '.join(step)}:\n{done.stderr}"
    finally:
        sail.close()
    return lake


@pytest.mark.parametrize("table", KEYS)
@pytest.mark.parametrize("month", MONTHS)
def test_table_equals_oracle(lake: Path, oracle: duckdb.DuckDBPyConnection, month: str, table: str) -> None:
    folder = programs.partition(lake, PATHS[table], month, VERSION)
    actual = f"FROM read_parquet('{folder}/*.parquet', hive_partitioning := false)"
    found = difference(oracle, month_of(table, month), actual, KEYS[table])
    assert not found, found


def test_every_injected_fault_has_its_reason(
    oracle: duckdb.DuckDBPyConnection, dirty: tuple[list[Path], Counter[str]]
) -> None:
    rows = oracle.execute("SELECT reject_reason, count(*) FROM quarantine GROUP BY ALL").fetchall()
    assert dict(rows) == dict(dirty[1])
