"""Runs of the training DAG against a local AWS, with a program in place of the training that only writes figures.

The training itself, with Apache Spark, is in test_training.py.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from taxiway import catalogue
from taxiway.core.settings import settings
from taxiway.eta import run
from taxiway.eta.plan import TRAINING_TABLE, Job
from taxiway.eta.registry import Registry
from taxiway.eta.settings import eta_settings
from taxiway.lake import Lake, Publication, TableSet
from taxiway.operations import incidents, notices, quality
from tests.dags.eta.models import NEW, OLD, measured, write
from tests.dags.runs import empty_lake, prepared_aws, retry_at_once

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[3]
MONTHS = ["2023-01", "2023-02", "2023-03", "2023-04", "2023-05"]
# Writes the figures that the object figures.json has, or fails with its sentence.
PROGRAM = """
import json, sys
import boto3

words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
s3, version = boto3.client("s3"), words["--version"]
figures = json.loads(s3.get_object(Bucket="taxiway-artifacts", Key="figures.json")["Body"].read())
if "fault" in figures:
    sys.exit(figures["fault"])
figures |= {"version": version, "test_month": version[16:], "code": words["--code"], "arguments": sys.argv[1:]}
for name, body in (("card.html", "<html>"), ("metrics.json", json.dumps(figures))):
    s3.put_object(Bucket="taxiway-lake", Key=f"models/eta/{version}/{name}", Body=body.encode())
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, airflow_db: None) -> Iterator[None]:
    """Point AWS clients at a local AWS of the module's own, and the settings at the programs there."""
    folder = tmp_path_factory.mktemp("aws")
    database = f"sqlite:///{folder}/catalogue.db"
    with prepared_aws(
        folder,
        eta_settings,
        TAXIWAY_SPARK_JOBS="s3://taxiway-artifacts/test",
        TAXIWAY_SERVERLESS_ROLE="arn:aws:iam::123456789012:role/jobs",
        AIRFLOW_CONN_TLC_CATALOG=database,
    ):
        catalogue.migrate(catalogue.open_engine(database))
        s3 = boto3.client("s3")
        s3.put_object(Bucket="taxiway-artifacts", Key="test/eta/train.py", Body=PROGRAM.encode())
        s3.put_object(Bucket="taxiway-artifacts", Key="test/spark_jobs.zip", Body=b"PK\x05\x06" + b"\x00" * 18)
        yield


@pytest.fixture
def registry(platform: None) -> Registry:
    """Return the registry of a lake in which five months are published and no version is there."""
    empty_lake()
    publish(dict.fromkeys(MONTHS, 50000))
    trained_next()
    return Registry(boto3.client("s3"), "s3://taxiway-lake")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the gate tells of each run; what the job runs used is told too, and left out."""
    texts: list[str] = []
    monkeypatch.setattr("taxiway.eta.run.notices.tell", lambda _, text: texts.append(text))
    silent = SimpleNamespace(**vars(notices) | {"tell": lambda *_: None})
    monkeypatch.setattr("taxiway.operations.job_runs.notices", silent)
    return texts


def publish(rows: dict[str, int]) -> None:
    """Publish months of the training table, of which a file is there that is not read."""
    lake = Lake(settings(), boto3.Session(), TableSet("hvfhv"))
    for month, count in rows.items():
        folder = lake.location(TRAINING_TABLE, month, "20260101T000000000000Z.1")
        name = TRAINING_TABLE.name
        key = f"{folder.removeprefix('s3://taxiway-lake/')}/part.parquet"
        boto3.client("s3").put_object(Bucket="taxiway-lake", Key=key, Body=b"PAR1")
        lake.publish(Publication(period=month, locations={name: folder}, rows={name: count}, inputs="a"), "test")


def trained_next(**figures: Any) -> None:
    """Say what the next training measures; ``fault`` has it fail."""
    body = figures if "fault" in figures else measured(OLD, **figures)
    boto3.client("s3").put_object(Bucket="taxiway-artifacts", Key="figures.json", Body=json.dumps(body).encode())


def run_dag(
    conf: dict[str, Any] | None = None, retries: int = 0, after_each: Callable[..., None] | None = None
) -> tuple[str, dict[str, str]]:
    """Run the DAG; return the state of the run, and of each task."""
    dag = retry_at_once(DagBag(ROOT / "dags" / "eta_model_training.py").dags["eta_model_training"], retries)
    for task in dag.tasks if after_each else ():
        vars(task)["_post_execute_hook"] = after_each
    done = dag.test(run_conf=conf)
    return str(done.state), {instance.task_id: str(instance.state) for instance in done.get_task_instances()}


def job_runs() -> list[str]:
    client = boto3.client("emr-serverless")
    return [
        found["state"]
        for application in client.list_applications()["applications"]
        for found in client.list_job_runs(applicationId=application["id"])["jobRuns"]
    ]


def ended() -> bool:
    """Return whether no application is started, and no job run goes on."""
    applications = boto3.client("emr-serverless").list_applications()["applications"]
    return {found["state"] for found in applications} <= {"TERMINATED"} and set(job_runs()) <= {"SUCCESS", "FAILED"}


class KilledError(RuntimeError):
    """Stands for the end of a task's process."""


