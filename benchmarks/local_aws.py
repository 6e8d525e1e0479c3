"""Local AWS beside what it is made of: S3 beside moto, Athena beside DuckDB; and how soon it and its programs start."""

import gzip
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import psutil
from botocore.config import Config

from benchmarks.synthetic import ROOT, month_file
from local_aws.pytest_plugin import LocalAws

ROUNDS = 3
SMALL, QUERIES, RESETS = 300, 30, 30
SMALL_ONES = f"{SMALL} puts and as many gets of 1 kB"
MB = 1024**2
PROGRAM = b"import time\nprint(time.time(), flush=True)\n"
COLUMNS = {"request_datetime": "timestamp", "PULocationID": "bigint", "trip_miles": "double", "trip_time": "bigint"}
COLUMNS |= dict.fromkeys(("base_passenger_fare", "tolls", "tips", "driver_pay"), "double")
SCAN = """SELECT PULocationID, hour(request_datetime), count(*), avg(trip_miles), max(trip_time),
    sum(base_passenger_fare), sum(tolls), sum(tips), sum(driver_pay) FROM {} GROUP BY 1, 2"""
VALUES = "SELECT zone, count(*), avg(miles) FROM {} GROUP BY zone"


@dataclass
class Server:
    """A server process, and clients of it."""

    url: str
    process: psutil.Process
    ready_s: float

    def settle(self) -> None:
        """Wait until it has imported, in a process of its own, what programs import."""
        deadline = time.monotonic() + 30
        while self.process.children() and time.monotonic() < deadline:
            time.sleep(0.05)

    def client(self, service: str) -> Any:
        """Return a client with as many connections as the benchmark has threads, which repeats nothing."""
        config = Config(max_pool_connections=100, retries={"max_attempts": 1}, read_timeout=300)
        return LocalAws(self.url).client(
            service,
            config=config,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",  # noqa: S106
        )


@contextmanager
def served(kind: str, *options: str) -> Iterator[Server]:
    """Run "local_aws" or "moto" on a free port; it is ready when it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as data:
        if kind == "moto":
            words, path = ["moto.server", "-p", str(port)], "/moto-api/"
        else:
            words, path = ["local_aws", "--port", str(port), "--data", data, *options], "/_local_aws/health"
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while not answers(url + path):
                if process.poll() is not None or time.perf_counter() > started + 60:
                    raise RuntimeError(f"{kind} did not start")
                time.sleep(0.01)
            yield Server(url, psutil.Process(process.pid), time.perf_counter() - started)
        finally:
            process.terminate()
            process.wait(30)


def answers(url: str) -> bool:
    """Return whether a server answers."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310
        return True
    return False


@contextmanager
def peak_memory(process: psutil.Process) -> Iterator[Callable[[], int]]:
    """Sample the resident memory of a process; the function returns the most, in bytes."""
    peak, ended = [process.memory_info().rss], threading.Event()

    def sample() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield lambda: peak[0]
    finally:
        ended.set()
        thread.join()


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def s3_times(kind: str) -> dict[str, float]:
    """Return the seconds of each kind of work on S3, and the peak memory of the server in MB."""
    small, part, large = os.urandom(1024), os.urandom(5 * MB), os.urandom(64 * MB)
    with served(kind) as server, peak_memory(server.process) as peak, ThreadPoolExecutor(100) as pool:
        server.settle()
        s3 = server.client("s3")
        s3.create_bucket(Bucket="bench")

        def put(key: str, body: bytes) -> object:
            return s3.put_object(Bucket="bench", Key=key, Body=body)

        def get(key: str) -> int:
            return len(s3.get_object(Bucket="bench", Key=key)["Body"].read())

        found = {
            f"{SMALL} puts of 1 kB": seconds(lambda: [put(f"small/{n}", small) for n in range(SMALL)]),
            f"{SMALL} gets of 1 kB": seconds(lambda: [get(f"small/{n}") for n in range(SMALL)]),
            "64 MB up": seconds(lambda: put("large", large)),
            "64 MB down": seconds(lambda: get("large")),
            "100 puts of 5 MB at once": seconds(lambda: list(pool.map(lambda n: put(f"part/{n}", part), range(100)))),
        }
        small_ones = sum(took for work, took in found.items() if work.endswith("of 1 kB"))
        return {SMALL_ONES: small_ones} | found | {"peak memory (MB)": peak() / MB}


