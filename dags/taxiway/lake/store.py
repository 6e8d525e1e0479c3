"""The lake: versions of partitions on S3, and which of them are published in the Glue catalogue."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from taxiway.core.s3 import is_data_file, split
from taxiway.core.settings import Settings
from taxiway.lake.glue import GlueCatalogue
from taxiway.lake.tables import Table, TableSet
from taxiway.lake.versions import KEPT, Partition, Publication, age_rank, version_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs


# EMRFS leaves an object of this name beside a folder.
FOLDER_MARKER = "_$folder$"


class LakeError(RuntimeError):
    """Data is missing or inconsistent; the text is one sentence that names the table, the fault and the remedy."""


@dataclass(frozen=True)
class Lake:
    """Stored and published versions of a pipeline's tables, in S3 and Glue.

    Attributes:
        settings: location of the lake, and the Glue database.
        session: a ``boto3.Session``; like every AWS SDK it honours ``AWS_ENDPOINT_URL``.
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
    def files(self) -> "pyarrow.fs.S3FileSystem":
        """The lake's files as Arrow reads and writes them, by paths without ``s3://``."""
        import pyarrow.fs

        credentials = self.session.get_credentials().get_frozen_credentials()
        endpoint = self._s3.meta.endpoint_url
        return pyarrow.fs.S3FileSystem(
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            session_token=credentials.token,
            region=self._s3.meta.region_name,
            # Those of the AWS SDK for C++ are of one and three seconds, in which a busy machine may not answer.
            connect_timeout=10,
            request_timeout=60,
            # For AWS's own endpoints Arrow's default is right: it uses virtual-hosted-style requests.
            endpoint_override=None if endpoint.endswith(".amazonaws.com") else endpoint,
        )

    # Locations ------------------------------------------------------------------------------------------------------

    def location(self, table: Table, period: str, version: str) -> str:
        """Return the folder of a version."""
        return table.contract.version_folder(self.settings.lake, period, version)

    def attempt(self, table: Table, period: str, plan: str) -> str:
        """Return the folder of the last try of a plan's version.

        Raises:
            LakeError: no try has written to it.
        """
        tries = (folder for folder in self._versions(table, period) if age_rank(folder)[0] == plan)
        found = [folder for folder in tries if self.data_files(folder)]
        if not found:
            raise LakeError(
                f"{table.name}{period and f' of {period}'} has no version {plan} in "
                f"{table.contract.partition_folder(self.settings.lake, period)}: "
                "the Spark step that writes it has not run; run the DAG for it again."
            )
        return max(found, key=age_rank)

    def _versions(self, table: Table, period: str) -> list[str]:
        """Return the folders of all versions, those too of which only a marker is left."""
        bucket, prefix = split(f"{table.contract.partition_folder(self.settings.lake, period)}/version=")
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        found = set()
        for page in pages:
            found |= {each["Prefix"].rstrip("/") for each in page.get("CommonPrefixes", [])}
            found |= {each["Key"].removesuffix(FOLDER_MARKER) for each in page.get("Contents", [])}
        return [f"s3://{bucket}/{key}" for key in sorted(found)]

    def _objects(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield all objects whose address begins with a prefix, markers too."""
        bucket, key = split(prefix)
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
            yield from page.get("Contents", [])

    def data_files(self, location: str) -> list[str]:
        """Return the keys of the files with data below a folder; see :func:`taxiway.core.s3.is_data_file`."""
        _, prefix = split(f"{location}/")
        found = self._objects(f"{location}/")
        return sorted(each["Key"] for each in found if is_data_file(each["Key"].removeprefix(prefix), each["Size"]))

    # Reading --------------------------------------------------------------------------------------------------------

    def partition(self, table: Table, period: str) -> Partition | None:
        """Return a published period of a table; None if it is not published."""
        return self._glue.partition(table, period)

    def partitions(self, table: Table) -> dict[str, Partition]:
        """Return all published periods of a table, in order."""
        return self._glue.partitions(table)

    def parameters(self, table: Table) -> dict[str, str]:
        """Return the parameters of a table itself in Glue; empty if it does not exist."""
        return self._glue.parameters(table)

    def annotate(self, table: Table, **parameters: str) -> None:
        """Add parameters to a table itself, which is published; what its versions are described by is not changed."""
        self._glue.annotate(table, parameters)

    def read(self, location: str, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the rows of a folder, or of one Parquet file; for small tables or few columns.

        Raises:
            LakeError: there is no Parquet file.
        """
        import pyarrow as pa

        return pa.concat_tables(file.read(columns=columns) for file in self._parquet(location))

    def batches(self, location: str, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Return some columns of a folder, or of one Parquet file, a part at a time; for large tables.

        Raises:
            LakeError: there is no Parquet file.
        """
        return (batch for file in self._parquet(location) for batch in file.iter_batches(columns=columns))

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
        # Not pyarrow.dataset: importing it takes two seconds, because of pandas.
        from pyarrow import parquet

        bucket, prefix = split(location)
        keys = [prefix] if prefix.endswith(".parquet") else self.data_files(location)
        files = [self.files.open_input_file(f"{bucket}/{key}") for key in keys if key.endswith(".parquet")]
        if not files:
            raise LakeError(f"{location} holds no Parquet file: run the DAG for it again.")
        return [parquet.ParquetFile(file) for file in files]

    # Publishing -----------------------------------------------------------------------------------------------------

    def publish(self, publication: Publication, run_id: str) -> list[str]:
        """Make versions visible to readers; tables that show them already are left unchanged.

        A roll-back restores a whole period, which is published with its anchor table. Tables published without the
        anchor replace a part of the period, and do not change the version that a roll-back restores.

        Args:
            publication: the new versions.
            run_id: the Airflow run, stored with every table.

        Returns:
            the names of the tables whose version changed.

        Raises:
            LakeError: the files of a version are gone; nothing was published.
        """
        self._require_files(publication)
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
            elif old:  # a part of this period, or left by an incomplete publication
                parameters |= {name: value for name, value in old.parameters.items() if name.startswith("previous_")}
            self._glue.move(table, period, location, parameters, exists=old is not None)
            moved.append(table.name)
        return moved

    def _require_files(self, publication: Publication) -> None:
        """Refuse versions that were pruned, as those of a task that somebody clears much later."""
        for name, location in publication["locations"].items():
            if publication["rows"][name] and not self.data_files(location):
                raise LakeError(
                    f"{location} has no files any more: it was deleted as an old version of {name}. Nothing was "
                    "published; clear the run from its first task on, or run the DAG for it again."
                )

    def roll_back(self, period: str) -> list[Table]:
        """Publish the period's previous version again; a second roll-back undoes the first.

        Tables of other periods that were built from this period do not change until they are built again.

        Raises:
            LakeError: there is no complete previous version.
        """
        keys = self.tables.anchor.contract.partition_keys
        if len([part for part in period.split("-") if part]) != len(keys):
            remedy = f"write {'-'.join(keys)}" if keys else "leave it out, as the table has no partitions"
            raise LakeError(f"{period!r} names no partition of {self.tables.pipeline}: {remedy}.")
        published = {table: self.partition(table, period) for table in self.tables}
        previous = {found and found.parameters.get("previous_anchor_version") for found in published.values()}
        if None in previous or len(previous) > 1:
            name = period or self.tables.anchor.name
            raise LakeError(f"{name} has no complete previous version: nothing was changed.")
        for table, current in published.items():
            assert current is not None
            parameters = {name: current.parameters[f"previous_{name}"] for name in KEPT}
            location = parameters.pop("location")
            parameters |= current.as_previous
            if not current.parameters.get("rolled_back"):
                # The next run's plan must not publish again what was rolled back.
                parameters["rolled_back"] = "true"
            self._glue.move(table, period, location, parameters, exists=True)
        return list(published)

    # Retention ------------------------------------------------------------------------------------------------------

    def prune(self, period: str) -> list[str]:
        """Delete the period's old versions, including those that were never published.

        Each table keeps its published version and the one before it, whatever their age; the newest
        ``settings.kept_versions``; and every folder that was written to within the last day, because a running step may
        still write to it, and a reader that found it in the Glue catalogue may still read it.

        Returns:
            the deleted folders.
        """
        deleted = []
        for table in self.tables:
            current = self.partition(table, period)
            if current is None:
                continue
            safe = {current.location, current.parameters.get("previous_location")}
            versions = sorted(self._versions(table, period), key=age_rank, reverse=True)
            older = (folder for folder in versions if age_rank(folder) <= age_rank(current.location))
            newest = (folder for folder in older if self.data_files(folder))
            safe |= set(islice(newest, self.settings.kept_versions))
            deleted += [folder for folder in versions if folder not in safe and self._delete_if_old(folder)]
        return deleted

    def prune_unpublished(self, table: Table, period: str, kept: Collection[str]) -> list[str]:
        """Delete the versions of a table that is never published, other than some, unless written to within a day.

        Returns:
            the deleted folders.
        """
        found = (folder for folder in self._versions(table, period) if version_of(folder) not in kept)
        return [folder for folder in found if self._delete_if_old(folder)]

    def _delete_if_old(self, location: str) -> bool:
        bucket, key = split(location)
        # Markers too, those beside the folder among them.
        own = (key, f"{key}{FOLDER_MARKER}")
        objects = [each for each in self._objects(location) if each["Key"].startswith(f"{key}/") or each["Key"] in own]
        if any(found["LastModified"] > datetime.now(UTC) - timedelta(days=1) for found in objects):
            return False
        for start in range(0, len(objects), 1000):  # the limit of one request
            keys = [{"Key": found["Key"]} for found in objects[start : start + 1000]]
            self._s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        return True


def open_lake(settings: Settings, tables: TableSet) -> Lake:
    """Return the lake with the credentials of Airflow's AWS connection; for tasks.

    Args:
        settings: ``aws_conn_id`` names the connection.
        tables: those that are published together.
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    return Lake(settings, AwsGenericHook(aws_conn_id=settings.aws_conn_id).get_session(), tables)
