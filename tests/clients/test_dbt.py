"""dbt with dbt-athena."""

import time
from pathlib import Path
from typing import Any

from tests.clients.conftest import PROGRAMS, Client
from tests.local_aws.endpoint import Endpoint


def query(endpoint: Endpoint, sql: str) -> list[list[str]]:
    athena = endpoint.client("athena")
    started: Any = athena.start_query_execution(
        QueryString=sql, ResultConfiguration={"OutputLocation": "s3://dbt/results/"}
    )["QueryExecutionId"]
    while True:
        status = athena.get_query_execution(QueryExecutionId=started)["QueryExecution"]["Status"]
        if status["State"] not in ("QUEUED", "RUNNING"):
            break
        time.sleep(0.05)
    assert status["State"] == "SUCCEEDED", status
    rows = athena.get_query_results(QueryExecutionId=started)["ResultSet"]["Rows"]
    return [[cell.get("VarCharValue") for cell in row["Data"]] for row in rows[1:]]


def test_a_project(clients: Client, endpoint: Endpoint, tmp_path: Path) -> None:
    """`build`, twice: a table with its high-availability replacement (`ha`), an incremental model by \
`insert_overwrite`, a snapshot of a Hive table by `check`, a test; `docs generate --static`"""
    endpoint.client("s3").create_bucket(Bucket="dbt")
    query(endpoint, "CREATE DATABASE raw")
    query(
        endpoint,
        "CREATE VIEW raw.orders AS SELECT * FROM (VALUES (BIGINT '1', 'a', 1.5e0, DATE '2024-01-01'), "
        "(2, 'b', 2.5e0, DATE '2024-01-02')) AS t (id, name, amount, day)",
    )
    built = [["days", "success"], ["orders", "success"], ["orders_history", "success"], ["unique_orders_id", "pass"]]
    assert clients.program("build", PROGRAMS / "dbt_project", tmp_path) == {
        "built": built,
        "again": built,
        "replaced": True,
        "columns": {
            "id": "bigint", "name": "string", "amount": "double", "day": "date", "loaded": "timestamp",
        },
        "page": True,
    }  # fmt: skip
    assert query(endpoint, "SELECT day, orders FROM dbt.days ORDER BY day") == [
        ["2024-01-01", "1"],
        ["2024-01-02", "2"],
    ]
    history = "SELECT id, amount, dbt_valid_to IS NULL FROM dbt.orders_history ORDER BY id, amount"
    assert query(endpoint, history) == [
        ["1", "1.5", "true"], ["2", "2.5", "false"], ["2", "2.75", "true"], ["4", "4.5", "true"],
    ]  # fmt: skip
