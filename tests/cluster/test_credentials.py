"""The secrets of an environment."""

import base64
import io
import sys
from pathlib import Path

import pytest

from cluster.credentials import Address, eks_secrets, git_secrets, kind_secrets, metadata_secrets, mysql_uri
from console.errors import UserError

URLS = {
    "METADATA_URL": "postgresql://air%40flow:p%2Fw%22@db.example.com/airflow",
    "CATALOG_URL": "mysql+pymysql://tlc:x@my.example.com:3307/tlc?ssl_ca=/ca.pem",
    "BROKER_URL": "rediss://:token@cache.example.com:6379/0",
}
NAMES = {
    "airflow-fernet-key": {"fernet-key"},
    "airflow-api-secret-key": {"api-secret-key"},
    "airflow-jwt-secret": {"jwt-secret"},
    "airflow-metadata": {"connection", "async-connection"},
    "airflow-result-backend": {"connection"},
    "airflow-broker-url": {"connection"},
    "airflow-pgbouncer-config": {"pgbouncer.ini", "users.txt"},
    "airflow-pgbouncer-stats": {"connection"},
    "airflow-flower-auth": {"basicAuth"},
    "airflow-connections": {"tlc-catalog"},
    "airflow-admin": {"username", "password"},
}


def test_kind_has_all_secrets_with_their_keys() -> None:
    made = kind_secrets("taxiway", {})
    assert {name: set(data) for name, data in made.items()} == NAMES | {
        "postgres": {"password"},
        "mysql": {"password", "root-password"},
        "ride-service": {"password", "root-password", "connection"},
        "airflow-redis-password": {"password"},
    }
    assert len(base64.urlsafe_b64decode(made["airflow-fernet-key"]["fernet-key"])) == 32
    assert len(made["airflow-jwt-secret"]["jwt-secret"]) >= 64


def test_every_time_other_values() -> None:
    first, second = kind_secrets("taxiway", {}), kind_secrets("taxiway", {})
    for name in ("airflow-fernet-key", "airflow-jwt-secret", "airflow-admin", "postgres", "airflow-flower-auth"):
        assert first[name] != second[name]


def test_what_depends_on_a_password_that_is_there_has_that_one() -> None:
    there = {
        "postgres": {"password": "kept1"},
        "mysql": {"password": "kept2"},
        "airflow-redis-password": {"password": "kept3"},
    }
    made = kind_secrets("taxiway", there)
    assert made["airflow-metadata"]["connection"] == (
        "postgresql+psycopg2://airflow:kept1@airflow-pgbouncer.taxiway:6543/airflow-metadata"
    )
    assert '"airflow" "kept1"' in made["airflow-pgbouncer-config"]["users.txt"]
    assert made["airflow-connections"]["tlc-catalog"] == "mysql://tlc:kept2@mysql:3306/tlc"
    rides = made["ride-service"]
    assert rides["connection"] == f"mysql://rides:{rides['password']}@ride-service:3306/rides"
    assert made["airflow-broker-url"]["connection"] == "redis://:kept3@airflow-redis:6379/0"


def test_a_secret_without_its_key_is_named() -> None:
    with pytest.raises(UserError, match="'postgres' is there and lacks the key 'password'"):
        kind_secrets("taxiway", {"postgres": {"other": "x"}})


def test_passwords_with_signs_survive_urls_and_pgbouncers_file() -> None:
    metadata = Address.parse("METADATA_URL", URLS["METADATA_URL"])
    made = metadata_secrets("ns", metadata, sslmode="require", metadata_pool=1, result_pool=1, clients=9)
    assert "air%40flow:p%2Fw%22@airflow-pgbouncer.ns:6543" in made["airflow-metadata"]["connection"]
    assert made["airflow-pgbouncer-config"]["users.txt"] == '"air@flow" "p/w"""\n'
    ini = made["airflow-pgbouncer-config"]["pgbouncer.ini"]
    assert "airflow-result-backend = host=db.example.com port=5432 dbname=airflow" in ini
    assert "server_tls_sslmode = require" in ini
    assert 'p/w"' not in ini


def test_eks_takes_addresses_and_makes_the_rest() -> None:
    made = eks_secrets("taxiway", {}, URLS, oidc=False)
    assert {name: set(data) for name, data in made.items()} == NAMES
    assert made["airflow-connections"]["tlc-catalog"] == "mysql://tlc:x@my.example.com:3307/tlc?ssl_ca=/ca.pem"
    assert made["airflow-broker-url"]["connection"] == URLS["BROKER_URL"]
    assert "airflow-admin" not in eks_secrets("taxiway", {}, URLS, oidc=True)


