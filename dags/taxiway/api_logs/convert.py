"""Converts the objects of an arrival hour: decrypts, validates, flattens and pseudonymises their records.

Objects are read as streams, a batch of records at a time, so memory does not depend on their size. What is written, to
local files first and whole to the target at the end, is pseudonymised or still encrypted; plaintext is in memory alone.
Nothing of a record gets into a message.

    <target>/event=2015-09-12-04/part-0.parquet   accepted records of an hour of events: api_events_staged
    <target>/rejected/part-0.parquet              the others: api_events_quarantine
"""

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypedDict

import pyarrow as pa
from pyarrow import parquet

from taxiway.api_logs import envelope, records
from taxiway.api_logs.envelope import Envelope, NoEnvelope, Opener, Tampered
from taxiway.api_logs.keys import UnknownKey
from taxiway.api_logs.records import Batch, NotOfSchema, Rules
from taxiway.api_logs.tables import QUARANTINE

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

    from taxiway.api_logs.pseudonyms import Pseudonyms

log = logging.getLogger(__name__)

CHUNK_BYTES = 4 << 20  # of an object that is read at once: a request to S3 each
MOST_LINE_BYTES = 8 << 20
BATCH_RECORDS, BATCH_BYTES = 16_384, 8 << 20
PART, REJECTED = "part-0.parquet", "rejected"
COMPRESSION = {"compression": "zstd", "compression_level": 1}  # of files that the pipeline alone reads, once

_GZIP = b"\x1f\x8b"


class Counts(TypedDict):
    """What came of the objects of an arrival hour.

    Keys:
        records: lines that were read; each is staged or quarantined.
        staged: hour of events → accepted records.
        quarantined: reason → rejected records; duplicates show later.
        keys_missing: id of a master key that cannot be had → records.
    """

    records: int
    staged: dict[str, int]
    quarantined: dict[str, int]
    keys_missing: dict[str, int]


def convert_objects(
    uris: Sequence[str],
    *,
    files: "FileSystem",
    lake: str,
    target: str,
    rules: Rules,
    opener: Opener,
    pseudonyms: "Pseudonyms",
    scratch_dir: str | None = None,
) -> Counts:
    """Convert objects that arrived in an hour; a file is written for each hour of events that they hold.

    Args:
        uris: of the objects, below ``lake``.
        files: where they are, and what is written.
        lake: ``s3://bucket[/prefix]``, or a local folder.
        target: empty folder of this version of the arrival hour.
        rules: of that hour.
        opener: has the master keys.
        pseudonyms: of users.
        scratch_dir: folder for what is written until it is whole; the system's by default.

    Raises:
        OSError: an object cannot be read, or a file not written.
    """
    with tempfile.TemporaryDirectory(dir=scratch_dir, prefix="taxiway-api-logs-") as scratch:
        with _Output(Path(scratch)) as output:
            converter = _Converter(rules, opener, pseudonyms, output)
            for uri in uris:
                with files.open_input_stream(path_of(uri), compression=None) as stream:
                    converter.take(uri.removeprefix(f"{lake}/"), stream)
            converter.flush()
        for file in sorted(Path(scratch).rglob("*.parquet")):
            copy_out(file, files, f"{target}/{file.relative_to(scratch)}")
    counts = Counts(
        records=converter.count,
        staged=dict(sorted(output.staged.items())),
        quarantined=dict(sorted(output.quarantined.items())),
        keys_missing=dict(sorted(converter.keys_missing.items())),
    )
    assert counts["records"] == output.staged.total() + output.quarantined.total()
    return counts


def path_of(uri: str) -> str:
    """Return an address as ``pyarrow.fs`` takes it."""
    return uri.removeprefix("s3://")


def copy_out(file: Path, files: "FileSystem", uri: str) -> None:
    """Copy a local file to where it belongs."""
    path = path_of(uri)
    if files.type_name == "local":
        files.create_dir(path.rpartition("/")[0])
    with file.open("rb") as source, files.open_output_stream(path) as target:
        shutil.copyfileobj(source, target, CHUNK_BYTES)


class Line(NamedTuple):
    """A line of an object.

    Attributes:
        offset: its first byte in the object.
        text: without its line feed; None if it is too long.
        ended: whether it has a line feed.
    """

    offset: int
    text: bytes | None
    ended: bool


def lines(stream: IO[bytes]) -> Iterator[Line]:
    """Yield the lines of an object that are not blank, holding one chunk and one line in memory."""
    offset = 0
    rest, dropped = b"", 0  # of the line that has begun: its text, or its size if it is too long
    while chunk := stream.read(CHUNK_BYTES):
        *ended, rest = (rest + chunk).split(b"\n")
        for text in ended:
            size = dropped + len(text)
            if size > MOST_LINE_BYTES:
                yield Line(offset, None, True)
            elif text and not text.isspace():
                yield Line(offset, text, True)
            offset += size + 1
            dropped = 0
        if dropped + len(rest) > MOST_LINE_BYTES:
            rest, dropped = b"", dropped + len(rest)
    if dropped:
        yield Line(offset, None, False)
    elif rest and not rest.isspace():
        yield Line(offset, rest, False)


