"""S3's objects as files of the disk.

moto is S3 here, with all its features; but it keeps objects in memory and hands them on as `bytes`. So its classes for
objects, uploads and buckets are replaced by the ones below, whose content is a file ("blob"), and a WSGI application in
front of moto carries the large bodies: it writes what is uploaded to a blob, gives moto a token in its place, and
answers the plain GET from the file. moto's version is pinned, because this leans on the insides of moto/s3/models.py.

What an object is besides its bytes stands in the database. After each request that may change something, the rows of
the objects it touched are written in one transaction before the answer goes out; blobs that no row names any more are
removed after that, and at the next start if the process was killed in between. The reverse cannot happen: a blob is
complete before a row names it. Uploads in parts that are under way do not survive a restart.
"""

import base64
import hashlib
import io
import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs

import moto.s3.models
from moto.s3.exceptions import EntityTooSmall, InvalidPart, MalformedXML, NoSuchUpload
from moto.s3.responses import S3Response
from moto.s3.utils import ARCHIVE_STORAGE_CLASSES
from moto.settings import S3_UPLOAD_PART_MIN_SIZE

from local_aws.blobs import CHECKSUMS, PIECE, Blob, Blobs, MappedFile
from local_aws.database import Database
from local_aws.journal import Journal
from local_aws.wsgi import Answer, Application, Environ, StartResponse, answer, call, disk_message, s3_error

log = logging.getLogger(__name__)

s3_models: Any = moto.s3.models  # its classes are replaced, which its types do not foresee

# Parts of an object that a PUT can set besides its content.
_NO_CONTENT = {"acl", "annotation", "encryption", "legal-hold", "renameObject", "retention", "tagging"}
# The attributes of an object version in moto that JSON can hold as they are.
_PLAIN = (
    *("_storage_class", "_etag", "_version_id", "_is_versioned", "encryption", "kms_key_id", "bucket_key_enabled"),
    *("lock_mode", "lock_legal_status", "lock_until", "website_redirect_location"),
    *("checksum_algorithm", "checksum_value", "checksum_type", "checksum_parts"),
)


class S3Error(Exception):
    """An error that S3's caller gets as XML."""

    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = answer(status, "application/xml", s3_error(code, message))


