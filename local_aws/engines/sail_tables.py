"""Tables of programs on Sail, as on a cluster whose metastore is Glue; and the marker of a folder that is complete.

sail_program.py runs this by its path, in the process of the program. Sail's own catalogue of Glue makes tables, but no
partitions, and replaces no table; a table without a place on S3 would be gone with the program.
"""

# The names of arguments are PySpark's.
# ruff: noqa: A002, N803

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pyspark.errors import AnalysisException
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.readwriter import DataFrameWriter
from pyspark.sql.connect.session import SparkSession

_S3 = ("s3", "s3a", "s3n")
_MARKED = ("avro", "csv", "json", "orc", "parquet", "text", "xml")  # formats that are folders of files
_MARKER = "mapreduce.fileoutputcommitter.marksuccessfuljobs"
_NAME = r"(?P<name>(?:`[^`]+`|\w+)(?:\s*\.\s*(?:`[^`]+`|\w+))*)"
_CHANGE = re.compile(
    rf"(?is)\s*(?:(?P<create>create\s+(?:external\s+)?table)(?:\s+if\s+not\s+exists)?|"
    rf"insert\s+(?:into|overwrite)(?:\s+table)?)\s+{_NAME}"
)
_LOST = "Database not found: default"


def settings(endpoint: str, region: str) -> dict[str, str]:
    """Return the variables that make Glue the catalogue of Sail."""
    return {"SAIL_CATALOG__LIST": f'[{{type="glue", name="sail", region="{region}", endpoint_url="{endpoint}"}}]'}


