"""S3 with objects on the disk.

moto implements S3 here; but it keeps objects in memory and passes them on as `bytes`. So its classes for objects,
uploads and buckets are replaced (s3_classes.py), and a WSGI application in front of moto handles the large bodies: it
writes an upload to a file ("blob"), gives moto a token in its place, and answers a plain GET from the file.

Everything else about an object is a row in the database. After each request that may change something, the rows of the
objects it touched are written in one transaction before the response is sent; blobs without a row are removed after
that, or at the next start if the process was killed in between. The reverse cannot happen: a blob is complete before
its row is written. Multipart uploads that are not completed do not survive a restart.
"""

import base64
import hashlib
import io
import json
import logging
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from moto.s3.utils import ARCHIVE_STORAGE_CLASSES

from local_aws.database import Database
from local_aws.moto_backend import s3_checks
from local_aws.moto_backend.blobs import CHECKSUMS, CHUNK, Blob, Blobs
from local_aws.moto_backend.journal import Journal
from local_aws.moto_backend.s3_classes import Bucket, Key, Keys, install, s3_models
from local_aws.protocols.rest_xml import error_response, insufficient_storage
from local_aws.protocols.wsgi import Application, Environ, Response, StartResponse, call

log = logging.getLogger(__name__)

# What a PUT can set of an object besides its content.
_NO_CONTENT = {"acl", "annotation", "encryption", "legal-hold", "renameObject", "retention", "tagging"}
# The attributes of an object version in moto that need no conversion to JSON.
_PLAIN = (
    *("_storage_class", "_etag", "_version_id", "_is_versioned", "encryption", "kms_key_id", "bucket_key_enabled"),
    *("lock_mode", "lock_legal_status", "lock_until", "website_redirect_location"),
    *("checksum_algorithm", "checksum_value", "checksum_type", "checksum_parts", "part_sizes"),
)


_QUIET = re.compile(rb"<Quiet>\s*true\s*</Quiet>")


