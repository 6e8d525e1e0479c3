"""Our own metrics as they leave a task: by Airflow's own client, to a socket that listens."""

import logging
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
import yaml
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from taxiway import catalogue
from taxiway.aws.emr import job_flow
from taxiway.aws.usage import Hours, JobRunUsage, Usage
from taxiway.core import contracts
from taxiway.core.settings import Settings
from taxiway.hvfhv.metrics import DATASET, METRICS
from taxiway.hvfhv.tables import TABLES
from taxiway.lake import Lake, Publication, TableSet
from taxiway.operations import metrics
from taxiway.operations.delivery import Delivery

USAGE = Usage(1834.25, "1 × m7g.xlarge", 120.5, 8.25, 57.0, 0.5, (("build_month", 95.0),))

JOB_RUN = JobRunUsage(412.5, Hours(1.25, 5.5, 0), Hours(0.4, 1.6, 0), 0.1, 0.03, "2026-11")


class Wire:
    """What a StatsD server gets."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def lines(self) -> list[str]:
        """Return what came since the last call, in order; sending on loopback is done when it returns."""
        self._socket.settimeout(0.2)
        found = []
        try:
            while True:
                found += self._socket.recv(65535).decode().splitlines()
        except TimeoutError:
            return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Have Airflow's client, made as its task runner makes it, send to a socket."""
    wire = Wire()
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(wire.port))
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
    yield wire
    stats.initialize(factory=NoStatsLogger, export_legacy_names=True)
    wire.close()