@dataclass
class _Converter:
    """Takes objects one after the other; a batch may hold records of several."""

    rules: Rules
    opener: Opener
    pseudonyms: "Pseudonyms"
    output: "_Output"
    count: int = 0
    keys_missing: Counter[str] = field(default_factory=Counter)
    _batch: Batch = field(default_factory=Batch)
    _envelopes: list[tuple[str, bytes]] = field(default_factory=list)
    _bytes: int = 0

    def take(self, source_object: str, stream: IO[bytes]) -> None:
        """Convert the records of an object."""
        for line in lines(stream):
            self.count += 1
            text = line.text
            if line.offset == 0 and text is not None and text.startswith(_GZIP):
                log.warning("%s is compressed, which no object may be: it counts as one record.", source_object)
                self._reject(source_object, 0, "wrong_schema")
                return
            if text is None:
                self._reject(source_object, line.offset, "wrong_schema")
            else:
                self._take(source_object, line.offset, text, ended=line.ended)
                self._bytes += len(text)
            if len(self._batch.records) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES:
                self.flush()

    def _take(self, source_object: str, offset: int, text: bytes, *, ended: bool) -> None:
        try:
            sealed = envelope.read(text)
        except NoEnvelope:
            if envelope.is_beginning(text):
                self._reject(source_object, offset, "truncated", cut=text)
            else:
                is_cut = not ended and text.startswith(b"{") and not text.rstrip().endswith(b"}")
                self._reject(source_object, offset, "truncated" if is_cut else "wrong_schema")
            return
        try:
            record = records.read(self.opener.open(sealed))
        except UnknownKey:
            self.keys_missing[sealed.key_id] += 1
            self._reject(source_object, offset, "unknown_key", sealed)
        except Tampered:
            self._reject(source_object, offset, "tampered", sealed)
        except NotOfSchema:
            self._reject(source_object, offset, "wrong_schema", sealed)
        else:
            self._batch.add(record, source_object, offset)
            self._envelopes.append((sealed.key_id, text))

    def _reject(
        self, source_object: str, offset: int, reason: str, sealed: Envelope | None = None, cut: bytes | None = None
    ) -> None:
        key_id = sealed.key_id if sealed else envelope.key_of_beginning(cut or b"")
        # Written anew: a line could hold a member twice, or white space that says something.
        text = envelope.write(sealed) if sealed else cut
        self._bytes += len(text or b"")
        self.output.reject((source_object, offset, key_id, text and text.decode(), reason))

    def flush(self) -> None:
        """Write what is held."""
        batch, held = self._batch, self._envelopes
        self._batch, self._envelopes, self._bytes = Batch(), [], 0
        if batch.records:
            places = list(zip(batch.objects, batch.offsets, strict=True))
            table, of, rejected = batch.columns(self.rules, self.pseudonyms)
            for number, reason in rejected.items():
                key_id, text = held[number]
                self.output.reject((*places[number], key_id, envelope.write(envelope.read(text)).decode(), reason))
            for hour, rows in records.split_by_hour(table, of).items():
                self.output.accept(hour, rows)
        self.output.flush()


class _Output(ExitStack):
    """Writes the files of an arrival hour below a local folder; they are whole when it is closed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._writers: dict[str, parquet.ParquetWriter] = {}
        self._rejected: list[tuple[Any, ...]] = []
        self.staged: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()

    def accept(self, hour: str, rows: pa.Table) -> None:
        """Write accepted records of an hour of events."""
        self._write(f"event={hour}", rows)
        self.staged[hour] += rows.num_rows

    def reject(self, row: tuple[Any, ...]) -> None:
        """Hold a rejected record, a row of the quarantine, until the next flush."""
        self._rejected.append(row)
        self.quarantined[row[-1]] += 1

    def flush(self) -> None:
        """Write the rejected records that are held."""
        if self._rejected:
            schema = records.schema(QUARANTINE)
            columns = zip(*self._rejected, strict=True)
            self._write(
                REJECTED,
                pa.table(
                    [pa.array(values, each.type) for values, each in zip(columns, schema, strict=True)], schema=schema
                ),
            )
            self._rejected = []

    def _write(self, name: str, rows: pa.Table) -> None:
        if name not in self._writers:
            file = self._folder / name / PART
            file.parent.mkdir()
            self._writers[name] = self.enter_context(parquet.ParquetWriter(file, rows.schema, **COMPRESSION))
        self._writers[name].write_table(rows)
