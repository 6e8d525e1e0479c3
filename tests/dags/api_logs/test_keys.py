"""Master keys and the key of the pseudonyms: missing, revoked, wrong."""

import logging

import boto3
import pytest

from taxiway.api_logs import keys
from taxiway.api_logs.keys import KeyRing, PseudonymKeyError, UnknownKey
from taxiway.api_logs.pseudonyms import DAY_US, Pseudonyms

PREFIX = "taxiway-api-logs/master-keys/"
REMEDY = "its records are quarantined as unknown_key until it is there: replay the key {} then."


def test_keys_are_read_from_secrets_manager_once(aws: str) -> None:
    key = keys.new_key()
    key_id = keys.id_of("server", key)
    client = boto3.client("secretsmanager")
    client.create_secret(Name=f"{PREFIX}{key_id}", SecretString=keys.as_secret(key))
    asked: list[str] = []
    from_aws = keys.secrets_manager(boto3.Session())

    def read(name: str) -> str:
        asked.append(name)
        return from_aws(name)

    ring = KeyRing(read, PREFIX)
    assert [ring.get(key_id), ring.get(key_id)] == [key, key]
    assert asked == [f"{PREFIX}{key_id}"]


def test_a_key_that_cannot_be_had_is_one_sentence(aws: str, caplog: pytest.LogCaptureFixture) -> None:
    client = boto3.client("secretsmanager")
    other, revoked = keys.new_key(), keys.new_key()
    ids = {"missing": "server-00000000", "wrong": "server-11111111", "short": "server-22222222"}
    ids["revoked"] = keys.id_of("server", revoked)
    client.create_secret(Name=f"{PREFIX}{ids['wrong']}", SecretString=keys.as_secret(other))
    client.create_secret(Name=f"{PREFIX}{ids['short']}", SecretString="c2hvcnQ=")
    client.create_secret(Name=f"{PREFIX}{ids['revoked']}", SecretString=keys.as_secret(revoked))
    client.delete_secret(SecretId=f"{PREFIX}{ids['revoked']}", RecoveryWindowInDays=7)
    said = {
        "missing": "is missing in Secrets Manager;",
        "wrong": "is wrong: what is stored there is another key;",
        "short": "is no key: a key is 32 bytes in base64;",
        "revoked": "was revoked: it is marked for deletion in Secrets Manager;",
    }
    ring = KeyRing(keys.secrets_manager(boto3.Session()), PREFIX)
    with caplog.at_level(logging.WARNING, "taxiway"):
        for name, key_id in ids.items():
            for _ in range(2):
                with pytest.raises(UnknownKey) as error:
                    ring.get(key_id)
            place = f"The master key {key_id} (secret {PREFIX}{key_id})"
            assert str(error.value) == f"{place} {said[name]} {REMEDY.format(key_id)}"
    assert len([record for record in caplog.records if record.name.startswith("taxiway")]) == len(
        ids
    )  # each is told once
    assert not any(keys.as_secret(key) in caplog.text for key in (other, revoked))


def test_other_errors_are_not_missing_keys(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Secrets Manager cannot be asked, nothing must be quarantined: the task fails and is tried again."""
    from botocore.exceptions import EndpointConnectionError

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(EndpointConnectionError):
        KeyRing(keys.secrets_manager(boto3.Session()), PREFIX).get("server-00000000")


def test_the_key_of_the_pseudonyms(aws: str) -> None:
    read = keys.secrets_manager(boto3.Session())
    with pytest.raises(PseudonymKeyError, match=r"secret p\) is missing in Secrets Manager: store 32 random bytes"):
        keys.pseudonym_key(read, "p")
    boto3.client("secretsmanager").create_secret(Name="p", SecretString=keys.as_secret(b"k" * 32))
    assert keys.pseudonym_key(read, "p") == b"k" * 32


@pytest.mark.parametrize("name", ["", "Server", "a/b", "x" * 80])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a key"):
        keys.id_of(name, b"k" * 32)


def test_pseudonyms_are_stable_within_a_period_and_unlinkable_over_two() -> None:
    made = Pseudonyms(b"k" * 32, 90)
    day = 16_740 * DAY_US  # 186 × 90 days: a period begins
    first = made.of("Ada", day)
    assert first == made.of("Ada", day + 90 * DAY_US - 1) == Pseudonyms(b"k" * 32, 90).of("Ada", day)
    before, other_user, other_key = (
        made.of("Ada", day - 1),
        made.of("Bob", day),
        Pseudonyms(b"x" * 32, 90).of("Ada", day),
    )
    assert len({each.partition("-")[2] for each in (first, before, other_user, other_key)}) == 4
    assert first.startswith("20151101-")
    assert before.startswith("20150803-")
    assert len(first) == 8 + 1 + 32
