"""The registry of the arrival model: immutable versions on S3, and a pointer to the live one. No server is needed.

    <lake>/models/eta/<version>/     a version, named by the time of its training and its test month, such as
                                     20261126T041500-2023-06; complete when it has metrics.json, which is written last
    <lake>/models/eta/live.json      the pointer: {"version", "previous", "promoted_at", "by", "reason"}

The pointer changes by conditional writes alone: of two promotions at once one wins, and the other says so. See
docs/adr/0020-model-registry.md.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from taxiway.core.s3 import split

FOLDER = "models/eta"
METRICS = "metrics.json"
CARD = "card.html"
POINTER = "live.json"
VERSION_PATTERN = r"^20\d{6}T\d{6}-20\d\d-(0[1-9]|1[0-2])$"


class RegistryError(RuntimeError):
    """The registry cannot do what it is asked to; the text is one sentence on what is wrong and what to do."""


class ConflictError(RegistryError):
    """The live model has changed since it was looked at."""


@dataclass(frozen=True)
class Live:
    """The pointer.

    Attributes:
        version: that is live.
        previous: that was live before; None for the first.
        promoted_at: when, ISO 8601 with a zone.
        by: who promoted it: a run of the DAG, or a person.
        reason: one sentence.
        etag: of the object that was read; a change of the pointer depends on it.
    """

    version: str
    previous: str | None
    promoted_at: str
    by: str
    reason: str
    etag: str = field(default="", compare=False)


class Registry:
    """The versions of the model in a lake, and which of them is live.

    Args:
        s3: a boto3 client for S3.
        lake: ``s3://`` address of the lake.
    """

    def __init__(self, s3: Any, lake: str) -> None:
        self.uri = f"{lake}/{FOLDER}"
        self._s3 = s3
        self._bucket, self._prefix = split(self.uri)

    def folder(self, version: str) -> str:
        """Return the address of a version, without a slash at the end."""
        return f"{self.uri}/{version}"

    def versions(self) -> list[str]:
        """Return the complete versions, oldest first."""
        found = self._files()
        return sorted(version for version, files in found.items() if METRICS in files)

    def metrics(self, version: str) -> dict[str, Any]:
        """Return what training measured.

        Raises:
            RegistryError: there is no such version, or its file cannot be read.
        """
        body = self._read(f"{version}/{METRICS}")
        if body is None:
            raise RegistryError(self._unknown(version))
        try:
            found: dict[str, Any] = json.loads(body[0])
        except ValueError:
            raise RegistryError(
                f"{self.folder(version)}/{METRICS} is not JSON: remove that version, and train again."
            ) from None
        return found

    def live(self) -> Live | None:
        """Return the pointer; None where no version was ever promoted. Its version may be gone.

        Raises:
            RegistryError: it cannot be read.
        """
        found = self._read(POINTER)
        if found is None:
            return None
        body, etag = found
        try:
            return Live(**json.loads(body), etag=etag)
        except (ValueError, TypeError):
            raise RegistryError(
                f"{self.uri}/{POINTER} is not a pointer to a model: remove it and promote a version."
            ) from None

    def promote(self, version: str, *, by: str, reason: str, seen: Live | None) -> Live:
        """Make a version the live one, and return the pointer; a version that is live stays so.

        Args:
            version: a complete one.
            by: who does it.
            reason: one sentence.
            seen: the pointer as it was when this was decided.

        Raises:
            ConflictError: the pointer is another one by now; nothing was changed.
            RegistryError: there is no such version.
        """
        if self._read(f"{version}/{METRICS}") is None:
            raise RegistryError(self._unknown(version))
        current = self.live()
        if current and current.version == version:  # a repeated task, or somebody was quicker with the same
            return current
        pointer = Live(version, seen.version if seen else None, _now(), by, reason)
        content = {name: value for name, value in asdict(pointer).items() if name != "etag"}
        condition = {"IfMatch": seen.etag} if seen else {"IfNoneMatch": "*"}
        try:
            self._s3.put_object(
                Bucket=self._bucket,
                Key=f"{self._prefix}/{POINTER}",
                Body=json.dumps(content, indent=2).encode(),
                ContentType="application/json",
                **condition,
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (404, 409, 412):
                raise
            now = self.live()
            other = f"{now.version}, promoted by {now.by}," if now else "no version"
            raise ConflictError(
                f"{version} was not promoted: the live model has changed meanwhile, {other} is live now; compare the "
                "two and promote again."
            ) from None
        return pointer

    def roll_back(self, *, by: str) -> Live:
        """Make the version live that was live before; a second roll-back undoes the first.

        Raises:
            ConflictError: the pointer changed meanwhile.
            RegistryError: there is no version to go back to.
        """
        live = self.live()
        if live is None or live.previous is None:
            raise RegistryError(f"There is no version to go back to: {live.version if live else 'none'} is live.")
        return self.promote(live.previous, by=by, reason=f"Rolled back from {live.version}.", seen=live)

    def prune(self, kept: int) -> list[str]:
        """Delete old versions, and return them.

        The newest ``kept`` stay, the live one and the one before it, whatever their age, and what was written to
        within the last day: it may still be read or written. What a lost training left goes as well.
        """
        found, live = self._files(), self.live()
        complete = sorted(version for version, files in found.items() if METRICS in files)
        safe = {*complete[-kept:], *((live.version, live.previous) if live else ())}
        since = datetime.now(UTC) - timedelta(days=1)
        old = [
            version
            for version, files in sorted(found.items())
            if version not in safe and max(each["LastModified"] for each in files.values()) < since
        ]
        for version in old:
            keys = [{"Key": each["Key"]} for name, each in found[version].items() if name != METRICS]
            # The metrics first: a version of which only a part is deleted is no version. One request takes 1,000 keys.
            first = [{"Key": f"{self._prefix}/{version}/{METRICS}"}]
            for some in (first, *(keys[start : start + 1000] for start in range(0, len(keys), 1000))):
                self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": some, "Quiet": True})
        return old

    def _files(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the objects of each version, by their names below its folder."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for each in self._objects():
            version, slash, name = each["Key"].removeprefix(f"{self._prefix}/").partition("/")
            if slash and re.match(VERSION_PATTERN, version):  # S3A's marker of the folder too, which has no name
                found.setdefault(version, {})[name] = each
        return found

    def _objects(self) -> Iterator[dict[str, Any]]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._prefix}/")
        for page in pages:
            yield from page.get("Contents", [])

    def _read(self, name: str) -> tuple[bytes, str] | None:
        """Return the content and the ETag of an object; None if there is none."""
        try:
            found = self._s3.get_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")
        except self._s3.exceptions.NoSuchKey:
            return None
        return found["Body"].read(), found["ETag"]

    def _unknown(self, version: str) -> str:
        there = ", ".join(self.versions()) or "none"
        return f"{self.uri} has no complete version {version}; there are: {there}."


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
