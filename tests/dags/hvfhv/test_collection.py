"""Collecting data sets from a real web server and real files into a real S3 API, with all that can go wrong."""

import hashlib
import io
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from taxiway import catalogue
from taxiway.catalogue import Attempt, Dataset, Status
from taxiway.hvfhv import collection
from taxiway.hvfhv.collection import CollectionError, TransientError, collect
from taxiway.hvfhv.settings import HvfhvSettings
from tests.dags.web import Web, web_server

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "demos/hvfhv/sample/fhvhv_tripdata_sample_2023-01.parquet"
CONTENT = SAMPLE.read_bytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ROWS = 14977
LAKE = "taxiway-lake"
URI = f"s3://{LAKE}"
KEY = "raw/hvfhv/year=2023/month=01/trips.parquet"


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


@pytest.fixture
def s3(aws: str) -> Any:
    client = boto3.client("s3")
    client.create_bucket(Bucket=LAKE)
    return client


@pytest.fixture
def config(tmp_path: Path) -> HvfhvSettings:
    (tmp_path / "scratch").mkdir()
    return HvfhvSettings(scratch_dir=str(tmp_path / "scratch"), download_timeout_s=60)


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    engine = catalogue.open_engine(f"sqlite:///{tmp_path}/catalogue.db")
    catalogue.migrate(engine)
    return engine


def listed(engine: sa.Engine, url: str, name: str = "trips", month: str = "2023-01", **expected: Any) -> Dataset:
    dataset = Dataset(name, month, url, **expected)
    with engine.begin() as connection:
        values = {field: getattr(dataset, field) for field in dataset.__slots__}
        connection.execute(catalogue.datasets.insert().values(**values))
    return dataset


def stored(s3: Any, key: str = KEY) -> bytes:
    return bytes(s3.get_object(Bucket=LAKE, Key=key)["Body"].read())


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=LAKE).get("Contents", [])]


def left_in(config: HvfhvSettings) -> list[Path]:
    return list(Path(config.scratch_dir or "").glob("*"))


def latest(engine: sa.Engine, name: str = "trips") -> Attempt:
    attempts = {dataset.name: attempt for dataset, attempt in catalogue.latest_attempts(engine)}
    attempt = attempts[name]
    assert attempt
    return attempt


def changed_content() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pq.read_table(SAMPLE).slice(0, 100), stream)
    return stream.getvalue()


# ── What goes well ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_file_comes_into_the_lake(
    scheme: str, web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine, tmp_path: Path
) -> None:
    if scheme == "http":
        url = web.serve("/trip-data/trips.parquet?version=1", CONTENT, ETag='"1"')
    else:
        (tmp_path / "a folder").mkdir()
        file = tmp_path / "a folder/trips.parquet"
        file.write_bytes(CONTENT)
        url = file.as_uri()
    collected = collect(engine, s3, URI, config, listed(engine, url), "run-1")

    assert collected == collection.Collected(ROWS, len(CONTENT), SHA256, downloaded=True)
    assert keys(s3) == [KEY]
    assert stored(s3) == CONTENT
    assert s3.head_object(Bucket=LAKE, Key=KEY)["Metadata"] == {"sha256": SHA256}
    attempt = latest(engine)
    assert (attempt.status, attempt.dag_run_id, attempt.error) == (Status.COMPLETE, "run-1", None)
    assert (attempt.rows, attempt.bytes, attempt.sha256) == (ROWS, len(CONTENT), SHA256)
    assert (attempt.s3_bucket, attempt.s3_key) == (LAKE, KEY)
    assert attempt.finished
    assert attempt.finished >= attempt.started
    assert catalogue.complete_months(engine)["2023-01"][0].uri == f"s3://{LAKE}/{KEY}"
    assert left_in(config) == []


def test_a_lake_may_have_a_prefix_and_a_url_no_ending() -> None:
    location = collection.raw_location("s3://bucket/some/where", Dataset("x", "2019-02", "https://h/get/trips?id=1"))
    assert location == ("bucket", "some/where/raw/hvfhv/year=2019/month=02/trips.parquet")


