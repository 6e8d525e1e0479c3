"""awswrangler, the AWS SDK for pandas."""

from tests.clients.conftest import Client


def test_data_frames(clients: Client) -> None:
    """`s3` (Parquet datasets, CSV, JSON, copies), `catalog`, `athena.read_sql_query` by CSV, `ctas_approach` and \
`unload_approach`"""
    found = clients.program("wrangle", "wrangler")
    assert found.pop("table") == [
        ["id", "bigint", False], ["name", "string", False], ["amount", "double", False], ["day", "date", True],
    ]  # fmt: skip
    assert found.pop("partitions") == [["2024-01-01"], ["2024-01-02"]]
    assert [found.pop(name) for name in ("read", "csv", "json")] == [[1, 2, 3]] * 3
    assert found.pop("objects") == []
    assert found.pop("tables") == ["orders"]
    rows = [[1, "a", 1.5, "2024-01-01"], [2, 'b,"c', 2.5, "2024-01-01"]]
    assert found == {"plain": rows, "ctas": rows, "unload": rows}


def test_emr(clients: Client, job: str) -> None:
    """`emr`: `create_cluster`, `submit_spark_step`, `s3-dist-cp`; `emr_serverless`: `create_application`, `run_job`"""
    assert clients.program("wrangle_emr", "wrangler-emr", job) == {
        "steps": ["COMPLETED", "COMPLETED"],
        "first": "COMPLETED",
        "counted": [["1", "2"], ["2", "1"]],
        "copied": ["s3://wrangler-emr/trips/a.csv"],
        "run": "SUCCESS",
    }
