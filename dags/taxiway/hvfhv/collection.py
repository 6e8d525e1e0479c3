"""Collects a data set: downloads it from its URL, checks it, stores it in the lake, and logs the attempt.

The file is stored as ``<lake>/raw/hvfhv/year=YYYY/month=MM/<file>``. S3 replaces objects atomically, so a reader of
that key finds a complete file, the new or the previous one.
"""

import errno
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
import sqlalchemy as sa
import urllib3
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as aws
from botocore.client import BaseClient

from taxiway import catalogue
from taxiway.catalogue import Attempt, Dataset
from taxiway.core.dataset_list import public_url, without_secrets
from taxiway.core.errors import RetryableError
from taxiway.core.s3 import split
from taxiway.hvfhv.settings import HvfhvSettings
from taxiway.hvfhv.tables import TRIP_FILE
from taxiway.hvfhv.trip_file import TripFileError, check_trip_file

CHUNK = 1 << 20
MAX_REDIRECTS = 10
# Statuses below 500 that are worth a retry.
TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
# Parts of an upload are buffered in memory: at most 64 MB in total.
UPLOAD = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=4)

log = logging.getLogger(__name__)


class CollectionError(Exception):
    """A data set cannot be collected, and a retry would not help; the text is one sentence."""

    def __init__(self, text: str) -> None:
        super().__init__(without_secrets(text))


class TransientError(CollectionError, RetryableError):
    """A data set could not be collected because of a temporary error (network, server, time-out)."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Result of an attempt: the file's rows, bytes and SHA-256, and whether it was downloaded."""

    rows: int
    bytes: int
    sha256: str
    downloaded: bool


def collect(
    engine: sa.Engine,
    s3: BaseClient,
    lake: str,
    config: HvfhvSettings,
    dataset: Dataset,
    dag_run_id: str | None = None,
    *,
    again: bool = False,
) -> Collected:
    """Collect a data set and log the attempt.

    A source that has not changed since its file was stored is not downloaded again.

    Args:
        engine: of the catalogue.
        s3: the lake's client.
        lake: ``s3://bucket[/prefix]``.
        config: scratch folder and time-out.
        dataset: what to collect.
        dag_run_id: for the log.
        again: for the log: whether to analyse the month even if nothing changed.

    Raises:
        TransientError: a retry may help.
        CollectionError: a retry will not help.
    """
    attempt = catalogue.begin_attempt(engine, dataset, dag_run_id, again=again)
    try:
        return _collect(engine, s3, raw_location(lake, dataset), config, dataset, attempt)
    except (CollectionError, catalogue.CatalogueError) as error:
        sentence = f"{dataset.name}: {error}"
        catalogue.fail_attempt(engine, attempt, sentence)
        raise (type(error) if isinstance(error, CollectionError) else CollectionError)(sentence) from None
    except BaseException as error:  # also when the task is killed
        sentence = without_secrets(f"{dataset.name}: it ended with {type(error).__name__}: {error}")
        catalogue.fail_attempt(engine, attempt, sentence)
        raise


def raw_location(lake: str, dataset: Dataset) -> tuple[str, str]:
    """Return the bucket and the key of a data set's file in the lake (``s3://bucket[/prefix]``)."""
    return split(f"{TRIP_FILE.contract.partition_folder(lake, dataset.month)}/{dataset.file}")


def _collect(
    engine: sa.Engine, s3: BaseClient, target: tuple[str, str], config: HvfhvSettings, dataset: Dataset, attempt: int
) -> Collected:
    bucket, key = target
    with _s3_faults(s3, bucket):
        s3.head_bucket(Bucket=bucket)  # fail before half a gigabyte is downloaded
    earlier = catalogue.last_complete(engine, dataset)
    if (
        earlier
        and earlier.sha256
        and (earlier.s3_bucket, earlier.s3_key) == (bucket, key)
        and _is_stored(s3, bucket, key, earlier.sha256)
        and _is_unchanged(dataset, earlier, config.download_timeout_s)
    ):
        log.info("%s is unchanged since %s: not downloaded again", dataset.source, earlier.finished)
        file = earlier.as_input()
        collected = Collected(file.rows, file.bytes, file.sha256, downloaded=False)
        version = earlier.source_version
    else:
        collected, version = _fetch(engine, s3, target, config, dataset, attempt)
    catalogue.complete_attempt(
        engine,
        attempt,
        bytes=collected.bytes,
        sha256=collected.sha256,
        rows=collected.rows,
        s3_bucket=bucket,
        s3_key=key,
        source_version=version,
    )
    return collected


