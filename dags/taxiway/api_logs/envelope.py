"""The envelope of a record: one line of JSON, whose payload only the holder of the master key can read or change.

    {"version":1,"key_id":"…","data_key":"…","nonce":"…","ciphertext":"…"}

A data key encrypts the records of an object (AES-256-GCM) and is itself wrapped by the master key ``key_id`` (AES key
wrap, RFC 3394), which never leaves Secrets Manager for anything else. Version, key id and wrapped data key are
authenticated with every record. Name and offset of the object are not: a record that is delivered again in another
object must be readable there. Records that were removed or reordered are thus not noticed here.
"""

import os
import re
from base64 import b64encode
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

if TYPE_CHECKING:
    from taxiway.api_logs.keys import KeyRing

VERSION = 1
KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16
KEY_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}-[0-9a-f]{8}")
KNOWN_DATA_KEYS = 4096  # unwrapped ones that a process remembers

_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
# What an envelope consists of, in order: a literal text, and what may follow it up to the next.
_PARTS = (
    (b'{"version":1,"key_id":"', re.compile(rb"[a-z0-9-]*")),
    (b'","data_key":"', _BASE64),
    (b'","nonce":"', _BASE64),
    (b'","ciphertext":"', _BASE64),
    (b'"}', re.compile(rb"")),
)


class NoEnvelope(ValueError):
    """A line is no envelope of a version that can be read; it may hold plaintext, so nothing of it is repeated."""


class Tampered(ValueError):
    """A record was changed after it was sealed, or is not of the key that it names."""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An envelope, its binary members decoded from base64."""

    version: int
    key_id: str
    data_key: bytes
    nonce: bytes
    ciphertext: bytes


_decoder = msgspec.json.Decoder(Envelope)


def read(line: bytes) -> Envelope:
    """Return the envelope of a line.

    Raises:
        NoEnvelope: it is none.
    """
    try:
        found = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise NoEnvelope("the line is no envelope") from None
    if found.version != VERSION or not _is_key_id(found.key_id):
        raise NoEnvelope("the envelope's version or key id cannot be read")
    return found


@lru_cache(KNOWN_DATA_KEYS)
def _is_key_id(text: str) -> bool:
    return KEY_ID.fullmatch(text) is not None


def write(envelope: Envelope) -> bytes:
    """Return the line of an envelope, without a line feed; that of what :func:`seal` made is unchanged."""
    return msgspec.json.encode(envelope)


def is_beginning(line: bytes) -> bool:
    """Return whether a line is an envelope as :class:`Sealer` writes it whose end is missing: it holds no plaintext."""
    at = 0
    for literal, rest in _PARTS:
        left = line[at : at + len(literal)]
        if left != literal:
            return bool(literal.startswith(left)) and at + len(left) == len(line) > 0
        at = rest.match(line, at + len(literal)).end()  # type: ignore[union-attr]  # it matches the empty text too
    return False


def key_of_beginning(line: bytes) -> str | None:
    """Return the key id of a line of which :func:`is_beginning` is true; None if it was cut off too."""
    literal, _ = _PARTS[0]
    key_id = line.removeprefix(literal).partition(b'"')[0].decode()
    return key_id if KEY_ID.fullmatch(key_id) else None


class Sealer:
    """Seals records by a new data key.

    A data key must seal fewer than 2³² records, since nonces are random: take a new sealer for each object.

    Args:
        key_id: of the master key.
        key: the master key, 32 bytes.
    """

    def __init__(self, key_id: str, key: bytes) -> None:
        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        self._cipher = AESGCM(data_key)
        self._header = _header(key_id, aes_key_wrap(key, data_key))

    def seal(self, plaintext: bytes) -> bytes:
        """Return the line of a record, without a line feed."""
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = self._cipher.encrypt(nonce, plaintext, self._header)
        return b'%s,"nonce":"%s","ciphertext":"%s"}' % (self._header, b64encode(nonce), b64encode(ciphertext))


class Opener:
    """Opens envelopes; each data key is unwrapped once.

    Args:
        keys: the master keys.
    """

    def __init__(self, keys: "KeyRing") -> None:
        self._keys = keys
        self._cipher = lru_cache(KNOWN_DATA_KEYS)(self._unwrapped)

    def open(self, envelope: Envelope) -> bytes:
        """Return the plaintext of a record.

        Raises:
            taxiway.api_logs.keys.UnknownKey: the master key cannot be had.
            Tampered: it cannot be authenticated.
        """
        cipher, header = self._cipher(envelope.key_id, envelope.data_key)
        if len(envelope.nonce) != NONCE_BYTES:
            raise Tampered("the nonce has another length")
        try:
            return cipher.decrypt(envelope.nonce, envelope.ciphertext, header)
        except (InvalidTag, ValueError):  # ValueError: shorter than a tag
            raise Tampered("the record fails authentication") from None

    def _unwrapped(self, key_id: str, data_key: bytes) -> tuple[AESGCM, bytes]:
        master = self._keys.get(key_id)
        try:
            unwrapped = aes_key_unwrap(master, data_key)
            if len(unwrapped) != KEY_BYTES:
                raise Tampered("the data key has another length")
        except (InvalidUnwrap, ValueError):
            raise Tampered("the data key fails authentication") from None
        return AESGCM(unwrapped), _header(key_id, data_key)


def _header(key_id: str, data_key: bytes) -> bytes:
    """Return the beginning of an envelope, which is authenticated with every record."""
    return b'{"version":%d,"key_id":"%s","data_key":"%s"' % (VERSION, key_id.encode(), b64encode(data_key))
