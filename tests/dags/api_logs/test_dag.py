"""The DAG itself on the shipped sample: its states, and that no plaintext of a person is in anything that it leaves."""

import gzip
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest

from services.log_generator import MasterKeys, deliver, open_events, target_of
from taxiway.api_logs.settings import api_logs_settings
from taxiway.api_logs.tables import EVENTS, QUARANTINE
from taxiway.lake import Lake
from tests.dags.api_logs.world import SAMPLE
from tests.dags.runs import run_once

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[3]
LEAST_NAME, LEAST_TEXT = 6, 16  # characters that are looked for: shorter names and comments are words of other things
MOST = 700  # texts that are looked for


def start(*taken: str) -> tuple[str, dict[str, list[str]]]:
    """Run the DAG; return the state of the run, and the states of each task by index."""
    return run_once("api_logs_etl", {"hours": list(taken)})


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of all temporary files, in which they stay when their writers delete them."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", lambda self: self._finalizer.detach())
    yield folder
    shutil.rmtree(folder)


def personal() -> list[bytes]:
    """Return what of the sample nobody may read: users, comments, pages that name people; some of them.

    Not what is in the title of an article or in the name of a place too, nor in our own code.
    """
    found, open_ = set(), [file.read_text() for file in (ROOT / "dags").rglob("*.py")]
    with gzip.open(SAMPLE) as lines:
        for event in map(json.loads, lines):
            found |= {text for text in (event["comment"],) if len(text) >= LEAST_TEXT}
            found |= {text for text in (event["user"],) if len(text) >= LEAST_NAME}
            if event["namespace"] != "Main" and len(event["page"]) >= LEAST_TEXT:
                found.add(event["page"])
            public = ("channel", "cityName", "regionName", "countryName", "namespace")
            open_ += [event[name] or "" for name in public]
            open_ += [event["page"]] if event["namespace"] == "Main" else []
    known = "\n".join(open_)
    secret = sorted(text for text in found if text not in known)
    return [text.encode() for text in secret[:: max(len(secret) // MOST, 1)]]


def readable(body: bytes) -> list[bytes]:
    """Return the texts of a file: the values of a Parquet file, what a gzip file holds, the bytes of any other."""
    if body[:4] == b"PAR1":
        rows = pq.read_table(io.BytesIO(body)).to_pylist()
        return ["\n".join(str(value) for row in rows for value in row.values()).encode()]
    return [gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body]


def test_a_run_leaves_no_plaintext_of_a_person(
    lake: Lake,
    platform: Path,
    scratch: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    keys = MasterKeys(boto3.Session(), api_logs_settings().key_prefix)
    target = target_of("s3://taxiway-lake/raw/api_logs", boto3.Session())
    delivered = deliver(open_events(SAMPLE), target, keys, faults=True)
    hours = sorted(delivered.records)

    state, tasks = start(f"{hours[0]}/{hours[-1]}")

    assert state == "success", tasks
    assert {state for states in tasks.values() for state in states} == {"success"}
    published = sum(int(each.parameters["rows"]) for each in lake.partitions(EVENTS).values())
    quarantined = sum(int(each.parameters["rows"]) for each in lake.partitions(QUARANTINE).values())
    assert published + quarantined == delivered.records.total()
    assert quarantined == delivered.faults.total()
    assert start(f"{hours[0]}/{hours[-1]}")[1]["plan"] == ["skipped"]

    secret = personal()
    assert len(secret) >= MOST
    left = {"output": "".join(capfd.readouterr()).encode(), "log": caplog.text.encode()}
    for folder in (scratch, platform, Path(os.environ["AIRFLOW_HOME"])):  # XComs are in Airflow's database
        left |= {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for found in boto3.resource("s3").Bucket("taxiway-lake").objects.all():
        left[found.key] = found.get()["Body"].read()
    kinds = ("raw/", "staged/", "curated/", "quarantine/", "reports/", "athena/")
    assert all(any(name.startswith(kind) for name in left) for kind in kinds), "all that a run leaves was looked at"
    assert any(str(scratch) in name for name in left), "temporary files were kept for this"
    leaked = {
        (name, text.decode())
        for name, body in left.items()
        for part in readable(body)
        for text in secret
        if text in part
    }
    assert leaked == set()
    assert sum(text in readable(SAMPLE.read_bytes())[0] for text in secret) > MOST / 2, "it would be found"
