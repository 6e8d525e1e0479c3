"""An empty AWS in this process's memory, for tests that need no server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto import mock_aws
from moto.moto_api._internal.models import moto_api_backend


@contextmanager
def aws_in_memory() -> Iterator[None]:
    """Have boto3's clients reach an AWS in memory, whatever earlier tests left: variables, or state of moto's."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
            patch.delenv(name)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with mock_aws():
            moto_api_backend.reset()
            yield
