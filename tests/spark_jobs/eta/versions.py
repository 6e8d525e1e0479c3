"""Versions of the model for tests: small trees, each version with other ones."""

import io
import json
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from spark_jobs.eta.features import FEATURES, ZONES
from spark_jobs.eta.model import FILES, feature_contract

BUCKET = "lake"
LAKE = f"s3://{BUCKET}"


def files(seed: int) -> dict[str, bytes]:
    """Return the files of a version."""
    draw = np.random.default_rng(seed)
    matrix = draw.uniform(0, 300, (500, len(FEATURES)))
    trees = []
    for level, quantile in ((0.0, 0.5), (150.0, 0.9)):
        options = {"objective": "quantile", "alpha": quantile, "num_leaves": 7, "verbose": -1, "seed": seed}
        label = level + 0.4 * matrix[:, -1] + draw.normal(0, 20, len(matrix))
        trees.append(lightgbm.train(options, lightgbm.Dataset(matrix, label), 5).model_to_string().encode())
    rows: list[tuple[int | None, int | None, float, int]] = [(None, None, 240.0, 1000)]
    rows += [(zone_id, None, 200.0 + zone_id % 50, 100) for zone_id in ZONES]
    rows += [(zone_id, hour, 180.0 + zone_id % 50 + hour, 30) for zone_id in list(ZONES)[::2] for hour in range(24)]
    columns = zip(*rows, strict=True)
    kinds = {"pickup_zone_id": pa.int32(), "request_hour": pa.int32(), "wait_s": pa.float64(), "requests": pa.int64()}
    lagged = pa.table(
        {name: pa.array(column, kind) for (name, kind), column in zip(kinds.items(), columns, strict=True)}
    )
    sink = io.BytesIO()
    parquet.write_table(lagged, sink)
    contents = (feature_contract().encode(), *trees, b'{"p90_offset_s": 3.5, "coverage": 0.9}', sink.getvalue())
    return dict(zip(FILES, contents, strict=True)) | {"metrics.json": json.dumps(METRICS).encode()}


METRICS: dict[str, Any] = {
    "mae_s": 100.0,
    "by_company": {"uber": {"mae_s": 90.0}, "lyft": {"mae_s": 120.0}},
    "by_borough": {"Manhattan": {"mae_s": 95.0}, "Staten Island": {"mae_s": 150.0}},
}


def put(s3: Any, version: str, contents: dict[str, bytes]) -> None:
    """Write a version."""
    for name, content in contents.items():
        s3.put_object(Bucket=BUCKET, Key=f"models/eta/{version}/{name}", Body=content)


def promote(s3: Any, version: str, **fields: str) -> None:
    """Move the pointer."""
    pointer = {"version": version, "promoted_at": "2026-11-26T03:00:00+00:00", **fields}
    s3.put_object(Bucket=BUCKET, Key="models/eta/live.json", Body=json.dumps(pointer).encode())
