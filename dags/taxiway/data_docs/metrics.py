"""The data-docs page counts nothing and has no deadline."""

from taxiway.operations.metrics import PipelineMetrics

METRICS = PipelineMetrics(dags=())
