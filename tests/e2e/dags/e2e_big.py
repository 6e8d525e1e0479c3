"""A DAG for tests on a cluster: where tasks of the queue "big" run, and where the others do."""

from datetime import timedelta

from airflow.sdk import dag, task


@dag(
    schedule=None,
    tags=["tier:test"],
    default_args={"owner": "e2e", "retries": 0, "execution_timeout": timedelta(minutes=10)},
    doc_md="Probe of the tests.",
)
def e2e_big() -> None:
    """Run tasks on both sets of workers."""

    def where(number: int) -> str:
        """Return the name of the pod."""
        import os

        return f"{number} {os.environ['HOSTNAME']}"

    task(task_id="on_big", queue="big")(where).expand(number=[0, 1, 2])
    task(task_id="on_default")(where).expand(number=[0, 1, 2, 3, 4, 5])


e2e_big()