def test_redirects_are_followed(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    web.serve("/real", CONTENT)
    url = web.serve("/trips.parquet", b"", 302, Location="/real")
    assert collect(engine, s3, URI, config, listed(engine, url)).rows == ROWS


def test_a_big_file_is_uploaded_in_parts(
    web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "UPLOAD", TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
    stream = io.BytesIO()
    table = pq.read_table(SAMPLE)
    pq.write_table(pa.concat_tables([table] * 8), stream, compression="none", use_dictionary=False)
    url = web.serve("/trips.parquet", stream.getvalue())
    assert len(stream.getvalue()) > 10 << 20
    assert collect(engine, s3, URI, config, listed(engine, url)).rows == ROWS * 8
    assert stored(s3) == stream.getvalue()
    head = s3.head_object(Bucket=LAKE, Key=KEY)
    assert "-" in head["ETag"]  # what S3 gives to an object of several parts
    assert head["Metadata"]["sha256"] == latest(engine).sha256


# ── Unchanged, changed ──────────────────────────────────────────────────────────────────────────────────────────────

VALIDATORS = [{"ETag": '"a"'}, {"Last_Modified": "Wed, 01 Mar 2023 10:00:00 GMT"}]


@pytest.mark.parametrize("validator", VALIDATORS, ids=["etag", "last-modified"])
def test_an_unchanged_source_is_not_downloaded_again(
    validator: dict[str, Any], web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine
) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT, **validator))
    first = collect(engine, s3, URI, config, dataset)
    second = collect(engine, s3, URI, config, dataset, "run-2")
    assert [method for method, _ in web.requests] == ["GET", "HEAD"]
    assert second == collection.Collected(first.rows, first.bytes, first.sha256, downloaded=False)
    attempt = latest(engine)
    assert (attempt.id, attempt.status, attempt.dag_run_id) == (2, Status.COMPLETE, "run-2")
    assert (attempt.rows, attempt.bytes, attempt.sha256, attempt.s3_key) == (ROWS, len(CONTENT), SHA256, KEY)
    # … and again, so the second attempt has carried the version on.
    assert not collect(engine, s3, URI, config, dataset).downloaded


@pytest.mark.parametrize(
    "later", [{"ETag": '"b"'}, {"Last_Modified": "Wed, 08 Mar 2023 10:00:00 GMT"}, {}], ids=["tag", "time", "none"]
)
def test_a_changed_source_replaces_the_file(
    later: dict[str, Any], web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine
) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT, ETag='"a"'))
    collect(engine, s3, URI, config, dataset)
    changed = changed_content()
    web.serve("/trips.parquet", changed, **later)
    assert collect(engine, s3, URI, config, dataset).rows == 100
    assert stored(s3) == changed
    assert latest(engine).sha256 == hashlib.sha256(changed).hexdigest()


def test_a_source_that_says_nothing_of_its_version_is_downloaded_but_not_stored_again(
    web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine
) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT))
    collect(engine, s3, URI, config, dataset)
    before = s3.head_object(Bucket=LAKE, Key=KEY)["LastModified"]
    time.sleep(1.1)  # S3 tells times in seconds
    assert collect(engine, s3, URI, config, dataset).downloaded
    assert s3.head_object(Bucket=LAKE, Key=KEY)["LastModified"] == before


def test_a_server_that_refuses_head_is_asked_by_get(
    web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine
) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.command == "HEAD":
            request.send_error(405)
        else:
            request.send_response(200)
            request.send_header("ETag", '"a"')
            request.end_headers()
            request.wfile.write(CONTENT)

    dataset = listed(engine, web.answer("/trips.parquet", answer))
    collect(engine, s3, URI, config, dataset)
    assert collect(engine, s3, URI, config, dataset).downloaded
    assert [method for method, _ in web.requests] == ["GET", "HEAD", "GET"]


def test_a_known_checksum_needs_no_question(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT), expected_sha256=SHA256, expected_bytes=len(CONTENT))
    assert collect(engine, s3, URI, config, dataset).downloaded
    assert not collect(engine, s3, URI, config, dataset).downloaded
    assert len(web.requests) == 1


