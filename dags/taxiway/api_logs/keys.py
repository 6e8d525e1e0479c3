"""Keys of the API logs, kept in AWS Secrets Manager: master keys by their id, and the key of the pseudonyms.

A secret's text is the key in base64. The id of a master key ends with a fingerprint of the key, so that what is
stored under it can be told to be another key, and records need not be called tampered. Rotation: the servers take a
new key with a new id; old ones stay until no record of theirs is needed. A key is revoked by deleting its secret,
which Secrets Manager can undo for some days.
"""

import binascii
import hmac
import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from taxiway.api_logs.envelope import KEY_BYTES, KEY_ID

log = logging.getLogger(__name__)

ReadSecret = Callable[[str], str]
"""Returns the text of a secret by its name; raises NoSecret."""


class NoSecret(LookupError):
    """A secret cannot be read; the text continues a sentence that begins with its name."""


class UnknownKey(LookupError):
    """A master key cannot be had; the text is one sentence that names it, the fault and the remedy."""


class PseudonymKeyError(RuntimeError):
    """The key of the pseudonyms cannot be had; the text is one sentence."""


class KeyRing:
    """The master keys; each is read once in the ring's life, whatever comes of it.

    Args:
        read: reads a secret.
        prefix: a secret's name is this and the key's id.
    """

    def __init__(self, read: ReadSecret, prefix: str) -> None:
        self._read, self._prefix = read, prefix
        self._found: dict[str, bytes | str] = {}

    def get(self, key_id: str) -> bytes:
        """Return a master key, 32 bytes.

        Raises:
            UnknownKey: it is missing, revoked, or another than its id says.
        """
        if key_id not in self._found:
            self._found[key_id] = self._look_up(key_id)
            if isinstance(fault := self._found[key_id], str):
                log.warning("%s", fault)
        found = self._found[key_id]
        if isinstance(found, str):
            raise UnknownKey(found)
        return found

    def _look_up(self, key_id: str) -> bytes | str:
        """Return the key, or the sentence that says why there is none."""
        remedy = f"its records are quarantined as unknown_key until it is there: replay the key {key_id} then."
        if not KEY_ID.fullmatch(key_id):
            return "A record names a master key by what is no id of one."
        name = f"{self._prefix}{key_id}"
        try:
            key = _decoded(self._read(name))
        except NoSecret as error:
            return f"The master key {key_id} (secret {name}) {error}; {remedy}"
        if fingerprint(key) != key_id[-8:]:
            return f"The master key {key_id} (secret {name}) is wrong: what is stored there is another key; {remedy}"
        return key


def pseudonym_key(read: ReadSecret, name: str) -> bytes:
    """Return the key of the pseudonyms, 32 bytes.

    Raises:
        PseudonymKeyError: it is missing, revoked, or no such key.
    """
    try:
        return _decoded(read(name))
    except NoSecret as error:
        raise PseudonymKeyError(
            f"The key of the pseudonyms (secret {name}) {error}: store 32 random bytes there, in base64."
        ) from None


def secrets_manager(session: Any) -> ReadSecret:
    """Return what reads secrets of AWS Secrets Manager.

    Args:
        session: a ``boto3.Session``.
    """
    return secrets_manager_of(session.client("secretsmanager"))


def secrets_manager_of(client: Any) -> ReadSecret:
    """Return what reads secrets by a boto3 client."""

    def read(name: str) -> str:
        try:
            return str(client.get_secret_value(SecretId=name)["SecretString"])
        except client.exceptions.ResourceNotFoundException:
            raise NoSecret("is missing in Secrets Manager") from None
        except client.exceptions.InvalidRequestException:
            raise NoSecret("was revoked: it is marked for deletion in Secrets Manager") from None
        except KeyError:
            raise NoSecret("is no text") from None

    return read


def new_key() -> bytes:
    """Return a random key, 32 bytes."""
    return os.urandom(KEY_BYTES)


def id_of(name: str, key: bytes) -> str:
    """Return the id of a master key: a name of lower-case letters, digits and hyphens, and the fingerprint.

    Raises:
        ValueError: the name has other characters, or more than 63.
    """
    key_id = f"{name}-{fingerprint(key)}"
    if not KEY_ID.fullmatch(key_id):
        raise ValueError(f"{name!r} cannot name a key: use up to 63 lower-case letters, digits and hyphens.")
    return key_id


def fingerprint(key: bytes) -> str:
    """Return eight hexadecimal digits that tell a key from others and nothing about it."""
    return hmac.digest(key, b"fingerprint of a taxiway master key", "sha256").hex()[:8]


def as_secret(key: bytes) -> str:
    """Return the text of a key's secret."""
    return b64encode(key).decode()


def _decoded(text: str) -> bytes:
    try:
        key = b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise NoSecret(f"is no key: a key is {KEY_BYTES} bytes in base64")
    return key
