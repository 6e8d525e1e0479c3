"""moto's classes for objects, multipart uploads and buckets, with content in files ("blobs") instead of memory.

moto's version is pinned, because this depends on the internals of moto/s3/models.py.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import moto.s3.models
from moto.s3.exceptions import EntityTooSmall, InvalidPart, MalformedXML, NoSuchUpload
from moto.s3.responses import S3Response
from moto.settings import S3_UPLOAD_PART_MIN_SIZE

from local_aws.moto_backend.blobs import CHUNK, Blob, Blobs, MappedFile

s3_models: Any = moto.s3.models  # its classes are replaced, for which its types are too narrow


def install(blobs: Blobs) -> None:
    """Make moto use the classes below, and these blobs."""
    Key.blobs = blobs
    s3_models.FakeKey, s3_models.FakeMultipart, s3_models.FakeBucket = Key, Upload, Bucket
    S3Response.key_response = _stream_views(S3Response.key_response)  # type: ignore[method-assign]
    S3Response.get_object_attributes = _with_parts(S3Response.get_object_attributes)  # type: ignore[method-assign]


class Key(s3_models.FakeKey):  # type: ignore[misc]
    """An object version, or a part of an upload, whose content is a blob."""

    blobs: Blobs
    blob: Blob
    _etag: str | None
    part_sizes: list[tuple[int, int]] | None  # (number, size) of the parts that it was uploaded in

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.part_sizes = getattr(kwargs.get("multipart"), "part_sizes", None)
        # moto would keep the content of the parts with the finished object.
        super().__init__(*args, **kwargs | {"multipart": None})

    @property
    def value(self) -> bytes | memoryview:
        """The content."""
        return self.blob.content()

    @value.setter
    def value(self, content: bytes | str | memoryview) -> None:
        blob = self.blobs.take(content)
        if blob is None:
            data = content.encode() if isinstance(content, str) else content
            if isinstance(data, memoryview) and isinstance(data.obj, MappedFile) and len(data) == len(data.obj):
                md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
                blob = self.blobs.link(data.obj.path, md5)
            else:
                blob = self.blobs.write([data])
        self.blob = blob
        self.contentsize = blob.size
        if self._etag is None:
            self._etag = blob.md5

    def dispose(self, garbage: bool = False) -> None:  # noqa: ARG002
        """Remove the content of a part; that of an object is removed with its row in the database."""
        if self.bucket_name is None and hasattr(self, "blob"):
            self.blob.path.unlink(missing_ok=True)

    def __getstate__(self) -> dict[str, Any]:  # moto copies versions to list them
        return {name: value for name, value in self.__dict__.items() if name not in ("lock", "_value_buffer")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.lock = threading.Lock()


class Upload(s3_models.FakeMultipart):  # type: ignore[misc]
    """A multipart upload; its completion concatenates files."""

    part_sizes: list[tuple[int, int]] | None = None

    def complete(self, body: Iterator[tuple[int, str]]) -> tuple[bytes, str, tuple[str, str, int] | None]:
        """Concatenate the parts; a token is returned in place of the content."""
        parts: list[Key] = []
        numbers: list[int] = []
        for number, etag in body:
            part = self.parts.get(number)
            if part is None or part.etag.strip('"') != etag.strip('"'):
                raise InvalidPart()
            if parts and parts[-1].size < S3_UPLOAD_PART_MIN_SIZE:
                raise EntityTooSmall()
            parts.append(part)
            numbers.append(number)
        if not parts:
            raise MalformedXML()
        md5 = hashlib.md5(b"".join(bytes.fromhex(part.blob.md5) for part in parts), usedforsecurity=False)
        blob = Key.blobs.join(part.blob for part in parts)
        token = Key.blobs.offer(blob)
        self.part_sizes = [(number, part.size) for number, part in zip(numbers, parts, strict=True)]
        return token, f"{md5.hexdigest()}-{len(parts)}", self._checksum(parts, blob)

    def _checksum(self, parts: list[Key], blob: Blob) -> tuple[str, str, int] | None:
        algorithm = self.metadata.get("x-amz-checksum-algorithm")
        if algorithm is None:
            return None
        kind = self.metadata.get("x-amz-checksum-type") or ("FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE")
        if kind == "COMPOSITE":
            sums = b"".join(s3_models.compute_checksum(part.value, algorithm, False) for part in parts)
            return kind, s3_models.compute_checksum(sums, algorithm).decode(), len(parts)
        return kind, s3_models.compute_checksum(blob.content(), algorithm).decode(), 1


class _Uploads(s3_models.MultipartDict):  # type: ignore[misc]
    def __missing__(self, upload_id: str) -> Upload:
        raise NoSuchUpload(upload_id=upload_id)  # moto raises a KeyError, which becomes status 500


class Keys(s3_models._VersionedKeyStore):  # type: ignore[misc]
    """A bucket's objects; `touched` are those that changed since the database was written."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: set[str] = set()

    def pop(self, key: str) -> None:
        """Remove all versions of an object."""
        super().pop(key)
        self.touched.add(key)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.touched.add(key)

    def setlist(self, key: str, list_: Any) -> None:
        """Replace all versions of an object."""
        super().setlist(key, list_)
        self.touched.add(key)


