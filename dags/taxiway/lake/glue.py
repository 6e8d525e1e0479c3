"""Tables and partitions of the lake in the Glue catalogue."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from taxiway.lake.tables import Table
from taxiway.lake.versions import Partition, describes_version

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
        if not table.contract.partition_keys:
            return self.partitions(table).get(period)
        try:
            found = self.client.get_partition(
                DatabaseName=self.database, TableName=table.name, PartitionValues=period.split("-")
            )["Partition"]
        except self.client.exceptions.EntityNotFoundException:
            return None
        return Partition.from_glue(table, found)

    def partitions(self, table: Table) -> dict[str, Partition]:
        """Return all published periods of a table, in order.

        A table without partitions is created by its first publication: it has one period, the empty one.
        """
        if not table.contract.partition_keys:
            found_table = self._table(table)
            return {"": Partition.from_glue(table, found_table)} if found_table else {}
        pages = self.client.get_paginator("get_partitions").paginate(
            DatabaseName=self.database, TableName=table.name, ExcludeColumnSchema=True
        )
        try:
            found = [Partition.from_glue(table, partition) for page in pages for partition in page["Partitions"]]
        except self.client.exceptions.EntityNotFoundException:
            return {}
        return {partition.period: partition for partition in sorted(found, key=lambda partition: partition.period)}

    def move(self, table: Table, period: str, location: str, parameters: Mapping[str, str], *, exists: bool) -> None:
        """Point a partition to another version, or create it, in one request: for readers the change is atomic.

        Of a table without partitions it is the table that points to the version.
        """
        if not table.contract.partition_keys:
            kept = {name: value for name, value in self.parameters(table).items() if not describes_version(name)}
            self._put_table(table, location, {**kept, **parameters}, exists=exists)
            return
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

    def parameters(self, table: Table) -> dict[str, str]:
        """Return the parameters of a table itself; empty if it does not exist."""
        found = self._table(table) or {}
        return dict(found.get("Parameters", {}))

    def annotate(self, table: Table, parameters: Mapping[str, str]) -> None:
        """Add parameters to an existing table, in one request."""
        found = self._table(table) or {}
        location = found["StorageDescriptor"]["Location"]
        self._put_table(table, location, {**found.get("Parameters", {}), **parameters}, exists=True)

    def ensure_tables(self, tables: Iterable[Table]) -> None:
        """Create the database and missing tables, and update the columns of existing tables to those of the contract.

        Existing partitions show a column that a contract adds as null. Tables without partitions are left to their
        publication.
        """
        try:
            pages = self.client.get_paginator("get_tables").paginate(DatabaseName=self.database)
            known = {found["Name"]: found for page in pages for found in page["TableList"]}
        except self.client.exceptions.EntityNotFoundException:
            known = {}
            self._unless_exists(self.client.create_database, DatabaseInput={"Name": self.database})
        for table in (table for table in tables if table.contract.partition_keys):
            location = f"{self.lake}/{table.path}"
            found = known.get(table.name)
            if found is None:
                self._unless_exists(self._put_table, table=table, location=location, parameters={}, exists=False)
            elif found["StorageDescriptor"]["Columns"] != _storage(table, location)["Columns"]:
                self._put_table(table, location, found.get("Parameters", {}), exists=True)

    def _table(self, table: Table) -> dict[str, Any] | None:
        try:
            return dict(self.client.get_table(DatabaseName=self.database, Name=table.name)["Table"])
        except self.client.exceptions.EntityNotFoundException:
            return None

    def _put_table(self, table: Table, location: str, parameters: Mapping[str, str], *, exists: bool) -> None:
        definition = {
            "Name": table.name,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE", **parameters},
            "PartitionKeys": [{"Name": name, "Type": "string"} for name in table.contract.partition_keys],
            "StorageDescriptor": _storage(table, location),
        }
        if exists:  # without an archive of former definitions, of which Glue keeps so many only
            self.client.update_table(DatabaseName=self.database, TableInput=definition, SkipArchive=True)
        else:
            self.client.create_table(DatabaseName=self.database, TableInput=definition)

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
