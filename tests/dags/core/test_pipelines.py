"""The pipelines that are there declare what shared code asks of them."""

import importlib

import pytest

from taxiway.core import contracts, pipelines
from taxiway.lake import TableSet
from taxiway.operations.metrics import PipelineMetrics


def test_the_main_pipeline_is_there() -> None:
    assert pipelines.MAIN in pipelines.names()
    assert pipelines.MAIN in contracts.pipelines()


@pytest.mark.parametrize("pipeline", pipelines.names())
def test_a_pipeline_declares_metrics_and_settings(pipeline: str) -> None:
    modules = pipelines.modules("metrics")
    assert isinstance(modules[pipeline].METRICS, PipelineMetrics)
    settings = importlib.import_module(f"taxiway.{pipeline}.settings")
    found = [each for each in pipelines.settings_classes() if each.__module__ == settings.__name__]
    assert found
    assert all(each.variable("x") == f"TAXIWAY_{pipeline.upper()}_X" for each in found)


@pytest.mark.parametrize("pipeline", contracts.pipelines())
def test_a_pipelines_contracts_make_a_set(pipeline: str) -> None:
    for tables in TableSet(pipeline).sets:  # a pipeline of models and topics publishes no table
        assert list(tables)[-1] == tables.anchor
