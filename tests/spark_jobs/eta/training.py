"""Runs a training in a process of its own, and keeps what the tests compare: what Spark ML itself predicts.

``training.py FOLDER ARGUMENTS…``: FOLDER gets the files, ARGUMENTS are the program's.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.common import tables
from spark_jobs.common.session import session
from spark_jobs.eta import candidates, frames, train
from spark_jobs.eta.features import NAMES, Lagged


def main(folder: Path) -> None:
    """Train, and write ``spark-ml.npz`` (features and predictions of rows) ``whole.npy``, ``half.npy``."""
    fit = candidates.fit_spark_ml

    def fit_and_keep(rows: DataFrame) -> Any:
        fitted = fit(rows)
        if not (folder / "spark-ml.npz").exists():  # of the first training, which is the candidate's own
            seen = fitted.transform(candidates.assembled(rows)).select(*NAMES, "prediction").toArrow()
            matrix = np.column_stack([seen[name].to_numpy() for name in NAMES])
            np.savez(folder / "spark-ml.npz", matrix=matrix, prediction=seen["prediction"].to_numpy())
        return fitted

    candidates.fit_spark_ml = fit_and_keep
    train.main()
    _leaks(folder, next(text.partition("=")[2] for text in sys.argv if text.startswith("2023-02=")))


def _leaks(folder: Path, place: str) -> None:
    """Write the features of a month's first half: of the whole month, and of a month that ends with that half."""
    rows = frames.published(tables.read(session(), place), place)
    lagged = Lagged({(None, None): (240.0, 1)})
    half = F.col("request_datetime") < F.lit("2023-02-15 12:30:00").cast("timestamp_ntz")
    order = [(column, "ascending") for column in (*frames.KEPT, *NAMES)]
    for name, month in (("whole", rows), ("half", rows.where(half))):
        found = frames.with_features(month, lagged).where(half).toArrow().sort_by(order)
        np.save(folder / f"{name}.npy", np.column_stack([found[column].to_numpy() for column in NAMES]))


if __name__ == "__main__":
    main(Path(sys.argv.pop(1)))
