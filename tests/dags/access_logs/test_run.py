"""Runs of the DAG against a local AWS, with its job runs on Sail: from a delivered folder to the published tables."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models import DagRun, Variable
from airflow.sdk.definitions.mappedoperator import MappedOperator

from spark_jobs import publish
from taxiway.access_logs.plan import VARIABLE
from taxiway.access_logs.settings import access_logs_settings
from taxiway.access_logs.tables import QUARANTINE, REQUESTS, SESSIONS, TABLES
from taxiway.core.settings import settings
from taxiway.lake import Lake
from tests.dags.runs import empty_lake, prepared_aws, retry_at_once

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[3]
RAW = "s3://taxiway-lake/raw/access_logs"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, airflow_db: None) -> Iterator[None]:
    """Point AWS clients at a local AWS of the module's own, and the settings at the Spark programs there."""
    with prepared_aws(
        tmp_path_factory.mktemp("aws"),
        access_logs_settings,
        TAXIWAY_SPARK_JOBS="s3://taxiway-artifacts/test",
        TAXIWAY_SERVERLESS_ROLE="arn:aws:iam::123456789012:role/jobs",
        TAXIWAY_ACCESS_LOGS_SCHEDULED="False",
        TAXIWAY_ACCESS_LOGS_COUNT_FACTOR="0",
    ):
        publish.publish("s3://taxiway-artifacts", "test")
        yield


@pytest.fixture
def lake(platform: None) -> Lake:
    """Return the lake, with nothing in it, and no Variable."""
    empty_lake()
    if Variable.get(VARIABLE, default_var=None) is not None:
        Variable.delete(VARIABLE)
    return Lake(settings(), boto3.Session(), TABLES)


def folder(day: str) -> str:
    year, month, number = day.split("-")
    return f"{RAW}/year={year}/month={month}/day={number}"


def line(day: int, time: str, host: str = "10.0.0.1", path: str = "/", status: int = 200) -> str:
    return f'{host} - - [{day:02d}/May/2015:{time} +0000] "GET {path} HTTP/1.1" {status} 100 "-" "agent"\n'


def deliver(day: str, name: str, text: str | bytes, *, complete: bool = True) -> None:
    """Deliver a file of a day, and its marker."""
    prefix = folder(day).removeprefix("s3://taxiway-lake/")
    s3 = boto3.client("s3")
    s3.put_object(Bucket="taxiway-lake", Key=f"{prefix}/{name}", Body=text)
    if complete:
        s3.put_object(Bucket="taxiway-lake", Key=f"{prefix}/_SUCCESS", Body=b"")


def run(day: str, retries: int = 0, after_each: Any = None) -> tuple[str, dict[str, str]]:
    """Run the DAG for a day; return the state of the run, and of each task."""
    dag = retry_at_once(DagBag(ROOT / "dags" / "access_logs_etl.py").dags["access_logs_etl"], retries)
    for task in dag.tasks:
        if after_each and not isinstance(task, MappedOperator):
            task._post_execute_hook = after_each
    done = dag.test(run_conf={"day": day})
    return str(done.state), {instance.task_id: str(instance.state) for instance in done.get_task_instances()}


def job_runs() -> list[tuple[str, str]]:
    """Return (state of the application, state of the job run) of all job runs."""
    client = boto3.client("emr-serverless")
    return [
        (application["state"], run["state"])
        for application in client.list_applications()["applications"]
        for run in client.list_job_runs(applicationId=application["id"])["jobRuns"]
    ]


def ended() -> bool:
    """Return whether no application is started, and no job run goes on."""
    states = {
        application["state"] for application in boto3.client("emr-serverless").list_applications()["applications"]
    }
    return states <= {"TERMINATED"} and {state for _, state in job_runs()} <= {"SUCCESS", "FAILED", "CANCELLED"}


def rows(lake: Lake, table: Any, day: str) -> list[dict[str, Any]]:
    partition = lake.partition(table, day)
    assert partition
    return list(lake.read(partition.location).to_pylist())


