"""The lake: its tables, their versions on S3, and what of them is published in the Glue catalogue.

A partition (one month of a table) is written to a new version folder each time; the Glue partition's location says
which version readers see:

    <lake>/<table path>/year=2023/month=01/version=20261121T101112123456Z.1/*.parquet

A version is the time of the plan that ordered it and the number of the try that wrote it: a task that is tried again
never writes where another try did. Everything here takes months as ``YYYY-MM``.

    python -m taxiway.lake show               list what is published
    python -m taxiway.lake roll-back 2023-01  put the version before it in place
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

from taxiway.settings import Settings, settings

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs


class LakeError(RuntimeError):
    """The lake is not as it must be; the text is one sentence that names the table, the fault and the remedy."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table of the lake.

    Attributes:
        name: in the Glue catalogue.
        path: below the lake.
        columns: name → type as Glue writes it, in the order of the files.
        key: columns that name a row; empty where none do.
    """

    name: str
    path: str
    columns: Mapping[str, str]
    key: tuple[str, ...] = ()


# ── The tables ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _columns(definition: str) -> dict[str, str]:
    """Read ``name name … type, name … type``."""
    return {name: type_ for *names, type_ in (part.split() for part in definition.strip().split(",")) for name in names}


# The source's columns under our names; the curated table has three of its own around them.
_TRIP = _columns("""
    hvfhs_license_num dispatching_base_num originating_base_num string,
    request_datetime on_scene_datetime pickup_datetime dropoff_datetime timestamp,
    pickup_zone_id dropoff_zone_id int,
    trip_miles double,
    trip_time bigint,
    base_passenger_fare tolls bcf sales_tax congestion_surcharge airport_fee cbd_congestion_fee tips driver_pay double,
    shared_request_flag shared_match_flag access_a_ride_flag wav_request_flag wav_match_flag string
""")

TRIPS = Table("hvfhv_trips", "curated/hvfhv_trips", {"company": "string", **_TRIP, "wait_s": "int", "arrival_s": "int"})
QUARANTINE = Table("hvfhv_trips_quarantine", "quarantine/hvfhv_trips", {**_TRIP, "reject_reason": "string"})


def _mart(name: str, key: str, columns: str) -> Table:
    return Table(f"hvfhv_{name}", f"marts/hvfhv/{name}", _columns(columns), tuple(key.split()))


SERVICE_QUALITY = _mart(
    "service_quality",
    "company pickup_zone_id request_hour",
    """company string, pickup_zone_id request_hour int, trips bigint, wait_s_mean double,
    wait_s_p50 wait_s_p90 wait_s_p95 int, late_trips bigint, arrival_s_mean double, arrival_s_p50 arrival_s_p90 int""",
)
MARKET_SHARE = _mart(
    "market_share",
    "company pickup_borough pickup_date",
    """company pickup_borough string, pickup_date date, trips bigint,
    trip_share fare_revenue revenue_share driver_pay double""",
)
POPULAR_ZONES = _mart(
    "popular_zones",
    "pickup_date zone_id",
    "pickup_date date, zone_id int, trips bigint, rank int, zone_name borough string",
)
RISING_ZONES = _mart(
    "rising_zones", "zone_id", "zone_id int, trips bigint, share baseline_share growth z double, rank int"
)
ETA_TRAINING = _mart(
    "eta_training",
    "",
    """company string, pickup_zone_id dropoff_zone_id int, request_datetime timestamp,
    request_hour request_weekday int, trip_miles double, wait_s int, trip_time bigint""",
)
TREND = _mart(
    "trend",
    "company",
    """company string, trips bigint, wait_s_mean double, wait_s_p50 wait_s_p90 int,
    fare_revenue driver_pay trip_share double""",
)

# In the order in which a month's tables are published. The curated trips come last: they keep what the month was made
# from, so a month of which only some tables moved still counts as not analysed, and the next run does it again.
TABLES = (SERVICE_QUALITY, MARKET_SHARE, POPULAR_ZONES, RISING_ZONES, ETA_TRAINING, TREND, QUARANTINE, TRIPS)

# What a partition's parameters say of the version that is published, and, with ``previous_`` before the name, of the
# one before it.
_KEPT = ("location", "version", "trips_version", "published_at", "inputs", "rows", "run_id")


@dataclass(frozen=True)
class Partition:
    """A published month of a table.

    Attributes:
        location: folder of the version that readers see.
        parameters: of the Glue partition: ``version``, ``trips_version`` (that of the curated trips it belongs to),
            ``published_at`` (UTC), ``inputs`` (SHA-256 of the source files, joined by commas), ``rows``, ``run_id``;
            the same, and ``location``, of the version before it, as ``previous_…``; ``rolled_back``.
    """

    table: Table
    month: str
    location: str
    parameters: Mapping[str, str]

    @property
    def version(self) -> str:
        """The version's name."""
        return version_of(self.location)

    @property
    def settled_inputs(self) -> set[str]:
        """What the month need not be analysed for again: its inputs, and those of a version that was taken back."""
        names = ("inputs", "previous_inputs") if self.parameters.get("rolled_back") else ("inputs",)
        return {self.parameters[name] for name in names if name in self.parameters}


