"""What S3 checks before it carries out a request."""

import base64
import json
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.local_aws.endpoint import Endpoint, error_of
from tests.waiting import eventually

MIB = 1024**2
BEFORE, AFTER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
OTHER = '"00000000000000000000000000000000"'


@pytest.fixture(scope="module")
def s3(endpoint: Endpoint) -> Any:
    client = endpoint.client("s3")
    client.create_bucket(Bucket="checks")
    return client


def put(s3: Any, key: str, body: bytes) -> str:
    return str(s3.put_object(Bucket="checks", Key=key, Body=body)["ETag"])


def content(s3: Any, key: str) -> bytes:
    return bytes(s3.get_object(Bucket="checks", Key=key)["Body"].read())


def status(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


SOURCE = ("Match", "NoneMatch", "ModifiedSince", "UnmodifiedSince")


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({"Match": "etag"}, True),
        ({"Match": OTHER}, False),
        ({"NoneMatch": "etag"}, False),
        ({"NoneMatch": OTHER}, True),
        ({"ModifiedSince": BEFORE}, True),
        ({"ModifiedSince": AFTER}, False),
        ({"UnmodifiedSince": BEFORE}, False),
        ({"UnmodifiedSince": AFTER}, True),
        # As AWS documents the pairs: the condition on the ETag counts.
        ({"Match": "etag", "UnmodifiedSince": BEFORE}, True),
        ({"NoneMatch": "etag", "ModifiedSince": BEFORE}, False),
    ],
)
def test_conditions_of_the_source_of_a_copy(s3: Any, conditions: dict[str, Any], holds: bool) -> None:
    etag = put(s3, "source", b"new")
    put(s3, "target", b"old")
    given = {f"CopySourceIf{name}": etag if value == "etag" else value for name, value in conditions.items()}
    upload = s3.create_multipart_upload(Bucket="checks", Key="parts")["UploadId"]
    part = {"Bucket": "checks", "Key": "parts", "UploadId": upload, "PartNumber": 1, "CopySource": "checks/source"}
    copy = {"Bucket": "checks", "Key": "target", "CopySource": "checks/source"}
    if holds:
        s3.copy_object(**copy, **given)
        s3.upload_part_copy(**part, **given)
    else:
        for operation, arguments in ((s3.copy_object, copy), (s3.upload_part_copy, part)):
            answer = error_of(operation, **arguments, **given)
            assert answer["Error"]["Code"] == "PreconditionFailed"
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert content(s3, "target") == (b"new" if holds else b"old")
    s3.abort_multipart_upload(Bucket="checks", Key="parts", UploadId=upload)


def test_conditions_of_a_version_as_the_source(s3: Any) -> None:
    s3.create_bucket(Bucket="checks-versions")
    s3.put_bucket_versioning(Bucket="checks-versions", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="checks-versions", Key="k", Body=b"1")
    second = s3.put_object(Bucket="checks-versions", Key="k", Body=b"2")
    source = {"Bucket": "checks-versions", "Key": "k", "VersionId": first["VersionId"]}
    target = {"Bucket": "checks", "Key": "of-version"}
    s3.copy_object(**target, CopySource=source, CopySourceIfMatch=first["ETag"])
    assert content(s3, "of-version") == b"1"
    answer = error_of(s3.copy_object, **target, CopySource=source, CopySourceIfMatch=second["ETag"])
    assert answer["Error"]["Code"] == "PreconditionFailed"


def test_conditions_of_what_is_written(s3: Any) -> None:
    put(s3, "source", b"new")
    etag = put(s3, "target", b"old")

    def complete(**condition: str) -> None:
        upload = s3.create_multipart_upload(Bucket="checks", Key="target")["UploadId"]
        where = {"Bucket": "checks", "Key": "target", "UploadId": upload}
        part = s3.upload_part(**where, PartNumber=1, Body=b"new")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
        s3.complete_multipart_upload(**where, MultipartUpload=parts, **condition)

    def copy(**condition: str) -> None:
        s3.copy_object(Bucket="checks", Key="target", CopySource="checks/source", **condition)

    def write(**condition: str) -> None:
        s3.put_object(Bucket="checks", Key="target", Body=b"new", **condition)

    for operation in (copy, write, complete):
        etag = put(s3, "target", b"old")
        assert error_of(operation, IfNoneMatch="*")["Error"]["Code"] == "PreconditionFailed"
        assert error_of(operation, IfMatch=OTHER)["Error"]["Code"] == "PreconditionFailed"
        assert error_of(operation, IfNoneMatch=OTHER)["Error"]["Code"] == "NotImplemented"
        assert content(s3, "target") == b"old"
        operation(IfMatch=etag)
        assert content(s3, "target") == b"new"
        s3.delete_object(Bucket="checks", Key="target")
        assert error_of(operation, IfMatch=etag)["Error"]["Code"] == "NoSuchKey"
        operation(IfNoneMatch="*")
        assert content(s3, "target") == b"new"


