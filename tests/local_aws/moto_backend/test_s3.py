import base64
import gzip
import hashlib
import io
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3.s3.transfer
import psutil
import pytest
from botocore.config import Config

from tests.local_aws.endpoint import Endpoint, error_of
from tests.tools import absent
from tests.waiting import eventually

MIB = 1024**2


@pytest.fixture(scope="module")
def s3(endpoint: Endpoint) -> Any:
    client = endpoint.client("s3")
    client.create_bucket(Bucket="lake")
    return client


def blobs(endpoint: Endpoint) -> list[Path]:
    return [path for path in (endpoint.data / "s3").rglob("*") if path.is_file()]


def kept(endpoint: Endpoint, contents: list[bytes]) -> int:
    """Number of files on disk that hold one of `contents`: other tests store objects in the same endpoint."""
    sizes = {len(content) for content in contents}
    return sum(path.read_bytes() in contents for path in blobs(endpoint) if path.stat().st_size in sizes)


def test_an_object_is_returned_with_its_metadata(s3: Any) -> None:
    body = os.urandom(3 * MIB)
    put = s3.put_object(
        Bucket="lake", Key="a/ü ä+b.bin", Body=body, ContentType="application/x-a", Metadata={"origin": "test"}
    )
    got = s3.get_object(Bucket="lake", Key="a/ü ä+b.bin")
    assert got["Body"].read() == body
    assert got["ContentType"] == "application/x-a"
    assert got["Metadata"] == {"origin": "test"}
    assert got["ETag"] == put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert s3.head_object(Bucket="lake", Key="a/ü ä+b.bin")["ContentLength"] == len(body)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="lake", Prefix="a/")["Contents"]] == ["a/ü ä+b.bin"]


@pytest.mark.parametrize("size", [100, 3 * MIB])
@pytest.mark.parametrize(
    ("wanted", "span"),
    [("bytes=0-9", (0, 10)), ("bytes=90-", (90, None)), ("bytes=-7", (-7, None)), ("bytes=50-99999999", (50, None))],
)
def test_ranges(s3: Any, size: int, wanted: str, span: tuple[int, int | None]) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    s3.put_object(Bucket="lake", Key="ranges", Body=body)
    got = s3.get_object(Bucket="lake", Key="ranges", Range=wanted)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    data = got["Body"].read()
    assert data == body[slice(*span)]
    assert got["ContentRange"].endswith(f"/{size}")
    assert got["ContentLength"] == len(data)


def test_a_range_outside_the_object_is_refused(s3: Any) -> None:
    s3.put_object(Bucket="lake", Key="short", Body=b"abc")
    assert error_of(s3.get_object, Bucket="lake", Key="short", Range="bytes=3-9")["Error"]["Code"] == "InvalidRange"


def test_conditions(s3: Any) -> None:
    etag = s3.put_object(Bucket="lake", Key="condition", Body=b"x" * 2 * MIB)["ETag"]
    get = {"Bucket": "lake", "Key": "condition"}
    assert s3.get_object(**get, IfMatch=etag)["Body"].read() == b"x" * 2 * MIB
    assert error_of(s3.get_object, **get, IfMatch='"other"')["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert error_of(s3.get_object, **get, IfNoneMatch=etag)["ResponseMetadata"]["HTTPStatusCode"] == 304
    assert s3.get_object(**get, IfNoneMatch='"other"')["Body"].read() == b"x" * 2 * MIB
    refused = error_of(s3.put_object, Bucket="lake", Key="condition", Body=b"y", IfNoneMatch="*")
    assert refused["Error"]["Code"] == "PreconditionFailed"
    assert s3.get_object(**get)["ContentLength"] == 2 * MIB


def test_what_does_not_exist(s3: Any) -> None:
    assert error_of(s3.get_object, Bucket="lake", Key="none")["Error"]["Code"] == "NoSuchKey"
    assert error_of(s3.get_object, Bucket="nowhere", Key="none")["Error"]["Code"] == "NoSuchBucket"
    assert error_of(s3.put_object, Bucket="nowhere", Key="k", Body=b"x")["Error"]["Code"] == "NoSuchBucket"
    answer = error_of(s3.upload_part, Bucket="lake", Key="k", UploadId="none", PartNumber=1, Body=b"x")
    assert answer["Error"]["Code"] == "NoSuchUpload"


def test_a_body_with_a_wrong_checksum_is_refused(s3: Any) -> None:
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert (
        error_of(s3.put_object, Bucket="lake", Key="bad", Body=b"x", ContentMD5=wrong)["Error"]["Code"] == "BadDigest"
    )
    wrong = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    answer = error_of(s3.put_object, Bucket="lake", Key="bad", Body=b"x", ChecksumCRC32=wrong)
    assert answer["Error"]["Code"] == "BadDigest"
    assert error_of(s3.get_object, Bucket="lake", Key="bad")["Error"]["Code"] == "NoSuchKey"


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_kept(s3: Any, algorithm: str) -> None:
    s3.put_object(Bucket="lake", Key="sum", Body=io.BytesIO(b"content" * 100), ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket="lake", Key="sum", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"content" * 100  # botocore compares it with the checksum
    assert got[f"Checksum{algorithm}"]


def test_parts_are_joined(s3: Any, endpoint: Endpoint) -> None:
    parts = [os.urandom(6 * MIB), os.urandom(5 * MIB), b"end"]
    upload = s3.create_multipart_upload(Bucket="lake", Key="joined", Metadata={"kind": "parts"})["UploadId"]
    etags = [
        s3.upload_part(Bucket="lake", Key="joined", UploadId=upload, PartNumber=number, Body=part)["ETag"]
        for number, part in enumerate(parts, 1)
    ]
    s3.complete_multipart_upload(
        Bucket="lake",
        Key="joined",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]},
    )
    got = s3.get_object(Bucket="lake", Key="joined")
    assert got["Body"].read() == b"".join(parts)
    assert got["Metadata"] == {"kind": "parts"}
    md5 = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert got["ETag"] == f'"{md5}-3"'
    assert kept(endpoint, [b"".join(parts)]) == 1
    s3.delete_object(Bucket="lake", Key="joined")
    assert kept(endpoint, [b"".join(parts), parts[0], parts[1]]) == 0


