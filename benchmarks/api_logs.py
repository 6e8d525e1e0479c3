"""What the API logs cost to convert, and which layout their table has: ``python -m benchmarks.api_logs [--write]``.

Records are made from the real events of the demo's sample. The conversion is measured in processes of its own beside a
plain Python loop over the same cipher library, and beside reading the same records unencrypted. The layouts are measured
by the bytes that queries scan and the time that they take in the local Athena.
"""

import argparse
import datetime
import json
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path

import duckdb
import msgspec

from benchmarks import api_logs_layout
from benchmarks.api_logs_contestants import CONTESTANTS, HOUR, PREFIX, totals
from benchmarks.measure import Cost, keep, machine, middle, run
from benchmarks.synthetic import BENCH, ROOT
from local_aws.engines import Launch
from services.log_generator import open_events
from taxiway.api_logs import hours, keys, records
from taxiway.api_logs.envelope import Sealer

RECORDS, OBJECTS = 5_000_000, 10
LAYOUT_RECORDS, HOURS = 1_000_000, 8_760
SAMPLE = ROOT / "demos/api_logs/sample/wikiticker-2015-09-12-sampled.json.gz"
LABELS = {
    "ours": "ours",
    "loop": "a plain Python loop over the same library",
    "unencrypted": "ours, of the same records unencrypted",
}
MB = 1e6


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_logs", description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS, help="encrypted records (%(default)s)")
    parser.add_argument("--layout-records", type=int, default=LAYOUT_RECORDS, help="events of a layout (%(default)s)")
    parser.add_argument("--hours", type=int, default=HOURS, help="partitions that are compared (%(default)s)")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each contestant and query")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    options = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("cryptography", "msgspec", "pyarrow", "duckdb"))
    lines = [f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}, {packages}.", ""]
    folder = BENCH / "api_logs"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        lines += _conversion(folder, options.records, options.repeat)
        lines += _layouts(folder, options.layout_records, options.hours, options.repeat)
    except RuntimeError as error:
        sys.exit(f"The benchmark ended early: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = "\n".join(lines)
    print(text)
    if options.write:
        keep("python -m benchmarks.api_logs --write", text)


def make_objects(folder: Path, count: int) -> tuple[int, int]:
    """Write objects of some records of one hour, sealed and plain; return the bytes of both.

    Args:
        folder: gets ``sealed/``, ``plain/`` and ``secrets.json``.
        count: records.
    """
    key = keys.new_key()
    key_id = keys.id_of("bench", key)
    events = [records.read(event.plaintext) for event in open_events(SAMPLE)]
    begin, source = hours.parse(HOUR), islice(cycle(events), count)
    for kind in ("sealed", "plain"):
        (folder / kind).mkdir(parents=True)
    (folder / "secrets.json").write_text(json.dumps({f"{PREFIX}{key_id}": keys.as_secret(key)}))
    made, each = 0, -(-count // OBJECTS)
    for number in range(OBJECTS):
        sealer, name = Sealer(key_id, key), f"{number:03}.jsonl"
        with (folder / "sealed" / name).open("wb") as sealed, (folder / "plain" / name).open("wb") as plain:
            for record in islice(source, each):
                time = (begin + datetime.timedelta(hours=made / count)).isoformat(timespec="milliseconds")
                text = records.write(msgspec.structs.replace(record, id=f"{made:016x}", time=time))
                plain.write(text + b"\n")
                sealed.write(sealer.seal(text) + b"\n")
                made += 1
    sealed_bytes, plain_bytes = (
        sum(file.stat().st_size for file in (folder / kind).iterdir()) for kind in ("sealed", "plain")
    )
    return sealed_bytes, plain_bytes


def _conversion(folder: Path, count: int, repeat: int) -> Iterator[str]:
    _say(f"{count:,} records")
    sealed, plain = make_objects(folder, count)
    costs: dict[str, list[Cost]] = {name: [] for name in CONTESTANTS}
    made = {}
    for turn in range(repeat):
        for name in CONTESTANTS if turn % 2 == 0 else reversed(CONTESTANTS):
            shutil.rmtree(folder / "made" / name, ignore_errors=True)
            command = [sys.executable, "-m", "benchmarks.api_logs_contestants", name, str(folder)]
            costs[name].append(run(Launch(command, {"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}", "PATH": ""}, ROOT)))
            made[name] = totals(folder / "made" / name)
            _say(f"{LABELS[name]}: {costs[name][-1].seconds:.1f} s")
    times = "one run each" if repeat == 1 else f"median of {repeat} runs each"
    yield f"{count:,} records of one hour in {OBJECTS} objects, {sealed / MB:,.0f} MB sealed, {plain / MB:,.0f} MB unencrypted, {times}:"
    yield ""
    yield "| | records a second | seconds | × ours | peak memory | same output |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    result = {name: middle(each) for name, each in costs.items()}
    for name, cost in result.items():
        ratio, same = cost.seconds / result["ours"].seconds, "yes" if made[name] == made["ours"] else "**no**"
        yield (
            f"| {LABELS[name]} | {count / cost.seconds:,.0f} | {cost.seconds:.1f} | {ratio:.2f} | "
            f"{cost.peak_bytes / MB:,.0f} MB | {same} |"
        )
    yield ""


def _layouts(folder: Path, count: int, partitions: int, repeat: int) -> Iterator[str]:
    _say(f"layouts of {count:,} events")
    rows = folder / "rows.parquet"
    with duckdb.connect() as database:
        database.execute(
            f"COPY (FROM read_parquet('{folder}/made/ours/event=*/*.parquet', hive_partitioning = false) "
            f"ORDER BY occurred_at LIMIT {count}) TO '{rows}'"
        )
    yield from api_logs_layout.ratio(SAMPLE)
    yield from api_logs_layout.compare(folder / "aws", rows, partitions, repeat, _say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
