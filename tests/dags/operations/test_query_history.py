"""Which tables a statement of Athena's reads, and what its history says, against the local Athena."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from taxiway.core.settings import Settings
from taxiway.operations import query_history
from taxiway.operations.query_history import tables_read

TREND = {("taxiway", "hvfhv_trend")}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM HVFHV_Trend WHERE month = ?", TREND),
        ('-- mine\n/* and\nyours */ select trips from "AwsDataCatalog"."taxiway"."hvfhv_trend";', TREND),
        ("with t as (select * from hvfhv_trend) select * from t, unnest(array[1]) as u(n)", TREND),
        ("select * from marts.zones z join hvfhv_trend t on z.a = t.a", {("marts", "zones"), *TREND}),
        ("select * from zones where a in (select a from hvfhv_trend)", {("taxiway", "zones"), *TREND}),
        ("create table copy with (format = 'parquet') as select * from hvfhv_trend", TREND),
        ("insert into copy select * from hvfhv_trend", TREND),
        ("UNLOAD (SELECT max(trips) FROM hvfhv_trend) TO 's3://b/p/' WITH (format = 'JSON')", TREND),
        ('select * from "hvfhv_trend$partitions"', {("taxiway", "hvfhv_trend$partitions")}),
        ("show partitions hvfhv_trend", set()),
        ("select 1", set()),
        ("execute trend_of using '2023-01'", None),
        ("selec * form hvfhv_trend", None),
    ],
)
def test_the_tables_that_a_statement_reads(sql: str, expected: set[tuple[str, str]] | None) -> None:
    assert tables_read(sql, "taxiway") == expected


@pytest.fixture
def athena(aws: str) -> Any:
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    client: Any = boto3.client("athena")
    client.create_work_group(Name="analysts")
    ask(client, "create database taxiway", database="default")
    ask(client, "create table sales with (external_location = 's3://taxiway-lake/sales/') as select 1 as n")
    return client


def ask(client: Any, sql: str, group: str = "primary", database: str = "taxiway", state: str = "SUCCEEDED") -> str:
    """Ask a query, and return its id when it has ended in a state."""
    query: str = client.start_query_execution(
        QueryString=sql,
        WorkGroup=group,
        QueryExecutionContext={"Database": database},
        ResultConfiguration={"OutputLocation": "s3://taxiway-lake/athena/"},
    )["QueryExecutionId"]
    deadline = time.monotonic() + 60
    while (ended := client.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"])["State"] != state:
        assert ended["State"] in ("QUEUED", "RUNNING"), ended
        assert time.monotonic() < deadline, ended
        time.sleep(0.05)
    return query


def last(client: Any, now: datetime | None = None, **settings: Any) -> tuple[dict[str, str], list[str]]:
    found, gaps = query_history.last_readers(client, Settings(**settings), now or datetime.now(UTC))
    assert {each.source for each in found.values()} <= {"Athena"}
    return {table: each.who for table, each in found.items()}, gaps


def test_the_last_query_of_any_workgroup_is_a_table_s_reader(athena: Any) -> None:
    ask(athena, "select * from sales")
    newest = ask(athena, "select sum(n) from taxiway.sales", group="analysts", database="default")
    ask(athena, "select cast('x' as integer) from sales", state="FAILED")
    ask(athena, "create database other")
    ask(athena, "create table other.sales with (external_location = 's3://taxiway-lake/other/') as select 2 as n")
    of_primary = ask(athena, "select * from sales union all select * from other.sales")
    ask(athena, "select * from other.sales")

    assert last(athena) == ({"sales": f"query {of_primary} in primary"}, [])
    assert last(athena, retention_workgroups="analysts") == ({"sales": f"query {newest} in analysts"}, [])
    assert last(athena, retention_queries=0) == ({}, [])


def test_no_more_is_read_than_is_asked_for_and_the_rest_is_named(athena: Any) -> None:
    ask(athena, "select * from sales")
    ask(athena, "prepare p from select * from sales")
    before = datetime.now(UTC)
    ask(athena, "execute p")
    days = {f"{each:%F}" for each in (before, datetime.now(UTC))}  # midnight may have been between

    found, gaps = last(athena, retention_workgroups="primary,nobody")
    assert [*found] == ["sales"]
    assert gaps[0] == "Which tables 2 of Athena's queries in the workgroup primary read is not known."
    assert gaps[1].startswith("Who asks Athena in the workgroup nobody is not known: ")
    assert len(gaps) == 2

    found, gaps = last(athena, retention_queries=1)
    assert found == {}
    (gap,) = gaps[1:]
    assert gap in [f"Of Athena's workgroup primary the newest 1 queries were looked at, to {day}." for day in days]
    assert last(athena, datetime.now(UTC) + timedelta(days=181)) == ({}, []), "older than what counts as unused"


def test_many_queries_are_read_page_by_page(athena: Any) -> None:
    first = ask(athena, "select * from sales")
    for _ in range(51):
        ask(athena, "select 1")
    assert last(athena) == ({"sales": f"query {first} in primary"}, [])