class Publication(TypedDict):
    """Versions of a month's tables to be published together, as plain data that Airflow hands on between tasks.

    Keys:
        month: ``YYYY-MM``.
        inputs: see :class:`Partition`.
        locations: name of the table → folder of the version.
        rows: name of the table → its number of rows.
    """

    month: str
    inputs: str
    locations: dict[str, str]
    rows: dict[str, int]


def join_inputs(sha256s: Sequence[str]) -> str:
    """Return the text that stands for a set of source files in ``inputs``."""
    return ",".join(sorted(sha256s))


def version_of(location: str) -> str:
    """Return the version that a folder holds."""
    return location.rstrip("/").rpartition("/version=")[2]


def _age_rank(location: str) -> tuple[str, int]:
    plan, _, attempt = version_of(location).rpartition(".")
    return plan, int(attempt) if attempt.isdigit() else 0


# ── The lake ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Lake:
    """What is stored and what is published, through S3 and Glue.

    Attributes:
        settings: where the lake and the catalogue are.
        session: a ``boto3.Session``; as every AWS SDK it honours ``AWS_ENDPOINT_URL``.
    """

    settings: Settings
    session: Any

    @cached_property
    def _s3(self) -> Any:
        return self.session.client("s3")

    @cached_property
    def _glue(self) -> Any:
        return self.session.client("glue")

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

    def location(self, table: Table, month: str, version: str) -> str:
        """Return the folder of a version."""
        return f"{self._partition_folder(table, month)}/version={version}"

    def attempt(self, table: Table, month: str, plan: str) -> str:
        """Return the folder of the last try under a plan's version.

        Raises:
            LakeError: no try wrote anything.
        """
        found = [folder for folder in self._versions(table, month) if _age_rank(folder)[0] == plan]
        if not found:
            raise LakeError(
                f"{table.name} of {month} has no version {plan} in {self._partition_folder(table, month)}: "
                "the Spark step that writes it has not run; run the month again."
            )
        return max(found, key=_age_rank)

    def _partition_folder(self, table: Table, month: str) -> str:
        year, _, number = month.partition("-")
        return f"{self.settings.lake}/{table.path}/year={year}/month={number}"

    def _versions(self, table: Table, month: str) -> list[str]:
        bucket, prefix = _split(f"{self._partition_folder(table, month)}/version=")
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        return [
            f"s3://{bucket}/{found['Prefix'].rstrip('/')}" for page in pages for found in page.get("CommonPrefixes", [])
        ]

    def _objects(self, location: str) -> Iterator[dict[str, Any]]:
        bucket, prefix = _split(f"{location}/")
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from page.get("Contents", [])

    # Reading --------------------------------------------------------------------------------------------------------

    def partition(self, table: Table, month: str) -> Partition | None:
        """Return the published month of a table; None if there is none."""
        try:
            found = self._glue.get_partition(
                DatabaseName=self.settings.glue_database, TableName=table.name, PartitionValues=month.split("-")
            )["Partition"]
        except self._glue.exceptions.EntityNotFoundException:
            return None
        return _partition(table, found)

    def partitions(self, table: Table) -> dict[str, Partition]:
        """Return all published months of a table, in order."""
        pages = self._glue.get_paginator("get_partitions").paginate(
            DatabaseName=self.settings.glue_database, TableName=table.name, ExcludeColumnSchema=True
        )
        try:
            found = [_partition(table, partition) for page in pages for partition in page["Partitions"]]
        except self._glue.exceptions.EntityNotFoundException:
            return {}
        return {partition.month: partition for partition in sorted(found, key=lambda partition: partition.month)}

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
            raise LakeError(f"The files of {location} do not all have the same columns: run the month again.")
        return schemas[0]

    def _parquet(self, location: str) -> "list[Any]":
        # Not pyarrow.dataset: to import it costs two seconds, for pandas.
        from pyarrow import parquet

        bucket, prefix = _split(location)
        keys = [prefix] if prefix.endswith(".parquet") else [found["Key"] for found in self._objects(location)]
        files = [self._files.open_input_file(f"{bucket}/{key}") for key in sorted(keys) if key.endswith(".parquet")]
        if not files:
            raise LakeError(f"{location} holds no Parquet file: run the month again.")
        return [parquet.ParquetFile(file) for file in files]

    # Publishing -----------------------------------------------------------------------------------------------------

    def publish(self, publication: Publication, run_id: str) -> list[str]:
        """Make versions the ones that readers see; nothing happens where they are already.

        A whole month (the curated trips among its tables) is what a roll-back goes back to. Tables published without
        them replace a part of it, and leave the version to go back to as it is.

        Args:
            publication: the new versions.
            run_id: the Airflow run, kept with every table.

        Returns:
            the names of the tables that moved.
        """
        self._ensure_tables()
        month, locations = publication["month"], publication["locations"]
        old_trips = self.partition(TRIPS, month)
        old_version = old_trips.version if old_trips else ""
        new_version = version_of(locations[TRIPS.name]) if TRIPS.name in locations else old_version
        moved = []
        for table in (table for table in TABLES if table.name in locations):
            location, old = locations[table.name], self.partition(table, month)
            if old and old.location == location:
                continue
            parameters = {
                "version": version_of(location),
                "trips_version": new_version,
                "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "inputs": publication["inputs"],
                "rows": str(publication["rows"][table.name]),
                "run_id": run_id,
            }
            if old and new_version != old_version == old.parameters["trips_version"]:
                parameters |= _as_previous(old)
            elif old:  # a part of this month, or left by a publication that was never finished
                parameters |= {name: value for name, value in old.parameters.items() if name.startswith("previous_")}
            self._move(table, month, location, parameters, exists=old is not None)
            moved.append(table.name)
        return moved

    def roll_back(self, month: str) -> list[Table]:
        """Put the month's version before the published one in its place; a second time, undo that.

        The later months' rising zones stay as they are until those months are analysed again.

        Raises:
            LakeError: there is no complete version to go back to.
        """
        published = {table: self.partition(table, month) for table in TABLES}
        previous = {found and found.parameters.get("previous_trips_version") for found in published.values()}
        if None in previous or len(previous) > 1:
            raise LakeError(f"{month} has no complete version to go back to: nothing was changed.")
        for table, current in published.items():
            assert current is not None
            parameters = {name: current.parameters[f"previous_{name}"] for name in _KEPT}
            location = parameters.pop("location")
            parameters |= _as_previous(current)
            if not current.parameters.get("rolled_back"):
                # The plan must not bring back at the next event what somebody took back.
                parameters["rolled_back"] = "true"
            self._move(table, month, location, parameters, exists=True)
        return list(published)

    def _move(self, table: Table, month: str, location: str, parameters: Mapping[str, str], *, exists: bool) -> None:
        partition = {
            "Values": month.split("-"),
            "StorageDescriptor": _storage(table, location),
            "Parameters": dict(parameters),
        }
        where = {"DatabaseName": self.settings.glue_database, "TableName": table.name}
        if exists:
            self._glue.update_partition(**where, PartitionValueList=month.split("-"), PartitionInput=partition)
        else:
            self._glue.create_partition(**where, PartitionInput=partition)

    def _ensure_tables(self) -> None:
        database = self.settings.glue_database
        try:
            pages = self._glue.get_paginator("get_tables").paginate(DatabaseName=database)
            known = {found["Name"]: found for page in pages for found in page["TableList"]}
        except self._glue.exceptions.EntityNotFoundException:
            known = {}
            self._unless_exists(self._glue.create_database, DatabaseInput={"Name": database})
        for table in TABLES:
            storage = _storage(table, f"{self.settings.lake}/{table.path}")
            definition = {
                "Name": table.name,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE"},
                "PartitionKeys": [{"Name": "year", "Type": "string"}, {"Name": "month", "Type": "string"}],
                "StorageDescriptor": storage,
            }
            if table.name not in known:
                self._unless_exists(self._glue.create_table, DatabaseName=database, TableInput=definition)
            elif known[table.name]["StorageDescriptor"]["Columns"] != storage["Columns"]:
                self._glue.update_table(DatabaseName=database, TableInput=definition)

    def _unless_exists(self, create: Any, **definition: Any) -> None:
        with contextlib.suppress(self._glue.exceptions.AlreadyExistsException):  # another month's task was faster
            create(**definition)

    # Retention ------------------------------------------------------------------------------------------------------

    def prune(self, month: str) -> list[str]:
        """Delete the month's old versions, and what older runs left without publishing it.

        Of each table stay: the version that is published and the one before it, whatever their age; the newest
        ``settings.kept_versions``; and every folder written to within the last day, which a running step may still
        write to and a reader that found it in the catalogue may still read.

        Returns:
            the folders that were deleted.
        """
        deleted = []
        for table in TABLES:
            current = self.partition(table, month)
            if current is None:
                continue
            safe = {current.location, current.parameters.get("previous_location")}
            versions = sorted(self._versions(table, month), key=_age_rank, reverse=True)
            newest = [folder for folder in versions if _age_rank(folder) <= _age_rank(current.location)]
            safe |= set(newest[: self.settings.kept_versions])
            deleted += [folder for folder in versions if folder not in safe and self._delete_if_old(folder)]
        return deleted

    def _delete_if_old(self, location: str) -> bool:
        objects = list(self._objects(location))
        if any(found["LastModified"] > datetime.now(UTC) - timedelta(days=1) for found in objects):
            return False
        bucket, _ = _split(location)
        for start in range(0, len(objects), 1000):  # as many as one request takes
            keys = [{"Key": found["Key"]} for found in objects[start : start + 1000]]
            self._s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        return True


