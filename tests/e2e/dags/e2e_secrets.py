"""A DAG for tests on a cluster: tasks of both executors read a connection and a variable that only the backend has."""

from datetime import timedelta

from airflow.sdk import dag, task


@dag(
    schedule=None,
    tags=["tier:test"],
    default_args={"owner": "e2e", "retries": 0, "execution_timeout": timedelta(minutes=10)},
    doc_md="Probe of the tests.",
)
def e2e_secrets() -> None:
    """Read them once on each executor."""

    def read() -> str:
        """Return the host of the connection and the value of the variable."""
        from airflow.sdk import BaseHook, Variable

        return f"{BaseHook.get_connection('e2e').host} {Variable.get('e2e')}"

    task(task_id="on_celery")(read)()
    task(task_id="on_kubernetes", executor="KubernetesExecutor")(read)()


e2e_secrets()
