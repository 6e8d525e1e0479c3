"""The database of the tests' own Airflow, and AWS on loopback."""

import pytest

from local_aws.pytest_plugin import LocalAws


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Create the database of Airflow's own metadata."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def aws(local_aws: LocalAws) -> str:
    """Point all AWS clients at an empty AWS; return its address."""
    return local_aws.url
