"""Synthetic HVFHV months of any size, drawn from the repository's real trips; see synthetic.sql and calibration/."""

from pathlib import Path

import duckdb

HERE = Path(__file__).parent
ROOT = HERE.parent
BENCH = ROOT / ".local/bench"
MONTH = "2023-10"
ROWS = 20_000_000
ZONE_LOOKUP = ROOT / "spark_jobs/common/taxi_zone_lookup.csv"


def month_file(rows: int = ROWS, month: str = MONTH) -> Path:
    """Return the Parquet file of a synthetic month; write it first if it is missing (20 million rows: a minute)."""
    size = "" if (rows, month) == (ROWS, MONTH) else f"_{month}_{rows}"
    file = BENCH / f"fhvhv_tripdata_synthetic{size}.parquet"
    if not file.exists():
        BENCH.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        write_month(rows, month, part)
        part.rename(file)
    return file


def write_month(rows: int, month: str, file: Path) -> None:
    """Write a synthetic month of some rows to a Parquet ``file``; the same call writes the same rows."""
    variables = {
        "trips": rows,
        "sample": str(ROOT / "demos/hvfhv/sample/*.parquet"),
        "lookup": str(ZONE_LOOKUP),
        "hour_of_week": str(HERE / "calibration/hour_of_week_2025-02_04.csv"),
        "companies": str(HERE / "calibration/companies_2024_2025.csv"),
        "boroughs": str(HERE / "calibration/boroughs_2025-01.csv"),
    }
    with duckdb.connect() as connection:
        connection.execute(f"SET VARIABLE month = DATE '{month}-01'")
        for name, value in variables.items():
            connection.execute(f"SET VARIABLE {name} = ?", [value])
        connection.execute((HERE / "synthetic.sql").read_text())
        connection.execute(f"COPY synthetic TO '{file}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 1000000)")
