"""The collector as the chart configures it, run: what comes in by OTLP is handed on, with the secret's header."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
import yaml
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from console.ports import free_port
from tests.monitoring.test_chart import of_kind, render
from tests.tools import tool


def test_spans_are_handed_on_with_the_secrets_header(tmp_path: Path) -> None:
    taken: list[tuple[str, str]] = []

    class Backend(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    backend = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    collector = {"enabled": True, "endpoint": f"http://127.0.0.1:{backend.server_port}", "secretName": "traces"}
    values = {"collector": collector, "networkPolicies": {"tracesTo": [{"podSelector": {}}]}}
    text = of_kind(render(values), "ConfigMap")["collector"]["data"]["collector.yaml"]
    health, port = free_port(), free_port()
    text = text.replace("0.0.0.0:13133", f"127.0.0.1:{health}").replace("0.0.0.0:4318", f"127.0.0.1:{port}")
    (tmp_path / "collector.yaml").write_text(text)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [tool("otelcol"), f"--config={tmp_path / 'collector.yaml'}"],
            env=os.environ | {"AUTHORIZATION": "Bearer of-a-test"}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait(lambda: answers(f"http://127.0.0.1:{health}/"), tmp_path / "log")
            provider = TracerProvider()
            exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces")
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            with provider.get_tracer("test").start_as_current_span("a run"):
                pass
            provider.shutdown()
            wait(lambda: bool(taken), tmp_path / "log")
        finally:
            process.terminate()
            process.wait(20)
            backend.shutdown()
    assert taken == [("/v1/traces", "Bearer of-a-test")]
    assert not re.search(r"\t(?:warn|error)\t", (tmp_path / "log").read_text(), re.IGNORECASE)


def test_without_an_endpoint_it_only_logs() -> None:
    text = of_kind(render({"collector": {"enabled": True}}), "ConfigMap")["collector"]["data"]["collector.yaml"]
    done = subprocess.run(
        [tool("otelcol"), "validate", "--config=env:CONFIG"],
        env={"CONFIG": text}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(text)["service"]["pipelines"]["traces"]["exporters"] == ["debug"]


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False


def wait(look: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + 30
    while not look():
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.1)
