"""What the pages show is what Airflow's database and the ingestion log say; an alert is sent, and its end."""

import base64
import dataclasses
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from console.airflow import Airflow
from console.demo import discover
from monitoring.dashboards import PAGES
from monitoring.prometheus import Prometheus
from monitoring.replay import Replay
from tests.e2e.conftest import Platform, run_to_end, wait_for

SCRAPE_S = 15
RUNNING_TASKS_S = 30  # how often Airflow reports which tasks run
# The sample of the API logs has a record that was tampered with, and one whose key is missing.
OF_THE_SAMPLE = {"ApiLogsKeyMissing", "ApiLogsTampered"}
# Their exporters are not there (tests/e2e/conftest.py: MONITORING).
ABSENT = re.compile(r"\b(?:kube_|container_)\w+")


@pytest.fixture(scope="module")
def ended(platform: Platform, demo: str) -> None:
    """Wait until the main job's end is scraped and in the rules."""
    time.sleep(4 * SCRAPE_S)


@pytest.fixture
def seen(platform: Platform, ended: None) -> Iterator[Replay]:
    """What Prometheus beside Airflow has seen since the platform came up."""
    with platform.kubectl.forward("service/prometheus", 9090) as forward:
        yield Replay(Prometheus(forward.url), platform.began, time.time(), SCRAPE_S)


def test_every_target_is_scraped(seen: Replay) -> None:
    jobs = ("airflow-statsd", "airflow-pgbouncer", "airflow-flower", "redis-exporter", "alertmanager", "prometheus")

    def up() -> bool:
        found = {series.labels["job"]: series.value for series in seen.prometheus.query("up")}
        assert found.keys() == set(jobs)
        return set(found.values()) == {1}

    wait_for("every target is up", up)


def test_every_panel_of_a_run_has_data(probe: str, airflow: Airflow, seen: Replay) -> None:
    # The main job's tasks may all be shorter than the time between two looks at what runs.
    run_to_end(airflow, probe, f"e2e-{time.time_ns()}", {"seconds": RUNNING_TASKS_S + 2 * SCRAPE_S})
    seen = dataclasses.replace(seen, end=time.time())
    # A pipeline whose DAGs have not all run has nothing to show: it asks for a feature, or takes too long for CI.
    elsewhere = {each.name for each in discover().values() if not all(airflow.runs(dag) for dag in each.dags)}
    assert "hvfhv" not in elsewhere
    empty = [
        f"{name}: {title}: {query.expr}"
        for name, page in PAGES.items()
        if name not in elsewhere
        for title, queries in page.queries.items()
        for query in queries
        if (not query.unseen or "cluster" in query.unseen) and not ABSENT.search(query.expr)
        if not seen.ever(query.expr)
    ]
    assert not empty, "\n".join(empty)


def test_tasks_and_runs_are_those_of_the_database(platform: Platform, seen: Replay, airflow: Airflow) -> None:
    runs: Counter[str] = Counter()
    tasks: Counter[tuple[str, str]] = Counter()
    for dag in ("hvfhv_collection", "hvfhv_analysis"):
        for run in airflow.runs(dag):
            assert run["state"] == "success"
            runs[dag] += 1
            for task in airflow.task_instances(dag, run["dag_run_id"]):
                # What never ran in a process (an empty operator, a task that was skipped) is sent by the scheduler.
                if task["state"] == "success" and task["operator_name"] != "EmptyOperator":
                    tasks[dag, task["task_id"]] += 1
    mine = 'dag_id=~"hvfhv_.+"'
    shown = seen.prometheus.query(f"sum by (dag_id) (airflow_dagrun_duration_count{{{mine}}})")
    assert {series.labels["dag_id"]: series.value for series in shown} == runs
    shown = seen.prometheus.query(f'sum by (dag_id, task_id) (airflow_ti_finish{{{mine},state="success"}})')
    assert {(each.labels["dag_id"], each.labels["task_id"]): each.value for each in shown} == tasks


