"""make stream as a person uses it: rides are answered until Ctrl-C, and nothing is left running."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from console.aws import local_client
from console.ports import free_port
from laptop.stream import Options, Summary
from services.replay.rides import COLUMNS
from tests.laptop.person import Person
from tests.services.models import Models
from tests.waiting import eventually, listens

ROOT = Path(__file__).parents[2]
VERSION = "20260101T000000-2023-06"
# A test starts Kafka and Spark, and waits for the first answers.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]


@contextmanager
def aws_of(person: Person) -> Iterator[str]:
    """Run the endpoint of a person's lake, and give its address."""
    port = person.environment["AWS_PORT"]
    command = [sys.executable, "-m", "local_aws", "--port", port, "--data", str(person.state / "aws")]
    endpoint = subprocess.Popen([*command, "--state-seconds", "0"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert endpoint.stdout
        assert endpoint.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    finally:
        endpoint.terminate()
        endpoint.wait(60)


@pytest.fixture(scope="module")
def lake(person: Person, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Give the person a lake with a published month and a version of the model, which is not live."""
    with aws_of(person) as url:
        Models(local_client("s3", url), "taxiway-lake").add(VERSION, 30.0)
        publish(local_client("s3", url), local_client("glue", url), tmp_path_factory.mktemp("rides") / "part.parquet")
    return person


@pytest.fixture(scope="module")
def live(lake: Person) -> Person:
    """Make the version live."""
    with aws_of(lake) as url:
        Models(local_client("s3", url), "taxiway-lake").promote(VERSION)
    return lake


def publish(s3: Any, glue: Any, file: Path) -> None:
    """Publish 2023-06 with a ride every second for 20 minutes."""
    start = datetime(2023, 6, 1, 8)  # noqa: DTZ001 - New York's wall clock
    rows = [
        {
            "request_datetime": start + timedelta(seconds=second),
            "company": "uber",
            "pickup_zone_id": 1 + second % 263,
            "dropoff_zone_id": 132,
            "trip_miles": 2.0,
            "wait_s": 200,
        }
        for second in range(1200)
    ]
    pq.write_table(pa.Table.from_pylist(rows, COLUMNS), file)
    folder = "marts/hvfhv/eta_training/year=2023/month=06/version=1"
    s3.upload_file(str(file), "taxiway-lake", f"{folder}/part-0.parquet")
    storage = {"Location": f"s3://taxiway-lake/{folder}"}
    glue.create_database(DatabaseInput={"Name": "taxiway"})
    keys = [{"Name": "year", "Type": "string"}, {"Name": "month", "Type": "string"}]
    table = {"Name": "hvfhv_eta_training", "StorageDescriptor": storage, "PartitionKeys": keys}
    glue.create_table(DatabaseName="taxiway", TableInput=table)
    partition = {"Values": ["2023", "06"], "StorageDescriptor": storage}
    glue.create_partition(DatabaseName="taxiway", TableName="hvfhv_eta_training", PartitionInput=partition)


@pytest.fixture
def stream(lake: Person) -> Iterator[Person]:
    lake.environment |= {"KAFKA_PORT": str(free_port()), "PAGE_PORT": str(free_port())}
    yield lake
    assert lake.left_after(30) == []


def read_until(process: "subprocess.Popen[str]", pattern: str, seconds: float = 240) -> str:
    """Return what a process prints up to a line that fits."""
    deadline, read = time.monotonic() + seconds, ""
    assert process.stdout
    for line in process.stdout:
        read += line
        if re.search(pattern, line):
            return read
        assert time.monotonic() < deadline, read
    raise AssertionError(read)


def test_without_a_lake_it_says_what_to_do(tmp_path: Path, person: Person) -> None:
    status, output = Person(tmp_path / "new", free_port(), free_port()).type("stream")
    assert (status, output) == (1, "There is no lake yet: run make demo first.\n")


def test_without_a_live_model_it_says_what_to_do(stream: Person) -> None:
    status, output = stream.type("stream")
    assert (status, output) == (1, "There is no live model: run make demo PIPELINE=eta first.\n")


def test_a_port_that_is_taken_is_named(stream: Person) -> None:
    port = stream.environment["PAGE_PORT"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(port)))
        other.listen()
        status, output = stream.type("stream")
    assert status == 1
    assert output == (
        f"Port {port} on 127.0.0.1, which the live page needs, is taken by another program: end it, or choose another"
        " port with PAGE_PORT=…\n"
    )


def test_rides_are_answered_until_ctrl_c_and_nothing_is_left(stream: Person, live: Person) -> None:
    process = live.start("stream", SPEED="20")
    try:
        output = read_until(process, r"[1-9][\d,]* predicted \+ 0 rejected")
        page = f"http://127.0.0.1:{live.environment['PAGE_PORT']}"
        assert f"The live page is {page}" in output
        assert "Plays the rides of 2023-06" in output
        assert f"model {VERSION} (stream)" in output
        eventually(lambda: listens(int(live.environment["PAGE_PORT"])))
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        rest, _ = process.communicate(timeout=300)
        print(f"{output}{rest}Ended after {time.monotonic() - asked:.1f} s.")  # pytest shows it when a test fails
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert live.left_after(30) == []


def test_ctrl_c_at_the_start_leaves_nothing(stream: Person, live: Person) -> None:
    process = live.start("stream")
    try:
        read_until(process, "Starting Kafka")
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert (process.returncode, "Traceback" in rest) == (130, False)
    assert live.left_after(30) == []


def test_options_come_from_variables() -> None:
    given = {"KAFKA_PORT": "9999", "PAGE_PORT": "", "MONTH": "2023-05", "RATE": "10"}
    assert Options.from_environment(given) == Options(9999, 8501, "2023-05", 10, 60)


def test_a_summary_reads_as_sentences() -> None:
    summary = Summary(VERSION, 1000, 997, 3, 412.0, 933.0, 101.4, 0.9, 640)
    assert str(summary) == (
        f"1,000 requests: 997 predicted by {VERSION}, 3 rejected; from Kafka to Kafka p50 412 ms, p99 933 ms; "
        "live error 101 s, 90.0% within p90 (640 riders picked up)."
    )