def _fetch(
    engine: sa.Engine, s3: BaseClient, target: tuple[str, str], config: HvfhvSettings, dataset: Dataset, attempt: int
) -> tuple[Collected, str | None]:
    """Download, check and store; return also the version that the source reported."""
    bucket, key = target
    with _scratch_file(config.scratch_dir) as file:
        size, sha256, version = _download(dataset, file, config.download_timeout_s)
        log.info("%s: %s bytes downloaded", dataset.source, f"{size:,}")
        try:
            rows = check_trip_file(file, dataset.month)
        except TripFileError as error:
            raise CollectionError(f"{dataset.source} cannot be used: {error}.") from None
        if duplicate_of := catalogue.claim_content(engine, attempt, sha256):
            raise CollectionError(
                f"{dataset.source} is identical to the file of the data set {duplicate_of!r}; correct one of the URLs."
            )
        if not _is_stored(s3, bucket, key, sha256):
            _store(s3, file, bucket, key, sha256)
    return Collected(rows, size, sha256, downloaded=True), version


@contextmanager
def _scratch_file(folder: str | None) -> Iterator[BinaryIO]:
    """Yield an unnamed temporary file, which the system removes even if this process is killed."""
    try:
        with TemporaryFile(dir=folder) as file:
            yield file
    except OSError as error:
        remedy = "free space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
        raise CollectionError(
            f"The folder {folder or gettempdir()} for temporary files cannot be used ({error.strerror}); "
            f"{remedy} or set TAXIWAY_HVFHV_SCRATCH_DIR to another."
        ) from None


def _download(dataset: Dataset, file: BinaryIO, timeout_s: float) -> tuple[int, str, str | None]:
    """Download a data set to a file; return its size in bytes, its SHA-256 and the version that the source reported."""
    digest = hashlib.sha256()
    with _open_source(dataset.url, timeout_s) as source:
        _check_size(source.size, dataset)
        for chunk in source.chunks:
            digest.update(chunk)
            file.write(chunk)
    file.flush()
    size, sha256 = file.tell(), digest.hexdigest()
    if source.size is not None and size != source.size:
        raise TransientError(f"{dataset.source} ended after {size:,} of {source.size:,} bytes; try again later.")
    _check_size(size, dataset)
    if dataset.expected_sha256 not in (None, sha256):
        raise CollectionError(
            f"{dataset.source} has the SHA-256 {sha256}, but the catalogue expects {dataset.expected_sha256}; "
            "correct the one that is wrong."
        )
    return size, sha256, source.version


def _check_size(size: int | None, dataset: Dataset) -> None:
    if size is not None and dataset.expected_bytes not in (None, size):
        raise CollectionError(
            f"{dataset.source} has {size:,} bytes, but the catalogue expects {dataset.expected_bytes:,}; "
            "correct the one that is wrong."
        )


# ── Sources ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Source:
    """An open source: its version and size, None if the source does not report them, and its bytes."""

    version: str | None
    size: int | None
    chunks: Iterator[bytes]


def _is_unchanged(dataset: Dataset, earlier: Attempt, timeout_s: float) -> bool:
    if dataset.expected_sha256:
        return dataset.expected_sha256 == earlier.sha256
    if not earlier.source_version:
        return False
    if urlsplit(dataset.url).scheme != "file":
        with _http_faults(dataset.url, timeout_s), _session() as session:
            response = session.head(dataset.url, timeout=timeout_s, allow_redirects=True)
            # A server that does not support HEAD gets a GET request.
            return response.status_code == HTTPStatus.OK and _http_version(response) == earlier.source_version
    with _open_file(dataset.url) as source:
        return source.version == earlier.source_version


def _open_source(url: str, timeout_s: float) -> AbstractContextManager[_Source]:
    return _open_file(url) if urlsplit(url).scheme == "file" else _open_http(url, timeout_s)


@contextmanager
def _open_http(url: str, timeout_s: float) -> Iterator[_Source]:
    with (
        _http_faults(url, timeout_s),
        _session() as session,
        session.get(url, timeout=timeout_s, stream=True) as response,
    ):
        if response.status_code != HTTPStatus.OK:
            message = f"{public_url(url)} returned {response.status_code} {response.reason or ''}".rstrip()
            if response.status_code >= 500 or response.status_code in TRANSIENT:
                raise TransientError(f"{message}; try again later.")
            expired = urlsplit(url).query and response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            remedy = "its signature may have expired, so put a new URL" if expired else "correct the URL"
            raise CollectionError(f"{message}; {remedy} in the catalogue.")
        yield _Source(_http_version(response), _content_length(response), response.iter_content(CHUNK))


