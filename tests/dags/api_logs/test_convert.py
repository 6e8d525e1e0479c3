"""The conversion of an arrival hour: every line is staged or quarantined, in bounded memory, and nothing leaks."""

import gzip
import json
import logging
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.log_generator import deliver, open_events, target_of
from taxiway.api_logs import convert, envelope, keys, merge, records
from taxiway.api_logs.convert import CHUNK_BYTES, MOST_LINE_BYTES, lines
from taxiway.api_logs.tables import EVENTS, QUARANTINE
from tests.dags.api_logs.world import SAMPLE, Server, World, sealed_text

HOUR = "2026-01-31-07"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "scratch").mkdir()
    return World(tmp_path / "lake", scratch=str(tmp_path / "scratch"))


def staged(world: World, hour: str = HOUR) -> list[dict[str, object]]:
    files = sorted(world.folder("staged/api_events", hour).glob("event=*/*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def rejected(world: World, hour: str = HOUR) -> list[dict[str, object]]:
    files = world.folder("staged/api_events", hour).glob("rejected/*.parquet")
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def test_every_line_is_staged_or_quarantined(world: World) -> None:
    server = world.server
    good = server.seal({"page": "x"}, id="good")
    unknown = Server().seal({}, id="unknown")
    tampered = json.loads(server.seal({}, id="tampered"))
    tampered = json.dumps(tampered | {"ciphertext": tampered["ciphertext"][::-1]}, separators=(",", ":")).encode()
    untimed = server.seal({}, time=None)
    late = server.seal({}, time="2026-01-01T00:00:00Z")
    early = server.seal({}, time="2026-01-31T06:59:59.999999Z", id="early")
    cut = server.seal({})[:-20]
    body = [good, b"", unknown, b'{"user":"Ada","page":"x"}', tampered, untimed, b"  ", late, early, cut]
    world.put(HOUR, "a.jsonl", b"\n".join(body))
    counts = world.convert(HOUR)
    assert counts["records"] == 8
    assert counts["staged"] == {"2026-01-31-06": 1, HOUR: 1}
    reasons = ["unknown_key", "wrong_schema", "tampered", "wrong_schema", "late", "truncated"]
    assert counts["quarantined"] == dict(sorted(Counter(reasons).items()))
    assert counts["keys_missing"] == {json.loads(unknown)["key_id"]: 1}
    assert {row["event_id"] for row in staged(world)} == {"good", "early"}
    found = {row["offset"]: row for row in sorted(rejected(world), key=lambda row: str(row["offset"]).zfill(9))}
    name = "raw/api_logs/year=2026/month=01/day=31/hour=07/a.jsonl"
    at = 0
    for line in body:
        if at in found:
            row = found[at]
            assert row["source_object"] == name
            is_plain = line.startswith(b'{"user"')
            assert row["ciphertext"] == (None if is_plain else line.decode())
            assert row["key_id"] == (None if is_plain else json.loads(unknown if line == unknown else good)["key_id"])
        at += len(line) + 1
    assert [row["reject_reason"] for row in found.values()] == reasons
    for file in world.folder("staged/api_events", HOUR).glob("event=*/*.parquet"):
        assert pq.read_schema(file).equals(records.schema(EVENTS))


def test_an_offset_leads_to_its_record(world: World) -> None:
    file = world.put(HOUR, "a.jsonl", b"\r\n".join(world.server.seal({}, id=each) for each in "abc"))
    world.convert(HOUR)
    for row in staged(world):
        offset = row["offset"]
        assert isinstance(offset, int)
        line = Path(file).read_bytes()[offset:].partition(b"\n")[0]
        assert json.loads(world.server.opener().open(envelope.read(line)))["id"] == row["event_id"]


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        (b"", {}),
        (b"\n \n\r\n", {}),
        (gzip.compress(b'{"user":"Ada"}\n' * 100_000), {"wrong_schema": 1}),
        (b"PAR1\x00\x15\x04\n\x00PAR1", {"wrong_schema": 2}),
        (b"<html>\n<body>Ada</body>\n</html>\n", {"wrong_schema": 3}),
        (b"\xff\xfe\n", {"wrong_schema": 1}),
        (b"x" * (MOST_LINE_BYTES + 1) + b"\n{}", {"wrong_schema": 2}),
        (b'{"id":"\\ud800"}\n', {"wrong_schema": 1}),
        (b'{"version": 1, "key_id": "ser', {"truncated": 1}),
    ],
)
def test_objects_of_another_kind(world: World, body: bytes, reasons: dict[str, int]) -> None:
    world.put(HOUR, "a.jsonl", body)
    world.put(HOUR, "b.jsonl", world.server.seal({}) + b"\n")
    counts = world.convert(HOUR)
    assert counts["quarantined"] == reasons
    assert counts["staged"] == {HOUR: 1}
    assert counts["records"] == 1 + sum(reasons.values())
    assert all(row["ciphertext"] is None for row in rejected(world))


