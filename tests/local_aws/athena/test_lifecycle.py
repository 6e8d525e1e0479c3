"""States, cancellation, limits, and what is left when processes are killed."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.local_aws.athena.lake import Lake
from tests.local_aws.endpoint import ROOT, Endpoint, error_of
from tests.processes import command, wait_for_end
from tests.waiting import eventually

LONG = (
    "SELECT count(*) FROM unnest(sequence(1, 200000)) a(x) CROSS JOIN unnest(sequence(1, 200000)) b(y) WHERE x "
    "* y % 7 = 3"
)


def state(lake: Lake, query_id: str) -> str:
    found: str = lake.athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]["Status"]["State"]
    return found


def running(endpoint: Endpoint) -> list[psutil.Process]:
    """Return the processes of queries."""
    return [child for child in endpoint.children() if "local_aws.athena.worker" in command(child)]


def test_cancel_in_every_state(new_endpoint: Callable[..., Endpoint], tmp_path: Path) -> None:
    lake = Lake(new_endpoint("--max-queries", "1").start(), "cancel", tmp_path)
    first, second = lake.start(LONG), lake.start("SELECT 1")
    eventually(lambda: state(lake, first) == "RUNNING")
    assert state(lake, second) == "QUEUED"
    answer = error_of(lake.athena.get_query_results, QueryExecutionId=second)
    assert answer["Error"]["Message"] == "Query has not yet finished. Current state: QUEUED"
    lake.athena.stop_query_execution(QueryExecutionId=second)
    assert state(lake, second) == "CANCELLED"
    begun = time.monotonic()
    lake.athena.stop_query_execution(QueryExecutionId=first)
    found = lake.wait(first)
    assert (found["Status"]["State"], found["Status"]["StateChangeReason"]) == ("CANCELLED", "Query cancelled by user")
    assert time.monotonic() - begun < 60
    lake.athena.stop_query_execution(QueryExecutionId=first)  # nothing happens
    assert lake.rows("SELECT 2") == [["2"]]
    done = lake.run("SELECT 3")["QueryExecutionId"]
    lake.athena.stop_query_execution(QueryExecutionId=done)
    assert state(lake, done) == "SUCCEEDED"
    lake.athena.stop_query_execution(QueryExecutionId=lake.start(LONG))


def test_a_slow_query_does_not_hold_up_the_endpoint(lake: Lake) -> None:
    slow = lake.start(LONG)
    try:
        eventually(lambda: state(lake, slow) == "RUNNING")
        assert lake.rows("SELECT count(*) FROM orders") == [["20"]]
        lake.s3.list_buckets()
        assert state(lake, slow) == "RUNNING"
    finally:
        lake.athena.stop_query_execution(QueryExecutionId=slow)
        lake.wait(slow)


def test_a_query_that_needs_more_memory_than_there_is(new_endpoint: Callable[..., Endpoint], tmp_path: Path) -> None:
    lake = Lake(new_endpoint("--query-memory", "400m").start(), "memory", tmp_path)
    reason = lake.failure(
        "SELECT cardinality(array_agg(x)) + cardinality(array_agg(cast(x AS varchar) || 'some longer text')) "
        "FROM (SELECT x * 1000 + y AS x FROM unnest(sequence(1, 30000)) a(x) CROSS JOIN unnest(sequence(1, 1000)) b(y))"
    )
    assert reason.startswith("EXCEEDED_MEMORY_LIMIT: Query exhausted resources at this scale factor")
    assert lake.rows("SELECT 1") == [["1"]]


def test_a_query_above_the_scan_limit_is_cancelled(lake: Lake) -> None:
    lake.parquet("big/f.parquet", "SELECT random()::VARCHAR AS a, i FROM range(900000) t(i)")
    lake.table("big", {"a": "string", "i": "bigint"}, "big/")
    lake.athena.create_work_group(Name="small", Configuration={"BytesScannedCutoffPerQuery": 10_000_000})
    found = lake.wait(lake.start("SELECT max(a) FROM big", WorkGroup="small"))
    assert (found["Status"]["State"], found["Status"]["StateChangeReason"]) == (
        "CANCELLED",
        "Bytes scanned limit was exceeded",
    )
    assert lake.rows("SELECT max(i) FROM big", WorkGroup="small") == [["899999"]]


def test_a_process_that_is_killed_fails_its_query_and_no_other(lake: Lake) -> None:
    assert lake.rows("SELECT 1") == [["1"]]
    slow = lake.start(LONG)
    eventually(lambda: state(lake, slow) == "RUNNING")
    ours = lake.endpoint.process.pid

    def busy() -> psutil.Process | None:
        for each in running(lake.endpoint):
            with suppress(psutil.NoSuchProcess):  # that of the query before
                if each.ppid() != ours and each.cpu_times().user > 0.8:
                    return each
        return None

    found = eventually(busy)
    assert found
    found.kill()
    status = lake.wait(slow)["Status"]
    assert status["State"] == "FAILED"
    assert "The process of the query was killed" in status["StateChangeReason"]
    assert lake.rows("SELECT 2") == [["2"]]


def test_the_process_that_forks_is_replaced_when_it_is_killed(lake: Lake) -> None:
    assert lake.rows("SELECT 1") == [["1"]]
    children = psutil.Process(lake.endpoint.process.pid).children()
    (server,) = [child for child in children if "local_aws.athena.worker" in command(child)]
    server.kill()
    wait_for_end([server])
    assert lake.rows("SELECT 2") == [["2"]]


@pytest.mark.parametrize(
    "sql",
    [
        (
            "CREATE TABLE made WITH (external_location = 's3://killed/made/', partitioned_by = ARRAY['p']) AS SELECT "
            "* FROM source"
        ),
        "INSERT INTO target SELECT * FROM source",
        "UNLOAD (SELECT * FROM source) TO 's3://killed/unloaded/' WITH (format = 'PARQUET')",
    ],
    ids=["CTAS", "INSERT", "UNLOAD"],
)
def test_an_endpoint_that_is_killed_leaves_nothing_half_written(
    new_endpoint: Callable[..., Endpoint], tmp_path: Path, sql: str
) -> None:
    endpoint = new_endpoint()
    lake = Lake(endpoint.start(), "killed", tmp_path)
    lake.run(
        "CREATE TABLE target WITH (external_location = 's3://killed/target/', partitioned_by = ARRAY['p']) AS "
        "SELECT 0 AS x, 0 AS p"
    )
    lake.run(
        "CREATE VIEW source AS SELECT cast(n % 5 AS integer) AS x, cast(n % 3 AS integer) AS p FROM "
        f"({LONG.replace('count(*)', 'count(*) AS n')})"
    )
    before = lake.keys("target/") + lake.keys("made/") + lake.keys("unloaded/")
    query_id = lake.start(sql)
    eventually(lambda: state(lake, query_id) == "RUNNING")
    time.sleep(0.3)
    children = endpoint.children()
    endpoint.kill()
    wait_for_end(children)
    endpoint.start()
    again = Lake.__new__(Lake)
    again.__dict__ = {**lake.__dict__, **{name: endpoint.client(name) for name in ("s3", "glue", "athena")}}
    found = again.wait(query_id)
    assert found["Status"]["State"] == "FAILED"
    assert "The local endpoint ended while this query was queued or running." in found["Status"]["StateChangeReason"]
    assert again.keys("target/") + again.keys("made/") + again.keys("unloaded/") == before
    assert again.rows("SELECT count(*) FROM target") == [["1"]]
    assert again.rows("SHOW TABLES") == [["source"], ["target"]]


def test_files_are_put_all_or_none_if_the_endpoint_is_killed_while_it_puts_them(tmp_path: Path) -> None:
    """The window after a statement has succeeded: its files go to S3 in one transaction."""
    program = """