@pytest.mark.parametrize("how", ["put", "copy"])
def test_of_many_conditional_writers_one_wins(endpoint: Endpoint, s3: Any, how: str) -> None:
    for turn in range(5):
        key = f"race-{how}-{turn}"
        results: dict[int, str] = {}

        def write(number: int, key: str = key, results: dict[int, str] = results) -> None:
            client = endpoint.client("s3")
            try:
                if how == "put":
                    client.put_object(Bucket="checks", Key=key, Body=str(number).encode(), IfNoneMatch="*")
                else:
                    source = f"checks/race-source-{number}"
                    client.copy_object(Bucket="checks", Key=key, CopySource=source, IfNoneMatch="*")
            except client.exceptions.ClientError as error:
                results[number] = error.response["Error"]["Code"]
            else:
                results[number] = "won"

        for number in range(6):
            put(s3, f"race-source-{number}", str(number).encode())
        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results.values()) == ["PreconditionFailed"] * 5 + ["won"]
        (winner,) = (number for number, result in results.items() if result == "won")
        assert content(s3, key) == str(winner).encode()


def upload_parts(s3: Any, key: str, parts: dict[int, bytes], **options: str) -> None:
    upload = s3.create_multipart_upload(Bucket="checks", Key=key, **options)["UploadId"]
    where = {"Bucket": "checks", "Key": key, "UploadId": upload}
    etags = {number: s3.upload_part(**where, PartNumber=number, Body=part)["ETag"] for number, part in parts.items()}
    listed = [{"PartNumber": number, "ETag": etag} for number, etag in etags.items()]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": listed})


def test_parts_are_read_by_their_number(s3: Any) -> None:
    parts = {1: b"1" * 5 * MIB, 2: b"2" * 6 * MIB, 3: b"end"}
    upload_parts(s3, "numbered", parts)
    where = {"Bucket": "checks", "Key": "numbered"}
    start = 0
    for number, part in parts.items():
        got, head = s3.get_object(**where, PartNumber=number), s3.head_object(**where, PartNumber=number)
        assert got["Body"].read() == part
        for answer in (got, head):
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
            assert answer["PartsCount"] == 3
            assert answer["ContentLength"] == len(part)
            assert answer["ContentRange"] == f"bytes {start}-{start + len(part) - 1}/{11 * MIB + 3}"
        start += len(part)
    assert "PartsCount" not in s3.head_object(**where)
    assert error_of(s3.get_object, **where, PartNumber=4)["Error"]["Code"] == "InvalidPartNumber"
    assert error_of(s3.head_object, **where, PartNumber=4)["ResponseMetadata"]["HTTPStatusCode"] == 416
    answer = error_of(s3.get_object, **where, PartNumber=1, Range="bytes=0-1")
    assert answer["Error"]["Code"] == "InvalidRequest"
    url = s3.generate_presigned_url("get_object", Params={**where, "PartNumber": 3})
    assert status(url) == (206, b"end")


def test_the_parts_of_an_object_are_listed(s3: Any) -> None:
    parts = {1: b"1" * 5 * MIB, 2: b"2" * 6 * MIB, 5: b"end"}
    upload_parts(s3, "listed", parts, ChecksumAlgorithm="CRC32")
    request = {"Bucket": "checks", "Key": "listed", "ObjectAttributes": ["ObjectParts", "Checksum"], "MaxParts": 2}
    found = s3.get_object_attributes(**request)["ObjectParts"]
    assert [(part["PartNumber"], part["Size"]) for part in found["Parts"]] == [(1, 5 * MIB), (2, 6 * MIB)]
    assert (found["TotalPartsCount"], found["IsTruncated"], found["NextPartNumberMarker"]) == (3, True, 2)
    found = s3.get_object_attributes(**request, PartNumberMarker=2)["ObjectParts"]
    end = base64.b64encode(zlib.crc32(b"end").to_bytes(4, "big")).decode()
    assert found["Parts"] == [{"PartNumber": 5, "Size": 3, "ChecksumCRC32": end}]
    assert found["IsTruncated"] is False
    upload_parts(s3, "unchecked", parts)  # S3 then tells only how many
    assert s3.get_object_attributes(**request | {"Key": "unchecked"})["ObjectParts"] == {"TotalPartsCount": 3}
    put(s3, "unparted", b"abc")
    found = s3.get_object_attributes(**request | {"Key": "unparted"})
    assert "ObjectParts" not in found


