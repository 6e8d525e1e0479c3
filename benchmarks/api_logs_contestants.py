"""Programs that turn an arrival hour into Parquet: ``python -m benchmarks.api_logs_contestants NAME FOLDER``.

The folder has ``sealed/`` or ``plain/`` objects and ``secrets.json``; what is made goes to ``made/<name>/``.
"""

import base64
import hmac
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyarrow import parquet
from pyarrow.fs import LocalFileSystem

from taxiway.api_logs import keys, records
from taxiway.api_logs.convert import BATCH_RECORDS, COMPRESSION, convert_objects, lines
from taxiway.api_logs.envelope import Opener
from taxiway.api_logs.pseudonyms import Pseudonyms
from taxiway.api_logs.records import Batch, Rules
from taxiway.api_logs.tables import EVENTS, OBJECT

HOUR = "2026-01-31-07"
PREFIX = "master-keys/"
PSEUDONYM_KEY, DAYS = bytes(32), 90


def ours(folder: Path, target: Path) -> None:
    """Convert encrypted objects as the pipeline does."""
    secrets = json.loads((folder / "secrets.json").read_text())
    convert_objects(
        [str(file) for file in sorted((folder / "sealed").iterdir())],
        files=LocalFileSystem(),
        lake=str(folder),
        target=str(target),
        rules=Rules(HOUR, 120),
        opener=Opener(keys.KeyRing(secrets.__getitem__, PREFIX)),
        pseudonyms=Pseudonyms(PSEUDONYM_KEY, DAYS),
    )


def unencrypted(folder: Path, target: Path) -> None:
    """Do the same with objects of the same records that are not encrypted."""
    rules, pseudonyms = Rules(HOUR, 120), Pseudonyms(PSEUDONYM_KEY, DAYS)
    with parquet.ParquetWriter(target / "part-0.parquet", records.schema(EVENTS), **COMPRESSION) as writer:
        batch = Batch()

        def flush() -> None:
            nonlocal batch
            writer.write_table(batch.columns(rules, pseudonyms)[0])
            batch = Batch()

        for file in sorted((folder / "plain").iterdir()):
            with file.open("rb") as stream:
                for line in lines(stream):
                    batch.add(records.read(line.text or b""), str(file), line.offset)
                    if len(batch.records) >= BATCH_RECORDS:
                        flush()
        if batch.records:
            flush()


def loop(folder: Path, target: Path) -> None:
    """Convert encrypted objects in a plain loop: record by record, with the same cipher library, each data key once."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

    secrets = json.loads((folder / "secrets.json").read_text())
    known = [each.name for each in records.schema(EVENTS)]
    sources = {each.source: each.name for each in OBJECT.contract.columns.values()}
    ciphers: dict[str, AESGCM] = {}

    def rows() -> Iterator[dict[str, Any]]:
        for file in sorted((folder / "sealed").iterdir()):
            offset = 0
            with file.open("rb") as stream:
                for line in stream:
                    sealed = json.loads(line)
                    if sealed["data_key"] not in ciphers:
                        master = base64.b64decode(secrets[PREFIX + sealed["key_id"]])
                        data_key = aes_key_unwrap(master, base64.b64decode(sealed["data_key"]))
                        ciphers[sealed["data_key"]] = AESGCM(data_key)
                    header = f'{{"version":1,"key_id":"{sealed["key_id"]}","data_key":"{sealed["data_key"]}"'
                    plaintext = ciphers[sealed["data_key"]].decrypt(
                        base64.b64decode(sealed["nonce"]), base64.b64decode(sealed["ciphertext"]), header.encode()
                    )
                    record = json.loads(plaintext)
                    row: dict[str, Any] = {"event_id": record["id"], "other": []}
                    time = datetime.fromisoformat(record["time"])
                    row["occurred_at"] = time.astimezone(UTC).replace(tzinfo=None)
                    user, alias = record["user"], _pseudonym(record["user"], time)
                    for name, value in record["event"].items():
                        column = sources.get(name)
                        if name == "comment":
                            row["comment_length"] = len(value)
                        elif column and column in known:
                            row[column] = value
                        else:
                            row["other"].append((name, str(value).replace(user, alias)))
                    if row["namespace"] == "Main":
                        row["page"] = row["page"].replace(user, alias) if len(user.encode()) > 2 else row["page"]
                    else:
                        row["page"] = f"{row['namespace']}:{_pseudonym(row['page'], time)}"
                    row |= {"user_pseudonym": alias, "source_object": str(file), "offset": offset}
                    offset += len(line)
                    yield row

    with parquet.ParquetWriter(target / "part-0.parquet", records.schema(EVENTS), **COMPRESSION) as writer:
        for chunk in _chunks(rows()):
            writer.write_table(pa.Table.from_pylist(chunk, records.schema(EVENTS)))


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    for row in rows:
        held.append(row)
        if len(held) == BATCH_RECORDS:
            yield held
            held = []
    if held:
        yield held


def _pseudonym(text: str, time: datetime) -> str:
    days = int(time.timestamp()) // 86_400 // DAYS * DAYS
    label = f"{datetime.fromtimestamp(days * 86_400, UTC):%Y%m%d}"
    key = hmac.digest(PSEUDONYM_KEY, f"pseudonyms of {label}".encode(), "sha256")
    return f"{label}-{hmac.digest(key, text.encode(), 'sha256').hex()[:32]}"


CONTESTANTS: dict[str, Callable[[Path, Path], None]] = {"ours": ours, "loop": loop, "unencrypted": unencrypted}


def totals(target: Path) -> list[Any]:
    """Return numbers that say whether two contestants made the same."""
    return list(
        duckdb.execute(
            """SELECT count(*), count(DISTINCT event_id), count(DISTINCT user_pseudonym), count(DISTINCT page),
                sum(hash(user_pseudonym)::HUGEINT % 1000003)::BIGINT, sum(hash(page)::HUGEINT % 1000003)::BIGINT,
                sum(added), sum(deleted), sum(delta), sum(comment_length), count_if(is_robot), count(metro_code),
                sum(epoch_us(occurred_at)::HUGEINT)::VARCHAR
            FROM read_parquet(?)""",
            [f"{target}/**/part-*.parquet"],
        ).fetchall()[0]
    )


if __name__ == "__main__":
    contestant, place = sys.argv[1], Path(sys.argv[2])
    made = place / "made" / contestant
    made.mkdir(parents=True, exist_ok=True)
    CONTESTANTS[contestant](place, made)
