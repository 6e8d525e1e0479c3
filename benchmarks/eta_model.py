"""How well the arrival model predicts, and what training costs: ``python -m benchmarks.eta_model [--write]``.

Trains on real months, tests on the newest. ``--synthetic`` trains on one synthetic month instead, for time and memory.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.api_logs import heading, say
from benchmarks.contestants import Submitter
from benchmarks.measure import Cost, keep
from benchmarks.synthetic import BENCH, ROOT, month_file
from spark_jobs.publish import archive

PACKAGES = ("lightgbm", "pyspark")
SAMPLES = [*(ROOT / "demos").glob("*/sample/fhvhv_tripdata_sample_20*.parquet")]
SYNTHETIC = {"lightgbm": 20_000_000, "spark-ml": 2_000_000}
LIMIT_BYTES = 6 * 10**9
# Six tenths are Java's heap; the rows that LightGBM learns from are Python's, beside it.
MEMORY = {"STEP_MEMORY_BYTES": str(3 * 1024**3)}
# As spark_jobs/hvfhv makes the table eta_training, but for the search for faults in a month of others.
PUBLISHED = """
COPY (
    SELECT
        CASE hvfhs_license_num WHEN 'HV0002' THEN 'juno' WHEN 'HV0003' THEN 'uber' WHEN 'HV0004' THEN 'via'
            WHEN 'HV0005' THEN 'lyft' END AS company,
        PULocationID::INTEGER AS pickup_zone_id,
        DOLocationID::INTEGER AS dropoff_zone_id,
        request_datetime,
        trip_miles,
        date_diff('second', request_datetime, pickup_datetime)::INTEGER AS wait_s
    FROM read_parquet('{file}')
    WHERE PULocationID BETWEEN 1 AND 265 AND DOLocationID BETWEEN 1 AND 265 AND wait_s BETWEEN 0 AND 3600
) TO '{place}' (FORMAT parquet)
"""


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eta_model", description=__doc__)
    parser.add_argument(
        "--month", action="append", type=Path, help="raw file …_YYYY-MM.parquet; repeated; default: the samples"
    )
    parser.add_argument(
        "--synthetic",
        choices=SYNTHETIC,
        help="train this candidate on one synthetic month: time and memory, not accuracy; minutes, up to 6 GB",
    )
    parser.add_argument("--rows", type=int, help=f"of the synthetic month; by default {SYNTHETIC}")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    options = parser.parse_args()
    folder = BENCH / "eta_model"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        (folder / "steps").mkdir(parents=True)
        months = {file.stem[-7:]: file for file in sorted(options.month or SAMPLES)}
        command = "python -m benchmarks.eta_model"
        if options.synthetic:
            rows = options.rows or SYNTHETIC[options.synthetic]
            command += f" --synthetic {options.synthetic}"
            lines = _size(folder, months, options.synthetic, rows)
        else:
            lines = _accuracy(folder, months)
        text = "\n".join([f"{heading(*PACKAGES)}.", "", *lines])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(text)
    if options.write:
        keep(f"{command} --write", text)


def _accuracy(folder: Path, months: Mapping[str, Path]) -> Iterator[str]:
    for month, file in months.items():
        _publish(file, folder / month)
    metrics, cost = _train(folder, list(months), "spark-ml,lightgbm")
    baseline = metrics["baseline_mae_s"]
    yield (
        f"{metrics['training_rows']:,} requests of {', '.join(metrics['train_months'])} to learn from, medians of "
        f"{metrics['lag_month']} on; {metrics['rows']:,} of {metrics['test_month']} to test:"
    )
    yield ""
    yield "| | MAE | below the median by zone and hour | pinball p50 | pinball p90 | within p90 | training |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, error in (("global median", metrics["global_median_mae_s"]), ("median by zone and hour", baseline)):
        yield f"| {name} | {error:.1f} s | {100 * (1 - error / baseline):.1f} % | {error / 2:.1f} | | | |"
    for name, found in metrics["candidates"].items():
        yield _row(f"{name}, without {metrics['validation_month']}", found["test"], f"{found['training_s']:.1f} s")
    yield _row(f"**served: {metrics['winner']}, with it**", metrics, "")
    yield ""
    groups = {**metrics["by_company"], **metrics["by_borough"]}
    judged = {name: group for name, group in groups.items() if group["rows"] >= 1_000}
    worst = max(judged, key=lambda name: judged[name]["mae_s"] / judged[name]["baseline_mae_s"])
    ratio = judged[worst]["mae_s"] / judged[worst]["baseline_mae_s"]
    gain, covered = 1 - metrics["mae_s"] / baseline, metrics["p90_coverage"]
    yield f"- At least 5 %, better 10 % below the median by zone and hour: {100 * gain:.1f} %, {_met(gain >= 0.05)}"
    yield f"- In no company or borough worse: at most {ratio:.2f} of its error ({worst}), {_met(ratio <= 1)}"
    yield f"- Within p90 are 88 to 92 %: {100 * covered:.1f} %, {_met(0.88 <= covered <= 0.92)}"
    yield f"- The program as a whole: {cost.seconds:.0f} s, {cost.peak_bytes / 1e9:.1f} GB"


def _row(name: str, found: Mapping[str, Any], took: str) -> str:
    gain = 100 * (1 - found["mae_s"] / found["baseline_mae_s"])
    return (
        f"| {name} | {found['mae_s']:.1f} s | {gain:.1f} % | {found['pinball_p50']:.1f} | {found['pinball_p90']:.1f} | "
        f"{100 * found['p90_coverage']:.1f} % | {took} |"
    )


def _size(folder: Path, months: Mapping[str, Path], candidate: str, rows: int) -> Iterator[str]:
    """Have the second of four months be synthetic: the one that the candidate learns from."""
    names = list(months)[:4]
    for month in names:
        _publish(month_file(rows, month) if month == names[1] else months[month], folder / month)
    say(f"{rows:,} synthetic requests")
    metrics, cost = _train(folder, names, candidate)
    took = metrics["candidates"][candidate]["training_s"]
    learnt = metrics["candidates"][candidate]["training_rows"]
    yield (
        f"{candidate} on a synthetic month of {learnt:,} timed trips: {took:.0f} s; the program as a whole, with the "
        f"features and a second training for what is served: {cost.seconds:.0f} s, at most "
        f"{cost.peak_bytes / 1e9:.1f} GB of memory of all its processes."
    )
    yield ""
    yield f"- Within 6 GB: {cost.peak_bytes / 1e9:.1f} GB, {_met(cost.peak_bytes <= LIMIT_BYTES)}"


def _publish(file: Path, folder: Path) -> None:
    folder.mkdir()
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '2GB'; SET preserve_insertion_order = false")
        connection.execute(PUBLISHED.format(file=file, place=folder / "part-0.parquet"))


def _train(folder: Path, months: list[str], candidates: str) -> tuple[dict[str, Any], Cost]:
    package = folder / "spark_jobs.zip"
    package.write_bytes(archive())
    given = [word for month in months for word in ("--month", f"{month}={folder / month}")]
    version = f"20260101T000000-{months[-1]}"
    arguments = ["--lake", str(folder), "--version", version, "--code", "benchmark", "--candidates", candidates]
    program = ["--py-files", str(package), str(ROOT / "spark_jobs/eta/train.py")]
    cost = Submitter("spark", folder / "steps").run([*program, *arguments, *given], MEMORY)
    return json.loads((folder / "models/eta" / version / "metrics.json").read_text()), cost


def _met(reached: bool) -> str:
    return "met" if reached else "**missed**"


if __name__ == "__main__":
    main()