def test_texts_that_no_file_can_hold_are_of_another_schema(world: World) -> None:
    sealer = world.server.sealer()
    odd = sealed_text({"x": "y"}).replace(b'"y"', b'"\\ud800"')
    world.put(HOUR, "a.jsonl", b"\n".join([sealer.seal(odd), sealer.seal(sealed_text({"x": "\0"}))]))
    assert world.convert(HOUR)["quarantined"] == {"wrong_schema": 1}
    assert [row["other"] for row in staged(world)] == [[("x", "\0")]]


def test_an_hour_without_objects_is_a_real_zero(world: World) -> None:
    counts = world.convert(HOUR)
    assert counts == {"records": 0, "staged": {}, "quarantined": {}, "keys_missing": {}}


def test_plaintext_beside_an_envelope_is_not_kept(world: World) -> None:
    """A member twice: the decoder takes the last, and the first could hold anything."""
    line = Server().seal({})
    body = line.replace(b'"nonce"', b'"nonce":"QWRhIExvdmVsYWNl","nonce"') + b" \t\n"
    world.put(HOUR, "a.jsonl", body)
    assert world.convert(HOUR)["quarantined"] == {"unknown_key": 1}
    assert [row["ciphertext"] for row in rejected(world)] == [line.decode()]


def test_a_key_that_arrives_later(world: World) -> None:
    key_id, key = world.server.make(store=False)
    world.put(HOUR, "a.jsonl", envelope.Sealer(key_id, key).seal(sealed_text({})))
    assert world.convert(HOUR)["quarantined"] == {"unknown_key": 1}
    world.server.secrets[f"keys/{key_id}"] = world.server.secrets[f"keys/{world.server.key_id}"]
    world.version = "2"
    assert world.convert(HOUR)["keys_missing"] == {key_id: 1}  # what is stored is another key
    world.server.secrets[f"keys/{key_id}"] = keys.as_secret(key)
    world.version = "3"
    assert world.convert(HOUR)["staged"] == {HOUR: 1}


def test_a_second_conversion_writes_the_same(world: World) -> None:
    world.put(HOUR, "a.jsonl", b"\n".join(world.server.seal({}, id=each) for each in range(100)))
    first = world.convert(HOUR)
    files = {file: file.read_bytes() for file in world.lake.rglob("version=1/**/*.parquet")}
    assert world.convert(HOUR) == first
    assert {file: file.read_bytes() for file in world.lake.rglob("version=1/**/*.parquet")} == files


