"""The server that writes the API's logs: what it delivers, and what it says to input that it cannot use."""

import gzip
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from services.log_generator import MasterKeys, deliver, open_events, target_of
from services.log_generator.__main__ import main
from services.log_generator.delivery import Objects
from services.log_generator.live import play
from taxiway.api_logs import envelope, keys
from taxiway.api_logs.envelope import Opener
from tests.aws_in_memory import aws_in_memory

PREFIX = "test/master-keys/"
SAMPLE = Path(__file__).parents[2] / "demos/api_logs/sample/wikiticker-2015-09-12-sampled.json.gz"


@pytest.fixture(autouse=True)
def session() -> Iterator[boto3.Session]:
    with aws_in_memory():
        yield boto3.Session()


def opened(folder: Path, session: boto3.Session) -> dict[str, list[dict[str, object]]]:
    """Return the records of each object, by its path."""
    opener = Opener(keys.KeyRing(keys.secrets_manager(session), PREFIX))
    return {
        str(file.relative_to(folder)): [
            json.loads(opener.open(envelope.read(line))) for line in file.read_bytes().splitlines()
        ]
        for file in sorted(folder.rglob("*.jsonl"))
    }


def write(file: Path, *lines: object) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    file.write_text(text, encoding="utf-8")
    return file


def test_each_event_is_delivered_in_its_own_hour(tmp_path: Path, session: boto3.Session) -> None:
    file = write(
        tmp_path / "app.v1.jsonl",
        {"page": "no time yet"},
        {"id": 7, "at": {"ts": "2026-01-31T23:59:59+01:00"}, "who": "Ada", "page": "x", "at2": None},
        "",
        {"id": None, "at": {"ts": 1769900400}, "who": None},
        "this is no JSON",
        {"id": "b", "at": {"ts": "2026-01-31T22:00:00Z", "zone": "UTC"}, "time": "noon", "user": "Bob"},
    )
    events = open_events(file, "at.ts", "who")
    assert events.events == 5
    delivery = deliver(events, target_of(str(tmp_path / "raw"), session), MasterKeys(session, PREFIX))
    assert delivery.records == {"2026-01-31-22": 3, "2026-01-31-23": 2}
    assert delivery.objects == 2
    hash_1, hash_4 = (hashlib.sha256(f"app.v1.jsonl:{line}".encode()).hexdigest() for line in (1, 4))
    lines = (tmp_path / "raw/year=2026/month=01/day=31/hour=23/app-000001.jsonl").read_bytes().splitlines()
    opener = Opener(keys.KeyRing(keys.secrets_manager(session), PREFIX))
    first, second = (opener.open(envelope.read(line)) for line in lines)
    assert json.loads(first) == {"id": hash_4, "time": 1769900400, "user": None, "event": {"at": {}}}
    assert second == b"this is no JSON"
    found = opened(tmp_path / "raw/year=2026/month=01/day=31/hour=22", session)
    assert found == {
        "app-000001.jsonl": [
            {"id": hash_1, "time": None, "user": None, "event": {"page": "no time yet"}},
            {
                "id": 7,
                "time": "2026-01-31T23:59:59+01:00",
                "user": "Ada",
                "event": {"at": {}, "page": "x", "at2": None},
            },
            {
                "id": "b",
                "time": "2026-01-31T22:00:00Z",
                "user": None,
                "event": {"at": {"zone": "UTC"}, "time": "noon", "user": "Bob"},
            },
        ]
    }