def test_a_model_goes_live_though_every_task_dies_once_and_a_worse_one_does_not(
    registry: Registry, told: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Each task dies after its work, before Airflow knows of it, and is run again."""
    died: list[str] = []

    def die_once(context: Any, result: Any = None) -> None:
        if context["ti"].task_id not in died:
            died.append(context["ti"].task_id)
            raise KilledError(context["ti"].task_id)

    before = len(job_runs())
    state, tasks = run_dag({"month": "2023-04"}, retries=1, after_each=die_once)

    assert state == "success", tasks
    assert {"plan", "create_application", "train", "gate", "promote", "prune"} <= set(died)
    assert tasks["stop_application"] == "skipped", "it is deleted, which stops it"
    assert len(job_runs()) == before + 1, "the second try of train found the job run of the first"
    assert ended()
    (first,) = registry.versions()
    assert first.endswith("-2023-04")
    live = registry.live()
    assert live
    assert (live.version, live.previous) == (first, None)
    assert live.reason.startswith(f"{first} goes live: its error in 2023-04 is 113.0 s, 7.1% below the baseline's")
    assert live.by.startswith("manual__")
    words = registry.metrics(first)["arguments"]
    assert [word.partition("=")[0] for option, word in pairwise(words) if option == "--month"] == MONTHS[:4]
    assert words[words.index("--code") + 1] == "test", "the folder of the programs, which is named by the commit"
    log = capfd.readouterr()
    assert "Failed to run task callback" not in log.out + log.err
    assert "Metrics could not be sent" not in log.out + log.err
    assert told[0] == f"{live.reason} Model card: s3://taxiway-lake/models/eta/{first}/card.html"
    (passed,) = quality.recent()
    assert (passed.table, passed.check, passed.period, passed.passed) == (
        "eta_model_predictions",
        "gate",
        MONTHS[3],
        True,
    )
    assert (passed.dag_id, passed.task) == ("eta_model_training", "gate")
    assert incidents.listed() == []

    told.clear()
    trained_next(by_borough={"Queens": {"rows": 5000, "mae_s": 130.0, "baseline_mae_s": 121.7}})
    state, tasks = run_dag()

    assert state == "success", "the pipeline works; the model is not good enough"
    assert (tasks["gate"], tasks["promote"], tasks["prune"]) == ("success", "skipped", "success")
    assert tasks["delete_application"] == "success"
    assert [version[16:] for version in registry.versions()] == ["2023-04", "2023-05"]
    assert registry.live() == live
    assert "is not promoted: its error of 130.0 s in the borough Queens is above the 121.7 s" in told[-1]
    (refused,) = quality.recent()
    assert (refused.period, refused.passed, refused.severity) == (MONTHS[4], False, "warning")
    assert refused.observed.startswith("its error of 130.0 s in the borough Queens is above the 121.7 s")
    (incident,) = incidents.listed(state="open")
    assert (incident.check, incident.owner, incident.runbook) == ("gate", "data-platform", run.REFUSED)


def context_of(run_type: str = "manual", **params: Any) -> Any:
    """Return what tasks see of a run."""
    started = datetime.now(UTC)
    dag_run = SimpleNamespace(run_type=run_type, start_date=started, run_after=started)
    ti = SimpleNamespace(task_id="gate", map_index=-1, xcom_push=lambda *_: None)
    dag = SimpleNamespace(dag_id="eta_model_training", tags=["tier:1"])
    named = {"dag": dag, "run_id": "run", "dag_run": dag_run, "ti": ti}
    return {"params": {"month": None, "months": [], **params}, **named}


def test_a_model_that_goes_live_meanwhile_is_not_overwritten(registry: Registry, told: list[str]) -> None:
    write(OLD)
    write(NEW)
    verdict = run.judge(Job(version=NEW, tables={}), context_of())
    registry.promote(OLD, by="another run", reason="Because.", seen=registry.live())

    with pytest.raises(AirflowFailException, match=f"{NEW} was not promoted: .* {OLD}, promoted by another run,"):
        run.promote(Job(version=NEW, tables={}), verdict, "this run")

    live = registry.live()
    assert live
    assert live.version == OLD


def test_a_live_version_that_is_gone_is_replaced(registry: Registry, told: list[str]) -> None:
    write(NEW)
    write(OLD)
    registry.promote(NEW, by="test", reason="Because.", seen=None)
    boto3.resource("s3").Bucket("taxiway-lake").objects.filter(Prefix=f"models/eta/{NEW}/").delete()

    verdict = run.judge(Job(version=OLD, tables={}), context_of())
    assert f"The live version {NEW} is gone: the gate judged as if none were live." in told[0]
    assert run.promote(Job(version=OLD, tables={}), verdict, "this run") == OLD
    live = registry.live()
    assert live
    assert (live.version, live.previous) == (OLD, NEW)


def test_a_failed_training_tells_why_and_leaves_nothing_running(
    registry: Registry, capfd: pytest.CaptureFixture[str]
) -> None:
    trained_next(fault="2023-05 has no rows: collect it again.")

    state, tasks = run_dag()

    assert state == "failed"
    assert (tasks["train"], tasks["gate"], tasks["promote"]) == ("failed", "upstream_failed", "upstream_failed")
    assert tasks["delete_application"] == "success"
    assert ended()
    assert registry.versions() == []
    log = capfd.readouterr()
    assert "2023-05 has no rows: collect it again (EMR Serverless job run " in log.out + log.err


def test_no_month_costs_nothing(registry: Registry, capfd: pytest.CaptureFixture[str]) -> None:
    boto3.client("glue").delete_database(Name="taxiway")
    before = len(job_runs())

    state, tasks = run_dag()

    assert (state, tasks["plan"], tasks["create_application"]) == ("failed", "failed", "upstream_failed")
    assert len(job_runs()) == before
    log = capfd.readouterr()
    sentence = "No month of hvfhv_eta_training is published: run hvfhv_collection for at least 4 months"
    assert sentence in log.out + log.err


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (dict.fromkeys(MONTHS[:3], 50_000), "A model needs 4 months of hvfhv_eta_training, and up to 2023-03 there"),
        (dict.fromkeys(MONTHS, 999), "2023-01 has 999 rows of hvfhv_eta_training, fewer than TAXIWAY_ETA_MONTH_ROW"),
    ],
    ids=["too few months", "too few rows"],
)
def test_months_that_give_no_model_are_one_sentence(rows: dict[str, int], sentence: str, registry: Registry) -> None:
    boto3.client("glue").delete_database(Name="taxiway")
    publish(rows)

    with pytest.raises(AirflowFailException, match=sentence):
        run.plan(context_of())
    if len(rows) < 4:  # the first months of a new lake are nobody's fault
        with pytest.raises(AirflowSkipException, match=sentence):
            run.plan(context_of("asset_triggered"))


def test_a_month_that_is_not_published_is_awaited_for_a_while(registry: Registry) -> None:
    context = context_of(month="2023-06")
    assert run.plan(context) is None

    context["dag_run"].start_date -= timedelta(hours=eta_settings().wait_h)
    with pytest.raises(AirflowFailException, match="2023-06 of hvfhv_eta_training is not published after 6"):
        run.plan(context)
