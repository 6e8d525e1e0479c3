"""Train a version of the arrival model from published months, and measure it on the newest.

The oldest month gives medians alone. Both candidates learn from the months up to two before the newest. The one whose
percentiles have lower pinball losses on the month before the newest learns again with that month, and is measured on
the newest and published. Started again for a version that is complete, it does nothing.
"""

import io
import json
import resource
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet
from pyspark.sql import SparkSession

from spark_jobs.common import arguments, lineage, tables
from spark_jobs.common.program import ProgramError, run, timed
from spark_jobs.common.session import session
from spark_jobs.eta import card, evaluate, frames, store
from spark_jobs.eta.candidates import CANDIDATES, Trees, train
from spark_jobs.eta.features import BOROUGHS, COMPANIES, NAMES, Lagged
from spark_jobs.eta.model import Model, ModelError, feature_contract, lightgbm
from taxiway.core.month import Month

FEWEST_MONTHS = 4  # for medians, to learn from, to choose and calibrate, to measure
FEWEST_ROWS = 1_000  # of a month


def published_month(text: str) -> tuple[Month, str]:
    """Read an argument MONTH=FOLDER."""
    name, equals, place = text.partition("=")
    if not equals or not place:
        raise ArgumentTypeError(f"{text!r} is not MONTH=FOLDER, for example 2023-01=s3://…")
    return arguments.month(name), place


