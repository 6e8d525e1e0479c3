"""The six pages of Grafana: a file each in Python, and the JSON made of them in ``helm/monitoring/dashboards/``.

``python -m monitoring.dashboards`` writes the JSON anew; a test holds both equal.
"""

from pathlib import Path

from monitoring.dashboards import (
    dags_and_tasks,
    data_quality,
    delivery,
    emr_and_cost,
    executors_and_queues,
    platform_health,
)

FOLDER = Path(__file__).parents[2] / "helm" / "monitoring" / "dashboards"
PAGES = {
    module.__name__.rpartition(".")[2].replace("_", "-"): module.page
    for module in (platform_health, dags_and_tasks, executors_and_queues, emr_and_cost, data_quality, delivery)
}


def texts() -> dict[str, str]:
    """Return what each file in :data:`FOLDER` is to hold, by its name."""
    pages = list(PAGES.values())
    return {f"{name}.json": page.text(pages) for name, page in PAGES.items()}