def s3_lines() -> Iterator[str]:
    """Measure S3 beside plain moto, alternately; yield the lines of the report."""
    rounds = [{kind: s3_times(kind) for kind in ("local_aws", "moto")} for _ in range(ROUNDS)]
    yield "| S3, seconds | local_aws | plain moto | moto ÷ local_aws |"
    yield "| --- | ---: | ---: | ---: |"
    ratios = {}
    for work in rounds[0]["moto"]:
        ours, theirs = (median(each[kind][work] for each in rounds) for kind in ("local_aws", "moto"))
        ratios[work] = median(each["moto"][work] / each["local_aws"][work] for each in rounds)
        digits = 0 if work.startswith("peak") else 2
        yield f"| {work} | {ours:.{digits}f} | {theirs:.{digits}f} | {ratios[work]:.1f} |"
    yield ""
    yield goal(f"S3 is at least 2 × as fast as plain moto at {SMALL_ONES}", ratios[SMALL_ONES], 2, at_least=True)


class Athena:
    """A lake with two tables, and queries to their end."""

    def __init__(self, server: Server, month: Path, small: Path) -> None:
        self._s3, self._glue, self._athena = (server.client(service) for service in ("s3", "glue", "athena"))
        self._s3.create_bucket(Bucket="lake")
        self._glue.create_database(DatabaseInput={"Name": "lake"})
        self._table("month", month, COLUMNS)
        self._table("small", small, {"zone": "int", "miles": "double"})

    def _table(self, name: str, file: Path, columns: dict[str, str]) -> None:
        self._s3.upload_file(str(file), "lake", f"{name}/part.parquet")
        storage = {
            "Columns": [{"Name": column.lower(), "Type": kind} for column, kind in columns.items()],
            "Location": f"s3://lake/{name}/",
            "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
        }
        table = {"Name": name, "TableType": "EXTERNAL_TABLE", "StorageDescriptor": storage}
        self._glue.create_table(DatabaseName="lake", TableInput=table)

    def run(self, sql: str) -> tuple[float, list[Any]]:
        """Run a query; return the seconds until its end was seen, and the first rows of its result."""
        started = time.perf_counter()
        output = {"OutputLocation": "s3://lake/results/"}
        query = self._athena.start_query_execution(QueryString=sql, ResultConfiguration=output)["QueryExecutionId"]
        while True:
            status = self._athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]
            if status["State"] not in ("QUEUED", "RUNNING"):
                break
            time.sleep(0.005)
        took = time.perf_counter() - started
        if status["State"] != "SUCCEEDED":
            raise RuntimeError(f"the query failed: {status['StateChangeReason']}")
        return took, self._athena.get_query_results(QueryExecutionId=query)["ResultSet"]["Rows"]


def duckdb_seconds(sql: str) -> float:
    """Return the seconds of a query in a new DuckDB of this process, until its result is in a CSV file."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        return seconds(lambda: connection.execute(f"COPY ({sql}) TO '{folder}/result.csv' (FORMAT csv)"))


def athena_lines(server: Server, folder: Path) -> Iterator[str]:
    """Measure queries beside DuckDB's own time on the same files; yield the lines of the report."""
    month, small = month_file(), folder / "small.parquet"
    rows = "SELECT (range % 5)::INTEGER AS zone, range / 7 AS miles FROM range(1000)"
    duckdb.sql(f"COPY ({rows}) TO '{small}' (FORMAT parquet)")
    athena = Athena(server, month, small)
    athena.run("SELECT 1")  # starts the process that queries come from
    alone = [duckdb_seconds(VALUES.format(f"'{small}'")) for _ in range(QUERIES)]
    queries = [athena.run(VALUES.format("lake.small"))[0] for _ in range(QUERIES)]
    over = (median(queries) - median(alone)) * 1000
    yield goal("A small Athena query takes at most 150 ms more than DuckDB alone (p50, ms)", over, 150)
    scan = SCAN.format("lake.month")
    rounds = [(athena.run(scan)[0], duckdb_seconds(SCAN.format(f"'{month}'"))) for _ in range(ROUNDS + 1)][1:]
    ours, theirs = (median(each) for each in zip(*rounds, strict=True))
    ratio = median(query / duck for query, duck in rounds)
    text = (
        f"A scan of 20 million trips by zone and hour ({ours:.2f} s) takes at most 1.3 × DuckDB's time ({theirs:.2f} s)"
    )
    yield goal(text, ratio, 1.3)


