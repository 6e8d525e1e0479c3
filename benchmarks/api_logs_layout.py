"""Which layout ``api_events`` has: ``python -m benchmarks.api_logs_layout [--write]``.

Events are made from the real ones of the demo's sample. Layouts are measured by the bytes that queries scan and the
time that they take in the local Athena: bytes are what AWS bills, times say what this machine took.
"""

import argparse
import gzip
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pyarrow.compute as pc
from pyarrow import parquet

from benchmarks.api_logs import SAMPLE, heading, make_objects, say
from benchmarks.api_logs_contestants import HOUR, ours
from benchmarks.measure import keep
from benchmarks.synthetic import BENCH
from taxiway.api_logs import records
from taxiway.api_logs.convert import convert_objects
from taxiway.api_logs.envelope import Opener, Sealer
from taxiway.api_logs.keys import KeyRing, as_secret, id_of, new_key
from taxiway.api_logs.merge import build_hours
from taxiway.api_logs.pseudonyms import Pseudonyms
from taxiway.api_logs.records import Rules
from taxiway.api_logs.tables import EVENTS
from tests.local_aws.athena.lake import Lake
from tests.local_aws.endpoint import Endpoint

CODECS = ("snappy", "zstd", "gzip")
GROUPS = (16_384, 131_072, 1_048_576)
FILES = (1, 8)
QUERIES = {
    "all, by channel": "SELECT channel, count(*), sum(added) FROM {table} GROUP BY channel",
    "one channel": "SELECT page, added FROM {table} WHERE channel = '#fr.wikipedia' ORDER BY added DESC LIMIT 10",
    "five minutes": "SELECT count(*), sum(added) FROM {table} WHERE occurred_at BETWEEN "
    "timestamp '2026-01-31 07:00:00' AND timestamp '2026-01-31 07:05:00'",
}
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
MB = 1e6


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_logs_layout", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="events of a layout (%(default)s)")
    parser.add_argument("--hours", type=int, default=8_760, help="partitions that are compared (%(default)s)")
    parser.add_argument("--repeat", type=int, default=1, help="times that a query is asked; the median counts")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    options = parser.parse_args()
    folder = BENCH / "api_logs_layout"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "made").mkdir(parents=True)
    try:
        lines = [f"{heading('pyarrow', 'duckdb', 'sqlglot')}, Athena of local_aws.", "", *_ratio(SAMPLE)]
        say(f"{options.records:,} events")
        ours(make_objects(options.records), folder / "made")
        lines += _compare(folder / "aws", folder / f"made/event={HOUR}/part-0.parquet", options.hours, options.repeat)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = "\n".join(lines).rstrip()
    print(text)
    if options.write:
        keep("python -m benchmarks.api_logs_layout --write", text)