class _RefusedError(Exception):
    """A request that is answered without moto."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class S3Store:
    """The WSGI application in front of moto's S3, and the rows of its objects."""

    def __init__(self, application: Application, folder: Path, database: Database, journal: Journal) -> None:
        """Replace moto's classes for objects; :meth:`load` then restores the objects of the last process.

        Args:
            application: moto.
            folder: has the blobs.
            database: has the rows of the objects.
            journal: has the buckets and their settings.
        """
        self._moto = application
        self._journal = journal
        self._database = database
        self._lock = threading.Lock()
        self._conditional = threading.RLock()  # is held from the check of a write's conditions until it is done
        self._blobs = Blobs(folder)
        install(self._blobs)
        with database.transaction() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS s3_objects (bucket TEXT, key TEXT, place INTEGER, blob TEXT, "
                "document TEXT, PRIMARY KEY (bucket, key, place)) WITHOUT ROWID"
            )

    def load(self, replayed: Sequence[tuple[str, str, float]]) -> None:
        """Restore all objects into their buckets.

        Args:
            replayed: the journal's requests, which have created the buckets: (service, subject, time).
        """
        for service, name, timestamp in reversed(replayed):  # the first request of a bucket, which created it, counts
            if service == "s3" and (bucket := _bucket(name)):
                bucket.creation_date = datetime.fromtimestamp(timestamp, UTC)
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT bucket, key, blob, document FROM s3_objects ORDER BY bucket, key, place")
            versions: dict[tuple[str, str], list[Any]] = {}
            named = set()
            for bucket, key, blob, document in rows:
                named.add(blob)
                versions.setdefault((bucket, key), []).append((blob, document))
        for (bucket_name, key), saved in versions.items():
            bucket = _bucket(bucket_name)
            if bucket is None:
                log.error("bucket %s has stored objects but does not exist itself", bucket_name)
                continue
            dict.__setitem__(bucket.keys, key, self._versions(bucket, key, saved))
        self._blobs.sweep(named)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method = environ["REQUEST_METHOD"]
        bucket_name, _, raw_key = environ["PATH_INFO"][1:].partition("/")
        key = raw_key.encode("latin-1").decode(errors="replace")
        now = datetime.now(UTC)
        s3_checks.check_key(raw_key)
        s3_checks.check_expiry(environ, now)
        if method in ("GET", "HEAD", "OPTIONS"):
            part = s3_checks.take_part(environ, bucket_name, key, _version) if key else None
            if part:
                start_response = _with_part(start_response, part)
            content = self._get(environ, start_response, bucket_name, key) if method == "GET" and key else None
            return self._moto(environ, start_response) if content is None else content
        try:
            return self._change(environ, bucket_name, key).send(start_response)
        except _RefusedError as error:
            return error.response.send(start_response)

    # Reading

    def _get(
        self, environ: Environ, start_response: StartResponse, bucket_name: str, key_name: str
    ) -> Iterable[bytes] | None:
        """Answer a plain GET of an object from its file; return None if moto is to answer."""
        if environ["QUERY_STRING"] not in ("", "x-id=GetObject") or "HTTP_AUTHORIZATION" not in environ:
            return None
        if any(
            f"HTTP_{name}" in environ
            for name in ("IF_NONE_MATCH", "IF_MODIFIED_SINCE", "IF_UNMODIFIED_SINCE", "ORIGIN")
        ):
            return None
        bucket = _bucket(bucket_name)
        if bucket is None or bucket.policy or bucket.logging:
            return None
        for _ in range(3):  # the object may be replaced between the lookup and the opening of its file
            key = bucket.keys.get(key_name)
            if not isinstance(key, Key) or key.storage_class in ARCHIVE_STORAGE_CLASSES:
                return None
            wanted = environ.get("HTTP_IF_MATCH")
            if wanted and wanted.strip('"') != key.etag.strip('"'):
                return None
            try:
                file = key.blob.path.open("rb")
            except FileNotFoundError:
                continue
            return _send(environ, start_response, key, file)
        return None

    # Writing

    def _change(self, environ: Environ, bucket_name: str, key: str) -> Response:
        token, body = None, b""
        try:
            if environ["REQUEST_METHOD"] == "PUT" and key:
                token = self._receive(environ)
            elif not key:
                body = environ["wsgi.input"].read()
                environ["wsgi.input"] = io.BytesIO(body)
                s3_checks.check_form(body, datetime.now(UTC))
            with self._conditional if s3_checks.is_conditional(environ) else nullcontext():
                if key:
                    s3_checks.check_conditions(environ, bucket_name, key, _version)
                response = call(self._moto, environ)
            if _QUIET.search(body) and environ["QUERY_STRING"].startswith("delete"):
                response = _without_deleted(response)
            if response.ok and bucket_name and not key:
                self._write_bucket(environ, bucket_name, body)
            self._save(bucket_name, key)
        except (OSError, sqlite3.Error) as error:
            raise _RefusedError(insufficient_storage(error, self._blobs.folder)) from None
        finally:
            if token:
                self._blobs.withdraw(token)
        return response

    def _write_bucket(self, environ: Environ, name: str, body: bytes) -> None:
        """Write a change of a bucket or of one of its settings to the journal."""
        method, setting = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        if method == "DELETE" and not setting:
            self._journal.forget("s3", name)
        elif method == "PUT" and not setting:
            self._journal.write("s3", name, "CreateBucket", environ, body)
            if bucket := _bucket(name):
                # The date that is returned is the one that a restart restores.
                bucket.creation_date = datetime.fromtimestamp(self._journal.first_time("s3", name), UTC)
        elif method in ("PUT", "DELETE"):
            self._journal.forget("s3", name, setting)
            self._journal.write("s3", name, setting, environ, body)

    def _receive(self, environ: Environ) -> bytes | None:
        """Write the content of a PutObject or UploadPart to a blob, and put a token in its place."""
        query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
        if "HTTP_X_AMZ_COPY_SOURCE" in environ or not _NO_CONTENT.isdisjoint(query):
            return None
        trailers: dict[str, str] = {}
        requested = environ.get("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", "").lower()
        given = [name for name in CHECKSUMS if f"HTTP_X_AMZ_CHECKSUM_{name.upper()}" in environ]
        given += [environ.get("HTTP_X_AMZ_TRAILER", "").lower().removeprefix("x-amz-checksum-")]
        algorithms = {name for name in (requested, *given) if name in CHECKSUMS}
        blob = self._blobs.write(_chunks(environ, trailers), algorithms)
        sent = {name: environ.get(f"HTTP_X_AMZ_CHECKSUM_{name.upper()}") for name in CHECKSUMS}
        sent |= {name.removeprefix("x-amz-checksum-"): value for name, value in trailers.items()}
        md5 = environ.get("HTTP_CONTENT_MD5")
        wrong = [name for name, value in blob.checksums.items() if sent.get(name) not in (None, value)]
        if md5 and md5 != base64.b64encode(bytes.fromhex(blob.md5)).decode():
            wrong.append("Content-MD5")
        if wrong:
            blob.path.unlink()
            message = f"The {wrong[0]} you specified did not match what was received."
            raise _RefusedError(error_response("400 Bad Request", "BadDigest", message))
        # moto would compute the checksum of the token.
        algorithm = requested or next(iter(blob.checksums), "") or next((name for name in sent if sent[name]), "")
        value = blob.checksums.get(algorithm) or sent.get(algorithm)
        if value:
            environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = algorithm.upper()
            environ[f"HTTP_X_AMZ_CHECKSUM_{algorithm.upper()}"] = value
        else:
            environ.pop("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", None)
        token = self._blobs.offer(blob)
        environ.pop("HTTP_X_AMZ_CONTENT_SHA256", None)  # the content is decoded
        if "form" in environ.get("CONTENT_TYPE", ""):  # curl's default; moto would parse the token as a form
            environ["CONTENT_TYPE"] = "binary/octet-stream"
        environ["CONTENT_LENGTH"] = str(len(token))
        environ["wsgi.input"] = io.BytesIO(token)
        return token

    # Files in place of requests, for services of this process

    def files(self, bucket_name: str, prefix: str) -> list[tuple[str, int, Path]] | None:
        """Return key, size and file of the objects with a prefix, by key; None if there is no such bucket."""
        bucket = _bucket(bucket_name)
        if bucket is None:
            return None
        current = ((name, bucket.keys.get(name)) for name in sorted(bucket.keys) if name.startswith(prefix))
        return [(name, key.size, key.blob.path) for name, key in current if isinstance(key, Key)]

    def put_files(self, objects: Sequence[tuple[str, str, Path]]) -> None:
        """Put files as (bucket, key, file): after a crash there are all or none of them.

        Raises:
            OSError: there is no space for one; none is put.
        """
        blobs: list[Blob] = []
        try:
            for _, _, path in objects:
                with path.open("rb") as file:
                    md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                blobs.append(self._blobs.link(path, md5))
        except OSError:
            for blob in blobs:
                blob.path.unlink(missing_ok=True)
            raise
        with self._lock:  # so that no other request writes the rows of some of them
            for (bucket, key, _), blob in zip(objects, blobs, strict=True):
                _backend_of(bucket).put_object(bucket, key, self._blobs.offer(blob))
            self._save_touched(set())

    def delete_files(self, objects: Sequence[tuple[str, str]]) -> None:
        """Delete objects, as (bucket, key), as a DeleteObject of each does."""
        with self._lock:
            for bucket, key in objects:
                _backend_of(bucket).delete_object(bucket, key)
            self._save_touched(set())

    # The rows

    def _save(self, bucket_name: str, key: str) -> None:
        """Write the rows of an object and of all that were touched; then remove the blobs that they no longer have."""
        with self._lock:
            self._save_touched({(bucket_name, key)} if key else set())

    def _save_touched(self, touched: set[tuple[str, str]]) -> None:
        for bucket in list(s3_models.s3_backends.bucket_accounts):
            keys = getattr(_bucket(bucket), "keys", None)
            if isinstance(keys, Keys) and keys.touched:
                names, keys.touched = keys.touched, set()
                touched |= {(bucket, name) for name in names}
        if not touched:
            return
        gone: set[str] = set()
        try:
            with self._database.transaction() as connection:
                for place in touched:
                    gone |= self._write_rows(connection, *place)
        except sqlite3.Error:
            self._restore(touched)
            raise
        for name in gone:
            self._blobs.path(name).unlink(missing_ok=True)

    def _write_rows(self, connection: sqlite3.Connection, bucket_name: str, key: str) -> set[str]:
        """Write an object's versions; return the blobs that they no longer have."""
        bucket = _bucket(bucket_name)
        versions = bucket.keys.getlist(key, []) if bucket is not None else []
        where = "FROM s3_objects WHERE bucket = ? AND key = ?"
        before = {row[0] for row in connection.execute(f"SELECT blob {where}", (bucket_name, key)) if row[0]}
        connection.execute(f"DELETE {where}", (bucket_name, key))
        connection.executemany(
            "INSERT INTO s3_objects VALUES (?, ?, ?, ?, ?)",
            (
                (bucket_name, key, place, version.blob.name if isinstance(version, Key) else None, _document(version))
                for place, version in enumerate(versions)
            ),
        )
        return before - {version.blob.name for version in versions if isinstance(version, Key)}

    def _restore(self, touched: set[tuple[str, str]]) -> None:
        """Restore objects from their rows, after their new rows could not be stored."""
        for bucket_name, key in touched:
            bucket = _bucket(bucket_name)
            if bucket is None:
                continue
            with self._database.transaction() as connection:
                saved = connection.execute(
                    "SELECT blob, document FROM s3_objects WHERE bucket = ? AND key = ? ORDER BY place",
                    (bucket_name, key),
                ).fetchall()
            named = {blob for blob, _ in saved}
            for version in bucket.keys.getlist(key, []):
                if isinstance(version, Key) and version.blob.name not in named:
                    version.blob.path.unlink(missing_ok=True)
            if saved:
                dict.__setitem__(bucket.keys, key, self._versions(bucket, key, saved))
            else:
                dict.pop(bucket.keys, key, None)

    def _versions(self, bucket: Bucket, key: str, saved: list[tuple[str | None, str]]) -> list[Any]:
        versions: list[Any] = []
        for blob, text in saved:
            document = json.loads(text)
            modified = datetime.fromisoformat(document["last_modified"])
            if blob is None:
                version: Any = s3_models.FakeDeleteMarker(versions[-1] if versions else _Named(key))
                version._version_id = document["version_id"]
            else:
                version = self._version(bucket, key, Blob(self._blobs.path(blob), document["size"], ""), document)
            version.last_modified = modified
            versions.append(version)
        return versions

    def _version(self, bucket: Bucket, name: str, blob: Blob, document: dict[str, Any]) -> Key:
        key = Key(
            name=name,
            value=self._blobs.offer(blob),
            account_id=bucket.account_id,
            region_name=bucket.region_name,
            bucket_name=bucket.name,
        )
        for attribute in _PLAIN:
            setattr(key, attribute, document.get(attribute))
        key.set_metadata(document["metadata"])
        key.acl = s3_models.FakeAcl(
            [
                s3_models.FakeGrant([s3_models.FakeGrantee(*grantee) for grantee in grantees], permissions)
                for grantees, permissions in document["grants"]
            ]
        )
        if document["tags"]:
            tagger = _backend(bucket).tagger
            tagger.tag_resource(key.arn, tagger.convert_dict_to_tags_input(document["tags"]))
        return key


