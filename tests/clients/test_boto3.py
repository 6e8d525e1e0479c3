"""boto3, the oldest and the newest version that is tested."""

import re
from collections.abc import Callable

import pytest

from tests.clients.conftest import Client
from tests.tools import ROOT


@pytest.mark.parametrize("age", ["oldest", "newest"])
def test_first_calls(client: Callable[[str], Client], job: str, age: str) -> None:
    """S3 with empty objects between others, a step on EMR with its waiters, a job run on EMR Serverless, a query on \
Athena, errors of S3"""
    found = client(f"boto3-{age}").program("first_calls", f"boto3-{age}", job)
    lock = (ROOT / f"requirements/boto3-{age}.txt").read_text()
    assert found == {
        "version": re.findall(r"(?m)^boto3==(\S+)", lock)[0],
        "stalled": False,
        "keys": ["copied", "empty1", "empty2", "full0", "full1", "full2"],
        "errors": ["KeyTooLongError", "NoSuchKey", "PreconditionFailed"],
        "step": "COMPLETED",
        "copied": len(b"zone,miles\n1,2.5\n1,3\n2,4\n"),
        "run": "SUCCESS",
        "rows": [["total"], ["6"]],
    }
