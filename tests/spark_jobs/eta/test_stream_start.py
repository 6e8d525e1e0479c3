"""What is refused before Spark starts, with one sentence each; and the settings of Kafka's client."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from spark_jobs.common.program import ProgramError
from spark_jobs.eta import kafka, score_stream
from spark_jobs.eta.score_stream import PROGRAM
from spark_jobs.eta.statsd import StatsD
from tests.aws_in_memory import aws_in_memory
from tests.spark_jobs.eta import versions
from tests.spark_jobs.eta.streaming import Metrics
from tests.spark_jobs.eta.versions import BUCKET, LAKE

CHECKPOINT = f"{LAKE}/checkpoints/eta/stream"


@pytest.fixture
def s3() -> Iterator[Any]:
    with aws_in_memory():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


def start(monkeypatch: pytest.MonkeyPatch, **options: str) -> None:
    """Run the program; it would start Spark after its checks."""
    given = {"bootstrap": "127.0.0.1:1", "lake": LAKE, "checkpoint": CHECKPOINT, **options}
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    monkeypatch.setattr(sys, "argv", ["score_stream.py", *words])
    monkeypatch.setattr(score_stream, "SparkSession", None)  # what would start it
    score_stream.main()


def put(s3: Any, name: str, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"checkpoints/eta/stream/{name}", Body=content)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "program.json",
            json.dumps({"program": PROGRAM + 1}).encode(),
            (
                f"The checkpoint {CHECKPOINT} is of version {PROGRAM + 1} of this program, which is version {PROGRAM}: "
                "name another --checkpoint, or run the program that made it."
            ),
        ),
        ("program.json", b"{", f"{CHECKPOINT}/program.json cannot be read: name another --checkpoint."),
        (
            "answers/offsets/0",
            b"v1",
            f"{CHECKPOINT} holds something else than a checkpoint of this program: name another one.",
        ),
    ],
    ids=["other-version", "unreadable", "strange"],
)
def test_a_checkpoint_of_another_program_is_refused(
    s3: Any, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, sentence: str
) -> None:
    put(s3, name, content)
    with pytest.raises(ProgramError) as error:
        start(monkeypatch)
    assert str(error.value) == sentence


@pytest.mark.usefixtures("s3")
def test_a_new_checkpoint_is_noted_and_a_model_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):  # the second time it is there already
        with pytest.raises(ProgramError, match="There is no live model"):
            start(monkeypatch)


def test_a_pointer_to_a_version_that_is_gone_is_refused(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    versions.promote(s3, "gone")
    with pytest.raises(ProgramError, match="The version gone is not in s3://lake/models/eta/gone"):
        start(monkeypatch)


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProgramError, match=r"s3://nowhere/c/program.json cannot be reached: .*bucket does not exist"):
        start(monkeypatch, checkpoint="s3://nowhere/c")
    with pytest.raises(ProgramError, match="'/tmp/c' is not a folder on S3"):
        start(monkeypatch, checkpoint="/tmp/c")


def test_arguments_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        start(monkeypatch, trigger="often")
    assert exit_.value.code == 2
    assert "'often' is not a time; write it as 500ms or 10s" in capsys.readouterr().err


def test_settings_of_the_client_are_read_from_a_file_or_a_secret(s3: Any, tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text('# MSK\nsecurity.protocol=SASL_SSL\nsasl.jaas.config = a b="c";\n')
    expected = {"bootstrap.servers": "b:1", "security.protocol": "SASL_SSL", "sasl.jaas.config": 'a b="c";'}
    assert kafka.properties("b:1", str(file)) == expected
    arn = boto3.client("secretsmanager").create_secret(Name="kafka", SecretString=file.read_text())["ARN"]
    assert kafka.properties("b:1", arn) == expected
    assert kafka.properties("b:1", None) == {"bootstrap.servers": "b:1"}
    file.write_text("secret\n")
    with pytest.raises(ProgramError, match="is not key=value: it has 6 characters"):
        kafka.properties("b:1", str(file))
    with pytest.raises(ProgramError, match="cannot be read"):
        kafka.properties("b:1", str(tmp_path / "missing"))


def test_metrics_that_nobody_takes_stop_nothing() -> None:
    for address in ("127.0.0.1:9", ""):
        sender = StatsD(address)
        for _ in range(3):
            sender.gauge("lag", 1)
    metrics = Metrics()
    StatsD(metrics.address, "consumer.").times("latency", range(200))
    metrics.wait_for(200)
    assert sorted(metrics.lines) == sorted(f"airflow.taxiway.eta.consumer.latency:{number}|ms" for number in range(200))