def first_line_seconds(server: Server) -> float:
    """Return the median seconds from the submission of a job run on Sail to its program's first line."""
    s3, emr = server.client("s3"), server.client("emr-serverless")
    s3.create_bucket(Bucket="jobs")
    s3.put_object(Bucket="jobs", Key="first.py", Body=PROGRAM)
    application = emr.create_application(releaseLabel="emr-spark-8.0.0", type="SPARK")["applicationId"]
    while emr.get_application(applicationId=application)["application"]["state"] != "CREATED":
        time.sleep(0.05)
    emr.start_application(applicationId=application)
    while emr.get_application(applicationId=application)["application"]["state"] != "STARTED":
        time.sleep(0.05)
    return median(_first_line(s3, emr, application) for _ in range(ROUNDS))


def _first_line(s3: Any, emr: Any, application: str) -> float:
    logs = {"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": "s3://jobs/logs"}}}
    submitted = time.time()
    run = emr.start_job_run(
        applicationId=application,
        executionRoleArn="arn:aws:iam::123456789012:role/jobs",
        jobDriver={"sparkSubmit": {"entryPoint": "s3://jobs/first.py"}},
        configurationOverrides=logs,
    )["jobRunId"]
    while (state := emr.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"]) != "SUCCESS":
        if state == "FAILED":
            raise RuntimeError("the job run failed")
        time.sleep(0.05)
    log = f"logs/applications/{application}/jobs/{run}/SPARK_DRIVER/stdout.gz"
    return float(gzip.decompress(s3.get_object(Bucket="jobs", Key=log)["Body"].read())) - submitted


def reset_ms() -> float:
    """Return the median milliseconds of the reset after a test that has used several services."""
    with served("local_aws", "--allow-reset") as server:
        aws = LocalAws(server.url)
        s3, glue, sqs, iam = (server.client(service) for service in ("s3", "glue", "sqs", "iam"))

        def after_a_test() -> float:
            s3.create_bucket(Bucket="bench")
            for n in range(20):
                s3.put_object(Bucket="bench", Key=f"{n}", Body=b"x")
            glue.create_database(DatabaseInput={"Name": "lake"})
            sqs.create_queue(QueueName="queue")
            iam.create_role(RoleName="role", AssumeRolePolicyDocument="{}")
            return seconds(aws.reset) * 1000

        return median(after_a_test() for _ in range(RESETS))


def goal(claim: str, value: float, limit: float, *, at_least: bool = False) -> str:
    """Return the line of a claim: what was measured, and whether it holds."""
    met = value >= limit if at_least else value <= limit
    return f"- {claim}: {value:.2f}, {'met' if met else '**missed**'}"


def report() -> Iterator[str]:
    """Measure, and yield the lines of the report."""
    yield from s3_lines()
    with served("local_aws") as server, tempfile.TemporaryDirectory() as folder:
        server.settle()
        yield from athena_lines(server, Path(folder))
        first = first_line_seconds(server)
        yield goal("An EMR Serverless run on Sail is at its program's first line in at most 3 s", first, 3)
    ready = []
    for _ in range(ROUNDS):
        with served("local_aws") as server:
            ready.append(server.ready_s)
    yield goal("The endpoint answers in at most 3 s", median(ready), 3)
    yield goal("The pytest plugin's reset takes at most 50 ms", reset_ms(), 50)