def test_eks_does_not_ask_for_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    there: dict[str, dict[str, str]] = {name: {} for name in NAMES}
    assert eks_secrets("taxiway", there, {}, oidc=False).keys() == NAMES.keys()
    del there["airflow-broker-url"]
    with pytest.raises(UserError, match=r"Celery broker is needed.*BROKER_URL"):
        eks_secrets("taxiway", there, {}, oidc=False)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("METADATA_URL", "mysql://u:hunter2@h/d"),
        ("METADATA_URL", "postgresql://u@h/d"),
        ("CATALOG_URL", "mysql://u:hunter2@h:port/d"),
        ("CATALOG_URL", "mysql://u:hunter2@h"),
        ("BROKER_URL", "hunter2"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence_without_the_password(name: str, url: str) -> None:
    with pytest.raises(UserError, match=rf"{name} .*write it like") as error:
        Address.parse(name, url)
    assert "hunter2" not in str(error.value)


def test_the_catalogues_connection_is_one_that_airflow_takes_for_mysql() -> None:
    pytest.importorskip("airflow.sdk")
    from airflow.models.connection import Connection

    connection = Connection(uri=mysql_uri(Address.parse("CATALOG_URL", "mysql://t:a%2Fb@h/tlc")))
    assert (connection.conn_type, connection.password, connection.schema) == ("mysql", "a/b", "tlc")


def test_metadata_in_mysql_is_reached_without_a_pooler() -> None:
    made = kind_secrets("taxiway", {"metadata-mysql": {"password": "a/b@c"}}, mysql_metadata=True)
    assert "postgres" not in made
    assert not [name for name in made if "pgbouncer" in name]
    assert made["airflow-metadata"] == {
        "connection": "mysql+mysqldb://airflow:a%2Fb%40c@metadata-mysql.taxiway:3306/airflow",
        "async-connection": "mysql+aiomysql://airflow:a%2Fb%40c@metadata-mysql.taxiway:3306/airflow",
        "kedaConnection": "airflow:a/b@c@tcp(metadata-mysql.taxiway:3306)/airflow",
    }
    result = "db+mysql+mysqldb://airflow:a%2Fb%40c@metadata-mysql.taxiway:3306/airflow"
    assert made["airflow-result-backend"] == {"connection": result}
    assert set(kind_secrets("taxiway", {}, mysql_metadata=True)["metadata-mysql"]) == {"password", "root-password"}


def test_eks_takes_an_address_in_mysql_with_the_feature_alone() -> None:
    urls = URLS | {"METADATA_URL": "mysql://me:p%2Fw@my.example.com/airflow"}
    made = eks_secrets("taxiway", {}, urls, oidc=False, mysql_metadata=True)
    assert set(made) == set(NAMES) - {"airflow-pgbouncer-config", "airflow-pgbouncer-stats"}
    assert made["airflow-metadata"]["connection"] == "mysql+mysqldb://me:p%2Fw@my.example.com:3306/airflow"
    with pytest.raises(
        UserError, match=r"METADATA_URL is no URL .* write it like mysql://user:password@host:3306/name"
    ):
        eks_secrets("taxiway", {}, URLS, oidc=False, mysql_metadata=True)
    with pytest.raises(UserError, match=r"METADATA_URL is no URL .* write it like postgresql://"):
        eks_secrets("taxiway", {}, urls, oidc=False)


def test_a_private_repository_s_secrets_are_those_that_git_sync_reads(tmp_path: Path) -> None:
    key, ca = tmp_path / "key", tmp_path / "ca.crt"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----")
    ca.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    given = {"GIT_SSH_KEY": str(key), "GIT_USERNAME": "me", "GIT_PASSWORD": "token", "GIT_CA": str(ca)}
    assert git_secrets(["ssh-git"], {"GIT_SSH_KEY": str(key)}) == {"git-ssh-key": {"gitSshKey": key.read_text() + "\n"}}
    made = git_secrets(["https-git"], given)
    assert made["git-credentials"] == {
        "GIT_SYNC_USERNAME": "me",
        "GITSYNC_USERNAME": "me",
        "GIT_SYNC_PASSWORD": "token",
        "GITSYNC_PASSWORD": "token",
    }
    assert made["git-ca"] == {"ca.crt": ca.read_text()}
    assert git_secrets([], {}) == git_secrets(["ssh-git", "https-git"], {}) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"GIT_SSH_KEY: .*key cannot be read as a private key \(FileNotFoundError\)"),
        (b"ssh-ed25519 AAAA me\n", "GIT_SSH_KEY: .*key is not a private key"),
        (b"\xff\xfe", r"GIT_SSH_KEY: .*key cannot be read as a private key \(UnicodeDecodeError\)"),
    ],
    ids=["no file", "the public key", "not text"],
)
def test_a_key_that_is_none_is_refused_in_one_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(UserError, match=words):
        git_secrets(["ssh-git"], {"GIT_SSH_KEY": str(tmp_path / "key")})
