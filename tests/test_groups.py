"""Which tests one worker keeps together."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import group_of

ROOT = Path(__file__).parents[1]


@pytest.mark.slow  # starts pytest with two workers
def test_heavy_tests_have_one_worker() -> None:
    files = ["tests/laptop/test_config.py", "tests/local_aws/test_structure.py"]
    command = [sys.executable, "-m", "pytest", "-v", "--numprocesses=2", "--dist=loadscope", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *files, "tests/test_architecture.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    ran = [line.split() for line in done.stdout.splitlines() if line.startswith("[gw")]
    workers = {(words[0], group_of(next(word for word in words if word.startswith("tests/")))) for words in ran}
    assert sorted(group for _, group in workers) == ["heavy", "tests/test_architecture.py"], "each group has one worker"
