"""An Airflow of the tests' own, and AWS on loopback; set up before anything imports Airflow."""

import os
import tempfile
from pathlib import Path

import pytest

from local_aws.pytest_plugin import LocalAws

ROOT = Path(__file__).parents[2]
_home = tempfile.TemporaryDirectory(prefix="taxiway-airflow-")
os.environ |= {
    "AIRFLOW_HOME": _home.name,
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_home.name}/airflow.db",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW_CONN_TLC_CATALOG": f"sqlite:///{_home.name}/catalogue.db",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Create the database of Airflow's own metadata."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def aws(local_aws: LocalAws) -> str:
    """Point all AWS clients at an empty AWS; return its address."""
    return local_aws.url