@contextmanager
def _open_file(url: str) -> Iterator[_Source]:
    def faults(error: OSError) -> CollectionError:
        return CollectionError(
            f"{public_url(url)} cannot be read ({error.strerror}); correct the URL or the file's permissions."
        )

    def chunks() -> Iterator[bytes]:
        try:
            while chunk := file.read(CHUNK):
                yield chunk
        except OSError as error:
            raise faults(error) from None

    try:
        file = Path(url2pathname(urlsplit(url).path)).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise faults(error) from None
    with file:
        status = os.fstat(file.fileno())
        yield _Source(f"mtime_ns={status.st_mtime_ns} bytes={status.st_size}", status.st_size, chunks())


def _session() -> requests.Session:
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)  # it logs query strings at DEBUG
    session = requests.Session()
    session.max_redirects = MAX_REDIRECTS
    session.headers["Accept-Encoding"] = "identity"  # so that Content-Length is the size of the file
    return session


def _http_version(response: requests.Response) -> str | None:
    tag, changed = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if not tag and not changed:
        return None
    return f"etag={tag} last-modified={changed} bytes={_content_length(response)}"


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else None


@contextmanager
def _http_faults(url: str, timeout_s: float) -> Iterator[None]:
    url = public_url(url)
    try:
        yield
    except requests.TooManyRedirects:
        raise CollectionError(
            f"{url} redirects more than {MAX_REDIRECTS} times; correct the URL in the catalogue."
        ) from None
    except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL) as error:
        raise CollectionError(f"{url} is not usable ({error}); correct the URL in the catalogue.") from None
    except requests.RequestException as error:
        cause = _first_cause(error)
        if isinstance(error, requests.Timeout) or isinstance(cause, TimeoutError):
            raise TransientError(f"{url} sent no data for {timeout_s:g} s; try again later.") from None
        raise TransientError(f"{url} is unreachable, or closed the connection ({cause}); try again later.") from None
    except (urllib3.exceptions.HTTPError, ValueError):  # what requests lets through, mostly of a redirect's address
        raise CollectionError(f"{url} is not usable, or redirects to an address that is not; correct it.") from None


def _first_cause(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


# ── The lake ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _is_stored(s3: BaseClient, bucket: str, key: str, sha256: str) -> bool:
    with _s3_faults(s3, bucket):
        try:
            return bool(s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("sha256") == sha256)
        except aws.ClientError as error:
            if error.response["Error"]["Code"] == "404":
                return False
            raise


def _store(s3: BaseClient, file: BinaryIO, bucket: str, key: str, sha256: str) -> None:
    file.seek(0)
    extra = {"Metadata": {"sha256": sha256}, "ContentType": "application/vnd.apache.parquet"}
    with _s3_faults(s3, bucket):
        s3.upload_fileobj(file, bucket, key, ExtraArgs=extra, Config=UPLOAD)


@contextmanager
def _s3_faults(s3: BaseClient, bucket: str) -> Iterator[None]:
    try:
        yield
    except aws.ClientError as error:
        fault, status = error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if fault["Code"] in ("404", "NoSuchBucket"):
            raise CollectionError(
                f"The bucket {bucket!r} does not exist; create it or set TAXIWAY_LAKE to another."
            ) from None
        if status == HTTPStatus.FORBIDDEN:
            raise CollectionError(
                f"The bucket {bucket!r} cannot be used with these credentials ({fault['Code']}); "
                "allow them to list it and to read and write its objects, or set TAXIWAY_LAKE to another."
            ) from None
        kind = TransientError if status >= 500 or status in TRANSIENT else CollectionError
        raise kind(f"S3 refuses a request to the bucket {bucket!r} ({fault['Code']}: {fault['Message']}).") from None
    except (aws.ConnectionError, aws.HTTPClientError):
        raise TransientError(f"S3 at {s3.meta.endpoint_url} cannot be reached; try again later.") from None
    except aws.BotoCoreError as error:
        raise CollectionError(f"S3 cannot be used: {str(error).rstrip('.')}.") from None