@dataclass
class _Named:
    """The object of a delete marker, where it has no version any more."""

    name: str


def _bucket(name: str) -> Bucket | None:
    place = s3_models.s3_backends.bucket_accounts.get(name)
    return s3_models.s3_backends[place[1]][place[0]].buckets.get(name) if place else None


def _version(bucket_name: str, key: str, version: str | None) -> Any:
    """Return a version of an object, by default the newest; None if there is none."""
    bucket = _bucket(bucket_name)
    versions = bucket.keys.getlist(key, []) if bucket is not None else []
    found = [each for each in versions if version is None or each.version_id == version]
    return found[-1] if found and isinstance(found[-1], Key) else None


def _with_part(start_response: StartResponse, part: s3_checks.Part) -> StartResponse:
    """Say in the response how many parts there are."""

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        count = [("x-amz-mp-parts-count", str(part.count))] if part.count and status.startswith("2") else []
        return start_response(status, [*headers, *count], *rest)

    return start


def _without_deleted(response: Response) -> Response:
    """Leave only the errors in the response to a quiet DeleteObjects."""
    body = re.sub(rb"(?s)<Deleted>.*?</Deleted>", b"", response.body)
    headers = [(name, value) for name, value in response.headers if name.lower() != "content-length"]
    return Response(response.status, [*headers, ("Content-Length", str(len(body)))], body)


