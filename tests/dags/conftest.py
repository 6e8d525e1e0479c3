"""An Airflow of the tests' own, and AWS on loopback; set up before anything imports Airflow."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

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


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """Run moto's AWS over HTTP; return its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Point all AWS clients at an empty AWS; return its address."""
    import requests

    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    yield moto_url
    requests.post(f"{moto_url}/moto-api/reset", timeout=10)