def install(conf: dict[str, str], *, catalogue: bool) -> None:
    """Change PySpark's writer and its SQL.

    Args:
        conf: the Spark properties that the program was submitted with.
        catalogue: whether tables are in Glue.
    """
    marked = conf.get(f"spark.hadoop.{_MARKER}", "true").lower() != "false"
    save, save_as_table, insert_into = DataFrameWriter.save, DataFrameWriter.saveAsTable, DataFrameWriter.insertInto
    sql = SparkSession.sql
    writer: Any = DataFrameWriter
    session: Any = SparkSession

    def marking_save(
        self: Any, path: str | None = None, format: Any = None, mode: Any = None, *rest: Any, **options: Any
    ) -> None:
        save(self, path, format, mode, *rest, **options)
        place = path or self._write.options.get("path")
        if place and marked and (self._write.source or "parquet").lower() in _MARKED and _is_marked(self._spark):
            _mark(place)

    def saving_table(
        self: Any, name: str, format: Any = None, mode: Any = None, partitionBy: Any = None, **options: Any
    ) -> None:
        self.mode(mode).options(**options)
        if partitionBy is not None:
            self.partitionBy(partitionBy)
        if format is not None:
            self.format(format)
        database, table = _names(self._spark, name)
        found = _glue_table(database, table)
        path = _location(database, table, found, self._write.options.get("path"))
        if self._write.mode == "overwrite":
            _with_default(lambda: _replace(self, database, table, path))
        else:
            _with_default(lambda: save_as_table(self, name))
        _publish(database, table)

    def inserting(self: Any, name: str, overwrite: bool | None = None) -> None:
        insert_into(self, name, overwrite)
        _publish(*_names(self._spark, name))

    def running_sql(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        result = _with_default(lambda: sql(self, query, *arguments, **options))
        change = _CHANGE.match(query)
        if change:
            _publish(*_names(self, change["name"]))
        return result

    def _replace(self: Any, database: str, table: str, path: str) -> None:
        """Replace a table: its data by Sail, its entry in Glue by a new one."""
        write = self._write
        options = {key: value for key, value in write.options.items() if key != "path"}

        def like(frame: Any, mode: str) -> Any:
            new = frame.write.mode(mode).options(**options).format(write.source or "parquet")
            return new.partitionBy(*write.partitioning_cols) if write.partitioning_cols else new

        frame: Any = DataFrame(self._df, self._spark)
        like(frame, "overwrite").save(path)
        if _glue_table(database, table):
            _glue().delete_table(DatabaseName=database, Name=table)
        save_as_table(like(frame.limit(0), "append").option("path", path), f"{database}.{table}")

    writer.save = marking_save
    if catalogue:
        writer.saveAsTable, writer.insertInto, session.sql = saving_table, inserting, running_sql


def _glue() -> Any:
    import boto3

    return boto3.client("glue")


def _with_default(call: Callable[[], Any]) -> Any:
    """Call; where the database `default` is missing make it, as Spark does on a cluster, and call again."""
    try:
        return call()
    except AnalysisException as error:
        if _LOST not in str(error):
            raise
    _glue().create_database(DatabaseInput={"Name": "default"})
    return call()


def _names(session: Any, name: str) -> tuple[str, str]:
    """Return the database and the table of a name."""
    parts = [part.strip().strip("`").lower() for part in re.findall(r"`[^`]+`|[^.]+", name)]
    return (parts[-2] if len(parts) > 1 else session.catalog.currentDatabase(), parts[-1])


def _glue_table(database: str, table: str) -> dict[str, Any] | None:
    glue = _glue()
    try:
        found: dict[str, Any] = glue.get_table(DatabaseName=database, Name=table)["Table"]
    except glue.exceptions.EntityNotFoundException:
        return None
    return found


def _location(database: str, table: str, found: dict[str, Any] | None, path: str | None) -> str:
    """Return where the data of a table is, or will be.

    Raises:
        ValueError: that is not on S3.
    """
    place = path or (found or {}).get("StorageDescriptor", {}).get("Location") or ""
    if not place:
        glue = _glue()
        try:
            root = glue.get_database(Name=database)["Database"].get("LocationUri", "")
        except glue.exceptions.EntityNotFoundException:
            root = ""
        place = f"{root.rstrip('/')}/{table}" if root else ""
    if urlsplit(place).scheme not in _S3:
        raise ValueError(
            f"The table {database}.{table} has no place on S3 and would be gone with this program: give it a path"
            f" (option path, LOCATION), or the database {database} one (LocationUri)."
        )
    return place


def _publish(database: str, table: str) -> None:
    """Make the partitions of a table in Glue those of its folders; refuse a table that is not on S3."""
    found = _glue_table(database, table)
    if found is None or "StorageDescriptor" not in found:
        return
    try:
        place = urlsplit(_location(database, table, found, None))
    except ValueError:
        _glue().delete_table(DatabaseName=database, Name=table)
        raise
    keys = [key["Name"] for key in found.get("PartitionKeys") or []]
    if not keys:
        return
    import boto3

    prefix = place.path.strip("/") + "/"
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=place.netloc, Prefix=prefix)
    form = re.compile("/".join(f"{re.escape(key)}=([^/]+)" for key in keys) + "/[^/]+", re.IGNORECASE)
    names = (entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", []))
    folders = {
        tuple(unquote(value) for value in match.groups()): match[0].rpartition("/")[0]
        for match in map(form.fullmatch, names)
        if match
    }
    glue, where = _glue(), {"DatabaseName": database, "TableName": table}
    listed = glue.get_paginator("get_partitions").paginate(**where)
    known = {tuple(each["Values"]) for page in listed for each in page["Partitions"]}
    root = f"{place.scheme}://{place.netloc}/{prefix}"
    new = [
        {"Values": list(values), "StorageDescriptor": {**found["StorageDescriptor"], "Location": f"{root}{folder}"}}
        for values, folder in folders.items()
        if values not in known
    ]
    for start in range(0, len(new), 100):
        glue.batch_create_partition(**where, PartitionInputList=new[start : start + 100])
    for values in known - folders.keys():
        glue.delete_partition(**where, PartitionValues=list(values))


def _is_marked(session: Any) -> bool:
    names = (_MARKER, f"spark.hadoop.{_MARKER}")
    return all(str(session.conf.get(name, "true")).lower() != "false" for name in names)


def _mark(place: str) -> None:
    """Write the empty object _SUCCESS, as Spark's output committer does."""
    address = urlsplit(place)
    if address.scheme in _S3:
        import boto3

        key = "/".join(part for part in (address.path.strip("/"), "_SUCCESS") if part)
        boto3.client("s3").put_object(Bucket=address.netloc, Key=key, Body=b"")
    elif address.scheme in ("", "file"):
        folder = Path(unquote(address.path))
        folder.mkdir(parents=True, exist_ok=True)  # without rows Sail writes nothing
        (folder / "_SUCCESS").touch()