class _Key(s3_models.FakeKey):
    """An object version, or a part of an upload, whose content is a blob."""

    blobs: Blobs
    blob: Blob
    _etag: str | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # moto would keep the parts' contents with the finished object.
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
        """Remove the content of a part; that of an object goes when the database does not name it any more."""
        if self.bucket_name is None and hasattr(self, "blob"):
            self.blob.path.unlink(missing_ok=True)

    def __getstate__(self) -> dict[str, Any]:  # moto copies versions to list them
        return {name: value for name, value in self.__dict__.items() if name not in ("lock", "_value_buffer")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.lock = threading.Lock()


class _Upload(s3_models.FakeMultipart):
    """An upload in parts, whose end joins files."""

    def complete(self, body: Iterator[tuple[int, str]]) -> tuple[bytes, str, tuple[str, str, int] | None]:
        """Join the parts; the content that is returned is a token."""
        parts: list[_Key] = []
        for number, etag in body:
            part = self.parts.get(number)
            if part is None or part.etag.strip('"') != etag.strip('"'):
                raise InvalidPart()
            if parts and parts[-1].size < S3_UPLOAD_PART_MIN_SIZE:
                raise EntityTooSmall()
            parts.append(part)
        if not parts:
            raise MalformedXML()
        md5 = hashlib.md5(b"".join(bytes.fromhex(part.blob.md5) for part in parts), usedforsecurity=False)
        blob = _Key.blobs.join(part.blob for part in parts)
        token = _Key.blobs.offer(blob)
        return token, f"{md5.hexdigest()}-{len(parts)}", self._checksum(parts, blob)

    def _checksum(self, parts: list[_Key], blob: Blob) -> tuple[str, str, int] | None:
        algorithm = self.metadata.get("x-amz-checksum-algorithm")
        if algorithm is None:
            return None
        kind = self.metadata.get("x-amz-checksum-type") or ("FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE")
        if kind == "COMPOSITE":
            sums = b"".join(s3_models.compute_checksum(part.value, algorithm, False) for part in parts)
            return kind, s3_models.compute_checksum(sums, algorithm).decode(), len(parts)
        return kind, s3_models.compute_checksum(blob.content(), algorithm).decode(), 1


class _Uploads(s3_models.MultipartDict):
    def __missing__(self, upload_id: str) -> _Upload:
        raise NoSuchUpload(upload_id=upload_id)  # moto gives a KeyError, and so a 500


class _Keys(s3_models._VersionedKeyStore):
    """A bucket's objects; knows which were touched since the database was written."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: set[str] = set()

    def pop(self, key: str) -> None:
        super().pop(key)
        self.touched.add(key)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.touched.add(key)

    def setlist(self, key: str, list_: Any) -> None:
        super().setlist(key, list_)
        self.touched.add(key)


class _Bucket(s3_models.FakeBucket):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keys = _Keys()
        self.multiparts = _Uploads()


def _stream_views(key_response: Callable[..., Any]) -> Callable[..., Any]:
    """Let Flask send a view of a file in pieces, where it would take it for a list of numbers."""

    def response(self: S3Response, *args: Any) -> Any:
        status, headers, content = key_response(self, *args)
        if isinstance(content, memoryview):
            view = content
            content = (view[start : start + PIECE].tobytes() for start in range(0, len(view), PIECE))
        return status, headers, content

    return response


class S3Store:
    """The WSGI application in front of moto's S3, and the rows of its objects."""

    def __init__(self, application: Application, folder: Path, database: Database, journal: Journal) -> None:
        """Take moto's place for objects; :meth:`load` then brings back those of the last process.

        Args:
            application: moto.
            folder: where the blobs are.
            database: where the objects are described.
            journal: where the buckets and their settings are.
        """
        self._moto = application
        self._journal = journal
        self._database = database
        self._lock = threading.Lock()
        self._blobs = Blobs(folder)
        _Key.blobs = self._blobs
        s3_models.FakeKey, s3_models.FakeMultipart, s3_models.FakeBucket = _Key, _Upload, _Bucket
        S3Response.key_response = _stream_views(S3Response.key_response)  # type: ignore[method-assign]
        with database.transaction() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS s3_objects (bucket TEXT, key TEXT, place INTEGER, blob TEXT, "
                "document TEXT, PRIMARY KEY (bucket, key, place)) WITHOUT ROWID"
            )

    def load(self, replayed: Sequence[tuple[str, str, float]]) -> None:
        """Bring back all objects into the buckets, which are there again.

        Args:
            replayed: the journal's requests, which have made the buckets: (service, subject, time).
        """
        for service, name, moment in reversed(replayed):  # the first request of a bucket, which created it, wins
            if service == "s3" and (bucket := _bucket(name)):
                bucket.creation_date = datetime.fromtimestamp(moment, UTC)
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
                log.error("the objects of bucket %s are kept, but not the bucket itself", bucket_name)
                continue
            dict.__setitem__(bucket.keys, key, self._versions(bucket, key, saved))
        self._blobs.sweep(named)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method = environ["REQUEST_METHOD"]
        bucket_name, _, key = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")[1:].partition("/")
        if method == "GET" and key:
            sent = self._get(environ, start_response, bucket_name, key)
            if sent is not None:
                return sent
        if method in ("GET", "HEAD", "OPTIONS"):
            return self._moto(environ, start_response)
        try:
            return self._change(environ, bucket_name, key).send(start_response)
        except S3Error as error:
            return error.answer.send(start_response)

    # Reading

    def _get(
        self, environ: Environ, start_response: StartResponse, bucket_name: str, key_name: str
    ) -> Iterable[bytes] | None:
        """Answer a plain GET of an object from its file; None leaves it to moto."""
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
        for _ in range(3):  # the object may be replaced between the look-up and the opening of its file
            key = bucket.keys.get(key_name)
            if not isinstance(key, _Key) or key.storage_class in ARCHIVE_STORAGE_CLASSES:
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

    def _change(self, environ: Environ, bucket_name: str, key: str) -> Answer:
        token, body = None, b""
        try:
            if environ["REQUEST_METHOD"] == "PUT" and key:
                token = self._receive(environ)
            elif not key:
                body = environ["wsgi.input"].read()
                environ["wsgi.input"] = io.BytesIO(body)
            done = call(self._moto, environ)
            if done.good and bucket_name and not key:
                self._write_bucket(environ, bucket_name, body)
            self._save(bucket_name, key)
        except (OSError, sqlite3.Error) as error:
            # Not 500 or 503, at which SDKs try the same again for a while.
            message = disk_message(error, self._blobs.folder)
            raise S3Error("507 Insufficient Storage", "InternalError", message) from None
        finally:
            if token:
                self._blobs.withdraw(token)
        return done

    def _write_bucket(self, environ: Environ, name: str, body: bytes) -> None:
        """Write down a change of a bucket or of one of its settings."""
        method, setting = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        if method == "DELETE" and not setting:
            self._journal.forget("s3", name)
        elif method == "PUT" and not setting:
            self._journal.write("s3", name, "CreateBucket", environ, body)
            if bucket := _bucket(name):
                # The date that was told is the one that a restart brings back.
                bucket.creation_date = datetime.fromtimestamp(self._journal.first_time("s3", name), UTC)
        elif method in ("PUT", "DELETE"):
            self._journal.forget("s3", name, setting)
            self._journal.write("s3", name, setting, environ, body)

    def _receive(self, environ: Environ) -> bytes | None:
        """Write the content that a PutObject or UploadPart carries to a blob, and put a token in its place."""
        query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
        if "HTTP_X_AMZ_COPY_SOURCE" in environ or not _NO_CONTENT.isdisjoint(query):
            return None
        trailers: dict[str, str] = {}
        pieces = _pieces(environ, trailers)
        asked = environ.get("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", "").lower()
        given = [name for name in CHECKSUMS if f"HTTP_X_AMZ_CHECKSUM_{name.upper()}" in environ]
        given += [environ.get("HTTP_X_AMZ_TRAILER", "").lower().removeprefix("x-amz-checksum-")]
        blob = self._blobs.write(pieces, {name for name in (asked, *given) if name in CHECKSUMS})
        sent = {name: environ.get(f"HTTP_X_AMZ_CHECKSUM_{name.upper()}") for name in CHECKSUMS}
        sent |= {name.removeprefix("x-amz-checksum-"): value for name, value in trailers.items()}
        md5 = environ.get("HTTP_CONTENT_MD5")
        wrong = [name for name, value in blob.checksums.items() if sent.get(name) not in (None, value)]
        if md5 and md5 != base64.b64encode(bytes.fromhex(blob.md5)).decode():
            wrong.append("Content-MD5")
        if wrong:
            blob.path.unlink()
            raise S3Error(
                "400 Bad Request", "BadDigest", f"The {wrong[0]} you specified did not match what was received."
            )
        # moto would compute the checksum of the token.
        algorithm = asked or next(iter(blob.checksums), "") or next((name for name in sent if sent[name]), "")
        value = blob.checksums.get(algorithm) or sent.get(algorithm)
        if value:
            environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = algorithm.upper()
            environ[f"HTTP_X_AMZ_CHECKSUM_{algorithm.upper()}"] = value
        else:
            environ.pop("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", None)
        token = self._blobs.offer(blob)
        environ.pop("HTTP_X_AMZ_CONTENT_SHA256", None)  # the frame is off
        if "form" in environ.get("CONTENT_TYPE", ""):  # curl's default; moto would take the token for a form
            environ["CONTENT_TYPE"] = "binary/octet-stream"
        environ["CONTENT_LENGTH"] = str(len(token))
        environ["wsgi.input"] = io.BytesIO(token)
        return token

    # The rows

    def _save(self, bucket_name: str, key: str) -> None:
        """Write the rows of an object, and of all others that were touched; then remove what they held before."""
        with self._lock:
            touched = {(bucket_name, key)} if key else set()
            for bucket in list(s3_models.s3_backends.bucket_accounts):
                keys = getattr(_bucket(bucket), "keys", None)
                if isinstance(keys, _Keys) and keys.touched:
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
        """Write an object's versions; return the blobs that they do not hold any more."""
        bucket = _bucket(bucket_name)
        versions = bucket.keys.getlist(key, []) if bucket is not None else []
        where = "FROM s3_objects WHERE bucket = ? AND key = ?"
        before = {row[0] for row in connection.execute(f"SELECT blob {where}", (bucket_name, key)) if row[0]}
        connection.execute(f"DELETE {where}", (bucket_name, key))
        connection.executemany(
            "INSERT INTO s3_objects VALUES (?, ?, ?, ?, ?)",
            (
                (bucket_name, key, place, version.blob.name if isinstance(version, _Key) else None, _document(version))
                for place, version in enumerate(versions)
            ),
        )
        return before - {version.blob.name for version in versions if isinstance(version, _Key)}

    def _restore(self, touched: set[tuple[str, str]]) -> None:
        """Bring objects back to what their rows say, after the disk has refused their new ones."""
        for bucket_name, key in touched:
            bucket = _bucket(bucket_name)
            if bucket is None:
                continue
            with self._database.transaction() as connection:
                saved = connection.execute(
                    "SELECT blob, document FROM s3_objects WHERE bucket = ? AND key = ? ORDER BY place",
                    (bucket_name, key),
                ).fetchall()
            kept = {blob for blob, _ in saved}
            for version in bucket.keys.getlist(key, []):
                if isinstance(version, _Key) and version.blob.name not in kept:
                    version.blob.path.unlink(missing_ok=True)
            if saved:
                dict.__setitem__(bucket.keys, key, self._versions(bucket, key, saved))
            else:
                dict.pop(bucket.keys, key, None)

    def _versions(self, bucket: _Bucket, key: str, saved: list[tuple[str | None, str]]) -> list[Any]:
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

    def _version(self, bucket: _Bucket, name: str, blob: Blob, document: dict[str, Any]) -> _Key:
        key = _Key(
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
    """Stands for the object under a delete marker whose versions are all gone."""

    name: str


def _bucket(name: str) -> _Bucket | None:
    place = s3_models.s3_backends.bucket_accounts.get(name)
    return s3_models.s3_backends[place[1]][place[0]].buckets.get(name) if place else None


def _backend(bucket: _Bucket) -> Any:
    return s3_models.s3_backends[bucket.account_id][bucket.partition]


def _document(version: Any) -> str:
    """Return an object version, or a delete marker, as the database keeps it."""
    modified = version.last_modified.isoformat()
    if not isinstance(version, _Key):
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


def _send(environ: Environ, start_response: StartResponse, key: _Key, file: BinaryIO) -> Iterable[bytes] | None:
    """Send an object or the range of it that is asked for; None if the range is for moto to judge."""
    first, last = 0, key.size - 1
    if asked := environ.get("HTTP_RANGE"):
        bounds = _range(asked, key.size)
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
    if asked:
        headers["content-range"] = f"bytes {first}-{last}/{key.size}"
    start_response(
        "206 Partial Content" if asked else "200 OK", [(name, str(value)) for name, value in headers.items()]
    )
    file.seek(first)
    return environ["wsgi.file_wrapper"](file, 256 * 1024)


def _range(text: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of a Range header, None if it is not one plain range inside the object."""
    unit, _, span = text.partition("=")
    first, dash, last = span.strip().partition("-")
    if unit != "bytes" or not dash or not (first + last).isdecimal() or not size:
        return None
    if not first:
        length = min(int(last), size)
        return (size - length, size - 1) if length else None
    end = min(int(last), size - 1) if last else size - 1
    return (int(first), end) if int(first) <= end else None


def _pieces(environ: Environ, trailers: dict[str, str]) -> Iterator[bytes]:
    """Yield the content of a request; of the aws-chunked coding take off the frame, and keep the trailers."""
    stream = environ["wsgi.input"]
    if not environ.get("HTTP_X_AMZ_CONTENT_SHA256", "").startswith("STREAMING-"):
        while piece := stream.read(PIECE):
            yield piece
        return
    while size := int(stream.readline().partition(b";")[0].strip() or b"0", 16):
        while size > 0 and (piece := stream.read(min(size, PIECE))):
            size -= len(piece)
            yield piece
        stream.readline()
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        trailers[name.lower()] = value.strip()
