"""Envelopes: what is sealed can be opened, and nothing else."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.api_logs import envelope
from taxiway.api_logs.envelope import NoEnvelope, Sealer, Tampered
from taxiway.api_logs.keys import UnknownKey
from tests.dags.api_logs.world import Server

PLAINTEXT = b'{"id":"1","user":"Ada Lovelace"}'


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


def test_an_envelope_is_opened_in_any_object(server: Server) -> None:
    line = server.sealer().seal(PLAINTEXT)
    found = envelope.read(line)
    assert found.key_id == server.key_id
    assert server.opener().open(found) == PLAINTEXT
    assert envelope.write(found) == line
    assert b"Ada" not in line


def test_no_two_records_are_sealed_alike(server: Server) -> None:
    sealer = server.sealer()
    first, second = (json.loads(sealer.seal(PLAINTEXT)) for _ in range(2))
    assert first["data_key"] == second["data_key"]
    assert first["nonce"] != second["nonce"]
    assert json.loads(server.sealer().seal(PLAINTEXT))["data_key"] != first["data_key"]


def test_old_keys_stay_readable_after_a_rotation() -> None:
    server = Server()
    old = server.sealer().seal(PLAINTEXT)
    server.key_id, server.key = server.make()
    new = server.sealer().seal(PLAINTEXT)
    opener = server.opener()
    assert {envelope.read(line).key_id for line in (old, new)} == {each[5:] for each in server.secrets}
    assert [opener.open(envelope.read(line)) for line in (old, new)] == [PLAINTEXT, PLAINTEXT]


def test_every_changed_byte_is_noticed(server: Server) -> None:
    """Whatever one byte becomes: the line is no envelope, of an unknown key, or tampered; and no error repeats it."""
    line = server.sealer().seal(PLAINTEXT)
    opener = server.opener()
    seen, said = set[type](), set[str]()
    for at in range(len(line)):
        for change in (0x01, 0x20, 0x80):
            changed = line[:at] + bytes([line[at] ^ change]) + line[at + 1 :]
            try:
                assert opener.open(envelope.read(changed)) == PLAINTEXT
            except (NoEnvelope, UnknownKey, Tampered) as error:
                seen.add(type(error))
                said.add(str(error))
            else:  # the same bytes, written another way
                assert envelope.write(envelope.read(changed)) == line
    assert seen == {NoEnvelope, UnknownKey, Tampered}
    assert not any("Ada" in text for text in said)


@pytest.mark.parametrize("member", ["data_key", "nonce", "ciphertext"])
@pytest.mark.parametrize("value", [b"", b"\0", b"\0" * 12, b"\0" * 40, b"\0" * 400])
def test_other_binary_members_are_tampered(server: Server, member: str, value: bytes) -> None:
    changed = json.loads(server.sealer().seal(PLAINTEXT)) | {member: base64.b64encode(value).decode()}
    with pytest.raises(Tampered):
        server.opener().open(envelope.read(json.dumps(changed).encode()))


def test_members_of_another_envelope_are_tampered(server: Server) -> None:
    """Each member alone is genuine; the header is authenticated with the record."""
    first, second = (json.loads(server.sealer().seal(PLAINTEXT)) for _ in range(2))
    for member in ("data_key", "nonce", "ciphertext"):
        with pytest.raises(Tampered):
            server.opener().open(envelope.read(json.dumps(first | {member: second[member]}).encode()))
    other_id, _ = server.make()
    with pytest.raises(Tampered):
        server.opener().open(envelope.read(json.dumps(first | {"key_id": other_id}).encode()))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": "1"},
        {"key_id": "../../secret"},
        {"key_id": "server-0123456"},
        {"key_id": None},
        {"nonce": "not base64!"},
        {"ciphertext": 7},
        {"user": "Ada"},
    ],
)
def test_what_is_no_envelope_of_this_version(server: Server, change: dict[str, Any]) -> None:
    line = json.dumps(json.loads(server.sealer().seal(PLAINTEXT)) | change).encode()
    with pytest.raises(NoEnvelope) as error:
        envelope.read(line)
    assert "Ada" not in str(error.value)


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"user":"Ada"}', b"PAR1", b"[" * 100_000])
def test_other_lines_are_no_envelopes(line: bytes) -> None:
    with pytest.raises(NoEnvelope):
        envelope.read(line)
    assert not envelope.is_beginning(line)


def test_every_beginning_of_an_envelope_is_known(server: Server) -> None:
    line = server.sealer().seal(PLAINTEXT)
    assert all(envelope.is_beginning(line[:end]) for end in range(1, len(line)))
    assert not envelope.is_beginning(line)
    assert not envelope.is_beginning(line + b"}")
    assert envelope.key_of_beginning(line[: len(line) // 2]) == server.key_id
    assert envelope.key_of_beginning(line[:30]) is None


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(0, 80))
def test_a_beginning_holds_nothing_else(noise: bytes, end: int) -> None:
    line = Server().sealer().seal(PLAINTEXT)[:end] + noise
    if envelope.is_beginning(line):
        assert set(line) <= set(b'{}":,+/=_-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789')


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_sealed_and_opened(plaintext: bytes) -> None:
    server = Server()
    assert server.opener().open(envelope.read(Sealer(*server.for_next_object()).seal(plaintext))) == plaintext
