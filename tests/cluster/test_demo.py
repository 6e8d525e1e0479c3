"""The list of data sets as the cluster sees it, and what is said of a failed task."""

import subprocess

import pytest

from cluster.airflow_api import import_error, lines, reason
from cluster.config import ClusterError
from cluster.demo import SAMPLE, catalogue_command, cluster_list, failure
from taxiway.dataset_list import read_list

TASK = {"dag_id": "hvfhv_collection", "dag_run_id": "r", "task_id": "collect", "map_index": 0, "try_number": 2}


def test_the_sample_is_named_by_its_place_in_the_pods(tmp_path):
    text, months = cluster_list(SAMPLE)
    assert months == ["2023-01", "2023-02", "2023-03"]
    copy = tmp_path / "list.csv"
    copy.write_text(text)
    urls = [dataset.url for _, dataset in read_list(copy)]
    assert urls[0] == "file:///opt/airflow/dags/repo/laptop/sample/fhvhv_tripdata_sample_2023-01.parquet"


def test_addresses_stay_and_files_elsewhere_are_refused(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("name,month,url\na,2024-01,https://example.com/a.parquet\n")
    assert "https://example.com/a.parquet" in cluster_list(file)[0]
    (tmp_path / "b.parquet").write_text("")
    file.write_text("name,month,url\nb,2024-01,b.parquet\n")
    with pytest.raises(ClusterError, match=r"b\.parquet is no file of the checkout"):
        cluster_list(file)
    file.write_text("name,url\n")
    with pytest.raises(ClusterError, match="needs the columns"):
        cluster_list(file)
    with pytest.raises(ClusterError, match="cannot be read"):
        cluster_list(tmp_path / "none.csv")


def test_a_list_reaches_a_pod_by_standard_input(tmp_path):
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "$@" | grep -q -- "-m taxiway.catalogue load --whole-months /" && cat "$5"\n')
    program.chmod(0o755)
    command = catalogue_command("load --whole-months", file=True)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    result = subprocess.run(command, input="a,b\n", capture_output=True, text=True, env=environment, check=False)
    assert (result.returncode, result.stdout) == (0, "a,b\n")
    assert [path.name for path in tmp_path.iterdir()] == ["python"], "nothing is left behind"


def test_a_failed_task_is_named_with_its_reason_and_last_lines():
    entries = [
        {"event": "::group::Log message source details", "sources": ["s3://l"]},
        {"event": "begins", "level": "info"},
        {"event": "Task failed", "level": "error", "error_detail": [{"exc_value": "The server answered 404.\nmore"}]},
    ]
    assert reason(entries) == "The server answered 404."
    said = failure("2023-01: collect", TASK, entries)
    assert said.splitlines()[0].endswith("run r, try 2): The server answered 404.")
    assert lines(entries, 5) == ["info begins", "error Task failed"]
    assert "no exception" in failure("x", TASK, [])


def test_an_import_error_is_one_line():
    trace = "Traceback\n  File x\nModuleNotFoundError: No module named 'taxiway'"
    assert import_error({"filename": "d/a.py", "stack_trace": trace}) == (
        "a.py cannot be imported: ModuleNotFoundError: No module named 'taxiway'"
    )