def test_parts_that_are_too_small_or_unknown_are_refused(s3: Any, endpoint: Endpoint) -> None:
    upload = s3.create_multipart_upload(Bucket="lake", Key="refused")["UploadId"]
    etags = [
        s3.upload_part(Bucket="lake", Key="refused", UploadId=upload, PartNumber=n, Body=b"tiny")["ETag"]
        for n in (1, 2)
    ]
    end = {"Bucket": "lake", "Key": "refused", "UploadId": upload}
    both = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    assert error_of(s3.complete_multipart_upload, **end, MultipartUpload={"Parts": both})["Error"]["Code"] == (
        "EntityTooSmall"
    )
    assert kept(endpoint, [b"tiny"]) == 2
    other = [{"PartNumber": 7, "ETag": etags[0]}]
    assert error_of(s3.complete_multipart_upload, **end, MultipartUpload={"Parts": other})["Error"]["Code"] == (
        "InvalidPart"
    )
    s3.abort_multipart_upload(Bucket="lake", Key="refused", UploadId=upload)
    assert kept(endpoint, [b"tiny"]) == 0


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_copies(s3: Any, size: int) -> None:
    body = os.urandom(size)
    s3.put_object(Bucket="lake", Key="from", Body=body, Metadata={"m": "1"})
    s3.copy_object(Bucket="lake", Key="to", CopySource="lake/from")
    s3.delete_object(Bucket="lake", Key="from")
    got = s3.get_object(Bucket="lake", Key="to")
    assert got["Body"].read() == body
    assert got["Metadata"] == {"m": "1"}
    upload = s3.create_multipart_upload(Bucket="lake", Key="part")["UploadId"]
    etag = s3.upload_part_copy(
        Bucket="lake", Key="part", UploadId=upload, PartNumber=1, CopySource="lake/to", CopySourceRange="bytes=2-6"
    )["CopyPartResult"]["ETag"]
    s3.complete_multipart_upload(
        Bucket="lake", Key="part", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}
    )
    assert s3.get_object(Bucket="lake", Key="part")["Body"].read() == body[2:7]


def test_versions(s3: Any) -> None:
    s3.create_bucket(Bucket="versions")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="versions", Key="k", Body=b"1" * 2 * MIB)["VersionId"]
    s3.put_object(Bucket="versions", Key="k", Body=b"2")
    s3.delete_object(Bucket="versions", Key="k")
    assert error_of(s3.get_object, Bucket="versions", Key="k")["Error"]["Code"] == "NoSuchKey"
    assert s3.get_object(Bucket="versions", Key="k", VersionId=first)["Body"].read() == b"1" * 2 * MIB
    listed = s3.list_object_versions(Bucket="versions")
    assert (len(listed["Versions"]), len(listed["DeleteMarkers"])) == (2, 1)


def test_presigned_urls(s3: Any) -> None:
    import urllib.request

    put = s3.generate_presigned_url("put_object", Params={"Bucket": "lake", "Key": "signed"})
    urllib.request.urlopen(urllib.request.Request(put, data=b"by hand", method="PUT"))
    get = s3.generate_presigned_url("get_object", Params={"Bucket": "lake", "Key": "signed"})
    assert urllib.request.urlopen(get).read() == b"by hand"


