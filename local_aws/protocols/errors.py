"""The error that an operation of a service answers with, whatever its protocol."""


class AwsError(Exception):
    """An error that is returned to the caller: AWS's error code, one sentence, and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
