"""A local AWS for all tests of the API logs' runs, and a lake in it."""

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import boto3
import pytest

from taxiway.api_logs import __main__ as command
from taxiway.api_logs import athena, run
from taxiway.api_logs.settings import api_logs_settings
from taxiway.api_logs.tables import TABLES
from taxiway.core.settings import settings
from taxiway.lake import Lake
from tests.dags.runs import empty_lake, prepared_aws

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory, airflow_db: None) -> Iterator[Path]:
    """Point AWS clients at a local AWS of their own; return its folder."""
    folder = tmp_path_factory.mktemp("aws")
    with prepared_aws(folder, api_logs_settings, TAXIWAY_API_LOGS_RECHECK_HOURS="0"):
        assert command.main(["set-up"]) == 0
        yield folder


@pytest.fixture
def lake(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Return the lake, with nothing in it; the tasks use the same clients, which take long to make."""
    empty_lake()
    found = Lake(settings(), _SharedClients(), TABLES)
    monkeypatch.setattr(run, "lake", lambda: found)
    monkeypatch.setattr(athena, "workgroup", partial(athena.workgroup, found.session.client("athena")))
    return found


class _SharedClients(boto3.Session):  # type: ignore[misc]
    """A session that makes each client once."""

    def __init__(self) -> None:
        super().__init__()
        self.client = cache(super().client)
