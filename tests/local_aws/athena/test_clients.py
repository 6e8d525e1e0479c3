"""PyAthena, which comes with Airflow's Amazon provider, and the provider's own operator and sensor, unmodified."""

from typing import Any

import pytest

pytest.importorskip("airflow.providers.amazon")

import pyathena
from airflow.providers.amazon.aws.operators.athena import AthenaOperator
from airflow.providers.amazon.aws.sensors.athena import AthenaSensor
from airflow.sdk.exceptions import AirflowException
from pyathena.cursor import DictCursor
from pyathena.pandas.cursor import PandasCursor

from tests.local_aws.athena.lake import Lake

AWS: Any = {"aws_conn_id": None, "region_name": "us-east-1"}


@pytest.fixture(autouse=True)
def environment(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", lake.endpoint.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")


def cursor(lake: Lake, kind: Any = None, **options: Any) -> Any:
    connection = pyathena.connect(
        s3_staging_dir=lake.output, region_name="us-east-1", schema_name=lake.database, poll_interval=0.05,
        **({"cursor_class": kind} if kind else {}),
    )  # fmt: skip
    return connection.cursor(**options)


def test_pyathena(lake: Lake) -> None:
    found = cursor(lake).execute(
        "SELECT id, price, at, list FROM orders WHERE year = %(year)s AND id > 8", {"year": 2024}
    )
    ((number, price, at, values),) = found.fetchall()
    assert (number, price, at.isoformat(), values) == (9, 13.5, "2024-01-01T09:00:00", [9, 10])
    assert [(name, kind) for name, kind, *_ in found.description] == [
        ("id", "bigint"), ("price", "double"), ("at", "timestamp"), ("list", "array"),
    ]  # fmt: skip
    assert found.data_scanned_in_bytes > 0
    assert cursor(lake, DictCursor).execute("SELECT max(name) AS name FROM orders").fetchall() == [{"name": "n9"}]
    with pytest.raises(pyathena.OperationalError, match="COLUMN_NOT_FOUND: line 1:8: Column 'nope' cannot be resolved"):
        cursor(lake).execute("SELECT nope FROM orders")


@pytest.mark.parametrize("unload", [False, True])
def test_pyathena_with_pandas(lake: Lake, unload: bool) -> None:
    found = cursor(lake, PandasCursor, unload=unload).execute(
        "SELECT id, name FROM orders WHERE year = 2023 ORDER BY id"
    )
    frame = found.as_pandas()
    assert frame["id"].tolist() == list(range(10))
    assert frame["name"].tolist() == [f"n{n}" for n in range(10)]


def test_the_operator_and_the_sensor(lake: Lake) -> None:
    made = AthenaOperator(
        task_id="query", query="CREATE TABLE by_operator AS SELECT count(*) AS n FROM orders", database=lake.database,
        output_location=lake.output, sleep_time=1, max_polling_attempts=60, **AWS,
    )  # fmt: skip
    query_id = made.execute({})
    assert AthenaSensor(task_id="wait", query_execution_id=query_id, sleep_time=0, **AWS).poke({})  # type: ignore[arg-type]
    assert lake.rows("SELECT n FROM by_operator") == [["20"]]


def test_the_operator_fails_with_the_reason(lake: Lake) -> None:
    wrong = AthenaOperator(
        task_id="query",
        query="SELECT * FROM nope",
        database=lake.database,
        output_location=lake.output,
        sleep_time=1,
        **AWS,
    )
    with pytest.raises(AirflowException, match="does not exist"):
        wrong.execute({})


def test_the_operator_cancels_its_query_when_it_is_killed(lake: Lake) -> None:
    operator = AthenaOperator(
        task_id="query", query="SELECT 1", database=lake.database, output_location=lake.output, **AWS
    )
    operator.query_execution_id = lake.start(
        "SELECT count(*) FROM unnest(sequence(1, 200000)) a(x) CROSS JOIN unnest(sequence(1, 200000)) b(y) WHERE "
        "x * y % 7 = 3"
    )
    operator.on_kill()
    assert lake.wait(operator.query_execution_id)["Status"]["State"] == "CANCELLED"
