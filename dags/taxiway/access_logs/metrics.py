"""The access-log pipeline's label values of the metrics that all pipelines share."""

from taxiway.access_logs.tables import QUARANTINE
from taxiway.operations.metrics import PipelineMetrics

DAG_ID = "access_logs_etl"
DATASET = "access_requests"

METRICS = PipelineMetrics(
    dags=(DAG_ID,),
    dags_with_job_runs=(DAG_ID,),
    datasets=(DATASET,),
    reasons=lambda: tuple(QUARANTINE.contract.columns["reject_reason"].valid_values),
)