def test_each_line_is_as_the_docstring_says(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/catalogue.db"
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", url)
    catalogue.migrate(catalogue.open_engine(url))
    assert metrics.__doc__
    documented = {line.split(":")[0].strip() for line in metrics.__doc__.splitlines() if "airflow.taxiway." in line}
    metrics.rows_checked(DATASET, 14977, {"duplicate": 3})
    metrics.bytes_collected(DATASET, 520417320)
    metrics.cluster_used("hvfhv_analysis", USAGE)
    metrics.job_run_used("access_logs_etl", JOB_RUN)
    metrics.clusters({"WAITING": 2})
    metrics.delivery(Delivery("c0ffee", 1795249003.0, 3.0, 1795249000.0))
    metrics.orphaned_resources({"emr_cluster": 2}, {"emr_cluster": 1})
    metrics.deadline_missed("hvfhv_analysis")
    metrics.checked("zone_month", passed=False)
    metrics.open_incidents()

    lines = wire.lines()

    assert [line for line in lines if not line.endswith((":0|g", ":0|c"))] == [
        "airflow.taxiway.rows.hvfhv_trips.accepted.none:14977|c",
        "airflow.taxiway.rows.hvfhv_trips.quarantined.duplicate:3|c",
        "airflow.taxiway.bytes_collected.hvfhv_trips:520417320|c",
        "airflow.taxiway.emr.cluster_seconds.hvfhv_analysis:1834.25|c",
        "airflow.taxiway.emr.idle_seconds.hvfhv_analysis:120.5|c",
        "airflow.taxiway.emr.vcpu_hours.hvfhv_analysis:8.25|c",
        "airflow.taxiway.emr.memory_gb_hours.hvfhv_analysis:57.0|c",
        "airflow.taxiway.emr.cost_usd.hvfhv_analysis:0.5|c",
        "airflow.taxiway.spark_step.hvfhv_analysis.build_month:95000.000000|ms",
        "airflow.taxiway.serverless.job_seconds.access_logs_etl:412.5|c",
        "airflow.taxiway.serverless.vcpu_hours.access_logs_etl:1.25|c",
        "airflow.taxiway.serverless.memory_gb_hours.access_logs_etl:5.5|c",
        "airflow.taxiway.serverless.cost_usd.access_logs_etl:0.1|c",
        "airflow.taxiway.serverless.idle_vcpu_hours.access_logs_etl:0.4|c",
        "airflow.taxiway.serverless.idle_memory_gb_hours.access_logs_etl:1.6|c",
        "airflow.taxiway.serverless.idle_cost_usd.access_logs_etl:0.03|c",
        "airflow.taxiway.emr.clusters.waiting:2|g",
        "airflow.taxiway.delivery.lag:3.0|g",
        "airflow.taxiway.delivery.commit:1795249000.0|g",
        "airflow.taxiway.cost_guard.found.emr_cluster:2|g",
        "airflow.taxiway.cost_guard.ended.emr_cluster:1|c",
        "airflow.taxiway.deadline_missed.hvfhv_analysis:1|c",
        "airflow.taxiway.checks.zone_month.failed:1|c",
    ]
    assert "airflow.taxiway.incidents.open.data-platform:0|g" in lines, "a team without an incident, too"
    assert "airflow.taxiway.emr.clusters.running:0|g" in lines, "none is said, not left out"
    sent = {line.split(":")[0] for line in lines}
    shapes = {".".join("*" if part.startswith("<") else part for part in name.split(".")) for name in documented}
    assert {shape for shape in shapes if not any(Path(name).match(shape) for name in sent)} == {
        "airflow.taxiway.data_freshness.*",
        "airflow.taxiway.published.*",
    }, "the docstring names what is not sent"
    assert [name for name in sent if not any(Path(name).match(shape) for shape in shapes)] == []


def test_counters_begin_at_nothing(wire: Wire) -> None:
    metrics.initialise_counters([METRICS, metrics.PipelineMetrics(dags=(), dags_with_job_runs=("access_logs_etl",))])

    lines = wire.lines()

    assert all(line.endswith(":0|c") for line in lines)
    assert "airflow.taxiway.rows.hvfhv_trips.quarantined.unknown_zone:0|c" in lines
    assert "airflow.taxiway.emr.cost_usd.hvfhv_analysis:0|c" in lines
    assert "airflow.taxiway.serverless.idle_cost_usd.access_logs_etl:0|c" in lines
    assert len(lines) == len(set(lines))


def test_freshness_is_the_end_of_the_newest_month(wire: Wire, aws: str) -> None:
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    lake = Lake(Settings(), boto3.Session(), TABLES)
    metrics.freshness(lake)
    assert wire.lines() == [], "nothing is published"

    before = datetime.now(UTC).replace(microsecond=0)
    for month in ("2023-12", "2023-01"):
        where = {table.name: lake.location(table, month, "20261121T101112123456Z.1") for table in TABLES}
        rows = dict.fromkeys(where, 0)  # no files
        lake.publish(Publication(period=month, inputs="abc", locations=where, rows=rows), "run")
    metrics.freshness(lake)

    lines = dict(line.removeprefix("airflow.taxiway.").removesuffix("|g").split(":") for line in wire.lines())
    assert len(lines) == 2 * len(TABLES)
    assert {float(lines[f"data_freshness.{table.name}"]) for table in TABLES} == {
        datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    }
    published = datetime.fromtimestamp(float(lines["published.hvfhv_trips"]), UTC)
    assert before <= published <= before + timedelta(minutes=1)


def test_freshness_of_a_table_by_itself_is_until_when_its_source_was_read(wire: Wire, aws: str) -> None:
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    (tables,) = [each for each in TableSet("warehouse").sets if each.anchor.name == "name_gender"]
    lake = Lake(Settings(), boto3.Session(), tables)
    metrics.freshness(lake)
    assert wire.lines() == [], "nothing is published"
    where = {"name_gender": lake.location(tables.anchor, "", "20261121T101112123456Z.1")}
    lake.publish(Publication(period="", inputs="abc", locations=where, rows={"name_gender": 0}), "run")

    metrics.freshness(lake)
    published, fresh = (float(line.split(":")[1].removesuffix("|g")) for line in wire.lines())
    assert published == fresh, "when it was published"
    lake.annotate(tables.anchor, loaded_until="2026-11-22T00:00:00+00:00")
    metrics.freshness(lake)
    (line,) = [line for line in wire.lines() if "data_freshness" in line]
    assert line == f"airflow.taxiway.data_freshness.name_gender:{datetime(2026, 11, 22, tzinfo=UTC).timestamp()}|g"


def test_a_table_without_partitions_is_as_fresh_as_its_publication(
    wire: Wire, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unparted").mkdir()
    (tmp_path / "unparted/visits.yaml").write_text(
        "schema:\n- {physicalName: visits, properties: [{name: n, logicalType: integer, physicalType: int}],\n"
        "   customProperties: [{property: path, value: curated/visits}, {property: publishOrder, value: 1},\n"
        "     {property: anchor, value: true}]}\n"
    )
    monkeypatch.setattr(contracts, "FOLDER", tmp_path)
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    (tables,) = TableSet("unparted").sets
    lake = Lake(Settings(), boto3.Session(), tables)
    where = {"visits": lake.location(tables.anchor, "", "20261121T101112123456Z.1")}
    lake.publish(Publication(period="", inputs="abc", locations=where, rows={"visits": 0}), "run")

    ((_, until, published),) = metrics.ages(lake)

    assert until == published
    lake.annotate(tables.anchor, loaded_until="2026-11-22T00:00:00+00:00")
    assert [until for _, until, _ in metrics.ages(lake)] == [datetime(2026, 11, 22, tzinfo=UTC)]


def test_what_is_not_known_is_not_counted(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    metrics.cluster_used("hvfhv_analysis", Usage(60, "", 0, None, None, None, ()))

    assert [line.split(".")[3] for line in wire.lines()] == ["cluster_seconds", "idle_seconds"]
    assert "cost_usd of the cluster are not counted" in caplog.text


def test_a_label_cannot_break_the_line(wire: Wire) -> None:
    metrics.bytes_collected("a.b:1|c\nx", 1)

    assert wire.lines() == ["airflow.taxiway.bytes_collected.a_2Eb_3A1_7Cc_0Ax:1|c"]


def test_a_label_is_that_of_airflows_own_metrics(wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    overlay = yaml.safe_load((Path(__file__).parents[3] / "helm/airflow/base.yaml").read_text())
    (tmp_path / "local_settings_of_a_test.py").write_text(overlay["airflowLocalSettings"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("AIRFLOW__METRICS__STAT_NAME_HANDLER", "local_settings_of_a_test.stat_name")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "True")
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)

    metrics.deadline_missed("ventes_été")
    stats.incr("ti.start", tags={"dag_id": "ventes_été"})

    assert wire.lines() == [
        "airflow.taxiway.deadline_missed.ventes_%C3%A9t%C3%A9:1|c",
        "airflow.ti.start,dag_id=ventes_%C3%A9t%C3%A9:1|c",
    ]


def test_where_metrics_are_off_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
    with caplog.at_level(logging.WARNING):
        metrics.initialise_counters([METRICS])
    assert caplog.text == ""


def test_a_metric_that_cannot_be_sent_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", "not a port")
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
    try:
        metrics.bytes_collected(DATASET, 1)
    finally:
        stats.initialize(factory=NoStatsLogger, export_legacy_names=True)
    assert "Metrics could not be sent" in caplog.text


@pytest.mark.usefixtures("airflow_db")
def test_the_dag_sends_what_no_event_tells_and_goes_on_after_a_fault(
    wire: Wire, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(Path(__file__).parents[3] / "dags" / "platform_metrics.py").dags["platform_metrics"]
    dag.get_task("send").retries = 0
    lake = Lake(Settings(), boto3.Session(), TABLES)
    where = {table.name: lake.location(table, "2023-01", "20261121T101112123456Z.1") for table in TABLES}
    lake.publish(Publication(period="2023-01", inputs="a", locations=where, rows=dict.fromkeys(where, 0)), "run")
    request = job_flow(Settings(), "test", {"dag_id": "hvfhv_analysis", "run_id": "run"})
    boto3.client("emr").run_job_flow(**request)

    assert dag.test().state == "success"

    lines = [line.removeprefix("airflow.taxiway.") for line in wire.lines() if line.startswith("airflow.taxiway.")]
    assert "bytes_collected.hvfhv_trips:0|c" in lines
    assert any(line.startswith("data_freshness.hvfhv_trips:") for line in lines)
    assert sum(int(line.split(":")[1][0]) for line in lines if line.startswith("emr.clusters.")) == 1
    assert not any(line.startswith("delivery.") for line in lines), "this code did not come by git-sync"

    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", "http://127.0.0.1:9")
    assert dag.test().state == "failed"
    assert any(line.startswith("airflow.taxiway.emr.clusters.") for line in wire.lines())
