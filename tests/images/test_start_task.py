"""How the Airflow image starts a task in a pod of its own, run here with the Airflow of this environment."""

import json
import subprocess
import sys
import threading
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
    fetched: list[float] = []

    def fetch() -> None:
        time.sleep(11)  # longer than the import, and than the time after which it logs that it waits
        fetched.append(time.time())
        dags.mkdir()

    fetching = threading.Thread(target=fetch)
    fetching.start()
    done = started(dags, 60, "python", "-m", "work", "--json-string", "{}", folder=tmp_path)
    fetching.join()
    assert done.returncode == 3, done.stderr
    assert done.stderr == f"Waiting for the DAGs in {dags}, which the container git-sync fetches.\n"
    found = json.loads(done.stdout)
    began = found.pop("time")
    assert fetched[0] <= began < fetched[0] + 2
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
