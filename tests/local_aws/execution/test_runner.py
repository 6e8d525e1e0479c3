"""Programs that run without any service: what a further service has to give, and what it gets."""

import gzip
import os
import queue
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config

from local_aws.execution import (
    Launch,
    LaunchError,
    Limits,
    Program,
    Result,
    Run,
    Runner,
    State,
    process,
    remove_leftovers,
    storage,
)
from tests.local_aws.endpoint import Endpoint
from tests.processes import command
from tests.waiting import eventually

Results = queue.Queue[Result]
MIB = 1024**2


@pytest.fixture
def runner(endpoint: Endpoint) -> Runner:
    return Runner(endpoint.url, "us-east-1", Limits(programs=2, memory=200 * MIB, grace_s=60))


@pytest.fixture
def results() -> Results:
    return queue.Queue()


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Program]:
    """Describe a Python program by its code, arguments and settings."""

    def describe(code: str, *arguments: str, **settings: Any) -> Program:
        def prepare(work: Path, environment: Mapping[str, str]) -> Launch:
            return Launch([sys.executable, "-c", code, *arguments], dict(environment), work)

        defaults: dict[str, Any] = {
            "id": "r-1",
            "kind": "job run",
            "folder": tmp_path / "runs" / "r-1",
            "prepare": prepare,
        }
        return Program(**defaults | settings)

    return describe


def run(runner: Runner, program: Program, results: Results) -> Result:
    assert runner.start(program, results.put)
    return results.get(timeout=120)


def test_a_program_gets_its_arguments_and_environment_and_its_logs_go_to_s3(
    runner: Runner, program: Callable[..., Program], results: Results, endpoint: Endpoint, tmp_path: Path
) -> None:
    s3 = endpoint.client("s3")
    s3.create_bucket(Bucket="runs")
    code = "import os, sys; print(*sys.argv[1:], os.environ['RUN'], os.environ['AWS_ENDPOINT_URL'], os.getcwd())"
    described = program(code, "2023-01", environment={"RUN": "r-1"}, log_uri="s3://runs/logs/r-1/DRIVER")

    assert run(runner, described, results) == Result(State.SUCCEEDED, 0)

    listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket="runs")["Contents"]]
    assert listed == ["logs/r-1/DRIVER/stderr.gz", "logs/r-1/DRIVER/stdout.gz"]
    stdout = gzip.decompress(s3.get_object(Bucket="runs", Key=listed[1])["Body"].read()).decode()
    assert stdout == f"2023-01 r-1 {endpoint.url} {tmp_path}/runs/r-1/work\n"
    assert not described.folder.exists()


