"""Builds what is published from what was staged: hours of events, and the quarantine of arrival hours.

An hour of events is built as a whole, from the staged records of all arrival hours that hold some of it. A record is a
duplicate if another of the same event id was delivered before it (in an earlier object, or earlier in the same one) and
occurred at most ``duplicateHours`` before or after it, whether that one is a duplicate itself or not. So the result
depends on what was delivered alone, not on the order of runs; and an hour is to be built again when records of those
hours around it came or went.

    <events>/part-0.parquet          the hour's events
    <events>/_duplicates.parquet     places of the records that are left out; no reader of the table sees the file
    <quarantine>/part-0.parquet      rejected records and duplicates of an arrival hour
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import duckdb
import pyarrow as pa
from pyarrow import parquet

from taxiway.api_logs import envelope, hours, records
from taxiway.api_logs.convert import COMPRESSION, PART, REJECTED, copy_out, lines, path_of
from taxiway.api_logs.envelope import NoEnvelope
from taxiway.api_logs.tables import EVENTS, QUARANTINE, STAGED, duplicate_hours

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

MEMORY, THREADS = "1GB", 2  # of DuckDB, which goes to files beyond it; each thread needs its share
DUPLICATES = "_duplicates.parquet"
ORDER = 'occurred_at, source_object, "offset"'
BATCH_ROWS = 16_384

_IDS = ("event_id", "occurred_at", "source_object", "offset")
_PLACES = pa.schema([("source_object", pa.string()), ("offset", pa.int64())])
_ARRIVAL = r".*year=(\d+)/month=(\d+)/day=(\d+)/hour=(\d+)/.*"


class BuiltHour(TypedDict):
    """What came of an hour of events.

    Keys:
        records: events.
        duplicates: arrival hour → records that are left out.
    """

    records: int
    duplicates: dict[str, int]


def window(hour: str) -> list[str]:
    """Return the hours of events that an hour is built from: its own, and those that may hold the same event ids."""
    return [hours.shift(hour, by) for by in range(-duplicate_hours(), duplicate_hours() + 1)]


def build_hours(
    targets: Mapping[str, str],
    staged: Mapping[str, Sequence[str]],
    *,
    files: "FileSystem",
    scratch_dir: str | None = None,
    memory: str = MEMORY,
) -> dict[str, BuiltHour]:
    """Build hours of events; neighbouring hours cost less together.

    Args:
        targets: hour → empty folder of its new version.
        staged: hour of events → the folders ``…/event=<hour>`` of all arrival hours; also of the hours in the
            :func:`window` of each that is built.
        files: where they are.
        scratch_dir: folder for temporary files; the system's by default.
        memory: limit of DuckDB's memory, such as ``1GB``.

    Raises:
        OSError: a staged file cannot be read.
    """
    around = {hour for built in targets for hour in window(built)} - targets.keys()
    with (
        tempfile.TemporaryDirectory(dir=scratch_dir, prefix="taxiway-api-logs-") as scratch,
        _database(scratch, memory) as database,
    ):
        _find_duplicates(database, targets, around, staged, files)
        return {
            hour: _build(database, hour, target, staged.get(hour, ()), files, Path(scratch))
            for hour, target in sorted(targets.items())
        }


def build_quarantine(
    arrival: str,
    *,
    staged: str,
    events: Iterable[str],
    target: str,
    files: "FileSystem",
    lake: str,
    scratch_dir: str | None = None,
) -> dict[str, int]:
    """Write the quarantine of an arrival hour, and return its records by reason.

    Args:
        arrival: the hour.
        staged: folder of its staged version.
        events: folders of the hours of events that it holds, as they are built.
        target: empty folder of its new version.
        files: where they are.
        lake: ``s3://bucket[/prefix]``, or a local folder.
        scratch_dir: folder for temporary files; the system's by default.

    Raises:
        OSError: a file, or an object with duplicates, cannot be read.
    """
    reasons: Counter[str] = Counter()
    schema = records.schema(QUARANTINE)
    with tempfile.TemporaryDirectory(dir=scratch_dir, prefix="taxiway-api-logs-") as scratch:
        file = Path(scratch) / PART
        with parquet.ParquetWriter(file, schema, **COMPRESSION) as writer:
            with suppress(FileNotFoundError):  # nothing was rejected
                for batch in _batches(f"{staged}/{REJECTED}/{PART}", files, schema.names):
                    writer.write_batch(batch)
                    reasons.update(batch.column("reject_reason").to_pylist())
            for rows in _duplicates_of(arrival, events, files, lake):
                writer.write_table(pa.Table.from_pylist(rows, schema))
                reasons["duplicate"] += len(rows)
        copy_out(file, files, f"{target}/{PART}")
    return dict(sorted((+reasons).items()))


# ── Hours of events ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _database(scratch: str, memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    # Files of a database's own, so that tables too can leave the memory.
    config: dict[str, Any] = {
        "memory_limit": memory,
        "threads": THREADS,
        "temp_directory": f"{scratch}/spilt",
        "preserve_insertion_order": "false",
    }
    with duckdb.connect(f"{scratch}/merge.duckdb", config=config) as database:
        database.execute("SET enable_progress_bar = false")  # it writes to standard output
        yield database


def _find_duplicates(
    database: duckdb.DuckDBPyConnection,
    own: Iterable[str],
    around: Iterable[str],
    staged: Mapping[str, Sequence[str]],
    files: "FileSystem",
) -> None:
    """Fill the table ``duplicates``: hour of events, place, arrival hour."""
    database.execute(
        "CREATE TABLE ids (hour VARCHAR, event_id VARCHAR, occurred_at TIMESTAMP, source_object VARCHAR, "
        '"offset" BIGINT)'
    )
    columns = ", ".join(f'"{name}"' for name in _IDS)
    for chosen, condition in ((own, ""), (around, "WHERE event_id IN (SELECT event_id FROM own_ids)")):
        for hour in sorted(chosen):
            for folder in staged.get(hour, ()):
                with _reader(f"{folder}/{PART}", files, _IDS) as found:
                    database.register("found", found)
                    database.execute(f"INSERT INTO ids SELECT ?, {columns} FROM found {condition}", [hour])  # noqa: S608
                    database.unregister("found")
        if not condition:
            database.execute("CREATE TABLE own_ids AS SELECT DISTINCT event_id FROM ids")
    database.execute(
        f"""
        CREATE TABLE duplicates AS
        WITH
            several AS (SELECT event_id FROM ids GROUP BY event_id HAVING count(*) > 1),
            delivered AS (
                SELECT *, row_number() OVER (ORDER BY source_object, "offset") AS number
                FROM ids
                WHERE event_id IN (FROM several)
            ),
            judged AS (
                SELECT *, min(number) OVER (
                    PARTITION BY event_id ORDER BY occurred_at
                    RANGE BETWEEN INTERVAL {duplicate_hours()} HOUR PRECEDING
                        AND INTERVAL {duplicate_hours()} HOUR FOLLOWING
                ) AS first
                FROM delivered
            )
        SELECT hour, source_object, "offset", regexp_replace(source_object, '{_ARRIVAL}', '\\1-\\2-\\3-\\4') AS arrival
        FROM judged
        WHERE first < number
        """  # noqa: S608
    )


def _build(
    database: duckdb.DuckDBPyConnection,
    hour: str,
    target: str,
    folders: Sequence[str],
    files: "FileSystem",
    scratch: Path,
) -> BuiltHour:
    schema, properties = records.schema(EVENTS), EVENTS.contract.properties
    group = int(properties["rowGroupRows"])
    count, names = 0, ", ".join(f'"{name}"' for name in schema.names)
    file = scratch / PART
    with parquet.ParquetWriter(file, schema, compression=properties["compression"]) as writer:
        if folders:
            for number, folder in enumerate(folders):
                database.register(f"part_{number}", _reader(f"{folder}/{PART}", files, schema.names))
            parts = " UNION ALL ".join(f"SELECT {names} FROM part_{number}" for number in range(len(folders)))  # noqa: S608
            rows = database.sql(
                f"SELECT {names} FROM ({parts}) "  # noqa: S608
                f'ANTI JOIN (FROM duplicates WHERE hour = ?) USING (source_object, "offset") ORDER BY {ORDER}',
                params=[hour],
            )
            for batch in rows.to_arrow_reader(group):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema), row_group_size=group)
                count += batch.num_rows
            for number in range(len(folders)):
                database.unregister(f"part_{number}")
        if not count:
            writer.write_table(schema.empty_table())
    copy_out(file, files, f"{target}/{PART}")
    places = database.sql('SELECT source_object, "offset" FROM duplicates WHERE hour = ? ORDER BY ALL', params=[hour])
    parquet.write_table(places.to_arrow_table().cast(_PLACES), file, **COMPRESSION)
    copy_out(file, files, f"{target}/{DUPLICATES}")
    by_arrival = database.execute(
        "SELECT arrival, count(*) FROM duplicates WHERE hour = ? GROUP BY 1 ORDER BY 1", [hour]
    )
    return BuiltHour(records=count, duplicates=dict(by_arrival.fetchall()))


def _reader(uri: str, files: "FileSystem", columns: Sequence[str]) -> pa.RecordBatchReader:
    """Return the rows of a staged file, a part at a time."""
    schema = pa.schema([records.schema(STAGED).field(name) for name in columns])
    return pa.RecordBatchReader.from_batches(schema, _batches(uri, files, columns))


def _batches(uri: str, files: "FileSystem", columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Return the rows of a file, a part at a time; it is opened at once, so that one that is gone is told here."""
    source = files.open_input_file(path_of(uri))

    def rows() -> Iterator[pa.RecordBatch]:
        with source, parquet.ParquetFile(source) as file:
            yield from file.iter_batches(BATCH_ROWS, columns=list(columns))

    return rows()


