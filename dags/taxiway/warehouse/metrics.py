"""The warehouse's label values of the metrics that all pipelines share."""

from taxiway.operations.metrics import PipelineMetrics
from taxiway.warehouse.tables import REJECTED

METRICS = PipelineMetrics(
    dags=("warehouse_loads", "warehouse_summaries", "warehouse_serving"),
    # Not read from the contracts, which a DAG file does without.
    datasets=(
        *("name_gender", "taxi_zones", "fhv_bases"),
        *("ride_ratings", "experiment_assignments", "experiment_exposures"),
    ),
    reasons=lambda: tuple(REJECTED.contract.columns["reject_reason"].valid_values),
)