def _ratio(sample: Path) -> Iterator[str]:
    """Yield the line that says how large the shipped events are as JSON, sealed and as Parquet."""
    from pyarrow.fs import LocalFileSystem

    from services.log_generator import open_events

    key = new_key()
    key_id = id_of("bench", key)
    hour, sealer = "2015-09-12-05", Sealer(key_id, key)
    plain = [event.plaintext for event in open_events(sample)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.jsonl"
        file.write_bytes(b"\n".join(map(sealer.seal, plain)))
        files = LocalFileSystem()
        convert_objects(
            [str(file)],
            files=files,
            lake=folder,
            target=f"{folder}/staged",
            rules=Rules(hour, 120),
            opener=Opener(KeyRing({key_id: as_secret(key)}.__getitem__, "")),
            pseudonyms=Pseudonyms(bytes(32), 90),
        )
        staged = {each.name.removeprefix("event="): [str(each)] for each in Path(folder).glob("staged/event=*")}
        build_hours({each: f"{folder}/made/{each}" for each in staged}, staged, files=files)
        sizes = [each.stat().st_size for each in Path(folder).glob("made/*/part-*.parquet")]
        sealed_bytes = file.stat().st_size
    json_bytes = len(gzip.decompress(sample.read_bytes()))
    yield (
        f"The shipped {len(plain):,} events of {len(sizes)} hours: {json_bytes / MB:.2f} MB of JSON, "
        f"{sealed_bytes / MB:.2f} MB sealed, {sum(sizes) / MB:.2f} MB as the table's files, which keep no comments: "
        f"JSON is {json_bytes / sum(sizes):.1f} × as large."
    )
    yield ""


def _compare(folder: Path, rows: Path, partitions: int, repeat: int) -> Iterator[str]:
    """Yield the tables of layouts and of partitions.

    Args:
        folder: of the endpoint's data; made here.
        rows: a Parquet file of events of one hour, in the order of their times.
        partitions: number of hours.
        repeat: times that a query is asked.
    """
    folder.mkdir(parents=True)
    endpoint = Endpoint(folder / "data").start()
    try:
        lake = Lake(endpoint, "bench", folder)
        yield from _layouts(lake, rows, repeat)
        yield from _partitions(lake, rows, partitions, repeat)
    finally:
        endpoint.close()


def _columns() -> dict[str, str]:
    return dict(EVENTS.columns)


def _asked(lake: Lake, sql: str, repeat: int) -> tuple[float, int]:
    """Return the median milliseconds of a query's engine, and the bytes that it scanned."""
    found = [lake.run(sql)["Statistics"] for _ in range(repeat)]
    return median(each["EngineExecutionTimeInMillis"] for each in found), int(found[0]["DataScannedInBytes"])


def _layouts(lake: Lake, rows: Path, repeat: int) -> Iterator[str]:
    count = parquet.ParquetFile(rows).metadata.num_rows
    layouts = [("occurred_at", *each) for each in product(CODECS, GROUPS, FILES)]
    layouts += [("channel, occurred_at", "zstd", 131_072, 1)]
    yield f"Layouts of one hour of {count:,} events; MB scanned / ms of the engine:"
    yield ""
    yield f"| sorted by | codec | rows of a group | files | MB | {' | '.join(QUERIES)} |"
    yield f"| --- | --- | ---: | ---: | ---: |{' ---: |' * len(QUERIES)}"
    for number, (order, codec, group, files) in enumerate(layouts):
        table = f"layout_{number}"
        size = _write(lake, table, rows, order, codec, group, files)
        lake.table(table, _columns(), f"{table}/")
        cells = []
        for sql in QUERIES.values():
            ms, scanned = _asked(lake, sql.format(table=table), repeat)
            cells.append(f"{scanned / MB:.2f} / {ms:.0f}")
        say(f"{order}, {codec}, {group}, {files}: {', '.join(cells)}")
        yield f"| {order} | {codec} | {group:,} | {files} | {size / MB:.1f} | {' | '.join(cells)} |"
    yield ""


def _write(lake: Lake, table: str, rows: Path, order: str, codec: str, group: int, files: int) -> int:
    """Put the events into a layout; return the bytes of its files."""
    with duckdb.connect() as database:
        sorted_rows = database.sql(f"FROM read_parquet('{rows}') ORDER BY {order}").to_arrow_table()
    sorted_rows = sorted_rows.cast(records.schema(EVENTS))
    size, each = 0, -(-sorted_rows.num_rows // files)
    for number in range(files):
        part = lake.folder / "part.parquet"
        parquet.write_table(sorted_rows.slice(number * each, each), part, compression=codec, row_group_size=group)
        size += part.stat().st_size
        lake.s3.upload_file(str(part), lake.name, f"{table}/part-{number}.parquet")
    return size


def _partitions(lake: Lake, rows: Path, count: int, repeat: int) -> Iterator[str]:
    """Put a small file into each of many hours, once for two tables: with partitions in Glue, and with projection."""
    few = parquet.ParquetFile(rows).read_row_group(0).slice(0, 20)
    keys = dict.fromkeys(("year", "month", "day", "hour"), "string")
    hours = [FIRST + timedelta(hours=number) for number in range(count)]
    part = lake.folder / "part.parquet"
    parquet.write_table(few, part, compression="zstd")
    body = part.read_bytes()
    for time in hours:
        lake.put(f"hours/{_folder(time)}/part-0.parquet", body)
    say(f"{count:,} hours written")
    lake.table("by_glue", _columns(), "hours/", keys=keys)
    storage = lake.glue.get_table(DatabaseName=lake.database, Name="by_glue")["Table"]["StorageDescriptor"]
    inputs = [
        {
            "Values": [f"{time:%Y}", f"{time:%m}", f"{time:%d}", f"{time:%H}"],
            "StorageDescriptor": storage | {"Location": f"s3://{lake.name}/hours/{_folder(time)}"},
        }
        for time in hours
    ]
    began = datetime.now(UTC)
    for start in range(0, count, 100):
        lake.glue.batch_create_partition(
            DatabaseName=lake.database, TableName="by_glue", PartitionInputList=inputs[start : start + 100]
        )
    seconds = (datetime.now(UTC) - began).total_seconds()
    projection: dict[str, Any] = {"projection.enabled": "true"}
    for key, range_, digits in (
        ("year", "2025,2026", 4),
        ("month", "1,12", 2),
        ("day", "1,31", 2),
        ("hour", "0,23", 2),
    ):
        projection |= {f"projection.{key}.type": "integer", f"projection.{key}.range": range_}
        projection |= {f"projection.{key}.digits": str(digits)}
    template = "/".join(f"{key}=${{{key}}}" for key in keys)
    projection["storage.location.template"] = f"s3://{lake.name}/hours/{template}"
    lake.table("by_projection", _columns(), "hours/", keys=keys, parameters=projection)
    questions = {
        "one hour": "year = '2025' AND month = '01' AND day = '01' AND hour = '07'",
        "one day": "year = '2025' AND month = '01' AND day = '02'",
        "one month": "year = '2025' AND month = '01'",
        "all": "true",
    }
    yield f"{count:,} hours of {few.num_rows} events each, on the same files; ms of the engine:"
    yield ""
    yield f"| | {' | '.join(questions)} | to add them to the catalogue |"
    yield f"| --- |{' ---: |' * len(questions)} ---: |"
    answers: dict[str, list[Any]] = {}
    for table, label, added in (
        ("by_glue", "partitions in Glue", f"{seconds:.1f} s, 100 a request"),
        ("by_projection", "partition projection", "nothing"),
    ):
        cells = []
        for name, condition in questions.items():
            sql = f"SELECT count(*), sum(added) FROM {table} WHERE {condition}"
            answers.setdefault(name, []).append(lake.rows(sql))
            cells.append(f"{_asked(lake, sql, repeat)[0]:,.0f}")
        say(f"{label}: {', '.join(cells)}")
        yield f"| {label} | {' | '.join(cells)} | {added} |"
    yield ""
    total = pc.sum(few["added"]).as_py() * count
    if any(each[0] != each[1] for each in answers.values()) or int(answers["all"][0][0][1]) != total:
        raise RuntimeError(f"the two tables do not answer alike: {answers}")


def _folder(time: datetime) -> str:
    return f"year={time:%Y}/month={time:%m}/day={time:%d}/hour={time:%H}"


if __name__ == "__main__":
    main()
