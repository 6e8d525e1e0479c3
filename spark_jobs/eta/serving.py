"""The live version of the model, as stream and scorer serve it: found by its pointer, checked, replaced in use."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import boto3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from spark_jobs.eta.model import FILES, Model, ModelError

MODELS = "models/eta"
POINTER = "live.json"
EVERY_S = 5.0


class UnreachableError(Exception):
    """S3 does not answer, or refuses; the text is one sentence."""


class Folder:
    """Objects below an address of S3.

    Args:
        address: ``s3://bucket[/prefix]``.

    Raises:
        ValueError: the address is of another form.
    """

    def __init__(self, address: str) -> None:
        scheme, _, rest = address.rstrip("/").partition("://")
        self._bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not self._bucket:
            raise ValueError(f"{address!r} is not a folder on S3; write it as s3://bucket/prefix")
        self.address = address.rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._s3 = boto3.client("s3")

    def __truediv__(self, name: str) -> "Folder":
        """Return a folder below this one."""
        return Folder(f"{self.address}/{name}")

    def read(self, name: str) -> bytes | None:
        """Return an object's content; None if there is none.

        Raises:
            UnreachableError: S3 does not answer, or refuses.
        """
        try:
            content: bytes = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise self._unreachable(name, error) from None
        except BotoCoreError as error:
            raise self._unreachable(name, error) from None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write an object.

        Raises:
            UnreachableError: S3 does not answer, or refuses.
        """
        try:
            self._s3.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)
        except (BotoCoreError, ClientError) as error:
            raise self._unreachable(name, error) from None

    def is_empty(self) -> bool:
        """Return whether there is no object.

        Raises:
            UnreachableError: S3 does not answer, or refuses.
        """
        try:
            listed = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except (BotoCoreError, ClientError) as error:
            raise self._unreachable("", error) from None
        return not listed.get("KeyCount")

    def _unreachable(self, name: str, error: Exception) -> UnreachableError:
        return UnreachableError(f"{self.address}/{name} cannot be reached: {str(error).rstrip('.')}.")


class Pointer(msgspec.Struct, frozen=True):
    """``live.json``: which version is live."""

    version: str
    previous: str | None = None
    promoted_at: str | None = None
    by: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Live:
    """A version that is served.

    Attributes:
        model: the model.
        metrics: its ``metrics.json``.
        promoted_s: when it was promoted, in seconds since 1970; when it was loaded if the pointer does not say.
    """

    model: Model
    metrics: dict[str, Any]
    promoted_s: float


class Registry:
    """The versions of the model in a lake, read only.

    Args:
        lake: ``s3://bucket[/prefix]``.
    """

    def __init__(self, lake: str) -> None:
        self._folder = Folder(lake) / MODELS
        self.pointer_address = f"{self._folder.address}/{POINTER}"

    def pointer(self) -> Pointer | None:
        """Return the pointer; None if no version was ever promoted.

        Raises:
            ModelError: it is no pointer.
            UnreachableError: S3 does not answer.
        """
        content = self._folder.read(POINTER)
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=Pointer)
        except msgspec.DecodeError as error:
            raise ModelError(f"{self.pointer_address} is no pointer to a version ({error}): promote one.") from None

    def load(self, version: str, promoted_at: str | None = None) -> Live:
        """Load and check a version.

        Raises:
            ModelError: it is gone, incomplete, broken or of another feature contract.
            UnreachableError: S3 does not answer.
        """
        folder = self._folder / version
        metrics = folder.read("metrics.json")
        if metrics is None:  # it is written last
            raise ModelError(f"The version {version} is not in {folder.address}, or is not complete: promote another.")
        files = {name: content for name in FILES if (content := folder.read(name)) is not None}
        model = Model.read(version, files)
        try:
            return Live(model, msgspec.json.decode(metrics, type=dict[str, Any]), _seconds(promoted_at))
        except msgspec.DecodeError:
            raise ModelError(f"{folder.address}/metrics.json is no JSON object: promote another version.") from None


def _seconds(promoted_at: str | None) -> float:
    try:
        return datetime.fromisoformat(promoted_at or "").timestamp()
    except ValueError:
        return time.time()


class LiveModel:
    """The live version, kept up to date by a thread that looks at the pointer.

    A version that cannot be served is refused, and the one before it goes on; it is looked at again when the pointer
    changes. The new one replaces the old when it is loaded and checked, so that no request waits for it.

    Args:
        registry: of the lake.
        refused: called when a version is refused, with the sentence why.
        every_s: seconds between two looks.
    """

    def __init__(self, registry: Registry, refused: Callable[[str], None], every_s: float = EVERY_S) -> None:
        self._registry, self._refused, self._every_s = registry, refused, every_s
        self._seen: Pointer | None = None
        self._problem = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="live model", daemon=True)
        self.current = self._first()

    def __enter__(self) -> Self:
        """Begin to watch the pointer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Watch it no longer."""
        self._end.set()
        self._thread.join()

    def of(self, version: str) -> Live:
        """Return a version that was served before, or the current one if it is gone.

        Raises:
            UnreachableError: S3 does not answer, so that nobody knows whether it is gone.
        """
        if version == self.current.model.version:
            return self.current
        try:
            return self._registry.load(version)
        except ModelError:
            return self.current

    def look(self) -> None:
        """Look at the pointer once, and take up what it names."""
        try:
            pointer = self._registry.pointer()
            if pointer is None or pointer == self._seen:
                return
            self._take_up(pointer)
            self._seen = pointer
        except ModelError as error:  # not a version
            self._refuse(error)
        except UnreachableError as error:
            self._tell(f"{error} Version {self.current.model.version} goes on.")

    def _take_up(self, pointer: Pointer) -> None:
        if pointer.version == self.current.model.version:
            return
        try:
            self.current = self._registry.load(pointer.version, pointer.promoted_at)
        except ModelError as error:
            self._refuse(error)
        else:
            self._problem = ""
            _say(f"Version {pointer.version} is served now.")

    def _first(self) -> Live:
        pointer = self._registry.pointer()
        if pointer is None:
            raise ModelError(
                f"There is no live model: {self._registry.pointer_address} does not exist; train one by the DAG "
                "eta_model_training, or promote one by python -m taxiway.eta promote VERSION."
            )
        self._seen = pointer
        try:
            return self._registry.load(pointer.version, pointer.promoted_at)
        except ModelError as error:
            if pointer.previous is None:
                raise
            self._refused(str(error))
            _say(f"{error} The version before it, {pointer.previous}, is served.")
            return self._registry.load(pointer.previous)

    def _watch(self) -> None:
        while not self._end.wait(self._every_s):
            self.look()

    def _refuse(self, error: ModelError) -> None:
        if self._tell(f"{error} Version {self.current.model.version} goes on."):
            self._refused(str(error))

    def _tell(self, problem: str) -> bool:
        """Say what is wrong, once; return whether it is new."""
        new = problem != self._problem
        if new:
            _say(problem)
        self._problem = problem
        return new


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