def test_a_file_is_known_by_its_size_and_time(
    s3: Any, config: HvfhvSettings, engine: sa.Engine, tmp_path: Path
) -> None:
    file = tmp_path / "trips.parquet"
    file.write_bytes(CONTENT)
    dataset = listed(engine, file.as_uri())
    collect(engine, s3, URI, config, dataset)
    assert not collect(engine, s3, URI, config, dataset).downloaded
    file.write_bytes(changed_content())
    assert collect(engine, s3, URI, config, dataset).rows == 100
    file.unlink()
    with pytest.raises(CollectionError, match="cannot be read"):
        collect(engine, s3, URI, config, dataset)


@pytest.mark.parametrize("loss", ["deleted", "overwritten", "another lake"])
def test_what_the_lake_lost_is_collected_again(
    loss: str, web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine
) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT, ETag='"a"'))
    collect(engine, s3, URI, config, dataset)
    lake = LAKE
    if loss == "deleted":
        s3.delete_object(Bucket=LAKE, Key=KEY)
    elif loss == "overwritten":
        s3.put_object(Bucket=LAKE, Key=KEY, Body=b"PAR1")
    else:
        lake = "new-lake"
        s3.create_bucket(Bucket=lake)
    assert collect(engine, s3, f"s3://{lake}", config, dataset).downloaded
    assert s3.get_object(Bucket=lake, Key=KEY)["Body"].read() == CONTENT
    assert latest(engine).s3_bucket == lake


# ── Bad input ───────────────────────────────────────────────────────────────────────────────────────────────────────


def assert_fails(
    engine: sa.Engine, s3: Any, config: HvfhvSettings, dataset: Dataset, kind: type[CollectionError], *parts: str
) -> None:
    """A data set is not collected: the sentence is in the error and in the log, and nothing is left behind."""
    with pytest.raises(CollectionError) as caught:
        collect(engine, s3, URI, config, dataset)
    sentence = str(caught.value)
    assert caught.type is kind
    assert sentence.startswith(f"{dataset.name}: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for part in parts:
        assert part in sentence
    attempt = latest(engine, dataset.name)
    assert (attempt.status, attempt.error) == (Status.FAILED, sentence)
    assert attempt.finished
    assert (attempt.rows, attempt.s3_key) == (None, None)
    assert catalogue.running_attempts(engine) == []
    assert left_in(config) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, CollectionError),
        (403, CollectionError),
        (410, CollectionError),
        (206, CollectionError),
        (500, TransientError),
        (503, TransientError),
        (429, TransientError),
    ],
)
def test_an_error_of_the_server(
    status: int, kind: type[CollectionError], web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine
) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", b"<html>", status))
    assert_fails(engine, s3, config, dataset, kind, f"{web.url}/trips.parquet returned {status} ")
    assert keys(s3) == []


