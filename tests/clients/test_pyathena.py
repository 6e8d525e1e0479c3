"""PyAthena and its dialect of SQLAlchemy. The newer PyAthena of Airflow's provider: tests/local_aws/athena."""

from typing import Any

import pytest

from tests.clients.conftest import Client
from tests.local_aws.endpoint import Endpoint
from tests.waiting import eventually


@pytest.fixture
def orders(endpoint: Endpoint) -> str:
    """A database with a table."""
    endpoint.client("s3").create_bucket(Bucket="pyathena")
    athena = endpoint.client("athena")
    rows = "(BIGINT '1', 'a', 1.5e0, DATE '2024-01-01'), (2, 'b,\"c', 2.5e0, NULL), (3, NULL, NULL, NULL)"
    table = f"SELECT * FROM (VALUES {rows}) AS t (id, name, amount, day)"
    place = "WITH (external_location = 's3://pyathena/orders/')"
    for sql in ("CREATE DATABASE pyathena", f"CREATE TABLE pyathena.orders {place} AS {table}"):
        results = {"OutputLocation": "s3://pyathena/results/"}
        query = athena.start_query_execution(QueryString=sql, ResultConfiguration=results)["QueryExecutionId"]

        def status(query: str = query) -> Any:
            return athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]

        assert eventually(lambda: status()["State"] == "SUCCEEDED", 60), status()
    return "pyathena"


def test_cursors(clients: Client, orders: str) -> None:
    """cursors: default, dictionary with parameters, asynchronous, pandas and Arrow, both with and without `unload`; \
a failure's text; SQLAlchemy: a query, the columns of a table"""
    found = clients.program("cursors", orders, "s3://pyathena/results/")
    rows = [[1, "a", 1.5], [2, 'b,"c', 2.5]]
    ways = ("default", "async", "pandas", "pandas unload", "arrow", "arrow unload")
    assert {way: found[way] for way in ways} == dict.fromkeys(ways, rows)
    assert found["dict"] == [{"name": 'b,"c'}]
    assert found["error"] == "COLUMN_NOT_FOUND: line 1:8: Column 'nope' cannot be resolved"
    assert found["count"] == 3
    assert found["columns"] == [["id", "BIGINT"], ["name", "VARCHAR"], ["amount", "DOUBLE"], ["day", "DATE"]]