def test_an_object_that_was_put_has_one_part(s3: Any) -> None:
    put(s3, "whole", b"abc")
    got = s3.get_object(Bucket="checks", Key="whole", PartNumber=1)
    assert (got["Body"].read(), got["ContentRange"], "PartsCount" in got) == (b"abc", "bytes 0-2/3", False)
    answer = error_of(s3.get_object, Bucket="checks", Key="whole", PartNumber=2)
    assert answer["Error"]["Code"] == "InvalidPartNumber"
    put(s3, "empty", b"")
    assert s3.get_object(Bucket="checks", Key="empty", PartNumber=1)["ContentLength"] == 0
    assert error_of(s3.get_object, Bucket="checks", Key="none", PartNumber=1)["Error"]["Code"] == "NoSuchKey"


def test_parts_survive_a_restart(new_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = new_endpoint().start()
    s3 = endpoint.client("s3")
    s3.create_bucket(Bucket="checks")
    upload_parts(s3, "k", {2: b"2" * 5 * MIB, 7: b"end"})
    endpoint.kill()
    s3 = endpoint.start().client("s3")
    got = s3.get_object(Bucket="checks", Key="k", PartNumber=7)
    assert (got["Body"].read(), got["PartsCount"]) == (b"end", 2)


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls_expire(endpoint: Endpoint, s3: Any, version: str) -> None:
    put(s3, "signed", b"content")
    client = boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(signature_version=version),
    )
    what = {"Bucket": "checks", "Key": "signed"}

    def signed(seconds: int) -> dict[str, str]:
        return {
            method: client.generate_presigned_url(operation, Params=what, ExpiresIn=seconds)
            for method, operation in (("PUT", "put_object"), ("HEAD", "head_object"), ("GET", "get_object"))
        }

    urls = signed(3600)
    bodies = {"PUT": b"content"}
    assert {method: status(url, method, bodies.get(method))[0] for method, url in urls.items()} == dict.fromkeys(
        urls, 200
    )
    expired = signed(1)
    eventually(lambda: status(expired["GET"])[0] == 403)  # the last that was signed, so the others have expired too
    for method, url in expired.items():
        code, body = status(url, method, b"other" if method == "PUT" else None)
        assert code == 403
        assert method == "HEAD" or b"<Code>AccessDenied</Code><Message>Request has expired" in body
    assert content(s3, "signed") == b"content"
    if version == "s3v4":
        url = urls["GET"].replace("X-Amz-Expires=3600", "X-Amz-Expires=604801")
        assert status(url)[0] == 400
        assert status(urls["GET"].replace("X-Amz-Expires=3600", "X-Amz-Expires=soon"))[0] == 403


def test_presigned_forms_expire(endpoint: Endpoint, s3: Any) -> None:
    def post(expiration: datetime) -> tuple[int, bytes]:
        policy = {"expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"), "conditions": []}
        fields = {"key": "form", "policy": base64.b64encode(json.dumps(policy).encode()).decode()}
        parts = [
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()
        ]
        parts += ['--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\ncontent', "--x--\r\n"]
        request = urllib.request.Request(f"{endpoint.url}/checks", "\r\n".join(parts).encode())
        request.add_header("Content-Type", "multipart/form-data; boundary=x")
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    code, body = post(datetime.now(UTC) - timedelta(minutes=1))
    assert code == 403
    assert b"Policy expired" in body
    assert error_of(s3.get_object, Bucket="checks", Key="form")["Error"]["Code"] == "NoSuchKey"
    assert post(datetime.now(UTC) + timedelta(minutes=1))[0] == 204
    assert content(s3, "form") == b"content"


@pytest.mark.parametrize("key", ["k" * 1025, "ü" * 513, "a/" * 512 + "b"])
def test_keys_that_are_too_long(s3: Any, key: str) -> None:
    where = {"Bucket": "checks", "Key": key}
    put(s3, "source", b"x")
    for operation, arguments in (
        (s3.put_object, {"Body": b"x"}),
        (s3.get_object, {}),
        (s3.delete_object, {}),
        (s3.create_multipart_upload, {}),
        (s3.copy_object, {"CopySource": "checks/source"}),
    ):
        answer = error_of(operation, **where, **arguments)
        assert answer["Error"]["Code"] == "KeyTooLongError"
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error_of(s3.head_object, **where)["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_the_longest_keys(s3: Any) -> None:
    for key in ("k" * 1024, "ü" * 512):
        put(s3, key, key.encode())
        assert content(s3, key) == key.encode()


def test_quiet_deletes_are_quiet(s3: Any) -> None:
    for quiet in (True, False):
        put(s3, "deleted", b"x")
        objects = [{"Key": "deleted"}, {"Key": "never-existed"}]
        answer = s3.delete_objects(Bucket="checks", Delete={"Objects": objects, "Quiet": quiet})
        assert "Errors" not in answer
        assert [each["Key"] for each in answer.get("Deleted", [])] == ([] if quiet else ["deleted", "never-existed"])
        assert error_of(s3.get_object, Bucket="checks", Key="deleted")["Error"]["Code"] == "NoSuchKey"
