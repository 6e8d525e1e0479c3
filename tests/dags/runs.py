"""A local AWS for the tests of a file, and whole runs of DAGs on it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def run_once(dag_id: str, conf: dict[str, Any]) -> tuple[str, dict[str, list[str]]]:
    """Run a DAG without retries; return the state of the run, and the states of each task by index."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    dag = DagBag(ROOT / "dags").dags[dag_id]
    for task in dag.tasks:
        (task.partial_kwargs if isinstance(task, MappedOperator) else vars(task))["retries"] = 0
    done = dag.test(run_conf=conf)
    states: dict[str, list[str]] = {}
    for instance in sorted(done.get_task_instances(), key=lambda instance: instance.map_index):
        states.setdefault(instance.task_id, []).append(str(instance.state))
    return str(done.state), states
