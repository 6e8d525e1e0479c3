"""Tables in Glue over files on S3, and queries to their end, for the tests of this folder."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from tests.local_aws.endpoint import Endpoint

_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


class Lake:
    """A bucket, a database of the same name, and Athena."""

    def __init__(self, endpoint: Endpoint, name: str, folder: Path) -> None:
        self.endpoint, self.name, self.folder = endpoint, name, folder
        self.s3, self.glue, self.athena = (endpoint.client(service) for service in ("s3", "glue", "athena"))
        self.s3.create_bucket(Bucket=name)
        self.glue.create_database(DatabaseInput={"Name": name.replace("-", "_")})
        self.database = name.replace("-", "_")

    @property
    def output(self) -> str:
        return f"s3://{self.name}/results/"

    def put(self, key: str, content: str | bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=content)

    def parquet(self, key: str, select: str) -> int:
        """Put a Parquet file with the rows of a query of DuckDB; return its size."""
        path = self.folder / "put.parquet"
        duckdb.connect().execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
        self.s3.upload_file(str(path), self.name, key)
        return path.stat().st_size

    def keys(self, prefix: str = "") -> list[str]:
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])]

    def start(self, sql: str, **request: Any) -> str:
        given = {
            "QueryExecutionContext": {"Database": self.database},
            "ResultConfiguration": {"OutputLocation": self.output},
        }
        query_id: str = self.athena.start_query_execution(QueryString=sql, **{**given, **request})["QueryExecutionId"]
        return query_id

    def wait(self, query_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while True:
            found: dict[str, Any] = self.athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
            if found["Status"]["State"] in _ENDED:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.01)

    def run(self, sql: str, **request: Any) -> dict[str, Any]:
        """Run a statement, which succeeds; return its description."""
        found = self.wait(self.start(sql, **request))
        assert found["Status"]["State"] == "SUCCEEDED", found["Status"]
        return found

    def rows(self, sql: str, **request: Any) -> list[list[str | None]]:
        """Return the rows of a query, without the header, or the lines of what is shown."""
        found = self.run(sql, **request)
        answer = self.athena.get_query_results(QueryExecutionId=found["QueryExecutionId"])
        rows = [[value.get("VarCharValue") for value in row["Data"]] for row in answer["ResultSet"]["Rows"]]
        return rows[1:] if found["StatementType"] == "DML" else rows

    def failure(self, sql: str, **request: Any) -> str:
        """Run a statement that fails; return its reason."""
        found = self.wait(self.start(sql, **request))
        assert found["Status"]["State"] == "FAILED", found["Status"]
        reason: str = found["Status"]["StateChangeReason"]
        assert found["Status"]["AthenaError"]["ErrorMessage"] == reason
        return reason

    def table(
        self,
        name: str,
        columns: dict[str, str],
        location: str,
        *,
        keys: dict[str, str] | None = None,
        partitions: Sequence[tuple[Sequence[str], str]] = (),
        parameters: dict[str, str] | None = None,
        serde: str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        serde_parameters: dict[str, str] | None = None,
    ) -> None:
        """Put a table into Glue."""
        storage = {
            "Columns": [{"Name": column, "Type": kind} for column, kind in columns.items()],
            "Location": f"s3://{self.name}/{location}",
            "InputFormat": "any",
            "OutputFormat": "any",
            "SerdeInfo": {"SerializationLibrary": serde, "Parameters": serde_parameters or {}},
        }
        self.glue.create_table(
            DatabaseName=self.database,
            TableInput={
                "Name": name,
                "TableType": "EXTERNAL_TABLE",
                "StorageDescriptor": storage,
                "PartitionKeys": [{"Name": key, "Type": kind} for key, kind in (keys or {}).items()],
                "Parameters": parameters or {},
            },
        )
        for values, place in partitions:
            self.glue.create_partition(
                DatabaseName=self.database,
                TableName=name,
                PartitionInput={
                    "Values": list(values),
                    "StorageDescriptor": {**storage, "Location": f"s3://{self.name}/{place}"},
                },
            )