import io, os, sys
from pathlib import Path
from local_aws.database import Database
from local_aws.moto_backend import open_moto
data = Path(sys.argv[1])
moto, s3, _ = open_moto(data, Database(data / "state.db"))
if sys.argv[2] == "put":
    from local_aws.moto_backend import s3_store
    scope = "AWS4-HMAC-SHA256 Credential=a/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    environ = {"REQUEST_METHOD": "PUT", "PATH_INFO": "/lake", "REQUEST_URI": "/lake", "RAW_URI": "/lake",
               "QUERY_STRING": "", "SERVER_NAME": "x", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
               "HTTP_HOST": "s3.amazonaws.com", "CONTENT_LENGTH": "0", "HTTP_AUTHORIZATION": scope,
               "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}
    b"".join(s3(environ, lambda *_: None))
    file = data / "file"
    file.write_text("content")
    s3.put_files([("lake", "before", file)])
    write, count = s3_store.S3Store._write_rows, []
    def killed(self, *place):
        count.append(place)
        if len(count) == 2:
            os._exit(9)
        return write(self, *place)
    s3_store.S3Store._write_rows = killed
    s3.put_files([("lake", f"k{n}", file) for n in range(3)])
print([key for key, _, _ in s3.files("lake", "")])
"""
    data = tmp_path / "data"
    data.mkdir()
    put = subprocess.run([sys.executable, "-c", program, str(data), "put"], cwd=ROOT, check=False)
    assert put.returncode == 9
    listed = subprocess.run(
        [sys.executable, "-c", program, str(data), "list"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert listed.stdout.strip() == "['before']"


def test_queries_survive_a_restart(new_endpoint: Callable[..., Endpoint], tmp_path: Path) -> None:
    endpoint = new_endpoint()
    lake = Lake(endpoint.start(), "restart", tmp_path)
    lake.athena.create_work_group(Name="team", Description="of the test")
    query_id = lake.run("SELECT 1 AS one", WorkGroup="team")["QueryExecutionId"]
    assert endpoint.stop() == 0
    endpoint.start()
    athena = endpoint.client("athena")
    assert athena.list_query_executions(WorkGroup="team")["QueryExecutionIds"] == [query_id]
    rows = athena.get_query_results(QueryExecutionId=query_id)["ResultSet"]["Rows"]
    assert rows == [{"Data": [{"VarCharValue": "one"}]}, {"Data": [{"VarCharValue": "1"}]}]
    assert athena.get_work_group(WorkGroup="team")["WorkGroup"]["Description"] == "of the test"


def test_the_endpoint_loads_no_engine_before_a_query() -> None:
    program = """
import sys
import local_aws.athena.queries, local_aws.athena.service
print([name for name in ("duckdb", "sqlglot") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
