"""How long Airflow takes to parse the DAG folder, beyond the import of what every DAG of its kind imports."""

import os
import subprocess
import sys
import tempfile
from statistics import median

from benchmarks.synthetic import ROOT

RUNS = 5

_PROGRAM = """
import sys, time
import airflow.sdk
import airflow.providers.amazon.aws.operators.emr
from airflow.dag_processing.dagbag import DagBag
started = time.perf_counter()
bag = DagBag(sys.argv[1])
seconds = time.perf_counter() - started
if bag.import_errors or not bag.dags:
    sys.exit(f"The DAG folder cannot be parsed: {bag.import_errors}")
print(seconds)
"""


def folder_seconds() -> float:
    """Return the median time of a first parse in a fresh process."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "PYTHONPATH": str(ROOT / "dags"),
        }
        command = [sys.executable, "-c", _PROGRAM, str(ROOT / "dags")]
        return median(
            float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout.split()[-1])
            for _ in range(RUNS)
        )
