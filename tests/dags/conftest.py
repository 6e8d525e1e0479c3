"""The database of the tests' own Airflow, the catalogue's, and AWS on loopback."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from local_aws.pytest_plugin import LocalAws


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Create the database of Airflow's own metadata."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return what captures log lines, when Airflow has set up logging: it would undo a test's own levels and handlers.

    Airflow does so when it is first imported, by whatever line of whatever test that is.
    """
    import airflow  # noqa: F401

    return caplog


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """Return a migrated catalogue, the one of Airflow's connection."""
    from taxiway import catalogue

    url = f"sqlite:///{tmp_path}/catalogue.db"
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", url)
    engine = catalogue.open_engine(url)
    catalogue.migrate(engine)
    return engine


@pytest.fixture
def aws(local_aws: LocalAws) -> str:
    """Point all AWS clients at an empty AWS; return its address."""
    return local_aws.url
