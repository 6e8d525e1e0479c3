"""Copies what is published out of the lake, as plain Parquet and HTML files."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import boto3

from console.demo import Demo
from console.errors import UserError
from taxiway.core import contracts
from taxiway.core.s3 import is_data_file, split
from taxiway.core.settings import Settings
from taxiway.lake import Lake, Table, TableSet


def open_lake(demo: Demo[Any]) -> Lake:
    """Return the lake of a pipeline's tables, which are those of its contracts."""
    return Lake(Settings.read(), boto3.Session(), TableSet(demo.name))


def copy_results(demos: Iterable[Demo[Any]], folder: Path) -> dict[str, str]:
    """Write every published partition and report of pipelines below a folder.

    Files have the paths that they have in the lake, without versions: ``<table path>/year=YYYY/month=MM/*.parquet``, of
    a table without partitions ``<table path>/*.parquet``, and ``<reports>/*.html``. A partition that is there already
    is replaced as a whole; other files of the folder stay.

    Returns:
        path of a table or of the reports → how much was copied, such as ``3 partitions``.

    Raises:
        UserError: nothing is published, or the folder cannot be written.
    """
    s3: Any = boto3.client("s3")
    copied = {}
    try:
        for demo in demos:
            lake = open_lake(demo)
            root = lake.settings.lake
            for table in (*lake.tables, *_built(demo)):
                published, built = lake.partitions(table), "builtBy" in table.contract.properties
                for period, partition in published.items():
                    location = partition.location.rstrip("/")
                    target = Path(table.contract.partition_folder(str(folder), period))
                    # What dbt builds without a row has no file, and else files without a suffix, as Athena names them.
                    if not copy_folder(s3, location, target, ".parquet" if built else "") and not built:
                        raise UserError(f"{location} is published and holds no data file: run the DAG for it again.")
                copied[table.path] = len(published), "partition" if table.contract.partition_keys else "table"
            if demo.reports:
                copied[demo.reports] = copy_folder(s3, f"{root}/{demo.reports}", folder / demo.reports), "file"
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}. Choose another place with DEST=…") from None
    if not any(count for count, _ in copied.values()):
        raise UserError("Nothing is published yet: run make demo first.")
    return {path: f"{count} {unit}{'s' * (count != 1)}" for path, (count, unit) in copied.items()}


def _built(demo: Demo[Any]) -> list[Table]:
    """Return the tables of a pipeline that it does not publish: something else builds them, such as dbt."""
    tables = (Table(demo.name, name) for name in contracts.names(demo.name))
    return [table for table in tables if "builtBy" in table.contract.properties]


def copy_folder(s3: Any, location: str, target: Path, suffix: str = "") -> int:
    """Copy the data files below an S3 folder into a new local folder, then put it in the target's place.

    Args:
        s3: client of boto3.
        location: the folder.
        target: the local folder.
        suffix: that a file gets which has another one.

    Returns:
        the number of files.
    """
    bucket, prefix = split(location)
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    count = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        for found in page.get("Contents", []):
            name = found["Key"].removeprefix(f"{prefix}/")
            if not is_data_file(name, found["Size"]):
                continue
            path = fresh / (name if name.endswith(suffix) else f"{name}{suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, found["Key"], str(path))
            count += 1
    if count:
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    return count
