"""The lake: versions of partitions on S3, and what of them is published in the Glue catalogue."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taxiway.core.s3 import split
from taxiway.core.settings import Settings
from taxiway.lake.glue import GlueCatalogue
from taxiway.lake.tables import Table, TableSet
from taxiway.lake.versions import KEPT, Partition, Publication, age_rank, version_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs


class LakeError(RuntimeError):
    """The lake is not as it must be; the text is one sentence that names the table, the fault and the remedy."""


@dataclass(frozen=True)
class Lake:
    """What is stored and what is published of a pipeline's tables, through S3 and Glue.

    Attributes:
        settings: where the lake and the catalogue are.
        session: a ``boto3.Session``; as every AWS SDK it honours ``AWS_ENDPOINT_URL``.
        tables: those that are published together.
    """

    settings: Settings
    session: Any
    tables: TableSet

    @cached_property
    def _s3(self) -> Any:
        return self.session.client("s3")

    @cached_property
    def _glue(self) -> GlueCatalogue:
        return GlueCatalogue(self.session.client("glue"), self.settings.glue_database, self.settings.lake)

    @cached_property
    def _files(self) -> "pyarrow.fs.S3FileSystem":
        import pyarrow.fs

        credentials = self.session.get_credentials().get_frozen_credentials()
        endpoint = self._s3.meta.endpoint_url
        return pyarrow.fs.S3FileSystem(
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            session_token=credentials.token,
            region=self._s3.meta.region_name,
            # Arrow finds AWS's own endpoints by itself, and then addresses buckets as hosts.
            endpoint_override=None if endpoint.endswith(".amazonaws.com") else endpoint,
        )

    # Places ---------------------------------------------------------------------------------------------------------

    def location(self, table: Table, period: str, version: str) -> str:
        """Return the folder of a version."""
        return table.contract.version_folder(self.settings.lake, period, version)

    def attempt(self, table: Table, period: str, plan: str) -> str:
        """Return the folder of the last try under a plan's version.

        Raises:
            LakeError: no try wrote anything.
        """
        found = [folder for folder in self._versions(table, period) if age_rank(folder)[0] == plan]
        if not found:
            raise LakeError(
                f"{table.name} of {period} has no version {plan} in "
                f"{table.contract.partition_folder(self.settings.lake, period)}: "
                "the Spark step that writes it has not run; run the DAG for it again."
            )
        return max(found, key=age_rank)

    def _versions(self, table: Table, period: str) -> list[str]:
        bucket, prefix = split(f"{table.contract.partition_folder(self.settings.lake, period)}/version=")
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        return [
            f"s3://{bucket}/{found['Prefix'].rstrip('/')}" for page in pages for found in page.get("CommonPrefixes", [])
        ]

    def _objects(self, location: str) -> Iterator[dict[str, Any]]:
        bucket, prefix = split(f"{location}/")
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from page.get("Contents", [])

    # Reading --------------------------------------------------------------------------------------------------------

    def partition(self, table: Table, period: str) -> Partition | None:
        """Return the published period of a table; None if there is none."""
        return self._glue.partition(table, period)

    def partitions(self, table: Table) -> dict[str, Partition]:
        """Return all published periods of a table, in order."""
        return self._glue.partitions(table)

    def read(self, location: str, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the rows of a folder, or of one Parquet file; for small tables and for few columns.

        Raises:
            LakeError: there is no Parquet file.
        """
        import pyarrow as pa

        return pa.concat_tables(file.read(columns=columns) for file in self._parquet(location))

    def count(self, location: str) -> int:
        """Return the number of rows of a folder, or of one Parquet file, from the files' footers.

        Raises:
            LakeError: there is no Parquet file.
        """
        return sum(file.metadata.num_rows for file in self._parquet(location))

    def schema(self, location: str) -> "pa.Schema":
        """Return the columns of a folder's files.

        Raises:
            LakeError: there is no Parquet file, or two files differ.
        """
        schemas = [file.schema_arrow.remove_metadata() for file in self._parquet(location)]
        if any(schema != schemas[0] for schema in schemas):
            raise LakeError(f"The files of {location} do not all have the same columns: run the DAG for it again.")
        return schemas[0]

    def _parquet(self, location: str) -> "list[Any]":
        # Not pyarrow.dataset: to import it costs two seconds, for pandas.
        from pyarrow import parquet

        bucket, prefix = split(location)
        keys = [prefix] if prefix.endswith(".parquet") else [found["Key"] for found in self._objects(location)]
        files = [self._files.open_input_file(f"{bucket}/{key}") for key in sorted(keys) if key.endswith(".parquet")]
        if not files:
            raise LakeError(f"{location} holds no Parquet file: run the DAG for it again.")
        return [parquet.ParquetFile(file) for file in files]

    # Publishing -----------------------------------------------------------------------------------------------------

    def publish(self, publication: Publication, run_id: str) -> list[str]:
        """Make versions the ones that readers see; nothing happens where they are already.

        A whole period (the anchor among its tables) is what a roll-back goes back to. Tables published without the
        anchor replace a part of it, and leave the version to go back to as it is.

        Args:
            publication: the new versions.
            run_id: the Airflow run, kept with every table.

        Returns:
            the names of the tables that moved.
        """
        self._glue.ensure_tables(self.tables)
        period, locations, anchor = publication["period"], publication["locations"], self.tables.anchor
        old_anchor = self.partition(anchor, period)
        old_version = old_anchor.version if old_anchor else ""
        new_version = version_of(locations[anchor.name]) if anchor.name in locations else old_version
        moved = []
        for table in (table for table in self.tables if table.name in locations):
            location, old = locations[table.name], self.partition(table, period)
            if old and old.location == location:
                continue
            parameters = {
                "version": version_of(location),
                "anchor_version": new_version,
                "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "inputs": publication["inputs"],
                "rows": str(publication["rows"][table.name]),
                "run_id": run_id,
            }
            if old and new_version != old_version == old.parameters["anchor_version"]:
                parameters |= old.as_previous
            elif old:  # a part of this period, or left by a publication that was never finished
                parameters |= {name: value for name, value in old.parameters.items() if name.startswith("previous_")}
            self._glue.move(table, period, location, parameters, exists=old is not None)
            moved.append(table.name)
        return moved

    def roll_back(self, period: str) -> list[Table]:
        """Put the period's version before the published one in its place; a second time, undo that.

        What other periods were made from it stays as it is until they are made again.

        Raises:
            LakeError: there is no complete version to go back to.
        """
        published = {table: self.partition(table, period) for table in self.tables}
        previous = {found and found.parameters.get("previous_anchor_version") for found in published.values()}
        if None in previous or len(previous) > 1:
            raise LakeError(f"{period} has no complete version to go back to: nothing was changed.")
        for table, current in published.items():
            assert current is not None
            parameters = {name: current.parameters[f"previous_{name}"] for name in KEPT}
            location = parameters.pop("location")
            parameters |= current.as_previous
            if not current.parameters.get("rolled_back"):
                # The plan must not bring back at the next event what somebody rolled back.
                parameters["rolled_back"] = "true"
            self._glue.move(table, period, location, parameters, exists=True)
        return list(published)

    # Retention ------------------------------------------------------------------------------------------------------

    def prune(self, period: str) -> list[str]:
        """Delete the period's old versions, and what older runs left without publishing it.

        Of each table stay: the version that is published and the one before it, whatever their age; the newest
        ``settings.kept_versions``; and every folder written to within the last day, which a running step may still
        write to and a reader that found it in the catalogue may still read.

        Returns:
            the folders that were deleted.
        """
        deleted = []
        for table in self.tables:
            current = self.partition(table, period)
            if current is None:
                continue
            safe = {current.location, current.parameters.get("previous_location")}
            versions = sorted(self._versions(table, period), key=age_rank, reverse=True)
            newest = [folder for folder in versions if age_rank(folder) <= age_rank(current.location)]
            safe |= set(newest[: self.settings.kept_versions])
            deleted += [folder for folder in versions if folder not in safe and self._delete_if_old(folder)]
        return deleted

    def _delete_if_old(self, location: str) -> bool:
        objects = list(self._objects(location))
        if any(found["LastModified"] > datetime.now(UTC) - timedelta(days=1) for found in objects):
            return False
        bucket, _ = split(location)
        for start in range(0, len(objects), 1000):  # as many as one request takes
            keys = [{"Key": found["Key"]} for found in objects[start : start + 1000]]
            self._s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        return True


def open_lake(settings: Settings, tables: TableSet) -> Lake:
    """Return the lake with the credentials of Airflow's connection for AWS; for tasks.

    Args:
        settings: ``aws_conn_id`` among them.
        tables: those that are published together.
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    return Lake(settings, AwsGenericHook(aws_conn_id=settings.aws_conn_id).get_session(), tables)
