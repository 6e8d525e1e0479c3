"""One Sail server for all tests of the Spark programs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer
from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def sail() -> Iterator[str]:
    """Return the address of a Sail server."""
    from pysail.spark import SparkConnectServer

    with pytest.MonkeyPatch.context() as environment:
        # The session of all tests is idle while the worker runs other tests.
        environment.setenv("SAIL_SPARK__SESSION_TIMEOUT_SECS", str(10**6))
        server = SparkConnectServer(ip="127.0.0.1", port=0)
        server.start(background=True)
    yield f"sc://127.0.0.1:{server.listening_address[1]}"
    server.stop()


@pytest.fixture(scope="session")
def spark(sail: str) -> Iterator[SparkSession]:
    """Return a session on Sail with the programs' settings."""
    from spark_jobs.common.session import session

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SPARK_REMOTE", sail)
        spark = session()
        yield spark
        spark.stop()


class Programs:
    """Runs the programs as a step would: a process of its own, on one engine; ``output`` is the last one's stdout."""

    def __init__(self, environment: dict[str, str]) -> None:
        # Without what a session of the test's own process leaves behind.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
        self.output = ""
        self._environment = {**inherited, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "dags")]), **environment}

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a program that is to start now."""
        return self._environment

    def __call__(self, program: str, *arguments: object, status: int = 0) -> str:
        """Run ``hvfhv/build_month.py`` or the like and return its stderr; its exit status must be ``status``."""
        argv = [sys.executable, str(ROOT / "spark_jobs" / program), *map(str, arguments)]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        self.output = done.stdout
        return done.stderr


@pytest.fixture(scope="session")
def on_sail(sail: str) -> Programs:
    return Programs({"SPARK_REMOTE": sail})


class OnSpark(Programs):
    """On Apache Spark. The first program leaves an archive of Java's classes, with which the next start sooner."""

    def __init__(self, archive: Path) -> None:
        options = "--master local[2] --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=2 pyspark-shell"
        variables = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_SUBMIT_ARGS": options, "PYSPARK_PYTHON": sys.executable}
        super().__init__(variables)
        self._archive = archive

    @property
    def environment(self) -> dict[str, str]:
        sharing = "SharedArchiveFile" if self._archive.exists() else "ArchiveClassesAtExit"
        # For a program of seconds the optimising compiler costs more than it saves, and so do threads of the collector.
        java = f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xlog:disable -XX:{sharing}={self._archive}"
        return self._environment | {"SPARK_SUBMIT_OPTS": java}


@pytest.fixture(scope="session")
def on_spark(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return OnSpark(tmp_path_factory.mktemp("java") / "classes.jsa")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a client of moto's S3 over HTTP, with a bucket "artifacts"; the environment points to it too."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    requests.post(f"{client.meta.endpoint_url}/moto-api/reset", timeout=10)
    client.create_bucket(Bucket="artifacts")
    yield client
    server.stop()
