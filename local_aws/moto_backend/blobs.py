"""Files with the content of S3's objects and of the parts of multipart uploads."""

import base64
import binascii
import hashlib
import mmap
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHUNK = 1024 * 1024
_IN_MEMORY = 1024 * 1024  # objects up to this size are given to moto as bytes


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = binascii.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


CHECKSUMS: dict[str, Callable[[], Any]] = {
    "crc32": _Crc32,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}


class MappedFile(mmap.mmap):
    """A blob that is mapped into memory."""

    path: Path


@dataclass
class Blob:
    """A file with the content of an object or of a part of an upload."""

    path: Path
    size: int
    md5: str
    checksums: dict[str, str] = field(default_factory=dict)  # base64, by algorithm

    @property
    def name(self) -> str:
        """Its name in the database."""
        return self.path.name

    def content(self) -> bytes | memoryview:
        """Return the content: of a large blob a view of the mapped file, which needs no memory of this process."""
        if self.size <= _IN_MEMORY:
            return self.path.read_bytes()
        with self.path.open("rb") as file:
            mapped = MappedFile(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.path = self.path
        return memoryview(mapped)


class Blobs:
    """The folder of the blobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offered: dict[bytes, Blob] = {}
        for first in range(256):
            (folder / f"{first:02x}").mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return the path of a blob."""
        return self.folder / name[:2] / name

    def new_path(self) -> Path:
        """Return an unused path."""
        return self.path(uuid.uuid4().hex)

    def write(self, chunks: Iterable[bytes | memoryview], checksums: Iterable[str] = ()) -> Blob:
        """Write a blob.

        Args:
            chunks: its content.
            checksums: algorithms, of those in `CHECKSUMS`, whose values are computed on the way.

        Raises:
            OSError: it cannot be stored; nothing is left of it.
        """
        path, size = self.new_path(), 0
        md5, sums = hashlib.md5(usedforsecurity=False), {name: CHECKSUMS[name]() for name in checksums}
        try:
            with path.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                    size += len(chunk)
                    for digest in (md5, *sums.values()):
                        digest.update(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        encoded = {name: base64.b64encode(digest.digest()).decode() for name, digest in sums.items()}
        return Blob(path, size, md5.hexdigest(), encoded)

    def join(self, blobs: Iterable[Blob]) -> Blob:
        """Write the concatenation of blobs as a new one; its MD5 is left empty."""
        path, size = self.new_path(), 0
        try:
            with path.open("xb") as file:
                for blob in blobs:
                    with blob.path.open("rb") as part:
                        shutil.copyfileobj(part, file, CHUNK)
                    size += blob.size
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Blob(path, size, "")

    def link(self, path: Path, md5: str) -> Blob:
        """Return another blob with the content of `path`, which needs no further disk space."""
        other = self.new_path()
        os.link(path, other)
        return Blob(other, path.stat().st_size, md5)

    def offer(self, blob: Blob) -> bytes:
        """Return a token that represents the blob where moto expects content."""
        token = b"local-aws-blob:" + uuid.uuid4().hex.encode()
        self._offered[token] = blob
        return token

    def take(self, token: object) -> Blob | None:
        """Return the blob that a token represents, once."""
        return self._offered.pop(token, None) if isinstance(token, bytes) else None

    def withdraw(self, token: bytes) -> None:
        """Remove a blob that moto has not taken."""
        if blob := self.take(token):
            blob.path.unlink(missing_ok=True)

    def sweep(self, named: set[str]) -> None:
        """Remove all blobs but those named."""
        for folder in self.folder.iterdir():
            for path in folder.iterdir():
                if path.name not in named:
                    path.unlink()
