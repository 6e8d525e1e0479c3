"""The error that an operation of a service answers with, whatever its protocol."""

from collections.abc import Mapping
from typing import Any


class AwsError(Exception):
    """An error that is returned to the caller: AWS's error code, one sentence, the HTTP status, further members."""

    def __init__(self, code: str, message: str, status: int = 400, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.extra = dict(extra or {})
