"""The arrival model's label values of the metrics that all pipelines share."""

from taxiway.operations.metrics import PipelineMetrics

TRAINING, STREAM = "eta_model_training", "eta_stream"

METRICS = PipelineMetrics(dags=(TRAINING, STREAM), dags_with_job_runs=(TRAINING,))