def test_endless_redirects(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", b"", 302, Location="/trips.parquet"))
    assert_fails(engine, s3, config, dataset, CollectionError, "redirects more than 10 times")
    assert len(web.requests) == 11


def test_a_redirect_to_a_file_of_this_machine(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", b"", 302, Location=SAMPLE.as_uri()))
    assert_fails(engine, s3, config, dataset, CollectionError, "is not usable (")


@pytest.mark.parametrize("sent", [None, 0, 1000], ids=["no answer", "no body", "half a body"])
def test_a_server_that_hangs(sent: int | None, web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if sent is not None:
            request.send_response(200)
            request.send_header("Content-Length", str(len(CONTENT)))
            request.end_headers()
            request.wfile.write(CONTENT[:sent])
            request.wfile.flush()
        web.closing.wait(60)

    dataset = listed(engine, web.answer("/trips.parquet", answer))
    config = config.model_copy(update={"download_timeout_s": 1})
    started = time.monotonic()
    assert_fails(engine, s3, config, dataset, TransientError, "sent no data for 1 s; try again later")
    assert time.monotonic() - started < 55, "before the server ends its silence"


def test_a_connection_that_breaks_off(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[:100_000])

    dataset = listed(engine, web.answer("/trips.parquet", answer))
    assert_fails(engine, s3, config, dataset, TransientError, "closed the connection")
    assert keys(s3) == []


def test_nobody_listens(s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    dataset = listed(engine, f"http://127.0.0.1:{port}/trips.parquet")
    assert_fails(engine, s3, config, dataset, TransientError, "is unreachable", "Connection refused")


def test_a_host_that_does_not_exist(s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    dataset = listed(engine, "https://taxis.invalid/trips.parquet")
    assert_fails(engine, s3, config, dataset, TransientError, "https://taxis.invalid/trips.parquet is unreachable")


SECRET = "s3cret"
SIGNED = f"/trips.parquet?X-Amz-Credential=a%2Fb&X-Amz-Signature={SECRET}&sig={SECRET}'{SECRET}"
ADDRESSES_WITH_SECRETS = [
    f"ftp://me:{SECRET}@example.org/x?sig={SECRET}",
    f"http://me:{SECRET}@127.0.0.1:1/x?sig={SECRET}",
    f"http://[::1/{SECRET}?sig={SECRET}",
    f"http://.example.org/x?sig={SECRET}",
    f"//{'a' * 70}.example/x?sig={SECRET}",
    f"http://127.0.0.1:port/x?sig={SECRET}",
]


def assert_nothing_is_told(
    engine: sa.Engine, s3: Any, config: HvfhvSettings, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    """Assert that a collection fails, and neither its error, its log nor the ingestion log has the secret."""
    with caplog.at_level("DEBUG"), pytest.raises(CollectionError) as caught:
        collect(engine, s3, URI, config, dataset)
    with engine.connect() as connection:
        logged = str(connection.execute(catalogue.ingestion_log.select()).all())
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + logged
    assert str(caught.value) in logged
    assert SECRET not in told


def test_a_signed_url_is_used_and_never_shown(
    web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = listed(engine, web.serve(SIGNED, CONTENT, ETag='"1"'))
    with caplog.at_level("DEBUG"):
        assert collect(engine, s3, URI, config, dataset).downloaded
        assert not collect(engine, s3, URI, config, dataset).downloaded
    assert f"{web.url}/trips.parquet is unchanged" in caplog.text
    assert SECRET not in caplog.text
    assert latest(engine).url == f"{web.url}/trips.parquet"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_a_refused_signature_is_not_shown(
    status: int, web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = listed(engine, web.serve(SIGNED, b"", status))
    assert_nothing_is_told(engine, s3, config, dataset, caplog)
    assert ("its signature may have expired" in str(latest(engine).error)) == (status in (401, 403))


@pytest.mark.parametrize("content", [b"", b"<html>", CONTENT[:5000], CONTENT])
def test_a_signature_is_not_shown_of_a_wrong_file(
    content: bytes, web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = listed(engine, web.serve(SIGNED, content), expected_sha256=None if content != CONTENT else "0" * 64)
    assert_nothing_is_told(engine, s3, config, dataset, caplog)


@pytest.mark.parametrize("address", [SIGNED, *ADDRESSES_WITH_SECRETS])
def test_a_secret_of_a_redirect_is_not_shown(
    address: str, web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", b"", 302, Location=address))
    web.serve(SIGNED, b"", 302, Location=SIGNED)  # for ever
    assert_nothing_is_told(engine, s3, config, dataset, caplog)


def test_a_signature_is_not_shown_of_a_host_that_is_gone(
    s3: Any, config: HvfhvSettings, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    assert_nothing_is_told(engine, s3, config, listed(engine, f"https://taxis.invalid{SIGNED}"), caplog)


def yellow() -> bytes:
    stream = io.BytesIO()
    names = ["VendorID", "tpep_pickup_datetime", "tpep_dropoff_datetime", "passenger_count", "trip_distance"]
    pq.write_table(pa.table({name: [1] for name in names}), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"<!DOCTYPE html><html><body>Sorry!</body></html>", ["an HTML or XML page, not a Parquet file", "DOCTYPE"]),
        (CONTENT[:300_000], ["a truncated Parquet file: its end is missing after 300,000 bytes"]),
        (yellow(), ["lacks columns of HVFHV trips (hvfhs_license_num, ", "it has VendorID, tpep_pickup_datetime"]),
        (b"", ["it is empty"]),
    ],
    ids=["html", "truncated", "yellow", "empty"],
)
def test_a_file_that_is_none(
    content: bytes, parts: list[str], web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine
) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", content))
    assert_fails(engine, s3, config, dataset, CollectionError, "/trips.parquet cannot be used: ", *parts)
    assert keys(s3) == []


def test_a_wrong_file_leaves_the_one_that_is_there(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT))
    collect(engine, s3, URI, config, dataset)
    web.serve("/trips.parquet", CONTENT[:-1])
    assert_fails(engine, s3, config, dataset, CollectionError, "truncated")
    assert stored(s3) == CONTENT


def test_rows_of_another_month(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT), month="2023-02")
    assert_fails(engine, s3, config, dataset, CollectionError, "none of its 14,977 trips is of 2023-02")


def test_another_size_or_checksum_than_expected(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    url = web.serve("/trips.parquet", CONTENT)
    sentence = f"has {len(CONTENT):,} bytes, but the catalogue expects 5;"
    assert_fails(engine, s3, config, listed(engine, url, expected_bytes=5), CollectionError, sentence)

    def without_length(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(CONTENT)

    other = web.answer("/2/trips.parquet", without_length)
    assert_fails(engine, s3, config, listed(engine, other, "n", expected_bytes=5), CollectionError, sentence)
    third = listed(engine, f"{url}?3", "m", expected_sha256="0" * 64)
    web.serve("/trips.parquet?3", CONTENT)
    assert_fails(engine, s3, config, third, CollectionError, f"has the SHA-256 {SHA256}, but the catalogue expects 000")


def test_a_duplicated_file(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    first = listed(engine, web.serve("/trips.parquet", CONTENT))
    second = listed(engine, web.serve("/more.parquet", CONTENT), "more")
    collect(engine, s3, URI, config, first)
    assert_fails(engine, s3, config, second, CollectionError, "is identical to the file of the data set 'trips'")
    assert keys(s3) == [KEY]
    assert collect(engine, s3, URI, config, first).rows == ROWS


def test_a_duplicated_file_that_arrives_at_the_same_time(
    web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine
) -> None:
    both = threading.Barrier(2)

    def answer(request: BaseHTTPRequestHandler) -> None:
        both.wait(60)
        request.send_response(200)
        request.end_headers()
        request.wfile.write(CONTENT)

    datasets = [listed(engine, web.answer(f"/{name}.parquet", answer), name) for name in "ab"]

    def outcome(dataset: Dataset) -> str:
        try:
            return f"{collect(engine, s3, URI, config, dataset).rows} rows"
        except CollectionError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        outcomes = sorted(pool.map(outcome, datasets))
    assert outcomes[0] == f"{ROWS} rows"
    assert "is identical to the file of the data set" in outcomes[1]
    assert len(keys(s3)) == 1


@pytest.mark.parametrize(("path", "reason"), [("none.parquet", "No such file"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read(
    path: str, reason: str, s3: Any, config: HvfhvSettings, engine: sa.Engine, tmp_path: Path
) -> None:
    dataset = listed(engine, (tmp_path / path).as_uri())
    assert_fails(engine, s3, config, dataset, CollectionError, f"{tmp_path}", f"cannot be read ({reason}")


# ── Disk and S3 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk(
    web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full").open("w+b")  # noqa: SIM115 - closed by the collection
    monkeypatch.setattr(collection, "TemporaryFile", lambda **_: full)
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT))
    parts = [
        f"The folder {config.scratch_dir} ",
        "No space left on device",
        "free space there or set TAXIWAY_HVFHV_SCRATCH_DIR",
    ]
    assert_fails(engine, s3, config, dataset, CollectionError, *parts)
    assert keys(s3) == []


def test_no_scratch_folder(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    config = config.model_copy(update={"scratch_dir": "/nowhere"})
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT))
    assert_fails(
        engine, s3, config, dataset, CollectionError, "The folder /nowhere for temporary files", "No such file"
    )


def test_a_bucket_that_does_not_exist(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT))
    with pytest.raises(CollectionError, match=r"The bucket 'no-such-lake' does not exist; .* TAXIWAY_LAKE"):
        collect(engine, s3, "s3://no-such-lake", config, dataset)
    assert web.requests == []


def test_a_bucket_that_may_not_be_written(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT))
    collect(engine, s3, URI, config, dataset)
    statement = (
        '{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::taxiway-lake/*"}'
    )
    s3.put_bucket_policy(Bucket=LAKE, Policy=f'{{"Version": "2012-10-17", "Statement": [{statement}]}}')
    web.serve("/trips.parquet", changed_content())
    assert_fails(engine, s3, config, dataset, CollectionError, "The bucket 'taxiway-lake' cannot be used with these")
    assert stored(s3) == CONTENT


@pytest.mark.slow
def test_s3_is_down(web: Web, config: HvfhvSettings, engine: sa.Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    s3 = boto3.client("s3", endpoint_url=endpoint, config=Config(retries={"max_attempts": 1}))
    dataset = listed(engine, web.serve("/trips.parquet", CONTENT))
    assert_fails(engine, s3, config, dataset, TransientError, f"S3 at {endpoint} cannot be reached; try again later")
    assert web.requests == []


# ── Ends from outside ───────────────────────────────────────────────────────────────────────────────────────────────


def trickle(web: Web, started: threading.Event) -> str:
    """A file that never ends; return its URL."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(CONTENT)
        started.set()
        while not web.closing.wait(0.05):
            request.wfile.write(b"x" * 100_000)

    return web.answer("/trips.parquet", answer)


def test_a_task_that_is_ended_says_so_in_the_log(web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine) -> None:
    class EndedError(BaseException):
        pass

    def end(*_: object) -> None:
        raise EndedError("by the test")

    started = threading.Event()
    dataset = listed(engine, trickle(web, started))
    task = threading.get_ident()

    def end_when_it_downloads() -> None:
        if started.wait(60):
            signal.pthread_kill(task, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, end)
    ending = threading.Thread(target=end_when_it_downloads)
    ending.start()
    try:
        with pytest.raises(EndedError):
            collect(engine, s3, URI, config, dataset)
    finally:
        ending.join()
        signal.signal(signal.SIGALRM, before)
    assert latest(engine).error == "trips: it ended with EndedError: by the test"
    assert keys(s3) == []


def test_a_killed_task_leaves_nothing_and_the_next_attempt_abandons_it(
    web: Web, s3: Any, config: HvfhvSettings, engine: sa.Engine, tmp_path: Path
) -> None:
    started = threading.Event()
    dataset = listed(engine, trickle(web, started))
    program = """
import sys, boto3
from taxiway import catalogue
from taxiway.hvfhv import collection
from taxiway.hvfhv.settings import HvfhvSettings
engine = catalogue.open_engine(sys.argv[1])
config = HvfhvSettings(scratch_dir=sys.argv[3])
collection.collect(engine, boto3.client("s3"), sys.argv[2], config, catalogue.find_dataset(engine, "trips"))
"""
    arguments = [str(engine.url), URI, config.scratch_dir or ""]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT / "dags")
    assert started.wait(60)
    time.sleep(0.5)
    (running,) = catalogue.running_attempts(engine)
    process.kill()
    process.wait()
    assert left_in(config) == []
    assert [attempt.id for attempt in catalogue.running_attempts(engine)] == [running.id]

    web.serve("/trips.parquet", CONTENT)
    assert collect(engine, s3, URI, config, dataset).rows == ROWS
    assert catalogue.running_attempts(engine) == []
    log = catalogue.ingestion_log.c
    with engine.connect() as connection:
        statuses = connection.scalars(sa.select(log.status).order_by(log.id)).all()
    assert statuses == ["abandoned", "complete"]
