"""Tables and partitions of the lake in the Glue catalogue."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from taxiway.lake.tables import Table
from taxiway.lake.versions import Partition

_FORMATS = "org.apache.hadoop.hive.ql.io.parquet"


@dataclass(frozen=True)
class GlueCatalogue:
    """One database of the Glue catalogue.

    Attributes:
        client: a boto3 client for Glue.
        database: its name.
        lake: ``s3://bucket[/prefix]``, the root of the tables.
    """

    client: Any
    database: str
    lake: str

    def partition(self, table: Table, period: str) -> Partition | None:
        """Return a published period of a table; None if it is not published."""
        try:
            found = self.client.get_partition(
                DatabaseName=self.database, TableName=table.name, PartitionValues=period.split("-")
            )["Partition"]
        except self.client.exceptions.EntityNotFoundException:
            return None
        return Partition.from_glue(table, found)

    def partitions(self, table: Table) -> dict[str, Partition]:
        """Return all published periods of a table, in order."""
        pages = self.client.get_paginator("get_partitions").paginate(
            DatabaseName=self.database, TableName=table.name, ExcludeColumnSchema=True
        )
        try:
            found = [Partition.from_glue(table, partition) for page in pages for partition in page["Partitions"]]
        except self.client.exceptions.EntityNotFoundException:
            return {}
        return {partition.period: partition for partition in sorted(found, key=lambda partition: partition.period)}

    def move(self, table: Table, period: str, location: str, parameters: Mapping[str, str], *, exists: bool) -> None:
        """Point a partition to another version, or create it, in one request: for readers the change is atomic."""
        partition = {
            "Values": period.split("-"),
            "StorageDescriptor": _storage(table, location),
            "Parameters": dict(parameters),
        }
        where = {"DatabaseName": self.database, "TableName": table.name}
        if exists:
            self.client.update_partition(**where, PartitionValueList=period.split("-"), PartitionInput=partition)
        else:
            self.client.create_partition(**where, PartitionInput=partition)

    def ensure_tables(self, tables: Iterable[Table]) -> None:
        """Create the database and missing tables, and update the columns of existing tables to those of the contract.

        Existing partitions show a column that a contract adds as null.
        """
        try:
            pages = self.client.get_paginator("get_tables").paginate(DatabaseName=self.database)
            known = {found["Name"]: found for page in pages for found in page["TableList"]}
        except self.client.exceptions.EntityNotFoundException:
            known = {}
            self._unless_exists(self.client.create_database, DatabaseInput={"Name": self.database})
        for table in tables:
            storage = _storage(table, f"{self.lake}/{table.path}")
            definition = {
                "Name": table.name,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE"},
                "PartitionKeys": [{"Name": name, "Type": "string"} for name in table.contract.partition_keys],
                "StorageDescriptor": storage,
            }
            if table.name not in known:
                self._unless_exists(self.client.create_table, DatabaseName=self.database, TableInput=definition)
            elif known[table.name]["StorageDescriptor"]["Columns"] != storage["Columns"]:
                self.client.update_table(DatabaseName=self.database, TableInput=definition)

    def _unless_exists(self, create: Any, **definition: Any) -> None:
        with contextlib.suppress(self.client.exceptions.AlreadyExistsException):  # another task created it first
            create(**definition)


def _storage(table: Table, location: str) -> dict[str, Any]:
    return {
        "Location": location,
        "Columns": [{"Name": name, "Type": type_} for name, type_ in table.columns.items()],
        "InputFormat": f"{_FORMATS}.MapredParquetInputFormat",
        "OutputFormat": f"{_FORMATS}.MapredParquetOutputFormat",
        "SerdeInfo": {"SerializationLibrary": f"{_FORMATS}.serde.ParquetHiveSerDe"},
    }
