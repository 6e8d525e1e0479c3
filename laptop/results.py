"""Copies what is published out of the lake, as plain Parquet and HTML files."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3

from laptop.config import LaptopError
from taxiway.lake import TABLES, Lake

REPORTS = "reports/hvfhv"


def copy_results(lake: Lake, folder: Path) -> dict[str, int]:
    """Write every published partition and report below a folder.

    Tables become ``<table path>/year=YYYY/month=MM/*.parquet``, reports ``reports/hvfhv/YYYY-MM.html``. A partition
    that is there already is replaced as a whole; other files of the folder stay.

    Returns:
        table path (or that of the reports) → number of months.

    Raises:
        LaptopError: nothing is published, or the folder cannot be written.
    """
    s3: Any = boto3.client("s3")
    copied = {}
    try:
        for table in TABLES:
            partitions = lake.partitions(table)
            for month, partition in partitions.items():
                year, _, number = month.partition("-")
                _replace(s3, partition.location, folder / table.path / f"year={year}" / f"month={number}")
            copied[table.path] = len(partitions)
        copied[REPORTS] = _replace(s3, f"{lake.settings.lake}/{REPORTS}", folder / REPORTS)
    except OSError as error:
        raise LaptopError(f"{folder} cannot be written: {error.strerror}. Choose another place with DEST=…") from None
    if not any(copied.values()):
        raise LaptopError("Nothing is published yet: run make demo first.")
    return copied


def copy_reports(lake: Lake, folder: Path, months: Sequence[str]) -> list[Path]:
    """Copy the reports of some months to a folder and return their paths."""
    s3: Any = boto3.client("s3")
    bucket, _, prefix = f"{lake.settings.lake}/{REPORTS}".removeprefix("s3://").partition("/")
    folder.mkdir(parents=True, exist_ok=True)
    copied = [folder / f"{month}.html" for month in months]
    for path in copied:
        s3.download_file(bucket, f"{prefix}/{path.name}", str(path))
    return copied


def _replace(s3: Any, location: str, target: Path) -> int:
    """Copy the objects below an S3 folder into a new local folder, then put it in the target's place."""
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    count = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        for found in page.get("Contents", []):
            path = fresh / found["Key"].removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, found["Key"], str(path))
            count += 1
    if count:
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    return count
