"""Rides of published months, or of a Parquet file."""

import io
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from console.errors import UserError
from taxiway.core import contracts
from taxiway.core.s3 import is_data_file, split

COLUMNS = pa.schema(
    [
        ("request_datetime", pa.timestamp("us")),
        ("company", pa.string()),
        ("pickup_zone_id", pa.int32()),
        ("dropoff_zone_id", pa.int32()),
        ("trip_miles", pa.float64()),
        ("wait_s", pa.int32()),
    ]
)
"""What is read of ``eta_training``."""
ORDER = [(name, "ascending") for name in COLUMNS.names]
"""Of rides: by their request, then by all else, so that rides have the same ids whatever order files have them in."""


def of_month(month: str, database: str) -> pa.Table:
    """Return the rides of a month as published, in the order of their requests.

    Args:
        month: ``YYYY-MM``.
        database: of the Glue catalogue.

    Raises:
        UserError: the month is not published, or AWS does not answer.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
        raise UserError(f"{month} is not a month: write it as 2023-06.")
    table = contracts.read("hvfhv", "eta_training").table
    try:
        partition = boto3.client("glue").get_partition(
            DatabaseName=database, TableName=table, PartitionValues=month.split("-")
        )
        bucket, prefix = split(partition["Partition"]["StorageDescriptor"]["Location"])
        s3: Any = boto3.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        keys = [
            found["Key"]
            for page in pages
            for found in page.get("Contents", [])
            if is_data_file(found["Key"].removeprefix(f"{prefix}/"), found["Size"])
        ]
        parts = [
            _read(pa.BufferReader(s3.get_object(Bucket=bucket, Key=key)["Body"].read()), f"s3://{bucket}/{key}")
            for key in keys
        ]
    except ClientError as error:
        if error.response["Error"]["Code"] == "EntityNotFoundException":
            raise UserError(
                f"{month} is not published in {database}.{table}: run hvfhv_analysis for it, or choose another month."
            ) from None
        raise UserError(f"AWS refused to give {database}.{table} of {month}: {error}") from None
    except BotoCoreError as error:
        raise UserError(f"{database}.{table} of {month} cannot be read: {error}") from None
    return _ordered(parts, f"{database}.{table} of {month}")


def of_file(file: Path) -> pa.Table:
    """Return the rides of a Parquet file with the columns of ``eta_training``, in the order of their requests.

    Raises:
        UserError: it cannot be read.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): name a Parquet file.") from None
    return _ordered([_read(io.BytesIO(data), str(file))], str(file))


def _read(source: Any, name: str) -> pa.Table:
    try:
        return pq.read_table(source, columns=COLUMNS.names).cast(COLUMNS)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{name} is no Parquet file with the columns of eta_training ({reason}).") from None


def _ordered(parts: list[pa.Table], name: str) -> pa.Table:
    rides = pa.concat_tables(parts) if parts else COLUMNS.empty_table()
    rides = rides.filter(pc.is_valid(rides["request_datetime"])).sort_by(ORDER).combine_chunks()
    if not len(rides):
        raise UserError(f"{name} has no rides: choose another month.")
    return rides