def test_objects_hold_at_most_so_many_records_and_names_keep_their_order(
    tmp_path: Path, session: boto3.Session
) -> None:
    put = target_of(str(tmp_path), session)
    master = MasterKeys(session, PREFIX, objects_per_key=2)
    delivery = deliver(open_events(SAMPLE), put, master, records_per_object=500)
    found = opened(tmp_path, session)
    assert delivery.records.total() == sum(map(len, found.values())) == 5368
    assert max(map(len, found.values())) == 500
    ids = [record["id"] for path in sorted(found) for record in found[path]]
    name = SAMPLE.name
    assert ids == [hashlib.sha256(f"{name}:{line}".encode()).hexdigest() for line in range(1, 5369)]
    used = Counter(json.loads(file.read_bytes().split(b"\n")[0])["key_id"] for file in tmp_path.rglob("*.jsonl"))
    assert max(used.values()) == 2
    assert len(used) == len(session.client("secretsmanager").list_secrets()["SecretList"]) == -(-len(found) // 2)


def test_a_second_delivery_replaces_the_first_and_uses_its_key(tmp_path: Path, session: boto3.Session) -> None:
    file = write(tmp_path / "e.json", {"time": "2026-01-31T22:00:00Z"})
    for _ in range(2):
        deliver(open_events(file), target_of(str(tmp_path / "raw"), session), MasterKeys(session, PREFIX))
    assert len(opened(tmp_path / "raw", session)) == 1
    assert len(session.client("secretsmanager").list_secrets()["SecretList"]) == 1


def test_command_line_delivers_to_s3(
    tmp_path: Path, session: boto3.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session.client("s3").create_bucket(Bucket="lake")
    to = ["--to", "s3://lake/raw/api_logs", "--key-prefix", PREFIX]
    assert main(["--events", str(SAMPLE), *to, "--faults"]) == 0
    said = (
        "Delivered 5,389 records, 21 of them made to be rejected, in 12 objects of 6 hours to s3://lake/raw/api_logs.\n"
    )
    assert capsys.readouterr().out == said
    found = [each["Key"] for each in session.client("s3").list_objects_v2(Bucket="lake")["Contents"]]
    assert found[0] == "raw/api_logs/year=2015/month=09/day=12/hour=00/wikiticker-2015-09-12-sampled-000001.jsonl"


def test_events_at_a_rate_occur_now(tmp_path: Path, session: boto3.Session) -> None:
    events = open_events(
        write(tmp_path / "e.json", {"id": "a", "time": 1769900400}, {"time": 1769900400, "user": "Ada"})
    )
    now = [1_769_903_990.0]  # ten seconds before an hour ends
    objects = Objects(target_of(str(tmp_path / "raw"), session), MasterKeys(session, PREFIX), "live")
    sleep = lambda seconds: now.__setitem__(0, now[0] + seconds)  # noqa: E731
    delivery = play(events, objects, rate=2, object_s=6, limit=41, clock=lambda: now[0], sleep=sleep)
    assert delivery.records == {"2026-01-31-23": 20, "2026-02-01-00": 21}
    found = opened(tmp_path / "raw", session)
    assert [len(each) for each in found.values()] == [12, 8, 12, 9]
    every = [record for each in found.values() for record in each]
    assert len({record["id"] for record in every}) == 41
    assert every[0]["time"] == "2026-01-31T23:59:50.000000+00:00"
    assert every[-1]["time"] == "2026-02-01T00:00:10.000000+00:00"


def test_ctrl_c_writes_what_is_held(tmp_path: Path, session: boto3.Session) -> None:
    events = open_events(write(tmp_path / "e.json", {"time": 1769900400}))

    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    objects = Objects(target_of(str(tmp_path / "raw"), session), MasterKeys(session, PREFIX), "live")
    delivery = play(events, objects, rate=1, object_s=60, clock=lambda: 1_769_900_400.0, sleep=sleep)
    assert delivery.records.total() == 1
    assert len(opened(tmp_path / "raw", session)) == 1


CUT = gzip.compress(b'{"time":1769900400}\n' * 50_000)[:-300]


@pytest.mark.parametrize(
    ("body", "options", "sentence"),
    [
        (None, [], "{file} cannot be read: No such file or directory."),
        (b"", [], "{file} is empty: write one JSON object a line."),
        (b"[\n", [], "{file}, line 1: it is no JSON object; write one a line."),
        (b"time,user\n1,2\n", [], "{file}, line 1: it is no JSON object; write one a line."),
        (CUT, [], "{file} is a damaged or cut gzip file (Compressed file ended before the end-of-stream marker"),
        (b"\x1f\x8bnot gzip", [], "{file} is a damaged or cut gzip file ("),
        (
            b'{"t":1}\n',
            [],
            "No event of {file} has a time that can be used in the field 'time': name another by TIME_FIELD;",
        ),
        (
            b'{"time":1769900400}',
            ["--user-field", "login"],
            "No event of {file} has the field 'login': name another by USER_FIELD.",
        ),
        (b'{"time":"' + b"x" * (5 << 20), [], "{file}, line 1: it is longer than 4 MiB; write one JSON object a line."),
    ],
)
def test_files_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: bytes | None, options: list[str], sentence: str
) -> None:
    file = tmp_path / "e.json"
    if body is not None:
        file.write_bytes(body)
    arguments = ["--events", str(file), "--to", str(tmp_path / "raw"), "--key-prefix", PREFIX, *options]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.err.startswith(sentence.format(file=file)), said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "raw").exists()


def test_a_target_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "e.json", {"time": 1769900400})
    assert main(["--events", str(file), "--to", "s3://nowhere/raw", "--key-prefix", PREFIX]) == 1
    assert capsys.readouterr().err.startswith("AWS refused to deliver to s3://nowhere/raw: ")
    assert main(["--events", str(file), "--to", str(file), "--key-prefix", PREFIX]) == 1
    assert capsys.readouterr().err == f"{file} cannot be written to: Not a directory.\n"


def test_the_newest_key_that_is_there_seals(session: boto3.Session) -> None:
    first = MasterKeys(session, PREFIX).for_next_object()
    time.sleep(1.1)  # the age of a secret is told in seconds
    second = MasterKeys(session, PREFIX).make()
    assert MasterKeys(session, PREFIX).for_next_object() == second
    session.client("secretsmanager").delete_secret(SecretId=f"{PREFIX}{second[0]}")
    assert MasterKeys(session, PREFIX).for_next_object() == first