def candidate_names(text: str) -> tuple[str, ...]:
    """Read an argument of names of candidates, joined by commas."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in CANDIDATES]:
        raise ArgumentTypeError(f"{unknown[0]!r} is not a candidate; choose of {', '.join(CANDIDATES)}")
    return names


def main() -> None:
    """Train, choose, measure and write a version."""
    parser = arguments.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lake", required=True, help="root of the lake: s3://bucket[/prefix] or a local folder")
    parser.add_argument(
        "--version", type=arguments.version, required=True, help="of the model, YYYYMMDDTHHMMSS-YYYY-MM"
    )
    parser.add_argument(
        "--month",
        action="append",
        type=published_month,
        default=[],
        dest="months",
        help="MONTH=FOLDER of a published month of eta_training; repeated, the newest is the one to measure on",
    )
    parser.add_argument("--code", required=True, help="commit that the programs came from")
    parser.add_argument(
        "--candidates", type=candidate_names, default=CANDIDATES, help=f"default {','.join(CANDIDATES)}"
    )
    args = parser.parse_args()
    places = dict(sorted(args.months))
    if len(places) < len(args.months):
        parser.error("a month is given twice")
    if len(places) < FEWEST_MONTHS:
        raise ProgramError(
            f"A model needs at least {FEWEST_MONTHS} published months (the oldest for medians, then to learn from, to "
            f"choose, to measure), and there are {len(places)}: publish more with hvfhv_collection."
        )
    folder = store.Folder(f"{args.lake.rstrip('/')}/models/eta/{args.version}")
    if folder.has("metrics.json"):
        sys.stdout.write(f"{folder.place} is complete.\n")
        return
    try:
        lightgbm()
        with timed("everything"):
            months = {str(month): place for month, place in places.items()}
            build(folder, args.version, months, args.candidates, args.code)
            lineage.tell(session(), args.lake, "eta/train", places.values(), [folder.place])
    except ModelError as error:
        raise ProgramError(str(error)) from error


def build(
    folder: store.Folder, version: str, places: Mapping[str, str], candidates: Sequence[str], code: str
) -> dict[str, Any]:
    """Train, choose, measure and write a version; return its ``metrics.json``.

    Args:
        folder: of the version.
        version: its name.
        places: folders of the published months, by month and time.
        candidates: names of ``CANDIDATES``.
        code: commit.

    Raises:
        ProgramError, ModelError: it cannot be trained; the text is one sentence.
    """
    started = time.monotonic()
    with timed("start"):
        spark = session()
    first, *learnt, validation, test = places
    rows = store.Folder(f"{folder.place}/rows")
    with timed("features"):
        lagged = _write_features(spark, places, rows)
    found: dict[str, dict[str, Any]] = {}
    for name in candidates:
        began = time.monotonic()
        trained = train(name, spark, rows, learnt)
        took = round(time.monotonic() - began, 1)
        sys.stdout.write(f"{name}: {took} s\n")
        raw = _predicted(rows, validation, _model(version, trained, 0.0, lagged[test]))
        offset_s = 0.0 if trained.calibrated else evaluate.conformal_offset(raw["wait"], raw["p90"])
        calibrated = _model(version, trained, offset_s, lagged[test])
        found[name] = {
            "training_s": took,
            "training_rows": sum(rows.rows(month) for month in learnt),
            "p90_offset_s": offset_s,
            "p90_added": trained.p90_added,
            "validation": evaluate.figures(**_arrays(_predicted(rows, validation, calibrated))),
            "test": evaluate.figures(**_arrays(_predicted(rows, test, calibrated))),
        }
        _write_trees(folder, trained, found[name], f"candidates/{name}/")
    # By both percentiles, as both are served.
    winner = min(found, key=lambda name: sum(found[name]["validation"][f"pinball_p{p}"] for p in (50, 90)))
    with timed(f"{winner} again, with {validation}"):
        trained = train(winner, spark, rows, [*learnt, validation])
    offset_s = found[winner]["p90_offset_s"]
    predictions = _predicted(rows, test, _model(version, trained, offset_s, lagged[test]))
    everywhere = lagged[test].filter(
        pc.and_(*(pc.is_null(lagged[test][name]) for name in lagged[test].column_names[:2]))
    )
    metrics = {
        "version": version,
        "code": code,
        "lag_month": first,
        "train_months": [*learnt, validation],
        "validation_month": validation,
        "test_month": test,
        "winner": winner,
        **evaluate.figures(**_arrays(predictions)),
        "global_median_mae_s": float(np.abs(predictions["wait"] - everywhere["wait_s"][0].as_py()).mean()),
        "training_rows": sum(rows.rows(month) for month in [*learnt, validation]),
        "candidates": found,
        "by_company": evaluate.by_group(predictions["company"], _arrays(predictions)),
        "by_borough": evaluate.by_group(predictions["borough"], _arrays(predictions)),
        "training_s": round(time.monotonic() - started, 1),
        "peak_memory_mb": _peak_memory_mb(spark),
    }
    _write_trees(folder, trained, found[winner] | {"coverage": metrics["p90_coverage"]})
    folder.write("features.json", feature_contract().encode())
    folder.write("lagged.parquet", _parquet(lagged[test]))
    folder.write("predictions.parquet", _parquet(_table(predictions)))
    folder.write("card.html", card.page(metrics, predictions, trained.importance).encode())
    rows.delete()
    folder.write("metrics.json", json.dumps(metrics, indent=1).encode())  # last: a version that has it is complete
    return metrics


def _write_features(spark: SparkSession, places: Mapping[str, str], rows: store.Folder) -> dict[str, pa.Table]:
    """Write the features of each month but the first; return the medians of the months before each."""
    lagged: dict[str, pa.Table] = {}
    waits = frames.Waits()
    for month, place in places.items():
        published = frames.published(tables.read(spark, place), place)
        if waits.requests:
            lagged[month] = waits.medians()
            tables.write(frames.with_features(published, Lagged.from_arrow(lagged[month])), f"{rows.place}/{month}")
        before = waits.requests
        waits.add(frames.counts(published).toArrow())
        if waits.requests - before < FEWEST_ROWS:
            raise ProgramError(
                f"{month} has {waits.requests - before} timed trips in {place}, too few to learn from or to measure on "
                f"({FEWEST_ROWS} are needed): publish the month again, or leave it out."
            )
    return lagged


def _model(version: str, trained: Trees, offset_s: float, lagged: pa.Table) -> Model:
    return Model(version, trained.p50, trained.p90, offset_s, Lagged.from_arrow(lagged), trained.p90_added)


def _predicted(rows: store.Folder, month: str, model: Model) -> dict[str, NDArray[Any]]:
    """Return the columns of ``predictions.parquet`` (in seconds: wait, p50, p90, baseline), and the borough."""
    parts: list[dict[str, NDArray[Any]]] = []
    for batch in rows.batches(month):
        features = store.matrix(batch)
        column = dict(zip(NAMES, features.T, strict=True))
        p50, p90 = model.predict(features)
        parts.append(
            {
                "request_datetime": batch["request_datetime"].to_numpy(zero_copy_only=False),
                "pickup_zone_id": column["pickup_zone_id"].astype(np.int32),
                "dropoff_zone_id": column["dropoff_zone_id"].astype(np.int32),
                "company": np.array(COMPANIES)[column["company"].astype(int)],
                "borough": np.array(BOROUGHS)[column["pickup_borough"].astype(int)],
                "live": column["live_city_count"] > 0,
                "wait": batch["wait_s"].to_numpy(),
                "p50": p50,
                "p90": p90,
                "baseline": column["lagged_wait_s"].copy(),
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _arrays(predictions: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: predictions[name] for name in ("wait", "p50", "p90", "baseline")}


def _table(predictions: Mapping[str, NDArray[Any]]) -> pa.Table:
    same = ("request_datetime", "pickup_zone_id", "dropoff_zone_id", "company")
    columns = {name: predictions[name] for name in same} | {"wait_s": predictions["wait"].astype(np.int32)}
    return pa.table(columns | {f"{name}_s": predictions[name] for name in ("p50", "p90", "baseline")}).sort_by(
        "request_datetime"
    )


def _write_trees(folder: store.Folder, trained: Trees, figures: Mapping[str, Any], below: str = "") -> None:
    folder.write(f"{below}p50.txt", trained.p50.encode())
    folder.write(f"{below}p90.txt", trained.p90.encode())
    folder.write(f"{below}calibration.json", json.dumps(figures, indent=1).encode())


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _peak_memory_mb(spark: SparkSession) -> int:
    """Return the most memory that the driver's Python and Java had, each by itself, in MB."""
    java: Any = spark._jvm
    status = Path(f"/proc/{java.java.lang.ProcessHandle.current().pid()}/status").read_text()
    java_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + java_kb) / 1024)


if __name__ == "__main__":
    run(main)
