"""The Spark programs of a commit are published as they were committed, whatever lies in the checkout."""

import os
import subprocess
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cluster import programs
from console.aws import local_environment
from console.options import ROOT

pytestmark = pytest.mark.slow  # starts a server


@pytest.fixture
def url() -> Iterator[str]:
    """Return the address of an AWS with the bucket "artifacts"."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_a_commit_is_published_with_all_that_its_programs_need(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in local_environment(url).items():
        monkeypatch.setenv(name, value)
    s3: Any = boto3.client("s3")
    s3.create_bucket(Bucket="artifacts")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    commit = head.stdout.strip()

    assert programs.publish(commit, "s3://artifacts/spark_jobs", url) == f"s3://artifacts/spark_jobs/{commit}"

    body = s3.get_object(Bucket="artifacts", Key=f"spark_jobs/{commit}/spark_jobs.zip")["Body"].read()
    names = zipfile.ZipFile(BytesIO(body)).namelist()
    assert {"spark_jobs/hvfhv/build_month.py", "taxiway/core/month.py", "taxiway/core/contracts.json"} <= {*names}
