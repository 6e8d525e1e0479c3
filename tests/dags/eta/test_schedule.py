"""What starts the DAGs of the arrival model, and what switches that off."""

from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Asset

from taxiway.core.settings import settings
from taxiway.eta.settings import eta_settings

pytestmark = pytest.mark.slow  # parses DAGs

DAGS = Path(__file__).parents[3] / "dags"


def dag_of(name: str, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Any:
    for variable, value in variables.items():
        monkeypatch.setenv(f"TAXIWAY_ETA_{variable}", value)
    settings.cache_clear()
    eta_settings.cache_clear()
    try:
        return DagBag(DAGS / f"{name}.py").dags[name]
    finally:
        eta_settings.cache_clear()


def test_a_publication_of_hvfhv_starts_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    (announced,) = dag_of("hvfhv_analysis", monkeypatch).get_task("announce").outlets
    assert isinstance(announced, Asset)

    assert dag_of("eta_model_training", monkeypatch).schedule == [announced]
    assert dag_of("eta_model_training", monkeypatch, SCHEDULED="False").schedule is None


def test_the_stream_is_looked_after_where_there_is_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dag_of("eta_stream", monkeypatch).schedule is None
    assert dag_of("eta_stream", monkeypatch, BOOTSTRAP="kafka:9092").schedule == "*/5 * * * *"
