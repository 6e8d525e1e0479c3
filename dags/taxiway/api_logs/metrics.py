"""The API logs' label values of the metrics that all pipelines share."""

from taxiway.api_logs.tables import QUARANTINE
from taxiway.operations.metrics import PipelineMetrics

DATASET = "api_events"

METRICS = PipelineMetrics(
    dags=("api_logs_etl",),
    datasets=(DATASET,),
    reasons=lambda: tuple(QUARANTINE.contract.columns["reject_reason"].valid_values),
)