def test_many_writers_at_once(s3: Any) -> None:
    def write(number: int) -> None:
        for turn in range(10):
            s3.put_object(Bucket="lake", Key=f"many/{number}-{turn}", Body=f"{number}-{turn}".encode())
            s3.put_object(Bucket="lake", Key="many/same", Body=b"x" * number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = s3.list_objects_v2(Bucket="lake", Prefix="many/")["Contents"]
    assert len(listed) == 81
    for entry in listed:
        assert len(s3.get_object(Bucket="lake", Key=entry["Key"])["Body"].read()) == entry["Size"]


def test_a_kill_during_writes_loses_nothing_that_was_answered(new_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = new_endpoint().start()
    s3 = endpoint.client("s3")
    s3.create_bucket(Bucket="lake")
    answered: dict[str, bytes] = {}

    def write() -> None:
        client = endpoint.client("s3")
        for number in range(10000):
            key, body = f"k{number % 50}", os.urandom(2000)
            try:
                client.put_object(Bucket="lake", Key=key, Body=body)
            except Exception:
                return
            answered[key] = body

    thread = threading.Thread(target=write)
    thread.start()
    while len(answered) < 50:
        thread.join(0.01)
    endpoint.kill()
    thread.join()
    s3 = endpoint.start().client("s3")
    got = {key: s3.get_object(Bucket="lake", Key=key)["Body"].read() for key in answered}
    # The last write may have been carried out and not answered.
    assert sum(got[key] != body for key, body in answered.items()) <= 1
    assert len(blobs(endpoint)) == 50


def test_large_objects_need_no_memory(new_endpoint: Callable[..., Endpoint], tmp_path: Path) -> None:
    endpoint = new_endpoint().start()
    s3 = endpoint.client("s3")
    s3.create_bucket(Bucket="lake")
    s3.put_object(Bucket="lake", Key="warm", Body=b"x")
    process = psutil.Process(endpoint.process.pid)
    before = process.memory_full_info().uss
    size = 200 * MIB
    file = tmp_path / "large"
    with file.open("wb") as out:
        out.truncate(size)
    with file.open("rb") as body:
        s3.put_object(Bucket="lake", Key="whole", Body=body)
    s3.upload_file(str(file), "lake", "parts")
    s3.copy_object(Bucket="lake", Key="copy", CopySource="lake/whole")
    for key in ("whole", "parts", "copy"):
        s3.download_file("lake", key, str(tmp_path / "back"))
        assert (tmp_path / "back").stat().st_size == size
    condition = s3.get_object(Bucket="lake", Key="whole", IfNoneMatch='"other"')["Body"]
    assert sum(len(piece) for piece in condition.iter_chunks(MIB)) == size
    # What remains is buffers of connections: ten at once, whatever the size of the objects. A file that was mapped for
    # the last response counts until that is closed.
    eventually(lambda: process.memory_full_info().uss - before < 150 * MIB)


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="system: mounts a disk, as root on Linux")
def test_a_full_disk_is_reported_and_harms_nothing(new_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = new_endpoint()
    endpoint.data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", endpoint.data], check=False)
    if mounted.returncode:
        absent("system", "this machine does not let root mount a small disk")
    try:
        s3 = endpoint.start().client("s3")
        s3.create_bucket(Bucket="lake")
        kept = os.urandom(4 * MIB)
        s3.put_object(Bucket="lake", Key="kept", Body=kept)
        for key in ("kept", "new"):
            answer = error_of(s3.put_object, Bucket="lake", Key=key, Body=os.urandom(20 * MIB))
            assert answer["Error"]["Code"] == "InternalError"
            assert str(endpoint.data) in answer["Error"]["Message"]
        assert s3.get_object(Bucket="lake", Key="kept")["Body"].read() == kept
        assert error_of(s3.get_object, Bucket="lake", Key="new")["Error"]["Code"] == "NoSuchKey"
        s3.put_object(Bucket="lake", Key="small", Body=b"fits")
        endpoint.kill()
        s3 = endpoint.start().client("s3")
        assert s3.get_object(Bucket="lake", Key="kept")["Body"].read() == kept
        endpoint.stop()
    finally:
        endpoint.close()
        subprocess.run(["umount", "--lazy", endpoint.data], check=True)


def test_moto_keeps_its_other_features(s3: Any, endpoint: Endpoint) -> None:
    sqs = endpoint.client("sqs")
    queue = sqs.create_queue(QueueName="events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.create_bucket(Bucket="notified")
    s3.put_bucket_notification_configuration(
        Bucket="notified",
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    s3.put_object(Bucket="notified", Key="new", Body=gzip.compress(b"x" * 10))
    bodies = [message["Body"] for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]]
    assert any('"key": "new"' in body or '"key":"new"' in body for body in bodies)


def test_signed_payload_in_chunks(endpoint: Endpoint, s3: Any) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(request_checksum_calculation="when_required", s3={"payload_signing_enabled": True}),
    )
    client.put_object(Bucket="lake", Key="chunks", Body=b"y" * 100_000)
    assert s3.get_object(Bucket="lake", Key="chunks")["Body"].read() == b"y" * 100_000
