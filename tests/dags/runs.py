"""A local AWS for the tests of a file, and whole runs of DAGs on it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from taxiway.core.settings import settings

ROOT = Path(__file__).parents[2]


@contextmanager
def local_aws(folder: Path) -> Iterator[str]:
    """Run a local AWS with its data in a folder; yield its address."""
    command = [sys.executable, "-m", "local_aws", "--port", "0", "--data", str(folder), "--state-seconds", "0"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        yield server.stdout.readline().removeprefix("AWS on this machine: ").split()[0]
    finally:
        server.terminate()
        server.wait(60)


@contextmanager
def prepared_aws(folder: Path, read_settings: Callable[[], Any], **environment: str) -> Iterator[None]:
    """Point AWS clients and settings at a local AWS with the platform's buckets, whose data is in a folder.

    Args:
        folder: for its data.
        read_settings: the cached settings of the pipeline.
        environment: further variables.
    """
    with local_aws(folder) as endpoint, pytest.MonkeyPatch.context() as patch:
        try:
            for name, value in {"AWS_ENDPOINT_URL": endpoint, "TAXIWAY_POLL_S": "1", **environment}.items():
                patch.setenv(name, value)
            _forget(read_settings)
            for bucket in ("taxiway-lake", "taxiway-artifacts", "taxiway-logs"):
                boto3.client("s3").create_bucket(Bucket=bucket)
            yield
        finally:
            _forget(read_settings)


def empty_lake() -> None:
    """Remove all objects of the lake and all databases of Glue."""
    boto3.resource("s3").Bucket("taxiway-lake").objects.all().delete()
    glue = boto3.client("glue")
    for database in glue.get_databases()["DatabaseList"]:
        glue.delete_database(Name=database["Name"])


def _forget(read_settings: Any) -> None:
    settings.cache_clear()
    read_settings.cache_clear()


def retry_at_once(dag: Any, retries: int | None = None) -> Any:
    """Let the tasks of a DAG wait for no retry, and give each as many as asked for; return the DAG."""
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    given = {"retry_delay": timedelta(0), "retry_exponential_backoff": 0}
    for task in dag.tasks:
        own = task.partial_kwargs if isinstance(task, MappedOperator) else vars(task)
        own |= given if retries is None else given | {"retries": retries}
    return dag


def run_once(dag_id: str, conf: dict[str, Any]) -> tuple[str, dict[str, list[str]]]:
    """Run a DAG without retries; return the state of the run, and the states of each task by index."""
    from airflow.dag_processing.dagbag import DagBag

    done = retry_at_once(DagBag(ROOT / "dags").dags[dag_id], retries=0).test(run_conf=conf)
    states: dict[str, list[str]] = {}
    for instance in sorted(done.get_task_instances(), key=lambda instance: instance.map_index):
        states.setdefault(instance.task_id, []).append(str(instance.state))
    return str(done.state), states
