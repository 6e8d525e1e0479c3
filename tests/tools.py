"""Finds the programs that tests need, and says which reasons for skipping a test are accepted.

A test that cannot run says why by ``absent``. On a person's machine that is a skip. With ``TAXIWAY_REQUIRE_TOOLS=1``,
as CI sets it, every skip is a failure whose reason is not one of ``ALLOWED``: see ``tests/conftest.py``.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[1]
REQUIRE = "TAXIWAY_REQUIRE_TOOLS"
# The python with Apache Spark: where `make test` has prepared it, programs start a third sooner.
_SPARK = ROOT / ".local/venvs/spark/bin/python"
SPARK_PYTHON = _SPARK if _SPARK.exists() else Path(sys.executable)

# What may be absent even where all tools are required: how the reason of such a skip begins → why that is accepted.
ALLOWED: Mapping[str, str] = {
    "chart": "the official chart is downloaded from airflow.apache.org, which a machine may be unable to reach",
    "cluster": "a cluster is built up on request only (make e2e)",
    "pluto": "built only where Go's checksum database knows it; kube-score and the API server find old versions too",
    "schemas": "kubeconform downloads Kubernetes' schemas; the API server of the cluster checks more than they do",
    "system": "the test is about something that only Linux, or only root, can do",
}

# What installs a tool, where that is not helm/tools/install.sh.
INSTALLED_BY: Mapping[str, str] = {
    "checkov": "make lint installs it",
    "chromium": "apt install chromium",
    "docker": "apt install docker.io",
    "git-daemon": "apt install git",
    "go": "see https://go.dev/dl",
    "hadolint": "make test installs it",
    "kubectl": "see https://kubernetes.io/docs/tasks/tools",
    "mariadbd": "apt install mariadb-server",
}


def absent(kind: str, what: str) -> NoReturn:
    """Skip the test because something is not on this machine.

    Args:
        kind: a key of ``ALLOWED``, or ``tool``, which is never accepted where tools are required.
        what: what is absent and how to get it.
    """
    pytest.skip(f"{kind}: {what}")


def find(*names: str) -> str | None:
    """Return the path of the first program of these names, None if there is none.

    Looked up in the repository's own tools, the environment of development, the PATH and the folders of servers.
    """
    places = [
        ROOT / ".local/bin",
        ROOT / ".local/venvs/checkov/bin",
        Path(sys.executable).parent,
        os.environ.get("PATH", ""),
        "/usr/sbin",
        "/usr/local/sbin",
    ]
    path = os.pathsep.join(map(str, places))
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def tool(*names: str) -> str:
    """Return the path of a program, under the first of its names that is found; skip the test if there is none."""
    return find(*names) or absent(
        "tool", f"{names[0]} is not installed: {INSTALLED_BY.get(names[0], f'helm/tools/install.sh {names[0]}')}"
    )