def test_a_failure_leaves_nothing_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put(HOUR, "a.jsonl", world.server.seal({}))
    monkeypatch.setattr(convert, "copy_out", lambda *arguments: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        world.convert(HOUR)
    assert list(world.lake.rglob("*.parquet")) == []
    assert world.scratch
    assert list(Path(world.scratch).iterdir()) == []


def test_batches_do_not_show(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put(HOUR, "a.jsonl", b"\n".join(world.server.seal({}, id=each) for each in range(10)))
    whole = world.convert(HOUR)
    rows = staged(world)
    monkeypatch.setattr(convert, "BATCH_RECORDS", 3)
    world.version = "2"
    assert world.convert(HOUR) == whole
    assert staged(world) == rows


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(1, 20), st.integers(2, 12))
def test_lines_of_any_bytes(body: bytes, chunk: int, most: int) -> None:
    class Slow(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size == CHUNK_BYTES
            return super().read(chunk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "MOST_LINE_BYTES", most)
        found = [(line.offset, line.text, line.ended) for line in lines(Slow(body))]
    expected, at = [], 0
    split = body.split(b"\n")
    for number, text in enumerate(split):
        if text.strip():
            expected.append((at, text if len(text) <= most else None, number < len(split) - 1))
        elif len(text) > most:
            expected.append((at, None, number < len(split) - 1))
        at += len(text) + 1
    assert found == expected


# ── Memory ──────────────────────────────────────────────────────────────────────────────────────────────────────────

PEAK = """
import sys
from pathlib import Path
from tests.dags.api_logs.world import Server, World
import json
lake, hour, secrets = sys.argv[1:]
world = World(Path(lake))
world.server.secrets = json.loads(Path(secrets).read_text())
{call}
status = Path("/proc/self/status").read_text()  # not getrusage, which begins with the memory of the parent
print(json.dumps(world.counts), int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""


def peak(world: World, hour: str, call: str) -> tuple[dict[str, dict[str, dict[str, int]]], int]:
    """Return counts and the highest memory in bytes of a process of its own."""
    if not Path("/proc/self/status").exists():
        pytest.skip("system: only Linux tells the highest memory of a process")
    secrets = world.lake / "secrets.json"
    secrets.write_text(json.dumps(world.server.secrets))
    command = [sys.executable, "-c", PEAK.format(call=call), str(world.lake), hour, str(secrets)]
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}", "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=280)
    assert done.returncode == 0, done.stderr
    counts, _, bytes_ = done.stdout.rpartition(" ")
    return json.loads(counts), int(bytes_)


def big_object(world: World, hour: str, size: int) -> int:
    """Write an object of real events of about a size in bytes; return its number of records."""
    server, count = world.server, 0
    sealer = server.sealer()
    sealed = [sealer.seal(event.plaintext) for event in open_events(SAMPLE)]
    block = b"\n".join(sealed) + b"\n"
    file = Path(world.put(hour, "big.jsonl", b""))
    with file.open("wb") as stream:
        while stream.tell() < size:
            stream.write(block)
            count += len(sealed)
    return count


@pytest.mark.slow
def test_memory_does_not_depend_on_the_size_of_an_object(world: World) -> None:
    """One of 200 MB, of which every record is staged: the process stays below what two such chunks would need."""
    count = big_object(world, "2015-09-12-05", 200_000_000)
    counts, bytes_ = peak(world, "2015-09-12-05", "world.convert(hour)")
    assert sum(counts["2015-09-12-05"]["staged"].values()) == count
    assert bytes_ < 350_000_000


@pytest.mark.full
@pytest.mark.slow
def test_an_object_of_2_gb_needs_at_most_500_mb(world: World) -> None:
    count = big_object(world, "2015-09-12-05", 2_000_000_000)
    counts, bytes_ = peak(world, "2015-09-12-05", "world.convert(hour)")
    assert sum(counts["2015-09-12-05"]["staged"].values()) == count
    assert bytes_ < 500_000_000


@pytest.mark.slow
def test_one_line_of_any_length_needs_no_more(world: World) -> None:
    world.put(HOUR, "a.jsonl", b"x" * 400_000_000)
    counts, bytes_ = peak(world, HOUR, "world.convert(hour)")
    assert counts[HOUR]["quarantined"] == {"wrong_schema": 1}
    assert bytes_ < 350_000_000


# ── Leaks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_no_plaintext_is_left_anywhere(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of users that no public field holds are in no file, temporary or not, and not in the logs."""
    assert world.scratch
    scratch, temporary = Path(world.scratch), dict[Path, bytes]()
    copy_out = convert.copy_out

    def seen(file: Path, *rest: object) -> None:
        temporary.update({each: each.read_bytes() for each in scratch.rglob("*") if each.is_file()})
        copy_out(file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(convert, "copy_out", seen)
    monkeypatch.setattr(merge, "copy_out", seen)
    put = target_of(str(world.lake / "raw/api_logs"), None)
    events = open_events(SAMPLE)
    with caplog.at_level(logging.DEBUG):
        deliver(events, put, world.server, faults=True)  # type: ignore[arg-type]  # keys in memory
        assert world.run()
    plain = [json.loads(line) for line in gzip.decompress(SAMPLE.read_bytes()).splitlines()]
    public = "\n".join(
        str(value)
        for event in plain
        for name, value in event.items()
        if name not in ("user", "comment") and not (name == "page" and event["namespace"] != "Main")
    )
    # Shorter names stand in megabytes of ciphertext by chance.
    secret = {event["user"] for event in plain if len(event["user"]) > 7 and event["user"] not in public}
    comments = {event["comment"] for event in plain if len(event["comment"]) > 30 and event["comment"] not in public}
    assert len(secret) > 1_400
    assert len(comments) > 1_500
    kept = {file.read_bytes() for file in world.lake.rglob("*.parquet")}
    others = {*temporary.values()} - kept
    assert len(temporary) > len(others) + 6  # these are searched with what is kept
    left = b"\n".join({*everything(world.lake), *others, caplog.text.encode()})
    found = [text for text in [*secret, *sorted(comments)[::5]] if text.encode() in left]
    assert found == []
    # The same search finds what is there: a title of an article.
    assert any(event["page"].encode() in left for event in plain if event["namespace"] == "Main")


def everything(folder: Path) -> set[bytes]:
    """Return what the files of a folder say: as they are, and the values of Parquet, which is compressed, each once."""
    said = set()
    for file in folder.rglob("*"):
        if file.is_file():
            said.add(file.read_bytes())
        if file.suffix == ".parquet":
            table = pq.ParquetFile(file).read()
            said |= {str(value).encode() for column in table.columns for value in column.to_pylist()}
    return said


def test_names_of_the_quarantine_are_those_of_the_contract() -> None:
    assert {"tampered", "truncated", "unknown_key", "wrong_schema", "in_future", "late", "duplicate"} == set(
        QUARANTINE.contract.columns["reject_reason"].valid_values
    )
