"""What the API logs cost to convert: ``python -m benchmarks.api_logs [--write]``.

Records are made from the real events of the demo's sample. The conversion is measured in processes of its own, beside a
plain Python loop over the same cipher library, and beside reading the same records unencrypted.
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

import msgspec

from benchmarks.api_logs_contestants import CONTESTANTS, HOUR, PREFIX, totals
from benchmarks.measure import Cost, keep, machine, middle, run
from benchmarks.synthetic import BENCH, ROOT
from local_aws.engines import Launch
from services.log_generator import open_events
from taxiway.api_logs import hours, keys, records
from taxiway.api_logs.envelope import Sealer

RECORDS, OBJECTS = 5_000_000, 10
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
    parser.add_argument("--repeat", type=int, default=1, help="runs of each contestant, every other in reverse order")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    options = parser.parse_args()
    lines = [f"{heading('cryptography', 'msgspec', 'pyarrow')}.", ""]
    try:
        lines += _conversion(options.records, options.repeat)
    except RuntimeError as error:
        sys.exit(f"The benchmark ended early: {error}")
    text = "\n".join(lines).rstrip()
    print(text)
    if options.write:
        keep("python -m benchmarks.api_logs --write", text)


def heading(*packages: str) -> str:
    """Return the date, the machine and the versions of packages."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}, {versions}"


def make_objects(count: int) -> Path:
    """Return a folder with objects of some records of one hour; write them first if they are missing.

    It has ``sealed/``, ``plain/`` and ``secrets.json``.
    """
    ready = BENCH / f"api_logs_{count}"
    if ready.exists():
        return ready
    folder = ready.with_suffix(".part")
    shutil.rmtree(folder, ignore_errors=True)
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
    folder.rename(ready)
    return ready


def _conversion(count: int, repeat: int) -> Iterator[str]:
    say(f"{count:,} records")
    folder = make_objects(count)
    sealed, plain = (sum(file.stat().st_size for file in (folder / kind).iterdir()) for kind in ("sealed", "plain"))
    costs: dict[str, list[Cost]] = {name: [] for name in CONTESTANTS}
    made = {}
    for turn in range(repeat):
        for name in CONTESTANTS if turn % 2 == 0 else reversed(CONTESTANTS):
            shutil.rmtree(folder / "made" / name, ignore_errors=True)
            command = [sys.executable, "-m", "benchmarks.api_logs_contestants", name, str(folder)]
            costs[name].append(run(Launch(command, {"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}", "PATH": ""}, ROOT)))
            made[name] = totals(folder / "made" / name)
            say(f"{LABELS[name]}: {costs[name][-1].seconds:.1f} s")
    times = "one run each" if repeat == 1 else f"median of {repeat} runs each"
    yield (
        f"{count:,} records of one hour in {OBJECTS} objects, {sealed / MB:,.0f} MB sealed, {plain / MB:,.0f} MB "
        f"unencrypted, {times}:"
    )
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


def say(text: str) -> None:
    """Tell what happens, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
