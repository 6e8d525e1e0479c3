"""Versions of the arrival model, small and known, for tests of what serves them."""

import io
import json
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs.eta.features import NAMES
from spark_jobs.eta.model import feature_contract

LAGGED_S = 240.0


class Models:
    """A registry of a lake.

    Args:
        s3: a boto3 client.
        bucket: that the lake is to be.
    """

    def __init__(self, s3: Any, bucket: str = "lake") -> None:
        self._s3, self._bucket = s3, bucket
        self.lake = f"s3://{bucket}"
        s3.create_bucket(Bucket=bucket)  # which may be there already

    def add(self, version: str, more_s: float, **files: bytes | None) -> None:
        """Write a version whose 50th percentile is the lagged median and some seconds more.

        Args:
            version: its name.
            more_s: those seconds; the 90th percentile is 100 s above.
            files: content of other files than the usual, None for none; ``__`` stands for the dot of their names.
        """
        trees = lightgbm.train(
            {"objective": "regression", "verbosity": -1},
            lightgbm.Dataset(np.zeros((100, len(NAMES))), np.full(100, more_s)),
            num_boost_round=1,
        ).model_to_string()
        lagged = pa.table(
            {
                "pickup_zone_id": pa.array([None], pa.int32()),
                "request_hour": pa.array([None], pa.int32()),
                "wait_s": [LAGGED_S],
                "requests": [1000],
            }
        )
        sink = io.BytesIO()
        pq.write_table(lagged, sink)
        usual: dict[str, bytes | None] = {
            "features.json": feature_contract().encode(),
            "p50.txt": trees.encode(),
            "p90.txt": trees.encode(),
            "calibration.json": json.dumps({"p90_offset_s": 100.0, "coverage": 0.9}).encode(),
            "lagged.parquet": sink.getvalue(),
            "metrics.json": json.dumps({"version": version, "test_month": "2023-06", "mae_s": 100.0}).encode(),
        }
        for name, content in (usual | {key.replace("__", "."): value for key, value in files.items()}).items():
            if content is not None:
                self._s3.put_object(Bucket=self._bucket, Key=f"models/eta/{version}/{name}", Body=content)

    def promote(self, version: str) -> None:
        pointer = {"version": version, "previous": None, "promoted_at": "2026-01-01T00:00:00+00:00"}
        pointer |= {"by": "a test", "reason": "It is to be served."}
        self._s3.put_object(Bucket=self._bucket, Key="models/eta/live.json", Body=json.dumps(pointer).encode())
