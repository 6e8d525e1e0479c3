"""The HVFHV pipeline's label values of the metrics that all pipelines share."""

from taxiway.hvfhv.tables import QUARANTINE
from taxiway.operations.metrics import PipelineMetrics

DATASET = "hvfhv_trips"  # one name for the files of all months

METRICS = PipelineMetrics(
    dags=("hvfhv_analysis", "hvfhv_collection"),
    dags_with_clusters=("hvfhv_analysis",),
    datasets=(DATASET,),
    reasons=lambda: tuple(QUARANTINE.contract.columns["reject_reason"].valid_values),
)
