"""Where objects go: S3, or a local folder."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Put = Callable[[str, bytes], None]
"""Writes an object, given its path below the target."""


def target_of(address: str, session: Any) -> Put:
    """Return what writes objects.

    Args:
        address: ``s3://bucket[/prefix]``, or a folder.
        session: a ``boto3.Session``; for a folder it is not used.
    """
    if address.startswith("s3://"):
        bucket, _, prefix = address.removeprefix("s3://").rstrip("/").partition("/")
        client = session.client("s3")
        return lambda path, body: client.put_object(Bucket=bucket, Key=f"{prefix}/{path}".lstrip("/"), Body=body)

    def put(path: str, body: bytes) -> None:
        file = Path(address) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(body)
        os.replace(part, file)  # noqa: PTH105 - readers see a whole object, as on S3

    return put
