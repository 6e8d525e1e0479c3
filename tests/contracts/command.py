"""Runs ``python -m contracts`` in the environment of its own."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".local/venvs/contracts/bin/python"


def contracts(*arguments: str | Path) -> tuple[int, str]:
    """Return the command's exit status and what it wrote to standard error: a line for each fault."""
    if not PYTHON.exists():
        pytest.skip("the environment contracts is not installed: make contracts-lint installs it")
    command = [PYTHON, "-m", "contracts", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stderr
