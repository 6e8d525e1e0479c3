"""Events of tasks and of dbt, by the library's own client, and what the lake keeps of them."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlalchemy as sa
import yaml
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated import column_lineage_dataset as columns

from taxiway.operations import lineage
from tests.aws_in_memory import aws_in_memory

LAKE = "s3://taxiway-lake"
FEATURE = Path(__file__).parents[3] / "helm/airflow/features/lineage.yaml"
ATHENA = "awsathena://athena.us-east-1.amazonaws.com"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with aws_in_memory():
        for name, value in lineage.VARIABLES.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="taxiway-lake")
        yield client


def emit(*, state: RunState = RunState.COMPLETE, job: str = "a.job", inputs: Any = (), outputs: Any = ()) -> None:
    event = RunEvent(
        eventType=state,
        eventTime=datetime.now(UTC).isoformat(),
        run=Run("0192f6a8-0000-7000-8000-000000000000"),
        job=Job("taxiway", job),
        producer="urn:test",
        inputs=list(inputs),
        outputs=list(outputs),
    )
    OpenLineageClient().emit(event)


def test_the_lake_keeps_events_under_the_tables_names(s3: Any) -> None:
    made_from = columns.ColumnLineageDatasetFacet(
        fields={
            "trips": columns.Fields(
                inputFields=[columns.InputField(ATHENA, "awsdatacatalog.taxiway.hvfhv_trend", "trips")]
            )
        }
    )
    emit(
        inputs=[
            InputDataset(ATHENA, "awsdatacatalog.taxiway.hvfhv_trend"),
            InputDataset(LAKE, "marts/hvfhv/trend/year=2023/month=01/version=1"),
        ],
        outputs=[OutputDataset(LAKE, "marts/hvfhv/popular_zones/year=2023", facets={"columnLineage": made_from})],
    )
    (event,) = lineage.events(s3, LAKE)
    assert [(each["namespace"], each["name"]) for each in event["inputs"]] == [(LAKE, "marts/hvfhv/trend")]
    (output,) = event["outputs"]
    assert (output["namespace"], output["name"]) == (LAKE, "marts/hvfhv/popular_zones")
    (source,) = output["facets"]["columnLineage"]["fields"]["trips"]["inputFields"]
    assert (source["namespace"], source["name"], source["field"]) == (LAKE, "marts/hvfhv/trend", "trips")


def test_the_lake_keeps_one_event_for_the_same_data_and_none_without(s3: Any) -> None:
    trend, other = InputDataset(LAKE, "marts/hvfhv/trend"), InputDataset(LAKE, "raw/hvfhv")
    emit()
    emit(state=RunState.START, inputs=[trend])
    assert list(lineage.events(s3, LAKE)) == []
    emit(inputs=[trend])
    emit(state=RunState.RUNNING, inputs=[trend])
    emit(inputs=[other])
    found = sorted((event["eventType"], event["inputs"][0]["name"]) for event in lineage.events(s3, LAKE))
    assert found == [("COMPLETE", "raw/hvfhv"), ("RUNNING", "marts/hvfhv/trend")]


def test_what_is_no_event_is_left_out(s3: Any, caplog: pytest.LogCaptureFixture) -> None:
    emit(inputs=[InputDataset(LAKE, "marts/hvfhv/trend")])
    for name, body in {"a": b"{", "b": b"[]", "c": b'{"job": 1}'}.items():
        s3.put_object(Bucket="taxiway-lake", Key=f"lineage/x/{name}.json", Body=body)
    with caplog.at_level("WARNING"):
        assert len(list(lineage.events(s3, LAKE))) == 1
    assert caplog.text.count("is no event of OpenLineage") == 3


def test_last_readers(s3: Any) -> None:
    emit(job="first", inputs=[InputDataset(LAKE, "marts/hvfhv/trend"), InputDataset("https://example.org", "x")])
    emit(job="second", inputs=[InputDataset(ATHENA, "awsdatacatalog.taxiway.hvfhv_trend")])
    found = lineage.last_readers(s3, LAKE)
    assert {name: (who, source) for name, (who, _, source) in found.items()} == {"hvfhv_trend": ("second", "lineage")}
    assert abs((datetime.now(UTC) - found["hvfhv_trend"].at).total_seconds()) < 600


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql+pymysql://me:secret@db.example/rides", ("mysql://db.example:3306", "rides.ride_ratings")),
        ("mysql://me:secret@db.example:3307/rides", ("mysql://db.example:3307", "rides.ride_ratings")),
        ("sqlite:////tmp/ride_service.sqlite", ("sqlite:///tmp/ride_service.sqlite", "ride_ratings")),
    ],
)
def test_a_database_s_table_has_openlineage_s_name(url: str, expected: tuple[str, str]) -> None:
    assert lineage.of_sql(sa.make_url(url), "ride_ratings").dataset == expected


def test_nothing_is_told_while_lineage_is_off() -> None:
    lineage.report(inputs=[lineage.of_table("hvfhv", "trend")])
    assert lineage.for_dbt(None) == {}
    assert not lineage.enabled()


def test_facets_reach_the_event_as_the_contract_says_them() -> None:
    table = lineage.of_table("hvfhv", "trend")
    typed = lineage._typed(table.facets)
    assert {field.name for field in typed["schema"].fields} >= {"company", "trips", "month"}
    assert [owner.name for owner in typed["ownership"].owners] == ["data-platform@taxiway.example"]
    assert typed["documentation"].description


def test_dbt_s_environment_can_import_the_transport(tmp_path: Path) -> None:
    """In an environment without Airflow and pydantic-settings, as dbt's is."""
    for package in ("airflow", "pydantic_settings"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('not installed')")
    code = "from openlineage.client import OpenLineageClient as C; print(type(C().transport.transport).__name__)"
    paths = os.pathsep.join([str(tmp_path), str(lineage.DAGS)])
    environment = os.environ | lineage.VARIABLES | {"PYTHONPATH": paths, "TAXIWAY_LAKE": LAKE}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "LakeTransport\n", done.stderr


class Server:
    """Takes events by HTTP."""

    def __init__(self) -> None:
        taken: list[tuple[str, str | None, dict[str, Any]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.append((self.path, self.headers["Authorization"], json.loads(body)))
                self.send_response(201)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.taken = taken
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Run a server of lineage, with the variables of the chart's feature as they are rendered."""
    server = Server()
    values = yaml.safe_load(FEATURE.read_text())["global"]["taxiway"]
    monkeypatch.delenv("OPENLINEAGE__TRANSPORT")
    for name, value in values["env"].items():
        monkeypatch.setenv(name, server.url if "lineageUrl" in value else value)
    (auth,) = values["secretEnv"]
    monkeypatch.setenv(auth, json.dumps({"type": "api_key", "apiKey": "key"}))
    yield server
    server.stop()


def test_the_feature_lineage_sends_events_to_its_server_and_to_the_lake(server: Server, s3: Any) -> None:
    emit(inputs=[InputDataset(ATHENA, "awsdatacatalog.taxiway.hvfhv_trend")])
    ((path, key, event),) = server.taken
    assert (path, key) == ("/api/v1/lineage", "Bearer key")
    assert [(each["namespace"], each["name"]) for each in event["inputs"]] == [(LAKE, "marts/hvfhv/trend")]
    assert [each["run"]["runId"] for each in lineage.events(s3, LAKE)] == [event["run"]["runId"]]


def test_a_server_that_is_away_costs_a_short_time_and_not_the_event(
    server: Server, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = socket.create_server(("127.0.0.1", 0), backlog=1)  # takes a connection and never answers
    (url,) = (name for name, value in os.environ.items() if value == server.url)
    monkeypatch.setenv(url, f"http://127.0.0.1:{silent.getsockname()[1]}")
    began = time.monotonic()
    with silent:
        emit(inputs=[InputDataset(LAKE, "marts/hvfhv/trend")])
    assert time.monotonic() - began < 60, "two seconds, on a quiet machine"
    assert len(list(lineage.events(s3, LAKE))) == 1


def test_the_variables_are_what_both_libraries_read() -> None:
    assert json.loads(lineage.VARIABLES["OPENLINEAGE__TRANSPORT"])["type"] == "transform"
    assert all(name.startswith(("OPENLINEAGE_", "AIRFLOW__OPENLINEAGE__")) for name in lineage.VARIABLES)