# ── The quarantine ──────────────────────────────────────────────────────────────────────────────────────────────────


def _duplicates_of(
    arrival: str, events: Iterable[str], files: "FileSystem", lake: str
) -> Iterator[list[dict[str, Any]]]:
    """Yield the duplicates that arrived in an hour as rows of the quarantine, their envelopes read from the objects."""
    folder = "/".join(
        f"{key}={value}" for key, value in zip(QUARANTINE.contract.partition_keys, arrival.split("-"), strict=True)
    )
    places: dict[str, set[int]] = {}
    for built in events:
        for batch in _batches(f"{built}/{DUPLICATES}", files, _PLACES.names):
            for source_object, offset in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if f"/{folder}/" in source_object:
                    places.setdefault(source_object, set()).add(offset)
    for source_object, offsets in sorted(places.items()):
        rows: list[dict[str, Any]] = []
        with files.open_input_stream(path_of(f"{lake}/{source_object}"), compression=None) as stream:
            for line in lines(stream):
                if line.offset in offsets:
                    rows.append({"source_object": source_object, "offset": line.offset, **_sealed(line.text)})
                if len(rows) >= 1024:
                    yield rows
                    rows = []
        if rows:
            yield rows


def _sealed(text: bytes | None) -> dict[str, Any]:
    """Return the columns of a duplicate; without the envelope if its object is no more what it was."""
    try:
        sealed = envelope.read(text or b"")
    except NoEnvelope:
        return {"key_id": None, "ciphertext": None, "reject_reason": "duplicate"}
    return {"key_id": sealed.key_id, "ciphertext": envelope.write(sealed).decode(), "reject_reason": "duplicate"}