@pytest.mark.parametrize(
    ("excepted", "value"), [("", "127.0.0.1"), ("intra.example, 127.0.0.1", "intra.example,127.0.0.1"), ("*", "*")]
)
def test_a_proxy_of_the_users_is_not_asked_for_the_endpoint(
    endpoint: Endpoint,
    program: Callable[..., Program],
    results: Results,
    excepted: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither by a program nor by the runner, which puts its logs there."""
    endpoint.client("s3").create_bucket(Bucket="proxied")
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", excepted)
    storage._s3_client.cache_clear()
    runner = Runner(endpoint.url, "us-east-1", Limits(programs=1, memory=200 * MIB, grace_s=60))
    code = "import os, sys; sys.exit({os.environ[name] for name in ('no_proxy', 'NO_PROXY')} != {sys.argv[1]})"
    assert run(runner, program(code, value, log_uri="s3://proxied/logs"), results) == Result(State.SUCCEEDED, 0)
    session = boto3.Session("x", "x", region_name="us-east-1")
    direct = session.client("s3", endpoint_url=endpoint.url, config=Config(proxies={}))
    assert direct.list_objects_v2(Bucket="proxied")["KeyCount"] == 2
    direct.delete_objects(Bucket="proxied", Delete={"Objects": [{"Key": f"logs/std{x}.gz"} for x in ("out", "err")]})
    direct.delete_bucket(Bucket="proxied")


def test_a_failure_has_its_reason_and_the_log_that_explains_it(
    runner: Runner, program: Callable[..., Program], results: Results
) -> None:
    result = run(runner, program("raise ValueError('no rows in 2023-01')"), results)

    assert (result.state, result.exit_status) == (State.FAILED, 1)
    assert result.failure
    assert result.failure.reason == "Exit status 1."
    assert result.failure.message == "ValueError: no rows in 2023-01"
    assert Path(result.failure.log).read_text().splitlines()[0] == "Traceback (most recent call last):"


def test_a_program_that_cannot_be_prepared_fails_with_the_reason(
    runner: Runner, program: Callable[..., Program], results: Results
) -> None:
    def prepare(work: Path, environment: Mapping[str, str]) -> Launch:
        raise LaunchError("s3://runs/none.py does not exist.")

    result = run(runner, program("", prepare=prepare), results)

    assert (result.state, result.exit_status) == (State.FAILED, None)
    assert result.failure
    assert result.failure.reason == "The job run could not be started."
    assert result.failure.message == Path(result.failure.log).read_text().strip() == "s3://runs/none.py does not exist."


def test_a_program_that_uses_too_much_memory_is_killed_with_its_children(
    runner: Runner, program: Callable[..., Program], results: Results
) -> None:
    code = "import os, time; b = os.urandom(1) * 150_000_000; os.fork(); b += b'x' * 50_000_000; time.sleep(60)"
    result = run(runner, program(code), results)

    assert result.failure
    assert result.failure.message == ("The job run used more than 0.2 GiB of memory (--step-memory) and was killed.")
    assert [child for child in psutil.Process().children(recursive=True) if code in command(child)] == []


HANDLER = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: {}); print('ready', flush=True); time.sleep(60)"
)


@pytest.mark.parametrize(
    ("handler", "graces", "exit_status"),
    [
        ("sys.exit(3)", [None], 3),  # it ends within the grace of the limits
        ("None", [0.2], 137),  # it ignores the signal
        ("sys.exit(3)", [0], 137),  # no signal comes before the kill
        ("None", [None, 0], 137),  # the second request does not wait for the grace of the first
    ],
)
def test_a_program_is_cancelled(
    runner: Runner,
    program: Callable[..., Program],
    results: Results,
    handler: str,
    graces: Sequence[float | None],
    exit_status: int,
) -> None:
    described = program(HANDLER.format(handler))
    started = runner.start(described, results.put)
    assert started
    stdout = described.folder / "stdout"
    eventually(lambda: stdout.exists() and stdout.read_text() == "ready\n")

    for grace_s in graces:
        started.cancel(grace_s)
    started.wait()

    assert results.get_nowait() == Result(State.CANCELLED, exit_status)


def test_a_program_that_has_yet_to_start_is_asked_to_end_too(tmp_path: Path) -> None:
    cancellation = process.Cancellation(60)
    cancellation.request()
    launch = Launch([sys.executable, "-c", "import time; time.sleep(30)"], dict(os.environ), tmp_path)

    end = process.run(
        launch, stdout=tmp_path / "out", stderr=tmp_path / "err", memory=200 * MIB, cancellation=cancellation
    )

    assert end == process.Exit(process.Cause.CANCELLED, 128 + signal.SIGTERM)


def test_no_more_programs_run_at_once_than_the_limits_allow(
    runner: Runner, program: Callable[..., Program], results: Results, tmp_path: Path
) -> None:
    def start(name: str) -> Run | None:
        return runner.start(program("import time; time.sleep(60)", folder=tmp_path / name), results.put)

    first, second = start("a"), start("b")
    assert first
    assert second
    assert start("c") is None

    first.cancel(0)
    first.wait()
    third = start("c")

    assert third
    for each in (second, third):
        each.cancel(0)
        each.wait()


def test_working_folders_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "r-1" / "work" / "spill").mkdir(parents=True)
    (tmp_path / "r-1" / "stderr").touch()

    remove_leftovers(tmp_path)

    assert [path.name for path in (tmp_path / "r-1").iterdir()] == ["stderr"]