def open_lake(settings: Settings) -> Lake:
    """Return the lake with the credentials of Airflow's connection for AWS; for tasks.

    Args:
        settings: ``aws_conn_id`` among them.
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    return Lake(settings, AwsGenericHook(aws_conn_id=settings.aws_conn_id).get_session())


def _as_previous(partition: Partition) -> dict[str, str]:
    kept = {**partition.parameters, "location": partition.location}
    return {f"previous_{name}": kept[name] for name in _KEPT}


def _partition(table: Table, found: Mapping[str, Any]) -> Partition:
    return Partition(table, "-".join(found["Values"]), found["StorageDescriptor"]["Location"], found["Parameters"])


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _storage(table: Table, location: str) -> dict[str, Any]:
    formats = "org.apache.hadoop.hive.ql.io.parquet"
    return {
        "Location": location,
        "Columns": [{"Name": name, "Type": type_} for name, type_ in table.columns.items()],
        "InputFormat": f"{formats}.MapredParquetInputFormat",
        "OutputFormat": f"{formats}.MapredParquetOutputFormat",
        "SerdeInfo": {"SerializationLibrary": f"{formats}.serde.ParquetHiveSerDe"},
    }


# ── The command line ────────────────────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m taxiway.lake", description="What of the lake is published.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="list what is published")
    back = commands.add_parser("roll-back", help="put a month's version before the published one in its place")
    back.add_argument("month", metavar="YYYY-MM")
    options = parser.parse_args(arguments)
    lake = open_lake(settings())
    try:
        if options.command == "roll-back":
            lake.roll_back(options.month)
        months = lake.partitions(TRIPS)
    except LakeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for month, partition in months.items():
        taken_back = " (rolled back)" if partition.parameters.get("rolled_back") else ""
        sys.stdout.write(f"{month}  {int(partition.parameters['rows']):>12,} trips  {partition.location}{taken_back}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