def test_rows_are_those_of_the_ingestion_log(platform: Platform, seen: Replay) -> None:
    query = "SELECT SUM(`rows`), SUM(bytes) FROM ingestion_log WHERE status = 'complete'"
    client = 'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" $(command -v mysql || command -v mariadb) -u root -N -e "$0" tlc'
    logged = platform.kubectl.execute("mysql-0", "sh", "-c", client, query).stdout.split()
    for name, value in zip(("taxiway_rows_total", "taxiway_bytes_collected_total"), logged, strict=True):
        [series] = seen.prometheus.query(f'sum({name}{{dataset="hvfhv_trips"}})')
        assert series.value == float(value) > 0


def test_no_line_is_refused_and_no_series_has_two_shapes(seen: Replay) -> None:
    for name in ("statsd_exporter_sample_errors_total", "statsd_exporter_events_conflict_total"):
        assert sum(series.value for series in seen.prometheus.query(name)) == 0, name
    names = {series.labels["__name__"] for series in seen.prometheus.query('{job="airflow-statsd"}')}
    for name in names:
        shapes = {
            frozenset(series.labels) - {"le", "quantile"}
            for series in seen.prometheus.query(f'{name}{{job="airflow-statsd"}}')
        }
        assert len(shapes) == 1, f"{name} has the labels {shapes}"


def test_the_code_is_seen_to_be_delivered(seen: Replay) -> None:
    [lag] = seen.prometheus.query("taxiway_delivery_lag_seconds")
    assert 0 <= lag.value < 60


def test_no_alert_fires_on_a_platform_that_is_well(seen: Replay) -> None:
    firing = seen.prometheus.query('ALERTS{alertstate="firing",severity!="info"}')
    assert [each.labels for each in firing if each.labels["alertname"] not in OF_THE_SAMPLE] == []


def test_a_run_is_one_trace_from_the_scheduler_to_the_pods_of_its_tasks(
    platform: Platform, demo: str, airflow: Airflow
) -> None:
    def spans() -> list[Any]:
        found = []
        for each in platform.posted():
            if each["path"] == "/v1/traces":
                body = base64.b64decode(each["body"])
                request = ExportTraceServiceRequest.FromString(
                    gzip.decompress(body) if each["encoding"] == "gzip" else body
                )
                found += [span for part in request.resource_spans for scope in part.scope_spans for span in scope.spans]
        return found

    [run] = airflow.runs("hvfhv_analysis", "order_by=-run_after")[:1]
    tasks = {
        task["task_id"]
        for task in airflow.task_instances("hvfhv_analysis", run["dag_run_id"])
        if task["state"] == "success"
    }

    def whole() -> bool:
        mine = [span for span in spans() if value_of(span, "airflow.dag_run.run_id") == run["dag_run_id"]]
        assert len({span.trace_id for span in mine}) <= 1, "a run has several traces"
        return tasks <= {value_of(span, "airflow.task_id") for span in mine if span.name.startswith("worker.")}

    wait_for("every task of the run is in its trace", whole, 60, 5)


def value_of(span: Any, key: str) -> str:
    """Return an attribute of a span, empty if it has none."""
    return next((each.value.string_value for each in span.attributes if each.key == key), "")


def test_an_alert_is_sent_for_a_dead_scheduler_and_resolved_when_it_is_back(platform: Platform) -> None:
    kubectl = platform.kubectl

    def received(status: str) -> dict[str, Any] | None:
        for each in platform.posted():
            if each["path"] == "/alerts":
                alerts: list[dict[str, Any]] = json.loads(base64.b64decode(each["body"]))["alerts"]
                for alert in alerts:
                    if alert["labels"]["alertname"] == "SchedulerHeartbeatMissing" and alert["status"] == status:
                        return alert
        return None

    kubectl.run("scale", "deployment/airflow-scheduler", "--replicas=0")
    try:
        alert = wait_for("the alert is sent", lambda: received("firing"), 480, 5)
    finally:
        kubectl.run("scale", "deployment/airflow-scheduler", "--replicas=1")
    assert "No scheduler has given a sign of life" in alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"].endswith("SchedulerHeartbeatMissing.md")
    assert alert["labels"]["severity"] == "page"
    kubectl.run("rollout", "status", "deployment/airflow-scheduler", "--timeout=300s", seconds=320)
    wait_for("the end of the alert is sent", lambda: received("resolved"), 360, 5)