class Bucket(s3_models.FakeBucket):  # type: ignore[misc]
    """A bucket with the classes above."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keys = Keys()
        self.multiparts = _Uploads()


def _stream_views(key_response: Callable[..., Any]) -> Callable[..., Any]:
    """Make Flask send a view of a file in chunks; it would take the view for a list of numbers."""

    def response(self: S3Response, *args: Any) -> Any:
        status, headers, content = key_response(self, *args)
        if isinstance(content, memoryview):
            view = content
            content = (view[start : start + CHUNK].tobytes() for start in range(0, len(view), CHUNK))
        return status, headers, content

    return response


def _with_parts(get_object_attributes: Callable[..., Any]) -> Callable[..., Any]:
    """Add ObjectParts to the answer of GetObjectAttributes, which moto leaves out."""

    def response(self: S3Response) -> Any:
        serialized = self.serialized
        self.serialized = lambda action_result: serialized(_add_parts(self, action_result))  # type: ignore[method-assign]
        return get_object_attributes(self)

    return response


def _add_parts(request: S3Response, answer: Any) -> Any:
    key, _ = request._get_key(validate_storage_class=False)
    wanted = request.headers.get("x-amz-object-attributes", "").split(",")
    if "ObjectParts" in wanted and isinstance(key, Key) and key.part_sizes:
        marker, limit = (request.headers.get(f"x-amz-{name}") for name in ("part-number-marker", "max-parts"))
        answer.result["ObjectParts"] = _parts(key, int(marker or 0), int(limit or 1000))
    return answer


def _parts(key: Key, marker: int, limit: int) -> dict[str, Any]:
    """Return the parts of an object after one of their numbers; S3 lists them only where there are checksums."""
    sizes = key.part_sizes or []
    counted: dict[str, Any] = {"TotalPartsCount": len(sizes)}
    algorithm = key.checksum_algorithm
    if algorithm is None:
        return counted
    found: list[dict[str, Any]] = []
    start, content = 0, memoryview(key.value)
    for number, size in sizes:
        if number > marker and len(found) < limit:
            checksum = s3_models.compute_checksum(content[start : start + size], algorithm).decode()
            found.append({"PartNumber": number, "Size": size, f"Checksum{algorithm.upper()}": checksum})
        start += size
    last = found[-1]["PartNumber"] if found else marker
    return counted | {
        "PartNumberMarker": str(marker),
        "NextPartNumberMarker": str(last),
        "MaxParts": limit,
        "IsTruncated": bool(sizes) and last < sizes[-1][0],
        "Parts": found,
    }