def _backend(bucket: Bucket) -> Any:
    return s3_models.s3_backends[bucket.account_id][bucket.partition]


def _backend_of(bucket_name: str) -> Any:
    bucket = _bucket(bucket_name)
    if bucket is None:
        raise FileNotFoundError(f"bucket {bucket_name} does not exist")
    return _backend(bucket)


def _document(version: Any) -> str:
    """Return an object version, or a delete marker, as it is stored in the database."""
    modified = version.last_modified.isoformat()
    if not isinstance(version, Key):
        return json.dumps({"last_modified": modified, "version_id": version.version_id})
    document = {name: getattr(version, name) for name in _PLAIN if getattr(version, name) is not None}
    return json.dumps(
        document
        | {
            "last_modified": modified,
            "size": version.size,
            "metadata": dict(version.metadata),
            "tags": s3_models.s3_backends[version.account_id][version.partition].tagger.get_tag_dict_for_resource(
                version.arn
            ),
            "grants": [
                ([(grantee.id, grantee.uri, grantee.display_name) for grantee in grant.grantees], grant.permissions)
                for grant in (version.acl.grants if version.acl else ())
            ],
        }
    )


def _send(environ: Environ, start_response: StartResponse, key: Key, file: BinaryIO) -> Iterable[bytes] | None:
    """Send an object or the requested range of it; return None if moto is to answer."""
    first, last = 0, key.size - 1
    if requested := environ.get("HTTP_RANGE"):
        bounds = _range(requested, key.size)
        if bounds is None:
            file.close()
            return None
        first, last = bounds
    whole = last - first + 1 == key.size
    headers = dict(key.response_dict) | dict(key.metadata)
    headers |= {"Accept-Ranges": "bytes", "content-length": str(last - first + 1)}
    if whole and key.checksum_algorithm and key.checksum_value and "HTTP_X_AMZ_CHECKSUM_MODE" in environ:
        parts = f"-{key.checksum_parts}" if key.checksum_type == "COMPOSITE" else ""
        headers[f"x-amz-checksum-{key.checksum_algorithm.lower()}"] = f"{key.checksum_value}{parts}"
        if key.checksum_type:
            headers["x-amz-checksum-type"] = key.checksum_type
    if requested:
        headers["content-range"] = f"bytes {first}-{last}/{key.size}"
    start_response(
        "206 Partial Content" if requested else "200 OK", [(name, str(value)) for name, value in headers.items()]
    )
    file.seek(first)
    content: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 256 * 1024)
    return content


def _range(text: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of a Range header, None if it is not a single range inside the object."""
    unit, _, span = text.partition("=")
    first, dash, last = span.strip().partition("-")
    if unit != "bytes" or not dash or not (first + last).isdecimal() or not size:
        return None
    if not first:
        length = min(int(last), size)
        return (size - length, size - 1) if length else None
    end = min(int(last), size - 1) if last else size - 1
    return (int(first), end) if int(first) <= end else None


def _chunks(environ: Environ, trailers: dict[str, str]) -> Iterator[bytes]:
    """Yield the content of a request; decode the aws-chunked encoding, and add its trailers to `trailers`."""
    stream = environ["wsgi.input"]
    if not environ.get("HTTP_X_AMZ_CONTENT_SHA256", "").startswith("STREAMING-"):
        while chunk := stream.read(CHUNK):
            yield chunk
        return
    while size := int(stream.readline().partition(b";")[0].strip() or b"0", 16):
        while size > 0 and (chunk := stream.read(min(size, CHUNK))):
            size -= len(chunk)
            yield chunk
        stream.readline()
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        trailers[name.lower()] = value.strip()
