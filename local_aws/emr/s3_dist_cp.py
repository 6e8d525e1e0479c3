"""`s3-dist-cp`, as far as it copies files as they are: `s3_dist_cp.py --src s3://… --dest s3://… [--srcPattern …]`.

It is started by its path, in a process of its own.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_ADDRESS = re.compile(r"(?:(?P<scheme>s3[an]?)://(?P<bucket>[^/]+)/?|(?:file:/{1,3})?/)(?P<path>.*)")
# How the copy is made on a cluster, which has no meaning here.
_IGNORED = ("--s3Endpoint", "--multipartUploadChunkSize")
_IGNORED_SWITCHES = ("--s3ServerSideEncryption", "--disableMultipartUpload")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(message)


def _fail(message: str) -> NoReturn:
    sys.exit(f"s3-dist-cp: {message}")


class _Place:
    """A folder on S3 or on this machine."""

    def __init__(self, address: str, option: str, s3: Any) -> None:
        match = _ADDRESS.fullmatch(address)
        if match is None:
            needs = "needs Hadoop, which is not available here" if address.startswith("hdfs:") else "cannot be used"
            _fail(f"{option} {address} {needs}; give an s3:// address or a local path")
        self.address = address.rstrip("/")
        self.bucket: str | None = match["bucket"]
        self.path: str = match["path"].strip("/")
        self._s3 = s3

    def files(self) -> Iterator[str]:
        """Yield the paths of all files below it, relative to it; "" if it is a file itself."""
        if self.bucket is None:
            root = Path("/", self.path)
            found = [root] if root.is_file() else (path for path in sorted(root.rglob("*")) if path.is_file())
            yield from (str(path.relative_to(root)) if path != root else "" for path in found)
            return
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.path):
            for entry in page.get("Contents", []):
                name = entry["Key"].removeprefix(self.path)
                marker = name.endswith(("/", "_$folder$"))  # of a folder
                if not marker and (not self.path or not name or name.startswith("/")):
                    yield name.lstrip("/")

    def file(self, name: str) -> str:
        """Return the key or the path of a file."""
        return "/".join(part for part in (self.path, name) if part)

    def copy(self, name: str, to: "_Place") -> None:
        """Copy a file."""
        target = to.file(name or self.path.rpartition("/")[2])
        if self.bucket and to.bucket:
            self._s3.copy({"Bucket": self.bucket, "Key": self.file(name)}, to.bucket, target)
        elif to.bucket:
            self._s3.upload_file(f"/{self.file(name)}", to.bucket, target)
        else:
            Path("/", target).parent.mkdir(parents=True, exist_ok=True)
            if self.bucket:
                self._s3.download_file(self.bucket, self.file(name), f"/{target}")
            else:
                shutil.copyfile(f"/{self.file(name)}", f"/{target}")

    def delete(self, name: str) -> None:
        """Delete a file."""
        if self.bucket:
            self._s3.delete_object(Bucket=self.bucket, Key=self.file(name))
        else:
            Path("/", self.file(name)).unlink()


def main(arguments: list[str]) -> None:
    """Copy; end the process with a sentence if that is not possible."""
    parser = _Parser("s3-dist-cp", add_help=False, allow_abbrev=False)
    parser.add_argument("--src", required=True)
    parser.add_argument("--dest", required=True)
    parser.add_argument("--srcPattern", default=".*")
    parser.add_argument("--deleteOnSuccess", action="store_true")
    for option in _IGNORED:
        parser.add_argument(option)
    for option in _IGNORED_SWITCHES:
        parser.add_argument(option, action="store_true")
    options, rest = parser.parse_known_args(arguments)
    if rest:
        _fail(f"{rest[0].partition('=')[0]} cannot be used here: files are copied as they are")
    try:
        pattern = re.compile(options.srcPattern)
    except re.error as error:
        _fail(f"--srcPattern {options.srcPattern!r} is not a regular expression: {error}")
    s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}), endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    source, target = _Place(options.src, "--src", s3), _Place(options.dest, "--dest", s3)
    try:
        names = list(source.files())
        if not names:
            _fail(f"there is nothing at --src {options.src}")
        chosen = [name for name in names if pattern.fullmatch("/".join(filter(None, (source.address, name))))]
        for name in chosen:
            source.copy(name, target)
        if options.deleteOnSuccess:
            for name in chosen:
                source.delete(name)
    except (ClientError, BotoCoreError, OSError) as error:
        _fail(str(error))
    print(f"s3-dist-cp: {len(chosen)} of {len(names)} files copied from {options.src} to {options.dest}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