def test_days_are_published_one_after_the_other(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    deliver("2015-05-17", "a.log", line(17, "10:00:00") + "rubbish\n" + line(17, "23:50:00", "::1", "/x", 404))
    deliver("2015-05-18", "a.log", line(18, "00:05:00", "::1") + line(18, "12:00:00"))
    deliver("2015-05-19", "a.log", line(19, "12:00:00"))
    Variable.set(VARIABLE, folder("2015-05-17"))
    before = len(job_runs())

    state, tasks = run("2015-05-17")

    assert state == "success", tasks
    assert Variable.get(VARIABLE) == folder("2015-05-18")
    assert sorted(row["host"] for row in rows(lake, REQUESTS, "2015-05-17")) == ["10.0.0.1", "::1"]
    assert [row["raw"] for row in rows(lake, QUARANTINE, "2015-05-17")] == ["rubbish"]
    assert tasks["stop_application"] == "skipped", "it is deleted, which stops it"
    assert tasks["delete_application"] == "success"
    assert tasks["run_late"] == "skipped"
    log = capfd.readouterr()
    assert "Failed to run task callback" not in log.out + log.err
    assert "Metrics could not be sent" not in log.out + log.err

    # A later day has to wait, and costs nothing.
    state, tasks = run("2015-05-19")

    assert (state, tasks["plan"]) == ("failed", "failed")
    log = capfd.readouterr()
    assert "2015-05-19 has to wait: the Variable access_logs_folder names 2015-05-18" in log.out + log.err
    assert len(job_runs()) == before + 1

    # The session over midnight stands in the day in which it began: the next day changes that of the day before.
    state, tasks = run("2015-05-18")

    assert state == "success", tasks
    assert Variable.get(VARIABLE) == folder("2015-05-19")
    (over_midnight,) = [row for row in rows(lake, SESSIONS, "2015-05-17") if row["host"] == "::1"]
    assert over_midnight["requests"] == 2
    assert {row["host"] for row in rows(lake, SESSIONS, "2015-05-18")} == {"10.0.0.1"}

    # A late file is found by the next run, which starts one of that day; the whole day is done again.
    deliver("2015-05-17", "late.log", line(17, "11:00:00", "10.0.0.9"))
    state, tasks = run("2015-05-19")

    assert (state, tasks["run_late"]) == ("success", "success"), tasks
    (late,) = [each for each in DagRun.find(dag_id="access_logs_etl") if each.run_id.startswith("late__2015-05-17__")]
    assert late.conf == {"day": "2015-05-17"}
    before_late = {table.name: lake.partition(table, "2015-05-18") for table in TABLES}
    state, tasks = run("2015-05-17")  # what the scheduler does with it

    assert state == "success", tasks
    assert len(rows(lake, REQUESTS, "2015-05-17")) == 3
    assert Variable.get(VARIABLE) == folder("2015-05-20"), "a rerun leaves it alone"
    assert {table.name: lake.partition(table, "2015-05-18") for table in TABLES if table != SESSIONS} == {
        name: partition for name, partition in before_late.items() if name != SESSIONS.name
    }
    assert ended()


class KilledError(RuntimeError):
    """Stands for the end of a task's process."""


def test_a_run_whose_every_task_dies_once_gives_the_same_tables(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task dies after its work, before Airflow knows of it, and is run again."""
    text = "".join(
        line(17, f"{hour:02d}:30:00", f"10.0.0.{hour % 5}", f"/{hour % 3}", 200 + hour) for hour in range(24)
    )
    deliver("2015-05-17", "a.log", text)
    deliver("2015-05-18", "a.log", text.replace("17/May", "18/May"))
    Variable.set(VARIABLE, folder("2015-05-17"))
    state, tasks = run("2015-05-17")
    assert state == "success", tasks
    expected = contents(lake, "2015-05-17")
    first = lake.partition(REQUESTS, "2015-05-17")

    died: list[str] = []

    def die_once(context: Any, result: Any = None) -> None:
        if context["ti"].task_id not in died:
            died.append(context["ti"].task_id)
            raise KilledError(context["ti"].task_id)

    before = len(job_runs())
    state, tasks = run("2015-05-17", retries=1, after_each=die_once)

    assert state == "success", tasks
    assert tasks["delete_application"] == "skipped", "its second try finds that the application is gone"
    assert set(died) - {"delete_application"} == {task for task, ended in tasks.items() if ended == "success"}
    assert {"plan", "inspect", "create_application", "build_day", "check", "publish", "advance"} <= set(died)
    again = lake.partition(REQUESTS, "2015-05-17")
    assert first
    assert again
    assert again.version != first.version
    assert contents(lake, "2015-05-17") == expected
    assert Variable.get(VARIABLE) == folder("2015-05-18")
    assert len(job_runs()) == before + 1, "the second try of build_day found the job run of the first"
    assert ended()


def contents(lake: Lake, day: str) -> dict[str, list[str]]:
    """Return the rows of all tables, in order."""
    return {table.name: sorted(map(str, rows(lake, table, day))) for table in TABLES}


def test_a_failed_job_run_tells_why_and_leaves_nothing_running(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    """The application is ended, the published version stays, and the next run of the day goes on from there."""
    deliver("2015-05-17", "a.log", line(17, "10:00:00"))
    deliver("2015-05-17", "other.log", "a file of another format\n")
    Variable.set(VARIABLE, folder("2015-05-17"))

    state, tasks = run("2015-05-17")

    assert state == "failed"
    assert tasks["build_day"] == "failed"
    assert tasks["check"] == tasks["publish"] == tasks["advance"] == "upstream_failed"
    assert tasks["delete_application"] == "success"
    assert ended()
    assert Variable.get(VARIABLE) == folder("2015-05-17")
    assert lake.partition(REQUESTS, "2015-05-17") is None
    log = capfd.readouterr()
    assert "other.log is not an access log in the common or combined format" in log.out + log.err, (
        "the program's reason"
    )
    assert "is FAILED; log: s3://taxiway-logs/emr-serverless/applications/" in log.out + log.err

    boto3.client("s3").delete_object(
        Bucket="taxiway-lake", Key=f"{folder('2015-05-17')}/other.log".removeprefix("s3://taxiway-lake/")
    )
    state, tasks = run("2015-05-17")
    assert state == "success", tasks
    assert len(rows(lake, REQUESTS, "2015-05-17")) == 1


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.log.gz",
            gzip.compress(line(17, "10:00:00").encode() * 100)[:-30],
            "a.log.gz is gzip data that is cut short",
        ),
        ("a.log", b"PAR1" + b"\x00" * 100, "a.log is Parquet, not a log of lines"),
        ("a.log", b"\n\r\n \n", "have blank lines only: deliver the day's logs"),
        ("_hidden", b"x\n", "is complete but holds no file with data"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_anything_costs_money(
    name: str, content: bytes, sentence: str, lake: Lake, capfd: pytest.CaptureFixture[str]
) -> None:
    deliver("2015-05-17", name, content)
    Variable.set(VARIABLE, folder("2015-05-17"))
    before = len(job_runs())

    state, tasks = run("2015-05-17")

    assert (state, tasks["inspect"]) == ("failed", "failed")
    assert len(job_runs()) == before
    assert ended()
    log = capfd.readouterr()
    assert sentence in log.out + log.err


def test_a_folder_that_is_not_complete_in_time_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    """The callback of the sensor, whose own error names no folder; dag.test never ends a trigger that waits."""
    sensor = DagBag(ROOT / "dags" / "access_logs_etl.py").dags["access_logs_etl"].get_task("wait_for_folder")
    callback = sensor.on_failure_callback[0]  # type: ignore[index]
    ti: Any = SimpleNamespace(xcom_pull=lambda **_: {"folder": folder("2015-05-17")}, task=sensor)

    callback({"ti": ti})

    sentence = f"{folder('2015-05-17')} is not complete after 24 hours: its marker _SUCCESS is missing. Deliver the"
    assert sentence in capfd.readouterr().out


def test_a_failed_check_fails_the_run_before_publication(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The program lost a line: here, because the task that counts them saw one more."""
    deliver("2015-05-17", "a.log", line(17, "10:00:00"))
    Variable.set(VARIABLE, folder("2015-05-17"))
    monkeypatch.setattr("taxiway.access_logs.run.count_lines", lambda *_: 2)

    state, tasks = run("2015-05-17")

    assert (state, tasks["check"]) == ("failed", "failed")
    assert tasks["publish"] == "upstream_failed"
    assert lake.partition(REQUESTS, "2015-05-17") is None
    assert ended()
    log = capfd.readouterr()
    assert "a.log has 2 lines, but 1 were parsed and 0 quarantined" in log.out + log.err
