"""A DAG for tests on a cluster: tasks on both executors take as long as asked, and return what their code says."""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

SAYS = "first"


@dag(
    schedule=None,
    tags=["tier:test", SAYS],
    params={
        "celery": Param(1, type="integer", minimum=0),
        "kubernetes": Param(0, type="integer", minimum=0),
        "seconds": Param(0, type="number", minimum=0),
    },
    default_args={"owner": "e2e", "retries": 0, "execution_timeout": timedelta(minutes=10)},
    doc_md="Probe of the tests.",
)
def e2e_probe() -> None:
    """Run as many tasks on each executor as the parameters say."""

    def work(number: int, params: Any = None) -> str:
        """Take the time, and return what the code says."""
        import time

        print(f"task {number} says {SAYS}")
        time.sleep(params["seconds"])
        return SAYS

    @task
    def count(kind: str, params: Any = None) -> list[int]:
        """Return a number for each task."""
        return list(range(params[kind]))

    task(task_id="on_celery")(work).expand(number=count.override(task_id="celery")("celery"))
    task(task_id="on_kubernetes", executor="KubernetesExecutor")(work).expand(
        number=count.override(task_id="kubernetes")("kubernetes")
    )


e2e_probe()
