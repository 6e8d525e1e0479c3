"""Versions of the model for tests: what training would have measured, without the model."""

import json
from typing import Any

import boto3

OLD, NEW, LATER = "20260101T000000-2023-04", "20260201T000000-2023-05", "20260301T000000-2023-06"


def measured(version: str, **changes: Any) -> dict[str, Any]:
    """Return the metrics of a version that passes the gate; ``changes`` replaces some."""
    group = {"rows": 5000, "mae_s": 113.0, "baseline_mae_s": 121.7}
    return {
        "version": version,
        "test_month": version[16:],
        "train_months": ["2023-01", "2023-02"],
        "winner": "lightgbm",
        "rows": 10_000,
        "mae_s": 113.0,
        "baseline_mae_s": 121.7,
        "global_median_mae_s": 126.1,
        "p90_coverage": 0.9,
        "by_company": {"uber": dict(group), "lyft": dict(group)},
        "by_borough": {"Manhattan": dict(group), "Queens": dict(group)},
        "training_s": 12.5,
        **changes,
    }


def write(version: str, lake: str = "taxiway-lake", **changes: Any) -> None:
    """Write a version into a lake's registry."""
    s3, folder = boto3.client("s3"), f"models/eta/{version}"
    for name, body in (("", b""), ("p50.txt", b"trees"), ("card.html", b"<html>")):  # S3A leaves a marker
        s3.put_object(Bucket=lake, Key=f"{folder}/{name}", Body=body)
    s3.put_object(Bucket=lake, Key=f"{folder}/metrics.json", Body=json.dumps(measured(version, **changes)).encode())
