"""How the Airflow image starts a task in a pod of its own, run here with the Airflow of this environment."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # imports Airflow in each process

START = Path(__file__).parents[2] / "images/airflow/start_task.py"
# Prints what a task finds in its process.
TASK = """
import gc, json, sys, time
print(json.dumps({
    "name": __name__, "arguments": sys.argv, "collects": gc.isenabled(), "time": time.time(),
    "imported": "airflow.sdk.execution_time.supervisor" in sys.modules,
}))
sys.exit(3)
"""


def started(*words: str | Path | int, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(START), *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_a_task_begins_when_its_dags_are_there_and_has_airflow_by_then(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(TASK)
    dags = tmp_path / "dags"
    words = [sys.executable, str(START), str(dags), "600", "python", "-m", "work", "--json-string", "{}"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        # Written after the import: Airflow is there before the DAGs are.
        waiting = process.stderr.readline()
        fetched = time.time()
        dags.mkdir()
        # communicate() would lose what the line before was read with.
        stdout, stderr = process.stdout.read(), process.stderr.read()
    assert waiting == f"Waiting for the DAGs in {dags}, which the container git-sync fetches.\n"
    assert (process.returncode, stderr) == (3, "")
    found = json.loads(stdout)
    assert fetched <= found.pop("time")
    assert found == {
        "name": "__main__",
        "arguments": [str(tmp_path / "work.py"), "--json-string", "{}"],
        "collects": True,
        "imported": True,
    }


def test_what_the_executor_asks_for_is_run(tmp_path: Path) -> None:
    module = "airflow.sdk.execution_time.execute_workload"
    done = started(tmp_path, 60, "python", "-m", module, "--json-string", "no workload", folder=tmp_path)
    assert done.returncode == 1
    assert "Failed to parse input JSON string" in done.stdout + done.stderr
    assert not {"Traceback", "Warning"} & set(done.stderr.replace(":", " ").split())


def test_any_other_command_is_run_as_it_is(tmp_path: Path) -> None:
    done = started(tmp_path, 60, "sh", "-c", "echo $0; exit 4", "zero", folder=tmp_path)
    assert (done.returncode, done.stdout) == (4, "zero\n")


def test_dags_that_never_come_are_one_sentence(tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    done = started(dags, 0, "python", "-m", "work", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"The DAGs are not in {dags} after 0 s: the log of the container git-sync says why."
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [(), ("dags",), ("dags", "60")])
def test_missing_arguments_are_answered_by_the_usage(words: tuple[str, ...], tmp_path: Path) -> None:
    done = started(*words, folder=tmp_path)
    assert done.returncode == 2
    assert "start_task.py FOLDER SECONDS python -m MODULE" in done.stderr
